r"""Sub-domains from the error: the worst boxes are cut where that lowers the error most, until there are enough.

    e_k^2 = the share of box k in J at points that its rows do not have  (see `jaxsci.constraints.box_experts`),

1. Of the three boxes of the largest e_k, each is cut along each axis, in the middle and where the integral over the box of |R|^p
   is halved, p = 2 and p = 1/2; the cut with the least e = (sum_k e_k^2)^(1/2) stays.
2. The cuts that bound the two new boxes are moved, half or a quarter of the way to the nearest parallel face on either side, if
   that lowers e; at the end all cuts are.
3. Uniform grids of as many boxes are solved as well, and the best of them is taken unless e is below half of its e. The indicator
   knows the error up to a factor only, which the symmetry of a smooth solution and a uniform grid may well be worth.

All experts are solved again for every trial, as one field with exactly continuous values and slopes: what is measured is what the
partition does, not what a model of it promises. An estimate box by box is not enough. A box between two others has to take their
traces, so that halving it alone can gain nothing, and what is wrong in it may have come in from upwind.

Reference: de Boor (1974), *Good approximation by splines with variable knots II*, Lecture Notes in Math. 363, for equal shares of
the error; Carey & Dinh (1985), *Grading functions and mesh redistribution*, SIAM J. Numer. Anal. 22, 1028, for which power of
it to share.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced, is_whole
from jaxsci.constraints.basis_rows import as_pytree
from jaxsci.constraints.box_experts import BoxExperts, Layout, joined_rows, joined_traces
from jaxsci.constraints.boxes import Boxes
from jaxsci.constraints.constraint import CONVERGED, project
from jaxsci.constraints.pde_layer import PDEConstraint

AMONG = 3  # boxes that a cut is looked for in
POWERS = (2.0, 0.5)  # of the residual, whose integral a cut halves
NARROWEST = 1 / 16  # part of a box that a cut may leave
MOVES = (0.5, 0.25)  # of the way to the next face
GAIN = 1e-3  # what a cut or a move must lower the error by, relative

Cut = tuple[int, str, float]  # box, axis, at; see `Boxes.cut`


class Split(NamedTuple):
    """One cut, and what was measured.

    Attributes:
      box, axis, at: what was cut where; see `Boxes.cut`.
      before: the indicator of the whole domain before it.
      after: the same after it.
      settled: the same after the moves of all cuts that followed.
      tried: the indicator after each cut that was tried, by (box, axis, at).
      converged: whether the last solve did.
    """

    box: int
    axis: str
    at: float
    before: float
    after: float
    settled: float
    tried: dict[Cut, float]
    converged: bool


class Splitting(NamedTuple):
    """A partition, and how it came about.

    Attributes:
      boxes: the partition.
      omega: the coefficients of its experts, ``[K, N]``: a start for `solve_experts`.
      errors: the indicator of each box, ``[K]``.
      history: the cuts, in order; moves came after, so that the places are those of `boxes` no longer.
      even: the indicators of uniform grids of as many boxes, by the numbers of parts along the axes; empty where `boxes` were
        given to start from.
      solves: how many partitions were solved.
      reason: why it ends here: "count", "tolerance", "no cut helps", or "a uniform grid is as good", which is then the result.
    """

    boxes: Boxes
    omega: Any
    errors: np.ndarray
    history: tuple[Split, ...]
    even: dict[tuple[int, ...], float]
    solves: int
    reason: str

    @property
    def error(self) -> float:
        """The indicator of the whole domain, the root of the sum of squares."""
        return _total(self.errors)


class _Solved(NamedTuple):
    """Of one partition: the coefficients, each box's indicator, |R|^2 at its points (with its share), and the status."""

    boxes: Boxes
    omega: Any
    errors: np.ndarray
    squares: np.ndarray
    status: np.ndarray

    @property
    def total(self) -> float:
        return _total(self.errors)


