"""What the equations conserve, dissipate and leave unchanged, the solver's solutions do too."""

import functools

import jax
import numpy as np
import pytest
from conftest import solved
from scipy.integrate import simpson

import jaxsci as js
from jaxsci.problems.burgers import burgers_equation
from jaxsci.problems.dispersive import kdv_equation
from jaxsci.problems.transport import heat_equation

S, A = js.Spectral, js.Adaptive

KDV, KS, MIXING = S(256, rtol=1e-6), S(256, rtol=1e-6), S(64, rtol=1e-6)  # as in test_two_views.py, solved once


def spread(values):
    """Largest deviation from the first value, relative to it."""
    values = np.asarray(values)
    return np.abs(values - values[0]).max() / np.abs(values[0])


def saved(name, method):
    """(the solution, its saved fields by unknown as NumPy arrays)."""
    solution = solved(name, method)
    return solution, dict(zip(solution.problem.unknowns, np.moveaxis(np.asarray(solution.fields), 1, 0), strict=True))


def mean(field):
    return np.mean(field, axis=tuple(range(1, field.ndim)))


def x_derivative(values, length):
    """Of periodic values ``[T, x]``, apart from the library."""
    k = 2 * np.pi * np.fft.rfftfreq(values.shape[-1], length / values.shape[-1])
    return np.fft.irfft(1j * k * np.fft.rfft(values), values.shape[-1])


# --- integrals ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method", "unknown"),
    [("kdv", KDV, "u"), ("kuramoto_sivashinsky", KS, "u"), ("advection", S(8), "u"), ("vortex_mixing", MIXING, "w")],
)
def test_mass_is_conserved_to_round_off(name, method, unknown):
    mass = mean(saved(name, method)[1][unknown])
    assert np.abs(mass - mass[0]).max() < 1e-13


@pytest.mark.slow
def test_kdv_conserves_momentum_and_hamiltonian():
    solution, fields = saved("kdv", KDV)
    u, dispersion = fields["u"], solution.problem.coefficients["dispersion"]
    assert spread(mean(u**2)) < 2e-7  # measured 2e-8 and 1.2e-6, of a tolerance of 1e-6 in time
    assert spread(mean(u**3 / 6 - dispersion / 2 * x_derivative(u, 2.0) ** 2)) < 1e-5


def test_advection_conserves_energy():
    assert spread(mean(saved("advection", S(8))[1]["u"] ** 2)) < 1e-13


@pytest.mark.slow
def test_insulated_heat_conserves_its_mean_and_heat_through_walls_does_not():
    def solve(wall):
        initial = {"u": lambda x: 1 + js.cos(np.pi * x) + js.cos(2 * np.pi * x)}
        box, coefficients = js.Box(t=(0, 1), x=(0, 1)), {"diffusivity": 0.1}
        problem = js.Problem(heat_equation, box, coefficients=coefficients, initial=initial, boundary={"x": wall})
        u = np.asarray(js.solve(problem, S(16), ts=[0.0, 0.1, 1.0]).fields[:, 0])
        return (u[:, 1:] + u[:, :-1]).mean(axis=1) / 2  # the trapezoidal rule, exact for cosines

    assert spread(solve(js.Neumann(0))) < 1e-14
    assert spread(solve((js.Neumann(0), js.Dirichlet(1)))) > 0.01


@pytest.mark.slow
def test_robertson_conserves_the_sum_of_concentrations():
    total = np.asarray(solved("robertson", A(rtol=1e-7, atol=1e-11)).fields).sum(axis=1)
    assert np.abs(total - 1).max() < 1e-13  # a linear invariant: round-off, far below the tolerance


@pytest.mark.slow
def test_lotka_volterra_conserves_its_invariant():
    solution, fields = saved("lotka_volterra", A(rtol=1e-10, atol=1e-10))
    prey, predator, c = fields["prey"], fields["predator"], solution.problem.coefficients
    invariant = c["growth"] * prey - c["death"] * np.log(prey) + c["predation"] * predator - c["birth"] * np.log(predator)
    assert spread(invariant) < 1e-7


def test_wave_conserves_energy():
    solution = solved("wave", S(8))
    x = np.linspace(0, 1, 17)[:-1] + 1 / 32  # midpoints: exact for the cosines that occur
    slopes = jax.vmap(jax.vmap(jax.grad(lambda t, x: solution.field(t, x)[0], (0, 1)), (None, 0)), (0, None))
    u_t, u_x = map(np.asarray, jax.jit(slopes)(solution.ts, x))
    assert spread(mean(u_t**2 + solution.problem.coefficients["speed"] ** 2 * u_x**2)) < 1e-12


# --- flows -------------------------------------------------------------------------------------------------------------


def test_velocity_stays_free_of_divergence():
    (_, fields), k = saved("navier_stokes_velocity", S(8)), np.fft.fftfreq(8, 1 / 8)
    u, v = np.fft.fft2(fields["u"]), np.fft.fft2(fields["v"])
    assert np.abs(np.fft.ifft2(1j * k[:, None] * u + 1j * k * v)).max() < 1e-13


