"""Windows of time: they are joined exactly, whatever the networks, and find their lengths."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import Even, LevenbergMarquardt, Scheme, Windows
from jaxsci.learning.course import Piece
from jaxsci.learning.fields import field_of
from jaxsci.learning.frame import Frame, first_window, next_window
from jaxsci.learning.objective import Objective
from jaxsci.learning.training import Fit

MLP = js.networks.MLP
LOGISTIC = js.Equation(lambda u, rate: u.t - rate * u * (1 - u), name="logistic")
ENDS = (0.3, 0.45, 1.0)


def logistic(end=12.0):
    exact = lambda t, rate: 1 / (1 + 9 * js.exp(-rate * t))
    return js.Problem(
        LOGISTIC, js.Box(t=(0, end)), coefficients={"rate": 1.0}, initial={"u": 0.1}, exact={"u": exact}
    )  # fmt: skip


def random_pieces(problem):
    """Windows of unequal length with networks that were never fitted: what is exact must be so for them."""
    objective, pieces = Objective.of(problem, MLP((5,))), []
    for i, end in enumerate(ENDS):
        unknowns = objective.init(jax.random.key(i), problem.coefficients)
        last = pieces[-1] if pieces else None
        window = (
            next_window(last.frame.window, last.fit.unknowns["network"], end)
            if last
            else first_window(unknowns["network"], end, jnp.float64)
        )
        pieces.append(Piece(Fit(unknowns, 0.0, 0, "steps"), Frame(jnp.full(1, 1.7), jnp.ones(1), window)))
    return objective, pieces


@pytest.mark.parametrize(("name", "order"), [pytest.param("heat", 1, marks=pytest.mark.slow), ("wave", 2)])
def test_windows_meet_with_the_derivatives_that_the_equation_starts_from(name, order):
    problem = getattr(js.problems, name)()
    objective, pieces = random_pieces(problem)
    fields = [field_of(objective, problem, [piece]) for piece in pieces]
    meets = jnp.asarray(ENDS[:2]) * problem.domain["t"][1]

    @functools.partial(jax.jit, static_argnums=0)
    def at(which, t):
        """The value, its first two derivatives along t and the second along x, at a place inside."""
        u = lambda t, x: fields[which](t, x)[0]
        slope = jax.grad(u)
        return jnp.stack([u(t, 0.3), slope(t, 0.3), jax.grad(slope)(t, 0.3), jax.grad(jax.grad(u, 1), 1)(t, 0.3)])

    for i, t in enumerate(meets):
        before, after = at(i, t), at(i + 1, t)
        same = np.isclose(before, after, rtol=1e-11, atol=1e-12)
        assert same[[0, 3]].all(), "the value, with its derivatives in space"
        assert same[1] == (order == 2), "of first order in time the slope is the equation's to choose"
        assert not same[2]


def test_conditions_hold_in_every_window_and_the_field_is_theirs():
    problem = js.problems.wave()
    objective, pieces = random_pieces(problem)
    field = jax.jit(jax.vmap(field_of(objective, problem, pieces)))
    t, x = jnp.linspace(0, problem.domain["t"][1], 21), jnp.linspace(0, 1, 21)
    np.testing.assert_allclose(field(t, jnp.zeros(21)), 0.0, atol=1e-13)
    np.testing.assert_allclose(field(t, jnp.ones(21)), 0.0, atol=1e-13)
    start = np.sin(np.pi * x) + np.sin(4 * np.pi * x) / 2
    np.testing.assert_allclose(field(jnp.zeros(21), x)[:, 0], start, atol=1e-14)
    middle = jnp.asarray([0.1, 0.4, 0.7]) * problem.domain["t"][1]  # one time in each window
    whole = field(middle, jnp.full(3, 0.37))
    for i, piece in enumerate(pieces):
        alone = field_of(objective, problem, [piece])(middle[i], jnp.asarray(0.37))
        np.testing.assert_allclose(whole[i], alone, rtol=1e-13)


METHOD = js.Neural(MLP((6,)), optimiser=LevenbergMarquardt(steps=40), budget=None, scheme=Scheme(Even()), estimate=False)


@functools.cache
def solved(windows):
    return js.solve(logistic(), dataclasses.replace(METHOD, scheme=Scheme(Even(), windows=windows)))


def error(solution):
    return js.relative_l2(solution, logistic().reference())


@pytest.mark.slow
def test_windows_follow_what_one_network_of_their_size_does_not():
    one, three = solved(None), solved(3)
    assert "windows" not in one.stats
    assert three.stats["windows"] == 3
    assert error(three) < error(one) / 10
    assert three.stats["parameters"] == 3 * one.stats["parameters"]
    np.testing.assert_allclose(three.evaluate(t=0.0), 0.1, rtol=1e-14)
    assert error(three) < float(three.error_estimate) < 1000 * error(three)


@pytest.mark.slow
def test_windows_find_their_lengths():
    strict, loose = solved(Windows(tolerance=1e-7, first=1.0)), solved(Windows(tolerance=1e-1, first=0.25))
    assert strict.stats["windows"] > loose.stats["windows"]
    assert error(strict) < 1e-5 < error(solved(None))  # measured 1.1e-6
    ends = np.asarray(loose.field.frames.window.end)
    assert ends[-1] == 1.0
    assert np.diff(ends, prepend=0.0)[1] == pytest.approx(1.5 * 0.25), "an easy window is followed by a longer one"


def test_windows_are_refused_where_they_have_no_meaning():
    steady = js.Neural(MLP((4,)), scheme=Scheme(windows=2), estimate=False)
    with pytest.raises(ValueError, match="poisson is steady and has no windows of time"):
        js.solve(js.problems.poisson(), steady)
    for wrong in (0, 2.5, "3"):
        with pytest.raises(ValueError, match=r"windows must be a positive whole number or js\.learning\.Windows"):
            Scheme(windows=wrong)
    with pytest.raises(ValueError, match="cannot have a curriculum too"):
        Scheme(windows=2, curriculum=js.learning.Curriculum(rate=(0.5,)))
    for options in ({"tolerance": 0.0}, {"first": 1.5}, {"shortest": 0.5}):
        with pytest.raises(ValueError, match="Windows: tolerance must be positive and 0 < shortest <= first <= 1"):
            Windows(**options)
