"""Sketched Gauss-Newton: damped least-squares steps for networks whose Jacobian is too large to factorise."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxsci.learning.least_squares import damped
from jaxsci.learning.levenberg_marquardt import DampedState, Model, boldest, settle
from jaxsci.learning.objective import Batch, Objective, Unknowns
from jaxsci.learning.optimiser import check_positive, repeat
from jaxsci.learning.sketching import Buckets, Cosines


class SketchedState(NamedTuple):
    """See `jaxsci.learning.optimiser.State`."""

    unknowns: Unknowns
    loss: Any
    status: Any
    damping: Any
    failures: Any
    step: Any  # seeds the next sketch


@dataclasses.dataclass(frozen=True)
class SketchedGaussNewton:
    r"""Levenberg-Marquardt steps in a random subspace, from a random compression of the residuals, both new at every step.

        d = W z,   z = argmin |S r + S J W z|^2 + mu^2 |z|^2

    W, ``[parameters, columns]``, is a subsampled randomised cosine transform; S, ``[rows, residuals]``, a count-sketch.  The
    Jacobian is made and compressed a block of points at a time, so memory is rows x columns whatever the network.  The
    sketched problem is solved by QR, its damping chosen by the target-ratio rule on the true loss.

    Args:
      columns: dimensions of the subspace; all parameters where they are fewer.
      rows: buckets of the residuals; by default twice the columns.
      points: collocation points; by default four per column.
      block: points whose Jacobian is in memory at a time.
      resample, target_ratio, damping, steps: as in `LevenbergMarquardt`.
      seed: of the sketches.
    Reference: Webb, Jerad & Cartis (2026), arXiv:2607.02194 (doubly sketched steps); Cartis, Fowkes & Shao (2022),
      arXiv:2211.09873 (random subspaces); those of `Buckets` and `Cosines`.
    """

    columns: int = 600
    rows: int | None = None
    points: int | None = None
    block: int = 256
    resample: int = 10
    target_ratio: float = 0.15
    damping: float = 0.03
    steps: int = 2000
    seed: int = 0

    def __post_init__(self):
        optional = [name for name in ("rows", "points") if getattr(self, name) is not None]
        check_positive(self, "columns", "block", "resample", "steps", *optional)
        if self.rows is not None and self.rows < self.columns:
            raise ValueError(f"SketchedGaussNewton: rows must be at least columns = {self.columns}, got {self.rows}.")

    @property
    def chunk(self) -> int:
        return 1

    def count(self, parameters: int, equations: int) -> int:
        return self.points or max(256, 4 * min(self.columns, parameters) // equations)

    def init(self, objective, unknowns, coefficients):
        dtype = jnp.result_type(*jax.tree.leaves(unknowns))
        zero = jnp.asarray(0)
        return SketchedState(unknowns, jnp.asarray(jnp.inf, dtype), zero, jnp.asarray(self.damping, dtype), zero, zero)

    def advance(self, objective, coefficients, state, batch, count):
        return _advance(self, objective, count, state, coefficients, batch)


@functools.partial(jax.jit, static_argnames=("method", "objective", "count"))
def _advance(method, objective, count, state, coefficients, batch):
    return repeat(lambda state: _step(method, objective, state, coefficients, batch), state, count)


def _step(method: SketchedGaussNewton, objective: Objective, state: SketchedState, coefficients, batch) -> SketchedState:
    flat, unravel = ravel_pytree(state.unknowns)
    key = jax.random.fold_in(jax.random.key(method.seed), state.step)
    value, jacobian, columns = compressed(method, objective, key, state.unknowns, coefficients, batch)
    model = Model.of(jacobian, value)
    loss = jnp.sum(objective.rows(state.unknowns, coefficients, batch) ** 2)

    def attempt(damping):
        z = damped(model.factor, model.right, damping)
        change = model.expand(z)
        candidate = flat + (change if columns is None else columns.expand(change))
        after = jnp.sum(objective.rows(unravel(candidate), coefficients, batch) ** 2)
        return candidate, after, model.decrease(z)

    candidate, damping, accepted = boldest(attempt, flat, state.damping, loss, method.target_ratio)
    plain = DampedState(*state[:5])
    settled = settle(plain, unravel(candidate), loss, damping, accepted, model.slope)
    return SketchedState(*settled, state.step + 1)


def compressed(
    method: SketchedGaussNewton, objective: Objective, key: Any, unknowns: Unknowns, coefficients: Any, batch: Batch
) -> tuple[Any, Any, Cosines | None]:
    """S r, ``[rows]``, S J W, ``[rows, columns]``, and W (None for the identity), a block of points at a time."""
    flat, _ = ravel_pytree(unknowns)
    width = min(method.columns, flat.size)
    buckets = method.rows or 2 * width
    key, of_columns = jax.random.split(key)
    columns = Cosines.draw(of_columns, flat.size, width, flat.dtype) if width < flat.size else None
    total = jnp.zeros((buckets, width + 1), flat.dtype)
    for part, blocks in _blocks(batch, method.block).items():

        def add(total, numbered, part=part, key=key):
            number, block = numbered
            value, jacobian = objective.linearise(
                unknowns, coefficients, Batch(*({part: x} if x is not None else {} for x in block))
            )
            jacobian = jacobian if columns is None else columns.apply(jacobian)
            sketch = Buckets.draw(jax.random.fold_in(key, number), len(value), buckets, value.dtype)
            return total + sketch.apply(jnp.concatenate([value[:, None], jacobian], axis=1), buckets), None

        count = len(blocks[0])
        total, _ = jax.lax.scan(add, total, (jnp.arange(count), blocks))
        key = jax.random.fold_in(key, count)
    return total[:, 0], total[:, 1:], columns


def _blocks(batch: Batch, size: int) -> dict[str, tuple[Any, Any, Any]]:
    """Every part cut into blocks of points, ``[blocks, size, ...]``; the last is filled up with points of weight zero."""
    out = {}
    for part, points in batch.points.items():
        length = min(size, len(points))
        fill = -len(points) % length

        def cut(array, mode, length=length, fill=fill):
            padded = jnp.pad(array, ((0, fill), (0, 0)), mode=mode)
            return padded.reshape(-1, length, array.shape[1])

        targets = batch.targets.get(part)
        weights = cut(batch.weights[part], "constant")
        out[part] = (cut(points, "edge"), weights, None if targets is None else cut(targets, "edge"))
    return out
