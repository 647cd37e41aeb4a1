r"""Experts on boxes of any size: the layer's rows, interfaces and errors, made from a problem and a partition of its domain.

Every expert has the same N functions of its own coordinates, xi = (2 x - lower - upper) / (upper - lower) in [-1, 1]^d, so that
all have rows of one shape, whatever their boxes. The rows are Gauss quadrature of one functional of the whole domain V,

    J(u) = sum over boxes of   int_box |R(u)|^2 dx / |V|  +  sum over conditions  weight^2 int |u - g|^2 ds / |wall|,

which does not change when a box is cut. Its quadrature by twice as many points along each axis, none of them used in the fit,
is the error indicator: small residuals at the points of the rows are no proof of small ones between them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import check_keys, is_whole
from jaxsci.constraints.basis_partials import partials_of
from jaxsci.constraints.basis_rows import Partial, Rows, equation_rows, linear_rows
from jaxsci.constraints.boxes import Boxes, face_points, gauss_points
from jaxsci.constraints.condition_rows import conditions_at
from jaxsci.constraints.interfaces import Interfaces
from jaxsci.constraints.pde_layer import PDEConstraint
from jaxsci.equations.expression import split_letters
from jaxsci.problems import Problem


def legendre_basis(degrees: Mapping[str, int]) -> Callable[..., Any]:
    """Products of Legendre polynomials on [-1, 1]^d with a mean square of one, as a function of ONE point; ``[N]``.

    Args:
      degrees: the highest degree by axis, in the problem's order; N is the product of degree + 1.
    Raises:
      ValueError: a degree is not a whole number, or negative.
    Example:
      >>> import jaxsci as js
      >>> print(js.constraints.legendre_basis({"t": 1, "x": 2})(0.0, 1.0))
      [1.        1.7320508 2.236068  0.        0.        0.       ]
    """
    if not degrees or any(not is_whole(n) or n < 0 for n in degrees.values()):
        raise ValueError(f"legendre_basis: the degrees must be whole numbers, 0 or more, got {dict(degrees)}.")

    def basis(*point: Any) -> Any:
        out = jnp.ones(1)
        for x, degree in zip(point, degrees.values(), strict=True):
            values = [jnp.ones_like(jnp.asarray(x)), jnp.asarray(x)]
            for n in range(1, degree):
                values.append(((2 * n + 1) * x * values[n] - n * values[n - 1]) / (n + 1))
            line = jnp.stack([math.sqrt(2 * n + 1) * v for n, v in enumerate(values[: degree + 1])])
            out = (out[:, None] * line).reshape(-1)
        return out

    return basis


class Layout(NamedTuple):
    """A partition as arrays, with room for more: boxes that are not `active` have rows of zeros, and faces traces of zeros.

    Attributes:
      lower, upper: [K, d].
      active: [K].
      touch: whether a box lies at the lower and at the upper end of the domain, along each axis;  [K, d, 2].
      pairs, normal, begin, end: see `Faces`;  [F, 2], [F], [F, d], [F, d].
      shut: which faces are there;  [F].
    """

    lower: Any
    upper: Any
    active: Any
    touch: Any
    pairs: Any
    normal: Any
    begin: Any
    end: Any
    shut: Any


@dataclasses.dataclass(frozen=True, eq=False)
class BoxExperts:
    """How experts on boxes solve a problem: what is the same for every partition.

    Args:
      problem: the `jaxsci.Problem`; its equation, initial and boundary conditions are taken as they stand there.
      basis: of ONE point's coordinates in its box, each from -1 to 1, in the problem's order: ``[N]``, or a dict of that by
        unknown. `legendre_basis` makes one; it may close over a network's parameters.
      points: how many Gauss points the rows of a box have along each axis, by axis or one number for all; at least one more
        than the degree.
      weight: of the conditions, as in `pde_constraint`.
      floor: as in `equation_rows`.
    Raises:
      KeyError, ValueError: an axis has no number of points, or one that is not a positive integer; fewer points than functions.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> heat = js.problems.heat()
      >>> experts = js.constraints.BoxExperts(heat, js.constraints.legendre_basis({"t": 4, "x": 6}), {"t": 6, "x": 8})
      >>> boxes = js.constraints.Boxes.grid(heat.domain, {"x": 2})
      >>> layer, faces = experts.constraint(boxes), experts.interfaces(boxes)
      >>> omega, info = js.constraints.solve_experts(layer, jnp.zeros(35), interfaces=faces)
      >>> omega.shape, bool(info.converged.all()), bool(experts.errors(boxes, omega).max() < 1e-2)
      ((2, 35), True, True)
    """

    problem: Problem
    basis: Callable[..., Any]
    points: Mapping[str, int] | int
    weight: float = 1.0
    floor: Mapping[str, float] | None = None

    def __post_init__(self):
        if isinstance(self.points, Mapping):
            check_keys("points along", self.points, self.problem.coordinates, complete=True)
        if any(not is_whole(n) or n < 1 for n in self.counts):
            raise ValueError(f"BoxExperts: the numbers of points must be positive integers, got {self.points!r}.")
        if math.prod(self.counts) < self.size:
            raise ValueError(
                f"BoxExperts: {' x '.join(map(str, self.counts))} points of a box cannot hold N = {self.size} functions; give "
                "one more along each axis than the degree there, at least."
            )

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of points along the axes, in order."""
        axes = self.problem.coordinates
        return tuple(self.points[c] for c in axes) if isinstance(self.points, Mapping) else (self.points,) * len(axes)

    @functools.cached_property
    def size(self) -> int:
        """N."""
        point = (jnp.zeros(()),) * len(self.problem.coordinates)
        return jax.tree.leaves(jax.eval_shape(self.basis, *point))[0].shape[-1]

    @property
    def periodic(self) -> tuple[str, ...]:
        """The axes around which the first and the last boxes meet."""
        return tuple(c for c in self.problem.domain.space if not self.problem.walls(c))

    def constraint(self, boxes: Boxes, coefficients: Mapping[str, Any] | None = None) -> PDEConstraint:
        """The layer, with rows ``[K, m, N]``: what `solve_experts` takes, with these `interfaces` or over a mesh.

        Differentiable in the coefficients, by default the problem's own, and in all that the basis closes over.
        """
        return PDEConstraint(self.rows(self.layout(boxes), coefficients))

    def interfaces(self, boxes: Boxes) -> Interfaces | None:
        """What makes fields, and the slopes that second derivatives are taken of, equal where boxes meet; None for one box."""
        layout = self.layout(boxes)
        pairs = boxes.faces(self.periodic).pairs
        return Interfaces(pairs, *self.traces(layout)) if pairs else None

    def errors(self, boxes: Boxes, omega: Any, coefficients: Mapping[str, Any] | None = None) -> Any:
        """The indicator of each box, ``[K]``: the root of its share of J at points that the rows do not have."""
        held_out = PDEConstraint(self.rows(self.layout(boxes), coefficients, held_out=True))
        return jnp.sqrt(jnp.sum(held_out.residual(omega) ** 2, axis=-1))

    def field(self, boxes: Boxes, omega: Any, points: Mapping[str, Any]) -> dict[str, Any]:
        """The unknowns at points of the domain, by name; the points' columns broadcast against each other."""
        number = boxes.find(points)
        ends = self._ends(boxes)
        columns = np.broadcast_arrays(*(np.asarray(points[c], float) for c in boxes.axes))
        of = number.reshape(-1)
        place = jnp.stack([jnp.asarray(column.reshape(-1), ends[0].dtype) for column in columns], -1)
        wanted = {(name, "") for name in self.problem.unknowns}
        found = self._partials(ends[0][of], ends[1][of], _inside(place, ends[0][of], ends[1][of])[:, None], wanted)
        return {name: jnp.einsum("pn,pn->p", v[:, 0], omega[of]).reshape(number.shape) for (name, _), v in found.items()}

    # --- the same for partitions that are traced -----------------------------------------------------------------------

    def layout(self, boxes: Boxes, count: int | None = None, faces: int | None = None) -> Layout:
        """The partition as arrays for `count` boxes and so many faces, by default as many as there are.

        Raises:
          ValueError: the boxes are those of another domain.
        """
        domain, (low, high) = self.problem.domain, boxes.ends
        if boxes.axes != tuple(domain) or [tuple(e) for e in zip(low, high, strict=True)] != [domain[c] for c in domain]:
            raise ValueError(f"BoxExperts: the boxes must fill {domain!r}; make them by Boxes.grid(problem.domain).")
        met = boxes.faces(self.periodic)
        count, faces = boxes.count if count is None else count, len(met.pairs) if faces is None else faces
        lower, upper = self._ends(boxes)
        touch = np.stack([boxes.lower == low, boxes.upper == high], -1)
        filled = lambda x, n: jnp.concatenate([x, jnp.broadcast_to(x[:1], (n - len(x), *x.shape[1:]))])  # noqa: E731
        if not met.pairs:  # nothing to fill with
            met = met._replace(pairs=((0, 0),), normal=np.zeros(1, int), lower=boxes.lower[:1], upper=boxes.lower[:1])
            shut = np.zeros(faces, bool)
        else:
            shut = np.arange(faces) < len(met.pairs)
        ends = (filled(jnp.asarray(x, lower.dtype), faces) for x in (met.lower, met.upper)) if faces else (
            jnp.zeros((0, len(domain.coordinates)), lower.dtype),) * 2  # fmt: skip
        pairs = filled(jnp.asarray(met.pairs), faces) if faces else jnp.zeros((0, 2), int)
        normal = filled(jnp.asarray(met.normal), faces) if faces else jnp.zeros(0, int)
        active = np.arange(count) < boxes.count
        return Layout(
            filled(lower, count), filled(upper, count), jnp.asarray(active), filled(jnp.asarray(touch), count),
            pairs, normal, *ends, jnp.asarray(shut),
        )  # fmt: skip

    def rows(self, at: Layout, coefficients: Mapping[str, Any] | None = None, held_out: bool = False) -> tuple[Rows, ...]:
        """Those of the equation, then of every condition, with a leading axis of boxes; `held_out` at twice the points."""
        problem, axes = self.problem, self.problem.coordinates
        dtype = at.lower.dtype
        width = at.upper - at.lower
        share = width / self._widths.astype(dtype)
        active = at.active.astype(dtype)
        counts = [(1 + held_out) * n for n in self.counts]
        nodes, parts = gauss_points(counts)
        place = at.lower[:, None] + width[:, None] * (jnp.asarray(nodes, dtype) + 1) / 2
        wanted = problem.equation.partials | {(name, "") for name in problem.unknowns}
        partials = self._partials(at.lower, at.upper, jnp.asarray(nodes, dtype), wanted)
        # equation_rows divides by the root of the number of points: here each has its own share of the whole integral.
        weight = jnp.sqrt(jnp.prod(share, axis=1)[:, None] * jnp.asarray(len(parts) * parts, dtype)) * active[:, None]
        columns = {c: place[..., i] for i, c in enumerate(axes)}
        rows = [equation_rows(problem, partials, columns, coefficients, weight=weight, floor=self.floor)]

        nodes, sides = face_points(max(counts), len(axes))
        count, q = at.lower.shape[0], len(nodes)
        place = at.lower[:, None] + width[:, None] * (jnp.asarray(nodes, dtype) + 1) / 2
        columns = {c: place[..., i].reshape(-1) for i, c in enumerate(axes)}
        repeated = [jnp.repeat(end, q, axis=0) for end in (at.lower, at.upper)]

        def values_at(name: str, letters: str, place: Mapping[str, Any]) -> Any:
            inside = _inside(jnp.stack([place[c] for c in axes], -1), *repeated)
            return self._partials(*repeated, inside[:, None], {(name, letters)})[name, letters][:, 0]

        ends = {c: (repeated[0][:, i], repeated[1][:, i]) for i, c in enumerate(axes)}
        values = problem.coefficients | dict(coefficients or {})
        for condition in conditions_at(problem, values_at, columns, ends, values):
            if condition.end is None:  # a periodic axis: what its two ends have in common are interfaces
                continue
            i = axes.index(condition.axis)
            here = at.touch[:, i, condition.end].astype(dtype) * active
            area = jnp.prod(jnp.delete(share, i, axis=1), axis=1)
            weight = self.weight * jnp.sqrt(area[:, None] * jnp.asarray(q * sides[:, i], dtype)) * here[:, None]
            # No rows, not only none with weight, where a box does not touch the wall: nothing is violated there.
            matrix = condition.matrix.reshape(count, q, -1) * here[:, None, None]
            target = (jnp.zeros(count * q, dtype) + condition.target).reshape(count, q) * here[:, None]
            rows.append(linear_rows(matrix, target, weight=weight))
        return tuple(rows)

    def traces(self, at: Layout) -> tuple[Any, Any]:
        """What the functions of both sides have at the points of every face, ``[F, q, N]``: values, then slopes as needed."""
        axes, orders = self.problem.coordinates, self._orders
        dtype = at.lower.dtype
        nodes, _ = face_points(max(self.counts), len(axes))
        place = at.begin[:, None] + (at.end - at.begin)[:, None] * (jnp.asarray(nodes, dtype) + 1) / 2
        across = at.normal[:, None] == jnp.arange(len(axes))  # [F, d]
        widths = [jnp.sum(jnp.where(across, (at.upper - at.lower)[at.pairs[:, side]], 0), axis=1) for side in (0, 1)]
        scale = jnp.minimum(*widths) / 2  # slopes weigh as values do
        wanted = {(u, c * p) for u, of in orders.items() for c in axes for p in range(max(of.values()))}
        sides = []
        for side, end in ((0, 1.0), (1, -1.0)):
            lower, upper = at.lower[at.pairs[:, side]], at.upper[at.pairs[:, side]]
            # Along the normal the place is the end itself, on the other side of a periodic domain too.
            inside = jnp.where(across[:, None], end, _inside(place, lower[:, None], upper[:, None]))
            found = self._partials(lower, upper, inside, wanted)
            stacked = []
            for u, of in orders.items():
                for p in range(max(of.values())):
                    each = [found[u, c * p] * (across[:, i] & (p < of[c]))[:, None, None] for i, c in enumerate(axes)]
                    stacked.append(sum(each) * (scale**p * at.shut)[:, None, None])
            sides.append(jnp.concatenate(stacked, axis=1))
        return sides[0], sides[1]

    def inherited(self, at: Layout, old: Layout, omega: Any) -> Any:
        """The coefficients [K, N] of another partition's field, by least squares at the points of the rows."""
        axes = self.problem.coordinates
        nodes = jnp.asarray(gauss_points(self.counts)[0], at.lower.dtype)
        place = (at.lower[:, None] + (at.upper - at.lower)[:, None] * (nodes + 1) / 2).reshape(-1, len(axes))
        wanted = {(name, "") for name in self.problem.unknowns}
        within = (place[:, None] >= old.lower) & (place[:, None] <= old.upper)
        of = jnp.argmax(jnp.all(within, axis=-1) & old.active, axis=1)
        found = self._partials(old.lower[of], old.upper[of], _inside(place, old.lower[of], old.upper[of])[:, None], wanted)
        values = [jnp.einsum("pn,pn->p", found[p][:, 0], omega[of]).reshape(-1, len(nodes)) for p in sorted(wanted)]
        own = self._partials(at.lower[:1], at.upper[:1], nodes, wanted)  # the same in all boxes
        matrix = jnp.concatenate([own[p][0] for p in sorted(wanted)])
        return jnp.linalg.lstsq(matrix, jnp.concatenate(values, axis=1).T)[0].T

    @property
    def _orders(self) -> dict[str, dict[str, int]]:
        """How often each unknown is differentiated along each axis, and at least once: values are equal on all faces."""
        axes, of = self.problem.coordinates, self.problem.equation.partials
        counts = lambda u, c: max((split_letters(letters).count(c) for name, letters in of if name == u), default=0)  # noqa: E731
        return {u: {c: max(1, counts(u, c)) for c in axes} for u in self.problem.unknowns}

    @property
    def _widths(self) -> np.ndarray:
        return np.array([np.subtract(*self.problem.domain[c][::-1]) for c in self.problem.coordinates])

    def _ends(self, boxes: Boxes) -> tuple[Any, Any]:
        dtype = jnp.result_type(float)
        return jnp.asarray(boxes.lower, dtype), jnp.asarray(boxes.upper, dtype)

    def _partials(self, lower: Any, upper: Any, inside: Any, wanted: Any) -> dict[Partial, Any]:
        """Partial derivatives [K, m, N] at places inside of boxes, [K, m, d], or [m, d] for the same ones in all."""
        axes = self.problem.coordinates
        columns = {c: inside[..., i].reshape(-1) for i, c in enumerate(axes)}
        found = partials_of(self.basis, self.problem.unknowns, axes, columns, wanted)
        rate = 2 / (upper - lower)
        out = {}
        for p, value in found.items():
            powers = [split_letters(p[1]).count(c) for c in axes]
            factor = jnp.prod(rate ** jnp.asarray(powers), axis=1)
            out[p] = factor[:, None, None] * value.reshape(*inside.shape[:-1], -1).astype(lower.dtype)
        return out


