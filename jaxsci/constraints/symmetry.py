"""Points that a finite group leaves as they are: the projection is the mean over the group."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsci.constraints.constraint import Constraint, ProjectionInfo, closed_form, constraint

LARGEST = 10_000  # elements; a group that grows beyond is surely a mistake


class Group:
    """A finite group of signed permutations of the entries of a point:  (g x)_i = sign_i x_{permutation_i}.

    Compared and hashed by its elements, as what is static under jit must be. ``a * b`` is the group that both generate.

    Args:
      shape: of one point.
      permutations: generators, ``[generators, entries]``, into the flattened point.
      signs: +1 or -1, like the permutations; all +1 by default.
    Raises:
      ValueError: for rows that are no permutations, signs that are no signs, or a group of more than 10,000 elements.
    """

    def __init__(self, shape: Iterable[int], permutations: Any, signs: Any = None):
        self.shape = tuple(int(size) for size in shape)
        n = int(np.prod(self.shape))
        generators = np.atleast_2d(np.asarray(permutations))
        signs = np.ones_like(generators) if signs is None else np.broadcast_to(np.asarray(signs), generators.shape)
        if generators.shape[-1] != n or (np.sort(generators, axis=-1) != np.arange(n)).any():
            raise ValueError(
                f"Group: permutations must be rows that hold each of 0 .. {n - 1} once, for points of shape {self.shape}; "
                f"got the shape {generators.shape}."
            )
        if not np.isin(signs, (-1, 1)).all():
            raise ValueError(f"Group: signs must be +1 or -1, got {sorted(set(np.ravel(signs).tolist()))}.")
        self.permutations, self.signs = _closure(generators.astype(np.int32), signs.astype(np.int8))
        self._bytes = self.permutations.tobytes() + self.signs.tobytes()

    @property
    def order(self) -> int:
        """How many elements it has."""
        return len(self.permutations)

    def __mul__(self, other: Group) -> Group:
        if self.shape != other.shape:
            raise ValueError(f"Group: both must act on points of one shape, got {self.shape} and {other.shape}.")

        def pair(name):
            return np.concatenate([getattr(self, name), getattr(other, name)])

        return Group(self.shape, pair("permutations"), pair("signs"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and self.shape == other.shape and self._bytes == other._bytes

    def __hash__(self) -> int:
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.shape, self._bytes))

    def __repr__(self) -> str:
        return f"Group(shape={self.shape}, order={self.order})"


@constraint("group")
class Symmetric(Constraint):
    r"""Points that every element of a finite group leaves as they are:  {x : g x = x  for all g}.

    The projection is the mean over the group,  sum_g g y / |G|  (Reynolds' operator); it is linear, and its own derivative.
    A point has the shape `group.shape`.

    Args:
      group: of signed permutations; see `reflections`, `cyclic_shifts`, `quarter_turns`, and `Group` for any other.
    Reference:
      Serre (1977), "Linear representations of finite groups", section 2.6.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> even = js.constraints.Symmetric(js.constraints.reflections((4,)))
      >>> x, _ = even.project(jnp.array([1.0, 2.0, 4.0, 3.0]))
      >>> print(x)
      [2. 3. 3. 2.]
    """

    group: Group

    def __post_init__(self):
        if not isinstance(self.group, Group):
            raise TypeError(f"Symmetric: give a Group, as reflections((8, 8)) makes one, got {type(self.group).__name__}.")

    @property
    def event_ndim(self) -> int:  # ty: ignore[incompatible-property-override]
        return len(self.group.shape)

    def residual(self, x: Any) -> Any:
        """The difference to the mean over the group;  [..., entries]."""
        difference = x - self._mean(x)
        return difference.reshape(*difference.shape[: difference.ndim - self.event_ndim], -1)

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        return closed_form(self, self._mean(y))

    def _mean(self, x):
        if x.shape[x.ndim - self.event_ndim :] != self.group.shape:
            raise ValueError(f"Symmetric: the group acts on points of shape {self.group.shape}, got {x.shape}.")
        flat = x.reshape(*x.shape[: x.ndim - self.event_ndim], -1)
        signs = jnp.asarray(self.group.signs, x.dtype)
        return jnp.mean(signs * flat[..., self.group.permutations], axis=-2).reshape(x.shape)


def reflections(shape: Iterable[int], axes: Iterable[int] | None = None, *, odd: bool = False) -> Group:
    """Mirror images of a grid in the middle of each of these axes (all by default); `odd`: that also change the sign."""
    shape = tuple(shape)
    cells = _cells(shape)
    axes = range(len(shape)) if axes is None else axes
    flipped = [np.flip(cells, axis).ravel() for axis in axes]
    return Group(shape, flipped, -1 if odd else 1)


def cyclic_shifts(shape: Iterable[int], axis: int = -1, step: int = 1) -> Group:
    """Shifts of a periodic grid by multiples of `step` cells: what they leave has the period `step`."""
    return Group(shape, np.roll(_cells(shape), step, axis).ravel())


def quarter_turns(shape: Iterable[int], axes: tuple[int, int] = (-2, -1)) -> Group:
    """Rotations of a square grid by 90 degrees about its middle."""
    shape = tuple(shape)
    if len(shape) < 2 or shape[axes[0]] != shape[axes[1]]:
        raise ValueError(f"quarter_turns: the two axes must be equally long, got the shape {shape} and axes {axes}.")
    return Group(shape, np.rot90(_cells(shape), axes=axes).ravel())


def _cells(shape: Iterable[int]) -> np.ndarray:
    shape = tuple(shape)
    return np.arange(int(np.prod(shape))).reshape(shape)


def _closure(generators: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All products, in an order that depends only on the group."""
    n = generators.shape[-1]
    identity = (np.arange(n, dtype=np.int32), np.ones(n, np.int8))
    found = {_key(*identity): identity}
    new = [identity]
    while new:
        products = [(p[q], s * t[p]) for p, s in new for q, t in zip(generators, signs, strict=True)]
        new = []
        for product in products:
            if _key(*product) not in found:
                found[_key(*product)] = product
                new.append(product)
        if len(found) > LARGEST:
            raise ValueError(f"Group: the generators make more than {LARGEST} elements; give generators of a smaller group.")
    elements = [found[key] for key in sorted(found)]
    return np.stack([p for p, _ in elements]), np.stack([s for _, s in elements])


def _key(permutation, signs):
    return permutation.tobytes() + signs.tobytes()
