"""Errors by their formulas, and the points at which they are taken."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import reference

import jaxsci as js
from jaxsci.compare.metrics import (
    Samples,
    evaluate_at,
    evaluations_per_second,
    relative_errors,
    samples,
    scoring_points,
)


@functools.cache
def wrong():
    """The solution for a diffusivity that is 5 % off, passed off as one of the problem: an error worth measuring."""
    off = js.problems.heat(diffusivity=0.38).reference()
    return dataclasses.replace(off, problem=js.problems.heat())


def test_relative_errors_are_numpys_norms_of_the_worst_unknown():
    random = np.random.default_rng(0)
    truth = random.normal(size=(40, 3)) * [1.0, 1e-6, 1e6]  # a trace species counts like a bulk one
    values = truth * (1 + np.array([1e-3, 1e-2, 1e-4]) * random.normal(size=(40, 3)))
    l2, largest = relative_errors(values, truth)
    assert l2 == pytest.approx(
        max(np.linalg.norm(values[:, i] - truth[:, i]) / np.linalg.norm(truth[:, i]) for i in range(3))
    )
    assert largest == pytest.approx(max(np.abs(values - truth)[:, i].max() / np.abs(truth[:, i]).max() for i in range(3)))
    assert relative_errors(truth, truth) == (0.0, 0.0)
    assert relative_errors(values * 7.0, truth * 7.0) == pytest.approx((l2, largest))


def test_an_error_against_zero_is_no_division_by_zero():
    l2, _ = relative_errors(np.ones((4, 1)), np.zeros((4, 1)))
    assert l2 > 1e300
    assert relative_errors(np.zeros((4, 1)), np.zeros((4, 1))) == (0.0, 0.0)


def test_a_value_that_is_not_finite_is_no_small_error():
    l2, largest = relative_errors(np.array([[1.0], [np.nan]]), np.ones((2, 1)))
    assert np.isnan(l2)
    assert np.isnan(largest)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("heat", (51, 257)), ("poisson", (41, 41)), ("vortex_mixing", (51, 41, 41)), ("lorenz", (51,)), ("robertson", (70,))],
)
def test_scoring_points_cross_the_saved_times_with_an_even_grid(name, shape):
    problem = getattr(js.problems, name)()
    points, found = scoring_points(problem)
    assert found == shape
    assert points.shape == (np.prod(shape), len(problem.coordinates))
    for i, coordinate in enumerate(problem.coordinates):
        axis = np.unique(points[:, i])
        assert (axis[0], axis[-1]) == problem.domain[coordinate]
        expected = problem.times if coordinate == "t" else np.linspace(*problem.domain[coordinate], len(axis))
        np.testing.assert_allclose(axis, expected, rtol=1e-15, atol=1e-15)
    along_last = points[: shape[-1], -1]
    assert (np.diff(along_last) > 0).all(), "the last coordinate runs fastest"


def test_samples_of_a_solution_are_its_values_with_unknowns_last():
    heat = samples(reference("heat"))
    t, x = heat.points.T
    assert heat.values.shape == (51 * 257, 1)
    assert heat.unknowns == ("u",)
    np.testing.assert_allclose(heat.values[:, 0], np.exp(-(np.pi**2) * 0.4 * t) * np.sin(np.pi * x), atol=1e-14)
    vortices = reference("navier_stokes_vorticity")
    points = np.array([[0.0, 0.1, 0.2], [0.5, 1.0, 2.0]])
    t, x, y = points.T
    psi = np.cos(x) * np.cos(y) * np.exp(-0.02 * t)
    np.testing.assert_allclose(evaluate_at(vortices, points), np.stack([2 * psi, psi], axis=-1), atol=1e-14)


def test_relative_l2_is_the_norm_over_the_scoring_points():
    coarse = wrong()
    points, _ = scoring_points(coarse.problem)
    t, x = points.T
    exact = np.exp(-(np.pi**2) * 0.4 * t) * np.sin(np.pi * x)
    got = np.asarray(coarse.evaluate(t=t, x=x))
    error = js.relative_l2(coarse, reference("heat"))
    assert 0.01 < error < 0.1
    assert error == pytest.approx(np.linalg.norm(got - exact) / np.linalg.norm(exact), rel=1e-9)
    # against each other the two errors differ by the ratio of the norms only
    backwards = js.relative_l2(reference("heat"), coarse)
    assert backwards == pytest.approx(error * np.linalg.norm(exact) / np.linalg.norm(got), rel=1e-9)
    assert js.relative_l2(coarse, coarse) == 0.0


def test_points_of_ones_own_and_samples_of_ones_own():
    coarse = wrong()
    points = np.array([[0.1, 0.3], [0.5, 0.9], [1.0, 0.5]])
    truth = samples(reference("heat"), points)
    got = np.asarray(coarse.evaluate(t=points[:, 0], x=points[:, 1]))
    expected = np.linalg.norm(got - truth.values[:, 0]) / np.linalg.norm(truth.values)
    assert js.relative_l2(coarse, reference("heat"), points) == pytest.approx(expected, rel=1e-9)
    assert js.relative_l2(coarse, truth) == pytest.approx(expected, rel=1e-9)


def test_only_the_unknowns_that_samples_hold_are_scored():
    vortices = reference("navier_stokes_vorticity")
    points = np.array([[0.5, 1.0, 2.0], [1.0, 0.5, 0.5]])
    psi = evaluate_at(vortices, points)[:, 1:]
    assert js.relative_l2(vortices, Samples(points, 1.1 * psi, ("psi",), None)) == pytest.approx(0.1 / 1.1)


def test_what_cannot_be_compared_is_named():
    heat = reference("heat")
    for other in (reference("wave"), js.problems.heat(diffusivity=0.5).reference()):
        with pytest.raises(
            ValueError, match=rf"relative_l2: the two solve different problems, heat: .* and {other.problem.name}: "
        ):
            js.relative_l2(heat, other)
    with pytest.raises(KeyError, match="unknown 'w' does not exist; there is 'u'"):
        js.relative_l2(heat, Samples(np.zeros((1, 2)), np.zeros((1, 1)), ("w",), None))
    with pytest.raises(ValueError, match=r"points must be \[N, 2\], the columns 't', 'x'; got shape \(5,\)"):
        js.relative_l2(heat, heat, np.zeros(5))
    with pytest.raises(ValueError, match="leave out `points`"):
        js.relative_l2(heat, samples(heat, np.zeros((1, 2))), np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"coordinate x must lie in \[0, 1\], got \[0\.5, 1\.5\]"):
        js.relative_l2(heat, heat, np.array([[0.0, 0.5], [0.0, 1.5]]))


def test_evaluations_per_second_counts_points_not_calls():
    calls = []
    heat = reference("heat")

    @dataclasses.dataclass(frozen=True)
    class Counting:
        problem = heat.problem
        interval = heat.interval

        def evaluate(self, t, x):
            calls.append(len(t))
            return jnp.zeros(len(t))

    rate = evaluations_per_second(Counting(), repeats=3, count=500)
    assert calls == [500] * 4  # one to compile, three to time
    assert rate > 0


def test_correlation_is_over_the_last_axes_and_knows_no_scale():
    x = 2 * np.pi * np.arange(16) / 16
    waves = np.stack([np.sin(x), np.cos(x), -3 * np.sin(x)])
    found = js.compare.correlation(waves, np.sin(x), axes=1)
    np.testing.assert_allclose(found, [1, 0, -1], atol=1e-15)
    flat = js.compare.correlation(waves[:, :, None] * np.ones(4), waves[0][:, None] * np.ones(4))
    np.testing.assert_allclose(flat, found, atol=1e-15)
