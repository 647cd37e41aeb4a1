"""Names beside what they name: labels of points and of lines' ends, set where they cover neither data nor each other."""

from __future__ import annotations

import math
from typing import Any

_SIZE = 8.5  # points of a letter


def label_points(axes: Any, labels: list[tuple[float, float, str, str]], points: list[tuple[float, float]]) -> None:
    """Write (x, y, text, colour) near each place, on the side where it covers least; a far one gets a thin line.

    The axes must have their limits and their size, and the figure 72 dots to the inch, so that a dot is a point.
    """
    to_dots = axes.transData.transform
    inside = axes.get_window_extent()
    taken = [_around(*to_dots(point), 4) for point in points]
    for x, y, text, colour in labels:
        px, py = to_dots((x, y))
        wide, tall = _width(text), _SIZE * 1.3
        best = min(
            _sides(wide, tall),
            key=lambda side: (
                _cost((px + side[0], py + side[1], px + side[0] + wide, py + side[1] + tall), taken, inside)
                + 0.25 * math.hypot(side[0] + wide / 2, side[1] + tall / 2)
            ),
        )
        box = (px + best[0], py + best[1], px + best[0] + wide, py + best[1] + tall)
        taken.append(box)
        far = max(box[0] - px, px - box[2], box[1] - py, py - box[3]) > 9
        line = {"arrowprops": {"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 0, "shrinkB": 4}} if far else {}
        axes.annotate(text, (x, y), xytext=(best[0], best[1] + 0.2 * tall), textcoords="offset points", color=colour,
                      fontsize=_SIZE, annotation_clip=False, zorder=4, **line)  # fmt: skip


def spread_out(axes: Any, ends: list[tuple[float, str, str]]) -> None:
    """Write (y, text, colour) at the right edge of the axes, moved apart until none covers another."""
    box = axes.get_window_extent()
    low, high = axes.get_ylim()
    step = 1.25 * _SIZE
    order = sorted(ends, key=lambda end: end[0])
    at = [axes.transData.transform((axes.get_xlim()[1], min(max(y, low), high)))[1] for y, _, _ in order]
    placed = list(at)
    for _ in range(200):  # push neighbours apart, half each: few labels, so this settles quickly
        moved = False
        for i in range(len(placed) - 1):
            if (short := step - (placed[i + 1] - placed[i])) > 0.01:
                placed[i] -= short / 2
                placed[i + 1] += short / 2
                moved = True
        if placed and placed[0] < box.y0:
            placed[0] = box.y0
        if placed and placed[-1] > box.y1 and step * len(placed) < box.height:
            placed[-1] = box.y1
        if not moved:
            break
    for (y, text, colour), dots, home in zip(order, placed, at, strict=True):
        axes.annotate(text, (1.0, min(max(y, low), high)), xycoords=("axes fraction", "data"),
                      xytext=(16, dots - home - 0.35 * _SIZE), textcoords="offset points", color=colour, fontsize=_SIZE,
                      annotation_clip=False,
                      arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 1, "shrinkB": 1,
                                  "relpos": (0, 0.5)})  # fmt: skip


def _sides(wide: float, tall: float) -> list[tuple[float, float]]:
    """Lower left corners of a label relative to its point, the best first: beside it, above, below, then further away."""
    made = []
    for gap in (6.0, 12.0, 20.0, 30.0, 42.0):
        slant = 0.7 * gap
        made += [
            (gap, -tall / 2), (slant, slant), (-wide / 2, gap), (-slant - wide, slant), (-gap - wide, -tall / 2),
            (slant, -slant - tall), (-wide / 2, -gap - tall), (-slant - wide, -slant - tall),
        ]  # fmt: skip
    return made


def _width(text: str) -> float:
    """In points, as it will be written."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return text_to_path.get_text_width_height_descent(text.replace(r"\$", "$"), FontProperties(size=_SIZE), ismath=False)[0]


def _around(x: float, y: float, half: float) -> tuple[float, float, float, float]:
    return x - half, y - half, x + half, y + half


def _cost(box: tuple[float, ...], taken: list[tuple[float, float, float, float]], inside: Any) -> float:
    """How much of what is taken a label would cover, with leaving the axes as bad as covering a point."""
    x0, y0, x1, y1 = box
    covered = sum(
        (min(x1, b[2]) - max(x0, b[0])) * (min(y1, b[3]) - max(y0, b[1]))
        for b in taken
        if min(x1, b[2]) > max(x0, b[0]) and min(y1, b[3]) > max(y0, b[1])
    )
    outside = max(inside.x0 - x0, 0) + max(x1 - inside.x1, 0) + max(inside.y0 - y0, 0) + max(y1 - inside.y1, 0)
    return covered + 10 * outside
