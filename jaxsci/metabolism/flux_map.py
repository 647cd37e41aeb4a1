"""Pictures of fluxes, and fluxes for Escher."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsci.metabolism.core_map import Edge, Layout, central_metabolism
from jaxsci.metabolism.label_places import Label, place_labels
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.stress_map import largest_fluxes
from jaxsci.metabolism.summary import concrete_fluxes

_INK, _SHADE, _WALL = "#1d2733", "#8a94a0", "#e9edf1"
_COLOURS = ("#b9c4d0", "#5b8fd6", "#2f5fc4", "#7a2fa8", "#c2255c")  # small to large
_STILL = "#d9dee4"
_POINTS_A_UNIT = 72 * 0.62  # of the page, where widths of lines are in points


def escher_fluxes(model: StoichiometricModel, solution: Any) -> dict[str, float]:
    """``{reaction: flux}``, what Escher calls reaction data (King et al. 2015), for its ``Builder(reaction_data=...)``.

    Args:
      model: the model.
      solution: as in `summary`.
    Raises:
      ValueError: a batch, or fluxes that are not finite.
    Example:
      >>> import jaxsci as js
      >>> toy = js.metabolism.from_equations({"in": "-> a", "out": "a ->"}, "out")
      >>> js.metabolism.escher_fluxes(toy, [1.0, 1.0])
      {'in': 1.0, 'out': 1.0}
    """
    fluxes = concrete_fluxes(model, solution).tolist()
    return dict(zip(model.reactions, fluxes, strict=True))


def save_escher(path: str | os.PathLike[str], model: StoichiometricModel, solutions: Any) -> Path:
    """Write the fluxes as JSON that Escher's "Load reaction data" takes: one object, or a list of them for several conditions.

    Escher compares the first two of a list.

    Args:
      path: a file that ends in ``.json``.
      model: the model.
      solutions: one solution as in `summary`, or a list of them.
    Raises:
      ValueError: another ending, or as in `summary`.
    Example:
      >>> import jaxsci as js, tempfile, pathlib
      >>> toy = js.metabolism.from_equations({"in": "-> a", "out": "a ->"}, "out")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     js.metabolism.save_escher(pathlib.Path(folder) / "fluxes.json", toy, [1.0, 1.0]).read_text()
      '{"in": 1.0, "out": 1.0}'
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise ValueError(f"{path}: Escher's data end in .json.")
    several = isinstance(solutions, list) and bool(solutions) and np.ndim(getattr(solutions[0], "fluxes", solutions[0])) > 0
    several = several or (isinstance(solutions, list) and bool(solutions) and isinstance(solutions[0], Mapping))
    content: Any = [escher_fluxes(model, s) for s in solutions] if several else escher_fluxes(model, solutions)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def plot_fluxes(
    model: StoichiometricModel, solution: Any, path: str | os.PathLike[str] | None = None, *, layout: str | None = None
) -> Any:
    """Draw a flux distribution as a map: an arrow for each reaction, as wide and as dark as its flux is large.

    Arrows point where the flux goes; the number beside a reaction has the sign of its equation (in `model.units`). Two layouts:
    "central", central carbon metabolism laid out by hand for models with BiGG's identifiers, and "largest", the 40 largest
    fluxes of any model without the usual cofactors.

    Args:
      model: the model.
      solution: as in `summary`.
      path: where to write the picture (``.png``, ``.pdf``, ``.svg``); nowhere if it is None.
      layout: "central" or "largest"; by default the first where the model has at least two thirds of its reactions.
    Returns:
      The ``matplotlib.figure.Figure``.
    Raises:
      ImportError: matplotlib is not installed; ValueError: an unknown layout, or as in `summary`.
    Example:
      >>> import jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> figure = js.metabolism.plot_fluxes(model, {"GLCpts": 10.0, "PGI": 4.9})  # doctest: +SKIP
    """
    fluxes = escher_fluxes(model, solution)
    central = central_metabolism()
    if layout is None:
        shared = sum(edge.reaction in fluxes for edge in central.edges)
        layout = "central" if 3 * shared >= 2 * len(central.edges) else "largest"
    if layout not in ("central", "largest"):
        raise ValueError(f"plot_fluxes: the layout is 'central' or 'largest', got {layout!r}.")
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise ImportError('Pictures need matplotlib. Install it with: pip install "jaxsci[plot]"') from None
    chosen = central if layout == "central" else largest_fluxes(model, fluxes)
    figure = _draw(figures.Figure, model, fluxes, chosen)
    if path is not None:
        figure.savefig(path, dpi=160, bbox_inches="tight", facecolor="white")
    return figure


