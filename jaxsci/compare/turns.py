"""Programs timed in turns: the least seconds of several rounds, in which each runs once after the other."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from jaxsci._types import Progress

_SHORT = 0.01  # seconds below which a program is timed several times in a row


class Timing(NamedTuple):
    """Seconds of one run, the least of several rounds; `scatter` is by which share that of half the rounds is above it (wall)."""

    wall: float
    cpu: float
    scatter: float = 0.0


@dataclasses.dataclass
class Clocked:
    """One program to be timed."""

    run: Callable[[], Any]
    runs: float  # what one call of `run` does counts so often: the trajectories of a batch
    repeats: int = 1
    wall: float = math.inf
    cpu: float = math.inf
    latest: int = 0  # the round in which the minimum of the wall time fell by more than a hundredth
    halves: list[float] = dataclasses.field(default_factory=lambda: [math.inf, math.inf])  # of even rounds, and of odd ones

    def once(self, round_: int) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(self.repeats):
            out = self.run()
        jax.block_until_ready(out)
        count = self.repeats * self.runs
        wall, cpu = (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count
        if wall < 0.99 * self.wall:
            self.latest = round_
        self.wall, self.cpu = min(self.wall, wall), min(self.cpu, cpu)
        self.halves[round_ % 2] = min(self.halves[round_ % 2], wall)

    @property
    def least(self) -> Timing:
        known = self.wall > 0 and math.isfinite(max(self.halves))
        return Timing(self.wall, self.cpu, max(self.halves) / self.wall - 1 if known else 0.0)


def clocked(run: Callable[[], Any], runs: float) -> Clocked:
    """A program that has been compiled, with so many calls a round that a round takes a hundredth of a second or more."""
    jax.block_until_ready(run())
    trial = Clocked(run, 1.0)
    for _ in range(3):
        trial.once(0)
    return Clocked(run, runs, repeats=max(1, math.ceil(_SHORT / max(trial.wall, 1e-6))))


def take_turns(
    jobs: Sequence[Clocked], *, seconds: float = 60.0, rounds: tuple[int, int] = (5, 40), progress: Progress = None
) -> None:
    """Run the programs in turns. Other work on the machine can only add to a time, so that the least counts.

    Args:
      jobs: each is run once a round, and keeps its least.
      seconds: for all the rounds; the fewest rounds are run whatever they take.
      rounds: the fewest and the most; they end where no minimum has fallen by 1 per cent in the last five.
      progress: called with a line of text at the end.
    """
    began, round_ = time.perf_counter(), 0
    while round_ < rounds[1]:
        round_ += 1
        for job in jobs:
            job.once(round_)
        settled = all(round_ - job.latest >= 5 for job in jobs)
        if round_ >= rounds[0] and (settled or time.perf_counter() - began > seconds):
            break
    if progress is not None:
        progress(f"timing: the least of {round_} rounds in turns")
