"""The solution that every method returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsci._checks import check_keys, is_traced
from jaxsci._timing import Cost
from jaxsci._types import SavedTimes

# Points of one chunk in `evaluate`: bounds the memory of interpolants that touch a whole grid per point.
CHUNK = 1024


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Solution:
    """The solution of a problem by some method. A pytree, so that jit, vmap and grad pass through `solve`.

    Attributes:
      problem: what was solved (its coefficients are leaves).
      ts: times of the saved fields, ``[T]``; None for a steady problem.
      grid: spatial coordinates of the saved fields, one 1-D array per axis.
      fields: ``[T, unknowns, *space]`` (``[unknowns, *space]`` for a steady problem); ``solution["u"]`` picks one.
      field: the solution as a function of ONE point, ``field(t, x) -> [unknowns]``, differentiable.
      error_estimate: estimated relative L2 error; NaN where the method has no estimate.
      stats: numbers about the run, by name.
      cost: a `Cost`; zeros where the solution was made inside jit.
    Example:
      >>> import jaxsci as js
      >>> solution = js.problems.heat().reference(ts=[0.0, 0.5, 1.0])
      >>> solution["u"].shape, solution.grid["x"].shape
      ((3, 65), (65,))
    """

    problem: Any
    ts: Float[Array, " times"] | None
    grid: dict[str, Any]
    fields: Float[Array, "..."]
    field: Callable[..., Any]
    error_estimate: Any
    stats: dict[str, Any]
    cost: Cost

    def evaluate(self, **coordinates: Any) -> Float[Array, "..."]:
        """The solution anywhere in the box.

        Args:
          **coordinates: one number or array for every coordinate of the problem; they broadcast.
        Returns:
          The broadcast shape for one unknown, ``[unknowns, *shape]`` for several.
        Raises:
          KeyError: a coordinate is missing or unknown.
          ValueError: a coordinate is outside the box, or a time outside those that a numerical method was asked for.
        Example:
          >>> import jaxsci as js
          >>> solution = js.problems.heat().reference()
          >>> solution.evaluate(t=0.5, x=[0.25, 0.5, 0.75]).shape
          (3,)
        """
        names = self.problem.coordinates
        check_keys("coordinate", coordinates, names, complete=True)
        arrays = [jnp.asarray(coordinates[name], dtype=self.fields.dtype) for name in names]
        for name, array in zip(names, arrays, strict=True):
            _check_inside(self.interval if name == "t" else self.problem.domain[name], name, array)
        shape = jnp.broadcast_shapes(*(array.shape for array in arrays))
        points = jnp.stack([jnp.ravel(jnp.broadcast_to(array, shape)) for array in arrays], axis=-1)
        values = _evaluate(self.field, points)
        values = values.T.reshape((len(self.problem.unknowns), *shape))
        return values[0] if len(self.problem.unknowns) == 1 else values

    @property
    def interval(self) -> tuple[float, float]:
        """The times at which it can be evaluated: the problem's, or from the first to the last saved one where a method
        knows no others."""
        known = getattr(self.field, "interval", None)
        if known is None or is_traced(known) or np.ndim(known[0]):  # the last: a batch
            return self.problem.domain["t"]
        return float(known[0]), float(known[1])

    def __getitem__(self, name: str) -> Float[Array, "..."]:
        """``solution["u"]``: one unknown's saved field, ``[T, *space]``."""
        check_keys("unknown", {name: None}, self.problem.unknowns)
        axis = -1 - len(self.problem.domain.space)  # from the end: a solution may be a batch
        return jnp.take(self.fields, self.problem.unknowns.index(name), axis=axis)

    def check(self) -> Solution:
        """Raise where the solution is not finite, naming the first time and the batch members; return it otherwise.

        Raises:
          FloatingPointError: with the cure.
        """
        finite = np.isfinite(np.asarray(self.fields)).all(axis=tuple(range(-1 - len(self.problem.domain.space), 0)))
        courant = np.max(self.stats.get("courant", 0.0))
        if finite.all() and courant > 1.01:
            raise FloatingPointError(
                f"{self.problem.name}: the Courant number reached {courant:.2g}, and explicit steps are unstable above 1. Give a "
                "smaller step (dt), or none."
            )
        if finite.all() and np.all(self.stats.get("succeeded", True)):
            return self
        if not np.all(self.stats.get("succeeded", True)):
            raise FloatingPointError(
                f"{self.problem.name}: the integration did not reach its end: too many steps, or too small ones. Ask "
                "for less accuracy (rtol=...), allow more steps where the method has max_steps=..., switch on float64; or the "
                "problem has no solution that long (ill-posed coefficients, a blow-up)."
            )
        where = ""
        if self.ts is not None:  # finite is [*batch, T]
            first = int(np.argmin(finite.reshape(-1, finite.shape[-1]).all(axis=0)))
            where = f" from t = {np.ravel(self.ts)[first]:g} on"
            finite = finite.all(axis=-1)
        if finite.ndim:
            members = [index[0] if finite.ndim == 1 else tuple(index) for index in np.argwhere(~finite).tolist()]
            where += f" in the batch members {', '.join(map(str, members))}"
        raise FloatingPointError(
            f"{self.problem.name}: the solution is not finite{where}. A smaller step (dt) or a finer grid (n) is the usual "
            "cure; a network's fit wants float64 and a smaller learning rate."
        )

    def __repr__(self) -> str:
        estimate = self.error_estimate
        shown = f"{float(estimate):.1e}" if not is_traced(estimate) and np.ndim(estimate) == 0 else "?"
        return f"Solution({self.problem.name}, fields {self.fields.shape} {self.fields.dtype}, error estimate {shown})"


