"""Functions receive what they name: the key of a random draw, the number of the step, and nothing else beyond their arguments."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable
from typing import Any


def names(function: Callable[..., Any]) -> frozenset[str]:
    """Which of "key" and "t" a function has as a parameter."""
    try:
        return _names_once(function)
    except TypeError:  # a callable that holds arrays has no hash
        return _names(function)


def _names(function: Callable[..., Any]) -> frozenset[str]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return frozenset()
    return frozenset({"key", "t"} & set(parameters))


_names_once = functools.lru_cache(maxsize=1024)(_names)


def check_arguments(what: str, function: Callable[..., Any], wanted: tuple[str, ...]) -> None:
    """The function can be called with so many arguments, and with the keywords that it names.

    Raises:
      TypeError: it cannot; a sentence says what it is given.
    """
    if not _accepts_once(function, len(wanted)):
        raise TypeError(
            f"{what} is called with ({', '.join(wanted)}), and with key= or t= where it names them; got "
            f"{getattr(function, '__name__', type(function).__name__)}{inspect.signature(function)}."
        )


def _accepts_once(function: Callable[..., Any], count: int) -> bool:
    try:
        return _accepts_cached(function, count)
    except TypeError:  # no hash
        return _accepts(function, count)


def _accepts(function: Callable[..., Any], count: int) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return True
    try:
        signature.bind(*range(count), **dict.fromkeys(names(function)))
    except TypeError:
        return False
    return True


_accepts_cached = functools.lru_cache(maxsize=1024)(_accepts)


def is_random(function: Callable[..., Any] | None) -> bool:
    """It draws random numbers: it has a parameter `key`."""
    return function is not None and "key" in names(function)


def call(function: Callable[..., Any], *args: Any, key: Any = None, t: Any = None) -> Any:
    """``function(*args)``, with ``key=`` and ``t=`` where it names them."""
    given = {"key": key, "t": t}
    return function(*args, **{name: given[name] for name in names(function)})


class _Around:
    """A function around another, which names what the other names."""

    def __init__(self, function: Callable[..., Any], change: Callable[[Any], Any]):
        self.function, self.change = function, change
        named = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in sorted(names(function))]
        self.__signature__ = inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL), *named])


class Followed(_Around):
    """``change(function(...))``."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self.change(self.function(*args, **named))


class OfPart(_Around):
    """``function(part(parameters), ...)``: a function of a task's parameters that now has a part of greater ones."""

    def __call__(self, parameters: Any, *args: Any, **named: Any) -> Any:
        return self.function(self.change(parameters), *args, **named)


def of_task(function: Any) -> Any:
    """A function of a task for parameters whose attribute ``task`` are the task's own; None stays None."""
    return None if function is None else OfPart(function, operator.attrgetter("task"))
