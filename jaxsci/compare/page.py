"""The report as one self-contained HTML page: no script, no network, pictures and mathematics inside."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jaxsci.compare.pictures import equation_svg
from jaxsci.compare.problem_record import describe, facts

if TYPE_CHECKING:
    from jaxsci.compare.comparison import Report, Row

_STYLE = """
:root { --ink: #1d2733; --soft: #5c6b7a; --line: #d6dce3; --accent: #0b7285; --best: #e6fcf5; }
* { box-sizing: border-box; }
body { margin: 0; background: #f6f8fa; color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.lead { font-size: 1.08rem; margin: .6rem 0 0; }
.card { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.25rem; overflow-x: auto; }
.card svg { max-width: none; height: auto; display: block; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: .8rem 0 0; font-size: .93rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .45rem .5rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
tr.best td { background: var(--best); } tr.failed td { color: #a61e4d; } td.why { white-space: normal; text-align: left; }
figure { margin: 0; } figure img { width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; }
code { font: .88em ui-monospace, "SFMono-Regular", Menlo, monospace; overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .85rem; }
"""


def page(report: Report, pictures: Mapping[str, bytes]) -> str:
    """The whole page."""
    problem = report.problem
    title = f"{problem.name.replace('_', ' ')}: methods compared"
    sections = [
        f"<h1>{_(title)}</h1>",
        f'<p class="lead">{_(verdict(report))}</p>',
        "<h2>The problem</h2>",
        f'<div class="card">{equation_svg(problem.latex())}{_problem(describe(problem))}</div>',
        "<h2>The methods</h2>",
        f'<div class="card">{_table(report)}</div>',
        f"<p>Errors are relative L2 norms over {len(report.truth.points):,} points, against {_(report.reference)}. "
        "Times are seconds of wall time in this process, from nothing to a solution that can be evaluated anywhere; only what a "
        "solver spends on estimating its own error is left out.</p>",
        "<h2>Error against cost</h2>",
        _figure(pictures["cost"], "Further down is more accurate, further left is cheaper.", "error against wall time"),
        "<h2>Where the errors are</h2>",
        _figure(pictures["fields"], "The reference, and the error of each method relative to its largest value.", "fields"),
        "<h2>To repeat this</h2>",
        f'<div class="card">{_methods(report)}{_environment(report)}</div>',
        "<footer>Made by jaxsci. The numbers are in results.json beside this page.</footer>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{_(title)}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(sections)
        + "\n</main></body></html>\n"
    )


def verdict(report: Report) -> str:
    """One sentence: which method is the most accurate, and what the cheapest at that accuracy costs against the others."""
    done = [row for row in report.rows if not row.failure]
    if not done:
        return "No method solved this problem."
    best = min(done, key=lambda row: (max(row.error, row.floor), row.total_seconds))
    text = f"{best.name} is the most accurate: relative error {best.error_text} in {best.total_seconds:.2g} s."
    others = [row for row in done if row is not best]
    if not others:
        return text
    nearest = min(others, key=lambda row: max(row.error, row.floor))
    if math.isclose(max(nearest.error, nearest.floor), max(best.error, best.floor), rel_tol=0.5):
        ratio = nearest.total_seconds / max(best.total_seconds, 1e-9)
        return f"{text} {nearest.name} comes as close, in {ratio:.2g} times the time."
    return f"{text} {nearest.name} comes next: {nearest.error_text} in {nearest.total_seconds:.2g} s."


def _(text: str) -> str:
    return html.escape(text)


def _table(report: Report) -> str:
    head = ("method", "relative L2", "relative max", "own estimate", "compile, s", "train, s", "solve, s", "total, s",
            "evals per s")  # fmt: skip
    done = [row for row in report.rows if not row.failure]
    best = min(done, key=lambda row: (max(row.error, row.floor), row.total_seconds), default=None)
    body = "".join(_table_row(row, row is best, len(head)) for row in report.rows)
    return f"<table><thead><tr>{''.join(f'<th>{_(h)}</th>' for h in head)}</tr></thead><tbody>{body}</tbody></table>"


def _table_row(row: Row, is_best: bool, width: int) -> str:
    if row.failure:
        return f'<tr class="failed"><td>{_(row.name)}</td><td class="why" colspan="{width - 1}">{_(row.failure)}</td></tr>'
    estimate = f"{row.error_estimate:.1e}" if math.isfinite(row.error_estimate) else "-"
    cells = [row.name, row.error_text.replace("<=", "≤"), f"{row.max_error:.1e}", estimate]
    cells += [f"{s:.3g}" for s in (row.compile_seconds, row.training_seconds, row.solve_seconds, row.total_seconds)]
    cells.append(f"{row.evaluations_per_second:.1e}")
    mark = ' class="best"' if is_best else ""
    return f"<tr{mark}>{''.join(f'<td>{_(c)}</td>' for c in cells)}</tr>"


def _figure(picture: bytes, caption: str, alternative: str) -> str:
    data = base64.b64encode(picture).decode()
    image = f'<img alt="{_(alternative)}" src="data:image/png;base64,{data}">'
    return f'<div class="card"><figure>{image}<figcaption>{_(caption)}</figcaption></figure></div>'


def _problem(record: Mapping[str, Any]) -> str:
    starts = [(f"{name} at the start", text) for name, text in record["initial"].items()]
    return _pairs([*facts(record), *starts, ("source", record["source"] or "-"), ("identity", record["identity"])])


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{_(k)}</dt><dd>{_(v)}</dd>" for k, v in rows) + "</dl>"


def _methods(report: Report) -> str:
    return "<dl>" + "".join(f"<dt>{_(row.name)}</dt><dd><code>{_(row.method)}</code></dd>" for row in report.rows) + "</dl>"


def _environment(report: Report) -> str:
    environment = dict(report.environment)
    versions = environment.pop("versions")
    rows = [(k, str(v)) for k, v in environment.items()] + [("versions", ", ".join(f"{k} {v}" for k, v in versions.items()))]
    return _pairs(rows)
