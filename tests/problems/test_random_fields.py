"""Random starts: their statistics are what their definitions say, whatever key, box and precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

P = js.problems
SLOW = pytest.mark.slow  # the compiler's seconds
SQUARE, CUBE = js.Box(x=(0, 1), y=(0, 1)), js.Box(x=(0, 2 * np.pi), y=(0, 2 * np.pi), z=(0, 2 * np.pi))
FLAT = js.Box(x=(0, 2 * np.pi), y=(0, 2 * np.pi))
LONG = js.Box(x=(0, 2 * np.pi), y=(0, 4 * np.pi))
KEYS = functools.cache(lambda count: jax.random.split(jax.random.key(7), count))
BROWN = lambda k: k / (1 + (k / 2) ** 4)


def test_truncated_series_has_equal_variance_below_the_cutoff_and_no_mean():
    draw = jax.jit(jax.vmap(lambda key: P.random_fourier_series(key, LONG, cutoff=3, rms=1.0).modes))
    modes = draw(KEYS(4000))
    power = np.mean(modes[:, 0] ** 2 + modes[:, 1] ** 2, axis=0)
    assert power[0, 0] == 0
    rest = power.ravel()[1:] * (7 * 7 - 1)  # each of 48 modes its share of the mean square
    assert np.abs(rest - 1).max() < 0.07  # of 4000 samples: a standard deviation of 0.016
    assert np.abs(np.mean(modes, axis=0)).max() < 0.01  # no preferred phase


@pytest.mark.slow
def test_truncated_series_is_normalised():
    one = P.random_fourier_series(jax.random.key(0), SQUARE, cutoff=4)
    assert float(jnp.abs(one.on_grid(32)).max()) == pytest.approx(1, abs=1e-12)
    assert float(jnp.abs(one.on_grid(256)).max()) == pytest.approx(1, abs=0.03)
    assert float(jnp.mean(one.on_grid(32))) == pytest.approx(0, abs=1e-15)
    assert float(P.random_fourier_series(jax.random.key(0), SQUARE, rms=2.0).mean_square) == pytest.approx(4)
    assert one.highest == (4, 4)


@pytest.mark.slow
def test_a_key_is_one_function_in_both_precisions():
    draws = {
        "series": lambda: P.random_fourier_series(jax.random.key(3), SQUARE),
        "gaussian": lambda: P.gaussian_random_field(jax.random.key(3), SQUARE, cutoff=4),
        "turbulence": lambda: P.turbulent_vorticity(jax.random.key(3), LONG, cutoff=4),
    }
    for name, draw in draws.items():
        double = np.asarray(draw().modes)
        with jax.enable_x64(False):
            single = np.asarray(draw().modes)
        assert (double.dtype, single.dtype) == (np.float64, np.float32), name
        np.testing.assert_allclose(single, double, atol=1e-6 * np.abs(double).max(), err_msg=name)


def test_gaussian_field_has_its_covariance():
    """The variance at a point, and the covariance at a distance, against the sum over modes written out here."""
    scale, shift, power, cutoff = 3.0, 20.0, 2.0, 6
    draw = jax.jit(
        jax.vmap(
            lambda key: P.gaussian_random_field(
                key, js.Box(x=(0, 1), y=(0, 2)), cutoff=cutoff, scale=scale, shift=shift, power=power
            )(jnp.asarray([0.1, 0.35]), jnp.asarray([0.2, 0.2]))
        )
    )
    values = np.asarray(draw(KEYS(20000)))
    k, m = np.meshgrid(np.arange(-cutoff, cutoff + 1), np.arange(-cutoff, cutoff + 1), indexing="ij")
    variance = scale * ((2 * np.pi * k) ** 2 + (np.pi * m) ** 2 + shift) ** -power / 2
    variance[cutoff, cutoff] = 0
    assert np.mean(values[:, 0] ** 2) == pytest.approx(np.sum(variance), rel=0.04)
    assert np.mean(values[:, 0] * values[:, 1]) == pytest.approx(
        np.sum(variance * np.cos(2 * np.pi * k * 0.25)), abs=0.02 * np.sum(variance)
    )


@pytest.mark.parametrize(("box", "d"), [(LONG, 2), pytest.param(CUBE, 3, marks=SLOW)])
def test_random_velocity_is_solenoidal_and_has_its_energy(box, d):
    velocity = P.random_velocity(jax.random.key(1), box, cutoff=4, spectrum=BROWN, energy=0.7)
    assert len(velocity) == d
    assert sum(float(c.mean_square) for c in velocity) / 2 == pytest.approx(0.7)
    point = (0.3, 0.5, 0.7)[:d]
    slopes = [float(jax.grad(c, i)(*point)) for i, c in enumerate(velocity)]
    assert sum(slopes) == pytest.approx(0, abs=1e-13)
    assert max(map(abs, slopes)) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("box", "d", "cutoff"), [(FLAT, 2, 8), pytest.param(CUBE, 3, 6, marks=SLOW)])
def test_random_velocity_has_its_spectrum(box, d, cutoff):
    """Summed over shells and averaged over samples; a shell of small k holds an uneven number of modes."""
    spectrum = lambda k: k / (1 + (k / 3) ** 4)
    fields = jax.jit(
        jax.vmap(
            lambda key: jnp.stack(
                [c.on_grid(2 * cutoff + 2) for c in P.random_velocity(key, box, cutoff=cutoff, spectrum=spectrum)]
            )
        )
    )(KEYS(64 if d == 2 else 16))
    k, energy = P.energy_spectrum(fields, box.lengths)
    measured = np.mean(energy, axis=0)[2:cutoff]
    inside = spectrum(k[2:cutoff])
    ratio = measured / inside
    assert np.abs(ratio / ratio.mean() - 1).max() < 0.4  # measured: 0.27
    wrong = measured / (inside * k[2:cutoff])  # a spectrum that is one power of k off is seen
    assert np.abs(wrong / wrong.mean() - 1).max() > 0.5  # measured: 0.75 and 0.57


@pytest.mark.slow
def test_turbulent_vorticity_is_the_curl_of_its_velocity():
    box, key = FLAT, jax.random.key(5)
    w = P.turbulent_vorticity(key, box, cutoff=8, peak=3.0, energy=0.5)
    u, v = P.random_velocity(key, box, cutoff=8, spectrum=lambda k: k / (1 + (k / 3) ** 4))
    point = (0.4, 1.3)
    assert float(w(*point)) == pytest.approx(float(jax.grad(v)(*point) - jax.grad(u, 1)(*point)), rel=1e-12)
    velocity = P.velocity_of(w.on_grid(20), box.lengths)
    assert float(jnp.mean(jnp.sum(velocity**2, axis=0)) / 2) == pytest.approx(0.5)


def test_wrong_arguments_are_named():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="random_fourier_series: cutoff must be a whole number >= 1, got 0"):
        P.random_fourier_series(key, SQUARE, cutoff=0)
    with pytest.raises(ValueError, match=r"gaussian_random_field: Box\(t=\(0, 1\)\) has no spatial axis"):
        P.gaussian_random_field(key, js.Box(t=(0, 1)))
    with pytest.raises(ValueError, match="random_velocity: the box must have two or three spatial axes"):
        P.random_velocity(key, js.Box(x=(0, 1)), cutoff=3, spectrum=BROWN)
    with pytest.raises(ValueError, match="turbulent_vorticity: the box must have two spatial axes"):
        P.turbulent_vorticity(key, CUBE)
