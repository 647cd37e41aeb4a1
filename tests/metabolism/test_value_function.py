"""The value function against HiGHS: bounds that hold everywhere, and meet where they say so."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from jaxsci.metabolism.files import load
from jaxsci.metabolism.linear_program import INFEASIBLE, OPTIMAL
from jaxsci.metabolism.value_function import ValueFunction, value_function

UPTAKES = ("EX_glc__D_e", "EX_o2_e", "EX_nh4_e", "EX_pi_e")


def media(model, count, seed):
    """The media of the anchors (2.2): glucose 1-20, oxygen 0-40, ammonium 1-20, phosphate 0.5-10."""
    u = np.random.default_rng(seed).uniform([1, 0, 1, 0.5], [20, 40, 20, 10], (count, 4))
    return model.with_bounds({name: (-u[:, k], None) for k, name in enumerate(UPTAKES)})


def by_highs(model, lower, upper):
    found = linprog(
        -model.objective,
        A_eq=model.network.matrix,
        b_eq=np.zeros(len(model.metabolites)),
        bounds=np.stack([lower, upper], 1),
    )
    return -found.fun if found.status == 0 else -np.inf


@pytest.fixture(scope="module")
def core():
    return load("e_coli_core")


@pytest.fixture(scope="module")
def growth(core) -> ValueFunction:
    known = media(core, 200, 0)
    return value_function(core, known.lower, known.upper)


@pytest.mark.slow
def test_settles_what_it_was_built_for_with_few_planes(core, growth):
    known = media(core, 200, 0)
    value = growth(known.lower, known.upper)
    assert bool(value.settled.all())
    assert len(growth.pool.planes) <= 10
    alive = np.isfinite(np.asarray(value.upper))
    np.testing.assert_allclose(np.asarray(value.lower)[alive], np.asarray(value.upper)[alive], atol=1e-12)


@pytest.mark.slow
def test_unseen_media_are_bounded_and_solved(core, growth):
    """With five among them that have no glucose."""
    unseen = media(core, 1000, 1)
    unseen.lower[:5, core.index("EX_glc__D_e")] = 0.0
    value = growth(unseen.lower, unseen.upper)
    assert float(value.settled.mean()) > 0.95
    solved, status = growth.solve(unseen.lower, unseen.upper)
    assert (status[:5] == INFEASIBLE).all()
    for k in np.concatenate(
        [np.arange(60), np.flatnonzero(~np.asarray(value.settled)), np.flatnonzero(status == INFEASIBLE)]
    ):
        right = by_highs(core, unseen.lower[k], unseen.upper[k])
        assert (status[k] == OPTIMAL) == np.isfinite(right)
        if np.isfinite(right):
            assert value.lower[k] - 1e-9 <= right <= value.upper[k] + 1e-9
            assert solved[k] == pytest.approx(right, abs=1e-9)
        else:
            assert np.isnan(solved[k])


@pytest.mark.slow
def test_knock_outs_are_bounded_too(core, growth):
    """Nothing of them was in the pool: the bounds hold all the same, and it does not say settled where they differ."""
    lower, upper = np.tile(core.lower, (60, 1)), np.tile(core.upper, (60, 1))
    for k, places in enumerate(np.random.default_rng(2).integers(0, 95, (60, 2))):
        lower[k, places] = upper[k, places] = 0.0
    value = jax.tree.map(np.asarray, growth(lower, upper))
    right = np.array([by_highs(core, *pair) for pair in zip(lower, upper, strict=True)])
    assert (right <= value.upper + 1e-9).all()
    assert (right >= value.lower - 1e-9).all()
    known = value.settled & np.isfinite(right)
    np.testing.assert_allclose(value.upper[known], right[known], atol=1e-9)
    assert not value.settled.all()
    solved, _ = growth.solve(lower, upper)
    np.testing.assert_allclose(solved, np.where(np.isfinite(right), right, np.nan), atol=1e-9)


@pytest.mark.slow
def test_gradient_is_the_price(core, growth):
    """0.0916647 of growth per glucose (anchors 2.5); jit and vmap."""
    slope = jax.jit(jax.grad(lambda lower: growth(lower, core.upper).upper))(jnp.asarray(core.lower))
    assert slope[core.index("EX_glc__D_e")] == pytest.approx(-0.09166474637510469, rel=1e-9)
    some = media(core, 5, 3)
    each = jax.vmap(growth)(some.lower, some.upper)
    np.testing.assert_allclose(each.upper, growth(some.lower, some.upper).upper, rtol=1e-12)


@pytest.mark.slow
def test_a_pool_too_small_says_so(core):
    known = media(core, 100, 0)
    small = value_function(core, known.lower, known.upper, most=4)
    assert not bool(small(known.lower, known.upper).settled.all())
    solved, status = small.solve(known.lower, known.upper)
    right = [by_highs(core, *pair) for pair in zip(known.lower[:20], known.upper[:20], strict=True)]
    np.testing.assert_allclose(np.where(status[:20] == OPTIMAL, solved[:20], -np.inf), right, atol=1e-9)


@pytest.mark.slow
def test_single_precision(core, growth):
    lower, upper = jnp.asarray(core.lower, jnp.float32), jnp.asarray(core.upper, jnp.float32)
    value = growth(lower, upper)
    assert value.upper.dtype == jnp.float32
    assert float(value.upper) == pytest.approx(0.8739215, rel=1e-4)


def test_bad_input(core):
    with pytest.raises(ValueError, match="a value function is of one objective"):
        value_function(core.with_objective(np.eye(95)))
