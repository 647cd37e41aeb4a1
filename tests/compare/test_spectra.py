"""Bands and spectra: Parseval to round-off, single waves in their places, and PDEBench's numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.compare.spectra import energy_spectrum, fourier_bands, spectrum_error


def waves(shape, *terms):
    """Sum of amplitude cos(k . x), [1, *shape]."""
    mesh = np.meshgrid(*(2 * np.pi * np.arange(n) / n for n in shape), indexing="ij")
    return sum(a * np.cos(sum(k * x for k, x in zip(ks, mesh, strict=True))) for a, ks in terms)[None]


@pytest.mark.parametrize("shape", [(16,), (15,), (12, 8), (5, 4, 7)])
def test_bands_add_up_to_the_mean_square(shape):
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 3, 2, *shape))
    bands = fourier_bands(a, b, space=len(shape), edges=(1, 2.5, 4), average=False)
    assert bands.shape == (3, 2, 4)
    expected = ((a - b) ** 2).mean(axis=tuple(range(-len(shape), 0)))
    np.testing.assert_allclose((bands**2).sum(-1), expected, rtol=1e-13)


@pytest.mark.parametrize("shape", [(16,), (9, 7), (8, 6, 4)])
def test_shells_add_up_to_half_the_mean_square(shape):
    u = np.random.default_rng(1).normal(size=(4, 3, *shape))
    spectrum = energy_spectrum(u, space=len(shape), lengths=[1.0 + i for i in range(len(shape))])
    half = 0.5 * (u**2).sum(axis=1).mean(axis=tuple(range(-len(shape), 0)))
    np.testing.assert_allclose(spectrum.energy.sum(-1), half, rtol=1e-13)


def test_every_mode_is_in_its_band():
    """(k, -l) as well as (k, l); band limits by |k|."""
    for ks, band in {(0, 0): 0, (3, 2): 0, (3, -2): 0, (-3, 3): 1, (4, 0): 1, (0, 11): 1, (9, -8): 2, (12, 0): 2}.items():
        error = waves((32, 32), (2.0, ks))
        size = 2.0 if ks == (0, 0) else np.sqrt(2)
        expected = np.where(np.arange(3) == band, size, 0)
        np.testing.assert_allclose(fourier_bands(error, 0 * error, space=2), expected, atol=1e-14)


def test_relative_bands():
    truth, error = waves((32,), (1.0, (1,)), (0.1, (6,))), waves((32,), (0.2, (2,)), (0.2, (6,)))
    bands = fourier_bands(truth + error, truth, space=1, edges=(4,), relative=True)
    np.testing.assert_allclose(bands, [0.2, 2.0], rtol=1e-12)


def test_pdebench_in_one_dimension_by_hand():
    """|e_k| of cos is 1/2, and 1 for k = 0 and n/2; bands are means over their wavenumbers."""
    first = waves((32,), (3.0, (0,)), (2.0, (2,)), (1.6, (4,)))  # |e_0| = 3, |e_2| = 1, |e_4| = 0.8
    second = waves((32,), (4.0, (0,)), (0.5, (16,)))  # |e_0| = 4, |e_16| = 0.5
    error = np.stack([first, second])
    bands = fourier_bands(error, 0 * error, space=1, definition="pdebench")
    low = (np.sqrt((9 + 16) / 2) + np.sqrt(1 / 2)) / 4  # k = 0 .. 3
    middle, high = np.sqrt(0.64 / 2) / 8, np.sqrt(0.25 / 2) / 5  # k = 4 .. 11 and 12 .. 16
    np.testing.assert_allclose(bands, [low, middle, high], rtol=1e-12)


def test_pdebench_in_two_dimensions_sees_the_first_quadrant_alone():
    seen, unseen = waves((32, 32), (2.0, (3, 2))), waves((32, 32), (2.0, (3, -2)))
    on_axis = waves((32, 32), (2.0, (0, 5)))
    bands = lambda e: fourier_bands(e[None], 0 * e[None], space=2, definition="pdebench")
    np.testing.assert_allclose(bands(seen), [1 / 4, 0, 0], atol=1e-14)  # shell 3 of 0 .. 3
    np.testing.assert_allclose(bands(unseen), 0, atol=1e-14)
    np.testing.assert_allclose(bands(on_axis), [0, 1 / 8, 0], atol=1e-14)
    both = waves((32, 32), (2.0, (2, 2)), (4.0, (1, 2)))  # shells 2 and 2: the squares add up
    np.testing.assert_allclose(bands(both), [np.sqrt(1 + 4) / 4, 0, 0], atol=1e-14)
    assert float(fourier_bands(unseen, 0 * unseen, space=2)[0]) == pytest.approx(np.sqrt(2))  # Parseval's sees it
    corner = waves((32, 32), (2.0, (15, 15)))  # |k| = 21 is beyond its last shell
    np.testing.assert_allclose(bands(corner), 0, atol=1e-14)


@pytest.mark.slow
def test_pdebench_keeps_what_is_between_samples_and_channels():
    error = np.random.default_rng(2).normal(size=(5, 3, 2, 8, 8, 8))
    assert fourier_bands(error, 0 * error, space=3, definition="pdebench", edges=(2,), average=False).shape == (3, 2, 2)
    short = fourier_bands(error[..., 0], 0 * error[..., 0], space=2, definition="pdebench")
    assert np.isnan(short[1:]).all()  # 8 points have the shells 0 .. 3
    assert np.isfinite(short[0])


def test_spectrum_has_each_wave_in_its_shell():
    spectrum = energy_spectrum(waves((16, 16), (2.0, (3, 4)), (1.0, (3, -4)), (1.0, (0, 1))), space=2)
    expected = np.zeros(len(spectrum.energy))
    expected[5], expected[1] = (2 + 0.5) / 2, 0.25
    np.testing.assert_allclose(spectrum.energy, expected, atol=1e-14)
    np.testing.assert_allclose(spectrum.wavenumbers, np.arange(len(expected)))


def test_spectrum_of_a_long_box_is_by_physical_wavenumber():
    """Lengths 4 pi and 2 pi: four waves along x and two along y have one wavenumber, 2."""
    fields = waves((16, 16), (1.0, (4, 0)), (1.0, (0, 2)))
    spectrum = energy_spectrum(fields, space=2, lengths=(4 * np.pi, 2 * np.pi))
    assert float(spectrum.wavenumbers[4]) == pytest.approx(2.0)
    assert float(spectrum.energy[4]) == pytest.approx(0.5)


def test_spectrum_error_is_in_decades_and_blind_to_phases():
    truth = waves((32,), (1.0, (1,)), (0.5, (3,)), (1e-7, (9,)))  # the last is below the floor
    shifted = np.roll(truth, 5, axis=-1)
    assert float(spectrum_error(shifted, truth, space=1)) == pytest.approx(0, abs=1e-12)
    weak = waves((32,), (1.0, (1,)), (0.05, (3,)), (1.0, (9,)))
    assert float(spectrum_error(weak, truth, space=1)) == pytest.approx(1.0)  # two decades in one of two shells
    assert float(spectrum_error(0 * truth, truth, space=1)) == pytest.approx(
        (8 + 8 + np.log10(0.25)) / 2
    )  # held at the floor
    batch = np.stack([1.2 * truth, np.sqrt(2 - 1.44) * truth])
    assert float(spectrum_error(batch, np.stack([truth, truth]), space=1)) == pytest.approx(
        0, abs=1e-12
    )  # of the mean spectrum


def test_what_is_not_finite():
    truth = waves((16,), (1.0, (1,)))
    broken = truth.copy()
    broken[0, 3] = np.nan
    assert np.isinf(fourier_bands(broken, truth, space=1)).all()
    assert np.isinf(fourier_bands(broken[None], truth[None], space=1, definition="pdebench", edges=(4,))).all()
    assert float(spectrum_error(broken, truth, space=1)) == np.inf
    assert np.isnan(energy_spectrum(broken, space=1).energy).all()
    assert np.isnan(float(spectrum_error(truth, 0 * truth, space=1)))


@pytest.mark.slow
def test_transformations_and_single_precision():
    random = np.random.default_rng(3)
    a, b = random.normal(size=(2, 4, 2, 16, 16))
    for metric in (fourier_bands, spectrum_error):
        value = metric(a, b, space=2)
        np.testing.assert_allclose(jax.jit(lambda x, m=metric: m(x, b, space=2))(a), value)
        assert jax.vmap(lambda x, y, m=metric: m(x, y, space=2))(a, b).shape == (4, *value.shape)
        assert np.isfinite(jax.grad(lambda x, m=metric: m(x, b, space=2).sum())(jnp.asarray(a))).all()
        single = metric(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32), space=2)
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, value, rtol=2e-5)
    assert not np.isnan(jax.grad(lambda x: fourier_bands(x, b, space=2).sum())(jnp.asarray(b))).any()  # at the minimum


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: fourier_bands(a, a[..., :8], space=1), r"got \(2, 16\) and \(2, 8\)"),
        (lambda a: fourier_bands(a, a, space=1, edges=(4, 4)), r"edges must increase.*\[4.0, 4.0\]"),
        (lambda a: fourier_bands(a, a, space=1, definition="all"), "'all' does not exist"),
        (lambda a: fourier_bands(a, a, space=1, definition="pdebench"), "at least 3 axes"),
        (lambda a: fourier_bands(a[None], a[None], space=1, definition="pdebench", relative=True), "not relative"),
        (lambda a: energy_spectrum(a, space=1, lengths=(1, 1)), "lengths must be 1 positive numbers"),
        (lambda a: spectrum_error(a, a[0], space=1), "one shape|at least"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 16)))
