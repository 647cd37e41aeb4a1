"""Correlations whose derivatives are correlations in the fast kernel's form, against JAX's own."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.networks.correlation import correlate


def general(h, w, stride, dilation):
    d, axes = w.ndim - 2, "XY"[: w.ndim - 2]
    names = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return jax.lax.conv_general_dilated(h, w, (stride,) * d, "VALID", rhs_dilation=(dilation,) * d, dimension_numbers=names)


def operands(space, *members):
    keys = jax.random.split(jax.random.key(0))
    h = jax.random.normal(keys[0], (*members, 2, *space, 2))
    return h, jax.random.normal(keys[1], (*members, *(3,) * len(space), 2, 3))


def agree(ours, theirs, *args):
    found, expected = jax.jit(ours)(*args), jax.jit(theirs)(*args)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), found, expected)


@pytest.mark.parametrize(("space", "stride", "dilation"), [((10,), 2, 1), ((9, 8), 1, 2), ((8, 9), 2, 2)])
def test_values_gradients_and_second_derivatives_are_those_of_the_general_convolution(space, stride, dilation):
    def derivatives(f):
        loss = lambda h, w: jnp.sum(jnp.sin(f(h, w, stride, dilation)))
        gradient = jax.grad(loss, (0, 1))
        forward = lambda h, w: jax.jvp(gradient, (h, w), (jnp.cos(h), jnp.sin(w)))
        backward = jax.grad(lambda h, w: sum(jnp.sum(jnp.sin(g)) for g in gradient(h, w)), (0, 1))
        return lambda h, w: (f(h, w, stride, dilation), forward(h, w), backward(h, w))

    agree(derivatives(correlate), derivatives(general), *operands(space))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 0), (3, 2)])
def test_batches_of_fields_and_of_kernels(axes):
    h, w = operands((7,), 4)
    h = h[0] if axes[0] is None else jnp.moveaxis(h, 0, axes[0])
    w = w[0] if axes[1] is None else jnp.moveaxis(w, 0, axes[1])

    def both(f):
        loss = lambda h, w: jnp.sum(jnp.sin(f(h, w, 2, 1)))
        many = jax.vmap(loss, axes)
        return lambda h, w: (jax.vmap(jax.grad(loss, (0, 1)), axes)(h, w), jax.grad(lambda *a: many(*a).sum(), (0, 1))(h, w))

    agree(both(correlate), both(general), h, w)


def labels(f):
    """How the convolutions of a gradient inside of a loop lie, in the compiled program."""
    h, w = operands((8, 8))
    gradient = jax.grad(lambda w: jnp.sum(jnp.sin(f(jnp.sin(f(h, w[..., :2], 1, 1)), w, 1, 1))))
    loop = jax.jit(lambda w: jax.lax.fori_loop(0, 3, lambda _, w: w - 0.1 * gradient(w), w))
    return set(re.findall(r"dim_labels=(\S+?),", loop.lower(w).compile().as_text()))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the form is that of the processor's kernel")
def test_in_a_loop_every_convolution_has_the_form_of_the_fast_kernel():
    assert labels(correlate) == {"b01f_01io->b01f"}
    assert labels(general) > {"b01f_01io->b01f"}, "XLA arranges them by now: JAX's own will do"
