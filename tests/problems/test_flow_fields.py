"""Velocity, vorticity, stream function and spectra of periodic flows: identities on uneven grids, Parseval, and refusals.

Their sign is held against a second library in tests/physics/test_sign_of_vorticity.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

P = js.problems
FLAT, SIZES = js.Box(x=(0, 2 * np.pi), y=(0, 3.0)), (12, 20)
DEEP, DEEP_SIZES = js.Box(x=(0, 2 * np.pi), y=(0, 3.0), z=(0, 1.5)), (8, 10, 9)


def velocity(box, sizes, key=0):
    series = P.random_velocity(jax.random.key(key), box, cutoff=3, spectrum=lambda k: k * jnp.exp(-k / 3))
    return series, jnp.stack([c.on_grid(sizes) for c in series])


@pytest.mark.slow
def test_vorticity_is_the_curl_and_velocity_its_inverse():
    (u, v), flow = velocity(FLAT, SIZES)
    w = P.vorticity_of(flow, FLAT.lengths)
    x, y = 2 * np.pi * 5 / 12, 3.0 * 7 / 20
    assert float(w[5, 7]) == pytest.approx(float(jax.grad(v)(x, y) - jax.grad(u, 1)(x, y)), rel=1e-11)  # v_x - u_y
    np.testing.assert_allclose(P.velocity_of(w, FLAT.lengths), flow, atol=1e-13)
    streaming = flow + jnp.asarray([2.0, 3.0])[:, None, None]  # a mean flow has no vorticity, and does not come back
    np.testing.assert_allclose(P.velocity_of(P.vorticity_of(streaming, FLAT.lengths) + 5.0, FLAT.lengths), flow, atol=1e-13)


def test_stream_function_has_the_sign_of_the_catalogue():
    """The exact field of the catalogue, where u = psi_y, v = -psi_x and lap psi = -w."""
    problem = P.navier_stokes_vorticity()
    x = 2 * np.pi * np.arange(8) / 8
    at = jax.vmap(jax.vmap(lambda x, y: problem.exact_field(0.3, x, y), (None, 0)), (0, None))
    w, psi = jnp.moveaxis(at(jnp.asarray(x), jnp.asarray(x)), -1, 0)
    lengths = problem.domain.lengths
    np.testing.assert_allclose(P.stream_function_of(w, lengths), psi, atol=1e-14)
    decay = np.exp(-2 * 0.01 * 0.3)
    want = decay * np.stack([-np.outer(np.cos(x), np.sin(x)), np.outer(np.sin(x), np.cos(x))])
    np.testing.assert_allclose(P.velocity_of(w, lengths), want, atol=1e-14)


@pytest.mark.slow
def test_three_dimensions():
    (u, v, w), flow = velocity(DEEP, DEEP_SIZES)
    point = (2 * np.pi * 3 / 8, 3.0 * 4 / 10, 1.5 * 2 / 9)
    d = lambda f, i: float(jax.grad(f, i)(*point))
    curl = P.vorticity_of(flow, DEEP.lengths)
    want = [d(w, 1) - d(v, 2), d(u, 2) - d(w, 0), d(v, 0) - d(u, 1)]
    np.testing.assert_allclose(curl[:, 3, 4, 2], want, rtol=1e-10)
    np.testing.assert_allclose(P.velocity_of(curl, DEEP.lengths), flow, atol=1e-12)
    potential = P.vector_potential_of(flow, DEEP.lengths)
    np.testing.assert_allclose(P.vorticity_of(potential, DEEP.lengths), flow, atol=1e-12)


def test_conversions_take_batches_and_pass_jit():
    flows = jnp.stack([velocity(FLAT, SIZES, key)[1] for key in range(2)])
    w = jax.jit(lambda flows: P.vorticity_of(flows, FLAT.lengths))(flows)
    assert w.shape == (2, 12, 20)
    np.testing.assert_allclose(P.velocity_of(w, FLAT.lengths)[1], flows[1], atol=1e-13)
    assert P.energy_spectrum(flows, FLAT.lengths)[1].shape[0] == 2
    assert P.velocity_of(w.astype(jnp.float32), FLAT.lengths).dtype == jnp.float32


@pytest.mark.parametrize(("lengths", "sizes"), [((2 * np.pi, 3.0), (12, 9)), ((1.0, 2.0, 3.0), (6, 5, 8))])
def test_spectrum_sums_to_the_energy_of_any_field(lengths, sizes):
    flow = jnp.asarray(np.random.default_rng(0).normal(size=(len(sizes), *sizes)))  # every mode, Nyquist and mean too
    k, energy = P.energy_spectrum(flow, lengths)
    assert float(energy.sum()) == pytest.approx(float(jnp.mean(jnp.sum(flow**2, axis=0)) / 2), rel=1e-13)
    assert float(energy[0]) >= float(jnp.sum(jnp.mean(flow.reshape(len(sizes), -1), axis=1) ** 2) / 2) * (1 - 1e-12)
    np.testing.assert_allclose(np.diff(k), 2 * np.pi / max(lengths))


def test_one_wave_is_in_one_shell():
    y = 4.0 * np.arange(16) / 16
    shear = jnp.stack([jnp.asarray(np.tile(np.sin(2 * np.pi * 3 * y / 4), (8, 1))), jnp.zeros((8, 16))])
    k, energy = P.energy_spectrum(shear, (2.0, 4.0))
    assert float(energy[3]) == pytest.approx(0.25)
    assert k[3] == pytest.approx(2 * np.pi * 3 / 4)
    assert float(energy.sum()) == pytest.approx(0.25)


def test_wrong_fields_are_named():
    with pytest.raises(
        ValueError, match=r"vorticity_of: the velocity must have shape \[\*batch, 2, n, n\], got \(3, 4, 4\)"
    ):
        P.vorticity_of(jnp.zeros((3, 4, 4)), (1.0, 1.0))
    with pytest.raises(ValueError, match=r"velocity_of: the vorticity must have shape \[\*batch, 3, n, n, n\]"):
        P.velocity_of(jnp.zeros((4, 4, 4)), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"velocity_of: the vorticity must have shape \[\*batch, n, n\], got \(4,\)"):
        P.velocity_of(jnp.zeros(4), (1.0, 1.0))
    with pytest.raises(ValueError, match="lives on two or three axes"):
        P.energy_spectrum(jnp.zeros((1, 4)), (1.0,))
    with pytest.raises(TypeError, match="velocity_of: the vorticity must be real"):
        P.velocity_of(jnp.zeros((4, 4), complex), (1.0, 1.0))
    with pytest.raises(ValueError, match=r"two dimensions.*vector_potential_of"):
        P.stream_function_of(jnp.zeros((3, 4, 4, 4)), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"three dimensions.*stream_function_of"):
        P.vector_potential_of(jnp.zeros((2, 4, 4)), (1.0, 1.0))
