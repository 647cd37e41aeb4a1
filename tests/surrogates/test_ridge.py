"""The best linear step: exact where the dynamics is linear, with the right numbers where it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solved_runs import check_transformations, normal_starts, relative_errors, rolled_out, solved_runs

import jaxsci as js
from jaxsci.surrogates import Trajectories
from jaxsci.surrogates.ridge import Ridge, translations


@pytest.fixture(scope="module")
def advected():
    return solved_runs(js.problems.advection(speed=1.0), 16, 0.1, normal_starts(6, 1, 16), 8)


def periodic_heat(source=0.0):
    equation = js.Equation(lambda u, kappa, force, x: u.t - kappa * u.xx - force * js.sin(x), "u", name="heated")
    if not source:
        equation = js.Equation(lambda u, kappa: u.t - kappa * u.xx, "u", name="periodic heat")
    coefficients = {"kappa": 0.1} | ({"force": source} if source else {})
    return js.Problem(equation, js.Box(t=(0, 1), x=(0, 2 * np.pi)), coefficients=coefficients, initial={"u": 0.0})


def test_propagator_of_advection(advected):
    """exp(-i k c dt) below Nyquist."""
    fitted = Ridge().fit(advected)
    k = np.arange(8)
    np.testing.assert_allclose(fitted.parameters["propagator"][0, 0, :8], np.exp(-1j * k * 0.1), atol=1e-10)
    assert relative_errors(fitted, advected).max() < 1e-12


def test_propagator_of_heat_in_both_precisions():
    """exp(-kappa k^2 dt)."""
    exact = np.exp(-0.1 * np.arange(8) ** 2 * 0.1)
    data = solved_runs(periodic_heat(), 16, 0.1, normal_starts(6, 1, 16), 5)
    np.testing.assert_allclose(Ridge().fit(data).parameters["propagator"][0, 0, :8], exact, atol=1e-10)
    single = Trajectories(data.problem, data.fields.astype(jnp.float32), {}, 0.1)
    found = Ridge().fit(single).parameters["propagator"]
    assert found.dtype == jnp.complex64
    np.testing.assert_allclose(found[0, 0, :8], exact, atol=1e-5)


def test_a_source_makes_the_constant_and_the_new_start_is_as_exact():
    """u' = exp(-kappa k^2 dt) u + the response to force sin x, known from its mode alone."""
    problem = periodic_heat(source=2.0)
    assert (translations(problem), translations(periodic_heat())) == ("sources", "all")
    fitted = Ridge().fit(solved_runs(problem, 16, 0.1, normal_starts(6, 1, 16), 5))
    response = 2.0 * (1 - np.exp(-0.1 * 0.1)) / 0.1
    expected = np.zeros(9, complex)
    expected[1] = -0.5j * response
    np.testing.assert_allclose(fitted.parameters["constant"][0], expected, atol=1e-10)
    unseen = solved_runs(problem, 16, 0.1, normal_starts(3, 1, 16, seed=9), 5)
    assert relative_errors(fitted, unseen).max() < 1e-10


def test_two_channels_couple():
    """The wave equation: a rotation in (k u, u_t) by the angle c k dt."""
    problem = js.Problem(
        js.Equation(lambda u: u.tt - u.xx, "u"), js.Box(t=(0, 1), x=(0, 2 * np.pi)), initial={"u": 0.0, "u_t": 0.0}
    )
    data = solved_runs(problem, 16, 0.1, normal_starts(6, 2, 16) * [[1.0], [1e3]], 6)
    propagator = Ridge().fit(data).parameters["propagator"][..., 3]
    angle = 0.3
    expected = [[np.cos(angle), np.sin(angle) / 3], [-3 * np.sin(angle), np.cos(angle)]]
    np.testing.assert_allclose(propagator, expected, atol=1e-10)