def _draw(figure_type: Any, model: StoichiometricModel, fluxes: Mapping[str, float], layout: Layout) -> Any:
    colours = importlib.import_module("matplotlib.colors")
    patches = importlib.import_module("matplotlib.patches")
    cm = importlib.import_module("matplotlib.cm")
    drawn = [(edge, _direction(model, edge)) for edge in layout.edges if edge.reaction in fluxes]
    stubs = {name: end for name, end in (layout.stubs or {}).items() if name in fluxes}
    sizes = [abs(fluxes[e.reaction]) for e, _ in drawn] + [abs(fluxes[name]) for name in stubs]
    largest = max(sizes, default=0.0) or 1.0
    if not layout.places:
        raise ValueError(f"{model.name}: there is no flux to draw.")
    xy = np.array([*layout.places.values(), *stubs.values(), *(e.middle for e in layout.edges if e.middle)])
    if layout.wall:
        xy = np.concatenate([xy, np.reshape(layout.wall, (2, 2))])
    low, high = xy.min(0) - 0.9, xy.max(0) + 0.9
    width, height = (high - low) * _POINTS_A_UNIT / 72
    figure = figure_type(figsize=(width, height + 1.0))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1] - 1.0, high[1] + 0.6)
    axes.set_aspect("equal")
    axes.axis("off")
    if layout.wall:
        left, bottom, right, top = layout.wall
        box = patches.FancyBboxPatch(
            (left, bottom),
            right - left,
            top - bottom,
            boxstyle="round,pad=0,rounding_size=0.8",
            fc="#fbfcfd",
            ec=_WALL,
            lw=7,
        )
        box.set_zorder(0)
        axes.add_patch(box)
    for title, x, y in layout.titles:
        axes.text(x, y, title, color=_SHADE, fontsize=11, ha="center", va="center", style="italic", zorder=1)
    scale = colours.PowerNorm(0.5, 0.0, largest)
    palette = colours.LinearSegmentedColormap.from_list("fluxes", _COLOURS)
    used = {name for edge, _ in drawn for name in (*edge.sources, *edge.targets)} | {n.removeprefix("EX_") for n in stubs}
    curves, labels = [], []  # points of all arrows with half their width; texts, sizes of fluxes and `Label`s
    for edge, sign in sorted(drawn, key=lambda pair: -abs(fluxes[pair[0].reaction])):
        flux = fluxes[edge.reaction]
        strands, spot, side = _strands(layout.places, edge)
        curves += _arrows(axes, patches, strands, flux * sign, scale, palette)
        labels += _label(edge.reaction, flux, strands, spot, side)
    for name, end in stubs.items():
        start = layout.places[name.removeprefix("EX_")]
        sign = -1.0 if model.network.dense[:, model.index(name)].sum() > 0 else 1.0
        strand = (_trimmed(_bezier(start, end, 0.0), _half(name.removeprefix("EX_")), None), True)
        curves += _arrows(axes, patches, [strand], fluxes[name] * sign, scale, palette)
        labels += _label("", fluxes[name], [strand], (np.array(start) + np.array(end)) / 2, _beside(start, end))
    words = [(*layout.places[name], *_half(name)) for name in used]
    words += [(x, y, 0.085 * len(title), 0.2) for title, x, y in layout.titles]
    _write_labels(axes, labels, np.array(words), np.concatenate(curves))
    halo = [importlib.import_module("matplotlib.patheffects").withStroke(linewidth=2.5, foreground="white")]
    for place in used:
        x, y = layout.places[place]
        text = place.rstrip("*").removesuffix("_c") if layout.wall is None else place.rstrip("*")[:-2]
        axes.text(
            x,
            y,
            text.replace("__", "-"),
            fontsize=8.5,
            ha="center",
            va="center",
            color=_INK,
            weight="bold",
            zorder=6,
            path_effects=halo,
        )
    bar = figure.colorbar(
        cm.ScalarMappable(scale, palette), cax=axes.inset_axes((0.02, 0.035, 0.22, 0.01)), orientation="horizontal"
    )
    bar.set_label(f"size of the flux, {model.units}", fontsize=8, color=_INK)
    bar.ax.xaxis.set_major_locator(importlib.import_module("matplotlib.ticker").MaxNLocator(4))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, colors=_INK, length=2)
    weights = np.asarray(model.objective, np.float64)
    value = sum(float(w) * fluxes[model.reactions[j]] for j in np.flatnonzero(weights) for w in (weights[j],))
    names = " + ".join(model.reactions[j] for j in np.flatnonzero(weights)[:3])
    title = f"{model.name}    {names} = {value:.4g}" if names else model.name
    axes.text(low[0] + 0.2, high[1] + 0.2, title, fontsize=13, color=_INK, weight="bold", va="center")
    return figure