def _check_inside(interval: tuple[float, float], name: str, values: Any) -> None:
    if is_traced(values) or values.size == 0:
        return
    slack = 1e-5 * (interval[1] - interval[0])
    low, high = float(values.min()), float(values.max())
    if not (interval[0] - slack <= low and high <= interval[1] + slack):
        raise ValueError(f"coordinate {name} must lie in [{interval[0]:g}, {interval[1]:g}], got [{low:g}, {high:g}].")


@jax.jit
def _evaluate(field: Callable[..., Any], points: Float[Array, "points coordinates"]) -> Float[Array, "points unknowns"]:
    at_point = lambda point: jnp.atleast_1d(field(*point))  # noqa: E731
    return jax.lax.map(at_point, points, batch_size=min(CHUNK, len(points))) if len(points) else jax.vmap(at_point)(points)


DEFAULT_TIMES = 51


def saved_times(problem: Any, ts: SavedTimes = None) -> np.ndarray:
    """The times to save at, checked: ``[T]`` float64 on the host; the problem's own where none are asked for.

    Raises:
      ValueError: not a 1-D increasing list of at least two finite times inside the problem's interval.
    """
    start, end = problem.domain["t"]
    if ts is None:
        return problem.times
    if is_traced(ts):
        raise TypeError("ts must be concrete: the saved times decide the shape of the result. Pass a NumPy array.")
    ts = np.asarray(ts, float)
    if ts.ndim != 1 or len(ts) < 2:
        raise ValueError(f"ts must be a list of at least two times, got shape {ts.shape}.")
    slack = 1e-6 * (end - start)
    if not np.isfinite(ts).all() or (np.diff(ts) <= 0).any() or ts[0] < start - slack or ts[-1] > end + slack:
        raise ValueError(f"ts must increase and lie in [{start:g}, {end:g}], got {ts[0]:g} to {ts[-1]:g} ({len(ts)} times).")
    return np.clip(ts, start, end)


def sample(field: Callable[..., Any], ts: Any, grid: Mapping[str, Any], solids: tuple = ()) -> Float[Array, "..."]:
    """A field on a grid as saved fields: ``[T, unknowns, *space]``, or ``[unknowns, *space]`` without times; 0 in solids."""
    axes = [*([] if ts is None else [jnp.asarray(ts)]), *(jnp.asarray(axis) for axis in grid.values())]
    mesh = jnp.meshgrid(*axes, indexing="ij")
    points = jnp.stack([jnp.ravel(m) for m in mesh], axis=-1)
    values = _evaluate(field, points)
    for solid in solids:
        values = jnp.where(solid.shape(*points.T[-len(grid) :])[:, None] < 0, 0.0, values)
    values = values.reshape((*mesh[0].shape, -1))
    return jnp.moveaxis(values, -1, 0 if ts is None else 1)