def split_by_error(
    experts: BoxExperts,
    count: int,
    *,
    boxes: Boxes | None = None,
    coefficients: Mapping[str, Any] | None = None,
    tolerance: float = 0.0,
    margin: float = 0.5,
    max_steps: int | None = None,
) -> Splitting:
    """Boxes for so many experts, smaller where the error is large.

    For the host, between trainings, as `rebalanced`: it makes choices, which have no derivative. What it returns has rows of one
    shape for all experts, and the layer of `experts.constraint(boxes)` and `experts.interfaces(boxes)` is differentiable as any
    other. One program is compiled, with room for all `count` boxes, and run about 25 times for each box.

    Args:
      experts: what the experts of every partition have in common.
      count: K, the most boxes.
      boxes: to start from, which stay cut; one box by default.
      coefficients: the problem's own where not given; numbers, not traced.
      tolerance: the indicator of the whole domain at which there are enough.
      margin: the partition is returned if its indicator is below this share of that of all uniform grids of as many boxes, else
        the best of these; infinite for the partition in any case.
      max_steps: see `project`.
    Raises:
      TypeError: coefficients are traced.
      ValueError: `count` is not a whole number, or less than the boxes there are; the tolerance or the margin is negative; the
        boxes are those of another domain; the error of the first partition is not finite.
    Example:
      >>> import jaxsci as js
      >>> heat = js.problems.heat()
      >>> experts = js.constraints.BoxExperts(heat, js.constraints.legendre_basis({"t": 3, "x": 6}), {"t": 5, "x": 8})
      >>> found = js.constraints.split_by_error(experts, 3)
      >>> found.boxes.count, [split.axis for split in found.history], found.error < 0.2 * found.history[0].before
      (3, ['t', 't'], True)
    """
    start = Boxes.grid(experts.problem.domain) if boxes is None else boxes
    if is_traced((coefficients, experts.problem.coefficients)):
        raise TypeError("split_by_error: where to cut has no derivative; call it outside of jit and grad, with numbers.")
    if not is_whole(count) or count < start.count:
        raise ValueError(f"split_by_error: count must be a whole number of at least the {start.count} boxes, got {count!r}.")
    for name, value in (("tolerance", tolerance), ("margin", margin)):
        if not value >= 0:
            raise ValueError(f"split_by_error: the {name} must be 0 or more, got {value!r}.")
    solve = _Solver(experts, int(count), coefficients, max_steps)
    here: _Solved = solve(start, None)
    history: list[Split] = []
    cuts: list[Cut] = []
    if not np.isfinite(here.total):
        raise ValueError("split_by_error: the error of the first boxes is not finite; look at the problem's numbers.")
    reason = "count"
    while here.boxes.count < count and here.total > tolerance:
        tried = {cut: solve(here.boxes.cut(*cut), here) for cut in _cuts(experts, here)}
        cut = min(tried, key=lambda cut: tried[cut].total, default=None)
        if cut is None or not tried[cut].total < (1 - GAIN) * here.total:
            reason = "no cut helps"
            break
        settled, cuts = _moved(solve, start, [*cuts, cut], tried[cut], (cut[0], here.boxes.count))
        measured = {cut: found.total for cut, found in tried.items()}
        converged = bool(settled.status == CONVERGED)
        history.append(Split(*cut, here.total, measured[cut], settled.total, measured, converged))
        here = settled
    here, _ = _moved(solve, start, cuts, here, range(here.boxes.count))
    even: dict[tuple[int, ...], _Solved] = {}
    if boxes is None and history:
        for split in _factors(here.boxes.count, len(start.axes)):
            grid = Boxes.grid(experts.problem.domain, dict(zip(start.axes, split, strict=True)))
            even[split] = solve(grid, None)
        best = min(even.values(), key=lambda found: found.total)
        missed = here.total <= tolerance < best.total
        if not missed and not here.total < margin * best.total:
            here, reason = best, "a uniform grid is as good"
    if reason == "count" and here.total <= tolerance:
        reason = "tolerance"
    totals = {split: found.total for split, found in even.items()}
    k = here.boxes.count
    return Splitting(here.boxes, here.omega[:k], here.errors[:k], tuple(history), totals, solve.solves, reason)


def _total(errors: np.ndarray) -> float:
    total = float(np.sqrt(np.sum(np.asarray(errors, float) ** 2)))
    return total if np.isfinite(total) else np.inf


def _after(boxes: Boxes, cuts: Sequence[Cut]) -> Boxes:
    for cut in cuts:
        boxes = boxes.cut(*cut)
    return boxes


