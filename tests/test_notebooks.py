"""The notebooks run, and the executed copies beside them are of the same cells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))


def cells_of_source(path: Path) -> list[str]:
    """The code cells of a percent script."""
    parts = ("\n" + path.read_text()).split("\n# %%")[1:]
    return ["\n".join(part.split("\n")[1:]).strip() for part in parts if not part.startswith(" [markdown]")]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_notebook_is_the_source_executed(source):
    notebook = json.loads(source.with_suffix(".ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert ["".join(cell["source"]).strip() for cell in cells] == cells_of_source(source)
    assert all(cell["execution_count"] for cell in cells)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs
    assert not [output for output in outputs if output["output_type"] == "error"]


SAYS = {
    "01_write_once": "certified reference",
    "02_turbulence": "correlation with the true start: found 0.99",
    "03_inverse_problem": "predation = ",
    "04_hard_constraints": "converged: True",
    "05_fishery": "a stock of 10 is worth 51.5",
}


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_source_runs(source, tmp_path):
    environment = os.environ | {"MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, source], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert SAYS[source.stem] in done.stdout
