"""What fits tell: bars, lines, files that TensorBoard reads, budgets in words, and what broke first."""

import io
import json
import math
import struct

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsci as js
from jaxsci.learning import Budget, CsvLog, Event, FirstOrder, JsonLog, ProgressBar, TensorBoardLog, Together
from jaxsci.learning.broken import first_broken
from jaxsci.learning.leg import with_observations
from jaxsci.learning.logs import crc32c
from jaxsci.learning.objective import Objective

EVENT = Event("LevenbergMarquardt", 50, 200, 1.5e-3, {"equation 1": 1e-3, "equation 2": 2e-3}, 10.0, 100.0, "t = 0 to 1")


def test_an_event_is_a_line_with_its_parts():
    assert str(EVENT) == "t = 0 to 1: LevenbergMarquardt step 50: residual 1.5e-03 (equation 1 1.0e-03, equation 2 2.0e-03)"
    assert (EVENT.rate, EVENT.eta) == (5.0, 30.0)  # 150 steps at 5 per second
    assert EVENT._replace(left=7.0).eta == 7.0  # unless the budget ends before
    assert math.isnan(EVENT._replace(step=0, left=math.inf).eta)


def test_the_bar_overwrites_its_line_and_ends_it():
    stream = io.StringIO()
    bar = ProgressBar(stream, width=8)
    bar.record(EVENT)
    bar.record(EVENT._replace(step=100, where=EVENT.where))
    bar.record(EVENT._replace(step=200))
    bar("a line of another method")
    bar.record(EVENT)
    bar.record(EVENT._replace(where="t = 1 to 2"))
    lines = stream.getvalue().split("\n")
    first = lines[0].split("\r")
    assert first[0] == f"[##......]  25% {EVENT}, 5 steps/s, 0:30 left"
    assert [line[:14] for line in first[1:]] == ["[####....]  50", "[########] 100"]
    assert lines[1] == "a line of another method"
    assert "t = 0 to 1" in lines[2]
    assert "t = 1 to 2" in lines[3]


def records(data):
    """The events of a file, by the format's own description; checksums must fit."""
    out = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        for text, stored in ((data[:8], data[8:12]), (body, data[12 + length : 16 + length])):
            crc = crc32c(text)
            assert struct.unpack("<I", stored)[0] == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32
        out.append(dict_of(body))
        data = data[16 + length :]
    return out


def dict_of(data):
    """Fields of a protocol-buffer message: {number: [values]}."""

    def varint(i):
        value = shift = 0
        while True:
            byte, i = data[i], i + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, i

    fields, i = {}, 0
    while i < len(data):
        tag, i = varint(i)
        if tag & 7 == 0:
            value, i = varint(i)
        elif tag & 7 == 2:
            length, i = varint(i)
            value, i = data[i : i + length], i + length
        else:
            size = {1: 8, 5: 4}[tag & 7]
            value, i = struct.unpack("<d" if size == 8 else "<f", data[i : i + size])[0], i + size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def test_checksums_are_those_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_event_files_are_what_tensorboard_reads(tmp_path):
    log = TensorBoardLog(tmp_path / "runs")
    log.record(EVENT)
    log.record(EVENT._replace(step=200))
    log.record(EVENT._replace(step=10, where="t = 1 to 2"))
    version, *events = records(log.path.read_bytes())
    assert version[3] == [b"brain.Event:2"]
    assert [event[2] for event in events] == [[50], [200], [210]]  # steps are counted on
    (summary,) = events[0][5]
    values = {v[1][0].decode(): v[2][0] for v in map(dict_of, dict_of(summary)[1])}
    assert values == pytest.approx(
        {"residual": 1.5e-3, "steps per second": 5.0, "parts/equation 1": 1e-3, "parts/equation 2": 2e-3}
    )
    assert TensorBoardLog(tmp_path / "runs").path != log.path


