r"""What reverse-mode differentiation of many steps remembers: memory against recomputation.

The derivative of n steps needs what each step computed, R bytes a step ("tape"). Instead, only states of S bytes are kept at
some steps and what lies between is computed again. With d nested levels of about n^(1/d) parts each,

    policy        depth d            memory                  computed in all (forward, again, backward ~ 2)
    "tape"        0                  n R                     1 + 0 + 2
    "step"        1                  n S + R                 1 + 1 + 2
    "sqrt"        2                  2 n^(1/2) S + R         1 + 2 + 2
    "recursive"   log2(n) / 3        about 8 d S + R         1 + d + 2
    "forward"     -                  S per tangent           forward mode alone (jax.jvp, jax.jacfwd)

"auto" takes the tape where it is small and "sqrt" else. `gradient_memory` tells the numbers before anything runs.

Reference: Griewank & Walther (2000), ACM Trans. Math. Softw. 26, 19; Chen et al. (2016), arXiv:1604.06174.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxsci._checks import unknown_name

GradientPolicy = Literal["auto", "tape", "step", "sqrt", "recursive", "forward"]

_SMALL_TAPE = 2**23  # bytes up to which "auto" keeps everything
_VALUES_A_STEP = 16  # states' worth of intermediate values that a step of order 4 leaves on the tape, about


def check_policy(what: str, policy: str) -> None:
    """Raise where there is no such policy."""
    if policy not in get_args(GradientPolicy):
        raise ValueError(f"{what}: {unknown_name('gradient policy', policy, get_args(GradientPolicy))}")


def repeat(step: Callable[[Any, Any], Any], state: Any, steps: int, policy: GradientPolicy = "auto") -> Any:
    """`steps` times ``state = step(state, i)``, differentiable with the memory that the policy says.

    Args:
      step: ``(state, i) -> state`` with i the number of the step from 0; a pytree of arrays, shapes kept.
      steps: a Python int.
    """
    if policy == "auto":
        policy = "tape" if _VALUES_A_STEP * state_bytes(state) * steps <= _SMALL_TAPE else "sqrt"
    if policy == "forward":
        return refuse_reverse_mode(jax.lax.fori_loop(0, jnp.asarray(steps), lambda i, s: step(s, i), state))
    if policy == "tape":
        return jax.lax.scan(lambda s, i: (step(s, i), None), state, jnp.arange(steps))[0]
    parts = split_steps(steps, policy)
    if math.prod(parts) > steps:
        step = _only_below(steps, step)
    for length in reversed(parts):
        # A loop is a barrier of its own: common subexpressions of forward and backward pass do not meet.
        step = _repeated(jax.checkpoint(step, prevent_cse=False), length)
    return step(state, 0)


def _repeated(step: Callable[[Any, Any], Any], length: int) -> Callable[[Any, Any], Any]:
    """`length` of the given (blocks of) steps as one."""

    def block(state, i):
        return jax.lax.scan(lambda s, j: (step(s, i * length + j), None), state, jnp.arange(length))[0]

    return block


def _only_below(steps: int, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda state, i: jax.lax.cond(i < steps, step, lambda s, _: s, state, i)


def split_steps(steps: int, policy: GradientPolicy) -> tuple[int, ...]:
    """The lengths of the nested loops, outermost first: their product is at least `steps`, and equal where that fits."""
    depth = {"step": 1, "sqrt": 2}.get(policy) or max(2, math.ceil(math.log2(max(steps, 2)) / 3))
    parts, left = [], max(steps, 1)
    for level in range(depth, 1, -1):
        aim = left ** (1 / level)
        fitting = [k for k in range(math.ceil(aim / 1.6), math.floor(aim * 1.6) + 1) if left % k == 0]
        parts.append(min(fitting, key=lambda k: abs(math.log(k / aim))) if fitting else math.ceil(aim - 1e-9))
        left = math.ceil(left / parts[-1])
    return (*parts, left)


def refuse_reverse_mode(value: Any) -> Any:
    """The identity; transposing it says that these steps have no reverse mode, and what has."""
    is_real = lambda leaf: jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)  # noqa: E731
    return jax.tree.map(lambda leaf: _forward_only.bind(leaf) if is_real(leaf) else leaf, value)


def _refuse(*_: Any) -> Any:
    raise TypeError(
        "These steps cannot be differentiated in reverse: their number is only known when they run (dt=None), or "
        'gradient="forward" (remat="forward" of a policy\'s objective) was asked for. Give the step, js.Spectral(n=..., dt=...) '
        "with gradient=\"auto\" (a first run reports a good one in stats['dt']), or use forward mode (jax.jvp, jax.jacfwd)."
    )


# A primitive, as `jax.custom_derivatives.linear_call` does not pass jax.vmap, of which jax.jacfwd is made.
_forward_only = Primitive("forward_only")
_forward_only.def_impl(lambda x: x)
_forward_only.def_abstract_eval(lambda x: x)
mlir.register_lowering(_forward_only, lambda _, x: [x])
batching.defvectorized(_forward_only)
ad.deflinear(_forward_only, _refuse)


def state_bytes(state: Any) -> int:
    """Bytes of a pytree of arrays."""
    return sum(math.prod(jnp.shape(leaf)) * jnp.result_type(leaf).itemsize for leaf in jax.tree.leaves(state))


def gradient_memory(step: Callable[[Any], Any], state: Any, steps: int) -> dict[str, int]:
    """Bytes that each policy keeps for the gradient of `steps` steps, told without running anything.

    Args:
      step: ``state -> state``, such as a stepper's ``step``.
      state: where it begins; arrays or `jax.ShapeDtypeStruct`.
    Returns:
      Bytes by policy. For "forward" it is one tangent.
    Example:
      >>> import jax, jaxsci as js
      >>> s = js.stepper(js.problems.vortex_mixing(), js.Spectral(n=128, dt=1e-2))
      >>> memory = js.gradient_memory(s.step, s.initial(), 1000)
      >>> memory["tape"] > 200 * memory["sqrt"]
      True
    """
    size, tape = state_bytes(state), residual_bytes(step, state)
    kept = {"tape": steps * tape}
    for policy in ("step", "sqrt", "recursive"):
        kept[policy] = sum(split_steps(steps, policy)) * size + tape
    return kept | {"forward": size}


def residual_bytes(step: Callable[[Any], Any], state: Any) -> int:
    """Bytes of what the derivative of one step needs of its computation: the residuals that depend on the state."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), state)
    inexact = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)  # noqa: E731
    leaves, structure = jax.tree.flatten(shapes)

    def residuals(*moving):
        it = iter(moving)
        full = jax.tree.unflatten(
            structure, [next(it) if inexact(leaf) else jnp.zeros(leaf.shape, leaf.dtype) for leaf in leaves]
        )
        return jax.vjp(step, full)[1]

    program = jax.make_jaxpr(residuals)(*(leaf for leaf in leaves if inexact(leaf))).jaxpr
    moving = set(program.invars)
    for equation in program.eqns:
        if any(not hasattr(v, "val") and v in moving for v in equation.invars):
            moving |= set(equation.outvars)
    kept = {v for v in program.outvars if not hasattr(v, "val") and v in moving}
    return sum(math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in kept)
