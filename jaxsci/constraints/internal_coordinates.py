"""Chains by lengths, angles and torsions: positions that have given distances and angles by construction, and back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def from_internal(lengths: Any, angles: Any, torsions: Any) -> Any:
    r"""The chain with these bond lengths, bond angles and torsions (the NeRF construction);  -> [..., atoms, 3].

    The first atom is at the origin, the first bond along x, the second in the half-plane y >= 0.  A frame is carried along by
    rotations, F_{k+1} = F_k R_x(torsion) R_z(pi - angle), and multiplied up in a logarithmic number of steps; no cross product
    of bonds is normalised, so that straight angles are as good as others.

    Args:
      lengths: ``[..., atoms - 1]``.
      angles: ``[..., atoms - 2]``, at the inner atoms, pi where straight.
      torsions: ``[..., atoms - 3]``, 0 for cis, positive as IUPAC has it (clockwise, seen along the middle bond).
    Raises:
      ValueError: where the last axes do not fit.
    Reference: Parsons, Holmes, Rojas, Tsai & Strauss (2005), J. Comput. Chem. 26, 1063.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x = js.constraints.from_internal(jnp.ones(3), jnp.full(2, jnp.pi / 2), jnp.zeros(1))  # three sides of a square
      >>> print(jnp.abs(x - jnp.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])).max() < 1e-6)
      True
    """
    lengths, angles, torsions = (jnp.asarray(v) for v in (lengths, angles, torsions))
    bonds = lengths.shape[-1] if lengths.ndim else 0
    if bonds < 1 or angles.shape[-1:] != (max(bonds - 1, 0),) or torsions.shape[-1:] != (max(bonds - 2, 0),):
        raise ValueError(
            "from_internal: a chain of n atoms has n - 1 lengths, n - 2 angles and n - 3 torsions, "
            f"got {lengths.shape}, {angles.shape} and {torsions.shape}."
        )
    dtype = jnp.result_type(lengths, angles, torsions, float)
    batch = np.broadcast_shapes(lengths.shape[:-1], angles.shape[:-1], torsions.shape[:-1])
    lengths = jnp.broadcast_to(lengths, (*batch, bonds)).astype(dtype)
    first = jnp.zeros((*batch, min(bonds - 1, 1)), dtype)
    torsions = jnp.concatenate([first, jnp.broadcast_to(torsions, (*batch, torsions.shape[-1])).astype(dtype)], -1)
    turns = _turn(jnp.broadcast_to(angles, (*batch, bonds - 1)).astype(dtype), torsions)
    unturned = jnp.broadcast_to(jnp.eye(3, dtype=dtype), (*batch, 1, 3, 3))

    def product(a, b):
        return jnp.einsum("...ij,...jk->...ik", a, b, precision="highest")

    frames = jax.lax.associative_scan(product, jnp.concatenate([unturned, turns], -3), axis=len(batch))
    ends = jnp.cumsum(lengths[..., None] * frames[..., 0], axis=-2)
    return jnp.concatenate([jnp.zeros((*batch, 1, 3), dtype), ends], axis=-2)


def to_internal(x: Any) -> tuple[Any, Any, Any]:
    r"""Bond lengths, bond angles and torsions of a chain; angles and torsions by arctangents, accurate at 0 and pi.

    A torsion about bonds one of whose angles is straight is undetermined: it is 0 there, with the derivative 0.

    Args:
      x: ``[..., atoms, 3]`` with two or more atoms.
    Returns:
      (lengths [..., atoms - 1], angles [..., atoms - 2], torsions [..., atoms - 3])
    Raises:
      ValueError: for another shape.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> lengths, angles, torsions = js.constraints.to_internal(jnp.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1]]))
      >>> print(lengths.round(3), jnp.rad2deg(angles).round(1), jnp.rad2deg(torsions).round(1))
      [1.    1.    1.414] [90. 90.] [45.]
    """
    x = jnp.asarray(x)
    if x.ndim < 2 or x.shape[-1] != 3 or x.shape[-2] < 2:
        raise ValueError(
            f"to_internal: positions must have the shape [..., atoms, 3] with two or more atoms, got {x.shape}."
        )
    bonds = x[..., 1:, :] - x[..., :-1, :]
    before, after = bonds[..., :-1, :], bonds[..., 1:, :]
    normals = jnp.cross(before, after)
    lengths = norm(bonds)
    angles = _arctan2(norm(normals), -jnp.sum(before * after, -1))
    one, two = normals[..., :-1, :], normals[..., 1:, :]
    along = jnp.sum(before[..., :-1, :] * two, -1) * lengths[..., 1:-1]
    return lengths, angles, _arctan2(along, jnp.sum(one * two, -1))


def _turn(angle: Any, torsion: Any) -> Any:
    """R_x(torsion) R_z(pi - angle);  [..., 3, 3]."""
    c, s, p, q = -jnp.cos(angle), jnp.sin(angle), jnp.cos(torsion), jnp.sin(torsion)
    rows = [[c, -s, jnp.zeros_like(c)], [s * p, c * p, -q], [s * q, c * q, p]]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def norm(v: Any) -> Any:
    """|v|, with the derivative 0 where v = 0."""
    square = jnp.sum(v**2, -1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _arctan2(y: Any, x: Any) -> Any:
    """arctan2, 0 with the derivative 0 at the origin."""
    nowhere = (x == 0) & (y == 0)
    return jnp.where(nowhere, 0, jnp.arctan2(y, jnp.where(nowhere, 1, x)))
