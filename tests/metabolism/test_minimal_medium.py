"""Minimal media: cobrapy's, all subsets by brute force, and growth on what is returned."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from scipy.optimize import linprog

import jaxsci as js
from jaxsci.metabolism.minimal_medium import minimal_medium

MODEL = js.metabolism.load("e_coli_core")


def growth(model, medium):
    held = model.with_medium(medium)
    found = linprog(
        -np.asarray(held.objective), A_eq=held.stoichiometry, b_eq=np.zeros(len(held.metabolites)),
        bounds=np.stack([held.lower, held.upper], 1), method="highs",
    )  # fmt: skip
    return -found.fun if found.status == 0 else -np.inf


@pytest.mark.parametrize("need", [0.1, 0.8])
def test_cobrapy_finds_as_little(need):
    pytest.importorskip("cobra")
    from cobra.medium import minimal_medium as theirs

    peer = js.metabolism.to_cobra(MODEL)
    total = theirs(peer, need)
    assert total is not None
    ours = minimal_medium(MODEL, need)
    np.testing.assert_allclose(sum(ours.values()), total.sum(), rtol=1e-6)
    few = minimal_medium(MODEL, need, fewest=True)
    fewest = theirs(peer, need, minimize_components=True)
    assert fewest is not None
    assert len(few) == len(fewest)
    assert len(few) <= len(ours)
    for medium in (ours, few):
        assert growth(MODEL, {name: uptake * (1 + 1e-9) for name, uptake in medium.items()}) >= need * (1 - 1e-7)
    assert sum(few.values()) >= sum(ours.values()) - 1e-9


def test_the_fewest_components_are_proven_by_all_subsets():
    toy = js.metabolism.from_equations(
        {"EX a": "a ->", "EX b": "b ->", "EX c": "c ->", "EX d": "d ->", "ab": "a + b -> x", "cx": "c -> 0.1 x", "dd": "2 d -> x",
         "grow": "x ->"}, "grow",
        bounds={"EX a": (-5, 10), "EX b": (-5, 10), "EX c": (-50, 10), "EX d": (-8, 10)},
    )  # fmt: skip
    for need in (1.0, 4.5, 6.0, 9.5):
        found = minimal_medium(toy, need, fewest=True)
        sizes = [
            k
            for k in range(5)
            for chosen in itertools.combinations(toy.medium, k)
            if growth(toy, {name: toy.medium[name] for name in chosen}) >= need - 1e-9
        ]
        assert len(found) == min(sizes)
        assert growth(toy, found) >= need - 1e-7
    assert minimal_medium(toy, 1.0) == pytest.approx({"EX a": 1.0, "EX b": 1.0}) or sum(
        minimal_medium(toy, 1.0).values()
    ) == pytest.approx(2.0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="cannot reach 5 with any uptake"):
        minimal_medium(MODEL, 5.0)
    with pytest.raises(TypeError, match="outside of jit"):
        jax.jit(lambda g: minimal_medium(MODEL, g))(0.1)
