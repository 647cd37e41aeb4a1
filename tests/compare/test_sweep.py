"""Every job once: over interruptions, failures, and processes that share the folder."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from jaxsci.compare.sweep import sweep


def counting(calls, name, value=1.0):
    def job(folder):
        calls.append(name)
        assert folder.is_dir()
        return {"value": value}

    return job


def test_a_finished_job_is_never_repeated_and_a_failed_one_is(tmp_path):
    calls, lines = [], []

    def fails(folder):
        calls.append("bad")
        raise ValueError("the cure")

    first = sweep({"a": counting(calls, "a"), "bad": fails, "b": counting(calls, "b")}, tmp_path, progress=lines.append)
    assert calls == ["a", "bad", "b"]
    assert first.failed == {"bad": "ValueError: the cure"}
    assert "the cure" in (tmp_path / "bad" / "failed.txt").read_text()
    again = sweep({n: counting(calls, n) for n in ("a", "bad", "b", "c")}, tmp_path)
    assert calls == ["a", "bad", "b", "bad", "c"]
    assert set(again.done) == {"a", "b", "bad", "c"}
    assert not again.failed
    assert not (tmp_path / "bad" / "failed.txt").exists()
    assert any("failed, ValueError: the cure" in line for line in lines)


def test_an_interrupted_job_is_not_done(tmp_path):
    def interrupted(folder):
        (folder / "half").write_text("kept")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep({"a": interrupted}, tmp_path)
    assert not (tmp_path / "a" / "claimed").exists()
    assert sweep({"a": lambda folder: (folder / "half").read_text()}, tmp_path).done == {"a": "kept"}


def test_a_job_that_another_process_is_at_is_left_to_it(tmp_path):
    (tmp_path / "a").mkdir()
    claim = tmp_path / "a" / "claimed"
    claim.write_text(json.dumps({"host": "another", "process": 1}))
    calls = []
    assert sweep({"a": counting(calls, "a")}, tmp_path).elsewhere == ("a",)
    long_ago = time.time() - 3600
    os.utime(claim, (long_ago, long_ago))
    assert sweep({"a": counting(calls, "a")}, tmp_path).done  # no sign of life for an hour
    assert calls == ["a"]


def test_the_claim_of_a_process_that_died_is_taken_over_at_once(tmp_path):
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "claimed").write_text(json.dumps({"host": socket.gethostname(), "process": died.pid}))
    assert sweep({"a": counting([], "a")}, tmp_path).done


@pytest.mark.slow
def test_processes_divide_the_jobs_among_themselves(tmp_path):
    program = f"""
import os, time
from jaxsci.compare.sweep import sweep
def job(folder):
    with open(folder / "ran", "a") as file:
        file.write("x")
    time.sleep(0.2)
    return os.getpid()
sweep({{f"job {{i}}": job for i in range(6)}}, {str(tmp_path)!r})
"""
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert all(process.wait() == 0 for process in running)
    assert all((tmp_path / f"job {i}" / "ran").read_text() == "x" for i in range(6))


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".", "a:b"])
def test_names_that_are_no_folders_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="no name for a job"):
        sweep({name: counting([], name)}, tmp_path)
