"""One-sided slopes: examples by hand, and differences of the optimum on both sides, at kinks and elsewhere."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.optimize import linprog

import jaxsci as js
from jaxsci.metabolism import INFEASIBLE
from jaxsci.metabolism.slopes import one_sided_slopes

MODEL = js.metabolism.load("e_coli_core")
STEP = 1e-4


def optimum(model, lower, upper):
    if (lower > upper).any():
        return -np.inf
    found = linprog(
        -np.asarray(model.objective), A_eq=model.stoichiometry, b_eq=np.zeros(len(model.metabolites)),
        bounds=np.stack([lower, upper], 1), method="highs",
    )  # fmt: skip
    return -found.fun if found.status == 0 else -np.inf


def differences(model, reaction):
    """(lower left, lower right, upper left, upper right) by HiGHS."""
    here = [np.array(model.lower, float), np.array(model.upper, float)]
    best = optimum(model, *here)
    out = []
    for which in (0, 1):
        for sign in (-1, 1):
            moved = [x.copy() for x in here]
            moved[which][reaction] += sign * STEP
            out.append(sign * (optimum(model, *moved) - best) / STEP)
    return out


@pytest.mark.slow
def test_core_against_differences():
    found = jax.jit(one_sided_slopes)(MODEL)
    chosen = [
        "EX_glc__D_e",
        "EX_o2_e",
        "EX_succ_e",
        "EX_fru_e",
        "ATPM",
        "PFL",
        "FORt",
        "GLUSy",
        "THD2",
        "PGI",
        "PPC",
        "EX_ac_e",
    ]
    kinks = 0
    for name in chosen:
        j = MODEL.index(name)
        ours = np.array([float(x[j]) for x in found[:4]])
        np.testing.assert_allclose(ours, differences(MODEL, j), atol=1e-7)
        kinks += np.abs(ours[0] - ours[1]) > 1e-6 or np.abs(ours[2] - ours[3]) > 1e-6
    assert kinks >= 4
    assert (np.asarray(found.lower_left) >= np.asarray(found.lower_right) - 1e-12).all()  # V is concave
    assert (np.asarray(found.upper_left) >= np.asarray(found.upper_right) - 1e-12).all()


slopes = jax.jit(one_sided_slopes)


def test_by_hand():
    """Growth min(in, out limit), a chain of two that hold one another, a fixed flux, a dead end."""
    toy = js.metabolism.from_equations(
        {"in": "-> a", "turn": "a -> 2 b", "out": "b ->", "fixed": "a ->", "dead": "a -> z"},
        "out",
        bounds={"in": (0, 5), "turn": (0, 4), "out": (0, 8), "fixed": (1, 1)},
    )
    found = slopes(toy)
    place = {name: toy.index(name) for name in toy.reactions}
    upper = lambda name: (float(found.upper_left[place[name]]), float(found.upper_right[place[name]]))
    lower = lambda name: (float(found.lower_left[place[name]]), float(found.lower_right[place[name]]))
    assert upper("in") == pytest.approx((2.0, 0.0))  # three limits meet: each can be tightened, none alone helps
    assert upper("turn") == pytest.approx((2.0, 0.0))
    assert upper("out") == pytest.approx((1.0, 0.0))
    assert upper("fixed") == (np.inf, 0.0)  # below its lower bound; more is allowed, not wanted
    assert lower("fixed")[1] == -np.inf
    assert lower("fixed")[0] == pytest.approx(0.0, abs=1e-12)
    assert upper("dead") == (0.0, 0.0)
    assert lower("dead") == (0.0, -np.inf)
    for name, j in place.items():
        np.testing.assert_allclose([float(x[j]) for x in found[:4]], differences(toy, j), atol=1e-7, err_msg=name)
    found = slopes(toy.with_bounds({"out": (9, 20)}))
    assert int(found.status) == INFEASIBLE
    assert np.isnan(np.asarray(found.upper_left)).all()


def test_an_unknown_reaction_is_named():
    with pytest.raises(KeyError, match="'PGJ' does not exist"):
        one_sided_slopes(MODEL, ["PGJ"])
