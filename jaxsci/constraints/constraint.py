"""What every constraint offers, and what a projection tells about itself.

A constraint is a set C of points, written as a frozen dataclass whose numbers are leaves of a pytree: they may be traced,
batched and differentiated. It offers

    residual(x)     what is violated, and by how much: zeros on C;  [..., conditions]
    penalty(x)      |residual(x)|^2 / 2, for soft constraints;  [...]
    project(y)      argmin_x |x - y|^2 / 2 over C, and a `ProjectionInfo`
    check(x)        x as it is, or an error that names the members of a batch that violate C

Leading axes are a batch; `event_ndim` trailing axes are one point.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, NamedTuple, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced
from jaxsci.constraints.members import select

# What became of a projection. Only CONVERGED is a point of the set; all points are finite.
CONVERGED, MAX_STEPS, INFEASIBLE, NOT_FINITE, SADDLE = range(5)
STATUS = (
    "converged",
    "stopped at max_steps: the point violates the constraint by info.residual",
    "infeasible: no point satisfies the constraint; the point is the one found that violates it least",
    "not finite: the point to project, or the constraint's data, hold NaN or infinite numbers",
    "stationary, but no minimum: derivatives of the point mean nothing",
)


class ProjectionInfo(NamedTuple):
    """What a projection tells about itself, one entry per member of the batch.

    Attributes:
      converged: whether the point satisfies the constraint to the tolerance, and is the nearest that does;  [...]
      status: CONVERGED 0, MAX_STEPS 1, INFEASIBLE 2, NOT_FINITE 3, SADDLE 4; `STATUS` has the sentences;  [...]
      residual: the largest violation, in the constraint's own units, infinite where the point to project is not finite;  [...]
      steps: iterations taken, 0 for closed forms;  [...]
      active: which inequalities hold with equality: -1 at the lower, 1 at the upper, 0 between, 2 where both are one number; None
        without any.
      warm: what a later projection of a nearby point starts from, as ``warm=info.warm``; None for closed forms.
    """

    converged: Any
    status: Any
    residual: Any
    steps: Any
    active: Any = None
    warm: Any = None


Self = TypeVar("Self", bound="Constraint")


@dataclass_transform(frozen_default=True, eq_default=False)
def constraint(*static: str):
    """Make a class a frozen dataclass and a pytree: its fields are leaves, those named here are static."""

    def register(cls):
        cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
        names = tuple(field.name for field in dataclasses.fields(cls))
        leaves = tuple(name for name in names if name not in static)

        def flatten(value):
            children = tuple((jax.tree_util.GetAttrKey(name), getattr(value, name)) for name in leaves)
            return children, tuple(getattr(value, name) for name in static)

        def unflatten(fixed, children):  # not through __init__: leaves may be anything here, and were checked before
            value = object.__new__(cls)
            for name, child in zip((*leaves, *static), (*children, *fixed), strict=True):
                object.__setattr__(value, name, child)
            return value

        jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
        return cls

    return register


class Constraint(abc.ABC):
    """A set of points; see the module's docstring. Subclasses give `residual` and `nearest`."""

    event_ndim: int = 1  # trailing axes of one point

    @abc.abstractmethod
    def residual(self, x: Any) -> Any:
        """What is violated: the signed excess of equalities, the positive part of inequalities;  [..., conditions]."""

    @abc.abstractmethod
    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        """The projection of finite points; how, is the constraint's own matter. See `jaxsci.constraints.project`."""

    def prepare(self: Self) -> Self:
        """The same constraint with what a batch or many calls share computed once; itself where there is nothing."""
        return self

    def __and__(self, other: Any) -> Any:
        """The intersection of two sets; see `jaxsci.constraints.Intersection`."""
        from jaxsci.constraints.compose import intersected

        return intersected(self, other)

    def penalty(self, x: Any) -> Any:
        """|residual(x)|^2 / 2;  [...]."""
        return jnp.sum(self.residual(x) ** 2, axis=-1) / 2

    def violation(self, x: Any) -> Any:
        """The largest entry of the residual;  [...]."""
        return jnp.max(jnp.abs(self.residual(x)), axis=-1, initial=0.0)

    def project(
        self, y: Any, *, tol: float | None = None, max_steps: int | None = None, warm: Any = None
    ) -> tuple[Any, ProjectionInfo]:
        """See `jaxsci.constraints.project`."""
        y = _floating(y, self.event_ndim, type(self).__name__)
        axes = tuple(range(-self.event_ndim, 0))
        finite = jnp.isfinite(y).all(axis=axes)
        # Zeros in place of what cannot be projected: a NaN in one member must not reach another, nor a gradient.
        point, info = self.nearest(select(finite, y, jnp.zeros_like(y)), tol, max_steps, warm)
        status = jnp.where(finite, info.status, NOT_FINITE)
        residual = jnp.where(finite, info.residual, jnp.inf)
        return point, info._replace(status=status, converged=status == CONVERGED, residual=residual)

    def check(self, x: Any, tol: float | None = None) -> Any:
        """`x` itself, where it satisfies the constraint.

        Args:
          x: points with values, ``[..., *event]``.
          tol: the largest violation that passes; by default 1e-9 in float64 and 1e-5 in float32, times the largest entry of the
            point where that is above one.
        Raises:
          ValueError: naming the members of the batch that violate the constraint, and by how much.
        """
        x = _floating(x, self.event_ndim, type(self).__name__)
        violation = np.asarray(self.violation(x))
        if tol is None:
            entries = np.abs(np.asarray(x)).max(axis=tuple(range(-self.event_ndim, 0)), initial=1.0)
            tol = (1e-9 if x.dtype == jnp.float64 else 1e-5) * np.where(np.isfinite(entries), entries, 1.0)
        bad = np.argwhere(~(violation <= tol))  # a NaN is bad
        if len(bad):
            where = (
                f" in {len(bad)} of {violation.size} points, the first at index {tuple(map(int, bad[0]))}"
                if bad[0].size
                else ""
            )
            worst = float(np.max(np.where(np.isnan(violation), np.inf, violation)))
            raise ValueError(
                f"{type(self).__name__}: violated{where}, by {worst:.2g} where {np.max(tol):.2g} passes; "
                "project with jaxsci.constraints.project and look at info.status, or give tol."
            )
        return x


