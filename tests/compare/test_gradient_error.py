"""The gradient through a stepper against another's: exact where it is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.compare.gradient_error import gradient_error


@dataclasses.dataclass(frozen=True)
class Scaling:
    """u -> factor u: the gradient of J at the end is factor^steps J'."""

    factor: float
    dt: float = 0.1
    points: int = 8

    @property
    def grid(self):
        return {"x": np.arange(self.points)}

    def encode(self, fields):
        return fields

    def step(self, state):
        return self.factor * state

    def decode(self, state):
        return state


START = np.random.default_rng(0).normal(size=(2, 3, 1, 8))
KEY = jax.random.key(0)


def test_gradients_that_are_known():
    found = gradient_error(Scaling(1.1), Scaling(1.0), START, steps=2, key=KEY)
    assert found.relative_l2.shape == found.cosine.shape == (2, 3)
    np.testing.assert_allclose(found.relative_l2, 0.21, rtol=1e-6)
    np.testing.assert_allclose(found.cosine, 1, rtol=1e-6)
    reversed_ = gradient_error(Scaling(-1.0), Scaling(1.0), START[0], steps=1, key=KEY)
    np.testing.assert_allclose(reversed_.relative_l2, 2)
    np.testing.assert_allclose(reversed_.cosine, -1)


def test_the_solver_takes_as_many_steps_as_its_own_needs():
    found = gradient_error(Scaling(1.21), Scaling(1.1, dt=0.05), START[0, :1], steps=3, key=KEY)
    np.testing.assert_allclose(found.relative_l2, 0, atol=1e-12)


def test_a_functional_and_gradients_without_use():
    start = START[0, :1]
    square = gradient_error(Scaling(2.0), Scaling(1.0), start, steps=1, functional=lambda u: jnp.sum(u**2))
    np.testing.assert_allclose(square.relative_l2, 3)  # 8 u against 2 u
    flat = gradient_error(Scaling(0.0), Scaling(1.0), start, steps=1, key=KEY)
    np.testing.assert_allclose([flat.relative_l2, flat.cosine], [[1], [0]])
    broken = gradient_error(Scaling(np.nan), Scaling(1.0), start, steps=1, key=KEY)
    np.testing.assert_allclose([broken.relative_l2, broken.cosine], [[np.inf], [0]])


@pytest.mark.slow
def test_solvers_agree_the_better_the_smaller_their_steps():
    problem = js.problems.kuramoto_sivashinsky()
    fine, middle, coarse = (js.stepper(problem, js.Spectral(n=16, dt=dt)) for dt in (2.5e-4, 1e-3, 2e-3))
    start = jnp.cos(fine.grid["x"])[None] * (1 + jnp.sin(fine.grid["x"]))[None]
    errors = [float(gradient_error(s, fine, start, steps=int(4e-3 / s.dt), key=KEY).relative_l2) for s in (coarse, middle)]
    assert errors[1] < errors[0] / 8  # of fourth order
    assert 0 < errors[0] < 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gradient_error(Scaling(1.0), Scaling(1.0, points=9), START, steps=1), r"one grid, got \(8,\) and \(9,\)"),
        (lambda: gradient_error(Scaling(1.0), Scaling(1.0), START[..., :4], steps=1, key=KEY), r"got shape \(2, 3, 1, 4\)"),
        (lambda: gradient_error(Scaling(1.0), Scaling(1.0, dt=0.07), START, steps=1, key=KEY), "no multiple of .* 0.07"),
        (lambda: gradient_error(Scaling(1.0), Scaling(1.0), START, steps=0, key=KEY), "steps must be a whole number >= 1, got 0"),
        (lambda: gradient_error(Scaling(1.0), Scaling(1.0), START, steps=1), "give a key"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
