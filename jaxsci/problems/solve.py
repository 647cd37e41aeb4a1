"""Problem x Method -> Solution."""

from __future__ import annotations

from typing import Any, Protocol

from jaxsci._checks import check_finite
from jaxsci._types import Key, Progress, SavedTimes
from jaxsci.problems.problem import Problem
from jaxsci.problems.solution import Solution


class Method(Protocol):
    """How to solve: a frozen, hashable description with one verb. `Spectral`, `Adaptive`, `Neural`, ... or your own."""

    def solve(
        self, problem: Problem, *, ts: SavedTimes = None, key: Key | None = None, progress: Progress = None
    ) -> Solution: ...


def solve(
    problem: Problem, method: Method, *, ts: SavedTimes = None, key: Key | None = None, progress: Progress = None
) -> Solution:
    """Solve a problem by a method.

    Args:
      problem: what to solve.
      method: how: `Spectral`, `Staggered` (flow with walls), `FiniteVolume` (shocks), `Adaptive` (ODEs), `Neural`,
        `RandomFeatures`, or anything with the same ``solve``.
      ts: times to save the solution at, ``[T]``; 51 even ones by default. They decide what is stored, not how accurately
        it is computed. Ignored for steady problems.
      key: a `jax.random.key` for methods that draw random numbers; ``jax.random.key(0)`` by default.
      progress: called with a line of text now and then.
    Returns:
      A `Solution`. Numerical methods pass jit, vmap and grad in the problem's coefficients.
    Raises:
      TypeError: the method is none.
      ValueError: the method cannot solve this kind of problem (the message says which can), or a coefficient is not finite.
    Example:
      >>> import jaxsci as js
      >>> solution = js.solve(js.problems.heat(), js.Spectral(n=32))
      >>> solution
      Solution(heat, fields (51, 1, 33) float32, error estimate ...e-08)
    """
    _check_problem("solve", problem)
    if isinstance(method, type):
        raise TypeError(f"solve(problem, method): {method.__name__} is a class; give one, js.{method.__name__}(...).")
    if not callable(getattr(method, "solve", None)):
        raise TypeError(
            f"solve(problem, method): {type(method).__name__} is no method. Use js.Spectral(...), js.Staggered(...), "
            "js.FiniteVolume(...), js.Adaptive(...), js.Neural(...), js.RandomFeatures(...), or an object with the same solve()."
        )
    check_finite(problem)
    return method.solve(problem, ts=ts, key=key, progress=progress)


def stepper(problem: Problem, method: Any) -> Any:
    """One step of a numerical method as pure functions.

    Args:
      problem: what to step, an initial-value problem.
      method: a method with a fixed step, such as ``js.Spectral(n=256, dt=1e-2)`` or ``js.Staggered(n=64, dt=1e-2)``.
    Returns:
      ``s`` with ``s.step(state, coefficients=None) -> state``; ``s.encode(fields) -> state``, fields by name on ``s.grid``, all
      that have a time derivative, ``{"u": [*space], "v": [*space]}``; ``s.decode(state)`` -> fields on the grid ``[unknowns,
      *space]``; ``s.initial()`` and ``s.with_coefficients(...)``; all pass jit, vmap, grad, scan.
    Raises:
      TypeError: the method has no fixed step to offer.
    Example:
      >>> import jax, jaxsci as js
      >>> s = js.stepper(js.problems.burgers(), js.Spectral(n=128, dt=1e-2))
      >>> state, _ = jax.lax.scan(lambda state, _: (s.step(state), None), s.initial(), length=10)
      >>> s.decode(state).shape
      (1, 129)
    """
    _check_problem("stepper", problem)
    if isinstance(method, type) or not callable(getattr(method, "stepper", None)):
        raise TypeError(
            f"stepper: {type(method).__name__} has no single step; use js.Spectral(n=..., dt=...) or, for "
            "flow with walls, js.Staggered(n=..., dt=...). js.solve needs none."
        )
    return method.stepper(problem)


def _check_problem(verb: str, problem: Any) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(f"{verb}(problem, method): the first argument must be a Problem, got {type(problem).__name__}.")
