"""Flax modules as flat parameters and pure functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jaxsci as js
from jaxsci.networks import functional


class TwoLayers(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(2, 5, param_dtype=jnp.float64, rngs=rngs)
        self.second = nnx.Linear(5, 3, param_dtype=jnp.float64, rngs=rngs)

    def __call__(self, z, scale=1.0):
        return scale * self.second(jnp.tanh(self.first(z)))


@pytest.fixture(scope="module")
def made():
    return functional(TwoLayers(nnx.Rngs(0)))


def by_hand(parameters, z):
    hidden = np.tanh(z @ np.asarray(parameters["first/kernel"]) + np.asarray(parameters["first/bias"]))
    return hidden @ np.asarray(parameters["second/kernel"]) + np.asarray(parameters["second/bias"])


def test_parameters_are_a_flat_dictionary_of_arrays(made):
    parameters, _ = made
    assert {name: leaf.shape for name, leaf in parameters.items()} == {
        "first/kernel": (2, 5), "first/bias": (5,), "second/kernel": (5, 3), "second/bias": (3,),
    }  # fmt: skip
    assert all(isinstance(leaf, jax.Array) for leaf in parameters.values())


def test_apply_computes_what_the_formula_says_from_the_parameters_it_is_given(made):
    parameters, apply = made
    other = {name: leaf + 0.1 for name, leaf in parameters.items()}
    z = np.array([0.3, -0.8])
    for p in (parameters, other):
        np.testing.assert_allclose(apply(p, z), by_hand(p, z), rtol=1e-14)
    np.testing.assert_allclose(apply(parameters, z, 2.0), 2 * by_hand(parameters, z), rtol=1e-14)


def test_apply_keeps_no_state(made):
    parameters, apply = made
    z = jnp.array([0.1, 0.2])
    before = apply(parameters, z)
    apply({name: 0 * leaf for name, leaf in parameters.items()}, z)
    assert (apply(parameters, z) == before).all()


def test_parameters_survive_a_file(made, tmp_path):
    parameters, apply = made
    np.savez(tmp_path / "parameters.npz", **parameters)
    with np.load(tmp_path / "parameters.npz") as file:
        loaded = {name: file[name] for name in file.files}
    z = jnp.ones(2)
    assert (apply(loaded, z) == apply(parameters, z)).all()


def test_jit_vmap_and_grad_pass_through_apply(made):
    parameters, apply = made
    z = jax.random.normal(jax.random.key(1), (4, 2))
    np.testing.assert_allclose(
        jax.jit(jax.vmap(apply, (None, 0)))(parameters, z), by_hand(parameters, np.asarray(z)), rtol=1e-13
    )

    def loss(p):
        return jnp.sum(apply(p, z[0]) ** 2)

    slope = jax.grad(loss)(parameters)
    assert slope.keys() == parameters.keys()
    step = 1e-6
    for name, index in (("first/kernel", (1, 2)), ("second/bias", (0,))):
        up, down = ({**parameters, name: parameters[name].at[index].add(s)} for s in (step, -step))
        assert slope[name][index] == pytest.approx(float(loss(up) - loss(down)) / (2 * step), rel=1e-7)


@pytest.mark.slow
def test_any_object_with_init_and_apply_is_a_network():
    class Wrapped:
        """A Linen module as a network."""

        module = linen.Dense(1, param_dtype=jnp.float64)

        def init(self, key, inputs, outputs):
            return self.module.init(key, jnp.ones(inputs))

        def apply(self, parameters, z):
            return self.module.apply(parameters, z)

    decay = js.Problem(js.Equation(lambda u: u.t + u), js.Box(t=(0, 0.1)), initial={"u": 1.0})
    fit = js.Neural(Wrapped(), optimiser=js.learning.LevenbergMarquardt(steps=5), budget=None, estimate=False)
    solution = js.solve(decay, fit)
    assert solution.stats["parameters"] == 2  # one input, one output: u = 1 + t (a z + b)
    np.testing.assert_allclose(solution.fields[:, 0], np.exp(-solution.ts), atol=1e-5)