def _inside(place: Any, lower: Any, upper: Any) -> Any:
    """Places in the coordinates of their boxes, from -1 to 1."""
    return (2 * place - lower - upper) / (upper - lower)


def joined_rows(rows: tuple[Rows, ...]) -> tuple[Rows, ...]:
    """The rows of K experts as those of one with K N functions, each zero outside of its box."""

    def one(part: Rows) -> Rows:
        count, m, n = part.matrix.shape[0], part.matrix.shape[-2], part.size
        own = jnp.eye(count, dtype=part.matrix.dtype)
        wide = lambda p: jnp.einsum("kmn,kl->kmln", p, own).reshape(count * m, count * n)  # noqa: E731
        flat = lambda x: jnp.broadcast_to(x, (count, m)).reshape(-1)  # noqa: E731
        return dataclasses.replace(
            part,
            matrix=jnp.stack([wide(part.matrix[:, e]) for e in range(part.matrix.shape[1])]),
            shift=jnp.moveaxis(jnp.broadcast_to(part.shift, part.matrix.shape[:-1]), 1, 0).reshape(-1, count * m),
            bent=tuple(map(wide, part.bent)),
            bent_shift=tuple(map(flat, part.bent_shift)),
            columns=tuple(map(flat, part.columns)),
            weight=flat(part.weight),
        )

    return tuple(map(one, rows))


def joined_traces(at: Layout, left: Any, right: Any) -> Rows:
    """The gaps of all faces as rows in the K N coefficients."""
    own = jnp.eye(at.lower.shape[0], dtype=left.dtype)
    k, l = own[at.pairs[:, 0]], own[at.pairs[:, 1]]  # noqa: E741
    matrix = jnp.einsum("fqn,fk->fqkn", left, k) - jnp.einsum("fqn,fk->fqkn", right, l)
    return linear_rows(matrix.reshape(left.shape[0] * left.shape[1], -1))
