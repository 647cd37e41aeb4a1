"""Models from files and back: nothing is lost, and what is no model is refused in one line."""

import copy
import gzip
import json

import numpy as np
import pytest

import jaxsci as js
from jaxsci.metabolism.json_file import from_dictionary, to_dictionary
from jaxsci.metabolism.model import StoichiometricModel


@pytest.fixture(scope="module")
def core():
    return js.metabolism.load("e_coli_core")


@pytest.fixture(scope="module")
def cobra():
    pytest.importorskip("cobra")
    import cobra

    return cobra


def same(one, other):
    assert one.network == other.network
    for name in ("lower", "upper", "objective"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    return True


# --- what is read -----------------------------------------------------------------------------------------------------


def test_the_bundled_core_model(core):
    assert (len(core.metabolites), len(core.reactions), len(core.genes)) == (72, 95, 137)
    assert np.linalg.matrix_rank(core.stoichiometry) == 67
    assert core.lower.dtype == np.float64
    assert core.medium["EX_glc__D_e"] == 10.0
    assert core.lower[core.index("ATPM")] == 8.39
    network = core.network
    assert network.detail("metabolites", "glc__D_e", "formula") == "C6H12O6"
    assert network.detail("metabolites", "atp_c", "charge") == -4
    assert network.detail("genes", "b1241", "name") == "adhE"
    assert network.detail("reactions", "PFK", "annotation")["ec-code"] == "2.7.1.11"
    assert network.detail("metabolites", "atp_c", "nothing", 3) == 3
    assert network.compartments[network.metabolite_index["atp_c"]] == "c"


def test_the_bundled_model_is_the_file_it_was_made_of(core, cobra, shared):
    assert same(js.metabolism.load(shared / "metabolic" / "e_coli_core.xml"), core)


def test_growth_of_the_bundled_model_by_cobrapy(core, cobra):
    assert js.metabolism.to_cobra(core).slim_optimize() == pytest.approx(0.8739215069684279, rel=1e-12)


def test_a_model_of_cobrapys_package_and_a_cobra_model(core, cobra):
    textbook = js.metabolism.load("textbook")
    assert textbook.medium == core.medium
    assert same(js.metabolism.load(cobra.io.load_model("textbook")), textbook)
    assert js.metabolism.load(textbook) is textbook


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [("iJO1366", (1805, 2583, 1367)), ("salmonella", (2436, 3357, 1707))])
def test_large_models_and_their_way_through_sbml(cobra, tmp_path, name, shape):
    model = js.metabolism.load(name)
    assert (len(model.metabolites), len(model.reactions), len(model.genes)) == shape
    assert model.medium == js.metabolism.to_cobra(model).medium
    for ending in (".json", ".xml.gz"):
        assert same(js.metabolism.load(js.metabolism.save(model, tmp_path / f"m{ending}")), model)


# --- and back ---------------------------------------------------------------------------------------------------------


def awkward(core):
    """The core with all that a file can carry: infinite bounds, odd weights, notes, a group, a gene in no rule."""
    content = to_dictionary(core.with_bounds({"PFK": (-np.inf, np.inf), "PGI": (-0.1, 1.25e-7)}))
    content["notes"] = {"author": "A. Uthor", "remark": "x < y & z"}
    content["name"] = "core, changed"
    content["genes"].append({"id": "b0000", "name": "lonely"})
    content["reactions"][3]["objective_coefficient"] = -0.25
    content["reactions"][3]["subsystem"] = "Glycolysis"
    next(r for r in content["reactions"] if r["id"] == "PYK")["subsystem"] = "Kinases"
    content["reactions"][4]["notes"] = {"confidence": "4"}
    content["groups"] = [
        {"id": "g1", "name": "two", "kind": "collection", "members": [["Metabolite", "atp_c"], ["Reaction", "PFK"]]},
        {"id": "g2", "name": "Kinases", "kind": "partonomy", "members": [["Reaction", "PYK"]], "notes": {"said": "1 > 0"}},
    ]
    return from_dictionary(content)


@pytest.mark.parametrize("ending", [".json", ".json.gz", ".xml", ".sbml", ".xml.gz"])
def test_nothing_is_lost(core, tmp_path, ending):
    if "json" not in ending:
        pytest.importorskip("cobra")
    model = awkward(core)
    path = js.metabolism.save(model, tmp_path / f"model{ending}")
    assert same(js.metabolism.load(path), model)
    assert [p.name for p in tmp_path.iterdir()] == [f"model{ending}"]
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == ending.endswith(".gz")


def test_our_json_is_cobrapys(core, cobra, tmp_path):
    model = cobra.io.load_json_model(str(js.metabolism.save(core, tmp_path / "core.json")))
    assert model.slim_optimize() == pytest.approx(0.8739215069684279, rel=1e-12)
    assert model.medium == core.medium
    cobra.io.save_json_model(model, str(tmp_path / "theirs.json"))
    theirs = js.metabolism.load(tmp_path / "theirs.json")
    assert theirs.reactions == core.reactions
    np.testing.assert_array_equal(theirs.stoichiometry, core.stoichiometry)