@pytest.mark.slow
def test_taylor_green_enstrophy_decays_at_its_rate():
    solution, fields = saved("navier_stokes_vorticity", S(8))
    enstrophy, viscosity = mean(fields["w"] ** 2), solution.problem.coefficients["viscosity"]
    assert enstrophy / enstrophy[0] == pytest.approx(np.exp(-4 * viscosity * np.asarray(solution.ts)), rel=1e-13)


@pytest.mark.slow
def test_energy_of_mixing_vortices_falls_by_what_viscosity_dissipates():
    solution, fields = saved("vortex_mixing", MIXING)
    energy, enstrophy = mean(fields["w"] * fields["psi"]) / 2, mean(fields["w"] ** 2) / 2
    dissipated = 2 * solution.problem.coefficients["viscosity"] * simpson(enstrophy, x=solution.ts)
    assert float(energy[0] - energy[-1]) == pytest.approx(dissipated, rel=1e-8)
    assert dissipated > 0.2 * energy[0]


@functools.partial(jax.jit, static_argnums=1)
def run(stepper, steps):
    start = stepper.initial()
    return stepper.decode(start), stepper.decode(jax.lax.fori_loop(0, steps, lambda _, state: stepper.step(state), start))


def stepped(problem, n, dt, steps):
    """The fields at the start and after some steps of the pure core."""
    return tuple(map(np.asarray, run(js.stepper(problem, S(n, dt=dt)), steps)))


def test_inviscid_flow_on_the_kept_modes_conserves_energy_and_enstrophy():
    # A truncated Euler flow conserves both exactly, but only where the products are free of aliasing errors.
    problem = js.problems.vortex_mixing(viscosity=0.0)
    before, after = stepped(problem, 24, 0.01, 200)
    quadratic = lambda fields: np.array([np.mean(fields[0] * fields[1]), np.mean(fields[0] ** 2)])
    assert np.linalg.norm(after[0] - before[0]) > np.linalg.norm(before[0]) / 2
    assert quadratic(after) == pytest.approx(quadratic(before), rel=1e-7)


def test_inviscid_burgers_on_the_kept_modes_conserves_energy():
    box, initial = js.Box(t=(0, 1), x=(0, 1)), {"u": lambda x: js.sin(2 * np.pi * x)}
    problem = js.Problem(burgers_equation, box, coefficients={"viscosity": 0.0}, initial=initial)
    before, after = stepped(problem, 48, 1e-3, 500)  # past the time at which the true solution has a jump
    assert np.abs(after - before).max() > 0.5
    assert np.mean(after**2) == pytest.approx(np.mean(before**2), rel=1e-8)


def test_allen_cahn_lowers_its_energy_and_stays_between_its_phases():
    solution, fields = saved("allen_cahn", S(1024))
    u, c = fields["u"], solution.problem.coefficients
    energy = mean(c["diffusivity"] / 2 * x_derivative(u, 2.0) ** 2 + c["rate"] / 4 * (1 - u**2) ** 2)
    assert (np.diff(energy) < -1e-3).all()
    assert np.abs(u).max() < 1.0


# --- symmetries --------------------------------------------------------------------------------------------------------


def kdv_from(initial):
    box, coefficients = js.Box(t=(0, 1), x=(-1, 1)), {"dispersion": 0.022**2}
    return js.Problem(kdv_equation, box, coefficients=coefficients, initial={"u": initial})


def test_kdv_is_invariant_under_translation():
    shift = 2 * 5 / 64  # five grid intervals
    _, usual = stepped(kdv_from(lambda x: js.cos(np.pi * x)), 64, 1e-3, 200)
    _, moved = stepped(kdv_from(lambda x: js.cos(np.pi * (x - shift))), 64, 1e-3, 200)
    assert np.abs(moved - np.roll(usual, 5, axis=1)).max() < 1e-12


def test_kdv_is_invariant_under_galilean_boosts():
    speed = 2 * 8 / 64 / 0.2  # eight grid intervals in the time of the run
    _, usual = stepped(kdv_from(lambda x: js.cos(np.pi * x)), 64, 1e-3, 200)
    _, boosted = stepped(kdv_from(lambda x: speed + js.cos(np.pi * x)), 64, 1e-3, 200)
    # The boost is not a symmetry of the step: equal up to the error in time (the boosted wave moves faster).
    assert np.abs(boosted - speed - np.roll(usual, 8, axis=1)).max() < 1e-7


def test_a_quarter_turn_of_the_vortices_turns_the_flow():
    def mixing(initial):
        usual = js.problems.vortex_mixing()
        boundary = {"x": js.Periodic(), "y": js.Periodic()}
        return js.Problem(
            usual.equation, usual.domain, coefficients=usual.coefficients, initial={"w": initial}, boundary=boundary
        )

    w = lambda x, y: js.sin(2 * x + y) + js.cos(x - 3 * y)
    _, usual = stepped(mixing(w), 24, 0.02, 50)
    _, turned = stepped(mixing(lambda x, y: w(y, -x)), 24, 0.02, 50)  # turned(x, y) = usual(y, -x)
    expected = np.roll(usual[0].T[::-1], 1, axis=0)
    assert np.abs(turned[0] - expected).max() < 1e-12
