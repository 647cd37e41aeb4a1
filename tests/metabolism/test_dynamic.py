"""Dynamic flux balance: exact solutions, published runs, other solvers at single moments, and derivatives."""

from __future__ import annotations

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize

import jaxsci as js
from jaxsci.metabolism.dynamic import dynamic_fba
from jaxsci.metabolism.dynamic_programme import ACTIVE_SET, ENDED, EXHAUSTED, dynamic_programme
from jaxsci.metabolism.lexicographic import follow, slack, vertex_of
from jaxsci.metabolism.reactor import Reactor, Uptake
from jaxsci.metabolism.small_models import diauxic_growth
from jaxsci.metabolism.starting_vertex import slack_start

TOY = js.metabolism.from_equations({"food": "-> a", "growth": "10 a ->"}, "growth")
TS = np.array([0.0, 1.0, 2.0, 4.0, 40.0])


def toy(inflow=0.0, outflow=0.0, feed=0.0, biomass=0.1, food=9.0, vmax=10.0, ts=TS, **how):
    """Cells that make 0.1 gDW of a mmol; all arguments are leaves, so that all of this compiles once."""
    inflow, outflow, feed, biomass, food, vmax = (
        jnp.asarray(x, float) for x in (inflow, outflow, feed, biomass, food, vmax)
    )
    reactor = Reactor(inflow, outflow, {"food": feed}, volume=jnp.asarray(1.0))
    return dynamic_fba(TOY, {"food": Uptake(vmax)}, biomass, {"food": food}, jnp.asarray(ts), reactor=reactor, **how)


# A batch until there is nothing left ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_batch_grows_exponentially_until_the_food_is_gone():
    run = toy()
    assert int(run.status) == 0
    assert run.check() is run
    assert float(run.end) == 40
    np.testing.assert_allclose(run.biomass, [0.1, 0.1 * np.e, 0.1 * np.exp(2), 1.0, 1.0], rtol=1e-8)
    np.testing.assert_allclose(run.concentrations["food"][:3], 9 - 10 * (run.biomass[:3] - 0.1), atol=1e-8)
    np.testing.assert_allclose(run.concentrations["food"][3:], 0, atol=1e-9)
    np.testing.assert_allclose(run.events.times[1], np.log(10), rtol=1e-8)
    assert int(run.events.kinds[1]) == EXHAUSTED
    np.testing.assert_allclose(run.fluxes[:, 0], [10, 10, 10, 0, 0], atol=1e-9)
    assert "2.3026 h  food: is used up" in run.describe(TOY)


@pytest.mark.slow
def test_derivatives_go_through_the_moment_when_the_food_is_gone():
    """t = ln(1 + F / (10 X)) 10 / vmax with F = 9, X = 0.1; afterwards the biomass is X + F / 10 whatever vmax is."""

    def after(p):
        run = toy(biomass=p[0], food=p[1], vmax=p[2], adjoint=diffrax.ForwardMode())
        return jnp.stack([run.events.times[1], run.biomass[3], run.concentrations["food"][3]])

    slopes = jax.jacfwd(after)(jnp.array([0.1, 9.0, 10.0]))
    np.testing.assert_allclose(slopes[0], [-9.0, 0.1, -np.log(10) / 10], rtol=1e-6)
    np.testing.assert_allclose(slopes[1], [1.0, 0.1, 0.0], atol=1e-6)
    np.testing.assert_allclose(slopes[2], 0.0, atol=1e-6)


# With a flow through it ---------------------------------------------------------------------------------------------------


def test_fed_batch_lives_on_what_flows_in():
    """d(X V)/dt = F feed / 10 where the food is eaten as it comes, V = 1 + F t."""
    run = toy(inflow=0.1, feed=20.0, food=0.0, biomass=5.0)
    np.testing.assert_allclose(run.volume, 1 + 0.1 * TS, rtol=1e-9)
    np.testing.assert_allclose(run.biomass * run.volume, 5.0 + 0.1 * 20.0 / 10 * TS, rtol=1e-7)
    np.testing.assert_allclose(run.concentrations["food"], 0, atol=1e-9)


def test_food_comes_back_when_more_flows_in_than_is_eaten():
    run = toy(inflow=0.5, outflow=0.5, feed=20.0, food=0.0, biomass=1e-3, vmax=2.0)
    assert float(run.concentrations["food"][2]) > 1  # supply 10 mM/h, the cells take at most 0.002
    assert int(run.status) == 0


