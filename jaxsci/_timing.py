"""Wall time with compilation told apart, for any code that uses JAX."""

from __future__ import annotations

import time
from types import TracebackType
from typing import NamedTuple

from jax import monitoring

_COMPILE = "/jax/core/compile/"  # tracing, lowering and compiling report their durations under this prefix


class Cost(NamedTuple):
    """What a solution cost, in seconds of wall time; compile time stands apart from the rest."""

    compile_seconds: float = 0.0  # tracing and compiling
    training_seconds: float = 0.0  # fitting parameters (methods that learn)
    solve_seconds: float = 0.0  # everything else: stepping, factorising

    @property
    def total_seconds(self) -> float:
        return self.compile_seconds + self.training_seconds + self.solve_seconds


class Stopwatch:
    """Measures a block: `wall_seconds`, and within it `compile_seconds` (tracing, lowering, compiling).

    The events of nested `jax.jit` calls overlap; the time counted is that of their union.
    """

    def __enter__(self) -> Stopwatch:
        self._spans: list[tuple[float, float]] = []
        monitoring.register_event_duration_secs_listener(self._listen)
        self._start = time.perf_counter()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.wall_seconds = time.perf_counter() - self._start
        monitoring.unregister_event_duration_listener(self._listen)
        self.compile_seconds = _length_of_union(self._spans)

    @property
    def elapsed(self) -> float:
        """Seconds since the block began, compilation included."""
        return time.perf_counter() - self._start

    @property
    def run_seconds(self) -> float:
        return max(self.wall_seconds - self.compile_seconds, 0.0)

    def cost(self, *, training: bool = False, without: Stopwatch | None = None) -> Cost:
        """The block's cost, its run time counted as training or as solving, less a part that was measured inside it."""
        compiling, running = self.compile_seconds, self.run_seconds
        if without is not None:
            compiling, running = compiling - without.compile_seconds, running - without.run_seconds
        compiling, running = max(compiling, 0.0), max(running, 0.0)
        return Cost(compiling, running, 0.0) if training else Cost(compiling, 0.0, running)

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.startswith(_COMPILE):
            now = time.perf_counter()
            self._spans.append((max(now - duration_secs, self._start), now))


def _length_of_union(spans: list[tuple[float, float]]) -> float:
    total, reach = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, reach), 0.0)
        reach = max(reach, end)
    return total
