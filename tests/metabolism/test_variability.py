"""Flux variability: two programmes a reaction by HiGHS, cobrapy's table, the loop law against all sign patterns, batches."""

from __future__ import annotations

import dataclasses
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

import jaxsci as js
from jaxsci.metabolism import INFEASIBLE, MAX_STEPS, OPTIMAL
from jaxsci.metabolism.loopless import is_loopless, remove_loops
from jaxsci.metabolism.variability import flux_variability

MODEL = js.metabolism.load("e_coli_core")
GROWTH = 0.8739215069684279


def highs(model, reaction, sign, floor, lower=None, upper=None):
    c = np.asarray(model.objective, float)
    weight = np.zeros(len(c))
    weight[reaction] = -sign
    found = linprog(
        weight,
        A_ub=-c[None],
        b_ub=[-floor],
        A_eq=model.stoichiometry,
        b_eq=np.zeros(len(model.metabolites)),
        bounds=np.stack([model.lower if lower is None else lower, model.upper if upper is None else upper], 1),
        method="highs",
    )
    return -sign * found.fun if found.status == 0 else None


ranges = jax.jit(lambda model, fraction: flux_variability(model, fraction=fraction))


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [1.0, 0.9, 0.0])
def test_ranges_of_the_core_model_are_those_of_highs(fraction):
    found = ranges(MODEL, fraction)
    assert found.status == OPTIMAL
    floor = fraction * GROWTH - 1e-12
    for j in range(0, len(MODEL.reactions), 1 if fraction == 0.9 else 4):
        np.testing.assert_allclose(found.minimum[j], highs(MODEL, j, -1.0, floor), atol=1e-7)
        np.testing.assert_allclose(found.maximum[j], highs(MODEL, j, 1.0, floor), atol=1e-7)


def test_cobrapy_finds_the_same():
    cobra = pytest.importorskip("cobra")
    from cobra.flux_analysis import flux_variability_analysis

    peer = js.metabolism.to_cobra(MODEL)
    assert isinstance(peer, cobra.Model)
    table = flux_variability_analysis(peer, fraction_of_optimum=0.9, processes=1).loc[list(MODEL.reactions)]
    found = ranges(MODEL, 0.9)
    np.testing.assert_allclose(found.minimum, table["minimum"], atol=1e-7)
    np.testing.assert_allclose(found.maximum, table["maximum"], atol=1e-7)


@pytest.mark.slow
def test_some_reactions_of_a_batch_with_an_infeasible_member_and_the_derivative():
    glucose = MODEL.index("EX_glc__D_e")
    names = ["EX_ac_e", "PGI", "GLCpts"]

    @jax.jit
    def solve(uptakes):
        def widest(uptakes):
            lower = jnp.tile(jnp.asarray(MODEL.lower), (len(uptakes), 1)).at[:, glucose].set(-uptakes)
            found = flux_variability(dataclasses.replace(MODEL, lower=lower), names, 0.5)
            return jnp.where(found.status[:, None] == OPTIMAL, found.maximum, 0.0)[:, 0].sum(), found

        return jax.grad(widest, has_aux=True)(uptakes)

    slope, found = solve(jnp.array([10.0, 0.0, 5.0]))
    assert found.status.tolist() == [OPTIMAL, INFEASIBLE, OPTIMAL]
    assert found.minimum.shape == (3, 3)
    assert np.isnan(np.asarray(found.maximum[1])).all()
    whole = ranges(MODEL, 0.5)
    index = [MODEL.index(name) for name in names]
    np.testing.assert_allclose(found.minimum[0], whole.minimum[np.array(index)], atol=1e-9)
    np.testing.assert_allclose(found.maximum[0], whole.maximum[np.array(index)], atol=1e-9)
    ends = [solve(jnp.array([10.0 + h, 0.0, 5.0 + h]))[1].maximum[:, 0] for h in (1e-5, -1e-5)]
    np.testing.assert_allclose(slope[np.array([0, 2])], ((ends[0] - ends[1]) / 2e-5)[np.array([0, 2])], atol=1e-6)
    assert slope[1] == 0


def by_all_signs(model, reaction, sign, floor):
    """The loop law by brute force: every choice of directions that no internal cycle has, one programme each."""
    S = model.stoichiometry
    inner = [j for j, name in enumerate(model.reactions) if name not in model.network.boundary]
    best = None
    for signs in itertools.product((-1, 1), repeat=len(inner)):
        unit = np.array(signs, float)
        cycle = linprog(-np.ones(len(inner)), A_eq=S[:, inner] * unit, b_eq=np.zeros(len(S)), bounds=(0, 1), method="highs")
        if cycle.fun < -1e-9:
            continue
        lower, upper = np.array(model.lower, float), np.array(model.upper, float)
        for j, s in zip(inner, signs, strict=True):
            lower[j], upper[j] = (max(lower[j], 0), upper[j]) if s > 0 else (lower[j], min(upper[j], 0))
        if (lower > upper).any():
            continue
        value = highs(model, reaction, sign, floor, lower, upper)
        if value is not None and (best is None or sign * value > sign * best):
            best = value
    return best


@pytest.mark.slow
def test_loopless_ranges_are_those_of_all_sign_patterns():
    """Two cycles that share a reaction, one of them also the way to the product."""
    toy = js.metabolism.from_equations(
        {"in": "-> a", "r1": "a <=> b", "r2": "b <=> c", "r3": "c <=> a", "r4": "b <=> d", "r5": "d <=> c", "out": "c ->"},
        "out",
        bounds={"in": (0, 10), "r1": (-50, 100), "r5": (-30, 70)},
    )
    with_loops = flux_variability(toy, fraction=0.5)
    found = flux_variability(toy, fraction=0.5, loopless=True)
    for j in range(len(toy.reactions)):
        np.testing.assert_allclose(found.minimum[j], by_all_signs(toy, j, -1.0, 5.0), atol=1e-8)
        np.testing.assert_allclose(found.maximum[j], by_all_signs(toy, j, 1.0, 5.0), atol=1e-8)
    assert float((with_loops.maximum - found.maximum).max()) > 50


