"""Integrals that move by a known amount, invariants that are known, and a solver that obeys itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.compare.conservation import _curl, conservation_drift, invariants, physics_residual

X = 2 * np.pi * np.arange(16) / 16
SINE = np.sin(X)


def test_drift_of_mass_and_energy_by_hand():
    run = np.stack([2 + SINE, 2.5 + SINE, 1.0 + SINE])[:, None]  # means 2, 2.5, 1; mean squares 4.5, 6.75, 1.5
    np.testing.assert_allclose(conservation_drift(run, space=1, average=False), [0, 0.25, 0.5], atol=1e-14)
    assert float(conservation_drift(run, space=1)) == pytest.approx(0.5)
    np.testing.assert_allclose(conservation_drift(run, "energy", space=1, average=False), [0, 0.5, 3 / 4.5], atol=1e-14)


def test_a_mean_of_zero_is_measured_by_the_size_of_the_field():
    square = np.where(np.pi > X, 1.0, -1.0)  # mean 0, size 1
    run = np.stack([square, square + 0.1])[:, None]
    assert float(conservation_drift(run, space=1)) == pytest.approx(0.1)
    pair = np.stack([np.stack([3 + 0 * X, 0 * X]), np.stack([3 + 0 * X, 0 * X + 0.3])])  # a second velocity out of nothing
    assert float(conservation_drift(pair, "momentum", space=1)) == pytest.approx(0.1)
    assert float(conservation_drift(pair, "mass", space=1)) == np.inf


def test_drift_of_a_batch_of_an_own_density_and_with_weights():
    runs = np.stack([np.stack([1 + 0 * X, f + 0 * X])[:, None] for f in (1.0, 2.0, np.nan)])  # [3, 2, 1, 16]
    np.testing.assert_allclose(conservation_drift(runs[:2], lambda u: u[0] ** 4, space=1, average=False), [[0, 0], [0, 15]])
    assert float(conservation_drift(runs[:2], lambda u: u[0] ** 4, space=1)) == pytest.approx(7.5)
    np.testing.assert_allclose(conservation_drift(runs, space=1, average=False)[2], [0, np.inf])
    run = np.array([[[1.0, 1.0, 1.0]], [[1.0, 2.0, 1.0]]])
    assert float(conservation_drift(run, space=1, weights=[1, 2, 1])) == pytest.approx(0.5)  # the trapezoidal rule


@pytest.mark.slow
def test_enstrophy_of_velocities_is_that_of_their_vorticity():
    x, y = np.meshgrid(X, X, indexing="ij")
    scales = np.array([1.0, 0.5])[:, None, None]
    # psi = sin(2 x) cos(y) on a box of 4 pi x 2 pi: u = psi_y, v = -psi_x, curl = v_x - u_y = (1 + 1) psi there
    velocities = np.stack([-np.sin(2 * x) * np.sin(y) * scales, -np.cos(2 * x) * np.cos(y) * scales], axis=1)
    vorticity = (2 * np.sin(2 * x) * np.cos(y) * scales)[:, None]
    for run in (velocities, vorticity):
        drift = conservation_drift(run, "enstrophy", space=2, lengths=(4 * np.pi, 2 * np.pi))
        assert float(drift) == pytest.approx(0.75)
    size = 0.5 * np.mean(vorticity[0] ** 2)
    np.testing.assert_allclose(
        0.5 * jnp.mean(_curl(jnp.asarray(velocities[0]), [4 * np.pi, 2 * np.pi]) ** 2), size, rtol=1e-12
    )
    cube = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 4))
    assert np.isfinite(float(conservation_drift(cube, "enstrophy", space=3)))


def test_invariants_follow_from_the_equation():
    inviscid = js.problems.navier_stokes_velocity().with_coefficients(viscosity=0.0)
    assert invariants(inviscid) == ("mass", "energy")  # its pressure does no work
    assert invariants(js.problems.navier_stokes_velocity()) == ("mass",)
    assert invariants(js.problems.kdv()) == ("mass", "energy")
    assert invariants(js.problems.kuramoto_sivashinsky()) == ("mass",)
    assert invariants(js.problems.allen_cahn()) == ()
    assert invariants(js.problems.heat()) == ()  # walls
    assert invariants(js.problems.lorenz()) == ()


@functools.cache
def waves():
    problem = js.problems.kuramoto_sivashinsky()
    s = js.stepper(problem, js.Spectral(n=32, dt=1e-3))
    return s, np.asarray(js.rollout(s, 12, save_every=1).fields)


@pytest.mark.slow
def test_the_solver_keeps_what_the_equation_keeps():
    s, run = waves()
    (kept,) = invariants(s.problem)
    assert float(conservation_drift(run, kept, space=1)) < 1e-12
    assert float(conservation_drift(run, "energy", space=1)) > 1e-4


def test_residual_of_the_solver_is_round_off_and_of_standing_still_one():
    s, run = waves()
    assert float(physics_residual(s, run)) < 1e-11
    assert float(physics_residual(s, run[::3], dt=3e-3)) < 1e-11
    standing = np.broadcast_to(run[:1], run.shape)
    assert float(physics_residual(s, standing)) == pytest.approx(1, abs=1e-12)
    half = run[:2].copy()
    half[1] = (run[0] + run[1]) / 2  # half the way: half of the change is missing
    assert float(physics_residual(s, half)) == pytest.approx(0.5, rel=1e-9)
    batch = np.stack([run, standing, np.full_like(run, np.nan)])
    np.testing.assert_allclose(physics_residual(s, batch, average=False), [0, 1, np.inf], atol=1e-11)


@pytest.mark.slow
def test_residual_has_a_gradient():
    s, run = waves()
    slope = jax.grad(lambda a: physics_residual(s, a))(jnp.asarray(run[:3] * 1.01))
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: conservation_drift(a, "mas", space=1), "'mas' does not exist.*Did you mean 'mass'"),
        (lambda a: conservation_drift(a[0], space=1), r"saves, channels, \*space.*got shape \(3, 16\)"),
        (lambda a: conservation_drift(a, "enstrophy", space=1), "3 channels on 1 axes"),
        (lambda a: conservation_drift(a, space=1, weights=np.ones(4)), r"shape of space, \(16,\); got \(4,\)"),
        (lambda a: conservation_drift(a, space=1, lengths=(1, 2)), "lengths must be 1 numbers"),
        (lambda a: physics_residual(waves()[0], a), r"on the stepper's grid; got shape \(2, 3, 16\)"),
        (lambda a: physics_residual(waves()[0], waves()[1][:1]), "saves >= 2"),
        (lambda a: physics_residual(waves()[0], waves()[1], dt=1.5e-3), "no multiple of the stepper's step"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 3, 16)))
