"""Wall time with compilation told apart, for any code that uses JAX."""

from __future__ import annotations

import time
from types import TracebackType

from jax import monitoring

_COMPILE = "/jax/core/compile/"  # tracing, lowering and compiling report their durations under this prefix


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

    def _listen(self, event: str, seconds: float, **_) -> None:
        if event.startswith(_COMPILE):
            now = time.perf_counter()
            self._spans.append((max(now - seconds, self._start), now))


def _length_of_union(spans: list[tuple[float, float]]) -> float:
    total, reach = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, reach), 0.0)
        reach = max(reach, end)
    return total
