"""What ``jaxsci fba MODEL`` does: read, change, solve, print, write."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from jaxsci.metabolism.fba import fba
from jaxsci.metabolism.files import load
from jaxsci.metabolism.linear_program import INFEASIBLE, OPTIMAL, STATUS, UNBOUNDED
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.summary import aligned, equation, summary

_SHOWN = 5  # entries of a certificate


def run(options: argparse.Namespace) -> tuple[str, int]:
    """The text to print and the exit status: 0 with an optimum, 1 without.

    Raises:
      ValueError, KeyError, OSError, ImportError: what was typed cannot be run; the message is one line.
    """
    if options.top < 0:
        raise ValueError(f"--top {options.top}: a number >= 0 is needed.")
    out = None if options.out is None else _writable(options.out)
    model = load(options.model)
    if options.medium is not None:
        model = model.with_medium(read_medium(options.medium))
    if options.objective is not None:
        model = model.with_objective(options.objective)
    if options.knockout:
        model = model.knock_out(options.knockout)
    if not np.asarray(model.objective).any():
        raise ValueError(f"{model.name} has no objective; name a reaction: --objective REACTION.")
    found = fba(model)
    status = int(found.status)
    text = _optimum(model, found, options.top) if status == OPTIMAL else _certificate(model, found, status)
    if out is not None:
        _write(out, model, found, status)
        text += f"\nWritten: {out}"
    return text, int(status != OPTIMAL)


def read_medium(path: str | os.PathLike[str]) -> dict[str, float]:
    """The uptakes that a file lists: ``{exchange: mmol/gDW/h}``.

    JSON: an object. TOML: ``EX_o2_e = 20.0``, bare or under ``[medium]``. CSV: two columns, a line of titles allowed.

    Raises:
      FileNotFoundError: no such file; ValueError: another ending, an exchange twice, or what is no number >= 0.
    Example:
      >>> import pathlib, tempfile
      >>> from jaxsci.metabolism.command_line import read_medium
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder) / "medium.csv"
      ...     _ = file.write_text("exchange,uptake\\nEX_glc__D_e,10\\nEX_o2_e,20\\n")
      ...     read_medium(file)
      {'EX_glc__D_e': 10.0, 'EX_o2_e': 20.0}
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".json", ".toml", ".csv"):
        raise ValueError(f"{path}: a medium is a file that ends in .json, .toml or .csv.")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        pairs = (
            _rows(path, text)
            if kind == ".csv"
            else _table(path, json.loads(text) if kind == ".json" else tomllib.loads(text))
        )
    except UnicodeDecodeError:
        raise ValueError(f"{path}: this is no text in UTF-8.") from None
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: this is not {kind[1:].upper()} ({error}).") from None
    medium: dict[str, float] = {}
    for name, value in pairs:
        if name in medium:
            raise ValueError(f"{path}: {name!r} stands more than once.")
        try:
            medium[name] = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError):
            medium[name] = math.nan
        if not medium[name] >= 0:
            raise ValueError(f"{path}: the uptake of {name!r} is a number >= 0 in mmol/gDW/h, got {value!r}.")
    return medium


def _table(path: Path, content: Any) -> list[tuple[str, Any]]:
    if isinstance(content, dict) and isinstance(content.get("medium"), dict):
        content = content["medium"]
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a medium is an object {{exchange: uptake}}.")
    return list(content.items())


def _rows(path: Path, text: str) -> list[tuple[str, Any]]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    for row in rows:
        if len(row) != 2:
            raise ValueError(f"{path}: a line of a medium is 'exchange,uptake', got {','.join(row)!r}.")
    if rows and not _is_number(rows[0][1]):  # titles
        rows = rows[1:]
    return [(row[0], row[1]) for row in rows]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _optimum(model: StoichiometricModel, found: Any, top: int) -> str:
    text = summary(model, found).table()
    fluxes = np.asarray(found.fluxes)
    largest = [j for j in np.argsort(-np.abs(fluxes), kind="stable")[:top] if abs(fluxes[j]) > 1e-7]
    if largest:
        rows = [(model.reactions[j], f"{fluxes[j]:.4g}", equation(model, model.reactions[j])[:96]) for j in largest]
        title = f"The {len(rows)} largest fluxes" if len(rows) > 1 else "The largest flux"
        text += f"\n{title}\n{'-' * len(title)}\n{aligned(('Reaction', 'Flux', 'Definition'), rows, left=(0, 2))}\n"
    return text


