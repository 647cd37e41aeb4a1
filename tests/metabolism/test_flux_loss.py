"""The physics-informed loss: zero exactly on the feasible set, convex, and the hard layer's twin."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from jaxsci import constraints, networks
from jaxsci.metabolism.files import load
from jaxsci.metabolism.flux_loss import flux_loss, flux_residuals
from jaxsci.metabolism.reaction_text import from_equations

TOY = from_equations(
    {"in": "-> a", "split": "a -> b + c", "back": "b <=> c", "b_out": "b ->", "c_out": "c ->"},
    bounds={"in": (0, 5), "b_out": (1, np.inf)},
)


@pytest.fixture(scope="module")
def core():
    return load("e_coli_core")


@pytest.fixture(scope="module")
def feasible(core):
    """Random points, and mixtures of vertices of the feasible set of the core model, found by another solver."""
    random = np.random.default_rng(0)
    bounds = np.stack([core.lower, core.upper], -1)
    found = [
        scipy.optimize.linprog(c, A_eq=core.stoichiometry, b_eq=np.zeros(72), bounds=bounds)
        for c in random.normal(size=(6, 95))
    ]
    mixed = random.dirichlet(np.ones(6), 3) @ np.stack([one.x for one in found])
    return jnp.asarray(20 * random.normal(size=(3, 95))), jnp.asarray(mixed)


def test_the_residuals_are_the_three_laws_by_hand():
    found = flux_residuals(TOY, jnp.array([6.0, 4.0, -1.0, 0.5, 3.0]), known={"split": 3.0, "in": 6.0})
    np.testing.assert_allclose(found.balance, [2.0, 4.5, 0.0])
    np.testing.assert_allclose(found.bounds, [1.0, 0.0, 0.0, -0.5, 0.0])
    np.testing.assert_allclose(found.known, [1.0, 0.0])


def test_feasible_fluxes_cost_nothing_and_every_law_that_is_broken_costs(core, feasible):
    points, mixed = feasible
    loss = flux_loss(core)
    assert (np.asarray(loss(mixed)) < 1e-12).all()
    assert (np.asarray(loss(points)) > 100).all()
    for name in ("PFK", "EX_glc__D_e", core.reactions[0]):  # mass
        assert float(loss(mixed[0].at[core.index(name)].add(0.01))) > 0.9e-4
    tripled = 3 * mixed[0]  # S v = 0 still
    found = flux_residuals(core, tripled)
    assert float(jnp.abs(found.balance).max()) < 1e-8
    assert float(loss(tripled)) > 1
    np.testing.assert_allclose(loss(tripled), (found.bounds**2).sum(), rtol=1e-9)


@pytest.mark.slow
def test_its_minimum_is_the_feasible_set():
    """A convex spline of squares: descent ends on the set from wherever it starts; the hard twin, projection, leaves it there."""
    model = TOY.with_bounds({"b_out": (1, 4), "c_out": (0, 4), "split": (0, 9), "back": (-9, 9)})
    loss = flux_loss(model)
    starts = 10 * jax.random.normal(jax.random.key(1), (4, 5))

    def descend(loss, v):
        return jax.lax.fori_loop(0, 1500, lambda _, v: v - 0.1 * jax.grad(loss)(v), v)

    found = jax.jit(jax.vmap(lambda v: descend(loss, v)))(starts)
    assert (np.asarray(loss(starts)) > 10).all()
    assert (np.asarray(loss(found)) < 1e-12).all()
    S = jnp.asarray(model.stoichiometry)
    polytope = constraints.Polytope(A=S, b=jnp.zeros(3), lower=jnp.asarray(model.lower), upper=jnp.asarray(model.upper))
    hard = jnp.stack([constraints.project(polytope, v)[0] for v in found[:1]])
    np.testing.assert_allclose(hard, found[:1], atol=1e-5)
    # No feasible point: the minimum stays above zero.
    impossible = flux_loss(TOY, known={"in": 5.0, "c_out": 9.0, "b_out": 3.0})
    assert 0.1 < float(impossible(jax.jit(lambda v: descend(impossible, v))(starts[0]))) < 20


def test_known_fluxes_and_rate_laws_pull_with_their_weight():
    def rate(p):  # Michaelis-Menten
        return p["vmax"] * 2.0 / (p["km"] + 2.0)

    v = jnp.array([4.0, 4.0, 0.0, 4.0, 4.0])

    def loss(p):
        return flux_loss(TOY, known={"split": rate(p), "b_out": 4.5}, weights={"known": jnp.array([3.0, 100.0])})(v)

    p = {"vmax": 3.0, "km": 1.0}
    assert float(loss(p)) == pytest.approx(3 * (4 - 2) ** 2 + 100 * 0.25)
    assert float(jax.grad(loss)(p)["vmax"]) == pytest.approx(2 * 3 * (2 - 4) * 2 / 3)
    assert float(flux_loss(TOY, weights={"balance": 0.0, "bounds": 0.0})(jnp.full(5, -7.0))) == 0


def test_batches_pytrees_jit_and_both_precisions(core, feasible):
    points = feasible[0]
    loss = flux_loss(core)
    batch = jax.jit(loss)(points)
    np.testing.assert_allclose(batch, [loss(v) for v in points], rtol=1e-12)
    np.testing.assert_allclose(batch, jax.vmap(loss)(points), rtol=1e-12)
    named = {name: points[:, j] for j, name in enumerate(core.reactions)}
    np.testing.assert_allclose(loss(named), batch, rtol=1e-12)
    single = loss(points.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, batch, rtol=1e-4)
    # Bounds are a batch of media, and differentiable.
    media = core.with_medium({"EX_glc__D_e": jnp.array([1.0, 5.0, 9.0])})
    slope = jax.grad(lambda lower: flux_loss(type(core)(core.network, lower, media.upper, media.objective))(points).sum())(
        media.lower
    )
    below = np.minimum(np.asarray(points) - np.asarray(media.lower), 0)
    np.testing.assert_allclose(slope, -2 * below, atol=1e-10)


def test_the_gradient_is_that_of_finite_differences():
    loss = flux_loss(TOY, known={"split": 1.0})
    v = jnp.array([6.0, 4.0, -1.0, 0.5, 3.0])
    h = 1e-5
    by_hand = [(loss(v.at[j].add(h)) - loss(v.at[j].add(-h))) / (2 * h) for j in range(5)]
    np.testing.assert_allclose(jax.grad(loss)(v), by_hand, rtol=1e-7, atol=1e-7)


def test_a_network_trains_with_it_to_fluxes_that_nearly_balance():
    """Any network: here from the uptake bound to the fluxes of the toy."""
    network = networks.MLP((8,))
    params = network.init(jax.random.key(0), inputs=1, outputs=5)
    bounds = jnp.linspace(2.0, 6.0, 8)
    laws = jax.vmap(lambda u: flux_loss(TOY.with_bounds({"in": (u, u)}))(5 * network.apply(params, u[None] / 6)))

    def total(params):
        fluxes = jax.vmap(lambda u: 5 * network.apply(params, u[None] / 6))(bounds)
        return jax.vmap(lambda u, v: flux_loss(TOY, known={"in": u})(v))(jnp.minimum(bounds, 5.0), fluxes).mean()

    optimiser = optax.adam(0.02)

    @jax.jit
    def train(params):
        def step(carried, _):
            params, state = carried
            change, state = optimiser.update(jax.grad(total)(params), state)
            return (optax.apply_updates(params, change), state), None

        return jax.lax.scan(step, (params, optimiser.init(params)), None, length=400)[0][0]

    assert float(laws(bounds).mean()) > 1
    assert float(total(train(params))) < 5e-3 * float(total(params))


def test_bad_input_is_refused_with_a_cure(core):
    with pytest.raises(ValueError, match=r"5 reactions\], got shape \[4\]"):
        flux_loss(TOY)(jnp.zeros(4))
    with pytest.raises(KeyError, match="balnce"):
        flux_loss(TOY, weights={"balnce": 1.0})
    with pytest.raises(ValueError, match="'bounds' is a number >= 0"):
        flux_loss(TOY, weights={"bounds": -1.0})
    with pytest.raises(KeyError, match="PFKK"):
        flux_loss(core, known={"PFKK": 1.0})
    with pytest.raises(KeyError, match="missing"):
        flux_loss(TOY)({"in": 1.0})
