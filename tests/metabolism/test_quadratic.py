"""The nearest flux where far more bounds meet than there are dimensions: found, and proven by its multipliers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.metabolism.presolve import presolve
from jaxsci.metabolism.quadratic import _search, dual_newton, euclidean, nearest_fluxes
from jaxsci.metabolism.simplex import OPTIMAL


def assert_nearest(network, found, reference, lower, upper):
    """w - v is a price combination of the rows and pushes out of the bounds that hold: the conditions of the nearest point."""
    v = np.asarray(found.fluxes)
    size = np.abs(v).max() + np.abs(reference).max()
    np.testing.assert_allclose(network.matrix @ v, 0, atol=1e-8 * size)
    assert ((v >= lower - 1e-9 * size) & (v <= upper + 1e-9 * size)).all()
    push = reference - v - network.matrix.T @ np.asarray(found.shadow_prices)
    inside = (v > lower + 1e-7 * size) & (v < upper - 1e-7 * size)
    np.testing.assert_allclose(push[inside], 0, atol=1e-7 * size)
    moves = lower < upper
    at_lower, at_upper = (v <= lower + 1e-7 * size) & moves, (v >= upper - 1e-7 * size) & moves
    assert (push[at_lower & ~at_upper] <= 1e-7 * size).all()
    assert (push[at_upper & ~at_lower] >= -1e-7 * size).all()


def test_every_regularisation_but_a_drowned_one_ends_at_the_optimum():
    """From a tenth to 1e-8: the walk to a reference that is far outside."""
    model = js.metabolism.load("e_coli_core")
    strengths = 10.0 ** -jnp.arange(1, 9)
    numbers = [jnp.broadcast_to(x, (8, 95)) for x in (model.objective, model.lower, model.upper)]
    found = nearest_fluxes(presolve(model.network), numbers[0] / strengths[:, None], *numbers[1:])
    assert (found.status == OPTIMAL).all()
    for k in (0, 3, 5):
        member = jax.tree.map(lambda x, k=k: x[k], found)
        assert_nearest(model.network, member, np.asarray(numbers[0][k] / strengths[k]), model.lower, model.upper)
    growth = np.asarray(found.fluxes) @ np.asarray(model.objective)
    assert (np.diff(growth) >= -1e-7).all(), "but for the rounding errors of references of 1e8"
    np.testing.assert_allclose(growth[4:], js.metabolism.fba(model).objective, atol=1e-6)


def test_one_after_the_other_is_in_step():
    """Large problems are not searched in a batch, and are the same."""
    random = np.random.default_rng(0)
    rows = np.linalg.qr(random.normal(size=(20, 6)))[0].T
    y, low = jnp.asarray(3 * random.normal(size=(5, 20))), -jnp.ones((5, 20))
    together = dual_newton(jnp.asarray(rows), y, low, -low)
    alone = jax.jit(lambda y, low: _search(jnp.asarray(rows), y[None], low[None], -low[None], 100))
    for i in range(5):
        one = alone(y[i], low[i])
        np.testing.assert_allclose(one.multipliers[0], together.multipliers[i], atol=1e-12)
        assert int(one.steps[0]) == int(together.steps[i])


@pytest.mark.slow
def test_knock_outs_and_regularisations_of_a_genome_scale_model():
    """iJO1366: 680 rows, a third of whose multipliers are undetermined. Newton's method alone ended on 3 of 24 knock-outs."""
    pytest.importorskip("cobra")
    model = js.metabolism.load("iJO1366")
    wild = js.metabolism.parsimonious_fba(model).fluxes
    genes = np.random.default_rng(0).choice(len(model.genes), 24, replace=False)[[0, 4, 18]]  # two of the hardest
    out = [model.knock_out(model.genes[g]) for g in genes]
    lower, upper = (jnp.stack([getattr(m, side) for m in out]) for side in ("lower", "upper"))
    found = js.metabolism.moma(model, wild, lower=lower, upper=upper)
    assert (found.status == OPTIMAL).all()
    references = jnp.stack([wild, *(model.objective / e for e in (1e-3, 1e-6))])
    sides = (jnp.broadcast_to(x, references.shape) for x in (model.lower, model.upper))
    soft = nearest_fluxes(presolve(model.network), references, *sides)
    assert (soft.status == OPTIMAL).all()
    np.testing.assert_allclose(soft.fluxes[0], wild, atol=1e-6)
    for k in (1, 2):
        assert_nearest(
            model.network, jax.tree.map(lambda x, k=k: x[k], soft), np.asarray(references[k]), model.lower, model.upper
        )
    np.testing.assert_allclose(soft.fluxes[2] @ model.objective, js.metabolism.fba(model).objective, rtol=1e-7)
    assert len(euclidean(presolve(model.network))[1]) > 200, "one after the other"
