"""Pictures of a study: error against cost, errors in time, the rollout. As PNG, and as SVG that takes the page's colours."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np

from jaxsci.compare.pictures import _COLOURS, _GRID, _INK, _plain, _png, _style, matplotlib
from jaxsci.compare.study_frames import DECADES, limits, log_error, plane, shown_saves
from jaxsci.compare.study_labels import label_points, spread_out
from jaxsci.compare.study_report import Gallery, Measurement, StudyReport
from jaxsci.compare.study_tables import batches, percent, short

_SOFT = "#868e96"  # baselines
# What the page calls the colours, so that light and dark have their own.
THEME = {_INK: "currentColor", _GRID: "var(--line)", _SOFT: "var(--soft)", "#ffffff": "var(--card)"} | {
    colour: f"var(--c{i})" for i, colour in enumerate(_COLOURS)
}


def draw_study(report: StudyReport) -> dict[str, bytes]:
    """PNG pictures by name: "pareto", of trajectories "growth" and, where there is space to show, "rollout"."""
    matplotlib()
    from matplotlib.figure import Figure

    sizes = batches(report)
    pareto = Figure(figsize=(5.6 * max(len(sizes), 1), 4.6), dpi=72)
    cells = np.atleast_1d(pareto.subplots(1, max(len(sizes), 1)))
    drawn = [(axes, *_pareto(axes, report, batch)) for axes, batch in zip(cells, sizes, strict=False)]
    pareto.tight_layout(w_pad=3)
    for axes, labels, points in drawn:  # when the axes have their size
        label_points(axes, labels, points)
    made = {"pareto": _png(pareto)}
    if len(report.ts):
        growth = Figure(figsize=(7.4, 4.4), dpi=72)
        _growth(growth.add_axes((0.11, 0.13, 0.62, 0.82)), report)
        made["growth"] = _png(growth)
    if (rollout := _rollout(report.gallery)) is not None:
        made["rollout"] = _png(rollout)
    return made


def panels(report: StudyReport) -> dict[str, str]:
    """The same drawings as inline SVG in the colours of the page: "pareto 1", "pareto 64", ..., "growth"."""
    matplotlib()
    from matplotlib.figure import Figure

    made = {}
    for batch in batches(report):
        figure = Figure(figsize=(4.6, 4.3), dpi=72)
        axes = figure.add_axes((0.145, 0.13, 0.835, 0.80))
        label_points(axes, *_pareto(axes, report, batch))
        made[f"pareto {batch}"] = _svg(figure, f"p{batch}")
    if len(report.ts):
        figure = Figure(figsize=(7.4, 4.2), dpi=72)
        _growth(figure.add_axes((0.1, 0.13, 0.635, 0.84)), report)
        made["growth"] = _svg(figure, "g")
    return made


def colour_of(report: StudyReport) -> dict[str, str]:
    """The colour of each candidate by name: the ladder ink, surrogates one each, baselines grey."""
    surrogates = list(dict.fromkeys(m.name for m in report.measurements if m.family == "surrogate"))
    fixed = {"solver": _INK, "baseline": _SOFT}
    return {m.name: fixed.get(m.family) or _COLOURS[surrogates.index(m.name) % len(_COLOURS)] for m in report.measurements}


def themed(svg: str, name: str) -> str:
    """A drawing as part of a page: the page's colours, no comments, and no name of its own that another drawing has too."""
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for colour, called in THEME.items():
        text = text.replace(colour, called)
    return re.sub(r"\n\s*", "\n", text).strip()


