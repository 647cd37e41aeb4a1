"""Enzyme capacity: HiGHS with the row written out, exact derivatives by differences, the example by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

import jaxsci as js
from jaxsci.metabolism import OPTIMAL
from jaxsci.metabolism.enzymes import enzyme_capacity

MODEL = js.metabolism.load("e_coli_core")
S = MODEL.stoichiometry
INNER = [name for name in MODEL.reactions if not name.startswith(("EX_", "BIOMASS", "ATPM"))]
DRAW = np.random.default_rng(0)
TURNOVER = {name: float(x) for name, x in zip(INNER, np.exp(DRAW.normal(4.0, 1.0, len(INNER))), strict=True)}
MASS = {name: float(x) for name, x in zip(INNER, DRAW.uniform(20, 150, len(INNER)), strict=True)}
GROWTH = 0.8739215069684279


def highs(turnover, budget):
    cost = np.array([MASS[n] / (3600 * turnover[n]) if n in turnover else 0.0 for n in MODEL.reactions])
    lower, upper = np.asarray(MODEL.lower), np.asarray(MODEL.upper)
    p, q = (
        np.stack([np.maximum(lower, 0), np.maximum(upper, 0)], 1),
        np.stack([np.maximum(-upper, 0), np.maximum(-lower, 0)], 1),
    )
    found = linprog(
        -np.concatenate([MODEL.objective, -MODEL.objective]), A_ub=np.concatenate([cost, cost])[None], b_ub=[budget],
        A_eq=np.concatenate([S, -S], 1), b_eq=np.zeros(len(S)), bounds=np.concatenate([p, q]), method="highs",
    )  # fmt: skip
    return -found.fun


@jax.jit
def growth(log_turnover, budget):
    """Growth and its derivatives by log k_cat of every enzyme and by the budget."""

    def value(log_turnover, budget):
        found = enzyme_capacity(MODEL, dict(zip(INNER, jnp.exp(log_turnover), strict=True)), MASS, budget)
        return found.objective, found

    return jax.value_and_grad(value, argnums=(0, 1), has_aux=True)(log_turnover, budget)


LOGS = np.log([TURNOVER[n] for n in INNER])


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0.02, 0.05, 5.0])
def test_growth_is_that_of_highs(budget):
    (value, found), (_, by_budget) = growth(LOGS, budget)
    assert found.status == OPTIMAL
    np.testing.assert_allclose(value, highs(TURNOVER, budget), rtol=1e-7)
    assert np.abs(S @ np.asarray(found.fluxes)).max() < 1e-9
    assert float(found.enzyme.sum()) <= budget * (1 + 1e-9)
    np.testing.assert_allclose(found.price, by_budget, rtol=1e-9, atol=1e-12)
    if budget == 5.0:  # enough of everything
        np.testing.assert_allclose(value, GROWTH, rtol=1e-9)
        assert by_budget == 0
    else:
        np.testing.assert_allclose(found.enzyme.sum(), budget, rtol=1e-9)


@pytest.mark.slow
def test_derivatives_are_differences_and_prices():
    (_, found), (by_log, by_budget) = growth(LOGS, 0.04)
    step = 1e-5
    way = np.random.default_rng(1).normal(size=len(INNER))
    ends = [float(growth(LOGS + sign * step * way, 0.04)[0][0]) for sign in (1, -1)]
    np.testing.assert_allclose(by_log @ way, (ends[0] - ends[1]) / (2 * step), rtol=1e-6)
    ends = [float(growth(LOGS, 0.04 + sign * step)[0][0]) for sign in (1, -1)]
    np.testing.assert_allclose(by_budget, (ends[0] - ends[1]) / (2 * step), rtol=1e-6)
    index = np.array([MODEL.index(n) for n in INNER])  # d V / d log k_j = price * mass of the enzyme
    np.testing.assert_allclose(by_log, found.price * found.enzyme[index], atol=1e-10)


def test_wrong_input():
    with pytest.raises(ValueError, match="budget is a mass in g/gDW > 0"):
        enzyme_capacity(MODEL, TURNOVER, MASS, 0.0)
    with pytest.raises(ValueError, match="turnover is > 0; leave a reaction out"):
        enzyme_capacity(MODEL, {"PGI": 0.0}, 40.0, 0.1)
    with pytest.raises(KeyError, match="'PFK'"):
        enzyme_capacity(MODEL, {"PGI": 10.0, "PFK": 1.0}, {"PGI": 40.0}, 0.1)
    with pytest.raises(KeyError, match="PGJ"):
        enzyme_capacity(MODEL, {"PGJ": 10.0}, 40.0, 0.1)
    with pytest.raises(ValueError, match=r"turnover is \[95 reactions\], got the shape \[3\]"):
        enzyme_capacity(MODEL, np.ones(3), 40.0, 0.1)