def test_lines_of_csv_and_json(tmp_path):
    csv, lines = CsvLog(tmp_path / "a.csv"), JsonLog(tmp_path / "a.jsonl")
    both, told = Together(csv, lines), []
    for event in (EVENT, EVENT._replace(step=60)):
        Together(both, told.append).record(event)
    both("a text")
    head, first, second = csv.path.read_text().splitlines()
    assert head == "optimiser,where,step,seconds,residual,equation 1,equation 2"
    assert first == "LevenbergMarquardt,t = 0 to 1,50,10.0,0.0015,0.001,0.002"
    assert ",60," in second
    objects = [json.loads(line) for line in lines.path.read_text().splitlines()]
    assert objects[0] == dict(
        zip(head.split(","), ["LevenbergMarquardt", "t = 0 to 1", 50, 10.0, 1.5e-3, 1e-3, 2e-3], strict=True)
    )
    assert objects[2] == {"text": "a text"}
    assert told == [str(EVENT), str(EVENT._replace(step=60))]
    with pytest.raises(ValueError, match=r"a\.csv has the columns .* and this fit has .*give another path"):
        csv.record(EVENT._replace(parts={"equation": 1.0}))


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        (None, Budget()),
        (2.5, Budget(2.5)),
        ("60s", Budget(60.0)),
        ("5min", Budget(300.0)),
        ("1.5 h", Budget(5400.0)),
        ("500 steps", Budget(steps=500)),
        ("residual 1e-6", Budget(residual=1e-6)),
        ("90s, 1e3 steps, residual < 2e-5", Budget(90.0, 1000, 2e-5)),
        (Budget(steps=3), Budget(steps=3)),
    ],
)
def test_budgets_in_words(given, budget):
    assert Budget.of(given) == budget


@pytest.mark.parametrize("given", ["", "60", "5 parsecs", "0s", "1.5 steps", "5min, 3s", "residual -1", "nans", "-5s"])
def test_texts_that_are_no_budget_are_refused(given):
    with pytest.raises(ValueError, match=r'fit: budget must be like "60s", "5min".*got'):
        Budget.of(given, "fit: budget")


def test_numbers_that_are_no_budget_are_refused():
    for options in ({"seconds": 0.0}, {"steps": 0}, {"steps": 2.5}, {"residual": -1.0}, {"seconds": math.nan}):
        with pytest.raises(ValueError, match="Budget: seconds must be positive, steps a positive whole number"):
            Budget(**options)
    with pytest.raises(ValueError, match="budget must be a positive number of seconds"):
        Budget.of(True)


class Polynomial:
    """A cubic of time: a network that compiles quickly."""

    def init(self, key, inputs, outputs):
        return {"c": jax.random.normal(key, (4, outputs))}

    def apply(self, parameters, z):
        return jnp.polyval(parameters["c"], z[0])


DECAY = js.Equation(lambda u, rate: u.t + rate * u**3, name="decay")


def decay(rate=1.0):
    return js.Problem(DECAY, js.Box(t=(0, 1)), coefficients={"rate": rate}, initial={"u": 1.0})


@pytest.mark.slow
def test_a_target_and_a_number_of_steps_end_a_fit():
    descent = FirstOrder(optax.adam(0.1), steps=60, points=50, resample=5)
    solve = lambda budget: js.solve(decay(), js.Neural(Polynomial(), optimiser=descent, budget=budget, estimate=False)).stats
    target, steps = solve("residual 0.8"), solve("10 steps")
    assert (target["stopped"], steps["stopped"], steps["steps"]) == ("target", "budget", 10)
    assert target["steps"] < 60
    assert target["steps"] % 5 == 0, "where it is judged"


@pytest.mark.slow
def test_what_is_not_finite_is_named():
    method = js.Neural(Polynomial(), optimiser=FirstOrder(optax.sgd(1e200), steps=10, points=20, resample=5), estimate=False)
    stats = js.solve(decay(), method, ts=[0.0, 1.0]).stats
    assert (stats["stopped"], stats["broke"]) == ("not finite", "the term rate*u**3 of equation 1")  # u is large, u^3 is not


def test_what_breaks_first_is_looked_for_from_the_parameters_on():
    objective = Objective.of(decay(), Polynomial())
    batch = with_observations(objective, jnp.asarray([[0.5], [0.7]]), None)

    def broke(c, rate=1.0):
        return first_broken(objective, {"network": {"c": c}, "coefficients": {}}, {"rate": rate}, batch)

    ones = jnp.ones((4, 1))
    assert broke(ones * jnp.nan) == "the parameters"
    assert broke(ones * 1e308) in ("u", "u_t")
    assert broke(ones, jnp.inf) == "the term rate*u**3 of equation 1"
    assert broke(ones) == "the loss or its gradient"


@pytest.mark.slow
def test_systems_tell_their_parts():
    rotation = js.Equation(lambda u, v: (u.t - v, v.t + u), "u v", name="rotation")
    problem = js.Problem(rotation, js.Box(t=(0, 2)), initial={"u": 0.0, "v": 1.0})
    lines = []
    method = js.Neural(Polynomial(), optimiser=FirstOrder(steps=20, points=20), estimate=False)
    js.solve(problem, method, progress=lines.append)
    assert len(lines) == 1
    assert "equation 1" in lines[0]
    assert "equation 2" in lines[0]
    assert np.isfinite(float(lines[0].split("residual ")[1].split()[0]))