def _direction(model: StoichiometricModel, edge: Edge) -> float:
    """1 where a positive flux runs as the edge is drawn, -1 where it runs against it."""
    column = model.network.dense[:, model.index(edge.reaction)]
    for names, sign in ((edge.sources, -1.0), (edge.targets, 1.0)):
        for name in names:
            i = model.network.metabolite_index.get(name.rstrip("*"))
            if i is not None and column[i]:
                return float(np.sign(column[i])) * sign
    return 1.0


def _strands(places: Mapping[str, tuple[float, float]], edge: Edge) -> tuple[list[tuple[np.ndarray, bool]], Any, np.ndarray]:
    """Curves from the sources to the middle and on to the targets (True: this one is on the targets' side); then where the
    label would stand best, and on which side.
    """
    ends = [places[name] for name in (*edge.sources, *edge.targets)]
    if len(ends) == 2 and edge.middle is None:
        curve = _bezier(ends[0], ends[1], edge.bend)
        whole = _trimmed(curve, _half(edge.sources[0]), _half(edge.targets[0]))
        return [(whole, True)], curve[20], _beside(ends[0], ends[1], edge.bend)
    if edge.middle is not None:
        return _through(edge, ends)
    if len(edge.sources) > 1 and len(edge.targets) == 1:  # one joins another's way: where that way is half done
        middle = _bezier(ends[0], ends[-1], edge.bend)[20]
    elif len(edge.sources) == 1:
        middle = 0.55 * np.array(ends[0]) + 0.45 * np.array(ends[1])
    else:
        middle = np.mean(ends, axis=0)
    strands = []
    for k, (name, end) in enumerate(zip((*edge.sources, *edge.targets), ends, strict=True)):
        out = k >= len(edge.sources)
        pull = np.array(end) + (middle - np.array(end)) * np.array([0.15, 0.85])  # leaves downwards, arrives sideways
        t = np.linspace(0.0, 1.0, 41)[:, None]
        curve = (1 - t) ** 2 * np.array(end) + 2 * t * (1 - t) * pull + t**2 * middle
        curve = _trimmed(curve, _half(name), None)
        strands.append((curve[::-1] if out else curve, out))
    if len(edge.targets) == 1:
        return strands, middle + np.array([0.45, 0.0]), np.array([0.0, -1.0])
    return strands, middle, np.array([1.0, 0.0])


def _through(edge: Edge, ends: Any) -> tuple[list[tuple[np.ndarray, bool]], Any, np.ndarray]:
    """The same for an edge with a middle: one smooth curve through it, and the others join it there."""
    middle, n = np.array(edge.middle), len(edge.sources)
    first, last = (0 if edge.sources else None), (n if edge.targets else None)
    if first is None or last is None:
        (name,), (end,) = (*edge.sources, *edge.targets)[:1], ends[:1]
        line = _trimmed(_bezier(middle, end, 0.0), None, _half(name))
        return [(line[::-1], True) if edge.sources else (line, True)], (middle + np.array(end)) / 2, _beside(ends[0], middle)
    start, end = np.array(ends[first]), np.array(ends[last])
    t = np.linspace(0.0, 1.0, 41)[:, None]
    control = 2 * middle - (start + end) / 2
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    if len(ends) == 2:
        return [(_trimmed(curve, _half(edge.sources[0]), _half(edge.targets[0])), True)], curve[20], _beside(start, end)
    strands = [
        (_trimmed(curve[:21], _half(edge.sources[0]), None), False),
        (_trimmed(curve[20:], None, _half(edge.targets[0])), True),
    ]
    for k, name in enumerate((*edge.sources, *edge.targets)):
        if k not in (first, last):
            line = _trimmed(_bezier(middle, ends[k], 0.15), None, _half(name))
            strands.append((line, True) if k >= n else (line[::-1], False))
    return strands, middle, np.array([1.0, 0.0])


