"""The flux map: what is drawn, how it points, and the file for Escher."""

import json

import numpy as np
import pytest
import scipy.optimize

import jaxsci as js
from jaxsci.metabolism.core_map import central_metabolism
from jaxsci.metabolism.flux_map import _direction, escher_fluxes, plot_fluxes, save_escher
from jaxsci.metabolism.label_places import Label, place_labels
from jaxsci.metabolism.stress_map import _tangle, largest_fluxes

FLUXES = {"GLCpts": 10.0, "EX_glc__D_e": -10.0, "PGI": 10.0, "PFK": 10.0, "FBA": 10.0, "PGK": -20.0, "ENO": 20.0}


@pytest.fixture(scope="module")
def core():
    return js.metabolism.load("e_coli_core")


def test_every_place_of_the_map_is_used_and_every_edge_fits_its_reaction(core):
    layout = central_metabolism()
    ends = {name for edge in layout.edges for name in (*edge.sources, *edge.targets)}
    assert ends <= set(layout.places)
    assert set(layout.places) - ends == {"h_e"}  # protons have an exchange and no transport of their own
    drawn = {edge.reaction for edge in layout.edges} | set(layout.stubs)
    assert set(core.reactions) - drawn == {"BIOMASS_Ecoli_core_w_GAM", "ADK1"}
    for edge in layout.edges:
        column = core.stoichiometry[:, core.index(edge.reaction)]
        signs = [
            [np.sign(column[core.network.metabolite_index[name.rstrip("*")]]) for name in names]
            for names in (edge.sources, edge.targets)
        ]
        left, right = (set(side) - {0.0} for side in signs)
        assert len(left) <= 1, edge
        assert len(right) <= 1, edge
        assert left.isdisjoint(right), edge  # what is used and what is made stand on different sides
        assert left | right, edge


def test_arrows_turn_with_the_flux(core):
    edges = {edge.reaction: edge for edge in central_metabolism().edges}
    assert _direction(core, edges["PGI"]) == 1.0
    assert _direction(core, edges["PGK"]) == -1.0  # drawn downwards, written upwards


def test_the_picture_of_the_core(core, tmp_path):
    pytest.importorskip("matplotlib")
    figure = plot_fluxes(core, FLUXES, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "PGK -20" in texts
    assert "TKT1" in texts  # no flux: a name and no number
    assert {"g6p", "glc-D", "Glycolysis"} <= set(texts)
    assert any("e_coli_core" in text for text in texts)
    widths = {}
    for patch in figure.axes[0].patches:
        widths.setdefault(round(patch.get_linewidth(), 6), patch)
    assert len(widths) >= 4  # the wall, nothing, 10, 20


def test_the_picture_of_any_model(tmp_path):
    pytest.importorskip("matplotlib")
    toy = js.metabolism.from_equations(
        {"EX_a": "a_e <=>", "t": "a_e -> b_c", "r": "b_c -> c_c + d_c", "s": "c_c + d_c -> f_c", "EX_f": "f_c ->"}, "EX_f"
    )
    figure = plot_fluxes(toy, [-1.0, 1.0, 1.0, 1.0, 1.0], tmp_path / "map.svg")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"a_e", "b", "c", "d", "f", "EX_a -1", "s 1"} <= set(texts)
    with pytest.raises(ValueError, match="there is no flux to draw"):
        plot_fluxes(toy, np.zeros(5))
    with pytest.raises(ValueError, match="the layout is 'central' or 'largest', got 'x'"):
        plot_fluxes(toy, np.zeros(5), layout="x")


def test_places_follow_the_network(core):
    layout = largest_fluxes(core, FLUXES, count=4)
    assert len(layout.edges) == 4
    assert not set(layout.places) & {"atp_c", "adp_c", "h_c"}
    chain = js.metabolism.from_equations({f"r{k}": f"m{k}_c -> m{k + 1}_c" for k in range(8)})
    places = largest_fluxes(chain, dict.fromkeys(chain.reactions, 1.0)).places
    heights = [places[f"m{k}_c"][1] for k in range(9)]
    assert heights == sorted(heights, reverse=True)  # the way leads down
    gaps = [np.linalg.norm(np.subtract(places[f"m{k}_c"], places[f"m{k + 1}_c"])) for k in range(8)]
    np.testing.assert_allclose(gaps, 2.5, rtol=1e-3)


