"""The pictures of a study: what is drawn where, names that are text, frames that are the fields."""

import dataclasses
import io
import math
import re

import numpy as np
import pytest
from study_example import HOSTILE, study

from jaxsci.compare.study_frames import (
    MOST_FRAMES,
    film,
    frame_errors,
    levels,
    limits,
    palette,
    palette_png,
    plane,
    shown_saves,
    sprite,
)  # fmt: skip
from jaxsci.compare.study_labels import label_points, spread_out
from jaxsci.compare.study_pictures import _pareto, _times, colour_of, front, panels, rung_name
from jaxsci.compare.study_report import Gallery


def pixels(png):
    """Red, green, blue of a PNG, read by somebody else's reader."""
    from matplotlib.image import imread

    return np.round(255 * imread(io.BytesIO(png))[..., :3]).astype(int)


@pytest.fixture(scope="module")
def figure():
    from matplotlib.figure import Figure

    made = Figure(figsize=(5, 4.5), dpi=72)
    axes = made.add_axes((0.14, 0.13, 0.83, 0.8))
    labels, points = _pareto(axes, study("quick", hostile=True), 64)
    label_points(axes, labels, points)
    return made


def test_the_front_shows_every_candidate(figure):
    axes = figure.axes[0]
    report = study("quick", hostile=True)
    ladder = [line for line in axes.lines if len(line.get_xdata()) == 6]
    assert len(ladder) == 1, "the rungs are connected"
    solver = [m for m in report.measurements if m.family == "solver"]
    np.testing.assert_allclose(ladder[0].get_xdata(), [m.seconds[64] for m in solver])
    np.testing.assert_allclose(ladder[0].get_ydata(), [m.error for m in solver])
    markers = [line.get_marker() for line in axes.lines]
    assert {kind: markers.count(kind) for kind in "sox^"} == {"s": 6, "o": 6, "x": 6, "^": 3}
    texts = " ".join(text.get_text() for text in axes.texts)
    for expected in ("n = 12", "n = 64", "FNO", "ResNet, blew up", "persistence", "error of the truth itself"):
        assert expected in texts, expected
    floor = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in floor] == [report.truth_error]
    low, high = axes.get_ylim()
    assert low < report.truth_error
    assert high > max(m.error for m in report.measurements if math.isfinite(m.error))


