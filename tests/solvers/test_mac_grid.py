"""The staggered grid: where things are, how values are carried between them, and what it refuses."""

import numpy as np
import pytest

import jaxsci as js
from jaxsci.solvers.mac_grid import MacAxis, lagrange_weights, periodic_weights, tanh_stretched


def test_interpolation_is_exact_for_cubics_and_periodic_on_a_circle():
    axis = MacAxis("x", tuple(tanh_stretched((0.0, 1.0), 8, 1.2)), False)
    cubic = np.polynomial.Polynomial([1, -2, 3, 4])
    matrix = lagrange_weights(axis.extended, axis.x)
    assert matrix @ cubic(axis.extended) == pytest.approx(cubic(axis.x), abs=1e-13)
    assert np.abs(lagrange_weights(axis.extended, axis.x, 3) @ cubic(axis.extended) - cubic(axis.x)).max() > 1e-4
    errors = []
    for n in (32, 64):
        circle = MacAxis("x", tuple(np.linspace(0, 1, n + 1)), True)
        wave = lambda x: np.sin(2 * np.pi * x + 0.3)
        errors.append(np.abs(periodic_weights(circle.centres, circle.x, 1.0) @ wave(circle.centres) - wave(circle.x)).max())
    assert errors[1] < 1e-5
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.1)


def test_stretched_nodes_cluster_at_both_ends_and_keep_every_second_node():
    fine, coarse = tanh_stretched((1.0, 3.0), 16, 2.0), tanh_stretched((1.0, 3.0), 8, 2.0)
    assert fine[::2] == pytest.approx(coarse, abs=1e-15)
    assert np.diff(fine)[0] < 0.2 * np.diff(fine)[8]
    assert np.diff(fine) == pytest.approx(np.diff(fine)[::-1])
    assert MacAxis("x", tuple(fine), False).coarser().nodes == tuple(fine[::2])


@pytest.mark.parametrize("around", [(0.1, 0.3), (0.0, 0.3), (0.5, 1.0)])
def test_clustered_nodes_are_fine_where_asked_and_grow_slowly(around):
    nodes = np.array(js.solvers.clustered((0, 1), around, 0.01, growth=1.1))
    widths = np.diff(nodes)
    inside = (nodes[:-1] >= around[0] - 1e-12) & (nodes[1:] <= around[1] + 1e-12)
    assert widths[inside].max() <= 0.01 + 1e-15
    assert np.ptp(widths[inside]) < 1e-12
    assert len(nodes) % 2 == 1
    assert (nodes[0], nodes[-1]) == (0, 1)
    ratios = widths[1:] / widths[:-1]
    assert max(ratios.max(), 1 / ratios.min()) < 1.1 * 1.02
    assert len(nodes) < 75  # an even grid would have 101


@pytest.mark.parametrize("arguments", [((0, 1), (0.5, 0.4), 0.01), ((0, 1), (-0.1, 0.4), 0.01), ((0, 1), (0.2, 0.4), 0.3)])
def test_clustered_refuses_parts_that_do_not_fit(arguments):
    with pytest.raises(ValueError, match="clustered: needs low <= first < last <= high"):
        js.solvers.clustered(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 5}, "n must be even whole numbers >= 4, got 5"),
        ({"n": (8, 2)}, "n must be even whole numbers >= 4"),
        ({"dt": -1.0}, "dt must be positive, got -1.0"),
        ({"stretch": {"x": -1.0}}, "strength of stretching must be positive"),
        ({"steady": 0.0}, "steady must be a positive rate or None"),
        ({"solid_cells": 0}, "solid_cells must be positive"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        js.Staggered(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": (8, 8, 8)}, "n has 3 entries for the 2 axes x, y"),
        ({"stretch": {"z": 1.0}}, "stretch and nodes name axes of the problem, 'x', 'y'; got 'z'"),
        ({"nodes": {"x": (0, 0.2, 0.1, 0.5, 1)}}, "the nodes of x must increase from 0 to 1 and be five or more"),
        ({"nodes": {"x": (0, 0.2, 0.4, 0.6, 0.8)}}, "the nodes of x must increase from 0 to 1"),
    ],
)
def test_grids_that_do_not_fit_the_box_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        js.solve(js.problems.lid_driven_cavity(), js.Staggered(**options))


def test_methods_are_hashable_and_equal_by_value():
    a, b = (js.Staggered(stretch={"y": 1.5, "x": 1}, nodes={"x": [0, 1, 2]}) for _ in range(2))
    assert a == b
    assert hash(a) == hash(b)
    assert a.stretch == (("x", 1.0), ("y", 1.5))