def _certificate(model: StoichiometricModel, found: Any, status: int) -> str:
    """Why there is no optimum, by the entries of the certificate that weigh most."""
    head = f"{model.name}: {STATUS[status]}."
    if status == UNBOUNDED:
        ray = np.asarray(found.unbounded_ray)
        return (
            f"{head} The objective grows for ever along these fluxes; bound one of them: {_largest(model.reactions, ray)}."
        )
    if status != INFEASIBLE:
        return f"{head} There is no optimum and no certificate."
    prices = np.asarray(found.farkas_ray)
    # Steady state makes (S'y).v zero, and the bounds keep -(S'y).v below zero: those that hold it there are in conflict.
    pull = -(prices @ model.stoichiometry)
    lower, upper = np.asarray(model.lower), np.asarray(model.upper)
    with np.errstate(invalid="ignore"):
        ceiling = np.where(pull > 0, pull * upper, np.where(pull < 0, pull * lower, 0.0))
    parts = [f"{head} No fluxes at steady state meet all bounds."]
    against = [j for j in np.argsort(ceiling, kind="stable")[:_SHOWN] if ceiling[j] < -1e-9]
    if against:
        demands = ", ".join(f"{lower[j]:g} <= {model.reactions[j]} <= {upper[j]:g}" for j in against)
        parts.append(f"What is demanded: {demands}.")
    shut = [
        j for j in np.flatnonzero(np.abs(pull) > 1e-9) if abs(ceiling[j]) <= 1e-9 and model.reactions[j] in model.exchanges
    ]
    if shut:
        parts.append(
            f"What would help is shut: {_largest([model.reactions[j] for j in shut], np.abs(pull)[shut], bare=True)}."
        )
    parts.append(f"The certificate (Farkas ray) weighs {_largest(model.metabolites, prices)}.")
    return "\n".join(parts)


def _largest(names: Any, values: np.ndarray, bare: bool = False) -> str:
    order = [j for j in np.argsort(-np.abs(values), kind="stable")[:_SHOWN] if abs(values[j]) > 1e-9]
    rest = int((np.abs(values) > 1e-9).sum()) - len(order)
    shown = ", ".join(names[j] if bare else f"{names[j]} {values[j]:.3g}" for j in order)
    return shown + (f" and {rest} more" if rest else "")


def _writable(path: str) -> Path:
    """The file may be written there, as far as can be known before the work is done."""
    out = Path(path)
    if not path:
        raise ValueError("--out: the file has no name.")
    if out.suffix.lower() not in (".json", ".csv"):
        raise ValueError(f"--out {path}: the ending says what to write: .json or .csv.")
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"--out {path}: {'this is a folder' if out.is_dir() else f'there is no folder {out.parent}'}.")
    if not os.access(out.parent, os.W_OK):
        raise ValueError(f"--out {path}: {out.parent} may not be written to.")
    return out


def _write(path: Path, model: StoichiometricModel, found: Any, status: int) -> None:
    fluxes, costs = np.asarray(found.fluxes, float), np.asarray(found.reduced_costs, float)
    if path.suffix.lower() == ".json":
        text = json.dumps(
            {
                "model": model.name,
                "status": STATUS[status],
                "objective": _known(found.objective),
                "fluxes": {name: _known(v) for name, v in zip(model.reactions, fluxes, strict=True)},
                "reduced_costs": {name: _known(v) for name, v in zip(model.reactions, costs, strict=True)},
                "shadow_prices": {
                    name: _known(v)
                    for name, v in zip(model.metabolites, np.asarray(found.shadow_prices, float), strict=True)
                },
            },
            indent=1,
        )
    else:
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(("reaction", "flux", "lower", "upper", "reduced_cost"))
        bounds = np.asarray(model.lower, float), np.asarray(model.upper, float)
        writer.writerows(zip(model.reactions, fluxes.tolist(), *(b.tolist() for b in bounds), costs.tolist(), strict=True))
        text = lines.getvalue()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".jaxsci-") as folder:
        whole = Path(folder) / path.name
        whole.write_text(text, encoding="utf-8")
        os.replace(whole, path)


def _known(value: Any) -> float | None:
    """JSON has no word for NaN."""
    return float(value) if math.isfinite(float(value)) else None