def _factors(count: int, axes: int) -> Iterator[tuple[int, ...]]:
    """The numbers of parts along each axis of all uniform grids of so many boxes."""
    if axes == 1:
        yield (count,)
        return
    for n in range(1, count + 1):
        if count % n == 0:
            yield from ((n, *rest) for rest in _factors(count // n, axes - 1))


def _moved(
    solve: Callable[[Boxes, _Solved], _Solved], start: Boxes, cuts: list[Cut], here: _Solved, around: Iterable[int]
) -> tuple[_Solved, list[Cut]]:
    """The cuts that bound these boxes at better places; each is tried once, the latest first."""
    around = list(around)
    for j in reversed(range(len(cuts))):
        box, axis, at = cuts[j]
        i = here.boxes.axes.index(axis)
        lower, upper = here.boxes.lower[:, i], here.boxes.upper[:, i]
        if not (np.any(lower[around] == at) or np.any(upper[around] == at)):
            continue
        low, high = lower[upper == at].max(), upper[lower == at].min()  # the next faces on either side
        for end, part in ((end, part) for end in (low, high) for part in MOVES):
            trial = [*cuts[:j], (box, axis, float(at + part * (end - at))), *cuts[j + 1 :]]
            found = solve(_after(start, trial), here)
            if found.total < (1 - GAIN) * here.total:
                here, cuts = found, trial
                break
    return here, cuts


class _Solver:
    """From boxes, and what was solved before, to `_Solved`; counts its calls."""

    def __init__(self, experts: BoxExperts, count: int, coefficients: Mapping[str, Any] | None, max_steps: int | None):
        self.experts, self.count, self.max_steps = experts, count, max_steps
        self.coefficients = {name: as_pytree(v) if callable(v) else v for name, v in (coefficients or {}).items()}
        self.room, self.solves = 2 * count, 0

    def __call__(self, boxes: Boxes, before: _Solved | None) -> _Solved:
        """Solve; a nonlinear equation from the field of `before`."""
        layout = lambda boxes: self.experts.layout(boxes, self.count, self.room)  # noqa: E731
        faces = max(len(b.faces(self.experts.periodic).pairs) for b in (boxes, boxes if before is None else before.boxes))
        while self.room < faces:
            self.room *= 2
        at = layout(boxes)
        old = at if before is None else layout(before.boxes)
        omega = jnp.zeros((self.count, self.experts.size), at.lower.dtype) if before is None else before.omega
        omega, *rest = _solved(at, old, omega, self.coefficients, self.experts, self.max_steps)
        self.solves += 1
        return _Solved(boxes, omega, *map(np.asarray, rest))


@functools.partial(jax.jit, static_argnames=("experts", "max_steps"))
def _solved(at: Layout, old: Layout, omega: Any, coefficients: Any, experts: BoxExperts, max_steps: int | None) -> Any:
    """The last four of `_Solved`; one program for all partitions that have room in `at`."""
    count = at.lower.shape[0]
    layer = PDEConstraint(joined_rows(experts.rows(at, coefficients)), (joined_traces(at, *experts.traces(at)),))
    omega, info = project(layer, experts.inherited(at, old, omega).reshape(-1), max_steps=max_steps)
    omega = omega.reshape(count, -1)
    held_out = experts.rows(at, coefficients, held_out=True)
    squares = PDEConstraint(held_out).residual(omega) ** 2
    equations, points = held_out[0].matrix.shape[-3:-1]
    of_equation = squares[:, : equations * points].reshape(count, equations, points).sum(axis=1)
    return omega, jnp.sqrt(jnp.sum(squares, axis=1)), of_equation, info.status


def _cuts(experts: BoxExperts, here: _Solved) -> Iterator[Cut]:
    """Where the worst boxes may be cut: along each axis in the middle, and where an integral of the residual is halved."""
    boxes = here.boxes
    counts = [2 * n for n in experts.counts]
    shares = [np.polynomial.legendre.leggauss(n)[1] / 2 for n in counts]
    grid = np.ones(())
    for share in shares:
        grid = grid[..., None] * share
    for box in np.argsort(-here.errors[: boxes.count], kind="stable")[:AMONG]:
        squares = np.asarray(here.squares[box], float).reshape(counts) / grid
        for i, c in enumerate(boxes.axes):
            parts = [0.5]
            for power in POWERS:
                mass = np.moveaxis(grid * squares ** (power / 2), i, 0).reshape(counts[i], -1).sum(axis=1)
                sums, edges = (np.concatenate([[0.0], np.cumsum(x)]) for x in (mass, shares[i]))
                if np.isfinite(sums[-1]) and sums[-1] > 0:
                    part = float(np.clip(np.interp(sums[-1] / 2, sums, edges), NARROWEST, 1 - NARROWEST))
                    if min(abs(part - other) for other in parts) > NARROWEST / 2:
                        parts.append(part)
            low, high = boxes.lower[box, i], boxes.upper[box, i]
            yield from ((int(box), c, float(low + part * (high - low))) for part in parts)
