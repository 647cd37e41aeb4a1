"""Fourier neural operators: convolution by modes, translations, grids, dimensions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_parameters import random_parameters

from jaxsci.networks import FNO
from jaxsci.networks.fno import SpectralConvolution
from jaxsci.networks.functional import functional


def test_the_spectral_convolution_is_its_sum_over_wavenumbers():
    """Against the definition: each wavenumber |k_i| < modes_i, its coefficient times a matrix, and back; no FFT."""
    modes, space = (2, 1, 2), (4, 3, 5)
    from flax import nnx

    parameters, apply = functional(SpectralConvolution(modes, 2, nnx.Rngs(params=jax.random.key(0))))
    h = np.random.default_rng(0).normal(size=(*space, 2))
    weights = np.asarray(parameters["weights"])
    nodes = [np.arange(n) / n for n in space]
    mesh = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1)
    expected = np.zeros_like(h)
    for position in np.ndindex(weights.shape[3:]):
        k = np.array([p if i == len(modes) - 1 or p < modes[i] else p - (2 * modes[i] - 1) for i, p in enumerate(position)])
        wave = np.exp(2j * np.pi * mesh @ k)
        coefficient = np.tensordot(np.conj(wave), h, len(space)) / np.prod(space)
        matrix = (weights[0] + 1j * weights[1])[(slice(None), slice(None), *position)]
        if k[-1] == 0:  # a real field: the plane k = 0 is made Hermitian by the inverse transform
            expected += (wave[..., None] * (coefficient @ matrix)).real
        else:
            expected += 2 * (wave[..., None] * (coefficient @ matrix)).real
    reverse = lambda field: np.moveaxis(field, (0, 1, 2), (2, 1, 0))  # it holds its fields with the last axis first
    np.testing.assert_allclose(reverse(apply(parameters, reverse(h))), expected, rtol=1e-12, atol=1e-13)


NETWORK = FNO(modes=(3, 4), channels=5, layers=2)


@pytest.fixture(scope="module")
def made():
    return random_parameters(NETWORK, 2, 3, scale=0.3), jax.jit(NETWORK.apply)


def test_sizes_and_dtypes(made):
    parameters, _ = made
    assert parameters["spectral/1/weights"].shape == (2, 5, 5, 5, 4)
    count = (2 * 5 + 5) + 2 * (1000 + 30) + (5 * 10 + 10) + (10 * 3 + 3)
    assert sum(leaf.size for leaf in parameters.values()) == count
    for dtype in (jnp.float32, jnp.float64):
        cast = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), parameters)
        value = jax.eval_shape(NETWORK.apply, cast, jnp.zeros((2, 9, 10), dtype))
        assert (value.shape, value.dtype) == ((3, 9, 10), dtype)


def test_it_commutes_with_translations_of_the_grid(made):
    parameters, apply = made
    a = np.random.default_rng(1).normal(size=(2, 9, 10))
    moved = apply(parameters, np.roll(a, (2, 3), (1, 2)))
    np.testing.assert_allclose(moved, np.roll(apply(parameters, a), (2, 3), (1, 2)), atol=1e-13)


def test_a_finer_grid_gives_the_same_function(made):
    """Of a band-limited input; the activations alias, less and less."""
    parameters, apply = made

    def on(n):
        x, y = np.meshgrid(*[2 * np.pi * np.arange(n) / n] * 2, indexing="ij")
        return apply(parameters, np.stack([np.sin(x) * np.cos(y), np.cos(x + y)]))

    coarse, fine, finer = on(12), on(24), on(48)
    errors = [np.abs(np.asarray(a - finer[:, :: 48 // n, :: 48 // n])).max() for a, n in ((coarse, 12), (fine, 24))]
    assert errors[0] < 0.05 * np.abs(np.asarray(finer)).max()
    assert errors[1] < errors[0] / 10


def by_fast_transforms(parameters, network, a):
    """The same operator by library transforms of complex spectra, channels last."""
    h, axes = np.moveaxis(a, 0, -1) @ parameters["lift/kernel"] + parameters["lift/bias"], tuple(range(a.ndim - 1))
    for layer in range(network.layers):
        weights = parameters[f"spectral/{layer}/weights"]
        spectrum = jnp.fft.rfftn(h, axes=axes)
        kept = np.ix_(*[[*range(m), *range(1 - m, 0)] for m in network.modes[:-1]], range(network.modes[-1]))
        low = jnp.einsum("...i,io...->...o", spectrum[kept], weights[0] + 1j * weights[1])
        bent = jnp.fft.irfftn(jnp.zeros_like(spectrum).at[kept].set(low), s=a.shape[1:], axes=axes)
        h = jax.nn.gelu(bent + h @ parameters[f"pointwise/{layer}/kernel"] + parameters[f"pointwise/{layer}/bias"])
    h = jax.nn.gelu(h @ parameters["project/0/kernel"] + parameters["project/0/bias"])
    return jnp.moveaxis(h @ parameters["project/1/kernel"] + parameters["project/1/bias"], -1, 0)


def test_values_and_derivatives_are_those_of_fast_transforms():
    """Under vmap, in reverse and in forward mode: the products here have derivatives and batches of their own."""
    network = FNO(modes=(2, 3), channels=3, layers=2)
    parameters = random_parameters(network, 2, 2, scale=0.5)
    a, way = np.random.default_rng(3).normal(size=(2, 4, 2, 5, 6))

    def everything(one):
        batch = lambda p, a: jnp.sin(jax.vmap(one, (None, 0))(p, a))
        value, pull = jax.vjp(batch, parameters, a)
        second = jax.jvp(jax.grad(lambda a: batch(parameters, a).sum()), (a,), (way,))[1]
        many = jax.vmap(one, (0, None))(jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), parameters), a[0])
        each = jax.vmap(jax.grad(lambda p, a: one(p, a).sum()), (None, 0))(parameters, a)
        return value, pull(value), jax.jvp(lambda a: batch(parameters, a), (a,), (way,))[1], second, many, each

    found = jax.jit(lambda: everything(network.apply))()
    expected = jax.jit(lambda: everything(lambda p, a: by_fast_transforms(p, network, a)))()
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-11), found, expected)


@pytest.mark.parametrize("border", ["even", "odd"])
def test_walls_are_those_of_the_mirrored_period(border):
    """What is said of walls: the output is the even or odd part on the mirrored period, whichever wall one mirrors about."""
    network = FNO(modes=(3, 2), channels=4, layers=1, borders=(border, "periodic"))
    parameters = random_parameters(network, 1, 1, scale=0.5)
    a = np.random.default_rng(4).normal(size=(1, 7, 5))
    sign = 1 if border == "even" else -1
    u = network.apply(parameters, a)
    assert u.shape == (1, 7, 5)
    mirrored = np.concatenate([a, sign * a[:, -2:0:-1]], 1)
    periodic = FNO(modes=(3, 2), channels=4, layers=1).apply(parameters, mirrored)
    part = 0.5 * (periodic + sign * jnp.roll(periodic[:, ::-1], 1, 1))
    np.testing.assert_allclose(u, part[:, :7], atol=1e-13)
    if border == "odd":
        np.testing.assert_allclose(u[:, [0, -1]], 0, atol=1e-13)


@pytest.mark.slow
def test_derivatives_pass(made):
    parameters, apply = made
    a = np.random.default_rng(2).normal(size=(2, 9, 10))
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(jnp.sin(NETWORK.apply(p, a)))))(parameters)
    assert all(bool(jnp.isfinite(leaf).all()) and bool((jnp.abs(leaf) > 0).any()) for leaf in gradient.values())
    step, name, index = 1e-5, "spectral/0/weights", (1, 2, 3, 0, 1)
    shifted = [parameters | {name: jnp.asarray(parameters[name]).at[index].add(s)} for s in (step, -step)]
    up, down = (float(jnp.sum(jnp.sin(apply(p, a)))) for p in shifted)
    assert gradient[name][index] == pytest.approx((up - down) / (2 * step), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FNO(modes=4), "FNO: modes must be a tuple of positive whole numbers, one per axis, got 4"),
        (lambda: FNO(modes=(4, 0)), r"FNO: modes must be .* got \(4, 0\)"),
        (lambda: FNO(modes=(4,), channels=0), "FNO: channels must be a positive whole number, got 0"),
        (lambda: FNO((4,), borders=("wall",)), r"""FNO: borders must be .* for each of 1 axes, got \('wall',\)"""),
        (lambda: FNO((4,), borders=("even", "odd")), "FNO: borders must be"),
        (lambda: FNO(modes=(4,), activation="rel"), "FNO: activation 'rel' does not exist"),
        (
            lambda: NETWORK.apply(random_parameters(NETWORK, 2, 3), jnp.zeros((2, 4, 10))),
            r"a grid of \(4, 10\) points cannot carry modes \(3, 4\): it needs one axis for each, with more than",
        ),
        (lambda: NETWORK.apply(random_parameters(NETWORK, 2, 3), jnp.zeros((2, 40))), r"a grid of \(40,\) points cannot"),
    ],
)
def test_wrong_options_and_grids_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
