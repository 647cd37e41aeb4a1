"""The examples run as a user runs them, and print what is known of their problems."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short(path):
    assert len(path.read_text().splitlines()) <= 40
    compile(path.read_text(), str(path), "exec")


@pytest.mark.slow
def test_the_diauxie(tmp_path):
    """The closed form of its bounds (tests/metabolism/test_dynamic.py) and its picture."""
    pytest.importorskip("matplotlib")
    path = next(path for path in EXAMPLES if path.stem == "diauxie")
    done = subprocess.run([sys.executable, path, "x.png"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    numbers = [float(x) for line in done.stdout.splitlines()[-2:] for x in re.findall(r"\d+\.\d+", line)]
    assert numbers == pytest.approx([5.886, 8.50, 5.88, 7.951], abs=0.03)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
