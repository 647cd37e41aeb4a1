"""Operator networks of sensors: restriction exactly, products in NumPy, the same numbers on every grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_parameters import random_parameters

from jaxsci.networks.borders import waves
from jaxsci.networks.grid_deeponet import GridDeepONet, restriction


def test_periodic_sensors_read_their_modes_and_no_others():
    """Five sensors hold k <= 2: these are read exactly on every grid, and faster waves are not seen (nor aliased)."""
    for n in (5, 8, 13):
        x = 2 * np.pi * np.arange(n) / n
        at = 2 * np.pi * np.arange(5) / 5
        for wave in (lambda x: 1 + 0 * x, lambda x: np.sin(x + 1), lambda x: np.cos(2 * x - 1)):
            np.testing.assert_allclose(restriction(n, 5, "periodic") @ wave(x), wave(at), atol=1e-14)
    np.testing.assert_allclose(restriction(13, 5, "periodic") @ np.cos(3 * 2 * np.pi * np.arange(13) / 13), 0, atol=1e-14)


def test_sensors_between_walls_are_means_with_hats():
    np.testing.assert_allclose(
        restriction(5, 3, "odd"), np.array([[2 / 3, 1 / 3, 0, 0, 0], [0, 0.25, 0.5, 0.25, 0], [0, 0, 0, 1 / 3, 2 / 3]])
    )
    np.testing.assert_allclose(restriction(4, 4, "even"), np.eye(4))
    np.testing.assert_allclose(restriction(10, 4, "zero").sum(1), 1)


def test_the_products_in_numpy():
    network = GridDeepONet((3,), branch=(4,), trunk=(5,), rank=2, harmonics=2, activation="tanh")
    p = random_parameters(network, 2, 3)
    a = np.random.default_rng(0).normal(size=(2, 7))
    dense = lambda z, name: z @ p[f"{name}/kernel"] + p[f"{name}/bias"]
    readings = (restriction(7, 3, "periodic") @ a.T).reshape(-1)
    weights = dense(np.tanh(dense(readings, "branch/layers/0")), "branch/layers/1").reshape(2, 3)
    hidden = np.tanh(waves(7, "periodic", 2) @ p["positions/weights"][0] + p["shift"])
    basis = dense(hidden, "trunk/layers/0").reshape(7, 2, 3)
    expected = (basis * weights).sum(1) / np.sqrt(2) + p["bias"]
    np.testing.assert_allclose(jax.jit(network.apply)(p, a), expected.T, atol=1e-13)


def test_every_grid_that_resolves_the_field_gives_the_same_function():
    network = GridDeepONet((5, 4), branch=(4,), trunk=(4,), rank=2, borders=("periodic", "odd"))
    p, apply = random_parameters(network, 1, 1), jax.jit(network.apply)

    def on(n, m):
        x, y = np.meshgrid(2 * np.pi * np.arange(n) / n, np.arange(m + 1) / m, indexing="ij")
        return np.asarray(apply(p, (np.sin(2 * x) * y)[None]))

    coarse, fine = on(8, 6), on(16, 6)
    assert fine.shape == (1, 16, 7)
    np.testing.assert_allclose(coarse, fine[:, ::2], atol=1e-13)
    assert np.abs(coarse[:, :, 1:-1]).max() > 0.1
    assert (coarse[:, :, [0, -1]] == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GridDeepONet(16),
            "GridDeepONet: sensors must be a tuple of positive whole numbers, one per axis .* got 16",
        ),
        (lambda: GridDeepONet((4,), branch=16), "GridDeepONet: branch: widths must be a tuple of positive whole numbers"),
        (lambda: GridDeepONet((4,), harmonics=0), "GridDeepONet: harmonics must be a positive whole number, got 0"),
        (lambda: GridDeepONet((4, 1), borders="odd"), "GridDeepONet: an axis between walls needs 2 sensors or more"),
        (lambda: _at((1, 3)), "GridDeepONet: axis 0 has 3 nodes for 4 sensors; use a finer grid or fewer"),
        (lambda: _at((2, 8)), "GridDeepONet: these parameters take 1 input fields, got 2"),
    ],
)
def test_wrong_options_and_grids_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def _at(shape):
    network = GridDeepONet((4,), branch=(2,), trunk=(2,), rank=1)
    return network.apply(random_parameters(network, 1, 1), jnp.ones(shape))