def test_washout():
    run = toy(inflow=1.5, outflow=1.5, feed=20.0)  # growth is at most 1 / h
    assert float(run.biomass[-1]) < 1e-8
    np.testing.assert_allclose(run.concentrations["food"][-1], 20.0, rtol=1e-6)


@pytest.fixture(scope="module")
def steady():
    """A chemostat with Michaelis-Menten cells, for several dilution rates at once: D = mu = vmax C / (10 (km + C))."""

    def one(dilution):
        reactor = Reactor.chemostat(dilution, {"food": 20.0})
        return dynamic_fba(TOY, {"food": Uptake(10.0, 2.0)}, 0.1, {"food": 5.0}, jnp.array([0.0, 200.0]), reactor=reactor)

    rates = jnp.array([0.2, 0.5, 0.8, 2.0, jnp.nan])
    return rates, jax.vmap(one)(rates)


@pytest.mark.slow
def test_chemostat_grows_as_fast_as_it_is_diluted(steady):
    rates, run = steady
    D = np.asarray(rates[:3])
    food = 2.0 * D / (1 - D)
    np.testing.assert_allclose(run.growth[:3, -1], D, rtol=1e-6)
    np.testing.assert_allclose(run.concentrations["food"][:3, -1], food, rtol=1e-6)
    np.testing.assert_allclose(run.biomass[:3, -1], (20.0 - food) / 10, rtol=1e-6)
    assert float(run.biomass[3, -1]) < 1e-8


@pytest.mark.slow
def test_a_member_that_is_not_finite_disturbs_nobody(steady):
    _, run = steady
    assert run.status.tolist() == [0, 0, 0, 0, js.metabolism.NOT_FINITE]
    assert np.isnan(run.biomass[4]).all()
    assert np.isfinite(run.biomass[:4]).all()
    with pytest.raises(RuntimeError, match=r"dynamic_fba: member \(4,\) is not finite: .* \(it ended after"):
        run.check()


# E. coli core on glucose, cobrapy's tutorial ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def core():
    model = js.metabolism.load("e_coli_core")
    glucose = "EX_glc__D_e"
    ts = np.linspace(0.0, 15.0, 100)
    return model, dynamic_fba(model, {glucose: Uptake(10.0, 5.0)}, 0.1, {glucose: 10.0}, ts)


@pytest.mark.slow
def test_core_ends_where_quadrature_says(core):
    """Growth is a u + b in two pieces; dX/dG = -(a + b/u), so that X(G) is elementary and t an integral."""
    model, run = core
    j, bounds = model.index("EX_glc__D_e"), np.stack([model.lower, model.upper], 1)

    def growth(u):
        bounds[j, 0] = -u
        return -scipy.optimize.linprog(-model.objective, A_eq=model.stoichiometry, b_eq=np.zeros(72), bounds=bounds).fun

    a = np.array([(growth(6.0) - growth(4.0)) / 2, (growth(1.3) - growth(0.8)) / 0.5])
    b = np.array([growth(6.0), growth(0.8)]) - a * np.array([6.0, 0.8])
    uptake = lambda g: 10 * g / (5 + g)
    kink = (b[1] - b[0]) / (a[0] - a[1])
    at = lambda u: 5 * u / (10 - u)
    switch, end = at(kink), at(-b[1] / a[1])
    part = lambda i, top, g: a[i] * (top - g) + b[i] / 10 * (5 * np.log(top / g) + top - g)
    middle = 0.1 + part(0, 10.0, switch)
    biomass = lambda g: 0.1 + part(0, 10.0, g) if g > switch else middle + part(1, switch, g)
    time = sum(
        scipy.integrate.quad(lambda g: 1 / (uptake(g) * biomass(g)), *pair, epsabs=1e-13, epsrel=1e-12)[0]
        for pair in ((switch, 10.0), (end, switch))
    )
    np.testing.assert_allclose(run.end, time, rtol=1e-7)
    np.testing.assert_allclose(run.final["biomass"], biomass(end), rtol=1e-7)
    np.testing.assert_allclose(run.final["concentrations"]["EX_glc__D_e"], end, rtol=1e-6)


