"""Distances and angles: holonomic constraints of molecules and mechanisms, projected in linear time along a chain."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced
from jaxsci.constraints.block_tridiagonal import Band, band, factor, solve
from jaxsci.constraints.constraint import CONVERGED, Constraint, ProjectionInfo, check_numbers, constraint
from jaxsci.constraints.internal_coordinates import norm
from jaxsci.constraints.kkt import kkt_solve, nearest
from jaxsci.constraints.members import joined

Indices = tuple[tuple[int, ...], ...]


@constraint("pairs", "triples")
class Bonds(Constraint):
    r"""Positions of atoms with given distances and angles:  |x_i - x_j| = d_ij  and  angle(x_i, x_j, x_k) = theta_ijk.

    A point is ``[atoms, 3]``.  The projection is  argmin sum_i m_i |x_i - y_i|^2 / 2  (what SHAKE approximates: its Jacobian
    is taken at x, so that this is the nearest point and commutes with rotations and translations; the correction has no
    momentum), by `jaxsci.constraints.kkt` with block-tridiagonal factors: the atoms are reordered by reverse Cuthill-McKee,
    and a step costs atoms x bandwidth^2, linear for chains and molecules with short side groups.  `tangent` projects
    velocities (the second half of RATTLE).  Derivatives are exact in positions, lengths, angles and masses.

    Args:
      pairs: ``(i, j)``, the atoms of each bond.
      lengths: ``[..., bonds]`` or a number; positive.
      triples: ``(i, j, k)``, each angle being the one at the atom j.
      angles: ``[..., angles]`` or a number, in radians, between 0 and pi (excluded: straight angles are degenerate, their
        condition has no gradient).
      masses: ``[..., atoms]``; all the same where None.  Only their ratios matter.
    Raises:
      ValueError: for indices that do not fit, lengths or masses that are not positive, angles outside of (0, pi).
    Reference: Ryckaert, Ciccotti & Berendsen (1977), J. Comput. Phys. 23, 327 (SHAKE); Andersen (1983), J. Comput. Phys. 52, 24
      (RATTLE); Cuthill & McKee (1969).
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> water = js.constraints.Bonds([(0, 1), (0, 2)], 0.9572, triples=[(1, 0, 2)], angles=1.824)
      >>> point, info = js.constraints.project(water, jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.1]]))
      >>> print(bool(info.converged), jnp.linalg.norm(point[1] - point[0]).round(4))
      True 0.9572
    """

    pairs: Any
    lengths: Any
    triples: Any = ()
    angles: Any = None
    masses: Any = None

    event_ndim = 2  # ty: ignore[incompatible-attribute-override]

    def __post_init__(self):
        object.__setattr__(self, "pairs", _indices("pairs", self.pairs, 2))
        object.__setattr__(self, "triples", _indices("triples", self.triples, 3))
        if not self.pairs + self.triples:
            raise ValueError("Bonds: there is no condition; give pairs and lengths, triples and angles, or both.")
        if bool(self.triples) != (self.angles is not None):
            raise ValueError(
                "Bonds: triples and angles come together, as in Bonds(pairs, lengths, triples=..., angles=...)."
            )
        check_numbers("Bonds", lengths=self.lengths, angles=self.angles, masses=self.masses)
        for name, highest in (("lengths", np.inf), ("angles", np.pi), ("masses", np.inf)):
            value = getattr(self, name)
            if (
                value is None
                or is_traced(value)
                or not isinstance(value, int | float | list | tuple | np.ndarray | jax.Array)
            ):
                continue
            if not ((np.asarray(value) > 0) & (np.asarray(value) < highest)).all():
                raise ValueError(f"Bonds: {name} must lie between 0 and {highest:.4g}, both excluded, got {value}.")
        for name, count in (("lengths", len(self.pairs)), ("angles", len(self.triples))):
            shape = getattr(getattr(self, name), "shape", ())
            if shape and shape[-1] not in (1, count):
                raise ValueError(f"Bonds: {name} must have a last axis of {count}, one for each, got the shape {shape}.")

    def residual(self, x):
        """Lengths less those given, then angles less those given, in radians;  [..., bonds + angles]."""
        x = jnp.asarray(x)
        self._atoms(x)
        i, j = self._columns(self.pairs, 2)
        a, b, c = self._columns(self.triples, 3)
        stretch = norm(x[..., i, :] - x[..., j, :]) - self.lengths
        if not self.triples:
            return stretch
        return joined((stretch, self._bend(x, a, b, c)))

    def nearest(self, y, tol, max_steps, warm):
        atoms = self._atoms(y)
        batch, data = self._data(y)
        flat = jnp.broadcast_to(y, (*batch, *y.shape[-2:])).reshape(-1, 3 * atoms)
        warm = None if warm is None else tuple(v.reshape(-1, v.shape[-1]) for v in warm)
        found = _nearest(self._system(atoms), tol, max_steps, flat, data, warm)

        def unflat(v):
            return v.reshape(*batch, *v.shape[1:])

        point = unflat(found.point.reshape(-1, atoms, 3))
        status = unflat(found.status)
        violation = jnp.where(jnp.isfinite(unflat(found.residual)), self.violation(point), jnp.inf)
        warm = jax.lax.stop_gradient((unflat(found.point), unflat(found.multipliers)))
        return point, ProjectionInfo(status == CONVERGED, status, violation, unflat(found.steps), None, warm)

    def tangent(self, x: Any, v: Any) -> Any:
        """The velocity nearest to `v`, weighted by the masses, that keeps lengths and angles at `x`;  [..., atoms, 3]."""
        x, v = jnp.broadcast_arrays(jnp.asarray(x), jnp.asarray(v))
        atoms = self._atoms(x)
        batch, data = self._data(x)

        def flat(a):
            return jnp.broadcast_to(a, (*batch, atoms, 3)).reshape(-1, 3 * atoms)

        return _tangent(self._system(atoms), flat(x), flat(v), data).reshape(*batch, atoms, 3)

    def _bend(self, x, i, j, k):
        u, v = x[..., i, :] - x[..., j, :], x[..., k, :] - x[..., j, :]
        return jnp.arctan2(norm(jnp.cross(u, v)), jnp.sum(u * v, -1)) - self.angles

    @staticmethod
    def _columns(indices, count):
        return np.asarray(indices, int).reshape(-1, count).T

    def _system(self, atoms):
        return Geometry(self.pairs, self.triples, atoms)

    def _atoms(self, x):
        atoms, needed = x.shape[-2], 1 + max(max(group) for group in self.pairs + self.triples)
        if x.shape[-1] != 3 or atoms < needed:
            raise ValueError(
                f"Bonds: points must have the shape [..., atoms, 3] with {needed} or more atoms, got {x.shape}."
            )
        shape = getattr(self.masses, "shape", ())
        if shape and shape[-1] != atoms:
            raise ValueError(f"Bonds: there are {atoms} atoms and masses of the shape {shape}.")
        return atoms

    def _data(self, y):
        """The batch, and lengths, angles and masses for each of its members, in the dtype of the points."""
        atoms = y.shape[-2]
        counts = {"lengths": len(self.pairs), "angles": len(self.triples), "masses": atoms}
        given = {"lengths": self.lengths, "angles": self.angles, "masses": self.masses}
        arrays = {name: jnp.asarray(1.0 if v is None else v, y.dtype) for name, v in given.items()}
        batch = np.broadcast_shapes(y.shape[:-2], *(v.shape[:-1] for v in arrays.values()))
        each = {
            name: jnp.broadcast_to(v, (*batch, counts[name])).reshape(int(np.prod(batch)), counts[name])
            for name, v in arrays.items()
        }
        return batch, each


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _nearest(system, tol, max_steps, y, data, warm):
    return jax.vmap(lambda y, data, warm: nearest(system, y, data, tol, max_steps, warm))(y, data, warm)


@functools.partial(jax.jit, static_argnums=0)
def _tangent(system, x, v, data):
    def one(x, v, data):
        free = jnp.zeros_like(system.conditions(x, data))
        return kkt_solve(system, x, free, data, free == 0, (system.metric(x, data) * v, free))[0]

    return jax.vmap(one)(x, v, data)


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Bonds and angles of a flat point, with their band; see `jaxsci.constraints.kkt.System`."""

    pairs: Indices
    triples: Indices
    atoms: int

    @property
    def _groups(self):
        """(the atoms of each condition, the condition of one of them, its datum's name) for bonds and for angles."""
        groups = ((self.pairs, _bond, "lengths"), (self.triples, _angle, "angles"))
        return [(np.asarray(indices), one, name) for indices, one, name in groups if indices]

    def conditions(self, x, data):
        x = x.reshape(self.atoms, 3)
        return jnp.concatenate([jax.vmap(one)(x[indices], data[name]) for indices, one, name in self._groups])

    def equalities(self, x, data):
        return len(self.pairs) + len(self.triples)

    def metric(self, x, data):
        return jnp.repeat(data["masses"] / jnp.mean(data["masses"]), 3)

    def scale(self, x, data):
        x = x.reshape(self.atoms, 3)
        sizes = []
        for indices, one, name in self._groups:
            slopes = jax.vmap(jax.grad(one))(x[indices], data[name])
            size = jnp.sqrt(jnp.sum(slopes**2, (-1, -2)))
            sizes.append(jnp.maximum(size, 0.01 * jnp.mean(size)))
        size = jnp.concatenate(sizes)
        return jnp.where(jnp.isfinite(size) & (size > 0), size, 1)

    def factor(self, x, data, multipliers, weights, ridge):
        shape = _band(self.pairs, self.triples, self.atoms)
        points, start, entries = x.reshape(self.atoms, 3), 0, []
        for indices, one, name in self._groups:
            part = slice(start, start + len(indices))
            start += len(indices)

            def element(p, datum, multiplier, weight, one=one):
                slope, bend = jax.grad(one)(p, datum).reshape(-1), jax.hessian(one)(p, datum).reshape(p.size, p.size)
                return multiplier * bend + weight * jnp.outer(slope, slope)

            entries.append(jax.vmap(element)(points[indices], data[name], multipliers[part], weights[part]).reshape(-1))
        return factor(shape, jnp.concatenate(entries), self.metric(x, data) + ridge)

    def solve(self, factor, v):
        return solve(_band(self.pairs, self.triples, self.atoms), factor, v)


@functools.lru_cache(maxsize=32)
def _band(pairs: Indices, triples: Indices, atoms: int) -> Band:
    return band(pairs + triples, atoms, 3)


def _bond(p, length):
    """About |p_0 - p_1| - length, and smooth where that is not."""
    return (jnp.sum((p[0] - p[1]) ** 2) / length - length) / 2


def _angle(p, angle):
    """About |u| |v| sin(angle) times what the angle is too large by; zero where and only where it is right."""
    u, v = p[0] - p[1], p[2] - p[1]
    return norm(u) * norm(v) * jnp.cos(angle) - jnp.vdot(u, v)


def _indices(name: str, given: Any, count: int) -> Indices:
    array = np.asarray(given)
    if array.size == 0:
        return ()
    if array.ndim != 2 or array.shape[1] != count or array.dtype.kind not in "iu":
        raise ValueError(f"Bonds: {name} must be groups of {count} atoms' whole numbers, got {given!r}.")
    if (array < 0).any() or any(len(set(group)) < count for group in array.tolist()):
        raise ValueError(f"Bonds: {name} must name {count} different atoms each, counted from 0, got {given!r}.")
    return tuple(map(tuple, array.tolist()))