def project(
    constraint: Constraint, y: Any, *, tol: float | None = None, max_steps: int | None = None, warm: Any = None
) -> tuple[Any, ProjectionInfo]:
    r"""The nearest point of a constraint's set:  argmin_x |x - y|^2 / 2  over x in C.

    Exact to round-off, and differentiable in `y` and in every number of the constraint by implicit differentiation at the
    solution (not through the iterations): `jax.jvp`, `jax.vjp`, `jax.jacfwd`, `jax.jacrev`, `jax.hessian`, `jax.jit` and
    `jax.vmap` all work, and a derivative costs about one linear solve. Never raises under jit and never returns NaN: what
    went wrong is in ``info.status``, for each member of the batch by itself.

    Args:
      constraint: the set.
      y: ``[..., *event]``, float32 or float64; leading axes are a batch.
      tol: the violation at which to stop, in the constraint's own units; by default a few round-offs.
      max_steps: iterations, after which a member is given up; the default is generous.
      warm: `info.warm` of the projection of a nearby point, with the same batch.
    Returns:
      (point, info): the point has the shape of `y`; see `ProjectionInfo`.
    Raises:
      ValueError, TypeError: before tracing, naming what has the wrong shape or is no number.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> simplex = js.constraints.Polytope(jnp.ones((1, 3)), jnp.ones(1), lower=0.0, upper=1.0)
      >>> point, info = js.constraints.project(simplex, jnp.array([0.9, 0.6, -0.4]))
      >>> print(jnp.array_str(point, precision=3, suppress_small=True), bool(info.converged))
      [0.65 0.35 0.  ] True
    """
    if not isinstance(constraint, Constraint):
        raise TypeError(
            "project: the first argument must be a constraint, as in project(Polytope(A, b), y), "
            f"got {type(constraint).__name__}."
        )
    return constraint.project(y, tol=tol, max_steps=max_steps, warm=warm)


def prepare(constraint: Self) -> Self:
    """The same constraint with what many projections share (a factorisation) computed once, outside of loops and jit.

    The derivative is exact in the constraint's numbers either way: what is prepared is never differentiated.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> plane = js.constraints.prepare(js.constraints.Polytope(jnp.ones((1, 3)), jnp.ones(1)))
      >>> point, _ = js.constraints.project(plane, jnp.zeros(3))
      >>> print(jnp.array_str(point, precision=3, suppress_small=True))
      [0.333 0.333 0.333]
    """
    return constraint.prepare()


def closed_form(constraint: Constraint, x: Any, active: Any = None) -> tuple[Any, ProjectionInfo]:
    """The point and information of a projection that takes no iterations."""
    finite = jnp.isfinite(x).all(axis=tuple(range(-constraint.event_ndim, 0)))  # else the constraint's data are not
    x = select(finite, x, jnp.zeros_like(x))
    violation = jnp.where(finite, constraint.violation(x), jnp.inf)
    status = jnp.where(finite, CONVERGED, NOT_FINITE)
    return x, ProjectionInfo(status == CONVERGED, status, violation, jnp.zeros_like(status), active)


def check_numbers(owner: str, **given: Any) -> None:
    """Refuse NaN in numbers that are known here; infinite ones are bounds that are not there.

    Raises:
      TypeError: for what is no real number or array.
      ValueError: for NaN.
    """
    for name, value in given.items():
        if callable(value) or isinstance(value, str) or hasattr(value, "tocoo"):
            raise TypeError(
                f"{owner}: {name} must be an array of real numbers, or a BCOO where a matrix is sparse (of SciPy's by "
                f"jax.experimental.sparse.BCOO.from_scipy_sparse), got {type(value).__name__}."
            )
        numeric = hasattr(value, "__array__") or isinstance(value, int | float | list | tuple)
        if value is None or is_traced(value) or not numeric:
            continue
        array = np.asarray(value)
        if array.dtype.kind not in "fiub" and not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{owner}: {name} must be real numbers, got {value!r}.")
        if np.isnan(array.astype(float)).any():
            raise ValueError(f"{owner}: {name} holds NaN at index {tuple(map(int, np.argwhere(np.isnan(array))[0]))}.")


def _floating(y: Any, event_ndim: int, owner: str) -> Any:
    y = jnp.asarray(y)
    if jnp.issubdtype(y.dtype, jnp.complexfloating) or y.dtype == bool:
        raise TypeError(f"{owner}: points must be real numbers, got {y.dtype}.")
    if y.ndim < event_ndim:
        raise ValueError(f"{owner}: a point has {event_ndim} axes (leading ones are a batch), got the shape {y.shape}.")
    return y if jnp.issubdtype(y.dtype, jnp.floating) else y.astype(jnp.result_type(float))