def test_core_is_the_tutorial(core):
    model, run = core
    np.testing.assert_allclose(run.end, 5.80191035, atol=1e-4)  # cobrapy's, by BDF to 1e-6
    np.testing.assert_allclose(run.biomass[38], 0.87274252, rtol=1e-7)
    np.testing.assert_allclose(run.concentrations["EX_glc__D_e"][38], 0.27099758, rtol=1e-6)
    assert int(run.status) == js.metabolism.INFEASIBLE
    assert run.events.kinds[1:3].tolist() == [ACTIVE_SET, ENDED]
    assert np.isfinite(run.biomass[:39]).all()
    assert np.isnan(run.biomass[39:]).all()
    assert np.isnan(run.fluxes[39:]).all()
    with pytest.raises(RuntimeError, match=r"infeasible: no flux meets all bounds.*maintenance.*ended after 5\.8019 h.*NaN"):
        run.check()
    assert run.describe(model).endswith("5.8019 h  end: infeasible; rows after it are NaN")


def test_core_fluxes_are_steady_and_within_bounds(core):
    model, run = core
    v = np.asarray(run.fluxes[:39])
    assert abs(v @ model.stoichiometry.T).max() < 1e-11
    low = np.tile(model.lower, (39, 1))
    c = np.asarray(run.concentrations["EX_glc__D_e"][:39])
    low[:, model.index("EX_glc__D_e")] = -10 * c / (5 + c)
    assert (v >= low - 1e-8).all()
    assert (v <= model.upper + 1e-8).all()
    np.testing.assert_allclose(v @ model.objective, run.growth[:39], rtol=1e-12)


def test_core_fluxes_are_the_lexicographic_optimum(core):
    """HiGHS, twice: the growth, then with that growth the least uptake of glucose."""
    model, run = core
    j, k = model.index("EX_glc__D_e"), int(np.argmax(model.objective))
    for i in (3, 30, 37):
        c = float(run.concentrations["EX_glc__D_e"][i])
        bounds = np.stack([model.lower, model.upper], 1)
        bounds[j, 0] = -10 * c / (5 + c)
        solve = lambda cost, b: scipy.optimize.linprog(cost, A_eq=model.stoichiometry, b_eq=np.zeros(72), bounds=b)
        growth = -solve(-np.asarray(model.objective), bounds).fun
        np.testing.assert_allclose(run.growth[i], growth, rtol=1e-9)
        bounds[k, 0] = growth - 1e-10
        np.testing.assert_allclose(run.fluxes[i, j], -solve(-np.eye(95)[j], bounds).fun, rtol=1e-7)


# The four-reaction model of Mahadevan, Edwards & Doyle ----------------------------------------------------------------------


def diauxie(p, ts, oxygen=True):
    model = diauxic_growth()
    laws = {"EX_glc": Uptake(p[0], p[1])} | ({"EX_o2": Uptake(p[2])} if oxygen else {})
    start = {"EX_glc": 10.8, "EX_ac": 0.4} | ({"EX_o2": 0.21} if oxygen else {})
    reactor = Reactor(transfer={"EX_o2": (7.5, 0.21)}) if oxygen else None
    return dynamic_fba(model, laws, p[3], start, ts, reactor=reactor)


P = np.array([10.0, 0.015, 15.0, 1e-3])


@pytest.mark.slow
def test_diauxie_with_little_oxygen():
    """Static optimisation with Euler steps of 0.005 h gave 6.96 h, 4.4845 mM and 0.89833."""
    ts = np.linspace(0, 10, 1001)
    run = diauxie(jnp.asarray(P), ts)
    assert int(run.status) == 0
    acetate, glucose = np.asarray(run.concentrations["EX_ac"]), np.asarray(run.concentrations["EX_glc"])
    assert abs(acetate.max() - 4.48) < 0.02
    assert abs(float(run.biomass[-1]) - 0.898) < 0.002
    assert abs(ts[np.argmax(glucose < 1e-3)] - 6.96) < 0.02
    assert acetate.argmax() > 600
    assert acetate[-1] < 1e-9
    assert min(float(c.min()) for c in run.concentrations.values()) > -1e-9


