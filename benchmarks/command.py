"""What the benchmark programs share: the row, and the command line that prints rows as a table or as JSON lines."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

Group = Callable[[argparse.Namespace], Iterator[dict[str, Any]]]


def row(name: str, *, ours: Any, target: Any, meets: bool, theirs: Any = None, **more: Any) -> dict[str, Any]:
    """One line. `ours` and `theirs` are errors or costs, less is better; the ratio is theirs / ours."""
    ratio = theirs / ours if theirs and isinstance(ours, float | int) and ours else None
    basics = {"name": name, "ours": ours, "theirs": theirs, "ratio": ratio, "target": target, "meets": bool(meets)}
    return basics | {"precision": "float64", "seed": 0} | more


class Timed(NamedTuple):
    """What a call returned, and what it took."""

    result: Any
    seconds: float  # of wall time
    cpu_seconds: float


def timed(make: Callable[[], Any]) -> Timed:
    """One call from cleared compilation caches, so that its seconds include compilation."""
    import jax

    jax.clear_caches()
    wall, cpu = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(make())
    return Timed(result, time.perf_counter() - wall, time.process_time() - cpu)


def least_cpu_seconds(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least processor time of each call, the calls taking turns; a first round, which compiles, does not count."""
    import jax

    for call in calls.values():
        jax.block_until_ready(call())
    least = dict.fromkeys(calls, math.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            jax.block_until_ready(call())
            least[name] = min(least[name], time.process_time() - start)
    return least


def medians(
    name: str,
    seeds: Sequence[int],
    errors: Sequence[float],
    runs: Sequence[Timed],
    target: float,
    within: float,
    **more: Any,
) -> dict[str, Any]:
    """A row of runs with several seeds: the median error within the median seconds."""
    error, seconds = statistics.median(errors), statistics.median(run.seconds for run in runs)
    basics = {"seed": list(seeds), "errors": list(errors), "within_seconds": within, "seconds": seconds}
    basics["cpu_seconds"] = statistics.median(run.cpu_seconds for run in runs)
    return row(name, ours=error, target=target, meets=error <= target and seconds <= within, **basics, **more)


def versions(*packages: str) -> dict[str, str | None]:
    """Of the packages that a program depends on, and of Python; None where one is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def groups_of(area: str, names: Sequence[str]) -> dict[str, Group]:
    """As ``<name>.<rows>``, the functions ``rows_<rows>`` of the files ``<area>_<name>.py`` beside this one, in their order."""
    groups = {}
    for name in names:
        module = importlib.import_module(f"{area}_{name}")
        for found, rows in vars(module).items():
            if found.startswith("rows_") and inspect.isfunction(rows) and rows.__module__ == module.__name__:
                groups[f"{name}.{found.removeprefix('rows_')}"] = rows
    return groups


def run(
    doc: str | None, groups: Mapping[str, Group], packages: tuple[str, ...], seeds: int = 1, pythons: tuple[str, ...] = ()
) -> None:
    """Parse the command line, and print the rows of the groups that it asks for."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--only", default="", metavar="WORD", help="groups or rows whose name contains it")
    parser.add_argument("--smoke", action="store_true", help="small rows, to see that it runs")
    parser.add_argument("--seeds", type=int, default=seeds, metavar="N", help=f"runs of a row that draws numbers ({seeds})")
    parser.add_argument("--full", action="store_true", help="rows at their published size, where one is too large for a CPU")
    for name in pythons:
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"of an environment that has {name}")
    options = parser.parse_args()
    about = {"cores": os.cpu_count(), "versions": versions(*packages)}
    asked = options.only.split(":")[0]  # names of rows begin with that of their group and a colon
    for name, rows in ({name: make for name, make in groups.items() if asked in name} or groups).items():
        for result in rows(options):
            if options.only in name or options.only in result["name"]:
                print(json.dumps(_short(result | about)) if options.json else _line(result), flush=True)


def _short(value: Any) -> Any:
    """Numbers to four digits, as JSON has them: null for what is not finite."""
    if isinstance(value, Mapping):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_short(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def _line(result: Mapping[str, Any]) -> str:
    said = {k: f"{v:.3g}" if isinstance(v, float | int) else str(v) for k, v in result.items()}
    seconds = f" in {said['seconds']} s" if result.get("seconds") is not None else ""
    theirs = f"; theirs {said['theirs']}, ratio {said['ratio']}" if result.get("theirs") else ""
    verdict = "meets" if result["meets"] else "MISSES"
    return f"{said['name']:72s} {said['ours']}{seconds}{theirs}; target {said['target']}: {verdict}"
