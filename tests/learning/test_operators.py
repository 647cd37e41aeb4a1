"""Operators trained on the residual of a family: they learn, they know when they do not, and what they refuse."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsci as js
from jaxsci.learning import Even, FirstOrder, LevenbergMarquardt, PhysicsInformedOperator, Scheme, operators
from jaxsci.networks import FNO, MLP, DeepONet

DEEP = DeepONet(MLP((8,)), MLP((8,)), sensors=1, rank=5)


def heat_family(key):
    return js.problems.heat(diffusivity=jax.random.uniform(key, minval=0.1, maxval=0.5))


def heats(*values):
    return [js.problems.heat(diffusivity=value) for value in values]


def operator(optimiser, budget=None):
    return PhysicsInformedOperator(heat_family, DEEP, optimiser, Scheme(Even()), budget=budget, grid=16)


@functools.cache
def trained():
    return operator(LevenbergMarquardt(points=300, steps=40)).fit(jax.random.key(1))


@functools.cache
def untrained():
    return operator(LevenbergMarquardt(points=300, steps=40), budget=1e-9).fit(jax.random.key(1))


def worst_error(operator, problems):
    return max(js.relative_l2(operator(problem), problem.reference()) for problem in problems)


@pytest.mark.slow
def test_a_small_deeponet_learns_a_family_from_its_residual_alone():
    members = heats(0.12, 0.3, 0.48)
    assert untrained().stats["stopped"] == "budget"
    before, after = worst_error(untrained(), members), worst_error(trained(), members)
    assert before > 0.3
    assert after < 1e-2  # measured 3e-3
    assert trained().stats["residual"] < untrained().stats["residual"] / 50
    assert trained().stats["steps"] == 40
    assert trained().cost.training_seconds > 0


@pytest.mark.slow
def test_a_solution_holds_its_conditions_and_estimates_its_error():
    for problem in heats(0.15, 0.45):
        solution = js.solve(problem, trained())  # the operator is a method
        x = np.linspace(0, 1, 9)
        np.testing.assert_allclose(solution.evaluate(t=0.0, x=x), np.sin(np.pi * x), atol=1e-15)
        np.testing.assert_allclose(solution.evaluate(t=x, x=1.0), 0.0, atol=1e-15)
        error = js.relative_l2(solution, problem.reference())
        assert error < float(solution.error_estimate) < 50 * error


@pytest.mark.slow
def test_an_error_outside_of_the_family_is_seen_in_the_estimate():
    """The negative control: four times the largest diffusivity that it was trained for."""
    inside, outside = (trained()(problem) for problem in heats(0.3, 2.0))
    error = js.relative_l2(outside, outside.problem.reference())
    assert error > 10 * js.relative_l2(inside, inside.problem.reference())
    assert float(outside.error_estimate) > max(error, 10 * float(inside.error_estimate))


@pytest.mark.slow
def test_members_are_evaluated_together_and_differentiated():
    operator = trained()  # before any tracing: training is no part of the program

    def middle(diffusivity):
        return operator(js.problems.heat(diffusivity=diffusivity), ts=[0.0, 0.2]).fields[-1, 0, 8]

    values = jnp.array([0.2, 0.4])
    got, slope = jax.jit(lambda v: jax.jvp(jax.vmap(middle), (v,), (jnp.ones(2),)))(values)
    exact = np.exp(-(np.pi**2) * np.asarray(values) * 0.2)
    np.testing.assert_allclose(got, exact, rtol=0.02)
    np.testing.assert_allclose(slope, -(np.pi**2) * 0.2 * exact, rtol=0.1)


def test_data_are_points_with_their_members_and_values():
    objective, unknowns = trained().objective, trained().unknowns
    (problem,) = heats(0.2)
    points, targets = objective.observe(problem.reference(ts=[0.0, 1.0]), 5, jax.random.key(2))
    t, x, member = np.asarray(points).T
    assert (member == 0.2).all()
    np.testing.assert_allclose(targets[:, 0], np.exp(-(np.pi**2) * 0.2 * t) * np.sin(np.pi * x), rtol=1e-6)
    misfit = jax.jit(lambda points: objective.part("data", unknowns, heats(0.4)[0].coefficients, points, targets))
    assert 0 < float(jnp.abs(misfit(points)).max()) < 0.01, "the member of the point, not of the problem"
    assert float(jnp.abs(misfit(points.at[:, 2].set(0.4))).max()) > 0.05


@pytest.mark.slow
def test_data_join_the_loss():
    """Solutions that are wrong by a known function pull the operator towards them, against its residual."""
    bump = lambda t, x: 0.3 * t * jnp.sin(jnp.pi * x)
    exact = [problem.reference() for problem in heats(0.2, 0.4)]
    wrong = [
        dataclasses.replace(s, field=jax.tree_util.Partial(lambda t, x, s=s: s.field(t, x) + bump(t, x))) for s in exact
    ]
    pulled = operator(FirstOrder(steps=100, points=100)).fit(jax.random.key(1), data=wrong, samples=50)(exact[1].problem)
    assert float(pulled.evaluate(t=0.9, x=0.5) - exact[1].evaluate(t=0.9, x=0.5)) > 0.1


# --- on a grid --------------------------------------------------------------------------------------------------------

BOX = js.Box(t=(0, 1), x=(0, 1))
RING = js.Problem(
    js.problems.heat().equation, BOX, coefficients={"diffusivity": 0.02}, initial={"u": lambda x: js.sin(2 * np.pi * x)}
)
ON_GRID = FNO(modes=(3,), channels=8, layers=1)


def ring_family(key):
    one, two = jax.random.split(key)
    start = js.problems.random_fourier_series(two, BOX, cutoff=1, rms=1.0)
    return RING.with_coefficients(diffusivity=jax.random.uniform(one, minval=0.01, maxval=0.03)).with_initial(u=start)


def grid_operator(steps):
    adam = optax.adam(optax.exponential_decay(1e-2, steps // 4, 0.5))
    optimiser = FirstOrder(adam, steps=steps, points=8, resample=50)
    return PhysicsInformedOperator(ring_family, ON_GRID, optimiser, Scheme(Even()), budget=None, grid=8, nodes=5)


@functools.cache
def on_grid():
    return grid_operator(400).fit(jax.random.key(0))


@pytest.mark.slow
def test_a_small_fno_learns_evolutions_from_their_residual_alone():
    members = [ring_family(jax.random.key(50 + i)) for i in range(2)]
    x = np.linspace(0, 1, 9)
    for problem in members:
        solution = on_grid()(problem)
        exact = js.solve(problem, js.Spectral(n=16))
        np.testing.assert_allclose(
            solution.evaluate(t=0.0, x=x), exact.evaluate(t=0.0, x=x), atol=1e-13, err_msg="the start is held"
        )
        error = js.relative_l2(solution, exact)
        assert error < 0.05
        assert error < float(solution.error_estimate)


class Table:
    """A network that gives its parameters."""

    def apply(self, parameters, a):
        return parameters["table"]


@pytest.mark.slow
def test_the_residual_on_the_grid_is_that_of_the_interpolant():
    """Two independent ways to the same number: matrices on the grid, and Taylor arithmetic on the field at the nodes."""
    problem = ring_family(jax.random.key(7))
    objective = dataclasses.replace(grid_operator(1)._objective(problem), network=Table())
    unknowns = {"network": {"table": np.random.default_rng(0).normal(size=(4, 9))}, "coefficients": {}}
    numbers = objective.members.numbers(problem.coefficients)
    point = jnp.concatenate([jnp.zeros(2), numbers])[None]
    columns = {name: column.ravel() for name, column in objective.columns(jnp.float64).items()}

    @jax.jit
    def both(unknowns):
        field = objective.field(unknowns, problem.coefficients)
        on_nodes = objective.residual(unknowns, problem.coefficients, point)[0]
        start = jax.vmap(lambda x: field(0.0, x)[0])(jnp.linspace(0, 1, 7))
        return on_nodes, js.residual(problem)(field, None, columns)[:, 0], start

    on_nodes, pointwise, start = both(unknowns)
    np.testing.assert_allclose(on_nodes, pointwise, atol=1e-11 * float(jnp.abs(pointwise).max()))
    assert float(jnp.abs(pointwise).max()) > 0.1
    expected = jax.vmap(problem.coefficients["u_start"])(jnp.linspace(0, 1, 7))
    np.testing.assert_allclose(start, expected, atol=1e-13)


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PhysicsInformedOperator("heat", DEEP), TypeError, "family must be a function key -> Problem, got 'heat'"),
        (lambda: PhysicsInformedOperator(heat_family, "net"), TypeError, "network must have init and apply.* got 'net'"),
        (
            lambda: PhysicsInformedOperator(heat_family, DEEP, grid=0),
            ValueError,
            "grid must be a positive whole number, got 0",
        ),
        (
            lambda: PhysicsInformedOperator(heat_family, DEEP, nodes=2),
            ValueError,
            "nodes must be a whole number above 2, got 2",
        ),
        (
            lambda: PhysicsInformedOperator(heat_family, DeepONet(MLP((2,)), MLP((2,)), sensors=3)).fit(),
            ValueError,
            "the members of the family differ in 1 numbers, but the network has 3 sensors; give it sensors=1",
        ),
        (
            lambda: PhysicsInformedOperator(lambda key: js.problems.heat(), DEEP).fit(),
            ValueError,
            "all draws of the family are one problem",
        ),
        (lambda: PhysicsInformedOperator(lambda key: 1.0, DEEP).fit(), TypeError, "must be a Problem, got float"),
        (
            lambda: PhysicsInformedOperator(heat_family, FNO((3,))).fit(),
            ValueError,
            r"an FNO is trained on problems that are periodic in space .* has walls of \['x'\]",
        ),
        (lambda: trained()(js.problems.burgers()), ValueError, "was trained for the family of heat: .* does not belong"),
        (
            lambda: operators._check_member(
                grid_operator(1)._objective(ring_family(jax.random.key(0))),
                RING.with_initial(u=js.problems.random_fourier_series(jax.random.key(0), BOX, cutoff=2)),
            ),
            ValueError,
            r"its coefficients have the shapes \[\(\), \(2, 3\)\], those of the family \[\(\), \(2, 2\)\]",
        ),
    ],
)
def test_what_cannot_be_trained_or_evaluated_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