@pytest.mark.slow
def test_loopless_ranges_of_the_core_model():
    """cobrapy raises an exception here. Only the cycle of SUCDi and FRD7 goes."""
    with_loops = ranges(MODEL, 1.0)
    found = flux_variability(MODEL, ["FRD7", "SUCDi", "PGI", "ATPM"], loopless=True)
    index = np.array([MODEL.index(name) for name in ("FRD7", "SUCDi", "PGI", "ATPM")])
    np.testing.assert_allclose(found.maximum[:2], [0.0, with_loops.minimum[index[1]]], atol=1e-7)
    np.testing.assert_allclose(found.minimum, with_loops.minimum[index], atol=1e-9)
    np.testing.assert_allclose(found.maximum[2:], with_loops.maximum[index[2:]], atol=1e-9)


@pytest.mark.slow
def test_cycles_are_taken_off():
    v = np.zeros(len(MODEL.reactions))
    base = np.asarray(js.metabolism.fba(MODEL).fluxes)
    v[:] = base
    v[[MODEL.index("FRD7"), MODEL.index("SUCDi")]] += 300.0
    assert np.abs(MODEL.stoichiometry @ v).max() < 1e-9
    assert not is_loopless(MODEL, v)
    clean = remove_loops(MODEL, v)
    assert is_loopless(MODEL, clean)
    outside = [MODEL.index(name) for name in MODEL.network.boundary]
    np.testing.assert_allclose(clean[outside], base[outside], atol=1e-9)
    np.testing.assert_allclose(MODEL.objective @ clean, GROWTH, rtol=1e-9)
    assert np.abs(MODEL.stoichiometry @ clean).max() < 1e-9


@pytest.mark.slow
def test_an_infinite_range():
    toy = js.metabolism.from_equations({"in": "-> a", "out": "a ->", "more": "a ->"}, "out", bounds={"out": (0, 1)})
    open_ended = toy.with_bounds({"in": (0, np.inf), "more": (0, np.inf)})
    found = flux_variability(open_ended)
    np.testing.assert_allclose(found.maximum, [np.inf, 1.0, np.inf])
    np.testing.assert_allclose(found.minimum, [1.0, 1.0, 0.0], atol=1e-9)


def test_wrong_input():
    with pytest.raises(TypeError, match=r"list of names, got the text 'PGI'; write \['PGI'\]"):
        flux_variability(MODEL, "PGI")
    with pytest.raises(KeyError, match="'PGJ' does not exist"):
        flux_variability(MODEL, ["PGJ"])
    with pytest.raises(TypeError, match="outside of jit"):
        jax.jit(lambda m: flux_variability(m, loopless=True))(MODEL)
    with pytest.raises(ValueError, match="fluxes are of one distribution"):
        is_loopless(MODEL, np.zeros(3))


@pytest.mark.slow
def test_progress_and_what_the_search_gives_up(monkeypatch):
    """Parts of two programmes; those that the batched search does not end are solved by HiGHS: the same ranges."""
    names = ["PGI", "EX_ac_e"]
    expected = flux_variability(MODEL, names, fraction=0.9)
    module = importlib.import_module("jaxsci.metabolism.variability")
    search, lines = module._extremes_compiled, []

    def fails(*programmes):
        found = search(*programmes)
        lost = {name: jnp.full_like(getattr(found, name), jnp.nan) for name in ("value", "x")}
        return found._replace(status=jnp.full_like(found.status, MAX_STEPS), **lost)

    monkeypatch.setattr(module, "_extremes_compiled", fails)
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    found = flux_variability(MODEL, names, fraction=0.9, progress=lines.append)
    assert lines == ["3 of 4 ends of ranges known", "4 of 4 ends of ranges known"]
    assert found.status == OPTIMAL
    np.testing.assert_allclose(found.minimum, expected.minimum, atol=1e-8)
    np.testing.assert_allclose(found.maximum, expected.maximum, atol=1e-8)


@pytest.mark.slow
def test_a_genome_scale_model_and_the_reaction_that_cobrapy_misses():
    """Growth of iJO1366 needs 2e-6 of EX_meoh_e a unit, below what cobrapy's table shows."""
    pytest.importorskip("cobra")
    model = js.metabolism.load("iJO1366")
    names = ["EX_meoh_e", "MEPCT", "PRMICI", "DHAtpp", "APH141", "GLYt4pp"]
    found = flux_variability(model, names, fraction=0.95)
    assert found.status == OPTIMAL
    assert found.maximum[0] >= 1.96e-6
    growth, floor = int(np.argmax(model.objective)), np.array(model.lower)
    floor[growth] = 0.95 * 0.9823718127269633
    S = model.network.matrix
    for k, name in enumerate(names):
        for sign, end in ((1.0, found.minimum), (-1.0, found.maximum)):
            weight = np.zeros(len(model.reactions))
            weight[model.index(name)] = sign
            options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
            peer = linprog(
                weight, A_eq=S, b_eq=np.zeros(S.shape[0]), bounds=np.stack([floor, model.upper], 1), method="highs-ds",
                options=options,
            )  # fmt: skip
            np.testing.assert_allclose(end[k], sign * peer.fun, atol=1e-7)
