"""Parameters for tests: of a network's own names and shapes, drawn by NumPy, which compiles nothing."""

import jax
import numpy as np


def random_parameters(network, *sizes, seed=0, scale=0.5):
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), *sizes))
    random = np.random.default_rng(seed)
    return {name: (scale * random.normal(size=leaf.shape)).astype(leaf.dtype) for name, leaf in shapes.items()}
