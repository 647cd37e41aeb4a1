"""Fits that are stopped at any moment go on bit for bit; a record knows whose it is."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import FirstOrder, LevenbergMarquardt, ResidualDensity, Scheme
from jaxsci.learning.checkpoints import Record

LOGISTIC = js.Equation(lambda u, rate: u.t - rate * u * (1 - u), name="logistic")
OPTIMISERS = (FirstOrder(steps=60, points=50, resample=10), LevenbergMarquardt(steps=25))
SCHEME = Scheme(ResidualDensity(kept=0.1), weighting=js.learning.Causal(chunks=4), windows=2)
METHOD = js.Neural(js.networks.MLP((5,)), optimiser=OPTIMISERS, budget=None, scheme=SCHEME)


def logistic(rate=1.0):
    return js.Problem(LOGISTIC, js.Box(t=(0, 4)), coefficients={"rate": rate}, initial={"u": 0.1})


class Stop(Exception):
    pass


def stop_after(calls):
    """A progress that ends the program, as a fault of it would, when it is told the so-manieth time."""
    told = []

    def progress(line):
        told.append(line)
        if len(told) == calls:
            raise Stop

    return progress


def same(a, b):
    return (np.asarray(a.fields) == np.asarray(b.fields)).all() and a.stats == b.stats


@pytest.fixture(scope="module")
def uninterrupted():
    return js.solve(logistic(), METHOD)


def test_a_fit_with_a_record_is_the_fit_without(tmp_path, uninterrupted):
    kept = dataclasses.replace(METHOD, checkpoint=tmp_path / "fit")
    assert same(js.solve(logistic(), kept), uninterrupted)
    lines = []
    assert same(js.solve(logistic(), kept, progress=lines.append), uninterrupted)
    assert lines == [], "the second time everything is read, nothing computed"


@pytest.mark.parametrize("steps", [5, 60, 67, 100])
def test_a_fit_that_was_cut_off_goes_on_bit_for_bit(tmp_path, uninterrupted, steps):
    """In the first optimiser, where one ends, in the middle of an interval between draws, and in the second window."""
    first = js.solve(logistic(), dataclasses.replace(METHOD, checkpoint=tmp_path / "fit", budget=f"{steps} steps"))
    assert first.stats["stopped"] in ("budget", "steps")
    assert not same(first, uninterrupted)
    second = js.solve(logistic(), dataclasses.replace(METHOD, checkpoint=tmp_path / "fit"))
    assert second.stats["stopped"] == uninterrupted.stats["stopped"]
    if steps < 85:  # the step budget of a window that is not the last ends the window for good
        return
    assert same(second, uninterrupted)
