"""Waves between walls that mirror them: which problems, what their units hold, and how exact the march is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning.coordinates import uniform
from jaxsci.learning.space_features import draw_basis, units
from jaxsci.learning.standing_waves import StandingWaves

MEMBRANE = js.Equation(lambda u, speed: u.tt - speed**2 * (u.xx + u.yy), name="membrane")


def string(walls, start):
    equation = js.problems.wave().equation
    return js.Problem(equation, js.Box(t=(0, 0.4), x=(0, 1)), coefficients={"speed": 1.5}, initial={"u": start, "u_t": 0},
                      boundary={"x": walls})  # fmt: skip


@functools.cache
def membrane():
    """Held at the walls of x, free at those of y."""
    return js.Problem(
        MEMBRANE,
        js.Box(t=(0, 0.3), x=(0, 1), y=(0, 2)),
        coefficients={"speed": 1.0},
        initial={"u": lambda x, y: js.sin(np.pi * x) * js.cos(np.pi * y), "u_t": 0},
        boundary={"x": js.Dirichlet(0), "y": js.Neumann(0)},
    )


@pytest.mark.slow
def test_a_string_is_exact_to_round_off():
    problem = string(js.Dirichlet(0), lambda x: js.sin(2 * np.pi * x))
    solution = js.solve(problem, js.RandomFeatures(10, tolerance=1e-10))
    t, x = np.asarray(solution.ts)[:, None], np.asarray(solution.grid["x"])
    exact = np.cos(3 * np.pi * t) * np.sin(2 * np.pi * x)
    np.testing.assert_allclose(solution["u"], exact, atol=1e-12)  # measured 3e-14
    assert np.abs(solution["u"][:, [0, -1]]).max() < 1e-14


@pytest.mark.slow
def test_a_membrane_has_sines_one_way_and_cosines_the_other():
    conditions = StandingWaves.of(membrane())
    assert [conditions.signs(axis) for axis in "xy"] == [(-1,), (1,)]
    basis = draw_basis(conditions, uniform(), 30, None, jax.random.key(0))
    gap = lambda x, y: units(conditions, basis, {"x": jnp.asarray(x), "y": jnp.asarray(y)})[0]
    slope = jax.jacfwd(gap, argnums=1)
    for y in (0.3, 1.7):
        np.testing.assert_allclose(gap(0.0, y), 0, atol=1e-14)
        np.testing.assert_allclose(gap(1.0, y), 0, atol=1e-13)
    for end in (0.0, 2.0):
        np.testing.assert_allclose(slope(0.4, end), 0, atol=1e-12)
    values = jax.vmap(gap)(*np.random.default_rng(0).uniform(size=(2, 90)))
    assert values.shape[1] > 20
    assert np.linalg.matrix_rank(values) == values.shape[1]


@pytest.mark.slow
def test_a_membrane_rings_at_its_frequency():
    solution = js.solve(membrane(), js.RandomFeatures(30, tolerance=1e-9, grid=8), ts=[0.0, 0.3])
    x, y = np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 2, 9), indexing="ij")
    exact = np.sin(np.pi * x) * np.cos(np.pi * y) * np.cos(np.sqrt(2) * np.pi * 0.3)
    np.testing.assert_allclose(solution["u"][-1], exact, atol=1e-10)


@pytest.mark.parametrize(
    "problem",
    [
        string(js.Dirichlet(0), lambda x: x * (1 - x)),  # bends at the walls: its odd continuation has a jump there
        string(js.Neumann(0), lambda x: js.sin(np.pi * x) ** 3 * x),
        string(js.Dirichlet(0.5), lambda x: 0.5 + js.sin(np.pi * x)),
        string((js.Dirichlet(0), js.Neumann(0)), lambda x: js.sin(np.pi * x / 2)),
    ],
    ids=["bent", "sloped", "not zero", "two kinds"],
)
def test_what_no_mirror_continues_is_not_taken(problem):
    assert StandingWaves.of(problem) is None


def test_what_a_mirror_continues_is_taken():
    assert StandingWaves.of(string(js.Neumann(0), lambda x: js.cos(np.pi * x))) is not None
    assert StandingWaves.of(string(js.Dirichlet(0), lambda x: js.sin(np.pi * x) ** 3)) is not None
