"""Checks of user input, made on the host before anything is traced: what is wrong, what came, what to do."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def unknown_name(what: str, got: str, known: Iterable[str]) -> str:
    """The sentence for a name that does not exist, with the nearest one that does."""
    known = list(known)
    close = difflib.get_close_matches(got, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{what} {got!r} does not exist; there is {listed(known)}.{hint}"


def check_keys(what: str, given: Mapping[str, Any], known: Iterable[str], *, complete: bool = False) -> None:
    """Every key of `given` is known and, where asked, every known key is given."""
    known = list(known)
    for key in given:
        if key not in known:
            raise KeyErrorWithText(unknown_name(what, str(key), known))
    missing = [key for key in known if key not in given]
    if complete and missing:
        raise KeyErrorWithText(f"{what} {listed(missing)} missing; got {listed(given)}.")


class KeyErrorWithText(KeyError):
    """A KeyError that prints as a sentence (Python prints the repr of a KeyError's argument)."""

    def __str__(self) -> str:
        return str(self.args[0])


def is_traced(tree: Any) -> bool:
    """Some leaf is being traced by jit, grad or vmap and has no value yet."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def results_are_traced(tree: Any) -> bool:
    """What is computed from the tree here has no value yet: a leaf is traced, or all of this runs inside jit."""
    return is_traced((tree, jnp.zeros(())))


def check_finite(problem: Any) -> None:
    """Every coefficient that is known here is a finite number; those that are traced are not looked at.

    Raises:
      ValueError: naming the problem and the coefficient.
    """
    for name, value in problem.coefficients.items():
        for leaf in jax.tree.leaves(value):
            if isinstance(leaf, Tracer) or not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
                continue
            if not getattr(leaf, "is_fully_addressable", True):  # parts of it are on other hosts
                continue
            if not np.isfinite(np.asarray(leaf)).all():
                raise ValueError(f"{problem.name}: the coefficient {name} must be finite, got {leaf}; give another value.")


def is_whole(value: Any) -> bool:
    """A Python or NumPy integer."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_real(name: str, value: Any) -> None:
    """A real floating-point (or Python) number or array; integers are let through as scalars only."""
    if not isinstance(value, int | float | complex) and not hasattr(value, "dtype"):
        raise TypeError(f"{name} must be a real number or array, got {value!r}.")
    dtype = jnp.result_type(value)
    if not jnp.issubdtype(dtype, jnp.floating) and not (jnp.issubdtype(dtype, jnp.integer) and np.ndim(value) == 0):
        raise TypeError(f"{name} must be real floating point, got dtype {dtype}. Convert it: jnp.asarray(value, float).")
