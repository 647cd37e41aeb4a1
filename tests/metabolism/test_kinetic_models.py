# ruff: noqa: E501
"""Kinetic SBML: exact solutions and libRoadRunner, events, derivatives, batches, and files that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("libsbml")

from jaxsci.metabolism.kinetic_fit import fit_kinetics
from jaxsci.metabolism.kinetic_program import power
from jaxsci.metabolism.kinetic_sbml import load_kinetics
from jaxsci.metabolism.kinetic_simulation import simulate_kinetics

MATH = '<math xmlns="http://www.w3.org/1998/Math/MathML">'
TIME = '<csymbol encoding="text" definitionURL="http://www.sbml.org/sbml/symbols/time">t</csymbol>'
NAMES = ["Beer_MolBioSystems2014", "Borghans_BiophysChem1997", "Chassagnole2002", "Elowitz_Nature2000"]
NAMES += ["Smallbone2011_TrehaloseBiosynthesis", "Sneyd_PNAS2002"]


def sbml(body, level=3, version=1):
    head = f'<sbml xmlns="http://www.sbml.org/sbml/level{level}/version{version}/core" level="{level}" version="{version}">'
    return f'<?xml version="1.0" encoding="UTF-8"?>{head}<model id="toy">{body}</model></sbml>'


def math(content):
    return f"{MATH}{content}</math>"


def apply(op, *args):
    return f"<apply><{op}/>{''.join(args)}</apply>"


def ci(name):
    return f"<ci>{name}</ci>"


def cn(value):
    return f"<cn>{value}</cn>"


def parameter(name, value=None, constant=True):
    given = "" if value is None else f'value="{value}" '
    return f'<parameter id="{name}" {given}constant="{str(constant).lower()}"/>'


def rate_rule(name, content):
    return f'<rateRule variable="{name}">{math(content)}</rateRule>'


def event(name, trigger, target, value, initial="true"):
    return (
        f'<event id="{name}" useValuesFromTriggerTime="true"><trigger initialValue="{initial}" persistent="true">{math(trigger)}'
        f'</trigger><listOfEventAssignments><eventAssignment variable="{target}">{math(value)}</eventAssignment>'
        "</listOfEventAssignments></event>"
    )


# Decay that is fed by two units whenever it has fallen to one, a law that switches at t = tau, and a dose at t = 1.5.
FED = sbml(
    "<listOfParameters>"
    + parameter("x", 3, False)
    + parameter("w", 0, False)
    + parameter("k", 1.0)
    + parameter("low", 1.0)
    + parameter("tau", 0.7)
    + "</listOfParameters><listOfRules>"
    + rate_rule("x", apply("minus", apply("times", ci("k"), ci("x"))))
    + rate_rule(
        "w", f"<piecewise><piece>{cn(0)}{apply('lt', TIME, ci('tau'))}</piece><otherwise>{ci('k')}</otherwise></piecewise>"
    )
    + "</listOfRules><listOfEvents>"
    + event("feed", apply("leq", ci("x"), ci("low")), "x", apply("plus", ci("x"), cn(2)))
    + event("dose", apply("geq", TIME, cn(1.5)), "w", apply("plus", ci("w"), cn(10)))
    + "</listOfEvents>"
)


def fed(k, low, tau, t):
    """The exact solution: x falls to `low` at log(3 / low) / k, and then from low + 2 again and again."""
    first, period = np.log(3 / low) / k, np.log((low + 2) / low) / k
    x = 3 * np.exp(-k * t) if t < first else (low + 2) * np.exp(-k * ((t - first) % period))
    return np.array([x, k * max(t - tau, 0) + 10 * (t >= 1.5)])


@pytest.fixture(scope="module")
def fed_model():
    return load_kinetics(FED)


@pytest.mark.slow
def test_events_and_pieces_are_located_exactly(fed_model):
    times = np.array([0.0, 0.5, 1.0, 1.2, 1.4, 1.6, 2.15, 2.25, 3.0, 4.0])
    run = simulate_kinetics(fed_model, times).check()
    exact = np.stack([fed(1.0, 1.0, 0.7, t) for t in times])
    np.testing.assert_allclose(run.values, exact, atol=3e-8)
    assert fed_model.events == ("feed", "dose")


@pytest.mark.slow
def test_derivatives_through_events_are_those_of_the_exact_solution(fed_model):
    times = jnp.array([0.9, 1.6, 3.0])
    at = {"k": 1.1, "low": 0.8, "tau": 0.7}

    def values(q):
        return simulate_kinetics(fed_model, times, q).values

    forward = jax.jit(jax.jacfwd(values))(at)
    weights = jnp.array([[1.0, 2.0], [-1.0, 0.5], [2.0, 1.0]])
    backward = jax.jit(jax.grad(lambda q: jnp.sum(weights * values(q))))(at)
    for name in at:
        h = 1e-6
        up, down = ({**at, name: at[name] + s} for s in (h, -h))
        exact = np.stack([(fed(**up, t=t) - fed(**down, t=t)) / (2 * h) for t in np.asarray(times)])
        np.testing.assert_allclose(forward[name], exact, atol=1e-6)
        np.testing.assert_allclose(backward[name], np.sum(weights * exact), atol=1e-6)


@pytest.mark.slow
def test_events_agree_with_roadrunner(fed_model):
    roadrunner = pytest.importorskip("roadrunner")
    peer = roadrunner.RoadRunner(FED)
    peer.integrator.relative_tolerance, peer.integrator.absolute_tolerance = 1e-11, 1e-13
    peer.timeCourseSelections = ["x", "w"]
    times = np.array([0.0, 0.6, 1.4, 1.7, 2.5, 3.0])
    theirs = np.array(peer.simulate(times=times.tolist()))
    np.testing.assert_allclose(simulate_kinetics(fed_model, times).values, theirs, atol=1e-6)


# Functions, initial assignments, a growing compartment, amounts, local parameters, boundary species: all in one.
MIXED = sbml(
    f'<listOfFunctionDefinitions><functionDefinition id="hill">{math("<lambda><bvar><ci>s</ci></bvar><bvar><ci>n</ci></bvar>" + apply("divide", apply("power", ci("s"), ci("n")), apply("plus", cn(1), apply("power", ci("s"), ci("n")))) + "</lambda>")}</functionDefinition></listOfFunctionDefinitions>'
    '<listOfCompartments><compartment id="V" size="2" spatialDimensions="3" constant="false"/></listOfCompartments>'
    "<listOfSpecies>"
    '<species id="S" compartment="V" initialConcentration="3" hasOnlySubstanceUnits="false" boundaryCondition="false" constant="false"/>'
    '<species id="P" compartment="V" initialAmount="1" hasOnlySubstanceUnits="true" boundaryCondition="false" constant="false"/>'
    '<species id="E" compartment="V" initialConcentration="0.5" hasOnlySubstanceUnits="false" boundaryCondition="true" constant="true"/>'
    "</listOfSpecies><listOfParameters>" + parameter("n", 2) + parameter("a") + parameter("total", constant=False) + "</listOfParameters>"
    f'<listOfInitialAssignments><initialAssignment symbol="a">{math(apply("times", cn(3), ci("n")))}</initialAssignment>'
    f'<initialAssignment symbol="S">{math(apply("divide", ci("a"), cn(2)))}</initialAssignment></listOfInitialAssignments>'
    "<listOfRules>" + rate_rule("V", cn(0.1))
    + f'<assignmentRule variable="total">{math(apply("plus", apply("times", ci("S"), ci("V")), ci("P")))}</assignmentRule></listOfRules>'
    '<listOfReactions><reaction id="R" reversible="false" fast="false"><listOfReactants><speciesReference species="S" stoichiometry="1" '
    'constant="true"/></listOfReactants><listOfProducts><speciesReference species="P" stoichiometry="2" constant="true"/></listOfProducts>'
    '<listOfModifiers><modifierSpeciesReference species="E"/></listOfModifiers>'
    f'<kineticLaw>{math(apply("times", ci("V"), ci("k"), ci("E"), "<apply><ci>hill</ci><ci>S</ci><ci>n</ci></apply>"))}'
    '<listOfLocalParameters><localParameter id="k" value="0.7"/></listOfLocalParameters></kineticLaw></reaction></listOfReactions>'
)  # fmt: skip


def test_functions_assignments_volumes_and_amounts_against_scipy_and_roadrunner():
    from scipy.integrate import solve_ivp

    model = load_kinetics(MIXED)
    assert model.states == ("S", "P", "E", "V")
    assert model.assigned == ("a", "total")
    assert set(model.parameters) == {"n", "R.k"}
    assert set(model.initial) == {"P", "E", "V"}
    np.testing.assert_allclose(model.initial_state({"n": 4.0}), [6.0, 1.0, 0.5, 2.0])

    def field(t, y):
        v = y[3] * 0.7 * y[2] * y[0] ** 2 / (1 + y[0] ** 2)
        return [(-v - y[0] * 0.1) / y[3], 2 * v, -y[2] * 0.1 / y[3], 0.1]

    np.testing.assert_allclose(
        model.vector_field(0.0, jnp.array([2.0, 1.0, 0.5, 3.0])), field(0, [2.0, 1.0, 0.5, 3.0]), rtol=1e-14
    )
    times = np.linspace(0, 10, 6)
    run = simulate_kinetics(model, times).check()
    exact = solve_ivp(field, (0, 10), [3.0, 1.0, 0.5, 2.0], t_eval=times, rtol=1e-12, atol=1e-12, method="DOP853").y.T
    np.testing.assert_allclose(run.values, exact, rtol=1e-7)
    seen = model.observables(0.0, run.values[-1])
    np.testing.assert_allclose(seen["total"], exact[-1, 0] * exact[-1, 3] + exact[-1, 1], rtol=1e-7)
    assert set(model.fluxes(0.0, run.values[-1])) == {"R"}
    roadrunner = pytest.importorskip("roadrunner")
    peer = roadrunner.RoadRunner(MIXED)
    peer.integrator.relative_tolerance, peer.integrator.absolute_tolerance = 1e-11, 1e-13
    peer.timeCourseSelections = ["[S]", "P", "[E]", "V"]
    np.testing.assert_allclose(run.values, np.array(peer.simulate(0, 10, 6)), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_vector_fields_of_published_models_agree_with_roadrunner(name, shared):
    roadrunner = pytest.importorskip("roadrunner")
    file = str(shared / "metabolic" / "kinetic_sbml" / f"{name}.xml")
    model, peer = load_kinetics(file), roadrunner.RoadRunner(file)
    y = model.initial_state()
    ids = peer.model.getFloatingSpeciesIds()
    where = [ids.index(s) for s in model.states]
    np.testing.assert_allclose(y, peer.model.getFloatingSpeciesConcentrations()[where], rtol=1e-12)
    rates = peer.model.getFloatingSpeciesConcentrationRates()[where]
    np.testing.assert_allclose(model.vector_field(0.0, y), rates, rtol=1e-9, atol=1e-9 * np.abs(rates).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_trajectories_of_published_models_agree_with_roadrunner(name, shared):
    roadrunner = pytest.importorskip("roadrunner")
    file = str(shared / "metabolic" / "kinetic_sbml" / f"{name}.xml")
    model, peer = load_kinetics(file), roadrunner.RoadRunner(file)
    peer.integrator.relative_tolerance, peer.integrator.absolute_tolerance = 1e-12, 1e-15
    peer.integrator.maximum_num_steps = 1_000_000
    peer.timeCourseSelections = [f"[{s}]" for s in model.states]
    theirs = np.array(peer.simulate(0, 10, 101))
    run = simulate_kinetics(model, np.linspace(0, 10, 101), rtol=1e-10, atol=1e-12, max_steps=20_000).check()
    assert np.max(np.abs(run.values - theirs) / np.abs(theirs).max(axis=0)) <= 1e-6


@pytest.fixture(scope="module")
def repressilator(shared):
    return load_kinetics(shared / "metabolic" / "kinetic_sbml" / "Elowitz_Nature2000.xml")


def dataset(shared, name):
    rows = (shared / "metabolic" / "kinetic_sbml" / name).read_text().splitlines()
    table = np.array([[float(v) for v in row.split(",")] for row in rows[1:]])
    return table[:, 0], dict(zip(rows[0].split(",")[1:], table[:, 1:].T, strict=True))


@pytest.mark.slow
def test_derivatives_against_differences_and_a_batch_against_a_loop(repressilator):
    times = jnp.linspace(0.0, 10.0, 5)
    names = [*[n for n in repressilator.parameters if not n.startswith("init")][:4], "init_X_mRNA"]
    at = {n: jnp.maximum(repressilator.parameters[n], 1e-2) for n in names}
    run = jax.jit(lambda q: simulate_kinetics(repressilator, times, q, max_steps=512).values)
    size = 1 + jnp.abs(run(at))
    slope = jax.jit(
        jax.grad(lambda q: jnp.sum((simulate_kinetics(repressilator, times, q, max_steps=512).values / size) ** 2))
    )(at)
    for name in names:
        h = 1e-4 * at[name]
        up, down = (jnp.sum((run({**at, name: at[name] + s}) / size) ** 2) for s in (h, -h))
        np.testing.assert_allclose(slope[name], (up - down) / (2 * h), rtol=1e-4, atol=1e-6)
    two = {n: jnp.stack([v, 1.3 * v]) for n, v in at.items()}
    both = jax.jit(jax.vmap(lambda q: simulate_kinetics(repressilator, times, q, max_steps=512).values))(two)
    for i in range(2):
        np.testing.assert_allclose(both[i], run({n: v[i] for n, v in two.items()}), rtol=1e-9, atol=1e-9)


def test_many_members_eliminate_by_symbol(fed_model):
    """What takes over from LAPACK and XLA's power when there are many members."""
    cycle = "".join(
        rate_rule(
            f"x{i}",
            apply(
                "minus",
                apply("times", ci("k"), apply("power", ci(f"x{i - 1}"), ci("n"))),
                apply("times", cn(2), ci(f"x{i}")),
            ),
        )
        for i in range(4)
    ).replace("x-1", "x3")
    names = [*(parameter(f"x{i}", 1 + i, False) for i in range(4)), parameter("k", 1.0), parameter("n", 1.5)]
    model = load_kinetics(sbml(f"<listOfParameters>{''.join(names)}</listOfParameters><listOfRules>{cycle}</listOfRules>"))
    equations, rng = model.equations, np.random.default_rng(0)
    x, h, right = rng.uniform(0.5, 2, (7, 24)), rng.uniform(0.01, 10, 24), rng.normal(size=(4, 24))
    factors, f_t = equations.elimination.factors(jnp.asarray(x), jnp.asarray(h), 0.2, equations.settled(jnp.asarray(x[5:])))
    found = equations.elimination.solve(factors, jnp.asarray(right))
    k, n = (x[5 + equations.parameters.index(name)] for name in "kn")
    for b in range(24):
        matrix = np.eye(4) * (1 / (0.2 * h[b]) + 2)
        for i in range(4):
            matrix[i, i - 1] -= k[b] * n[b] * x[1 + (i - 1) % 4, b] ** (n[b] - 1)
        np.testing.assert_allclose(matrix @ found[:, b], right[:, b], rtol=1e-10, atol=1e-10)
    assert not np.any(f_t)


