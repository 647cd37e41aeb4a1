"""Causal weights: a time counts when what is before it is fitted, and nothing later has a say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import Causal
from jaxsci.learning.causal import causal_weights, chunk_means
from jaxsci.learning.leg import with_observations
from jaxsci.learning.objective import Objective, residual_at
from jaxsci.learning.sampling import even_points

MEANS = jnp.asarray([0.5, 2.0, 0.1, 1.0, 0.0, 3.0])


def test_weights_are_the_formula_of_the_paper():
    # eq. 20 with epsilon = 1 / (chunks * tolerance): w_i = exp(-epsilon sum_{k < i} L_k)
    expected = [np.exp(-sum(MEANS[:i]) / (6 * 0.5)) for i in range(6)]
    np.testing.assert_allclose(causal_weights(MEANS, 0.5), expected, rtol=1e-14)


def test_limits_of_the_tolerance():
    np.testing.assert_allclose(causal_weights(MEANS, 1e9), np.ones(6), rtol=1e-8)  # large: all count the same
    np.testing.assert_array_equal(causal_weights(MEANS, 1e-9), [1, 0, 0, 0, 0, 0])  # small: the first chunk alone
    np.testing.assert_array_equal(causal_weights(jnp.zeros(6), 1e-9), np.ones(6))  # nothing is left to be fitted


def test_nothing_later_influences_an_earlier_weight_and_everything_earlier_does():
    slope = jax.jacfwd(causal_weights)(MEANS, 0.5)  # [weight, chunk]
    np.testing.assert_array_equal(np.triu(slope), 0.0)  # itself and later: not at all
    assert (slope[np.tril_indices(6, -1)] < 0).all()  # a larger residual before: a smaller weight
    # The control: weights summed from the other side, as a transposed matrix makes them, fail both.
    backwards = jax.jacfwd(lambda means: causal_weights(means[::-1], 0.5)[::-1])(MEANS)
    assert np.abs(np.triu(backwards, 1)).max() > 0.1


def test_chunk_means_and_empty_chunks():
    means = chunk_means(jnp.asarray([1.0, 3.0, 5.0]), jnp.asarray([0, 0, 2]), 4)
    np.testing.assert_allclose(means, [2, 3, 5, 3])  # an empty chunk has the mean of all


@functools.cache
def weighed():
    """Weights of points at an untrained network, and the state after."""
    problem = js.problems.heat()
    objective = Objective.of(problem, js.networks.MLP((6,)))
    unknowns = objective.init(jax.random.key(1), problem.coefficients)
    points = even_points(objective, jax.random.key(2), 400)
    causal = Causal(chunks=5, tolerance=0.3)

    def weigh(points):
        batch = with_observations(objective, points, None)
        state = causal.init(objective, batch)
        weights, state = causal.weigh(objective, unknowns, problem.coefficients, batch, state)
        return np.asarray(weights["equation"][:, 0]) * len(points), state

    residual = residual_at(objective, unknowns, problem.coefficients, points)[:, 0]
    return weigh, np.asarray(points), np.asarray(residual), problem.domain["t"][1]


def test_weights_of_points_are_those_of_their_chunk():
    weigh, points, residual, end = weighed()
    chunk = np.floor(points[:, 0] / end * 5).astype(int)
    means = np.array([np.mean(residual[chunk == i] ** 2) for i in range(5)])
    earlier = np.cumsum(means / means.mean()) - means / means.mean()
    np.testing.assert_allclose(weigh(points)[0], np.exp(-earlier / (5 * 0.3))[chunk], rtol=1e-10)


def test_the_order_of_points_does_not_matter_but_their_times_do():
    weigh, points, _, end = weighed()
    order = np.random.default_rng(0).permutation(len(points))
    np.testing.assert_allclose(weigh(points[order])[0], weigh(points)[0][order], rtol=1e-12)
    mirrored = points * [-1, 1] + [end, 0]  # the same residual, asked for from the end
    assert weigh(mirrored)[0][np.argmin(mirrored[:, 0])] == 1.0
    # Late points taken away: the weights of the first chunks stay, up to the size that all are relative to.
    early = points[:, 0] < 0.4 * end
    alone, together = weigh(points[early])[0], weigh(points)[0][early]
    counted = together < 1
    ratio = np.log(alone[counted]) / np.log(together[counted])
    assert counted.any()
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_the_tolerance_falls_when_every_chunk_counts():
    weigh, points, _, _ = weighed()
    assert float(weigh(points)[1][0]) == 0.3
    problem = js.problems.heat()
    objective = Objective.of(problem, js.networks.MLP((6,)))
    batch = with_observations(objective, jnp.asarray(points), None)
    unknowns = objective.init(jax.random.key(1), problem.coefficients)
    state = (jnp.asarray(0.3), jnp.asarray(1e9))  # the residual was large once
    _, (tolerance, reference) = Causal(chunks=5).weigh(objective, unknowns, problem.coefficients, batch, state)
    assert float(tolerance) == pytest.approx(0.03)
    assert float(reference) == 1e9


def test_what_cannot_be_causal_is_refused():
    steady = Objective.of(js.problems.poisson(), js.networks.MLP((4,)))
    with pytest.raises(ValueError, match="Causal: poisson is steady: it has no earlier and later"):
        Causal().init(steady, with_observations(steady, jnp.ones((5, 2)), None))
    for options in ({"chunks": 1}, {"tolerance": 0.0}):
        with pytest.raises(ValueError, match="chunks must be a whole number above 1 and tolerance positive"):
            Causal(**options)
