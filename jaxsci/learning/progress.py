"""What a fit tells while it goes on."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, TextIO


class Event(NamedTuple):
    """Where a fit stands. ``str(event)`` is the line of text that a plain `progress` function is called with."""

    optimiser: str
    step: int
    steps: int  # that the optimiser may take
    residual: float  # the root of the loss at the last step's points
    parts: Mapping[str, float]  # root mean squares of "equation" (or "equation 1", ...) and of the data
    seconds: float  # since this optimiser began
    left: float  # seconds of the budget; infinite without one
    where: str = ""  # the window or the stage

    @property
    def rate(self) -> float:
        """Steps per second; NaN before the first."""
        return self.step / self.seconds if self.seconds > 0 and self.step else math.nan

    @property
    def eta(self) -> float:
        """Seconds until the optimiser's last step or the end of the budget; NaN where nothing is known."""
        by_steps = (self.steps - self.step) / self.rate if self.rate > 0 else math.inf
        eta = min(by_steps, self.left)
        return eta if math.isfinite(eta) else math.nan

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value:.1e}" for name, value in self.parts.items()) if len(self.parts) > 1 else ""
        head = f"{self.where}: " if self.where else ""
        return f"{head}{self.optimiser} step {self.step}: residual {self.residual:.1e}" + (f" ({parts})" if parts else "")


def tell(progress: Any, event: Event) -> None:
    """To a logger the event, to a function its text."""
    record = getattr(progress, "record", None)
    progress(str(event)) if record is None else record(event)


class ProgressBar:
    """A bar on one line of the terminal: the residual and its parts, steps per second and the time that is left.

    Args:
      stream: where it is written; standard error by default.
      width: of the bar, in characters.
    Example:
      >>> import jaxsci as js, sys
      >>> bar = js.learning.ProgressBar(sys.stdout, width=10)  # js.solve(..., progress=bar) draws it
      >>> bar.record(js.learning.Event("FirstOrder", 1000, 1000, 0.5, {"equation": 0.5}, 2.0, 58.0))
      [##########] 100% FirstOrder step 1000: residual 5.0e-01, 500 steps/s, 0:00 left
    """

    def __init__(self, stream: TextIO | None = None, width: int = 24):
        self.stream, self.width = stream, width
        self._shown, self._leg = 0, ("", "")

    def record(self, event: Event) -> None:
        """Draw the bar anew; the last step, or another optimiser or window, ends its line."""
        if self._shown and (event.optimiser, event.where) != self._leg:
            self._write("\n")
            self._shown = 0
        self._leg = (event.optimiser, event.where)
        done = min(event.step / event.steps, 1.0)
        filled = int(done * self.width)
        rate = f"{event.rate:.3g} steps/s" if math.isfinite(event.rate) else "-"
        eta = f"{_clock(event.eta)} left" if math.isfinite(event.eta) else ""
        bar = "#" * filled + "." * (self.width - filled)
        line = f"[{bar}] {done:4.0%} {event}, {rate}" + (f", {eta}" if eta else "")
        self._write(("\r" if self._shown else "") + line.ljust(self._shown) + ("\n" if event.step >= event.steps else ""))
        self._shown = 0 if event.step >= event.steps else len(line)

    def __call__(self, text: str) -> None:
        """A line of text from what is no fit of a network."""
        self._write(("\n" if self._shown else "") + text + "\n")
        self._shown = 0

    def _write(self, text: str) -> None:
        stream = self.stream or sys.stderr
        stream.write(text)
        stream.flush()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
