"""A problem: an equation on a domain with conditions and coefficients. What is to be solved, and nothing about how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import check_keys, is_whole, listed
from jaxsci._types import SavedTimes
from jaxsci.equations import Equation
from jaxsci.equations.expression import coefficient, coordinate
from jaxsci.equations.residual import check_coefficients
from jaxsci.problems.conditions import Boundary, Mixed, Outflow, Periodic, Wall
from jaxsci.problems.domain import Box
from jaxsci.problems.formula import Formula, takes_points
from jaxsci.problems.identity import identity_of
from jaxsci.problems.reference import Exact, Reference
from jaxsci.problems.solids import Solid, covers, merged, solids_of
from jaxsci.problems.solution import DEFAULT_TIMES, Solution, saved_times


@jax.tree_util.register_pytree_node_class
class Problem:
    r"""An equation, a box, conditions and coefficients.

    A pytree whose leaves are the coefficients: ``jax.grad`` and ``jax.vmap`` go through it. Everything else is static and
    hashable.

    Args:
      equation: the `Equation`.
      domain: the `Box`; a coordinate ``t`` makes it an initial-value problem.
      coefficients: a value for each coefficient of the equation and of the conditions: a real scalar, or a function
        (a pytree such as `jax.tree_util.Partial`) where the equation calls it.
      initial: values at the start by unknown, and of first time derivatives as ``u_t`` where the equation has ``u.tt``:
        numbers or functions of the spatial coordinates and coefficients. A function of a whole point, ``f(*point)`` such as a
        `FourierSeries`, becomes the coefficient ``u_start`` (as in `with_initial`).
      boundary: by spatial coordinate: `Periodic()`, one wall condition for both ends, or a pair of them. Default periodic.
        In a pair, a tuple of conditions holds different kinds for different unknowns on one wall.
        A wall that lies inside a shape has no condition.
      solid: what is cut out of the box: shapes by name, whose conditions stand in `boundary` under these names; `Neural` and
        `RandomFeatures` carry them. A domain that is no box is what ``~shape`` leaves of one. Or the signed distance to bodies
        at rest, negative inside, as a function of the spatial coordinates and coefficients: the velocity is zero there;
        `Staggered` carries it, and shapes on which a velocity is zero.
      exact: the exact solution by unknown, where there is one.
      times: where solutions are saved by default: 51 even times, unless the problem lives on a logarithmic scale.
      reference: how to obtain a certified reference; by default the exact solution.
      name, source: for messages, reports and the catalogue.
    Raises:
      KeyError, ValueError: naming the coefficient, condition or coordinate that is missing or wrong.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> heat = js.Equation(lambda u, diffusivity: u.t - diffusivity * u.xx, name="heat")
      >>> problem = js.Problem(heat, js.Box(t=(0, 1), x=(0, 1)), coefficients={"diffusivity": 0.1},
      ...                      initial={"u": lambda x: js.sin(jnp.pi * x)}, boundary={"x": js.Dirichlet(0)})
      >>> problem
      heat: u_t - diffusivity*u_xx = 0 on Box(t=(0, 1), x=(0, 1)) with diffusivity=0.1
    """

    def __init__(
        self,
        equation: Equation,
        domain: Box,
        *,
        coefficients: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
        boundary: Mapping[str, Any] | None = None,
        solid: Any = None,
        exact: Mapping[str, Any] | None = None,
        reference: Reference | None = None,
        times: Sequence[float] | None = None,
        name: str | None = None,
        source: str = "",
    ):
        if not isinstance(equation, Equation) or not isinstance(domain, Box):
            raise TypeError(
                "Problem(equation, domain): give a js.Equation and a js.Box, "
                f"got {type(equation).__name__} and {type(domain).__name__}."
            )
        self.equation = equation
        self.domain = domain
        self.coefficients = {name: _as_pytree(value) for name, value in (coefficients or {}).items()}
        self.name = name or equation.name
        self.source = source
        self.coordinates: tuple[str, ...] = domain.coordinates
        self._check_coordinates()
        formulas = lambda given: tuple((k, Formula.of(v)) for k, v in sorted((given or {}).items()))  # noqa: E731
        of_points = {k: f for k, f in (initial or {}).items() if takes_points(f)}
        self.coefficients |= {f"{k}_start": _as_pytree(f) for k, f in of_points.items()}
        self._initial = formulas({**(initial or {}), **self._starts(of_points)})
        self._exact = formulas(exact)
        self._solids = solids_of(self.name, domain, solid, boundary or {})
        self.solid: Formula | None = merged(domain, self._solids) if self._solids or solid is None else Formula.of(solid)
        self._boundary = tuple((axis, self._boundary_of(axis, dict(boundary or {}))) for axis in domain.space)
        self._check_names(boundary or {})
        self._reference = reference if reference is not None else Exact() if self._exact else None
        if times is not None and self.is_steady:
            raise ValueError(f"{self.name}: times are given, but {domain!r} has no t.")
        self._times = None if times is None else tuple(map(float, saved_times(self, times)))

    # --- what it is made of ----------------------------------------------------------------------------------------

    @property
    def unknowns(self) -> tuple[str, ...]:
        return self.equation.unknowns

    @property
    def initial(self) -> dict[str, Formula]:
        return dict(self._initial)

    @property
    def boundary(self) -> dict[str, Boundary]:
        return dict(self._boundary)

    def walls(self, axis: str) -> tuple[Wall, ...]:
        """The conditions at the lower and the upper end of an axis; none where it is periodic."""
        condition = self.boundary[axis]
        return () if isinstance(condition, Periodic) else condition

    @property
    def solids(self) -> tuple[Solid, ...]:
        """The shapes that are cut out of the box, with what is held on them."""
        return self._solids

    def check_values(self, method: str) -> None:
        """Refuse conditions that only fields carry: Robin's, clamped unknowns, and shapes on which something else than zero
        values is held.

        Raises:
          ValueError: naming the method and what it does not carry.
        """
        walls = [(f"a wall of {axis}", wall) for axis in self.domain.space for wall in self.walls(axis)]
        walls += [(f"the solid {solid.name}", solid.wall) for solid in self._solids]
        for where, wall in walls:
            kinds = {part.kind for part in wall.parts}
            what = "a Robin condition" if "robin" in kinds else "a clamped unknown" if getattr(wall, "clamps", False) else ""
            at_rest = kinds == {"dirichlet"} and all(v.is_zero for v in wall.for_unknowns(self.unknowns).values())
            if not what and where.startswith("the solid") and not at_rest:
                what = "a condition other than zero values"
            if what:
                raise ValueError(
                    f"{method}: {self.name} has {what} on {where}, which this method does not carry; use js.RandomFeatures or "
                    "js.Neural."
                )

    def check_plain(self, method: str) -> None:
        """Refuse what only few methods carry: solids, and walls with conditions of different kinds.

        Raises:
          ValueError: naming the method, and the one that does.
        """
        self.check_values(method)
        if self.is_window:
            raise ValueError(
                f"{method}: nothing is prescribed in this window of {self.name}, so that it has no solution of its own; "
                "js.learning.fit(problem, data, ...) takes what was observed there."
            )
        mixed = [axis for axis in self.domain.space if any(wall.kind == "mixed" for wall in self.walls(axis))]
        if self.solid is not None or mixed:
            what = "a solid" if self.solid is not None else f"different kinds of condition on one wall of {listed(mixed)}"
            raise ValueError(f"{method}: {self.name} has {what}, which this method does not carry; use js.Staggered.")

    @property
    def exact(self) -> dict[str, Formula]:
        return dict(self._exact)

    @property
    def times(self) -> np.ndarray | None:
        """Where solutions are saved unless `solve` is told other times."""
        if self.is_steady:
            return None
        return np.linspace(*self.domain["t"], DEFAULT_TIMES) if self._times is None else np.asarray(self._times)

    @property
    def is_steady(self) -> bool:
        return "t" not in self.domain

    def time_order(self, unknown: str) -> int:
        """The highest time derivative of an unknown: how many initial values it needs."""
        return self.equation.time_order(unknown)

    def with_coefficients(self, **values: Any) -> Problem:
        """The same problem with other coefficient values.

        Example:
          >>> import jaxsci as js
          >>> js.problems.burgers().with_coefficients(viscosity=0.05).coefficients
          {'viscosity': 0.05}
        """
        check_keys("coefficient", values, self.coefficients)
        new = self._shallow_copy()
        new.coefficients = self.coefficients | {name: _as_pytree(value) for name, value in values.items()}
        check_coefficients(self.equation, new.coefficients, tuple(new.coefficients))
        return new

    def with_initial(self, **functions: Any) -> Problem:
        """The same problem from another start, which becomes a coefficient: ``w`` starts from the coefficient ``w_start``.

        jit, vmap and grad pass through the parameters of the function, as through those of a `FourierSeries`.

        Args:
          **functions: by unknown, a function of ONE point of space (a pytree where it has parameters).
        Returns:
          A problem without exact solution. A reference by a convergence study stays; see whether it still resolves the start.
        Example:
          >>> import jax, jaxsci as js
          >>> problem = js.problems.burgers()
          >>> start = js.problems.random_fourier_series(jax.random.key(0), problem.domain)
          >>> problem.with_initial(u=start).initial["u"].arguments
          ('u_start', 'x')
        """
        check_keys("initial value", functions, self.initial)
        for name, function in functions.items():
            if not callable(function):
                raise TypeError(f"with_initial: {name} must be a function of {listed(self.domain.space)}, got {function!r}.")
        starts = self._starts(functions)
        new = self._shallow_copy()
        new._initial = tuple((name, starts.get(name, formula)) for name, formula in self._initial)
        new._exact, new._reference = (), None if isinstance(self._reference, Exact) else self._reference
        new.coefficients = self.coefficients | {f"{name}_start": _as_pytree(f) for name, f in functions.items()}
        return new

    def _starts(self, names: Iterable[str]) -> dict[str, Formula]:
        """Initial values that are coefficients: functions of one point of space."""
        point = [coordinate(name) for name in self.domain.space]
        return {name: Formula.of(coefficient(f"{name}_start")(*point)) for name in names}

    def window(self, **intervals: tuple[float, float]) -> Problem:
        """The same equation in a part of the domain, where nothing is prescribed: for data from inside a larger whole.

        What such a problem lacks, observations replace: `jaxsci.learning.fit` takes it.

        Args:
          **intervals: by coordinate, (lower, upper), inside the domain; other coordinates stay whole.
        Example:
          >>> import jaxsci as js
          >>> wake = js.problems.cylinder().window(t=(4, 8), x=(0.4, 1.2))
          >>> wake.domain, wake.is_window
          (Box(t=(4, 8), x=(0.4, 1.2), y=(0, 0.41)), True)
        """
        check_keys("coordinate", intervals, self.coordinates)
        new = self._shallow_copy()
        new.domain = Box(**{name: intervals.get(name, self.domain[name]) for name in self.coordinates})
        for name, (lower, upper) in new.domain._intervals:
            low, high = self.domain[name]
            if not (low <= lower and upper <= high):
                raise ValueError(f"window: {name} must lie in [{low:g}, {high:g}], got [{lower:g}, {upper:g}].")
        new._boundary = tuple((axis, (Outflow(), Outflow())) for axis in self.domain.space)
        new._initial, new._times, new.solid = (), None, None
        new._reference = self._reference if isinstance(self._reference, Exact) else None
        return new

    @property
    def is_window(self) -> bool:
        """Nothing is prescribed: see `window`."""
        open_walls = all(wall.kind == "outflow" for axis in self.domain.space for wall in self.walls(axis))
        return open_walls and not self._initial and not any(not self.walls(axis) for axis in self.domain.space)

    @property
    def identity(self) -> str:
        """Sixteen hexadecimal digits that identify equation, domain, conditions and the values of the coefficients.

        Raises:
          TypeError: a coefficient is traced, so that it has no value yet.
        """
        return identity_of(self)

    # --- solutions -------------------------------------------------------------------------------------------------

    def reference(self, ts: SavedTimes = None) -> Solution:
        """A certified solution: `error_estimate` states its own relative L2 error, its floor.

        Args:
          ts: times to have it at, ``[T]``; a default set of 51 otherwise.
        Raises:
          ValueError: the problem has neither an exact solution nor a recipe for a numerical one.
        """
        if self._reference is None:
            raise ValueError(
                f"{self.name} has no reference: give exact={{...}} or reference=... when you define the problem, or solve it "
                "twice with js.Spectral at two resolutions and take the difference as the error."
            )
        return self._reference.solution(self, ts)

    def exact_field(self, *point: Float[ArrayLike, ""]) -> Float[Array, " unknowns"]:
        """The exact solution at ONE point, ``[unknowns]``: a field for `jaxsci.residual`."""
        import jax.numpy as jnp

        if not self._exact:
            raise ValueError(f"{self.name} has no exact solution in closed form; use its reference().")
        here = dict(zip(self.coordinates, point, strict=True))
        return jnp.stack([self.exact[name](here, self.coefficients) for name in self.unknowns])

    # --- printing --------------------------------------------------------------------------------------------------

    def latex(self) -> str:
        return self.equation.latex()

    def _repr_latex_(self) -> str:
        return self.equation._repr_latex_()

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.coefficients.items())
        return f"{self.name}: {self.equation!r} on {self.domain!r}" + (f" with {values}" if values else "")

    # --- pytree ----------------------------------------------------------------------------------------------------

    def _static(self) -> tuple:
        conditions = (self._initial, self._boundary, self._exact, self.solid, self._solids)
        return (self.equation, self.domain, *conditions, self._reference, self._times, self.name, self.source)

    def tree_flatten(self):
        return (self.coefficients,), self._static()

    @classmethod
    def tree_unflatten(cls, static, children):
        new = object.__new__(cls)
        new.equation, new.domain, new._initial, new._boundary, new._exact, new.solid, new._solids = static[:7]
        new._reference, new._times, new.name, new.source = static[7:]
        (new.coefficients,) = children
        new.coordinates = new.domain.coordinates
        return new

    def _shallow_copy(self) -> Problem:
        return self.tree_unflatten(self._static(), (self.coefficients,))

    # --- checks ----------------------------------------------------------------------------------------------------

    def _check_coordinates(self) -> None:
        missing = [c for c in self.equation.coordinates if c not in self.domain]
        if missing:
            raise ValueError(
                f"{self.name}: the equation {self.equation!r} has the coordinate {listed(missing)}, "
                f"which {self.domain!r} lacks."
            )
        if "t" in self.domain and "t" not in self.equation.coordinates:
            raise ValueError(f"{self.name}: the box has a time t, but no time derivative occurs in {self.equation!r}.")

    def _boundary_of(self, axis: str, given: dict[str, Any]) -> Boundary:
        condition = given.get(axis, ((), ()) if covers(self._solids, self.domain, axis) else Periodic())
        if isinstance(condition, Periodic):
            return condition
        if isinstance(condition, Wall):
            return condition, condition
        if isinstance(condition, Sequence) and len(condition) == 2:
            lower, upper = (Mixed(*end) if isinstance(end, tuple) else end for end in condition)
            if isinstance(lower, Wall) and isinstance(upper, Wall):
                return lower, upper
        raise ValueError(
            f"{self.name}: the boundary of {axis} must be Periodic(), a wall condition, or a pair of them (lower, upper); "
            f"got {condition!r}."
        )

    def _check_names(self, boundary: Mapping[str, Any]) -> None:
        check_keys("boundary of coordinate", boundary, (*self.domain.space, *(solid.name for solid in self._solids)))
        needed = {u: self.time_order(u) for u in self.unknowns} if not self.is_steady else {}
        too_high = [u for u, order in needed.items() if order > 2]
        if too_high:
            raise ValueError(
                f"{self.name}: time derivatives above the second are not supported, found for {listed(too_high)}."
            )
        names = [u + "_t" * k for u, order in needed.items() for k in range(order)]
        check_keys("initial value", self.initial, names, complete=True)
        if self._exact:
            check_keys("exact solution of", self.exact, self.unknowns, complete=True)
        formulas = [(f"initial value {k}", f, self.domain.space) for k, f in self._initial]
        formulas += [(f"exact solution {k}", f, self.coordinates) for k, f in self._exact]
        walls = [(f"the wall of {axis}", wall) for axis in self.domain.space for wall in self.walls(axis)]
        for where, wall in [*walls, *((f"the solid {solid.name}", solid.wall) for solid in self._solids)]:
            for part in wall.parts:
                values = part.for_unknowns(self.unknowns)
                check_keys(f"unknown on {where}", values, self.unknowns)
                formulas += [(f"value of {k} on {where}", f, self.coordinates) for k, f in values.items()]
                formulas += [
                    (f"rate of {k} on {where}", f, self.coordinates) for k, f in part.rates_for(self.unknowns).items()
                ]
        if self.solid is not None and not self._solids:
            formulas.append(("the solid", self.solid, self.domain.space))
        used: set[str] = set(self.equation.coefficients)
        for what, formula, coordinates in formulas:
            formula.check(what, coordinates, tuple(self.coefficients))
            used |= set(formula.arguments) - set(self.coordinates)
        check_coefficients(self.equation, self.coefficients, tuple(sorted(used)))


def _as_pytree(value: Any) -> Any:
    """A plain function becomes a pytree without leaves, so that jit takes the problem that holds it; a whole number real."""
    if is_whole(value):
        return float(value)
    return jax.tree_util.Partial(value) if callable(value) and jax.tree_util.all_leaves([value]) else value
