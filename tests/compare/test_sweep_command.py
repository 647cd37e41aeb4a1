"""``jaxsci sweep``: studies x seeds, each once; what failed is told and tried again."""

import csv

import jax
import pytest
from study_example import study as example

from jaxsci import cli


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """Studies and seeds that were run, without the work."""
    calls = []

    def run(study, *, seed, folder, resume, budget, progress, mesh):
        assert resume
        calls.append((study.name, seed, budget))
        progress("working")
        if seed == 13:
            raise ValueError("an unlucky seed")
        return example("quick")

    monkeypatch.chdir(tmp_path)
    double = jax.config.jax_enable_x64
    monkeypatch.setattr("jaxsci.compare.sweep_command.run_study", run)
    monkeypatch.setattr("jaxsci.compare.sweep_command.save_study", lambda report, folder: folder.mkdir())
    yield calls
    jax.config.update("jax_enable_x64", double)


def test_every_study_and_seed_once_and_one_table(ran, tmp_path, capsys):
    command = ["sweep", "advection_waves", "burgers_waves", "--out", "all", "--seeds", "0", "1", "--budget", "9"]
    assert cli.main(command) == 0
    assert ran == [(name, seed, 9.0) for name in ("advection_waves", "burgers_waves") for seed in (0, 1)]
    with (tmp_path / "all" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * len(example("quick").verdicts)
    assert {row["break_even"] for row in rows} & {"never"}
    assert {row["speed_bound"] for row in rows} == {"", "at most"}
    assert cli.main(command) == 0
    assert len(ran) == 4
    told = capsys.readouterr().out
    assert "4 of 4 done" in told
    assert "burgers_waves-seed-1: done before" in told


def test_what_fails_is_told_and_does_not_stop_the_others(ran, capsys):
    assert cli.main(["sweep", "advection_waves", "--out", "all", "--seeds", "13", "1"]) == 1
    out = capsys.readouterr().out
    assert "advection_waves-seed-13 failed: ValueError: an unlucky seed" in out
    assert "1 of 2 done" in out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--budget", "-1"], "positive number"),
        (["--out", ""], "has no name"),
        (["--seeds", "a"], "invalid int"),
        (["--seeds", "0", "--", "advection_waves", "a/advection_waves.toml"], "the same folder"),
    ],
)
def test_bad_input_is_one_line(ran, capsys, more, said):
    assert cli.main(["sweep", *([] if "--" in more else ["advection_waves"]), "--out", "all", *more]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert ran == []


def test_an_unknown_study_is_named(ran, capsys):
    assert cli.main(["sweep", "advection", "--out", "all"]) == 2
    assert "advection" in capsys.readouterr().err
