"""Constraints made of constraints: all at once (`Intersection`, written ``a & b``), per part of a point (`Parts`, `On`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxsci._checks import check_keys
from jaxsci.constraints.constraint import CONVERGED, Constraint, ProjectionInfo, constraint
from jaxsci.constraints.meeting import nearest_common_point
from jaxsci.constraints.members import joined
from jaxsci.constraints.merge import merged


@constraint()
class Intersection(Constraint):
    r"""The points of several sets at once, written ``a & b & c``; every member a closed convex set that has a projection.

    The nearest common point x has multipliers with  P_i(x + z_i) = x  for every member and  x + sum_i z_i = y;  they are
    found by a semismooth Newton method on that equation, made global by Dykstra's step and the forward-backward envelope,
    with the members' own derivatives, and x is differentiated by the same equation (three derivatives are exact). The last
    member holds to its own round-off, the others to that of the iteration. Where the multipliers are not unique (members that
    bound a point in the same direction) the derivative in `y` is exact, that in the members' numbers shared among them.
    Newton's matrix is dense, (members - 1) n wide: meant for points of up to some hundreds of entries.

    Args:
      constraints: the members, whose points have one shape.
    Raises:
      TypeError: for members that are no constraints; ValueError: for none, or points of different kinds.
    Reference:
      Themelis, Stella and Patrinos (2018), "Forward-backward envelope for the sum of two nonconvex functions", SIAM J. Optim.
      28 (the line search); Boyle and Dykstra (1986) (the equation).
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> c = js.constraints
      >>> x, info = (c.Ball(1.0) & c.HalfSpace(jnp.array([1.0, 0.0]), 0.6)).project(jnp.array([2.0, 2.0]))
      >>> print(x.round(3), bool(info.converged))
      [0.6 0.8] True
    """

    constraints: Sequence[Constraint]

    def __post_init__(self):
        if isinstance(self.constraints, Constraint):
            raise TypeError("Intersection: give a list of constraints, as in Intersection([a, b]), or write a & b.")
        if not isinstance(self.constraints, list | tuple):
            return  # not data, but what stands for them while JAX rebuilds a tree
        for member in self.constraints:
            if isinstance(member, Parts):
                raise TypeError("Intersection: Parts cannot be a member; intersect inside: Parts({name: a & b}).")
            if not isinstance(member, Constraint):
                raise TypeError(f"Intersection: members must be constraints, got {type(member).__name__}.")
        if len({member.event_ndim for member in self.constraints}) != 1:
            raise ValueError(
                "Intersection: members must be constraints on points with equally many axes, got "
                + (", ".join(f"{type(m).__name__} ({m.event_ndim})" for m in self.constraints) or "none")
                + "."
            )

    @property
    def event_ndim(self) -> int:  # ty: ignore[incompatible-property-override]
        return self.constraints[0].event_ndim

    def residual(self, x: Any) -> Any:
        """The members' residuals, one after another;  [..., conditions]."""
        return joined([member.residual(x) for member in self.constraints])

    def prepare(self) -> Intersection:
        return Intersection(tuple(member.prepare() for member in self.constraints))

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        one = self.constraints[0] if len(self.constraints) == 1 else merged(self.constraints)
        if one is not None:
            return one.project(y, tol=tol, max_steps=max_steps, warm=warm)
        return nearest_common_point(self, self.constraints, y, tol, max_steps, warm)


def intersected(a: Constraint, b: Any) -> Intersection:
    """``a & b``, without brackets inside."""
    if not isinstance(b, Constraint):
        raise TypeError(
            f"{type(a).__name__} & ...: a constraint can only be intersected with another, got {type(b).__name__}."
        )
    members = [tuple(c.constraints) if isinstance(c, Intersection) else (c,) for c in (a, b)]
    return Intersection(members[0] + members[1])


