"""Fits that are stopped at any moment go on bit for bit; a record knows whose it is."""

import dataclasses
import signal

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import LevenbergMarquardt, ResidualDensity, Scheme
from jaxsci.learning.checkpoints import Record

LOGISTIC = js.Equation(lambda u, rate: u.t - rate * u * (1 - u), name="logistic")
OPTIMISERS = (LevenbergMarquardt(steps=20, resample=7),) * 2  # and once more in the second window
SCHEME = Scheme(ResidualDensity(kept=0.1), weighting=js.learning.Causal(chunks=4), windows=2)
METHOD = js.Neural(js.networks.MLP((5,)), optimiser=OPTIMISERS, budget=None, scheme=SCHEME, estimate=False)


def logistic(rate=1.0):
    return js.Problem(LOGISTIC, js.Box(t=(0, 4)), coefficients={"rate": rate}, initial={"u": 0.1})


def same(a, b):
    return (np.asarray(a.fields) == np.asarray(b.fields)).all() and a.stats == b.stats


@pytest.fixture(scope="module")
def uninterrupted():
    return js.solve(logistic(), METHOD)


@pytest.mark.slow
def test_a_fit_with_a_record_is_the_fit_without(tmp_path, uninterrupted):
    kept = dataclasses.replace(METHOD, checkpoint=tmp_path / "fit")
    assert same(js.solve(logistic(), kept), uninterrupted)
    lines = []
    assert same(js.solve(logistic(), kept, progress=lines.append), uninterrupted)
    assert lines == [], "the second time everything is read, nothing computed"


@pytest.mark.parametrize("steps", [pytest.param(5, marks=pytest.mark.slow), 33, pytest.param(50, marks=pytest.mark.slow)])
def test_a_fit_that_was_cut_off_goes_on_bit_for_bit(tmp_path, uninterrupted, steps):
    """In the first leg, between two draws in the second, and in the second window."""
    kept = dataclasses.replace(METHOD, checkpoint=tmp_path / "fit")
    first = js.solve(logistic(), dataclasses.replace(kept, budget=f"{steps} steps"))
    assert first.stats["stopped"] == "budget"
    assert not same(first, uninterrupted)
    assert same(js.solve(logistic(), kept), uninterrupted)


class Told(Exception):
    pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_first_and_then_does_what_it_does(tmp_path, uninterrupted, number):
    kept = dataclasses.replace(METHOD, checkpoint=tmp_path / "fit")
    handler = signal.signal(number, lambda *_: (_ for _ in ()).throw(Told))
    try:
        mine = signal.getsignal(number)
        lines = []
        tell = lambda line: lines.append(line) or (len(lines) == 2 and signal.raise_signal(number))
        with pytest.raises(Told):
            js.solve(logistic(), kept, progress=tell)
        assert signal.getsignal(number) is mine, "the program's own handler is back"
    finally:
        signal.signal(number, handler)
    again = []
    assert same(js.solve(logistic(), kept, progress=again.append), uninterrupted)
    assert len(again) == 1, "what was done is not done again"


def test_a_save_that_was_torn_does_not_hide_the_one_before(tmp_path, uninterrupted):
    kept = dataclasses.replace(METHOD, checkpoint=tmp_path / "fit")
    js.solve(logistic(), dataclasses.replace(kept, budget="33 steps"))
    (save,) = (tmp_path / "fit").iterdir()
    torn = tmp_path / "fit" / f"{save.name[:-1]}9.orbax-checkpoint-tmp-0"  # what orbax leaves when it is killed
    torn.mkdir()
    (torn / "d").write_bytes(b"half")
    assert same(js.solve(logistic(), kept), uninterrupted)


@pytest.mark.parametrize(
    ("problem", "options", "key", "what"),
    [
        (logistic(2.0), {}, 0, "its problem is logistic [0-9a-f]{16}, and this fit's is logistic [0-9a-f]{16}"),
        (logistic(), {"network": js.networks.MLP((4,))}, 0, r"its method is Neural\(network=MLP\(widths=\(5,\)"),
        (logistic(), {}, 1, r"its key is \[0, 0\], and this fit's is \[0, 1\]"),
    ],
)
def test_the_record_of_another_fit_is_refused(record_folder, problem, options, key, what):
    method = dataclasses.replace(METHOD, checkpoint=record_folder, **options)
    with pytest.raises(
        ValueError, match=f"holds the record of another fit: {what}.*Give another folder, or delete this one"
    ):
        js.solve(problem, method, key=jax.random.key(key))


@pytest.fixture(scope="module")
def record_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "fit"
    js.solve(logistic(), dataclasses.replace(METHOD, checkpoint=folder, budget="1 steps"))
    return folder


@pytest.mark.filterwarnings("ignore:Neural works in float32")
def test_another_precision_is_another_fit(record_folder):
    with jax.enable_x64(False):
        problem = logistic()
        with pytest.raises(ValueError, match="its precision is float64, and this fit's is float32"):
            js.solve(problem, dataclasses.replace(METHOD, checkpoint=record_folder))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="holds other files and no record of a fit"):
        js.solve(logistic(), dataclasses.replace(METHOD, checkpoint=tmp_path))


def test_saves_replace_one_another_and_time_adds_up(tmp_path):
    first = Record(tmp_path / "fit", {"a": "b"})
    assert first.begin() is None
    first.keep(lambda: [np.arange(3.0)], {"step": 4}, last=True)
    first.begin()
    second = Record(tmp_path / "fit", {"a": "b"})
    assert second.elapsed > first.elapsed - 1.0
    known = second.begin()
    assert (known.finished, known.numbers) == (False, {"step": 4})
    np.testing.assert_array_equal(known.arrays[0], np.arange(3.0))
    second.finish([np.ones(2)], {"steps": 9})
    assert [path.name for path in (tmp_path / "fit").iterdir()] == ["save-2"]
    known = Record(tmp_path / "fit", {"a": "b"}).begin()
    assert (known.finished, known.numbers, known.arrays[0].tolist()) == (True, {"steps": 9}, [1.0, 1.0])