def _svg(figure: Any, name: str) -> str:
    library = matplotlib()
    out = io.StringIO()
    with library.rc_context({"svg.hashsalt": "study"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    return themed(text[text.index("<svg") :], name)


# --- error against cost --------------------------------------------------------------------------------------------------------


def _pareto(axes: Any, report: StudyReport, batch: int) -> tuple[list[tuple[float, float, str, str]], list[Any]]:
    """Seconds per trajectory to the right, error upwards; what blew up stands on the upper edge.

    Returns the labels still to be set, and the points that they must not cover.
    """
    colours = colour_of(report)
    timed = [m for m in report.measurements if m.seconds.get(batch, 0.0) > 0]
    finite = [m.error for m in timed if math.isfinite(m.error) and m.error > 0]
    floor = report.truth_error if report.truth_error > 0 else 0.0
    far = bool(floor and finite and floor < min(finite) / 30)  # too far below to be worth the room
    known = finite + ([floor] if floor and not far else [])
    low, high = (min(known), max(known)) if known else (1e-2, 1.0)
    room = max((high / low) ** 0.08, 1.6)
    axes.set_yscale("log")
    axes.set_xscale("log")
    axes.set_ylim(low / (4 * room if far else room), high * room**2)
    if timed:
        times = [m.seconds[batch] for m in timed]
        side = max((max(times) / min(times)) ** 0.1, 1.5)
        axes.set_xlim(min(times) / side, max(times) * side**4)  # on the right there are names
    gone = high * room**1.4

    def place(m: Measurement) -> tuple[float, float]:
        exact = axes.get_ylim()[0] * room**0.5  # no error at all has no place on such an axis but its lower edge
        return m.seconds[batch], gone if not math.isfinite(m.error) else max(m.error, low) if m.error > 0 else exact

    labels: list[tuple[float, float, str, str]] = []
    if line := front(report, batch):
        axes.plot(*zip(*map(place, line), strict=True), color=_INK, lw=1.4, zorder=2)
    for name in dict.fromkeys(m.name for m in timed if m.family == "solver"):
        rungs = sorted((m for m in timed if m.name == name), key=lambda m: m.seconds[batch])
        labels += [(*place(m), rung_name(m, rungs) + (", its own truth" if m.error == 0 else ""), _INK) for m in rungs]
    for m in timed:
        x, y = place(m)
        marker = {"solver": "s", "surrogate": "o", "baseline": "x"}[m.family]
        if not math.isfinite(m.error):
            marker = "^"
        filled = {"mfc": "#ffffff"} if m.family == "solver" else {}
        size = {"solver": 5, "surrogate": 7, "baseline": 6}[m.family]
        axes.plot([x], [y], marker, color=colours[m.name], ms=size, mew=1.5, zorder=3, clip_on=False, **filled)
    for name in dict.fromkeys(m.name for m in timed if m.family != "solver"):
        places = [place(m) for m in timed if m.name == name]
        x, y = places[len(places) // 2]
        blown = "" if all(math.isfinite(m.error) for m in timed if m.name == name) else ", blew up"
        labels.append((x, y, short(name, 24) + blown, colours[name]))
    written: list[tuple[float, float]] = []  # where the floor's name stands
    if floor:
        if not far:
            axes.axhline(floor, color=_INK, lw=1, ls=":", zorder=1)
        text = f"error of the truth itself{f': {percent(floor)}, further down' if far else ''}"
        at = axes.get_ylim()[0] if far else floor
        side = "left" if any(m.error == 0 for m in timed) else "right"  # a solver without error stands at the lower edge
        axes.annotate(text, ({"left": 0.015, "right": 0.985}[side], at), xycoords=("axes fraction", "data"), xytext=(0, 3),
                      textcoords="offset points", fontsize=8, color=_INK, ha=side)  # fmt: skip
        left, right = axes.get_xlim()
        shares = {"left": np.linspace(0.02, 0.6, 24), "right": np.linspace(0.4, 0.98, 24)}[side]
        written += [(left * (right / left) ** f, at * (axes.get_ylim()[1] / at) ** 0.02) for f in shares]
    axes.grid(True, which="major", color=_GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_title(f"batch {batch}", fontsize=11, color=_INK, loc="left")
    axes.set_xlabel(f"wall time per {report.wording.run}", color=_INK, fontsize=10)
    axes.set_ylabel("error (nRMSE)" if len(report.ts) else "error (relative)", color=_INK, fontsize=10)
    _themed(axes)
    _times(axes)
    along = [point for line in axes.lines if len(line.get_xdata()) > 2 for point in _along(line)]
    ordered = sorted(labels, key=lambda label: label[3] in (_INK, _SOFT))  # the surrogates have the first choice
    return [(x, y, _plain(text), colour) for x, y, text, colour in ordered], [place(m) for m in timed] + along + written


def front(report: StudyReport, batch: int) -> list[Measurement]:
    """The rungs that no cheaper one is as accurate as, the line that verdicts go by. To one without an error there is no line."""
    timed = [m for m in report.measurements if m.family == "solver" and m.seconds.get(batch, 0.0) > 0 and m.error > 0]
    found: list[Measurement] = []
    for m in sorted(timed, key=lambda m: m.seconds[batch]):
        if m.error < min((f.error for f in found), default=math.inf):
            found.append(m)
    return found


def _times(axes: Any) -> None:
    """Ticks of a logarithmic axis of times: 1, 2, 5 of each decade in their unit, or decades alone where those are many."""
    from matplotlib.ticker import FixedLocator, NullFormatter

    low, high = axes.get_xlim()
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        at = [float(f"{step}e{k}") for k in decades for step in steps if low <= step * 10.0**k <= high]
        if len(at) <= 7:
            break
    axes.xaxis.set_major_locator(FixedLocator(at))
    axes.set_xticks(at, [_plain(_time(x)) for x in at])
    axes.xaxis.set_minor_formatter(NullFormatter())


def _time(x: float) -> str:
    """A round number of seconds: 20 us, 0.5 s."""
    unit, size = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)) if x >= 0.99 * s), ("ns", 1e-9))
    return f"{x / size:,.3g} {unit}".replace("us", "\u00b5s")


def _along(line: Any) -> list[tuple[float, float]]:
    """Points of a line through logarithmic axes, close enough that no label fits between them."""
    x, y = np.log(line.get_xdata()), np.log(line.get_ydata())
    at = np.linspace(0, len(x) - 1, 20 * len(x))
    return list(zip(*(np.exp(np.interp(at, np.arange(len(x)), v)) for v in (x, y)), strict=True))


