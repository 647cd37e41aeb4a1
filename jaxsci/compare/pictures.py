"""Pictures of a report: error against cost, and the fields with their errors. Needs matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxsci.compare.comparison import Report

_INK, _GRID = "#1d2733", "#d6dce3"
_COLOURS = ("#0b7285", "#c2255c", "#e67700", "#5f3dc4", "#2b8a3e", "#1864ab", "#862e9c", "#495057")


def matplotlib() -> Any:
    """The library, or how to get it."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError('Pictures need matplotlib. Install it with: pip install "jaxsci[plot]"') from None
    return matplotlib


def draw(report: Report) -> dict[str, bytes]:
    """PNG pictures by name: "cost" and "fields"."""
    matplotlib()
    return {"cost": _png(_cost(report)), "fields": _png(_fields(report))}


def equation_svg(latex: str) -> str:
    """Lines of mathematics as one inline SVG, drawn as paths: nothing to load, nothing to install."""
    matplotlib()
    from matplotlib.figure import Figure

    lines = [f"${line.strip()}$" for line in latex.split(r"\\")]
    figure = Figure(figsize=(7, 0.42 * len(lines)))
    for i, line in enumerate(lines):
        figure.text(0, 1 - (i + 0.5) / len(lines), line, fontsize=15, va="center", color=_INK)
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.02, metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _plain(name: str) -> str:
    """A name as text: no dollar begins a formula, no underscore in front hides it from a legend."""
    return name.replace("$", r"\$").lstrip("_") or "-"


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=150, bbox_inches="tight", facecolor="white")
    return out.getvalue()


