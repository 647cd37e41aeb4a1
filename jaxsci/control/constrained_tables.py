r"""Constrained decisions on tables: the least cost among the policies whose safety costs stay within limits.

    min_pi  E sum_t gamma^t c(s_t, a_t)      subject to      E sum_t gamma^t C_i(s_t, a_t) <= limit_i,      C_i >= 0

Both costs are linear in the occupancy x(s, a) = sum_t gamma^t P(s_t = s, a_t = a), which makes it a linear program,

    min_x  <c, x>    with    sum_a x(s', a) - gamma sum_{s, a} P(s' | s, a) x(s, a) = start(s'),   <C_i, x> <= limit_i,   x >= 0

and pi(a | s) = x(s, a) / sum_a x(s, a): in general the best policy draws lots. Two ways to it:

- `constrained_policy` gives that program to a simplex solver: the truth.
- `lagrangian_policy` takes the dual, max_{lambda >= 0} min_pi J(pi) + sum_i lambda_i (J_i(pi) - limit_i): for given multipliers
  policy iteration answers, the multipliers ascend by cutting planes (each answer is one), and the answers are mixed by their
  occupancies. No answer alone solves the problem, whatever the multipliers; the mixture does, and the dual bounds its error.
  What is asked next is not the top of the planes, which leaps about, but a point a fifth of the way back to the best so far.
  Where the answer there is no new plane, the gap between value and bound has shrunk to a fifth.

References: Altman (1999), Constrained Markov Decision Processes, chapters 3 and 4; Kelley (1960), J. SIAM 8, 703, and Dantzig &
Wolfe (1960), Oper. Res. 8, 101, for the planes and the mixture; Wentges (1997), Int. Trans. Oper. Res. 4, 151, for the way back.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.control.tables import TabularMDP

Status = Literal["optimal", "infeasible"]
_ONWARD = 0.8  # of the way from the best multipliers to the top of the planes; fewest answers on random tables, of 0.3 to 1
_TOLERANCES = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}  # the least that HiGHS takes


class ConstrainedPolicy(NamedTuple):
    """What was found.

    Attributes:
      policy: probabilities ``[state, action]``.
      value: its expected discounted cost.
      spent: its expected discounted safety costs, ``[constraint]``.
      violations: max(0, spent - limit), ``[constraint]``.
      multipliers: what a unit of each limit is worth, -d value / d limit >= 0, ``[constraint]``.
      bound: no policy within the limits costs less than this.
      status: "optimal", or "infeasible": no policy keeps all limits, and `policy` is the one of least total violation.
      iterations: of the linear program's solver, or linearised duals with one policy iteration each.
    """

    policy: np.ndarray
    value: float
    spent: np.ndarray
    violations: np.ndarray
    multipliers: np.ndarray
    bound: float
    status: Status
    iterations: int


def constrained_policy(mdp: TabularMDP, constraint_costs: Any, limits: Any) -> ConstrainedPolicy:
    """The exact solution, by the linear program of occupancies (scipy's HiGHS).

    Args:
      mdp: a `TabularMDP` with a start. A discount of 1 is allowed where every policy ends in states that cost nothing and lead to
        themselves; they are taken out.
      constraint_costs: C_i(s, a) >= 0, ``[constraint, state, action]``, or ``[state, action]`` for one.
      limits: of the expected discounted sums, ``[constraint]``, or a number.
    Raises:
      ValueError: negative or NaN safety costs, shapes that do not fit, no start, a program without a bound.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> mdp = js.control.TabularMDP(jnp.ones((1, 2, 1)), jnp.array([[1.0, 0.0]]), 0.5, jnp.ones(1))  # the second is cheap
      >>> found = constrained_policy(mdp, jnp.array([[0.0, 1.0]]), 0.5)  # and unsafe: at most a quarter of the time
      >>> print(found.policy.round(6), round(found.value, 6), found.multipliers.round(6))
      [[0.75 0.25]] 1.5 [1.]
    """
    tables = _checked("constrained_policy", mdp, constraint_costs, limits)
    solved = _linear_program(tables, elastic=False)
    status: Status = "optimal"
    if solved.status == 2:
        solved, status = _linear_program(tables, elastic=True), "infeasible"
    if solved.status != 0:
        raise ValueError(f"constrained_policy: the linear program was not solved: {solved.message}")
    occupancy = np.zeros(tables.costs.shape)
    occupancy[tables.available] = solved.x[: int(tables.available.sum())]
    count = len(tables.limits)
    multipliers = -np.asarray(solved.ineqlin.marginals) if count else np.zeros(0)
    fallback = np.argmin(tables.costs, axis=1)
    found = _result(tables, occupancy, fallback, multipliers, status, int(solved.nit))
    return found._replace(bound=found.value if status == "optimal" else np.inf)


def lagrangian_policy(
    mdp: TabularMDP, constraint_costs: Any, limits: Any, *, tolerance: float = 1e-6, iterations: int = 200
) -> ConstrainedPolicy:
    """The solution by multipliers: policy iteration inside, cutting planes for the dual outside, policies mixed by occupancy.

    Args:
      mdp, constraint_costs, limits: as `constrained_policy`.
      tolerance: of (value - bound) / max(1, |bound|), and of an infeasible problem's least violation.
      iterations: the most policy iterations.
    Raises:
      ValueError: as `constrained_policy`; where the tolerance is not met in so many iterations, with the gap that is left.
    """
    tables = _checked("lagrangian_policy", mdp, constraint_costs, limits)
    arrays = tuple(map(jnp.asarray, tables[:4]))
    occupancies: list[np.ndarray] = []
    sums: list[np.ndarray] = []  # [1 + constraints] of each policy
    policy = jnp.asarray(_greedy_after_uniform(tables))
    multipliers, mass = np.zeros(len(tables.limits)), 1.0

    def answer(mass, multipliers, policy, factors):
        policy, factors, occupancy, spent = _respond(*arrays, mass, multipliers, policy, factors)
        occupancies.append(np.asarray(occupancy))
        sums.append(np.asarray(spent))
        return policy, factors, mass * sums[-1][0] + multipliers @ (sums[-1][1:] - tables.limits)

    policy, factors, free = answer(1.0, multipliers, policy, _factored(arrays[0], policy))
    best, bound = multipliers, free
    mass = (
        1.0 if np.all(sums[0][1:] <= tables.limits) else 0.0
    )  # 0: first find policies that keep the limits, whatever they cost
    scale = tolerance * max(1.0, float(np.max(np.abs(tables.limits), initial=0.0)))
    if mass == 0.0:
        bound = -np.inf
    while True:
        weights, multipliers, slack, primal = _master(np.array(sums), tables.limits, mass)
        if mass == 0.0 and slack <= 1e-3 * scale:
            mass, best, bound = 1.0, np.zeros(len(tables.limits)), free  # without limits it costs no more
            continue
        if primal - bound <= (tolerance * max(1.0, abs(primal)) if mass else max(0.5 * scale, 1e-3 * primal)):
            break
        if len(sums) >= iterations:
            raise ValueError(
                f"lagrangian_policy: after {iterations} policy iterations value and bound are {primal - bound:.3g} apart; "
                "allow more iterations or a larger tolerance."
            )
        asked = best + _ONWARD * (multipliers - best) if mass else multipliers
        policy, factors, dual = answer(mass, asked, policy, factors)
        if dual > bound:
            best, bound = asked, dual
    status: Status = "optimal" if mass else "infeasible"
    occupancy = np.tensordot(weights, np.array(occupancies), axes=1)
    found = _result(tables, occupancy, np.asarray(policy), multipliers, status, len(sums))
    return found._replace(bound=float(bound) if mass else np.inf)


class _Tables(NamedTuple):
    flow: np.ndarray  # gamma P(s' | s, a), without what flows into closed states, [S, A, S]
    costs: np.ndarray  # [S, A], +inf where an action is not available
    constraints: np.ndarray  # [C, S, A]
    start: np.ndarray  # [S], without closed states
    limits: np.ndarray  # [C]
    available: np.ndarray  # [S, A] of bool


def _checked(who: str, mdp: TabularMDP, constraint_costs: Any, limits: Any) -> _Tables:
    mdp.check()
    if mdp.start is None:
        raise ValueError(f"{who}: expected costs have a beginning: give the table a start, a distribution over the states.")
    costs = np.asarray(mdp.costs)
    constraints = np.asarray(constraint_costs, costs.dtype)
    constraints = constraints[None] if constraints.ndim == 2 else constraints
    if constraints.ndim != 3 or constraints.shape[1:] != costs.shape:
        raise ValueError(
            f"{who}: constraint_costs are [constraint, {', '.join(map(str, costs.shape))}]; got shape {constraints.shape}."
        )
    if not np.isfinite(constraints).all() or constraints.min(initial=0.0) < 0:
        raise ValueError(
            f"{who}: safety costs are finite and >= 0, more where it is less safe; got least {constraints.min(initial=0.0):.4g}. "
            "With the other sign a violation would be a gain."
        )
    limits = (
        np.broadcast_to(np.asarray(limits, costs.dtype), (len(constraints),)) if np.ndim(limits) == 0 else np.asarray(limits)
    )
    if limits.shape != (len(constraints),) or not np.isfinite(limits).all():
        raise ValueError(f"{who}: limits are {len(constraints)} finite numbers, one a constraint; got {limits}.")
    available = np.isfinite(costs)
    transitions = np.asarray(mdp.transitions)
    free = np.all((costs == 0) | ~available, axis=1) & np.all(constraints == 0, axis=(0, 2))
    stays = np.all((transitions[np.arange(len(costs)), :, np.arange(len(costs))] == 1) | ~available, axis=1)
    open_ = np.asarray(~(free & stays), costs.dtype)
    flow = float(mdp.discount) * transitions * open_
    return _Tables(flow, costs, constraints, np.asarray(mdp.start) * open_, limits, available)


def _linear_program(tables: _Tables, *, elastic: bool) -> Any:
    """Over the occupancies of available actions; elastic: the least total violation instead of the least cost."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, eye_array, hstack

    state, action = np.nonzero(tables.available)
    columns = np.arange(len(state))
    flow = tables.flow[state, action]
    origin, target = np.nonzero(flow)
    shape = (len(tables.costs), len(state))
    balance = coo_array((np.ones(len(state)), (state, columns)), shape) - coo_array(
        (flow[origin, target], (target, origin)), shape
    )
    costs, upper = tables.costs[state, action], coo_array(tables.constraints[:, state, action])
    if elastic:
        count = len(tables.limits)
        costs = np.concatenate([np.zeros(len(state)), np.ones(count)])
        upper = hstack([upper, -eye_array(count)])
        balance = hstack([balance, coo_array((shape[0], count))])
    rows = {"A_ub": upper.tocsc(), "b_ub": tables.limits} if len(tables.limits) else {}
    return linprog(costs, A_eq=balance.tocsc(), b_eq=tables.start, method="highs", options=_TOLERANCES, **rows)


@jax.jit
def _factored(flow: Any, policy: Any) -> Any:
    states = jnp.arange(len(policy))
    return jax.scipy.linalg.lu_factor(jnp.eye(len(policy), dtype=flow.dtype) - flow[states, policy])


@jax.jit
def _respond(
    flow: Any, costs: Any, constraints: Any, start: Any, mass: Any, multipliers: Any, policy: Any, factors: Any
) -> tuple[Any, Any, Any, Any]:
    """The best policy against mass c + sum_i lambda_i C_i by policy iteration, its occupancy, and its sums of every cost.

    The factors of I - flow under the policy come from the answer before and go to the next one: a policy that stays is not
    factored again, which is most of the work.
    """
    states = jnp.arange(costs.shape[0])
    priced = jnp.where(jnp.isinf(costs), jnp.inf, mass * jnp.where(jnp.isinf(costs), 0.0, costs))
    priced = priced + jnp.tensordot(multipliers, constraints, axes=1).astype(costs.dtype)

    def improve(carry):
        policy, factors, _, count = carry
        values = jax.scipy.linalg.lu_solve(factors, priced[states, policy])
        each = priced + flow @ values
        gain = each[states, policy] - jnp.min(each, axis=1)
        better = gain > 256 * jnp.finfo(costs.dtype).eps * (
            jnp.max(jnp.abs(values)) + jnp.max(jnp.abs(priced[states, policy]))
        )
        policy = jnp.where(better, jnp.argmin(each, axis=1).astype(policy.dtype), policy)
        changed = jnp.any(better)
        factors = jax.lax.cond(changed, lambda: _factored(flow, policy), lambda: factors)
        return policy, factors, changed, count + 1

    begun = (policy, factors, jnp.asarray(True), 0)
    policy, factors, _, _ = jax.lax.while_loop(lambda carry: carry[2] & (carry[3] < 1000), improve, begun)
    visits = jax.scipy.linalg.lu_solve(factors, start, trans=1)
    occupancy = visits[:, None] * jax.nn.one_hot(policy, costs.shape[1], dtype=costs.dtype)
    sums = jnp.concatenate([(visits @ costs[states, policy])[None], jnp.einsum("csa,sa->c", constraints, occupancy)])
    return policy, factors, occupancy, sums


def _greedy_after_uniform(tables: _Tables) -> np.ndarray:
    """Where policy iteration begins: better than drawing any available action, hence one that comes to an end where that does."""
    shares = tables.available / tables.available.sum(axis=1, keepdims=True)
    flow = np.einsum("sa,sat->st", shares, tables.flow)
    finite = np.where(tables.available, tables.costs, 0.0)
    try:
        values = np.linalg.solve(np.eye(len(flow)) - flow, np.sum(shares * finite, axis=1))
    except np.linalg.LinAlgError:
        values = np.full(len(flow), np.nan)
    if not np.isfinite(values).all() or np.max(np.abs(values)) > 1e12 * max(1.0, np.max(np.abs(finite))):
        raise ValueError("lagrangian_policy: with a discount of 1 every state must lead to an end; here some never do.")
    return np.argmin(tables.costs + tables.flow @ values, axis=1)


def _master(sums: np.ndarray, limits: np.ndarray, mass: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The best mixture of the policies found so far: weights, multipliers, total violation, and what it costs.

    Without mass: the least total violation, with multipliers <= 1.
    """
    from scipy.optimize import linprog

    count, constraints = len(sums), len(limits)
    costs = np.concatenate([mass * sums[:, 0], np.zeros(constraints) if mass else np.ones(constraints)])
    one = np.concatenate([np.ones(count), np.zeros(constraints)])[None]
    upper = np.concatenate([sums[:, 1:].T, -np.eye(constraints)], axis=1)
    bounds = [(0, None)] * count + [(0, 0.0 if mass else None)] * constraints
    rows = {"A_ub": upper, "b_ub": limits} if constraints else {}
    solved = linprog(costs, A_eq=one, b_eq=[1.0], bounds=bounds, method="highs", options=_TOLERANCES, **rows)
    if solved.status != 0:
        raise ValueError(f"lagrangian_policy: the mixture of {count} policies was not found: {solved.message}")
    multipliers = np.maximum(-np.asarray(solved.ineqlin.marginals), 0.0) if constraints else np.zeros(0)
    return solved.x[:count], multipliers, float(np.sum(solved.x[count:])), float(solved.fun)


def _result(tables: _Tables, occupancy: Any, fallback: Any, multipliers: Any, status: Status, iterations: int) -> Any:
    """The policy of an occupancy; where nobody comes, the fallback's action."""
    occupancy = np.maximum(occupancy, 0.0)
    visits = occupancy.sum(axis=1, keepdims=True)
    single = np.eye(occupancy.shape[1], dtype=occupancy.dtype)[fallback]
    policy = np.where(visits > 1e-14, occupancy / np.where(visits > 1e-14, visits, 1.0), single)
    # What the policy itself costs, by its own evaluation: not what a solver says of its occupancy.
    flow = np.einsum("sa,sat->st", policy, tables.flow)
    visits = np.linalg.solve((np.eye(len(flow)) - flow).T, tables.start)
    achieved = visits[:, None] * policy
    value = float(np.sum(achieved * np.where(tables.available, tables.costs, 0.0)))
    spent = np.sum(achieved * tables.constraints, axis=(1, 2))
    violations = np.maximum(spent - tables.limits, 0.0)
    return ConstrainedPolicy(policy, value, spent, violations, np.asarray(multipliers), np.nan, status, iterations)