def test_saving_where_it_is_not_possible(core, tmp_path):
    with pytest.raises(ValueError, match=r"the ending says what to write: \.json"):
        js.metabolism.save(core, tmp_path / "core.txt")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        js.metabolism.save(core, tmp_path / "no" / "core.json")
    with pytest.raises(TypeError, match="a StoichiometricModel is needed, got dict"):
        js.metabolism.save({}, tmp_path / "core.json")
    with pytest.raises(ValueError, match=r"a batch of shape \[2\]; take one"):
        js.metabolism.save(core.with_bounds({"PFK": (0.0, np.ones(2))}), tmp_path / "core.json")
    crossed = StoichiometricModel(core.network, core.upper + 1, core.upper, core.objective)
    (tmp_path / "old.json").write_text("old")
    with pytest.raises(ValueError, match="the lower bound is above the upper one"):
        js.metabolism.save(crossed, tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["old.json"]


# --- what is no model -------------------------------------------------------------------------------------------------


def change(key, value):
    def apply(content):
        content[key] = value

    return apply


def reaction(**values):
    return lambda content: content["reactions"][0].update(values)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.pop("reactions"), "this is no model: reactions missing"),
        (change("metabolites", {}), "metabolites are a list of objects, got an object"),
        (lambda c: c["genes"].append({"name": "x"}), "genes: entry 137 has no id"),
        (lambda c: c["reactions"].append(c["reactions"][1]), "reactions: the id 'PFL' stands more than once"),
        (lambda c: c["metabolites"].append(c["metabolites"][0]), "metabolites: the id 'glc__D_e' stands more than once"),
        (lambda c: c["reactions"][0].pop("lower_bound"), "reaction 'PFK': lower_bound missing"),
        (reaction(lower_bound=2000.0), "reaction 'PFK': the lower bound is above the upper one"),
        (reaction(upper_bound=float("nan")), "reaction 'PFK': upper_bound is a number, got nan"),
        (reaction(upper_bound="high"), "upper_bound is a number, got 'high'"),
        (reaction(upper_bound=None), "upper_bound is a number, got None"),
        (reaction(upper_bound=True), "upper_bound is a number, got True"),
        (reaction(lower_bound="inf", upper_bound="inf"), "no flux lies between the bounds"),
        (reaction(objective_coefficient=float("inf")), "objective_coefficient is a finite number, got inf"),
        (reaction(metabolites={"atp_cc": 1.0}), "reaction 'PFK': metabolite 'atp_cc' does not exist. Did you mean 'atp_c'"),
        (reaction(metabolites={"atp_c": "one"}), "the coefficient of 'atp_c' is a finite number, got 'one'"),
        (reaction(metabolites=["atp_c"]), "metabolites are an object"),
        (reaction(gene_reaction_rule="b1 and"), "reaction 'PFK': the gene rule 'b1 and' cannot be read"),
        (reaction(gene_reaction_rule=3), "reaction 'PFK': a gene rule is a text, got 3"),
    ],
)
def test_json_that_is_no_model(core, tmp_path, spoil, message):
    content = copy.deepcopy(to_dictionary(core))
    spoil(content)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        js.metabolism.load(path)
    assert str(caught.value).startswith("bad.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{'a': 1}", r"a.json: this is not JSON \(line 1"),
        ("a.json", b"[1, 2]", "a model is a JSON object with metabolites, reactions and genes, got a list"),
        ("a.json", b"{}", "metabolites and reactions missing"),
        ("a.json", b'{"id": 1, "id": 2}', "the key 'id' stands twice"),
        ("a.json", b"\xff\xfe\x00", "this is not JSON"),
        ("a.json.gz", b"plain", "this is no whole gzip file"),
        ("a.json.gz", gzip.compress(b'{"a": 1}' * 99, mtime=0)[:20], "this is no whole gzip file"),
        ("a.mat", b"", r"the ending is none of \.json"),
    ],
)
def test_files_that_are_no_model(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        js.metabolism.load(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"<?xml version='1.0'?><sbml/>", b"no xml at all"])
def test_files_that_are_no_sbml(cobra, tmp_path, content):
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.xml: this is no model in SBML"):
        js.metabolism.load(tmp_path / "a.xml")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("e_coli_cor", ValueError, "the model 'e_coli_cor' does not exist. Did you mean 'e_coli_core'"),
        ("nowhere/core.json", FileNotFoundError, "nowhere/core.json: there is no such file"),
        ("", ValueError, "the file has no name"),
        (3, TypeError, "a path, a name or a cobra.Model is needed, got int"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_sources_that_do_not_exist(source, error, message):
    with pytest.raises(error, match=message):
        js.metabolism.load(source)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(ValueError, match="this is a folder"):
        js.metabolism.load(tmp_path / "a.json")


def test_without_cobrapy_the_message_says_what_to_install(monkeypatch, tmp_path, core):
    import importlib.util
    import sys

    monkeypatch.setitem(sys.modules, "cobra.io", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (tmp_path / "a.xml").write_text("<sbml/>")
    for call in (
        lambda: js.metabolism.load(tmp_path / "a.xml"),
        lambda: js.metabolism.load("iJO1366"),
        lambda: js.metabolism.save(core, tmp_path / "b.xml"),
    ):
        with pytest.raises(ImportError, match=r"pip install 'jaxsci\[metabolism\]'"):
            call()
    assert js.metabolism.load("e_coli_core").network == core.network


def test_what_a_model_cannot_hold_is_refused(cobra):
    for message, change in {
        "constraints or variables beside its metabolites and reactions.*'mine'": lambda m: m.add_cons_vars(
            m.problem.Constraint(m.reactions.PFK.flux_expression, ub=2, name="mine")
        ),
        "its objective has a constant, 3": lambda m: setattr(
            m, "objective", m.problem.Objective(m.reactions.PFK.flux_expression + 3)
        ),
    }.items():
        model = cobra.io.load_model("textbook")
        change(model)
        with pytest.raises(ValueError, match=message):
            js.metabolism.load(model)
