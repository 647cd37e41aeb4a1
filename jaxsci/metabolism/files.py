"""Models from files and names, and back to files."""

from __future__ import annotations

import gzip
import importlib.resources
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

from jaxsci.metabolism.json_file import read_json, write_json
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.names import unknown
from jaxsci.metabolism.sbml_file import from_cobra, read_sbml, write_sbml

BUNDLED = ("e_coli_core",)
WITH_COBRA = {"textbook": "textbook.xml.gz", "iJO1366": "iJO1366.xml.gz", "salmonella": "salmonella.xml.gz"}
_SAME = {"iYS1720": "salmonella"}
_ENDINGS = (".json", ".xml", ".sbml", ".json.gz", ".xml.gz", ".sbml.gz")


def load(source: Any) -> StoichiometricModel:
    """A stoichiometric model from a file, a name or a cobrapy model.

    - a path to JSON as BiGG publishes it (``.json``) or to SBML with flux balance constraints (``.xml``, ``.sbml``), also
      packed (``.gz``). SBML is read by cobrapy: ``pip install 'jaxsci[metabolism]'``;
    - "e_coli_core", which comes with this package (Orth, Fleming, Palsson 2010: 72 metabolites, 95 reactions);
    - "textbook", "iJO1366" and "salmonella" (iYS1720), which come with cobrapy;
    - a ``cobra.Model``.

    Bounds and objective are NumPy arrays of float64, whatever JAX's precision is: see `StoichiometricModel`. The unit of fluxes
    is the file's (`model.units`), "mmol/gDW/h" where it says none; nothing is converted. An objective that is minimised is
    maximised with the opposite weights, and is a minimum again in a file of SBML or a cobrapy model.

    Raises:
      FileNotFoundError: no such file; ValueError: an unknown name, a wrong kind of file (kinetic models are for
      `load_kinetics`), or a file that is no model (the line names the place); ImportError: cobrapy is needed and not installed;
      TypeError: nothing of the above.
    Example:
      >>> import jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> model.network.detail("metabolites", "atp_c", "formula")
      'C10H12N5O13P3'
    """
    if isinstance(source, StoichiometricModel):
        return source
    if type(source).__module__.split(".")[0] == "cobra" and hasattr(source, "reactions"):
        return from_cobra(source)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"load: a path, a name or a cobra.Model is needed, got {type(source).__name__}.")
    path = Path(source)
    if not str(source) or str(source) == ".":
        raise ValueError("load: the file has no name.")
    if isinstance(source, str) and not path.exists() and not _ending(path):
        return _named(source)
    return _read(path)


def save(model: StoichiometricModel, path: str | os.PathLike[str]) -> Path:
    """Write a model to JSON (``.json``) or SBML (``.xml``, ``.sbml``; by cobrapy), packed if the name ends in ``.gz``.

    All that `load` read goes back: names, formulas, charges, compartments, annotations, gene rules, bounds, objective, notes,
    groups, units; every number to its last digit. In SBML two of a JSON file's own words change: there is no place for its
    ``version``, and a list of one annotation comes back as the one. The file appears whole or not at all.

    Raises:
      ValueError: another ending, a batch of models, bounds that make no sense; OSError: it cannot be written there;
      ImportError: SBML without cobrapy.
    Example:
      >>> import jaxsci as js, tempfile, pathlib
      >>> model = js.metabolism.load("e_coli_core")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = js.metabolism.save(model, pathlib.Path(folder) / "core.json")
      ...     js.metabolism.load(path).network == model.network
      True
    """
    if not isinstance(model, StoichiometricModel):
        raise TypeError(f"save: a StoichiometricModel is needed, got {type(model).__name__}.")
    path = Path(path)
    ending = _ending(path)
    if not ending:
        raise ValueError(f"{path}: the ending says what to write: {', '.join(_ENDINGS)}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}.")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".jaxsci-") as folder:
        # Under another name in the same folder, then renamed: that is done at once or not at all.
        whole = Path(folder) / f"model{ending.removesuffix('.gz')}"
        if ending.startswith(".json"):
            whole.write_text(write_json(model), encoding="utf-8")
        else:
            write_sbml(model, whole)
        if ending.endswith(".gz"):
            packed = whole.with_name(whole.name + ".gz")
            packed.write_bytes(gzip.compress(whole.read_bytes(), mtime=0))
            whole = packed
        os.replace(whole, path)
    return path


def _ending(path: Path) -> str:
    name = path.name.lower()
    return next((ending for ending in sorted(_ENDINGS, key=len, reverse=True) if name.endswith(ending)), "")


def _named(name: str) -> StoichiometricModel:
    name = _SAME.get(name, name)
    if name in BUNDLED:
        file = importlib.resources.files("jaxsci.metabolism").joinpath("data", f"{name}.json")
        return read_json(file.read_text(encoding="utf-8"), name)
    if name in WITH_COBRA:
        found = importlib.util.find_spec("cobra")
        if found is None or found.origin is None:
            raise ImportError(f"{name} comes with cobrapy, which is not installed: pip install 'jaxsci[metabolism]'.")
        return read_sbml(Path(found.origin).parent / "data" / WITH_COBRA[name], name)
    known = (*BUNDLED, *WITH_COBRA, *_SAME)
    raise ValueError(f"{unknown('the model', name, known)} A file ends in {', '.join(_ENDINGS)}.")


def _read(path: Path) -> StoichiometricModel:
    ending, name = _ending(path), path.name
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file.")
    if path.is_dir():
        raise ValueError(f"{path}: this is a folder; give a file.")
    if not ending:
        raise ValueError(f"{path}: the ending is none of {', '.join(_ENDINGS)}.")
    if not ending.startswith(".json"):
        return read_sbml(path, name)
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if ending.endswith(".gz") else content).decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError):
        raise ValueError(f"{name}: this is no whole gzip file.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{name}: this is not JSON (no text in UTF-8).") from None
    return read_json(text, name)