def rung_name(m: Measurement, rungs: list[Measurement]) -> str:
    """A rung in short: its resolution, where no other rung has it."""
    if m.resolution is None or [r.resolution for r in rungs].count(m.resolution) > 1:
        return m.detail or m.name
    return f"n = {m.resolution}"


def _themed(axes: Any) -> None:
    _style(axes)
    axes.tick_params(which="both", colors=_INK, labelsize=9)
    for spine in axes.spines.values():
        spine.set_color(_INK)
        spine.set_linewidth(0.8)


# --- errors in time ------------------------------------------------------------------------------------------------------------


def _growth(axes: Any, report: StudyReport) -> None:
    """The median error of each candidate at each save; the name of a line stands at its end."""
    colours = colour_of(report)
    ts = np.asarray(report.ts, float)
    axes.set_yscale("log")
    ends: list[tuple[float, str, str]] = []
    rungs = [m for m in report.measurements if m.family == "solver"]
    seen: set[str] = set()
    every: list[np.ndarray] = []
    for m in report.measurements:
        values = np.asarray(m.growth, float)
        values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        if not np.isfinite(values).any() or len(values) != len(ts):
            continue
        every.append(values)
        style: dict[str, Any] = {"surrogate": {"lw": 1.8}, "baseline": {"lw": 1.2, "ls": "--"}}.get(m.family, {})
        if m.family == "solver":
            style = {"lw": 1.2, "alpha": 0.35 + 0.65 * (1 + rungs.index(m)) / len(rungs)}
        axes.plot(ts, values, color=colours[m.name], **style)
        name = rung_name(m, rungs) if m.family == "solver" else m.name
        if name not in seen:
            seen.add(name)
            ends.append((float(values[np.isfinite(values)][-1]), short(name, 26), colours[m.name]))
    if every:
        known = np.concatenate([v[np.isfinite(v)] for v in every])
        low, high = float(known.min()), float(min(known.max(), 20.0))
        axes.set_ylim(low / 1.5, max(high, low) * 1.5)
    if len(ts) > 1:
        axes.set_xlim(ts[0], ts[-1])
    axes.grid(True, which="major", color=_GRID, lw=0.6)
    axes.set_xlabel("t", color=_INK, fontsize=10)
    axes.set_ylabel("median nRMSE", color=_INK, fontsize=10)
    _themed(axes)
    spread_out(axes, [(y, _plain(text), colour) for y, text, colour in ends])


# --- the rollout ---------------------------------------------------------------------------------------------------------------


def _rollout(gallery: Gallery) -> Any:
    """Truth and candidates at four times; in one dimension, time to the right, with the error beside each."""
    from matplotlib.figure import Figure

    truth = plane(gallery.truth)
    if truth.ndim not in (2, 3) or not gallery.fields:
        return None
    low, high, size = limits(gallery)
    colours = {"vmin": low, "vmax": high, "cmap": "RdBu_r" if low < 0 < high else "viridis", "interpolation": "bilinear"}
    named = {"truth": truth} | {_plain(short(name, 22)): plane(values) for name, values in gallery.fields.items()}
    flat = truth.ndim == 2
    shown = shown_saves(gallery)
    times = [0, 1] if flat else list(dict.fromkeys(shown[np.linspace(0, len(shown) - 1, 4).round().astype(int)]))
    figure = Figure(figsize=(2 * len(times) + 1.5 if not flat else 9, (1.9 if not flat else 1.5) * len(named)),
                    layout="constrained")  # fmt: skip
    cells = figure.subplots(len(named), len(times), squeeze=False)
    extent = [float(gallery.ts[0]), float(gallery.ts[-1]), *_ends(gallery)] if flat else None
    field: Any = None
    error: Any = None
    for row, (name, values) in zip(cells, named.items(), strict=True):
        row[0].set_ylabel(name, color=_INK, fontsize=9)
        for axes, k in zip(row, times, strict=True):
            if flat and k == 1:
                logs = log_error(values, truth, size)
                error = axes.imshow(
                    logs.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-DECADES, vmax=0
                )
                axes.set_visible(values is not truth)
            else:
                image = values if flat else values[k]
                field = axes.imshow(image.T, origin="lower", aspect="auto" if flat else "equal", extent=extent, **colours)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_facecolor("#808080")
    for axes, k in zip(cells[0], times, strict=True):
        title = ("field", "error, log10")[k] if flat else f"t = {float(gallery.ts[k]):.3g}"
        axes.set_title(title, fontsize=10, color=_INK)
    figure.colorbar(field, ax=cells[:, 0] if flat else cells, shrink=0.6, label=_plain(gallery.title))
    if flat:
        figure.colorbar(error, ax=cells[:, 1], shrink=0.6)
    return figure


def _ends(gallery: Gallery) -> tuple[float, float]:
    axis = next(iter(gallery.axes.values()))
    return float(axis[0]), float(axis[-1])