def _bezier(start: Any, end: Any, bend: float) -> np.ndarray:
    start, end = np.asarray(start, float), np.asarray(end, float)
    along = end - start
    control = (start + end) / 2 + bend * np.array([-along[1], along[0]])
    t = np.linspace(0.0, 1.0, 41)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end


def _half(name: str) -> tuple[float, float]:
    """Half the width and the height of a metabolite's name on the map."""
    return 0.13 + 0.105 * len(name.rstrip("*")[:-2]), 0.27


def _trimmed(curve: np.ndarray, start: tuple[float, float] | None, end: tuple[float, float] | None) -> np.ndarray:
    """The part of a curve outside the names at its ends."""
    keep = np.ones(len(curve), bool)
    for half, point in ((start, curve[0]), (end, curve[-1])):
        if half is not None:
            keep &= (((curve - point) / np.array(half)) ** 2).sum(1) > 1.0
    return curve[keep] if keep.sum() > 2 else curve[len(curve) // 3 : -len(curve) // 3]


def _beside(start: Any, end: Any, bend: float = 0.0) -> np.ndarray:
    """The side on which a label stands: outside the bend; to the right of what is straight and steep, else above it."""
    along = np.asarray(end, float) - np.asarray(start, float)
    normal = np.array([-along[1], along[0]]) / (np.linalg.norm(along) or 1.0)
    if bend:
        return normal * np.sign(bend)
    return np.array([1.0, 0.0]) if abs(normal[0]) > 0.6 else normal * (np.sign(normal[1]) or 1.0)


def _arrows(axes: Any, patches: Any, strands: Any, flow: float, scale: Any, palette: Any) -> list[np.ndarray]:
    """Draw the strands; their points and half their width there, [k, 3] each."""
    paths = importlib.import_module("matplotlib.path")
    size = abs(flow)
    still = size < 1e-7
    colour = _STILL if still else palette(scale(size))
    width = 1.0 if still else 1.2 + 6.0 * float(scale(size))
    drawn = []
    for curve, is_target in strands:
        line = curve if flow >= 0 else curve[::-1]
        tip = (is_target if flow >= 0 else not is_target) or len(strands) == 1
        style = "-|>" if tip and not still else "-"
        arrow = patches.FancyArrowPatch(
            path=paths.Path(line), arrowstyle=style, mutation_scale=7 + 2.0 * width, lw=width, color=colour,
            capstyle="butt", joinstyle="round", zorder=2 if still else 3,
        )  # fmt: skip
        axes.add_patch(arrow)
        half = np.full((len(line), 1), 0.5 * width / _POINTS_A_UNIT)
        if tip and not still:  # the head of the arrow is wider
            half[-4:] += 0.3 * (7 + 2.0 * width) / _POINTS_A_UNIT
        drawn.append(np.concatenate([line, half], 1))
    return drawn


def _label(name: str, flux: float, strands: Any, spot: Any, side: np.ndarray) -> list[tuple[str, bool, Label]]:
    """(text, no flux, its place to be found); nothing where there is nothing to say."""
    still = abs(flux) < 1e-7
    text = name if still else f"{name} {flux:.3g}".strip()
    half = ((0.052 if still else 0.06) * len(text), 0.14)
    return [(text, still, Label(half, tuple(curve for curve, _ in strands), np.asarray(spot, float), side))] if text else []


def _write_labels(axes: Any, labels: list[tuple[str, bool, Label]], words: np.ndarray, curves: np.ndarray) -> None:
    effects = importlib.import_module("matplotlib.patheffects")
    labels = sorted(labels, key=lambda label: label[1])  # what flows first
    for (text, still, _), (x, y) in zip(labels, place_labels([label for *_, label in labels], words, curves), strict=True):
        axes.text(
            x, y, text, fontsize=6.5 if still else 7.5, color=_SHADE if still else _INK, zorder=5, va="center",
            ha="center", path_effects=[effects.withStroke(linewidth=2.2, foreground="white")],
        )  # fmt: skip