def test_names_cover_neither_points_nor_each_other(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    axes = figure.axes[0]
    boxes = [text.get_window_extent(renderer) for text in axes.texts if "truth" not in text.get_text()]
    for text, box in zip(axes.texts[1:], boxes, strict=True):
        assert box.x0 >= 0, text
        assert box.x1 <= 5 * 72, text
    overlaps = sum(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert overlaps == 0
    finite = [m for m in study("quick", hostile=True).measurements if math.isfinite(m.error)]
    points = axes.transData.transform([(m.seconds[64], m.error) for m in finite])
    assert sum(box.contains(*point) for box in boxes for point in points) == 0


def test_labels_of_ends_are_moved_apart():
    from matplotlib.figure import Figure

    axes = Figure(figsize=(5, 4), dpi=72).add_subplot()
    axes.set_ylim(0, 1)
    spread_out(axes, [(0.5, "a", "red"), (0.5, "b", "red"), (0.51, "c", "red"), (5.0, "out of range", "red")])
    at = [axes.transData.transform((0, text.xy[1]))[1] + text.xyann[1] for text in axes.texts]
    assert min(np.diff(sorted(at))) > 8
    assert max(at) <= axes.get_window_extent().y1


def test_rungs_are_named_by_what_tells_them_apart():
    rungs = [m for m in study("quick").measurements if m.family == "solver"]
    assert rung_name(rungs[0], rungs) == "n = 12"
    twice = [*rungs, dataclasses.replace(rungs[0], detail="n = 12, dt = 1/3")]
    assert rung_name(twice[-1], twice) == "n = 12, dt = 1/3"


def test_svg_takes_the_colours_of_the_page_and_no_name_is_markup():
    made = panels(study("quick", hostile=True))
    assert list(made) == ["pareto 1", "pareto 64", "growth"]
    for svg in made.values():
        assert svg.startswith("<svg")
        assert "currentColor" in svg
        assert "#1d2733" not in svg
        assert "<script" not in svg
        assert "<!--" not in svg
        assert not re.search(r"<g id=", svg)
    assert "var(--c0)" in made["pareto 1"]
    assert panels(study("quick", hostile=True)) == made, "the same drawing twice"


def test_families_have_their_colours():
    found = colour_of(study("quick"))
    assert len({found[name] for name in ("ETDRK4", "FNO", "U-Net", "ResNet", "ridge")}) == 5
    assert found["ridge"] == found["DMD"]


def test_a_palette_png_is_the_field():
    values = np.array([[0.0, 0.5, 1.0], [np.nan, -5.0, 5.0]])
    table = palette("viridis")
    found = pixels(palette_png(levels(values, 0.0, 1.0), table))
    colours = np.frombuffer(table, np.uint8).reshape(-1, 3)
    assert colours.shape == (256, 3)
    expected = colours[[[1, 128, 255], [0, 1, 255]]]
    np.testing.assert_array_equal(found, expected)
    assert found[1, 0].tolist() == [128, 128, 128], "grey is not a number"


def test_frames_lie_in_rows_with_their_edges_repeated():
    frames = np.arange(5 * 2 * 3).reshape(5, 2, 3).astype(np.uint8)
    made = sprite(frames, palette("viridis"))
    assert (made.frames, made.columns, made.rows, made.width, made.height) == (5, 3, 2, 3, 2)
    colours = np.frombuffer(palette("viridis"), np.uint8).reshape(-1, 3)
    sheet = pixels(made.png)
    assert sheet.shape == (2 * 4, 3 * 5, 3)
    np.testing.assert_array_equal(sheet[5:7, 6:9], colours[frames[4]])  # the fifth frame: second row, second column
    np.testing.assert_array_equal(sheet[4, 6:9], colours[frames[4, 0]])


def test_a_film_shows_x_to_the_right_and_y_upwards():
    x, y = np.meshgrid(np.arange(8.0), np.arange(8.0), indexing="ij")
    truth = np.stack([x + 10 * y] * 3)
    made = film(Gallery("u", np.arange(3.0), {"x": np.arange(8), "y": np.arange(8)}, truth, {"a": truth + 77 * 0.01}))
    sheet = pixels(made.truth.png)
    colours = np.frombuffer(palette("viridis"), np.uint8).reshape(-1, 3)
    assert sheet[1, 8].tolist() == colours[255].tolist(), "the largest value stands in the upper right"
    assert sheet[8, 1].tolist() == colours[1].tolist()
    hot = np.frombuffer(palette("magma"), np.uint8).reshape(-1, 3)
    error = pixels(made.errors["a"].png)  # a hundredth of the largest value: a third of three decades
    assert error[4, 4].tolist() == hot[1 + round(254 / 3)].tolist()


def test_each_frame_has_its_relative_error():
    fields = {"a": np.array([[1.1] * 4, [np.nan] * 4])}
    assert frame_errors(Gallery("u", np.arange(2.0), {}, np.ones((2, 4)), fields), np.arange(2)) == {"a": [0.1, None]}


@pytest.mark.parametrize("shape", [(200, 256, 256), (100, 300), (3, 4, 5, 6)], ids=["2d", "1d", "3d"])
def test_pictures_stay_small_and_keep_both_ends(shape):
    truth = np.random.default_rng(0).standard_normal(shape)
    axes = {name: np.arange(n) for name, n in zip("xyz", shape[1:], strict=False)}
    gallery = Gallery("u", np.linspace(0, 1, shape[0]), axes, truth, {str(k): truth for k in range(8)})
    made = film(gallery)
    assert made.flat == (len(shape) == 2)
    assert made.saves[0] == 0
    assert made.saves[-1] == shape[0] - 1
    assert len(made.saves) <= MOST_FRAMES
    total = sum(len(s.png) for s in (made.truth, *made.fields.values(), *made.errors.values()))
    assert total < 4_000_000
    assert plane(truth).ndim == min(len(shape), 3)
    assert limits(gallery)[1] == -limits(gallery)[0] == np.abs(truth).max()
    assert len(shown_saves(gallery)) == len(made.saves)


def test_without_space_there_is_no_film():
    assert film(Gallery("u", np.arange(3.0), {}, np.zeros(3), {"a": np.zeros(3)})) is None
    assert film(Gallery("u", np.arange(3.0), {"x": np.arange(4)}, np.zeros((3, 4)), {})) is None
    constant = Gallery("u", np.arange(3.0), {"x": np.arange(4)}, np.zeros((3, 4)), {HOSTILE: np.zeros((3, 4))})
    assert film(constant).high > film(constant).low


def test_the_line_leaves_out_rungs_that_a_cheaper_one_beats():
    from matplotlib.figure import Figure

    report = study("quick")
    solver = [m for m in report.measurements if m.family == "solver"]
    slower = {b: 1.5 * s for b, s in solver[2].seconds.items()}
    beaten = dataclasses.replace(solver[2], detail="n = 24, again", seconds=slower, errors=1.2 * solver[2].errors)
    axes = Figure().add_subplot()
    _pareto(axes, dataclasses.replace(report, measurements=(*report.measurements, beaten)), 1)
    (line,) = (line for line in axes.lines if len(line.get_xdata()) > 2)
    assert list(line.get_ydata()) == sorted((m.error for m in solver), reverse=True)
    assert beaten.seconds[1] not in line.get_xdata()


def test_the_line_goes_through_all_solvers_and_not_to_the_truth_itself():
    report = study("quick")
    solver = [m for m in report.measurements if m.family == "solver"]
    named = [dataclasses.replace(m, name=m.detail, detail="") for m in solver]
    truth = dataclasses.replace(named[-1], errors=0 * named[-1].errors)
    found = front(dataclasses.replace(report, measurements=(*named[:-1], truth)), 1)
    assert [m.name for m in found] == [m.name for m in named[:-1]]


@pytest.mark.parametrize(
    ("ends", "written"),
    [
        ((4e-6, 6e-5), ["5 \u00b5s", "10 \u00b5s", "20 \u00b5s", "50 \u00b5s"]),
        ((0.02, 2.5), ["20 ms", "50 ms", "100 ms", "200 ms", "500 ms", "1 s", "2 s"]),
        ((5e-8, 2e-4), ["100 ns", "300 ns", "1 \u00b5s", "3 \u00b5s", "10 \u00b5s", "30 \u00b5s", "100 \u00b5s"]),
        ((5e-8, 3.0), ["100 ns", "1 \u00b5s", "10 \u00b5s", "100 \u00b5s", "1 ms", "10 ms", "100 ms", "1 s"]),
        ((1e-3, 0.9), ["1 ms", "3 ms", "10 ms", "30 ms", "100 ms", "300 ms"]),
    ],
)
def test_ticks_of_times_are_few_and_in_their_unit(ends, written):
    from matplotlib.figure import Figure

    axes = Figure(figsize=(4.6, 4.3)).add_subplot()
    axes.set_xscale("log")
    axes.set_xlim(*ends)
    _times(axes)
    axes.figure.draw_without_rendering()
    assert [label.get_text() for label in axes.get_xticklabels()] == written
    assert not any(label.get_text() for label in axes.get_xticklabels(minor=True))