@pytest.mark.slow
def test_diauxie_of_varma_and_palsson_is_its_closed_form():
    """Glucose <= 10.5, oxygen <= 15 (Varma & Palsson 1994), acetate <= 5: in each phase all rates are constant.

    X = X_0 exp(mu t), and what is eaten at rate v lasts for log(1 + mu C / (v X_0)) / mu; mu and v from another solver. The
    paper's own points stand in figures only, so what is tested is what follows from its bounds: glucose first, acetate made
    meanwhile and eaten afterwards, more slowly, until nothing pays for maintenance.
    """
    model = js.metabolism.load("e_coli_core").with_bounds({"EX_o2_e": (-15.0, 1000.0)})
    foods, ts = ("EX_glc__D_e", "EX_ac_e"), np.linspace(0.0, 10.0, 201)
    laws = {foods[0]: Uptake(10.5), foods[1]: Uptake(5.0)}
    run = dynamic_fba(model, laws, 0.01, {foods[0]: 10.8, foods[1]: 0.4}, ts)

    def phase(glucose, acetate):
        """Growth and, among the optima (acetate or formate), those with the most acetate: how ties are broken."""
        bounds = np.stack([model.lower, model.upper], 1)
        for name, most in zip(foods, (glucose, acetate), strict=True):
            bounds[model.index(name), 0] = -most
        best = scipy.optimize.linprog(-model.objective, A_eq=model.stoichiometry, b_eq=np.zeros(72), bounds=bounds)
        if best.status:
            return None
        rows, values = np.vstack([model.stoichiometry, model.objective]), np.append(np.zeros(72), -best.fun)
        most = -np.eye(95)[model.index(foods[1])]
        tied = scipy.optimize.linprog(most, A_eq=rows, b_eq=values, bounds=bounds)
        return (-best.fun, *(tied.x[model.index(name)] for name in foods))

    (mu, eaten, made), (slow, _, reused) = phase(10.5, 5.0), phase(0.0, 5.0)
    np.testing.assert_allclose((eaten, reused), (-10.5, -5), rtol=1e-7)
    assert made > 0
    assert slow < mu / 4
    assert phase(0.0, 0.0) is None
    gone = np.log(1 + mu * 10.8 / (10.5 * 0.01)) / mu
    biomass, peak = 0.01 * np.exp(mu * gone), 0.4 + made / 10.5 * 10.8
    end = gone + np.log(1 + slow * peak / (5 * biomass)) / slow
    used_up = (run.events.kinds == EXHAUSTED) & (run.events.reactions == model.index(foods[0]))
    np.testing.assert_allclose(run.events.times[np.argmax(used_up)], gone, rtol=1e-7)
    np.testing.assert_allclose(run.end, end, rtol=1e-5)
    np.testing.assert_allclose(run.final["biomass"], biomass * np.exp(slow * (end - gone)), rtol=1e-5)
    acetate, glucose = (np.asarray(run.concentrations[name]) for name in foods[::-1])
    before, after = ts < gone, (ts > gone) & (ts < end)
    np.testing.assert_allclose(acetate[before], 0.4 + made / 10.5 * (10.8 - glucose[before]), atol=1e-4)
    assert np.all(np.diff(acetate[after]) < 0)
    assert np.all(np.abs(glucose[after]) < 1e-9)
    assert int(run.status) == js.metabolism.INFEASIBLE


@pytest.mark.slow
def test_diauxie_with_plenty_of_oxygen():
    ts = np.linspace(0, 10, 1001)
    run = diauxie(jnp.asarray(P), ts, oxygen=False)
    assert abs(float(run.biomass[-1]) - 1.15279) < 1e-3
    assert abs(ts[np.argmax(np.asarray(run.concentrations["EX_glc"]) < 1e-3)] - 6.52) < 0.03
    assert float(run.concentrations["EX_ac"].max()) < 0.4 + 1e-9


@pytest.mark.slow
def test_derivatives_of_a_diauxie_are_central_differences():
    """In the biomass at the end, in the acetate on the way and in the time of an event; eight events, of three kinds."""

    def look(p):
        run = diauxie(p, jnp.array([0.0, 6.5, 10.0]))
        return jnp.stack([run.biomass[-1], run.concentrations["EX_ac"][1], run.events.times[2]])

    p, f = jnp.asarray(P), jax.jit(look)
    slopes = jax.jit(jax.jacrev(look))(p)  # reverse mode; the forward one is tested on the core
    h = 1e-5 * p
    differences = jnp.stack([(f(p.at[i].add(h[i])) - f(p.at[i].add(-h[i]))) / (2 * h[i]) for i in range(4)], 1)
    np.testing.assert_allclose(slopes, differences, rtol=1e-5)