@constraint()
class Parts(Constraint):
    """Points that are dictionaries, a constraint for each of some of their entries; other entries are left alone.

    The projection of a product of sets is that of each. Parts may be `Parts` themselves.

    Args:
      parts: {name: constraint}.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> both = js.constraints.Parts({"shares": js.constraints.Simplex(), "position": js.constraints.Ball(1.0)})
      >>> x, info = both.project({"shares": jnp.array([1.0, 1.0]), "position": jnp.array([0.0, 2.0]), "free": 7.0})
      >>> print(x["shares"], x["position"], x["free"], bool(info.converged))
      [0.5 0.5] [0. 1.] 7.0 True
    """

    parts: dict[str, Constraint]

    def __post_init__(self):
        if isinstance(self.parts, dict):
            for name, part in self.parts.items():
                if not isinstance(part, Constraint):
                    raise TypeError(f"Parts: {name!r} must be a constraint, got {type(part).__name__}.")

    def _each(self, x):
        if not isinstance(x, dict):
            raise TypeError(f"Parts: points are dictionaries with the keys {list(self.parts)}, got {type(x).__name__}.")
        check_keys("Parts: entries", {name: None for name in self.parts if name in x}, self.parts, complete=True)
        return [(name, part, x[name]) for name, part in self.parts.items()]

    def residual(self, x: Any) -> Any:
        """The parts' residuals, one after another;  [..., conditions]."""
        return joined([part.residual(value) for _, part, value in self._each(x)])

    def penalty(self, x: Any) -> Any:
        return sum(part.penalty(value) for _, part, value in self._each(x))

    def prepare(self) -> Parts:
        return Parts({name: part.prepare() for name, part in self.parts.items()})

    def check(self, x: Any, tol: float | None = None) -> Any:
        for name, part, value in self._each(x):
            try:
                part.check(value, tol)
            except ValueError as error:
                raise ValueError(f"part {name!r}: {error}") from error
        return x

    def project(
        self, y: Any, *, tol: float | None = None, max_steps: int | None = None, warm: Any = None
    ) -> tuple[Any, ProjectionInfo]:
        """The projection of each part; of the information the worst, `active` and `warm` as dictionaries."""
        return self.nearest(y, tol, max_steps, warm)

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        points, infos = dict(y) if isinstance(y, dict) else y, {}
        for name, part, value in self._each(y):
            points[name], infos[name] = part.project(
                value, tol=tol, max_steps=max_steps, warm=None if warm is None else warm[name]
            )

        def worst(field):
            return _worst([getattr(info, field) for info in infos.values()])

        def each(field):
            return {name: getattr(info, field) for name, info in infos.items()}

        status = worst("status")
        return points, ProjectionInfo(
            status == CONVERGED, status, worst("residual"), worst("steps"), each("active"), each("warm")
        )


class Stretch(NamedTuple):
    """A slice, hashable (before Python 3.12 `slice` is not)."""

    start: int | None
    stop: int | None
    step: int | None


@constraint("index")
class On(Constraint):
    """A constraint on some entries of the last axis; the others are left alone.

    Args:
      constraint: on points with one axis.
      index: a slice, or distinct places, as ``[0, 3, 4]``.
    Raises:
      TypeError, ValueError: for anything else.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x, _ = js.constraints.On(js.constraints.Simplex(), slice(0, 2)).project(jnp.array([1.0, 1.0, 7.0]))
      >>> print(x)
      [0.5 0.5 7. ]
    """

    constraint: Constraint
    index: Any

    def __post_init__(self):
        if isinstance(self.index, slice):
            object.__setattr__(self, "index", Stretch(self.index.start, self.index.stop, self.index.step))
        elif not isinstance(self.index, Stretch):
            try:
                places = tuple(int(place) for place in self.index)
            except TypeError as error:
                raise TypeError(f"On: index must be a slice or places such as [0, 3, 4], got {self.index!r}.") from error
            if len(set(places)) < len(places):
                raise ValueError(f"On: places must be distinct, got {places}.")
            object.__setattr__(self, "index", places)
        if isinstance(self.constraint, Constraint) and (
            isinstance(self.constraint, Parts) or self.constraint.event_ndim != 1
        ):
            raise ValueError(f"On: the constraint must be on points with one axis, {type(self.constraint).__name__} is not.")

    def _places(self, x):
        n = x.shape[-1]
        if isinstance(self.index, Stretch):
            return jnp.arange(*slice(*self.index).indices(n))
        if any(not -n <= place < n for place in self.index):
            raise ValueError(f"On: places must lie in points of {n} entries, got {self.index}.")
        return jnp.asarray(self.index)

    def residual(self, x: Any) -> Any:
        return self.constraint.residual(x[..., self._places(x)])

    def prepare(self) -> On:
        return On(self.constraint.prepare(), self.index)

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        places = self._places(y)
        part, info = self.constraint.project(y[..., places], tol=tol, max_steps=max_steps, warm=warm)
        y = jnp.broadcast_to(y, (*part.shape[:-1], y.shape[-1]))
        return y.at[..., places].set(part), info


def _worst(values):
    worst = values[0]
    for value in values[1:]:
        worst = jnp.maximum(worst, value)
    return worst
