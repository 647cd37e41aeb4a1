"""Polytopes and half-spaces that are one polytope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.experimental.sparse import BCOO

from jaxsci.constraints.constraint import Constraint
from jaxsci.constraints.members import joined
from jaxsci.constraints.polytope import Polytope
from jaxsci.constraints.sets import HalfSpace


def merged(members: Sequence[Constraint]) -> Polytope | None:
    """The one polytope that is the intersection of these; None where some are something else, or sparse."""
    polytopes = [_polytope(member) for member in members]
    known = [polytope for polytope in polytopes if polytope is not None]
    if len(known) < len(members) or any(isinstance(p.A, BCOO) or isinstance(p.C, BCOO) for p in known):
        return None
    with_rows = [p for p in known if p.A is not None]
    bounded = [p for p in known if p.C is not None]
    rows = {"A": _joined([p.A for p in with_rows], -2), "b": _joined([p.b for p in with_rows], -1)}
    rows["C"] = _joined([p.C for p in bounded], -2)
    for name, missing in (("C_lower", -jnp.inf), ("C_upper", jnp.inf)):
        bounds = [(p.C, missing if getattr(p, name) is None else getattr(p, name)) for p in bounded]
        rows[name] = _joined([_entries(bound, C.shape[-2]) for C, bound in bounds], -1)
    lower = _tightest(jnp.maximum, [p.lower for p in known])
    return Polytope(**rows, lower=lower, upper=_tightest(jnp.minimum, [p.upper for p in known]))


def _polytope(member: Constraint) -> Polytope | None:
    if isinstance(member, HalfSpace):
        normal, offset = jnp.asarray(member.normal), jnp.asarray(member.offset)
        return Polytope(C=normal[..., None, :], C_upper=offset[..., None])
    return member if isinstance(member, Polytope) else None


def _entries(bound: Any, count: int) -> Any:
    bound = jnp.asarray(bound)
    return jnp.broadcast_to(bound, (*bound.shape[:-1], count))


def _joined(parts: list[Any], axis: int) -> Any:
    return joined(parts, axis) if parts else None


def _tightest(choose: Any, bounds: list[Any]) -> Any:
    given = [bound for bound in bounds if bound is not None]
    if not given:
        return None
    tightest = given[0]
    for bound in given[1:]:
        tightest = choose(tightest, bound)
    return tightest
