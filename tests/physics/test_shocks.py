"""Finite volumes against exact weak solutions and against a plain Godunov method written out in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import solved

import jaxsci as js
from jaxsci.problems import CATALOGUE
from jaxsci.problems.shocks import breaking_wave, inviscid_burgers_equation

fast = functools.partial(js.FiniteVolume, estimate=False)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)


def averages(function, n, lower=0.0, upper=2 * np.pi):
    h = (upper - lower) / n
    points = lower + (np.arange(n)[:, None] + 0.5 + NODES / 2) * h
    return np.asarray(jax.jit(jax.vmap(jax.vmap(function)))(jnp.asarray(points))) @ (WEIGHTS / 2)


def orders(errors):
    return np.log2(np.divide(errors[:-1], errors[1:]))


# --- order where the field is smooth ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limiter", ["van_leer", *(pytest.param(k, marks=pytest.mark.slow) for k in ("mc", "none"))])
def test_order_is_two_on_a_wave_that_steepens(limiter):
    problem = js.Problem(
        inviscid_burgers_equation, js.Box(t=(0, 0.5), x=(0, 2 * np.pi)), initial={"u": lambda x: 0.5 + js.sin(x)}
    )
    errors = []
    for n in (128, 256):
        solution = js.solve(problem, fast(n=n, limiter=limiter), ts=[0.0, 0.5])
        exact = averages(lambda x: breaking_wave(jnp.asarray(0.5), x, 0.5, 1.0), n)
        errors.append(float(np.abs(solution["u"][-1] - exact).mean()))
    assert orders(errors)[0] == pytest.approx(2.0, abs=0.1)  # measured 2.03, 1.99, 1.96


@pytest.mark.parametrize("limiter", ["van_leer", pytest.param("mc", marks=pytest.mark.slow)])
def test_order_is_two_on_a_wave_that_travels(limiter):
    problem = js.problems.advection(speed=1.0)
    errors = []
    for n in (64, 128):
        solution = js.solve(problem, fast(n=n, limiter=limiter), ts=[0.0, 1.0])
        errors.append(float(np.abs(solution["u"][-1] - averages(lambda x: jnp.sin(x - 1), n)).mean()))
    assert orders(errors)[0] == pytest.approx(2.0, abs=0.1)  # measured 2.05 and 2.01


@pytest.mark.slow
@pytest.mark.parametrize("limiter", ["van_leer", "none"])
def test_order_is_two_in_two_dimensions(limiter):
    problem = js.Problem(
        js.Equation(lambda u, a, b: u.t + a * u.x + b * u.y), js.Box(t=(0, 0.5), x=(0, 1), y=(0, 2)),
        coefficients={"a": 1.0, "b": -0.7}, initial={"u": lambda x, y: js.sin(2 * np.pi * x) * js.cos(np.pi * y)},
    )  # fmt: skip
    errors = []
    for n in (64, 128):
        solution = js.solve(problem, fast(n=n, limiter=limiter), ts=[0.0, 0.5])
        x, y = np.meshgrid(solution.grid["x"], solution.grid["y"], indexing="ij")
        exact = np.sinc(1 / n) ** 2 * np.sin(2 * np.pi * (x - 0.5)) * np.cos(np.pi * (y + 0.35))
        errors.append(float(np.abs(solution["u"][-1] - exact).mean()))
    assert orders(errors)[0] == pytest.approx(2.0, abs=0.1)


# --- Burgers' shock ----------------------------------------------------------------------------------------------------------


def test_breaking_wave_loses_variation_and_keeps_its_shock_in_its_cell():
    solution = solved("burgers_shock", js.FiniteVolume(n=100))
    u, x = np.asarray(solution["u"]), np.asarray(solution.grid["x"])
    variation = np.abs(np.diff(u, axis=1, append=u[:, :1])).sum(axis=1)
    assert np.diff(variation).max() < 1e-13
    for k in (30, 40, 50):
        centre = x[np.argmin(np.diff(u[k]))] + np.pi / 100
        assert abs(centre - (np.pi + 0.5 * solution.ts[k])) < 2 * np.pi / 100  # a cell
    exact = averages(lambda x: breaking_wave(jnp.asarray(2.0), x, 0.5, 1.0), 100)
    assert np.abs(u[-1] - exact).mean() < 0.012  # measured 0.006


def test_without_a_limiter_the_variation_grows():
    """The control: the same jump, with central slopes."""
    problem = js.Problem(
        js.Equation(lambda u: u.t + u.x), js.Box(t=(0, 0.2), x=(0, 1)), initial={"u": lambda x: jnp.where(x < 0.5, 1.0, 0.0)}
    )
    growth = {}
    for limiter in ("van_leer", "none"):
        u = np.asarray(js.solve(problem, fast(n=50, limiter=limiter), ts=[0.0, 0.2])["u"])
        growth[limiter] = np.abs(np.diff(u[-1], append=u[-1, :1])).sum() - 2
    assert growth["van_leer"] < 1e-13
    assert growth["none"] > 0.1


def test_flux_that_is_not_convex_gives_shock_and_fan():
    """Buckley and Leverett's two-phase flow, whose flux is flat at both sides of the jump.

    Reference: LeVeque (2002), section 16.1.1: the shock stands where f'(u) = f(u) / u, u = sqrt(a / (1 + a)).
    """
    a = 0.5
    equation = js.Equation(lambda u, a: u.t + (u**2 / (u**2 + a * (1 - u) ** 2)).x)
    problem = js.Problem(
        equation, js.Box(t=(0, 0.4), x=(0, 1)), coefficients={"a": a}, initial={"u": lambda x: jnp.where(x < 0.25, 1.0, 0.0)},
        boundary={"x": js.Outflow()},
    )  # fmt: skip
    u = np.asarray(js.solve(problem, fast(n=200), ts=[0.0, 0.4])["u"][-1])
    top = np.sqrt(a / (1 + a))
    speed = top / (top**2 + a * (1 - top) ** 2)
    front = np.argmin(np.diff(u))
    assert (front + 1) / 200 == pytest.approx(0.25 + 0.4 * speed, abs=0.01)
    assert u[front - 4] == pytest.approx(top, abs=0.03)


# --- Sod's tube ----------------------------------------------------------------------------------------------------------------


def plain_godunov(n, end=0.2, gamma=1.4):
    """First order, conserved variables, Rusanov flux, in loops over cells: slow and obvious."""

    def flux(q):
        r, m, e = q
        v = m / r
        p = (gamma - 1) * (e - m * v / 2)
        return np.array([m, m * v + p, (e + p) * v]), abs(v) + np.sqrt(gamma * p / r)

    q = np.array([[1.0, 0.0, 2.5] if i < n // 2 else [0.125, 0.0, 0.25] for i in range(n)])
    t = 0.0
    while t < end:
        fluxes_and_speeds = [flux(cell) for cell in q]
        dt = min(0.9 / n / max(s for _, s in fluxes_and_speeds), end - t)
        across = []
        for i in range(n + 1):
            left, right = max(i - 1, 0), min(i, n - 1)
            (f, a), (g, b) = fluxes_and_speeds[left], fluxes_and_speeds[right]
            across.append((f + g) / 2 - max(a, b) * (q[right] - q[left]) / 2)
        q = q - dt * n * np.diff(across, axis=0)
        t += dt
    return q


@functools.cache
def tube(n):
    return js.solve(CATALOGUE["sod"].build(), fast(n=n), ts=[0.0, 0.2]).check()


@functools.cache
def exact_density(n):
    problem = CATALOGUE["sod"].build()
    return averages(lambda x: problem.exact_field(jnp.asarray(0.2), x)[0], n, 0.0, 1.0)


def density_error(n):
    return float(np.abs(tube(n)["density"][-1] - exact_density(n)).mean())


@pytest.mark.slow
def test_sod_converges_and_stays_positive():
    errors = [density_error(n) for n in (100, 200)]
    assert errors == pytest.approx([6.0e-3, 3.1e-3], rel=0.1)
    assert orders(errors).min() > 0.8
    for n in (100, 200):
        assert tube(n).stats["least_density"] == pytest.approx(0.125, rel=1e-12)
        assert tube(n).stats["least_pressure"] == pytest.approx(0.1, rel=1e-12)
        assert tube(n).stats["least_velocity"] > -1e-3
        assert float(tube(n)["density"][-1].mean()) == pytest.approx(0.5625, rel=1e-14)


def test_sod_agrees_with_plain_godunov_and_is_more_accurate():
    theirs = plain_godunov(200)[:, 0]
    ours = np.asarray(tube(200)["density"][-1])
    plain = np.abs(theirs - exact_density(200)).mean()
    assert plain == pytest.approx(1.4e-2, rel=0.3)
    assert density_error(200) < plain / 3
    assert np.abs(ours - theirs).mean() < 1.1 * (plain + density_error(200))


def test_sod_has_its_waves_in_their_places():
    u, x = np.asarray(tube(200).fields[-1]), np.asarray(tube(200).grid["x"])
    shock = x[np.argmin(np.diff(u[2, 150:])) + 150] + 1 / 400
    assert shock == pytest.approx(0.5 + 0.2 * 1.75216, abs=1 / 200)  # Toro (2009), section 4.3.3: a cell
    assert u[:, 156] == pytest.approx([0.26557, 0.92745, 0.30313], rel=0.01)
    assert u[1:, 130] == pytest.approx([0.92745, 0.30313], rel=2e-3)


@pytest.mark.slow
def test_blast_between_reflecting_walls_in_two_dimensions():
    energy = lambda r, u, v, p, g: p / (g - 1) + r * (u * u + v * v) / 2

    def euler(r, u, v, p, g):
        e = energy(r, u, v, p, g)
        return (
            r.t + (r * u).x + (r * v).y,
            (r * u).t + (r * u * u + p).x + (r * u * v).y,
            (r * v).t + (r * u * v).x + (r * v * v + p).y,
            e.t + ((e + p) * u).x + ((e + p) * v).y,
        )

    hot = lambda x, y: jnp.where((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.04, 1.0, 0.0)
    problem = js.Problem(
        js.Equation(euler, "r u v p"), js.Box(t=(0, 0.2), x=(0, 1), y=(0, 1)), coefficients={"g": 1.4},
        initial={"r": lambda x, y: 1 + hot(x, y), "u": 0, "v": 0, "p": lambda x, y: 1 + 9 * hot(x, y)},
        boundary={"x": js.Dirichlet(u=0), "y": js.Dirichlet(v=0)},
    )  # fmt: skip
    solution = js.solve(problem, fast(n=32), ts=[0.0, 0.1, 0.2]).check()
    r, u, v, p = np.asarray(solution.fields).swapaxes(0, 1)
    total = energy(r, u, v, p, 1.4).sum(axis=(1, 2))
    np.testing.assert_allclose(r.sum(axis=(1, 2)) / r[0].sum(), 1, rtol=1e-14)
    np.testing.assert_allclose(total / total[0], 1, rtol=1e-14)
    np.testing.assert_allclose(r[2], r[2].T, atol=1e-12)  # the axes are treated alike
    np.testing.assert_allclose(u[2], v[2].T, atol=1e-12)
    np.testing.assert_allclose(r[2], r[2, ::-1], atol=1e-12)
    assert solution.stats["least_p"] > 0.1
