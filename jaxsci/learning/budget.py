"""How much a fit may cost, and how good is good enough."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from jaxsci._checks import is_whole

_SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "m": 60.0, "min": 60.0, "minutes": 60.0, "h": 3600.0, "hours": 3600.0}
_NUMBER = r"(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)"


@dataclasses.dataclass(frozen=True)
class Budget:
    """What ends a fit before its optimisers do: whichever comes first.

    Args:
      seconds: of wall time, compilation included.
      steps: of all optimisers together.
      residual: the root mean square of the scaled residual, at points that no step has seen, that is good enough.
    Raises:
      ValueError: something is not positive, or a text is not understood.
    Example:
      >>> import jaxsci as js
      >>> js.learning.Budget.of("5min, residual 1e-6")
      Budget(seconds=300.0, steps=None, residual=1e-06)
      >>> js.learning.Budget.of("2000 steps").steps
      2000
    """

    seconds: float = math.inf
    steps: int | None = None
    residual: float = 0.0

    def __post_init__(self):
        if not (
            self.seconds > 0 and self.residual >= 0 and (self.steps is None or (is_whole(self.steps) and self.steps > 0))
        ):
            raise ValueError(
                "Budget: seconds must be positive, steps a positive whole number or None and residual not negative, got "
                f"seconds={self.seconds!r}, steps={self.steps!r}, residual={self.residual!r}."
            )

    @staticmethod
    def of(value: Any, what: str = "budget") -> Budget:
        """From seconds, from a text such as "60s", "5min", "2000 steps", "residual 1e-6" or several, or None for none."""
        if isinstance(value, Budget):
            return value
        if value is None:
            return Budget()
        if isinstance(value, str):
            return Budget(**_read(value, what))
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ValueError(f'{what} must be a positive number of seconds, a text such as "5min", or None, got {value!r}.')
        return Budget(float(value))


def _read(text: str, what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for piece in text.split(","):
        amount = re.fullmatch(rf"\s*{_NUMBER}\s*([a-z]+)\s*", piece)
        target = re.fullmatch(rf"\s*residual\s*<?\s*{_NUMBER}\s*", piece)
        if target:
            name, value = "residual", float(target[1])
        elif amount and amount[2] in _SECONDS:
            name, value = "seconds", float(amount[1]) * _SECONDS[amount[2]]
        elif amount and amount[2] in ("step", "steps") and float(amount[1]).is_integer():
            name, value = "steps", int(float(amount[1]))
        else:
            name, value = "", 0
        if not name or not value or name in found:
            raise ValueError(
                f'{what} must be like "60s", "5min", "1h", "2000 steps", "residual 1e-6" or several of them between commas, '
                f"each above zero and once; got {text!r}."
            )
        found[name] = value
    return found
