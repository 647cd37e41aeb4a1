"""The README is true: its Python runs as one session, and its commands are those of the package."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jaxsci import cli

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines() if line.strip()]


CHECKED = re.compile(r"^(\S.*?)  # = (.+)$", re.MULTILINE)


@pytest.mark.slow
def test_the_python_of_the_readme_runs_and_prints_what_it_says(tmp_path):
    """In `expression  # = value` lines the values as written, to the digits that are written."""
    script, text = tmp_path / "readme.py", "\n".join(blocks("python"))
    assert len(CHECKED.findall(text)) >= 7
    check = r"_got, _said = float(\1), \2; assert abs(_got - _said) <= 1e-3 * abs(_said), _got"
    script.write_text(CHECKED.sub(check, text))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "index.html").is_file()


@pytest.mark.parametrize("command", [c for c in commands() if "jaxsci compare" in c or "jaxsci problems" in c])
def test_the_commands_of_the_readme_are_understood(command):
    words = shlex.split(command.split("&&")[-1])
    assert words[0] == "jaxsci"
    options = cli._parser().parse_args(words[1:])
    if getattr(options, "reference", None):
        assert (ROOT / options.reference).is_file()


def test_the_readme_has_the_two_commands():
    assert 'pip install ".[plot]" && jaxsci compare burgers --out report/' in commands()
    assert 'pip install -e ".[test]" && pytest' in commands()


def test_every_file_that_the_readme_links_to_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