@pytest.mark.slow
def test_core_derivatives():
    """A slope that another implementation found, dX(5 h)/dKm, and the time of the end against central differences."""
    model, ts = js.metabolism.load("e_coli_core"), jnp.array([0.0, 5.0, 15.0])

    def look(p):
        run = dynamic_fba(
            model, {"EX_glc__D_e": Uptake(10.0, p[0])}, p[1], {"EX_glc__D_e": 10.0}, ts, adjoint=diffrax.ForwardMode()
        )
        return jnp.stack([run.biomass[1], run.end])

    p, f = jnp.array([5.0, 0.1]), jax.jit(look)
    slopes = jax.jit(jax.jacfwd(look))(p)
    np.testing.assert_allclose(slopes[0, 0], -0.051646107, rtol=1e-6)
    h = 1e-5 * p
    differences = jnp.stack([(f(p.at[i].add(h[i])) - f(p.at[i].add(-h[i]))) / (2 * h[i]) for i in range(2)], 1)
    np.testing.assert_allclose(slopes, differences, rtol=1e-5)


# The pieces ------------------------------------------------------------------------------------------------------------------


def test_following_a_vertex_is_solving_anew():
    """Random programmes with two objectives: from any vertex to the optimum that HiGHS finds, in both."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(4, 9)).round(1)
    costs = np.stack([(rng.random(9) < 0.4) * 1.0, rng.normal(size=9)])
    go = jax.jit(follow)
    vertex = vertex_of(slack_start(A), jnp.asarray(costs))
    for _ in range(12):
        lower, upper = -rng.random(9) * 4, rng.random(9) * 4
        low, high = (jnp.concatenate([x, jnp.zeros(4)]) for x in (lower, upper))
        found = go(vertex, low, high)
        vertex = found.vertex
        assert int(found.status) == 0
        x = jnp.where(vertex.at_upper, high, low).at[vertex.basic].set(0.0)
        xb = -vertex.tableau @ x
        assert float(slack(vertex.basic, xb, low, high).min()) > -1e-8
        x = np.asarray(x.at[vertex.basic].set(xb))[:9]
        one = scipy.optimize.linprog(-costs[0], A_eq=A, b_eq=np.zeros(4), bounds=np.stack([lower, upper], 1))
        two = scipy.optimize.linprog(
            -costs[1], A_eq=np.vstack([A, costs[0]]), b_eq=[0, 0, 0, 0, -one.fun], bounds=np.stack([lower, upper], 1)
        )
        np.testing.assert_allclose(costs @ x, [-one.fun, -two.fun], atol=1e-7)


@pytest.mark.slow
def test_float32():
    jax.clear_caches()  # JAX 0.10 gives a program the constants of an earlier one, 64 bits wide
    with jax.enable_x64(False):
        run = toy()
        assert run.biomass.dtype == jnp.float32
        np.testing.assert_allclose(run.biomass[:4], [0.1, 0.1 * np.e, 0.1 * np.exp(2), 1.0], rtol=1e-4)
        assert int(run.status) == 0


def test_equal_programmes_are_one():
    model = js.metabolism.load("e_coli_core")
    assert dynamic_programme(model.network, ("EX_glc__D_e",), ()) is dynamic_programme(model.network, ("EX_glc__D_e",), ())


# What must not pass -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"concentrations": {"fod": 1.0}}, KeyError, "Did you mean 'food'"),
        ({"concentrations": {}}, ValueError, "got none"),
        ({"concentrations": {"food": -1.0}}, ValueError, "food is >= 0"),
        ({"uptake": {"growth": Uptake(1.0)}}, KeyError, "uptake of 'growth'"),
        ({"uptake": {"food": 3.0}}, TypeError, "Uptake or a function"),
        ({"reactor": Reactor(feed={"growth": 1.0})}, KeyError, "feed of 'growth'"),
        ({"ts": np.array([0.0, 1.0, 1.0])}, ValueError, "increases"),
        ({"ts": np.array([0.0])}, ValueError, "at least one time more"),
        ({"then": "food"}, TypeError, "sequence of objectives"),
        ({"biomass": np.ones(2)}, ValueError, "jax.vmap"),
    ],
)
def test_wrong_input(change, error, text):
    given = {"uptake": {}, "biomass": 0.1, "concentrations": {"food": 1.0}, "ts": TS} | change
    with pytest.raises(error, match=text):
        dynamic_fba(TOY, **given)


def test_wrong_laws_and_reactors():
    with pytest.raises(ValueError, match="vmax"):
        Uptake(-1.0)
    with pytest.raises(ValueError, match="km, in mM, is > 0"):
        Uptake(1.0, 0.0)
    with pytest.raises(ValueError, match="volume"):
        Reactor(volume=0.0)
    with pytest.raises(ValueError, match="transfer of food"):
        Reactor(transfer={"food": (1.0,)})