@pytest.mark.parametrize("base", [-2.0, 0.0, 1.7])
def test_powers_of_many_members_are_those_of_one(base):
    exponents = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 0.5, -0.5])
    with np.errstate(all="ignore"):
        expected = np.power(base, exponents)
    found = np.asarray(power(jnp.full(8, base), jnp.asarray(exponents)))
    if base == 0:  # 0 ** -1 has the sign of the zero in it
        found, expected = np.abs(found), np.abs(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.slow
def test_thirty_members_are_thirty_runs(fed_model, repressilator):
    """Also through events: members whose steps are cut at different times."""
    for model, name, values in (
        (fed_model, "low", np.linspace(0.5, 1.5, 30)),
        (repressilator, "n", np.linspace(1.5, 2.5, 30)),
    ):
        name = name if name in model.parameters else next(iter(model.parameters))
        values = values * float(model.parameters[name]) if model is repressilator else values
        run = jax.jit(
            lambda v, m=model, q=name: simulate_kinetics(m, jnp.linspace(0.0, 4.0, 9), {q: v}, max_steps=512).values
        )
        both = jax.jit(jax.vmap(run))(jnp.asarray(values))
        for i in (0, 13, 29):
            np.testing.assert_allclose(both[i], run(values[i]), rtol=1e-7, atol=1e-7)


@pytest.mark.slow
def test_diffrax_takes_the_vector_field(fed_model, repressilator):
    diffrax = pytest.importorskip("diffrax")
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(repressilator.vector_field), diffrax.Tsit5(), 0.0, 1.0, 0.01, repressilator.initial_state(), args=None,
        stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-8),
    )  # fmt: skip
    ours = simulate_kinetics(repressilator, jnp.array([1.0])).values[-1]
    np.testing.assert_allclose(ours, solution.ys[-1], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_fit_finds_the_parameters_that_made_the_data(repressilator, shared):
    times, values = dataset(shared, "Elowitz_Nature2000_dataset.csv")
    free = ["X_mRNA_degradation_tau_mRNA"] if "X_mRNA_degradation_tau_mRNA" in repressilator.parameters else None
    free = free or [n for n in repressilator.parameters if n.startswith("tau")][:2]
    truth = {n: float(repressilator.parameters[n]) for n in free}
    wrong = repressilator.replace({n: 1.5 * v for n, v in truth.items()})
    fit = fit_kinetics(wrong, (times, values), free, key=jax.random.key(0), starts=3, spread=0.2, steps=15, max_steps=512)
    assert fit.losses.shape == (3,)
    assert float(fit.losses[0]) <= 1e-3 * float(fit.first_losses.max())
    assert np.all(np.diff(fit.losses) >= 0)
    for name in free:
        np.testing.assert_allclose(fit.parameters[name][0], truth[name], rtol=1e-2)


@pytest.mark.slow
def test_single_precision():
    model = load_kinetics(MIXED)
    small = jax.tree.map(lambda v: v.astype(jnp.float32), model)
    times = np.linspace(0, 10, 4, dtype=np.float32)
    run = simulate_kinetics(small, times, rtol=1e-4, atol=1e-5)
    assert run.values.dtype == jnp.float32
    np.testing.assert_allclose(run.values, simulate_kinetics(model, times).values, rtol=1e-3)


REFUSED = {
    "algebraic rule": sbml(f"<listOfRules><algebraicRule>{math(ci('q'))}</algebraicRule></listOfRules>"),
    "'missing' does not exist": sbml(
        "<listOfParameters>" + parameter("x", 1, False) + "</listOfParameters><listOfRules>" + rate_rule("x", ci("missing")) + "</listOfRules>"
    ),
    "parameter 'k' has no value": sbml(
        "<listOfParameters>" + parameter("x", 1, False) + parameter("k") + "</listOfParameters><listOfRules>" + rate_rule("x", ci("k")) + "</listOfRules>"
    ),
    "has a delay": FED.replace("</trigger>", f"</trigger><delay>{math(cn(2))}</delay>", 1),
    "uses delay": sbml(
        "<listOfParameters>" + parameter("x", 1, False) + "</listOfParameters><listOfRules>"
        + rate_rule("x", '<apply><csymbol encoding="text" definitionURL="http://www.sbml.org/sbml/symbols/delay">delay</csymbol><ci>x</ci><cn>1</cn></apply>')
        + "</listOfRules>"
    ),
    "not valid SBML": "<sbml><model></sbml>",
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_supported_is_named(message):
    with pytest.raises(ValueError, match=message):
        load_kinetics(REFUSED[message])


@pytest.mark.slow
def test_wrong_calls(fed_model, tmp_path):
    with pytest.raises(FileNotFoundError, match="no SBML file"):
        load_kinetics(tmp_path / "nothing.xml")
    with pytest.raises(KeyError, match="Did you mean 'tau'"):
        simulate_kinetics(fed_model, jnp.array([1.0]), {"tua": 1.0})
    with pytest.raises(KeyError, match="belongs into `initial`"):
        simulate_kinetics(fed_model, jnp.array([1.0]), {"x": 1.0})
    with pytest.raises(ValueError, match="must increase"):
        simulate_kinetics(fed_model, np.array([1.0, 0.5]))
    with pytest.raises(ValueError, match="rtol is a number"):
        simulate_kinetics(fed_model, np.array([1.0]), rtol=0.0)
    with pytest.raises(RuntimeError, match="max_steps"):
        simulate_kinetics(fed_model, np.array([3.0]), max_steps=2).check()
    for message, call in {
        "free is empty": {"free": []},
        "needs key": {"free": ["k"], "starts": 2},
        "one value at each time": {"free": ["k"], "data": ([0.0, 1.0], {"x": [1.0]})},
        "'x' holds infinity": {"free": ["k"], "data": ([0.0, 1.0], {"x": [1.0, np.inf]})},
        "nothing was measured": {"free": ["k"], "data": ([0.0, 1.0], {"x": [np.nan, np.nan]})},
    }.items():
        with pytest.raises(ValueError, match=message):
            fit_kinetics(fed_model, **{"data": ([0.0, 1.0], {"x": [3.0, 2.0]}), **call})
    with pytest.raises(KeyError, match="measured quantity"):
        fit_kinetics(fed_model, ([0.0], {"y": [1.0]}), ["k"])
