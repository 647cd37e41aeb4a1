"""Gradients of many steps: the same numbers by every policy, in the memory that is foretold."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.solvers.gradients import refuse_reverse_mode, repeat, residual_bytes, split_steps, state_bytes

REVERSE = ("tape", "step", "sqrt", "recursive")
PRIME = 13


@pytest.fixture(scope="module")
def stepper():
    return js.stepper(js.problems.vortex_mixing(), js.Spectral(8, dt=0.05))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pendulum:
    """A stepper of its own, nonlinear in its state and its coefficient."""

    strength: float

    def initial(self):
        return js.solvers.State(jnp.asarray([0.5, 0.1]), jnp.asarray(0.0))

    def step(self, state):
        angle, rate = state.values
        rate = rate - 0.1 * self.strength * jnp.sin(angle)
        return js.solvers.State(jnp.stack([angle + 0.1 * rate, rate]), state.t + 0.1)

    def decode(self, state):
        return state.values

    def with_coefficients(self, strength):
        return Pendulum(strength)


def slopes(stepper, policy, steps=PRIME, **coefficient):
    """A loss at the end, and its gradient with respect to the state at the start and a coefficient."""
    ((name, value),) = coefficient.items()
    start = stepper.initial()
    weight = jnp.linspace(0.5, 1.5, start.values.size).reshape(start.values.shape)

    def loss(weight, value):
        begin = start._replace(values=weight * start.values)
        return jnp.sum(
            js.rollout(stepper.with_coefficients(**{name: value}), steps, state=begin, gradient=policy).fields[-1] ** 2
        )

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(weight, value)


def assert_same(got, expected):
    (value, (state, coefficient)), (value_, (state_, coefficient_)) = got, expected
    assert float(value) == pytest.approx(float(value_), rel=1e-14)
    assert np.abs(state - state_).max() < 1e-13 * np.abs(state_).max()
    assert float(coefficient) == pytest.approx(float(coefficient_), rel=1e-12)
    assert abs(float(coefficient)) > 1e-2


@pytest.mark.parametrize("policy", ["step", "sqrt", "recursive", "auto"])
def test_every_policy_has_the_gradient_of_the_tape(policy):
    """With respect to the state and a coefficient, over a prime number of steps."""
    assert_same(slopes(Pendulum(1.0), policy, strength=1.0), slopes(Pendulum(1.0), "tape", strength=1.0))


@functools.cache
def flow_slopes(policy):
    stepper = js.stepper(js.problems.vortex_mixing(), js.Spectral(8, dt=0.05))
    return slopes(stepper, policy, viscosity=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["step", "sqrt", "recursive"])
def test_every_policy_has_the_gradient_of_the_tape_for_a_flow(policy):
    assert_same(flow_slopes(policy), flow_slopes("tape"))


@jax.jit
def end(strength):
    return js.rollout(Pendulum(strength), PRIME, gradient="forward").fields[-1, 0]


def test_forward_mode_agrees_with_reverse_mode():
    reverse = jax.grad(lambda strength: js.rollout(Pendulum(strength), PRIME, gradient="tape").fields[-1, 0])(1.0)
    value, tangent = jax.jvp(end, (1.0,), (1.0,))
    assert float(tangent) == pytest.approx(float(reverse), rel=1e-12)
    assert float(value) == float(end(1.0))


def test_forward_alone_refuses_reverse_mode():
    with pytest.raises(TypeError, match=r'cannot be differentiated in reverse.*gradient="forward".*was asked for.*jax\.jvp'):
        jax.grad(end)(1.0)


def test_the_refusal_is_the_identity_otherwise():
    tree = {"a": jnp.arange(3.0), "b": jnp.ones(())}
    value, tangent = jax.jvp(refuse_reverse_mode, (tree,), (tree,))
    assert all(np.array_equal(value[k], tree[k]) and np.array_equal(tangent[k], tree[k]) for k in tree)
    square = lambda x: refuse_reverse_mode({"square": x**2, "count": 3})["square"]
    np.testing.assert_array_equal(jax.jit(jax.jacfwd(square))(tree["a"]), jnp.diag(2 * tree["a"]))


# --- loops -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [*REVERSE, "auto"])
@pytest.mark.parametrize("steps", [1, 2, 7, 12, 13, 97])
def test_a_loop_takes_each_step_once_and_in_order(policy, steps):
    """x -> (i + 2) x + i mod p does not commute: any step left out, repeated or misplaced changes the end."""
    step = lambda x, i: ((i + 2) * x + i) % 10007
    expected = functools.reduce(step, range(steps), 1)
    assert int(repeat(step, jnp.asarray(1), steps, policy)) == expected


@pytest.mark.parametrize("policy", REVERSE)
def test_batches_go_through_the_loop(policy):
    run = jax.grad(lambda x: repeat(lambda x, i: jnp.sin(x) + 0.1 * i, x, PRIME, policy))
    xs = jnp.linspace(0.1, 1.0, 5)
    assert np.abs(jax.vmap(run)(xs) - np.stack([run(x) for x in xs])).max() < 1e-15


@pytest.mark.parametrize("policy", ["step", "sqrt", "recursive"])
def test_parts_cover_the_steps_and_are_few(policy):
    """Their product reaches the number of steps, wastes little, and their sum is what the policy promises."""
    for steps in [*range(1, 400), 997, 1000, 1024, 9973, 10_000]:
        parts = split_steps(steps, policy)
        assert all(part >= 1 for part in parts)
        assert steps <= math.prod(parts) <= max(1.5 * steps, steps + 2)
        if policy == "step":
            assert parts == (steps,)
        elif policy == "sqrt":
            assert len(parts) == 2
            assert sum(parts) <= 2.4 * math.sqrt(steps) + 2
        elif steps >= 100:
            assert sum(parts) <= 10 * len(parts)
    assert split_steps(1000, "sqrt") in ((25, 40), (40, 25))
    assert math.prod(split_steps(1024, "recursive")) == 1024


# --- memory ------------------------------------------------------------------------------------------------------------------


def test_estimates_follow_their_formulas(stepper):
    state = stepper.initial()
    memory = js.gradient_memory(stepper.step, state, 1000)
    size, tape = state_bytes(state), residual_bytes(stepper.step, state)
    assert size == state.values.nbytes + 8
    assert memory == {
        "tape": 1000 * tape, "step": 1000 * size + tape, "sqrt": 65 * size + tape,
        "recursive": sum(split_steps(1000, "recursive")) * size + tape, "forward": size,
    }  # fmt: skip
    assert memory["tape"] > memory["step"] > memory["sqrt"] > memory["recursive"] > memory["forward"]
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
    assert js.gradient_memory(stepper.step, shapes, 1000) == memory


def test_residuals_are_those_that_depend_on_the_state():
    """A linear step leaves nothing; a square leaves the state, a product of two parts both."""
    x, table = jnp.zeros(100), jnp.ones(100)
    assert residual_bytes(lambda x: table * x, x) == 0
    assert residual_bytes(lambda x: x**2, x) in (800, 1600)
    assert residual_bytes(lambda x: table * jnp.sin(x), x) == 800
    assert residual_bytes(lambda s: (s[0] * jnp.cos(x), s[1] + 1), (x, jnp.asarray(3))) == 0  # a counter has no derivative


def bytes_set_aside(step, start, steps, policy):
    """XLA's own count of temporary memory for the gradient."""
    total = lambda state: jnp.sum(jnp.abs(repeat(lambda s, _: step(s), state, steps, policy)) ** 2)
    return jax.jit(jax.grad(total)).lower(start).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("policy", REVERSE)
