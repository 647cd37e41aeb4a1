"""Factorised Fourier operators: both ways to convolve against the definition, walls as periods, translations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_parameters import random_parameters

from jaxsci.networks.borders import extension
from jaxsci.networks.factorised_fno import FactorisedConvolution, FactorisedFNO
from jaxsci.networks.functional import functional


def by_definition(u, weights):
    """Of a period ``[n, channels]``: each wavenumber's coefficient times its matrix, real part."""
    n, x = len(u), np.arange(len(u)) / len(u)
    total = np.zeros((n, weights.shape[-1]))
    for k in range(weights.shape[1]):
        wave = np.exp(2j * np.pi * k * x)
        coefficient = np.conj(wave) @ u / n @ (weights[0, k] + 1j * weights[1, k])
        total += (1 if k == 0 else 2) * np.outer(wave, coefficient).real
    return total


@pytest.mark.parametrize(
    ("space", "modes", "borders"),
    [
        ((12,), (3,), ("periodic",)),  # by matrices
        ((9,), (5,), ("periodic",)),  # by fast transforms
        ((5, 9), (2, 2), ("periodic", "periodic")),  # one each
        ((5, 6), (3, 3), ("even", "odd")),
        ((4, 5, 3), (2, 2, 2), ("zero", "periodic", "even")),
    ],
)
def test_the_convolution_is_the_sum_over_the_axes(space, modes, borders):
    p, apply = functional(FactorisedConvolution(modes, 2, borders, nnx.Rngs(params=0)))
    h = np.random.default_rng(0).normal(size=(*space, 2))
    expected = np.zeros_like(h)
    for axis, (n, border) in enumerate(zip(space, borders, strict=True)):
        lines = np.moveaxis(h, axis, 0).reshape(n, -1, 2)
        weights = np.asarray(p[f"weights/{axis}"])
        found = [by_definition(extension(n, border) @ line, weights)[:n] for line in lines.swapaxes(0, 1)]
        lead = np.moveaxis(h, axis, 0).shape
        expected += np.moveaxis(np.stack(found, 1).reshape(lead), 0, axis)
    np.testing.assert_allclose(jax.jit(apply)(p, h), expected, atol=1e-13)


def test_the_formula_around_the_convolution():
    network = FactorisedFNO(modes=(2,), channels=2, layers=2, shared=True, activation="tanh")
    p = random_parameters(network, 1, 1)
    assert [name for name in p if "spectral" in name] == ["spectral/0/weights/0"]
    a = np.random.default_rng(1).normal(size=(1, 9))
    h = a.T @ p["lift/kernel"] + p["lift/bias"]
    dense = lambda h, name: h @ p[f"{name}/kernel"] + p[f"{name}/bias"]
    for layer in range(2):
        mixed = np.tanh(dense(by_definition(h, p["spectral/0/weights/0"]), f"mixing/{layer}/layers/0"))
        h = h + dense(mixed, f"mixing/{layer}/layers/1")
    expected = dense(np.tanh(dense(h, "project/0")), "project/1")
    np.testing.assert_allclose(jax.jit(network.apply)(p, a), expected.T, atol=1e-13)


def test_parameters_are_linear_in_modes_and_dimension():
    def count(*modes):
        parameters = jax.eval_shape(lambda: FactorisedFNO(modes, 4, 2).init(jax.random.key(0), 1, 1))
        return sum(leaf.size for name, leaf in parameters.items() if "spectral" in name)

    assert [count(3), count(6), count(3, 3), count(3, 3, 3)] == [2 * 2 * 3 * 16 * times for times in (1, 2, 2, 3)]


def test_translations_and_finer_grids():
    network = FactorisedFNO(modes=(2, 2), channels=2, layers=1, borders=("periodic", "even"))
    p, apply = random_parameters(network, 1, 1), jax.jit(network.apply)
    a = np.random.default_rng(2).normal(size=(1, 8, 6))
    np.testing.assert_allclose(apply(p, np.roll(a, 3, 1)), np.roll(apply(p, a), 3, 1), atol=1e-13)

    def on(n):
        x, y = np.meshgrid(2 * np.pi * np.arange(n) / n, np.pi * np.arange(n + 1) / n, indexing="ij")
        return np.asarray(apply(p, (np.cos(x + 1) * np.cos(y))[None]))

    # along the walls a general kernel makes odd parts, whose continuation has a kink: algebraic, not spectral
    assert np.abs(on(8) - on(16)[:, ::2, ::2]).max() < 0.02 * np.abs(on(8)).max()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FactorisedFNO(modes=4), "FactorisedFNO: modes must be a tuple of positive whole numbers, .* got 4"),
        (lambda: FactorisedFNO(modes=(1, 1, 1, 1)), "FactorisedFNO: modes must be .* 1 to 3"),
        (lambda: FactorisedFNO(modes=(4,), expansion=0), "FactorisedFNO: expansion must be a positive whole number, got 0"),
        (
            lambda: _at((4, 5)),
            r"FactorisedFNO: axis 0 \(periodic\) with 4 nodes cannot carry 3 modes: it needs more than 2 ",
        ),
        (lambda: _at((5, 3)), r"FactorisedFNO: axis 1 \(odd\) with 3 nodes cannot carry 3 modes: it needs more than modes"),
    ],
)
def test_wrong_options_and_grids_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sharing_is_a_choice_of_two():
    with pytest.raises(TypeError, match="FactorisedFNO: shared must be True or False, got 'yes'"):
        FactorisedFNO(modes=(4,), shared="yes")


def _at(space):
    network = FactorisedFNO(modes=(3, 3), channels=1, layers=1, borders=("periodic", "odd"))
    return network.apply(random_parameters(network, 1, 1), jnp.ones((1, *space)))