def test_stencil_of_a_shift():
    """Advection by one grid point a step is the stencil (1, 0, 0); by half a point no short one is exact."""
    dx = 2 * np.pi / 16
    low = np.fft.irfft(np.fft.rfft(normal_starts(6, 1, 16))[..., :8], 16)  # the Nyquist mode has no shift
    data = solved_runs(js.problems.advection(speed=1.0), 16, dx, low, 4)
    fitted = Ridge(stencil=1).fit(data)
    assert relative_errors(fitted, data).max() < 1e-10
    assert fitted.stats["parameters"] == 3 + 1
    half = solved_runs(js.problems.advection(speed=1.0), 16, dx / 2, low, 4)
    short, wide = (relative_errors(Ridge(stencil=r).fit(half), half)[:, 1].mean() for r in (1, 3))
    assert 1e-3 < wide < short


def test_two_dimensional_stencil_is_that_of_its_numbers():
    """Fields made by a known convolution in two dimensions and two channels."""
    random = np.random.default_rng(1)
    weights = random.normal(size=(2, 2, 3, 3)) / 8
    fields = [normal_starts(4, 2, 8, 6)]
    for _ in range(3):
        shifted = [np.roll(fields[-1], (-i, -j), (-2, -1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        fields.append(np.einsum("abs,srbxy->raxy", weights.reshape(2, 2, 9), np.stack(shifted)))
    problem = js.Problem(
        js.Equation(lambda u, v: (u.t - u.xx - u.yy, v.t - v.xx), "u v"),
        js.Box(t=(0, 1), x=(0, 1), y=(0, 1)),
        initial={"u": 0.0, "v": 0.0},
    )
    data = Trajectories(problem, jnp.asarray(np.stack(fields, axis=1)), {}, 0.1)
    for ridge in (Ridge(stencil=1), Ridge()):
        assert relative_errors(ridge.fit(data), data).max() < 1e-8


def test_walls_take_the_modes_of_the_data():
    data = solved_runs(js.problems.heat(), 8, 0.02, normal_starts(12, 1, 9), 4)
    fitted = Ridge().fit(data)
    assert fitted.stats["rank"] == 7
    unseen = solved_runs(js.problems.heat(), 8, 0.02, normal_starts(4, 1, 9, seed=2), 4)
    assert relative_errors(fitted, unseen).max() < 1e-9
    with pytest.raises(ValueError, match="leave stencil out"):
        Ridge(stencil=1).fit(data)


def test_penalty_is_chosen_by_the_noise():
    """Noise on the data asks for a penalty, and a huge one gives the mean."""
    clean = solved_runs(periodic_heat(), 16, 0.1, normal_starts(6, 1, 16), 5)
    noisy = Trajectories(clean.problem, clean.fields + 0.3 * normal_starts(6, 5, 1, 16, seed=4), {}, 0.1)
    assert Ridge().fit(clean).stats["penalty"] < 1e-20
    assert Ridge().fit(noisy).stats["penalty"] >= 1e-3
    flat = Ridge(penalty=1e12).fit(clean)
    np.testing.assert_allclose(np.ptp(rolled_out(flat, clean)[:, 1:], axis=-1), 0, atol=1e-9)


def test_factors_that_depend_on_x_are_no_translations():
    problem = js.Problem(
        js.Equation(lambda u, x: u.t + (2 + js.sin(x)) * u.x, "u"), js.Box(t=(0, 1), x=(0, 2 * np.pi)), initial={"u": 0.0}
    )
    assert translations(problem) == "none"
    assert translations(js.problems.heat()) == "none"
    assert translations(js.problems.kolmogorov_flow()) == "sources"


def test_transformations(advected):
    check_transformations(Ridge().fit(advected), advected)


def test_bad_input(advected):
    with pytest.raises(ValueError, match="penalty must be a number >= 0 or None, got -1"):
        Ridge(penalty=-1)
    with pytest.raises(ValueError, match=r"stencil must be a radius .*, got 1\.5"):
        Ridge(stencil=1.5)
    with pytest.raises(ValueError, match=r"radius 8 is wider than the grid \(16,\)"):
        Ridge(stencil=8).fit(advected)
    with pytest.raises(ValueError, match="of 2 saves or more, got 6 runs of 1"):
        Ridge().fit(Trajectories(advected.problem, advected.fields[:, :1], {}, 0.1))
    lines = []
    Ridge().fit(advected, key=jax.random.key(0), budget=1.0, progress=lines.append)
    assert len(lines) == 1
