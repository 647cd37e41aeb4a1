"""Deletions: every mutant against HiGHS or cobrapy, golden counts, what stops what, and bad input."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from scipy.optimize import linprog

from jaxsci.metabolism.deletions import double_deletion, single_deletion
from jaxsci.metabolism.files import load
from jaxsci.metabolism.linear_program import INFEASIBLE, MAX_STEPS, OPTIMAL, UNBOUNDED
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.network import Network

WILD = 0.8739215069684279


@pytest.fixture(scope="module")
def core() -> StoichiometricModel:
    return load("e_coli_core")


@pytest.fixture(scope="module")
def pairs(core):
    return double_deletion(core, kind="reaction")


def by_highs(model, lower, upper):
    """(growth, status) of one mutant, NaN where infeasible."""
    found = linprog(
        -model.objective,
        A_eq=model.network.matrix,
        b_eq=np.zeros(len(model.metabolites)),
        bounds=np.stack([lower, upper], 1),
    )
    return (-found.fun, OPTIMAL) if found.status == 0 else (np.nan, INFEASIBLE)


def without(model, reactions):
    lower, upper = np.array(model.lower), np.array(model.upper)
    lower[list(reactions)] = upper[list(reactions)] = 0.0
    return lower, upper


def test_all_reaction_pairs_of_the_core_model(core, pairs):
    """4,560 pairs: 1,668 lethal and 352 infeasible by cobrapy with GLPK (anchors 2.2); 200 drawn ones by HiGHS."""
    assert len(pairs.growth) == 4560
    assert int(pairs.lethal().sum()) == 1668
    assert int((pairs.status == INFEASIBLE).sum()) == 352
    assert pairs.wild_type == pytest.approx(WILD, rel=1e-12)
    assert pairs.solved < 450  # the pool certifies the others
    for k in np.random.default_rng(0).choice(4560, 200, replace=False):
        growth, status = by_highs(core, *without(core, pairs.deleted[k]))
        assert pairs.status[k] == status
        if status == OPTIMAL:
            assert pairs.growth[k] == pytest.approx(growth, abs=1e-7)


def test_all_gene_pairs_of_the_core_model(core):
    """991 lethal pairs (anchors 2.2)."""
    single = single_deletion(core)
    double = double_deletion(core, pool=single.pool)
    assert len(double.growth) == 9453
    assert int(double.lethal().sum()) == 991
    assert int(single.lethal().sum()) == 7
    diagonal = double.deleted[:, 0] == double.deleted[:, 1]
    np.testing.assert_array_equal(double.status[diagonal], single.status)
    np.testing.assert_allclose(double.growth[diagonal], single.growth, atol=1e-9)
    # A pair grows no faster than either alone: deletions of genes only take away.
    alone = np.where(single.status == OPTIMAL, single.growth, -1.0)
    both = np.where(double.status == OPTIMAL, double.growth, -1.0)
    assert (both <= alone[double.deleted].min(1) + 1e-9).all()
    # Everything is in the pool by now: nothing is left to solve.
    assert double_deletion(core, pool=double.pool).solved == 0


def test_against_cobra(core):
    pytest.importorskip("cobra")
    from cobra.flux_analysis import double_gene_deletion, single_reaction_deletion

    from jaxsci.metabolism.sbml_file import to_cobra

    theirs = to_cobra(core)
    table = single_reaction_deletion(theirs, processes=1)
    known = {next(iter(ids)): growth for ids, growth in zip(table["ids"], table["growth"], strict=True)}
    ours = single_deletion(core, kind="reaction")
    np.testing.assert_allclose(ours.growth, [known[name] for (name,) in ours.names], atol=1e-9)
    genes = list(core.genes[:20])
    table = double_gene_deletion(theirs, genes, genes, processes=1)
    known = {frozenset(ids): growth for ids, growth in zip(table["ids"], table["growth"], strict=True)}
    double = double_deletion(core, [tuple(sorted(ids)) * (3 - len(ids)) if len(ids) == 1 else tuple(ids) for ids in known])
    np.testing.assert_allclose(double.growth, list(known.values()), atol=1e-9)


def test_isozymes_stop_a_reaction_only_together():
    """in -> a; a -> b by g1 or g2; b -> out by g3 and g4; a -> out at half the worth by g5."""
    S = np.array([[1.0, -1.0, 0.0, -1.0], [0.0, 1.0, -1.0, 0.0]])
    net = Network(S, ("in", "turn", "out", "waste"), ("a", "b"), (), ("", "g1 or g2", "g3 and g4", "g5"))
    model = StoichiometricModel(net, np.zeros(4), np.full(4, 10.0), np.array([0, 0, 1.0, 0.5]))
    single = single_deletion(model)
    assert dict(zip([name for (name,) in single.names], single.growth.round(9).tolist(), strict=True)) == {
        "g1": 10.0, "g2": 10.0, "g3": 5.0, "g4": 5.0, "g5": 10.0,
    }  # fmt: skip
    double = double_deletion(model, [("g1", "g2"), ("g1", "g3"), ("g3", "g5"), ("g2", "g2")])
    np.testing.assert_allclose(double.growth, [5, 5, 0, 10], atol=1e-12)
    assert double.names == [("g1", "g2"), ("g1", "g3"), ("g3", "g5"), ("g2",)]


def test_what_must_run_in_the_wild_type():
    """A reaction with a least flux may be deleted (its bounds become 0), but not what feeds it; one group of three reactions."""
    S = np.array([[1.0, -1.0, 0.0, -1.0], [0.0, 1.0, -1.0, 0.0]])  # in -> a -> b -> out, a -> waste
    net = Network(S, ("in", "turn", "out", "waste"), ("a", "b"))
    model = StoichiometricModel(net, np.array([0.0, 0.0, 2.0, 1.0]), np.full(4, 10.0), np.array([0, 0, 0, 1.0]))
    found = single_deletion(model, kind="reaction")
    for k in range(4):
        growth, status = by_highs(model, *without(model, [k]))
        assert found.status[k] == status
        np.testing.assert_allclose(found.growth[k], growth, atol=1e-9)
    assert found.status.tolist() == [INFEASIBLE, INFEASIBLE, OPTIMAL, OPTIMAL]
    assert found.growth[2] == pytest.approx(10.0)  # more than the wild type's 8
    double = double_deletion(model, kind="reaction")
    for k, (i, j) in enumerate(double.deleted):
        growth, status = by_highs(model, *without(model, {int(i), int(j)}))
        assert double.status[k] == status
        np.testing.assert_allclose(double.growth[k], growth, atol=1e-9)


def test_atpm_may_be_deleted(core):
    found = single_deletion(core, ["ATPM"], kind="reaction")
    assert found.status[0] == OPTIMAL
    assert found.growth[0] == pytest.approx(by_highs(core, *without(core, [core.index("ATPM")]))[0], abs=1e-9)
    assert found.growth[0] > WILD


def test_infinite_bounds():
    S = np.array([[1.0, -1.0, -1.0]])
    net = Network(S, ("in", "out", "other"), ("a",))
    model = StoichiometricModel(net, np.zeros(3), np.array([4.0, np.inf, np.inf]), np.array([0, 2.0, 1.0]))
    found = double_deletion(model, kind="reaction")
    np.testing.assert_allclose(found.growth, [0, 0, 0, 4, 0, 8], atol=1e-9)


def test_table_and_progress(core):
    lines: list[str] = []
    found = single_deletion(core, ["b1779", "b0008"], progress=lines.append)
    assert lines[-1].startswith("2 of 2 deletions known")
    slowest = found.table().splitlines()[1].split()
    assert slowest[0] == "b1779"
    assert slowest[2:] == ["0.00%", "optimal"]
    assert "and 1 more" in found.table(1)


def test_bad_input(core):
    with pytest.raises(KeyError, match=r"reaction 'PGJ' does not exist\. Did you mean"):
        single_deletion(core, ["PGJ"], kind="reaction")
    with pytest.raises(ValueError, match="'gene' or 'reaction', got 'genes'"):
        single_deletion(core, kind="genes")
    with pytest.raises(ValueError, match="pairs are of two names"):
        double_deletion(core, [("PGI",)], kind="reaction")
    batch = core.with_bounds({"EX_glc__D_e": (np.array([-1.0, -2.0]), None)})
    with pytest.raises(ValueError, match="deletions are of one model"):
        single_deletion(batch)
    pool = single_deletion(core, ["b1779"]).pool
    with pytest.raises(ValueError, match="other bounds or another objective"):
        single_deletion(core.with_bounds({"EX_glc__D_e": (-5.0, None)}), pool=pool)
    hungry = core.with_bounds({"EX_glc__D_e": (0.0, None)})
    with pytest.raises(RuntimeError, match="the model itself is infeasible"):
        single_deletion(hungry, ["b1779"])


@pytest.fixture
def given_up(monkeypatch):
    """A batched search that gives up on everything: HiGHS is then asked."""
    module = importlib.import_module("jaxsci.metabolism.value_function")
    search = module._solve

    def fails(*programmes):
        found = search(*programmes)
        lost = {
            name: np.full(np.shape(getattr(found, name)), np.nan) for name in ("value", "x", "reduced_costs", "row_prices")
        }
        return found._replace(status=np.full(np.shape(found.status), MAX_STEPS), **lost)

    monkeypatch.setattr(module, "_solve", fails)
    return module


def test_what_the_search_gives_up_highs_solves(core, given_up, monkeypatch):
    """Growth and statuses are the same, and its prices and fluxes settle other mutants as well."""
    found = single_deletion(core, kind="reaction")
    monkeypatch.undo()
    expected = single_deletion(core, kind="reaction")
    np.testing.assert_array_equal(found.status, expected.status)
    np.testing.assert_allclose(found.growth, expected.growth, atol=1e-8)
    assert found.solved < found.distinct


def test_highs_also_says_what_has_no_optimum(given_up):
    A, cost = np.array([[1.0, -1.0]]), np.array([1.0, 0.0])
    low, high = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [9.0, 1.0], [np.inf, np.inf]])
    start = importlib.import_module("jaxsci.metabolism.starting_vertex").slack_start(A)
    found = given_up.solve_batch(A, start, cost, low, high, (low[0], high[0]), 4)
    assert found.status.tolist() == [OPTIMAL, INFEASIBLE, UNBOUNDED]
    assert found.steps.tolist() == [-1, -1, -1]
    np.testing.assert_allclose(found.value[0], 3.0)
    np.testing.assert_allclose(found.x[0], [3.0, 3.0])
    np.testing.assert_allclose(np.maximum(found.reduced_costs[0] * low[0], found.reduced_costs[0] * high[0]).sum(), 3.0)
