"""Optimisers on a least-squares problem whose optimum is known: it is linear, so numpy solves it."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsci as js
from jaxsci.learning import FirstOrder, LevenbergMarquardt
from jaxsci.learning.objective import Objective
from jaxsci.learning.sampling import ResidualDensity, even_points
from jaxsci.learning.training import Fit, Scheme, start
from jaxsci.learning.training import minimise as run

KEY = jax.random.key(2)
DECAY = js.Equation(lambda u: u.t + 3 * u, name="decay")
PROBLEM = js.Problem(DECAY, js.Box(t=(0, 1)), initial={"u": 1.0})


class Cubic:
    """u = 1 + t (c0 + c1 z + c2 z^2 + c3 z^3) with z = 2 t - 1: a network that is linear in its parameters."""

    def init(self, key, inputs, outputs):
        return {"c": jax.random.normal(key, (4,))}

    def apply(self, parameters, z):
        return jnp.polyval(parameters["c"][::-1], z)


OBJECTIVE = Objective.of(PROBLEM, Cubic())


def optimum(points):
    """By numpy, from the ansatz written out by hand: u_t + 3 u at the points."""
    t = np.asarray(points)[:, 0]
    z = 2 * t - 1
    columns = [z**k + t * (k * z ** max(k - 1, 0) * 2) + 3 * t * z**k for k in range(4)]
    return np.linalg.lstsq(np.stack(columns, axis=1), np.full_like(t, -3.0))[0]


@functools.cache
def begin():
    return start(OBJECTIVE, PROBLEM.coefficients, KEY)


def minimise(optimiser, deadline=math.inf, progress=None, fit=None):
    return run(
        OBJECTIVE,
        optimiser,
        fit or begin(),
        PROBLEM.coefficients,
        KEY,
        scheme=Scheme(),
        deadline=deadline,
        progress=progress,
    )


def network(c):
    return {"network": {"c": jnp.asarray(c)}, "coefficients": {}}


def found(fit):
    return fit.unknowns["network"]["c"]


def first_points():
    return ResidualDensity().draw(OBJECTIVE, begin().unknowns, PROBLEM.coefficients, jax.random.fold_in(KEY, 0), 300)


def rms(c):
    points = even_points(OBJECTIVE, jax.random.key(0), 5000)
    return float(jnp.sqrt(jnp.mean(OBJECTIVE.residual(network(c), PROBLEM.coefficients, points) ** 2)))


def test_a_start_is_fresh_parameters_with_their_residual():
    assert begin().steps == 0
    assert begin().residual == pytest.approx(rms(found(begin())), rel=2e-3)


def test_levenberg_marquardt_finds_the_optimum_and_says_that_it_converged():
    method = LevenbergMarquardt(points=300, resample=10_000)
    points = first_points()
    fit = minimise(method)
    # A step is judged by the sum of squares, which is flat at the optimum to the root of round-off.
    np.testing.assert_allclose(found(fit), optimum(points), rtol=1e-8)
    assert fit.stopped == "converged"
    assert 5 < fit.steps < 50
    assert fit.residual == pytest.approx(rms(found(fit)), rel=2e-3)
    assert fit.residual > 0.01, "the optimum is no zero: the descent had to end at a minimum of the sum of squares"


def test_its_first_step_is_the_damped_normal_equation_step():
    points = first_points()
    residual = lambda c: OBJECTIVE.residual(network(c), PROBLEM.coefficients, points)[:, 0]
    c = found(begin())
    jacobian, value = np.asarray(jax.jacfwd(residual)(c)), np.asarray(residual(c))
    fit = minimise(LevenbergMarquardt(points=300, steps=1, damping=4.0))
    mu = 4.0 / 2  # the damping is halved before it is tried, and a linear problem accepts it
    step = np.linalg.solve(jacobian.T @ jacobian / 300 + mu**2 * np.eye(4), -jacobian.T @ value / 300)
    np.testing.assert_allclose(found(fit), c + step, rtol=1e-11)
    assert (fit.stopped, fit.steps) == ("steps", 1)


def test_first_order_descends_to_the_optimum():
    fit = minimise(FirstOrder(optax.adam(optax.exponential_decay(0.3, 200, 0.5)), steps=1500, points=400))
    best = rms(optimum(even_points(OBJECTIVE, jax.random.key(0), 5000)))
    assert (fit.stopped, fit.steps) == ("steps", 1500)
    assert best <= fit.residual < 1.1 * best  # the points are drawn with a bias to large residuals
    assert fit.residual < begin().residual / 5


def test_first_order_takes_the_number_of_steps_it_is_told():
    counting = optax.scale_by_schedule(lambda count: -0.0 * count)
    for steps in (7, 150):  # below and above the length of a compiled chunk
        lines = []
        fit = minimise(FirstOrder(counting, steps=steps, points=50), progress=lines.append)
        assert fit.steps == steps
        assert lines[-1].startswith(f"FirstOrder step {steps}: residual ")


def test_default_adam_makes_progress():
    assert minimise(FirstOrder(steps=200, points=100)).residual < 0.9 * begin().residual


@pytest.mark.parametrize(
    "method", [FirstOrder(steps=100, points=50), LevenbergMarquardt(points=300)], ids=["first", "second"]
)
def test_a_deadline_in_the_past_leaves_the_parameters_and_says_budget(method):
    fit = minimise(method, deadline=0.0)
    assert (fit.stopped, fit.steps) == ("budget", 0)
    assert (found(fit) == found(begin())).all()


@pytest.mark.slow
def test_a_descent_that_blows_up_returns_what_it_began_with():
    fit = minimise(FirstOrder(optax.sgd(1e6), steps=100, points=50))
    assert fit.stopped == "not finite"
    assert (found(fit) == found(begin())).all()
    assert fit.residual == begin().residual


def test_steps_add_up_over_optimisers_and_nothing_good_is_lost():
    first = minimise(FirstOrder(steps=100, points=50))
    best = Fit(network(optimum(even_points(OBJECTIVE, KEY, 4096))), 0.0, 40, "steps")  # as good as it gets
    assert minimise(LevenbergMarquardt(points=300, steps=5), fit=first).steps == 105
    kept = minimise(LevenbergMarquardt(points=300, steps=5), fit=best)
    assert (found(kept) == found(best)).all()
    assert (kept.steps, kept.residual) == (45, 0.0)


def test_points_are_drawn_anew_as_often_as_told():
    seldom, often = (minimise(LevenbergMarquardt(points=300, steps=30, resample=r)) for r in (100, 3))
    gap = np.abs(np.asarray(found(seldom) - found(often))).max()
    assert 1e-6 < gap < 0.2  # other points, another optimum, nearby


def test_progress_is_told():
    lines = []
    minimise(FirstOrder(steps=250, points=50), progress=lines.append)
    assert [int(re.search(r"step (\d+)", line)[1]) for line in lines] == [100, 200, 250]
    assert all(re.fullmatch(r"FirstOrder step \d+: residual \d\.\de[-+]\d\d", x) for x in lines)


@pytest.mark.slow
def test_the_number_of_points_follows_the_number_of_parameters():
    class Wide(Cubic):
        def init(self, key, inputs, outputs):
            return {"c": jnp.zeros(4), "unused": jnp.zeros(400)}

    objective = Objective.of(PROBLEM, Wide())
    fit = run(
        objective,
        LevenbergMarquardt(steps=1),
        start(objective, PROBLEM.coefficients, KEY),
        PROBLEM.coefficients,
        KEY,
        scheme=Scheme(),
    )
    assert fit.unknowns["network"]["unused"].shape == (400,)
    assert (fit.unknowns["network"]["unused"] == 0).all()  # a direction without slope is left alone


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FirstOrder(steps=0), "FirstOrder: steps must be a positive whole number, got 0"),
        (lambda: FirstOrder(points=2.5), r"FirstOrder: points must be a positive whole number, got 2\.5"),
        (lambda: LevenbergMarquardt(resample=0), "LevenbergMarquardt: resample must be a positive whole number, got 0"),
        (lambda: LevenbergMarquardt(steps=-1), "LevenbergMarquardt: steps must be a positive whole number, got -1"),
        (lambda: LevenbergMarquardt(points=0), "LevenbergMarquardt: points must be a positive whole number, got 0"),
        (lambda: LevenbergMarquardt(target_ratio=1.5), "target_ratio must lie between 0 and 1"),
        (lambda: LevenbergMarquardt(damping=0.0), "damping be positive"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