def test_escher(core, tmp_path):
    data = escher_fluxes(core, FLUXES)
    assert len(data) == 95
    assert data["PGK"] == -20.0
    assert json.loads(save_escher(tmp_path / "one.json", core, FLUXES).read_text()) == data
    both = save_escher(tmp_path / "two.json", core, [FLUXES, np.zeros(95)])
    assert json.loads(both.read_text()) == [data, dict.fromkeys(core.reactions, 0.0)]
    array = save_escher(tmp_path / "array.json", core, np.ones(95))
    assert json.loads(array.read_text())["PFK"] == 1.0
    with pytest.raises(ValueError, match=r"end in \.json"):
        save_escher(tmp_path / "one.csv", core, FLUXES)


def optimal_fluxes(core, oxygen):
    """By HiGHS: a vertex with some forty fluxes."""
    lower = np.array(core.lower)
    lower[core.index("EX_o2_e")] = -oxygen
    bounds = np.stack([lower, core.upper], 1)
    return scipy.optimize.linprog(-core.objective, A_eq=core.stoichiometry, b_eq=np.zeros(72), bounds=bounds).x


@pytest.mark.parametrize("layout", ["central", "largest"])
@pytest.mark.parametrize("oxygen", [1000.0, 0.0])
def test_no_words_overlap_and_labels_stand_beside_their_arrows(core, layout, oxygen):
    """As drawn: the boxes of all texts are apart, and no label lies on an arrow's line (within its middle half)."""
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = plot_fluxes(core, optimal_fluxes(core, oxygen), layout=layout)
    FigureCanvasAgg(figure)
    axes, texts = figure.axes[0], figure.axes[0].texts
    boxes = np.array([text.get_window_extent().extents for text in texts])
    assert len(boxes) > 50
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.triu(np.prod(np.maximum(high - low, 0.0), axis=-1), 1)
    names = [text.get_text() for text in texts]
    assert {(names[i], names[j]): shared[i, j] for i, j in np.argwhere(shared > 1.0)} == {}
    lines = [axes.transData.transform(patch.get_path().vertices) for patch in axes.patches[layout == "central" :]]
    points = np.concatenate(lines)
    labels = [k for k, text in enumerate(texts) if text.get_weight() != "bold"]  # metabolites are bold
    middle, quarter = (boxes[labels, :2] + boxes[labels, 2:]) / 2, (boxes[labels, 2:] - boxes[labels, :2]) / 4
    hit = (np.abs(points[None] - middle[:, None]) < quarter[:, None]).all(-1).any(1)
    assert [names[labels[k]] for k in np.flatnonzero(hit)] == []


def test_a_label_goes_where_nothing_is():
    """A straight arrow, a box above its middle and a curve below it: the label stands on the far side, or at the end."""
    arrow = np.stack([np.linspace(0.0, 4.0, 41), np.zeros(41)], 1)
    label = Label((0.4, 0.14), (arrow,), np.array([2.0, 0.0]), np.array([0.0, 1.0]))
    own = np.column_stack([arrow, np.full(41, 0.03)])
    free = place_labels([label], np.zeros((0, 4)), own)
    np.testing.assert_allclose(free[0], [2.0, 0.24], atol=1e-9)
    word = np.array([[2.0, 0.3, 0.6, 0.2]])
    np.testing.assert_allclose(place_labels([label], word, own)[0], [2.0, -0.24], atol=1e-9)  # on the other side
    many = [np.column_stack([arrow - [0.0, down], np.full(41, 0.1)]) for down in (0.3, 0.5, 0.7, 0.9)]
    moved = place_labels([label], word, np.concatenate([own, *many]))[0]
    assert moved[1] == pytest.approx(0.24)  # above again, and past the word
    assert abs(moved[0] - 2.0) >= 1.0
    two = place_labels([label, label], np.zeros((0, 4)), own)
    assert (np.abs(two[0] - two[1]) >= [0.8, 0.28]).any()


def test_of_several_layouts_the_least_tangled_is_drawn():
    square = [(0, 1), (1, 2), (2, 3), (3, 0)]
    straight = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
    assert _tangle(square, straight) == 0
    assert _tangle(square, straight[[0, 2, 1, 3]]) == 1  # a bow tie
    assert _tangle([(0, 1), (2, 3)], np.array([[0.0, 0.0], [4.0, 0.0], [2.0, 0.1], [2.0, 3.0]])) == 2  # 2 lies on 0 - 1
