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
from jaxsci.learning.objective import Objective, draw_points, even_points
from jaxsci.learning.optimisers import Fit, start

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
    return start(OBJECTIVE, PROBLEM, KEY)


def minimise(optimiser, deadline=math.inf, progress=None, fit=None):
    return optimiser.minimise(OBJECTIVE, fit or begin(), PROBLEM, KEY, deadline, progress)


def rms(c):
    points = even_points(OBJECTIVE, jax.random.key(0), 5000)
    return float(jnp.sqrt(jnp.mean(OBJECTIVE({"c": jnp.asarray(c)}, PROBLEM, points) ** 2)))


def test_a_start_is_fresh_parameters_with_their_residual():
    assert begin().steps == 0
    assert begin().residual == pytest.approx(rms(begin().parameters["c"]), rel=2e-3)


def test_levenberg_marquardt_finds_the_optimum_and_says_that_it_converged():
    method = LevenbergMarquardt(points=300, resample=10_000)
    points = draw_points(OBJECTIVE, begin().parameters, PROBLEM, jax.random.fold_in(KEY, 0), 300)
    fit = minimise(method)
    # A step is judged by the sum of squares, which is flat at the optimum to the root of round-off.
    np.testing.assert_allclose(fit.parameters["c"], optimum(points), rtol=1e-8)
    assert fit.stopped == "converged"
    assert 5 < fit.steps < 50
    assert fit.residual == pytest.approx(rms(fit.parameters["c"]), rel=2e-3)
    assert fit.residual > 0.01, "the optimum is no zero: the descent had to end at a minimum of the sum of squares"


def test_its_first_step_is_the_damped_normal_equation_step():
    points = draw_points(OBJECTIVE, begin().parameters, PROBLEM, jax.random.fold_in(KEY, 0), 300)
    residual = lambda c: OBJECTIVE({"c": c}, PROBLEM, points)[:, 0]
    c = begin().parameters["c"]
    jacobian, value = np.asarray(jax.jacfwd(residual)(c)), np.asarray(residual(c))
    fit = minimise(LevenbergMarquardt(points=300, max_steps=1, damping=4.0))
    mu = 4.0 / 2  # the damping is halved before it is tried, and a linear problem accepts it
    step = np.linalg.solve(jacobian.T @ jacobian + mu**2 * np.eye(4), -jacobian.T @ value)
    np.testing.assert_allclose(fit.parameters["c"], c + step, rtol=1e-11)
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
    assert (fit.parameters["c"] == begin().parameters["c"]).all()


def test_a_descent_that_blows_up_returns_what_it_began_with():
    fit = minimise(FirstOrder(optax.sgd(1e6), steps=100, points=50))
    assert fit.stopped == "not finite"
    assert (fit.parameters["c"] == begin().parameters["c"]).all()
    assert fit.residual == begin().residual


def test_steps_add_up_over_optimisers_and_nothing_good_is_lost():
    first = minimise(FirstOrder(steps=100, points=50))
    best = Fit({"c": jnp.asarray(optimum(even_points(OBJECTIVE, KEY, 4096)))}, 0.0, 40, "steps")  # as good as it gets
    assert minimise(LevenbergMarquardt(points=300, max_steps=5), fit=first).steps == 105
    kept = minimise(LevenbergMarquardt(points=300, max_steps=5), fit=best)
    assert (kept.parameters["c"] == best.parameters["c"]).all()
    assert (kept.steps, kept.residual) == (45, 0.0)


def test_points_are_drawn_anew_as_often_as_told():
    seldom, often = (minimise(LevenbergMarquardt(points=300, max_steps=30, resample=r)) for r in (100, 3))
    gap = np.abs(np.asarray(seldom.parameters["c"] - often.parameters["c"])).max()
    assert 1e-6 < gap < 0.2  # other points, another optimum, nearby


def test_progress_is_told():
    lines = []
    minimise(LevenbergMarquardt(points=300, resample=2, max_steps=45), progress=lines.append)
    assert [int(re.search(r"step (\d+)", line)[1]) for line in lines] == [20, 40]
    assert all(
        re.fullmatch(r"LevenbergMarquardt step \d+: residual \d\.\de[-+]\d\d, damping \d\.\de[-+]\d\d", x) for x in lines
    )


def test_the_number_of_points_follows_the_number_of_parameters():
    class Wide(Cubic):
        def init(self, key, inputs, outputs):
            return {"c": jnp.zeros(4), "unused": jnp.zeros(400)}

    objective = Objective.of(PROBLEM, Wide())
    fit = LevenbergMarquardt(max_steps=1).minimise(objective, start(objective, PROBLEM, KEY), PROBLEM, KEY, math.inf, None)
    assert fit.parameters["unused"].shape == (400,)
    assert (fit.parameters["unused"] == 0).all()  # a direction without slope is left alone


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FirstOrder(steps=0), "FirstOrder: steps must be a positive whole number, got 0"),
        (lambda: FirstOrder(points=2.5), r"FirstOrder: points must be a positive whole number, got 2\.5"),
        (lambda: LevenbergMarquardt(resample=0), "LevenbergMarquardt: resample must be a positive whole number, got 0"),
        (lambda: LevenbergMarquardt(max_steps=-1), "LevenbergMarquardt: max_steps must be a positive whole number, got -1"),
        (lambda: LevenbergMarquardt(points=0), "LevenbergMarquardt: points must be a positive whole number, got 0"),
        (lambda: LevenbergMarquardt(target_ratio=1.5), "target_ratio must lie between 0 and 1"),
        (lambda: LevenbergMarquardt(damping=0.0), "damping be positive"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