def _style(axes: Any) -> None:
    axes.tick_params(colors=_INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _cost(report: Report) -> Any:
    """Error against total time, with the part that was compilation as a tail."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2))
    axes = figure.add_subplot()
    floor = max((row.floor for row in report.rows), default=0.0)
    errors = [floor] if floor > 0 else []
    for row, colour in zip(report.rows, _cycle(), strict=False):
        if row.failure:
            continue
        error, total = max(row.error, floor, 1e-17), max(row.total_seconds, 1e-4)
        errors.append(error)
        work = max(row.total_seconds - row.compile_seconds, 1e-4)
        axes.plot([work, total], [error, error], color=colour, lw=1.5, alpha=0.5, solid_capstyle="round")
        axes.plot([work], [error], "o", mfc="white", mec=colour, ms=6)
        axes.plot([total], [error], "o", color=colour, ms=9)
        name = _plain(row.name)
        axes.annotate(
            name, (total, error), xytext=(0, 9), textcoords="offset points", ha="center", color=colour, fontsize=10
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    if floor > 0:
        axes.axhline(floor, color=_INK, lw=1, ls=":")
        axes.annotate("error of the reference itself", (0.01, floor), xycoords=("axes fraction", "data"), fontsize=8, color=_INK,
                      va="bottom")  # fmt: skip
    if errors:  # by hand: with all errors at the floor the axis would have no height
        low, high = min(errors), max(errors)
        room = max((high / low) ** 0.15, 3.0)
        axes.set_ylim(low / room, high * room)
    axes.margins(x=0.2)
    axes.grid(True, which="major", color=_GRID, lw=0.6)
    axes.set_xlabel("wall time in seconds (open: without compiling, full: all of it)", color=_INK)
    axes.set_ylabel("relative L2 error", color=_INK)
    _style(axes)
    return figure


def _cycle() -> Any:
    import itertools

    return itertools.cycle(_COLOURS)


def _fields(report: Report) -> Any:
    problem, truth = report.problem, report.truth
    if truth.shape is None:
        return _scattered(report)
    if problem.domain.space == ():
        return _curves(report)
    return _images(report)


def _image_of(report: Report, values: np.ndarray) -> np.ndarray:
    """The first unknown as a picture: time against space in one dimension, the last time in two (the mid-plane in three)."""
    field = values[:, 0].reshape(report.truth.shape)
    space = len(report.problem.domain.space)
    if space == 1 and not report.problem.is_steady:
        return field
    field = field if report.problem.is_steady else field[-1]
    if space == 1:
        return field[:, None]
    return field if space == 2 else field[..., field.shape[-1] // 2]


def _images(report: Report) -> Any:
    from matplotlib.figure import Figure

    problem = report.problem
    names = [row.name for row in report.rows if not row.failure]
    columns = min(3, 1 + len(names))
    rows = -(-(1 + len(names)) // columns)
    figure = Figure(figsize=(3.7 * columns, 3.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[1 + len(names) :]:
        unused.set_visible(False)
    axes = axes[: 1 + len(names)]
    space = problem.domain.space
    wide = len(space) == 1 and not problem.is_steady
    horizontal, vertical = ("t", space[0]) if wide else (space[0], space[1] if len(space) > 1 else "")
    edges = [_edges(report, horizontal), _edges(report, vertical) if vertical else np.array([0.0, 1.0])]
    truth = _image_of(report, report.truth.values)
    shown = axes[0].pcolormesh(*edges, truth.T, cmap="RdBu_r" if truth.min() < 0 else "viridis")
    axes[0].set_title(f"reference: {report.truth.unknowns[0]}", fontsize=10, color=_INK)
    figure.colorbar(shown, ax=axes[0], shrink=0.85)
    size = max(np.abs(truth).max(), 1e-300)
    errors = {name: np.abs(_image_of(report, report.values[name]) - truth) / size for name in names}
    logs = {name: np.log10(np.maximum(error, 1e-17)) for name, error in errors.items()}
    high = max((log.max() for log in logs.values()), default=0.0)
    for axis, name in zip(axes[1:], names, strict=True):
        shown = axis.pcolormesh(*edges, logs[name].T, cmap="magma", vmin=min(max(high - 12, -16), high - 1), vmax=high)
        axis.set_title(f"error of {_plain(name)}, log$_{{10}}$", fontsize=10, color=_INK)
    if names:
        figure.colorbar(shown, ax=list(axes[1:]), shrink=0.85)
    for axis in axes:
        axis.set_xlabel(horizontal)
        axis.set_ylabel(vertical)
        _style(axis)
    return figure


def _edges(report: Report, name: str) -> np.ndarray:
    """Edges of the cells around the grid's points along a coordinate, which need be neither even nor fill the domain."""
    at = np.unique(report.truth.points[:, report.problem.coordinates.index(name)])
    if len(at) == 1:
        return at[0] + np.array([-0.5, 0.5])
    return np.concatenate([at[:1], (at[1:] + at[:-1]) / 2, at[-1:]])


def _curves(report: Report) -> Any:
    """An ODE: the unknowns in time, and the errors below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    t = report.truth.points[:, 0]
    for i, (name, colour) in enumerate(zip(report.truth.unknowns, _cycle(), strict=False)):
        top.plot(t, report.truth.values[:, i], color=colour, label=name)
    for row, colour in zip(report.rows, _cycle(), strict=False):
        if not row.failure:
            scale = np.maximum(np.abs(report.truth.values).max(axis=0), np.finfo(float).tiny)
            error = (np.abs(report.values[row.name] - report.truth.values) / scale).max(axis=1)
            bottom.plot(t, np.maximum(error, 1e-17), color=colour, label=_plain(row.name))
    if len(t) > 2 and t[0] >= 0 and t[-1] > 1e4 * t[t > 0][0]:
        bottom.set_xscale("log")
    bottom.set_yscale("log")
    bottom.set_xlabel("t")
    bottom.set_ylabel("relative error")
    for axis in (top, bottom):
        axis.legend(fontsize=9, frameon=False)
        axis.grid(True, color=_GRID, lw=0.6)
        _style(axis)
    return figure


def _scattered(report: Report) -> Any:
    """Scattered points: the errors against each other's rank, which needs no grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for row, colour in zip(report.rows, _cycle(), strict=False):
        if not row.failure:
            error = np.sort(np.abs(report.values[row.name] - report.truth.values).max(axis=1))
            axes.plot(np.linspace(0, 1, len(error)), np.maximum(error, 1e-17), color=colour, label=_plain(row.name))
    axes.set_yscale("log")
    axes.set_xlabel("share of the points with a smaller error")
    axes.set_ylabel("absolute error")
    axes.legend(fontsize=9, frameon=False)
    axes.grid(True, color=_GRID, lw=0.6)
    _style(axes)
    return figure
