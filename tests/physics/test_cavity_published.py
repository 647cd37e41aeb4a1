"""The spectral lid-driven cavity against the published spectral results, its own convergence and the equation itself.

Botella & Peyret (1998) move their lid to the left and so have the mirror image x -> 1 - x, with the opposite rotation.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js


@functools.cache
def flow(reynolds, n):
    return js.solvers.steady_cavity(1 / reynolds, n=n).check()


velocities = jax.jit(lambda flow, x, y: jax.vmap(flow)(x, y))
stream_functions = jax.jit(lambda flow, x, y: jax.vmap(flow.stream_function)(x, y))
vorticities = jax.jit(lambda flow, x, y: jax.vmap(flow.vorticity)(x, y))
chebyshev = np.polynomial.chebyshev


def extrema(flow):
    """(value, place) of u_min, v_max and v_min on the centre lines, from polynomials through 65 points."""
    nodes = np.cos(np.pi * np.arange(65) / 64)
    along, half = jnp.asarray((nodes + 1) / 2), jnp.full(65, 0.5)
    lines = velocities(flow, half, along)[:, 0], velocities(flow, along, half)[:, 1], velocities(flow, along, half)[:, 1]
    found = []
    for values, sign in zip(lines, (-1, 1, -1), strict=True):
        line = np.polynomial.Chebyshev.fit(nodes, np.asarray(values), 64, domain=[-1, 1])
        places = [r.real for r in line.deriv().roots() if abs(r.imag) < 1e-9 and -0.98 < r.real < 0.98]
        best = max(places, key=lambda s, line=line, sign=sign: sign * line(s))
        found += [line(best), (best + 1) / 2]
    return found


class Patch:
    """A function on a small square as a polynomial through its values, which differentiates exactly."""

    def __init__(self, function, flow, centre, half, n):
        nodes, self.half = np.cos(np.pi * (np.arange(n) + 0.5) / n), half
        x, y = (
            jnp.asarray(c + half * m.ravel()) for c, m in zip(centre, np.meshgrid(nodes, nodes, indexing="ij"), strict=True)
        )
        inverse = np.linalg.inv(chebyshev.chebvander(nodes, n - 1))
        self.series = inverse @ np.asarray(function(flow, x, y)).reshape(n, n) @ inverse.T

    def __call__(self, s, i=0, j=0):
        """The derivative of orders i and j at a point, in units of the half width from the centre."""
        slopes = chebyshev.chebder(chebyshev.chebder(self.series, i, axis=0), j, axis=1)
        return chebyshev.chebval2d(s[0], s[1], slopes) / self.half ** (i + j)


def primary_vortex(flow, centre, half=0.02):
    """psi and w at the centre of the main vortex, and the centre."""
    psi, s = Patch(stream_functions, flow, centre, half, 8), np.zeros(2)
    for _ in range(6):
        hessian = np.array([[psi(s, 2, 0), psi(s, 1, 1)], [psi(s, 1, 1), psi(s, 0, 2)]])
        s = s - np.linalg.solve(hessian, [psi(s, 1, 0), psi(s, 0, 1)]) / half
    return psi(s), Patch(vorticities, flow, centre, half, 8)(s), np.asarray(centre) + half * s


@pytest.mark.slow
def test_reynolds_100_against_botella_and_peyret():
    u, _, v, _, w, _ = extrema(flow(100, 24))
    assert float(u) == pytest.approx(-0.2140424, abs=6e-6)  # measured: 8e-7 off
    assert float(v) == pytest.approx(0.1795728, abs=6e-6)
    assert float(w) == pytest.approx(-0.2538030, abs=6e-6)


def test_the_flow_satisfies_the_vorticity_equation():
    """By differentiating a polynomial through the stream function four times, away from the walls."""
    psi = Patch(stream_functions, flow(100, 24), (0.5, 0.5), 0.3, 20)
    points = np.stack(np.meshgrid(np.linspace(-0.8, 0.8, 5), np.linspace(-0.8, 0.8, 5))).reshape(2, -1)
    lap = lambda i, j: psi(points, i + 2, j) + psi(points, i, j + 2)
    viscous, carried = 0.01 * (lap(2, 0) + lap(0, 2)), psi(points, 0, 1) * lap(1, 0) - psi(points, 1, 0) * lap(0, 1)
    size = np.abs(carried).max()
    assert np.abs(viscous - carried).max() < 0.03 * size  # measured: 0.011; 0.0025 with n = 32
    assert np.abs(1.1 * viscous - carried).max() > 0.07 * size  # a viscosity that is 10 % off is seen


def test_error_estimate_bounds_the_error():
    fine = flow(100, 24)
    s = jnp.linspace(0.05, 0.95, 12)
    x, y = map(jnp.ravel, jnp.meshgrid(s, s))
    coarse, exact = velocities(flow(100, 16), x, y), velocities(fine, x, y)
    error = jnp.linalg.norm(coarse - exact) / jnp.linalg.norm(exact)
    assert 1e-6 < error < flow(100, 16).error_estimate < 0.02
    assert fine.error_estimate < flow(100, 16).error_estimate / 3


@pytest.mark.slow
def test_reynolds_1000_against_botella_and_peyret():
    at = flow(1000, 60)  # ten seconds
    u, y, v, x, w, z = map(float, extrema(at))
    assert (u, v, w) == pytest.approx((-0.3885698, 0.3769447, -0.5270771), abs=1e-6)  # measured: 5e-7 off
    assert (y, 1 - x, 1 - z) == pytest.approx((0.1717, 1 - 0.1578, 1 - 0.9092), abs=6e-5)
    psi, vorticity, (cx, cy) = primary_vortex(at, (0.53, 0.56))
    assert float(psi) == pytest.approx(-0.1189366, abs=1e-7)
    assert float(vorticity) == pytest.approx(-2.067753, abs=1e-5)
    assert (1 - float(cx), float(cy)) == pytest.approx((0.4692, 0.5652), abs=6e-5)


@pytest.mark.slow
def test_digits_gained_with_n_at_reynolds_1000():
    exact = np.array([-0.3885698, 0.3769447, -0.5270771])
    errors = [np.abs(np.array(extrema(flow(1000, n))[::2]) - exact).max() for n in (24, 36, 48)]
    assert errors[0] < 2e-3
    assert errors[1] < 1e-4
    assert errors[2] < 1e-5
