"""Embeddings: their features, periods that are exact, and messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_parameters import random_parameters

from jaxsci.networks import MLP, SPINN, FourierFeatures, Harmonics, PeriodicEmbedding


def features(embedding, z):
    return np.asarray(embedding.module(len(z))(jnp.asarray(z)))


def test_fourier_features_are_pairs_on_the_circle_with_frequencies_of_the_given_scales():
    embedding = FourierFeatures(scales=(1.0, 20.0), count=4000)
    small = 1e-6  # sin(B z) = B z there: the frequencies themselves
    sines = features(embedding, [small, 0.0])[8000:] / small
    assert sines[:4000].std() == pytest.approx(1.0, rel=0.05)
    assert sines[4000:].std() == pytest.approx(20.0, rel=0.05)
    here = features(embedding, [0.3, -0.8])
    np.testing.assert_allclose(here[:8000] ** 2 + here[8000:] ** 2, 1.0, rtol=1e-14)
    assert embedding.features(2) == 16000 == len(here)


def test_the_seed_decides_the_frequencies_and_the_key_does_not():
    z = [0.3, 0.1]
    assert (features(FourierFeatures(seed=1), z) == features(FourierFeatures(seed=1), z)).all()
    assert not np.allclose(features(FourierFeatures(seed=1), z), features(FourierFeatures(seed=2), z))


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("period", [2.0, 0.7])
def test_a_periodic_network_is_periodic_to_round_off(period, trainable):
    network = MLP((16, 16), embedding=PeriodicEmbedding((1,), period, harmonics=3, trainable=trainable))
    parameters = random_parameters(network, 3, 1)
    if trainable:
        parameters["embedding/frequencies"] = 2 * np.pi / jnp.asarray([0.9])
        period = 0.9

    @jax.jit
    def value_and_slope(x):
        return jax.jvp(lambda x: network.apply(parameters, jnp.stack([0.2, x, -0.4]))[0], (x,), (jnp.ones(()),))

    for x in (-1.0, -0.35):
        np.testing.assert_allclose(value_and_slope(x), value_and_slope(x + 2 * period), atol=1e-12)
        assert abs(value_and_slope(x)[0] - value_and_slope(x + 0.4 * period)[0]) > 1e-3  # not constant


def test_harmonics_are_multiple_angles():
    a, b, t = 0.7, -2.1, 0.3
    z = [np.cos(a), t, np.sin(a), np.cos(b), np.sin(b)]
    got = features(Harmonics(pairs=((0, 2), (3, 4)), count=4), z)
    multiples = [f(k * angle) for angle in (a, b) for k in (2, 3, 4) for f in (np.cos, np.sin)]
    np.testing.assert_allclose(got, [*z, *multiples], rtol=1e-14, atol=1e-15)


def test_embeddings_go_with_networks_made_of_networks():
    network = SPINN(MLP((4,), embedding=FourierFeatures(count=3)), rank=2)
    assert random_parameters(network, 2, 1)["1/layers/0/kernel"].shape == (6, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FourierFeatures(scales=2.0), r"FourierFeatures: scales must be a tuple of positive numbers, .* got 2\.0"),
        (lambda: FourierFeatures(scales=(1.0, -1.0)), r"scales must be .* got \(1\.0, -1\.0\)"),
        (lambda: FourierFeatures(count=0), "FourierFeatures: count must be a positive whole number, got 0"),
        (lambda: PeriodicEmbedding(axes=1), r"PeriodicEmbedding: axes must be a tuple of different indices .* got 1"),
        (lambda: PeriodicEmbedding((1, 1)), r"axes must be a tuple of different indices .* got \(1, 1\)"),
        (lambda: PeriodicEmbedding((1,), period=0.0), r"period must be positive, got 0\.0"),
        (lambda: PeriodicEmbedding((1,), harmonics=1.5), r"PeriodicEmbedding: harmonics must be .* got 1\.5"),
        (lambda: PeriodicEmbedding((2,)).features(2), r"axes are \(2,\), but there are only 2 inputs"),
        (lambda: Harmonics((0, 1)), r"Harmonics: pairs must be a tuple of \(cos, sin\) indices .* got \(0, 1\)"),
        (lambda: Harmonics(((0, 1),), 0), "Harmonics: count must be a positive whole number, got 0"),
        (lambda: Harmonics(((0, 3),)).features(2), r"pairs are \(\(0, 3\),\), but there are only 2 inputs"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
