r"""Plans by second-order sweeps over a trajectory (iLQR, DDP), differentiable at the optimum.

    min over a_0 ... a_{T-1}   J = sum_t gamma^t cost(p, s_t, a_t, s_{t+1}) + gamma^T terminal(p, s_T),      low <= a_t <= high

Each sweep makes a quadratic model along the trajectory (`jaxsci.control.riccati`), minimises it, and rolls the minimum
out through the dynamics themselves, a_t + alpha k_t + K_t (s'_t - s_t), for the best of several alpha. The model's curvature W_t:

    Gauss-Newton (iLQR)   the projection of d^2 l_t onto the positive semidefinite matrices, cross terms included
    Newton                d^2 (l_t + lambda_{t+1} . f_t) with the costates lambda, so that the model is J's own expansion

with l_t(s, a) = gamma^t cost(p, s, a, f(p, s, a)) and f the dynamics, both differentiated jointly in (s, a).

Derivatives of a plan do not go through the sweeps. At the optimum dJ/da = 0 for every action that is free, so that

    da = -(d^2 J / da^2)^-1 d(dJ/da)    along any change of start, parameters or discount, and da = d(bound) where a bound holds,

with the exact second derivative whatever the sweeps used, solved by one Riccati recursion. The rule is linear (jvp and vjp) and
may be differentiated again (hessian).

References: Li & Todorov (2004), ICINCO; Pantoja (1988), Int. J. Control 47, 1539, for Newton's method with costates; Tassa,
Mansard & Todorov (2014), ICRA, and Bertsekas (1982), SIAM J. Control Optim. 20, 221, for bounds; Amos et al. (2018),
arXiv:1810.13400, and Jin et al. (2020), arXiv:1912.12970, for derivatives.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from jaxsci._checks import unknown_name
from jaxsci.control.calling import is_random
from jaxsci.control.checks import check_counts, flat_bounds
from jaxsci.control.flat_task import flat_task
from jaxsci.control.policies import sequence
from jaxsci.control.riccati import backward, costates, solve_hessian
from jaxsci.control.task import Task

Curvature = Literal["newton", "gauss_newton"]

CONVERGED, MAX_STEPS, STALLED, NOT_FINITE, SADDLE = range(5)

PLAN_STATUS = {
    CONVERGED: "converged",
    MAX_STEPS: "not converged within max_steps: raise max_steps or tol, or begin nearer",
    STALLED: "no step along any direction lowers the cost any more, but the slope is above tol: is the task smooth?",
    NOT_FINITE: "the cost of the first actions is not finite: begin with actions that keep the states finite",
    SADDLE: "stationary, but no strict minimum: derivatives of this plan are those of a stationary point, or meaningless",
}

_SHARES = 8  # of a step that are tried together: 1, 1/2, ... 1/128
_ENOUGH = 1e-4  # of the decrease that the model promises must come true
_FIRST, _LAST = 1e-3, 1e8  # of the damping
_NEAR = 1e-3  # of the cost is what the last step promised: from here Newton's curvature is tried


class Plan(NamedTuple):
    """What a planner returns.

    Attributes:
      actions: a_0 ... a_{T-1}, like the actions it began with.
      states: s_0 ... s_T, ``[horizon + 1, ...]``.
      gains: d a_t / d s_t of optimal actions, flat (in the order of `jax.flatten_util.ravel_pytree`), ``[horizon, actions,
        states]``; see `track`. None from planners that know none.
      cost: J, discounted.
      status: CONVERGED 0, MAX_STEPS 1, STALLED 2, NOT_FINITE 3, SADDLE 4; `PLAN_STATUS` has the sentences.
      steps: sweeps, or iterations.
    """

    actions: Any
    states: Any
    gains: Float[Array, "*batch horizon actions states"] | None
    cost: Float[Array, "*batch"]
    status: Int[Array, "*batch"]
    steps: Int[Array, "*batch"]


def ilqr(
    task: Task,
    actions: Any,
    state: Any = None,
    *,
    parameters: Any = None,
    low: Any = None,
    high: Any = None,
    curvature: Curvature = "newton",
    max_steps: int = 100,
    tol: float | None = None,
) -> Plan:
    """A locally optimal plan from one state; jit, vmap, jvp, vjp and hessian go through it.

    Args:
      task: whose dynamics do not draw, without `terminated` (an end that depends on the state has no derivative) and
        `constraint`.
      actions: where to begin, with the horizon as leading axis; the shapes and dtype of the plan.
      state: the first state; ``task.init`` by default.
      parameters: instead of the task's.
      low, high: bounds of the actions, numbers or pytrees like one action; both or neither.
      curvature: "newton" takes the exact curvature where that makes a descent, and Gauss-Newton's elsewhere; "gauss_newton"
        never differentiates the dynamics twice in its sweeps (the derivative of the plan does).
      max_steps: sweeps at most.
      tol: of the largest free dJ/da, relative to the two parts that cancel in it (that of the step's own cost and that of the
        costs to come); 1e-8, or 30 times the rounding error where that is more.
    Returns:
      A `Plan`. It is differentiable in the first state, the parameters, the discount and the bounds, and in whatever
      the task's functions close over; not in the first guess, on which a local optimum does not depend. With bounds, the
      derivative is that of a fixed set of active bounds.
    Raises:
      ValueError: a task that is random, terminates or is constrained; actions without the horizon as leading axis; one bound
        without the other, or bounds that cross; an unknown curvature.
      TypeError: states and actions that are not all of one floating-point type.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: s + 0.1 * a, cost=lambda p, s, a, s1: s**2 + p * a**2,
      ...     init=lambda p: jnp.asarray(1.0), horizon=50, parameters=0.1)
      >>> plan = js.control.ilqr(task, jnp.zeros(50))
      >>> print(f"{plan.cost:.4f} after {plan.steps} step")
      3.7016 after 1 step
      >>> slope = jax.grad(lambda s, p: js.control.ilqr(task, jnp.zeros(50), s, parameters=p).actions[0], argnums=(0, 1))
      >>> print("{:.4f} {:.4f}".format(*slope(1.0, 0.1)))
      -2.7016 11.3982
    """
    task, state, actions = _checked(task, actions, state, parameters, curvature, max_steps)
    x0, to_state = ravel_pytree(state)
    to_action = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], actions))[1]
    guess = jax.vmap(lambda action: ravel_pytree(action)[0])(actions)
    bounds: Any = flat_bounds("ilqr", low, high, jax.tree.map(lambda leaf: leaf[0], actions))
    problem, numbers = flat_task(task, x0, guess[0], to_state, to_action)

    held = jax.lax.stop_gradient((numbers, x0, guess, bounds))
    chosen, status, steps = _sweeps(problem, *held, curvature, max_steps, tol)
    gradient = jax.grad(problem.total, argnums=2)(held[0], held[1], chosen)
    pinned = None if bounds is None else _pinned(chosen, gradient, *held[3])
    chosen = _attach(problem, chosen, pinned, bounds, numbers, x0)

    states, costs = problem.follow(numbers, x0, chosen)
    model = problem.expand(numbers, states, chosen, exact=True)
    feedback = backward(model, pinned=pinned != 0 if bounds is not None else None, definite=False)
    status = jnp.where((status == CONVERGED) & ~feedback.definite, SADDLE, status)
    return Plan(jax.vmap(to_action)(chosen), jax.vmap(to_state)(states), feedback.gains, jnp.sum(costs), status, steps)


def track(plan: Plan, state: Any, *, t: Any) -> Any:
    """The policy that plays a plan with its feedback: a_t + K_t (s - s_t). Its observation is the state.

    To first order in the deviation, these are the optimal actions of the state it finds itself in.

    Raises:
      ValueError: the plan has no gains.
    """
    if plan.gains is None:
        raise ValueError("track: this plan has no gains; take one from ilqr, or play it with jaxsci.control.sequence.")
    planned = jax.tree.map(lambda leaf: leaf[t], plan.states)
    action, to_action = ravel_pytree(jax.tree.map(lambda leaf: leaf[t], plan.actions))
    deviation = ravel_pytree(state)[0] - ravel_pytree(planned)[0]
    return to_action(action + plan.gains[t] @ deviation)


class _Carry(NamedTuple):
    actions: Any
    states: Any
    cost: Any
    size: Any  # the sum of the costs' absolute values, of which the rounding error is a share
    steps: Any
    damping: Any
    exact: Any  # take Newton's curvature next
    scale: Any  # the largest part of dJ/da so far
    status: Any
    running: Any


def _sweeps(problem, numbers, x0, guess, bounds, curvature, max_steps, tol):
    """Actions that are stationary, the status, and how many sweeps it took."""
    dtype, size = guess.dtype, x0.shape[0]
    rounding = jnp.finfo(dtype).eps
    tol = max(1e-8, 30 * rounding) if tol is None else tol
    shares = 0.5 ** jnp.arange(_SHARES, dtype=dtype)
    if bounds is not None:
        guess = jnp.clip(guess, *bounds)

    def sweep(carry):
        # Newton's model is J's own expansion, so its slope in the actions is dJ/da.
        model = problem.expand(
            numbers, carry.states, carry.actions, exact=None if curvature == "gauss_newton" else carry.exact
        )
        to_come = jnp.einsum("tnm,tn->tm", model.transition[:, :, size:], costates(model))
        own = model.slope[:, size:]
        gradient = own + to_come
        room = None
        if bounds is not None:
            pinned = _pinned(carry.actions, gradient, *bounds) != 0
            gradient = jnp.where(pinned, 0, gradient)
            # Newton's model need not be convex beside the active bounds: it takes them from the gradient (projected Newton),
            # Gauss-Newton's finds them step by step.
            wide = jnp.where(pinned, 0, jnp.inf)
            down, up = (jnp.where(carry.exact, s * wide, b - carry.actions) for s, b in zip((-1, 1), bounds, strict=True))
            room = (down, up)
        scale = jnp.maximum(carry.scale, jnp.max(jnp.abs(own) + jnp.abs(to_come)))
        done = jnp.max(jnp.abs(gradient)) <= tol * scale
        feedback = backward(model, damping=carry.damping, room=room)

        def tried(share):
            def policy(t, x):
                u = carry.actions[t] + share * feedback.offsets[t] + feedback.gains[t] @ (x - carry.states[t])
                return u if bounds is None else jnp.clip(u, *bounds)

            return problem.steered(numbers, x0, policy)

        states, actions, costs = jax.vmap(tried)(shares)
        values = jnp.sum(costs, axis=1)
        values = jnp.where(jnp.isfinite(values), values, jnp.inf)
        noise = (
            4 * rounding * carry.size
        )  # near the optimum no cost can tell two plans apart: there the longest step is taken
        best = jnp.argmax(values <= jnp.min(values) + noise)
        share = shares[best]
        promised = -(share * feedback.linear + share**2 / 2 * feedback.quadratic)
        accepted = feedback.definite & (values[best] <= carry.cost - _ENOUGH * promised + noise) & ~done
        accepted = accepted & jnp.isfinite(values[best])
        stalled = ~accepted & ~carry.exact & (carry.damping >= _LAST)
        steps = carry.steps + ~done
        status = jnp.select([done, stalled], [CONVERGED, STALLED], MAX_STEPS)
        running = ~done & ~stalled & (steps < max_steps)
        less = jnp.where(carry.damping > 10 * _FIRST, carry.damping / 10, 0)
        more = jnp.where(carry.exact, carry.damping, jnp.maximum(10 * carry.damping, _FIRST))
        take = functools.partial(jnp.where, accepted)
        return _Carry(
            take(actions[best], carry.actions),
            take(states[best], carry.states),
            take(values[best], carry.cost),
            take(jnp.sum(jnp.abs(costs[best])), carry.size),
            steps,
            take(less, more).astype(dtype),
            accepted & (promised <= _NEAR * carry.size) & (curvature == "newton"),
            scale,
            status,
            running,
        )

    states, costs = problem.follow(numbers, x0, guess)
    cost = jnp.sum(costs)
    finite = jnp.isfinite(cost)
    zero = jnp.zeros((), dtype)
    size0 = jnp.sum(jnp.abs(costs))
    status = jnp.where(finite, MAX_STEPS, NOT_FINITE)
    start = _Carry(guess, states, cost, size0, jnp.asarray(0), zero, jnp.asarray(False), zero, status, finite)
    end = jax.lax.while_loop(lambda carry: carry.running, sweep, start)
    return end.actions, end.status, end.steps


def _pinned(actions: Any, gradient: Any, low: Any, high: Any) -> Any:
    """-1 and 1 where the lower and the upper bound hold an action that would go on, 0 where it is free."""
    return jnp.where((actions <= low) & (gradient > 0), -1, jnp.where((actions >= high) & (gradient < 0), 1, 0))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attach(problem, actions, pinned, bounds, numbers, x0):
    """The actions, with the derivative of the optimum; see the head of this file."""
    return actions


@_attach.defjvp
def _attach_jvp(problem, primals, tangents):
    actions, pinned, bounds, numbers, x0 = primals
    actions = _attach(problem, *primals)  # so that a second derivative finds the first one
    gradient = jax.grad(problem.total, argnums=2)
    moved = jax.jvp(lambda numbers, x0: gradient(numbers, x0, actions), (numbers, x0), tangents[3:])[1]
    change, held = jnp.zeros_like(actions), None
    if bounds is not None:
        held = pinned != 0
        change = jnp.where(pinned < 0, tangents[2][0], jnp.where(pinned > 0, tangents[2][1], 0))

    def product(v):
        free = v if held is None else jnp.where(held, 0, v)
        out = jax.jvp(lambda u: gradient(numbers, x0, u), (actions,), (free,))[1]
        return out if held is None else jnp.where(held, v, out)

    def solve(_, right):
        fixed = jax.lax.stop_gradient((numbers, x0, actions))
        states = problem.follow(*fixed)[0]
        inner = solve_hessian(problem.expand(fixed[0], states, fixed[2], exact=True), right, held)
        return inner if held is None else jnp.where(held, right, inner)

    right = -moved
    if held is not None:
        right = right - jax.jvp(lambda u: gradient(numbers, x0, u), (actions,), (change,))[1]
        right = jnp.where(held, change, right)
    return actions, jax.lax.custom_linear_solve(product, right, solve, symmetric=True)


def _checked(task, actions, state, parameters, curvature, max_steps):
    """The task with its parameters, the state and the actions as arrays."""
    if not isinstance(task, Task):
        raise TypeError(f"ilqr: the task is a jaxsci.control.Task, got {type(task).__name__}.")
    if curvature not in get_args(Curvature):
        raise ValueError(f"ilqr: {unknown_name('curvature', str(curvature), get_args(Curvature))}")
    check_counts("ilqr", max_steps=max_steps)
    if is_random(task.dynamics):
        raise ValueError(f"ilqr: {task.name} is random; plan with its mean dynamics, or by mppi or cem, which draw.")
    if state is None and is_random(task.init):
        raise ValueError(
            f"ilqr: the start of {task.name} is random; give the state to plan from, task.first_state(key) say."
        )
    for field, cure in (
        ("terminated", "an end that depends on the state has no derivative: leave it out and let the cost say what is bad"),
        ("constraint", "bounds of actions are low= and high=; put other constraints into the cost"),
    ):
        if getattr(task, field) is not None:
            raise ValueError(f"ilqr: {task.name} has {field}; {cure}.")
    task = task if parameters is None else task.replace(parameters=parameters)
    state = task.first_state() if state is None else jax.tree.map(jnp.asarray, state)
    actions = jax.tree.map(jnp.asarray, actions)
    leaves = jax.tree.leaves(actions)
    if not leaves or any(np.ndim(leaf) == 0 or leaf.shape[0] != task.horizon for leaf in leaves):
        shapes = [np.shape(leaf) for leaf in leaves]
        raise ValueError(f"ilqr: actions have the horizon, {task.horizon}, as leading axis; got shapes {shapes}.")
    kinds = sorted({str(leaf.dtype) for leaf in (*leaves, *jax.tree.leaves(state))})
    if len(kinds) > 1 or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        raise TypeError(
            f"ilqr: states and actions are all of one floating-point type, got {', '.join(kinds)}. Convert them; a counter of "
            "steps is the keyword t of dynamics and cost; complex states, of js.Spectral's steppers, are planned by mppi or cem."
        )
    task.replace(init=lambda _: state).spaces(sequence, actions)
    return task, state, actions
