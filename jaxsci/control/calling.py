"""Functions receive what they name: the key of a random draw, the number of the step, and nothing else beyond their arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax


@functools.lru_cache(maxsize=1024)
def names(function: Callable[..., Any]) -> frozenset[str]:
    """Which of "key" and "t" a function has as a parameter."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return frozenset()
    return frozenset({"key", "t"} & set(parameters))


def is_random(function: Callable[..., Any] | None) -> bool:
    """It draws random numbers: it has a parameter `key`."""
    return function is not None and "key" in names(function)


def call(function: Callable[..., Any], *args: Any, key: Any = None, t: Any = None) -> Any:
    """``function(*args)``, with ``key=`` and ``t=`` where it names them."""
    given = {"key": key, "t": t}
    return function(*args, **{name: given[name] for name in names(function)})


def keys_for(key: Any, *functions: Callable[..., Any] | None) -> list[Any]:
    """A key for each random function, None for the others: nothing is split where nothing is random."""
    random = [is_random(function) for function in functions]
    count = sum(random)
    drawn = iter([key] if count == 1 else jax.random.split(key, count) if count else [])
    return [next(drawn) if wants else None for wants in random]
