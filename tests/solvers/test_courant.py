"""Courant numbers are found from the equation."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.solvers.courant import speeds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "n", "dt", "expected"),
    [
        (js.problems.burgers(viscosity=0.1), 64, 0.01, 0.01 * 1.0 / (2 / 64)),  # |u| <= 1, cells of 2 / 64
        (
            js.problems.kuramoto_sivashinsky(),
            64,
            1e-3,
            1e-3 * 100 / 16 * 1.299 / (2 * np.pi / 64),
        ),  # cos x (1 + sin x) <= 1.299
        (js.problems.navier_stokes_vorticity(), 32, 0.1, 0.1 * 1.0 / (2 * np.pi / 32)),  # |psi_x| + |psi_y| <= 1
        (js.problems.navier_stokes_velocity(), 32, 0.1, 0.1 * 3.5 / (2 * np.pi / 32)),  # |1 + a| + |1/2 + b|, |a| + |b| <= 2
        (js.problems.heat(), 16, 0.1, 0.0),
        (js.problems.allen_cahn(), 32, 0.1, 0.0),
    ],
    ids=["burgers", "ks", "vorticity", "velocity", "heat", "allen_cahn"],
)
def test_courant_number_of_known_fields(problem, n, dt, expected):
    stepper = js.stepper(problem, js.Spectral(n, dt=dt))
    found = float(stepper.courant(stepper.initial()))
    if problem.name == "navier_stokes_velocity":
        assert 0.5 * expected < found <= expected
    else:
        assert found == pytest.approx(expected, rel=0.02)


def test_walls_on_a_chebyshev_grid_have_none():
    stepper = js.stepper(js.problems.fisher_kpp(), js.Spectral(8, dt=0.1))
    assert jnp.isnan(stepper.courant(stepper.initial()))


def test_speeds_are_derived_through_products():
    flux = js.Equation(lambda u, v, c: (u.t + c * (u * v).x, v.t + (v**3).y), "u v", name="flux")
    found = {(axis, str(speed)) for axis, speed in speeds(flux)}
    assert {axis for axis, _ in found} == {"x", "y"}
    assert len(found) == 3  # c v and c u along x, 3 v^2 along y
    assert any("3*v" in speed for _, speed in found)
