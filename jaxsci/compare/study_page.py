"""A study as one self-contained HTML page: pictures, mathematics, numbers and a rollout to look through, nothing loaded."""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
from typing import Any

import numpy as np

from jaxsci.compare.pictures import equation_svg
from jaxsci.compare.problem_record import describe, facts
from jaxsci.compare.study_frames import DECADES, Film, Sprite, film, frame_errors, palette, palette_png
from jaxsci.compare.study_page_assets import SCRIPT, STYLE
from jaxsci.compare.study_pictures import THEME, colour_of, front, panels, themed
from jaxsci.compare.study_report import TRAJECTORIES, Gallery, StudyReport
from jaxsci.compare.study_tables import Table, batches, number, solver_name, tables
from jaxsci.compare.study_text import flat, horizon, lead, others, truth_text

# A page of a report needs nothing from anywhere, and says so to the browser.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def study_page(report: StudyReport) -> str:
    """The whole page as text. Names are shown as they are, never read as markup.

    Raises:
      ImportError: matplotlib, which draws the pictures, is not installed.
    """
    drawn, made = panels(report), film(report.gallery)
    told = {table.key: table for table in tables(report)}
    title = f"{describe(report.problem)['name'].replace('_', ' ')}: solver against surrogate"
    sections = [
        f"<header><h1>{_(title)}</h1>{''.join(map(_lead, lead(report)))}</header>",
        _section("problem", "The problem", _problem(report)),
        _section("front", "Error against cost", _pareto(report, drawn)),
        _section("verdicts", "Verdicts", _table(told.get("verdicts")) + _others(report)),
        _section("rollout", "One rollout", _rollout(report, made)),
        _section("growth", "How errors grow", _growth(drawn)),
        _section("metrics", told["metrics"].title, _table(told["metrics"])) if "metrics" in told else "",
        _section("shifts", "Out of distribution", _table(told.get("shifts"))),
        _section("cost", "What it cost", _table(told.get("cost")) + _table(told.get("front"))),
        _section("settings", "How it was made", _settings(report)),
        _section("repeat", "To repeat this", _repeat(report)),
        "<footer>Made by jaxsci. All numbers are in results.json and measurements.csv beside this page.</footer>",
    ]
    script = "" if made is None else _script(report, made)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{_(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(section for section in sections if section)
        + f"\n</main>{script}</body></html>\n"
    )


def _(text: object) -> str:
    return html.escape(str(text))


def _lead(text: str) -> str:
    return f'<p class="lead">{_(text)}</p>'


def _section(key: str, title: str, content: str) -> str:
    return (
        f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{_(title)}</h2>{content}</section>'
        if content
        else ""
    )


def _pairs(pairs: Any) -> str:
    return "<dl>" + "".join(f"<dt>{_(name)}</dt><dd>{_(value)}</dd>" for name, value in pairs) + "</dl>"


def _problem(report: StudyReport) -> str:
    record, drawn = describe(report.problem), report.settings.get("drawn") or {}
    rows = facts(record | {"coefficients": {k: v for k, v in record["coefficients"].items() if k not in drawn}})
    rows += [(f"{name}, of every run its own", f"from {low:.4g} to {high:.4g}") for name, (low, high) in drawn.items()]
    if report.settings.get("dt") is not None:
        rows.append(("step of a surrogate", f"dt = {report.settings['dt']}"))
    rows += [("horizon" if len(report.ts) else "scored on", horizon(report)), ("truth", truth_text(report))]
    rows += [(name, record[name]) for name in ("source", "identity") if record[name]]
    drawing = themed(equation_svg(record["latex"]), "e")
    drawing = drawing.replace("<svg", f'<svg role="img" aria-label="{_(record["equation"])}"', 1)
    return f'<div class="card"><div class="equation">{drawing}</div>{_pairs(rows)}</div>'


def _pareto(report: StudyReport, drawn: dict[str, str]) -> str:
    sizes = batches(report)
    if not sizes:
        return ""
    figures = "".join(
        _drawing(drawn[f"pareto {batch}"], f"Error against seconds per {report.wording.run}, batch {batch}")
        for batch in sizes
    )
    rungs = " at several resolutions, each at its largest stable step" if report.wording is TRAJECTORIES else ""
    several = any(len(front(report, batch)) > 1 for batch in sizes)
    caption = (
        f"Further down is more accurate, further left is cheaper. The squares are {_(solver_name(report))}{rungs}"
        f"{', and the line is what a surrogate has to beat' if several else ''}. Each dot is one seed of a "
        "surrogate, each cross a plain baseline; a triangle blew up. Compiling is left out."
    )
    return f'<div class="card"><figure><div class="panels">{figures}</div><figcaption>{caption}</figcaption></figure></div>'


def _drawing(svg: str, label: str) -> str:
    named = f'<svg role="img" aria-label="{_(label)}"'
    return f"<div>{svg.replace('<svg', named, 1)}</div>"


def _growth(drawn: dict[str, str]) -> str:
    if "growth" not in drawn:
        return ""
    drawing = _drawing(drawn["growth"], "Median error against time, on a logarithmic scale")
    caption = "The median over the starts of the nRMSE at each save. Dark lines are the solver, dashed lines the baselines."
    return f'<div class="card scroll"><figure><div class="wide">{drawing}</div><figcaption>{caption}</figcaption></figure></div>'


def _others(report: StudyReport) -> str:
    if not (found := others(report)):
        return ""
    items = "".join(f"<li>{_(text)}</li>" for text in found)
    return f"<details open><summary>All verdicts in words</summary><ul>{items}</ul></details>"


def _table(table: Table | None) -> str:
    """With a header of its rows and of its columns; wide ones scroll in themselves."""
    if table is None:
        return ""
    head = "".join(f'<th scope="col">{_(text)}</th>' for text in table.head)
    body, before = [], ""
    for row, family in zip(table.rows, table.families, strict=True):
        kind = f"{family} start" if before and family != before else family
        cells = "".join(map(_cell, row[1:]))
        body.append(f'<tr class="{kind}"><th scope="row">{_(row[0])}</th>{cells}</tr>')
        before = family
    notes = "".join(f"<li>{_(note)}</li>" for note in table.notes)
    below = f'<ul class="notes">{notes}</ul>' if notes else ""
    return (
        f'<div class="card"><div class="scroll" role="region" tabindex="0" aria-label="{_(table.title)}"><table><thead><tr>{head}'
        f"</tr></thead><tbody>{''.join(body)}</tbody></table></div>{below}</div>"
    )


def _cell(text: str) -> str:
    """A number, with the bounds that stand in brackets in small print below it."""
    text = re.sub(r" us$", " \u00b5s", text)
    if found := re.fullmatch(r"(\S+) \((.+ to .+|at best .+)\)( .+)?", text):
        return f"<td>{_(found[1])}{_(found[3] or '')}<small>{_(found[2])}</small></td>"
    return f"<td>{_(text)}</td>"


def _settings(report: StudyReport) -> str:
    notes = "".join(f"<li>{_(note)}</li>" for note in report.notes)
    shown = {k: v for k, v in report.settings.items() if k != "command"}
    return (
        (f'<div class="card"><h3>To know</h3><ul>{notes}</ul></div>' if notes else "")
        + (f'<div class="card"><h3>Settings</h3>{_pairs(flat(shown))}</div>' if shown else "")
        + f'<div class="card"><h3>Machine</h3>{_pairs(flat(report.environment))}</div>'
    )


def _repeat(report: StudyReport) -> str:
    command = report.settings.get("command")
    if command:
        return f'<div class="card"><pre><code>{_(command)}</code></pre></div>'
    return '<p class="soft">The study was called from Python; the settings above are its arguments.</p>'


# --- the rollout ---------------------------------------------------------------------------------------------------------------


def _rollout(report: StudyReport, made: Film | None) -> str:
    if made is None:
        return ""
    gallery = report.gallery
    start = _clock(gallery, 0)
    player = (
        '<div class="player" hidden><button type="button">Play</button>'
        '<input type="range" min="0" max="0" value="0" step="1" aria-label="time of the rollout">'
        f"<output>t = {_(start)}</output></div>"
    )
    cards = "".join(_card(name, made, k) for k, name in enumerate(gallery.fields))
    axes = "time to the right, space upwards" if made.flat else "each frame is one save"
    return (
        f'<div class="card">{player}{_lines(report, made) if made.flat else ""}'
        f'<div class="films{" flat" if made.flat else ""}">{_truth(gallery, made)}{cards}</div>'
        f'<p class="soft">{_(gallery.title)} of one start that all were scored on: {axes}. The number beside a name is its '
        "relative L2 error at that time; grey is where it is no longer a number. Arrow keys step through the frames.</p></div>"
    )


def _card(name: str, made: Film, k: int) -> str:
    return (
        f'<figure><div class="head"><h3>{_(name)}</h3><span data-errors="{k}"></span></div><div class="pair">'
        f"<div>{_film(made.fields[name], made, f'field of {name}')}<small>field</small></div>"
        f"<div>{_film(made.errors[name], made, f'error of {name}')}<small>error</small></div></div></figure>"
    )


def _truth(gallery: Gallery, made: Film) -> str:
    return (
        '<figure><div class="head"><h3>Truth</h3></div><div class="pair">'
        f"<div>{_film(made.truth, made, 'field of the truth')}<small>field</small></div>{_scales(gallery, made)}</div></figure>"
    )


def _film(sprite: Sprite, made: Film, label: str) -> str:
    """A window on one frame of the picture, whose border of a pixel stays outside it."""
    w, h, columns, rows = sprite.width, sprite.height, sprite.columns, sprite.rows
    shape = "aspect-ratio: 5 / 2" if made.flat else f"aspect-ratio: {w} / {h}"
    left, up = -100 / (columns * (w + 2)), -100 / (rows * (h + 2))
    image = (
        f'<img alt="{_(label)}" src="{_data(sprite.png)}" style="width: {100 * columns * (w + 2) / w:.6g}%; '
        f'height: {100 * rows * (h + 2) / h:.6g}%; transform: translate({left:.6g}%, {up:.6g}%)">'
    )
    cursor = "<i></i>" if made.flat else ""
    numbers = f'data-columns="{columns}" data-rows="{rows}" data-width="{w}" data-height="{h}"'
    return f'<div class="film" {numbers} style="{shape}">{image}{cursor}</div>'


def _scales(gallery: Gallery, made: Film) -> str:
    ramp = np.arange(1, 256, dtype=np.uint8)[None]
    field = _data(palette_png(ramp, palette("RdBu_r" if made.diverging else "viridis")))
    error = _data(palette_png(ramp, palette("magma")))
    parts = (
        (gallery.title, field, number(made.low), number(made.high)),
        (f"error, relative to {number(made.size)}", error, f"{100 * 10**-DECADES:g} %", "100 %"),
    )
    return '<div class="scales">' + "".join(
        f'<div class="scale"><b>{_(title)}</b><img alt="" src="{data}"><span>{_(low)}</span><span>{_(high)}</span></div>'
        for title, data, low, high in parts
    ) + "</div>"  # fmt: skip


def _lines(report: StudyReport, made: Film) -> str:
    """In one dimension: the profiles of all at one time, drawn over each other."""
    gallery, colours = report.gallery, _line_colours(report)
    first = _profiles(gallery, made)
    paths = "".join(
        f'<path data-line="{k}" d="{lines[0]}" style="stroke: {colour}{"; stroke-dasharray: 5 4" if k == 0 else ""}"/>'
        for k, (lines, colour) in reversed(list(enumerate(zip(first, colours, strict=True))))
    )
    keys = "".join(
        f'<li><i style="border-color: {colour}"></i>{_(name)}</li>'
        for name, colour in zip(["truth (dashed)", *gallery.fields], colours, strict=True)
    )
    label = f"{gallery.title} against {next(iter(gallery.axes), 'x')}, truth and candidates at one time"
    return (
        f'<div class="lines"><svg viewBox="0 0 1000 400" preserveAspectRatio="none" role="img" '
        f'aria-label="{_(label)}">{paths}</svg>'
        f'<ul class="keys">{keys}</ul></div>'
    )


def _line_colours(report: StudyReport) -> list[str]:
    """Of the truth, then of each candidate: its own where it is a surrogate, others from the end of the list."""
    known = colour_of(report)
    own = {name: THEME[colour] for name, colour in known.items() if re.fullmatch(r"var\(--c\d\)", THEME[colour])}
    free = [f"var(--c{k})" for k in (4, 2, 6, 5, 3, 0, 1, 7) if f"var(--c{k})" not in own.values()] or ["var(--c7)"]
    spare = itertools.cycle(free)
    return ["currentColor", *(own.get(name) or next(spare) for name in report.gallery.fields)]


def _profiles(gallery: Gallery, made: Film) -> list[list[str]]:
    """By curve and shown save, a path of the box 1000 x 400; broken where there is no number."""
    low, high = made.low, made.high
    room = 0.12 * (high - low)
    skip = -(-gallery.truth.shape[1] // 256)
    found = []
    for values in (gallery.truth, *gallery.fields.values()):
        values = np.asarray(values, float)[made.saves][:, ::skip]
        x = np.round(np.linspace(0, 1000, values.shape[1])).astype(int)
        y = 400 * (1 - (np.clip(values, low - room, high + room) - low + room) / (high - low + 2 * room))
        found.append([_path(x, row) for row in y])
    return found


def _path(x: np.ndarray, y: np.ndarray) -> str:
    text, on = [], False
    for a, b in zip(x, y, strict=True):
        if np.isfinite(b):
            text.append(f"{'L' if on else 'M'}{a} {b:.0f}")
        on = bool(np.isfinite(b))
    return "".join(text)


def _script(report: StudyReport, made: Film) -> str:
    gallery = report.gallery
    ts = np.asarray(gallery.ts, float)[made.saves]
    edge = ts[-1] - ts[0] or 1.0
    data = {
        "flat": made.flat,
        "ts": [float(t) for t in ts],
        "times": [_clock(gallery, k) for k in made.saves],
        "at": [float(f"{(t - ts[0]) / edge:.4g}") for t in ts],
        "errors": list(frame_errors(gallery, made.saves).values()),
        "lines": _profiles(gallery, made) if made.flat else [],
    }
    inside = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="rollout-data">{inside}</script><script>{SCRIPT}</script>'


def _clock(gallery: Gallery, k: int) -> str:
    return f"{float(gallery.ts[k]):.4g}"


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
