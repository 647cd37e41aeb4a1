"""Parsimonious flux balance: the published total, HiGHS on split variables, derivatives, members without an optimum."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

import jaxsci as js
from jaxsci.metabolism import INFEASIBLE, OPTIMAL
from jaxsci.metabolism.parsimonious import parsimonious_fba

MODEL = js.metabolism.load("e_coli_core")
S = MODEL.stoichiometry
GLUCOSE, OXYGEN = MODEL.index("EX_glc__D_e"), MODEL.index("EX_o2_e")
TOTAL = 518.4220855176083


def highs(lower, upper, objective, floor):
    p, q = (
        np.stack([np.maximum(lower, 0), np.maximum(upper, 0)], 1),
        np.stack([np.maximum(-upper, 0), np.maximum(-lower, 0)], 1),
    )
    found = linprog(
        np.ones(2 * len(lower)),
        A_ub=-np.concatenate([objective, -objective])[None],
        b_ub=[-floor],
        A_eq=np.concatenate([S, -S], 1),
        b_eq=np.zeros(len(S)),
        bounds=np.concatenate([p, q]),
        method="highs",
    )
    return found.fun


@jax.jit
def of_batch(uptakes):
    """The totals, and their derivative by the uptakes of glucose and oxygen."""

    def solve(uptakes):
        lower = jnp.tile(jnp.asarray(MODEL.lower), (len(uptakes), 1)).at[:, np.array([GLUCOSE, OXYGEN])].set(-uptakes)
        found = parsimonious_fba(dataclasses.replace(MODEL, lower=lower))
        return jnp.where(found.status == OPTIMAL, found.total, 0.0).sum(), found

    return jax.grad(solve, has_aux=True)(uptakes)


@pytest.fixture(scope="module")
def case():
    draw = np.random.default_rng(0)
    uptakes = np.stack([draw.uniform(3, 20, 12), draw.uniform(0, 40, 12)], 1)
    uptakes[0], uptakes[1] = (10.0, 1000.0), (0.1, 0.0)
    gradient, found = of_batch(uptakes)
    return uptakes, jax.tree.map(np.asarray, found), np.asarray(gradient)


@pytest.mark.slow
def test_the_published_total_and_highs(case):
    uptakes, found, _ = case
    assert found.status[1] == INFEASIBLE
    assert np.isnan(found.total[1])
    np.testing.assert_allclose(found.total[0], TOTAL, rtol=1e-11)
    np.testing.assert_allclose(found.objective[0], 0.8739215069684279, rtol=1e-11)
    for k in np.flatnonzero(found.status == OPTIMAL):
        lower = np.array(MODEL.lower)
        lower[[GLUCOSE, OXYGEN]] = -uptakes[k]
        v = found.fluxes[k]
        assert np.abs(S @ v).max() < 1e-9
        assert (v >= lower - 1e-9).all()
        assert (v <= MODEL.upper + 1e-9).all()
        np.testing.assert_allclose(np.abs(v).sum(), found.total[k], rtol=1e-10)
        best = linprog(
            -MODEL.objective, A_eq=S, b_eq=np.zeros(len(S)), bounds=np.stack([lower, MODEL.upper], 1), method="highs"
        )
        np.testing.assert_allclose(found.objective[k], -best.fun, rtol=1e-9)
        np.testing.assert_allclose(found.total[k], highs(lower, MODEL.upper, MODEL.objective, -best.fun), rtol=1e-6)


def test_derivatives_are_differences(case):
    uptakes, _found, gradient = case
    step = 1e-5
    for k in range(2):
        way = np.eye(2)[k] * step
        ends = [np.asarray(of_batch(uptakes + sign * way)[1].total) for sign in (1, -1)]
        differences = (ends[0] - ends[1]) / (2 * step)
        good = np.isfinite(differences)
        good[0] = False  # its oxygen is not limited, its reverse reactions have kinks at 1000
        np.testing.assert_allclose(gradient[good, k], differences[good], rtol=1e-6, atol=1e-5)
    assert (gradient[1] == 0).all()
    assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_a_fraction_of_the_optimum_and_another_objective():
    """The start is the vertex of the model as it was loaded: another objective must not need it."""
    solve = jax.jit(parsimonious_fba)
    part = solve(MODEL, 0.9)
    growth = 0.8739215069684279
    np.testing.assert_allclose(part.objective, 0.9 * growth, rtol=1e-9)
    np.testing.assert_allclose(part.total, highs(MODEL.lower, MODEL.upper, MODEL.objective, 0.9 * growth), rtol=1e-9)
    assert part.total < TOTAL
    np.testing.assert_allclose(solve(MODEL, 1.0).total, TOTAL, rtol=1e-9)  # the row says the same as the box
    other = MODEL.with_objective("ATPM")
    best = linprog(
        -other.objective, A_eq=S, b_eq=np.zeros(len(S)), bounds=np.stack([other.lower, other.upper], 1), method="highs"
    )
    found = solve(other, 0.5)
    assert found.status == OPTIMAL
    np.testing.assert_allclose(found.total, highs(other.lower, other.upper, other.objective, -0.5 * best.fun), rtol=1e-9)


@pytest.mark.slow
def test_a_cycle_is_not_used():
    toy = js.metabolism.from_equations(
        {"in": "-> a", "there": "a <=> b", "back": "b <=> a", "out": "b ->"}, "out", bounds={"in": (0, 2)}
    )
    found = parsimonious_fba(toy)
    np.testing.assert_allclose(found.total, 6.0, atol=1e-9)
    np.testing.assert_allclose(np.abs(found.fluxes[1]) + np.abs(found.fluxes[2]), 2.0, atol=1e-9)


def test_a_fraction_is_a_part():
    with pytest.raises(ValueError, match=r"fraction is the part of the optimum that is kept, from 0 to 1, got 1\.5"):
        parsimonious_fba(MODEL, 1.5)