def test_estimates_are_what_the_compiler_sets_aside(policy):
    """A step of upwind differences on a state that is large beside the rest: Burgers, (u^2 / 2)_x."""
    step = lambda u: u - 0.1 * (u**2 - jnp.roll(u, 1) ** 2) / 2
    start = jnp.ones(2**14)
    estimate = js.gradient_memory(step, start, 64)[policy]
    assert 1 / 1.5 < bytes_set_aside(step, start, 64, policy) / estimate < 1.5


@pytest.mark.slow
@pytest.mark.parametrize("policy", REVERSE)
def test_estimates_are_what_the_compiler_sets_aside_for_a_flow(policy):
    s = js.stepper(js.problems.vortex_mixing(), js.Spectral(32, dt=0.01))
    start = s.initial()
    step = lambda values: s.step(start._replace(values=values)).values
    estimate = js.gradient_memory(s.step, start, 64)[policy]
    assert 1 / 1.5 < bytes_set_aside(step, start.values, 64, policy) / estimate < 1.5


def test_auto_keeps_a_small_tape_and_no_large_one():
    """What was kept is read off the compiled program: the tape of 4,096 x 16 bytes x 40 steps is not there."""

    def kept(size, steps):
        run = lambda x: jnp.sum(repeat(lambda x, _: jnp.sin(jnp.cos(x)), x, steps, "auto"))
        return jax.jit(jax.grad(run)).lower(jnp.ones(size)).compile().memory_analysis().temp_size_in_bytes

    assert kept(64, 100) >= 100 * 64 * 8  # 64 x 8 B x 16 x 100 = 0.8 MB: the tape
    assert kept(65_536, 100) < 0.5 * 100 * 65_536 * 8  # 0.8 GB by the same count: "sqrt"
