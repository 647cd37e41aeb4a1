"""Weights of terms and of points, against their formulas on a system whose equations differ by a factor of 1e3."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import Causal, GradientBalance, KernelBalance, RelativeBalance, ResidualAttention, SelfAdaptive
from jaxsci.learning.attention import nearest
from jaxsci.learning.balancing import losses, scaled
from jaxsci.learning.leg import Leg, with_observations
from jaxsci.learning.objective import Batch, Objective
from jaxsci.learning.sampling import even_points

ROTATION = js.Equation(lambda u, v: (u.t - v, 1000 * (v.t + u)), "u v", name="rotation")
PROBLEM = js.Problem(ROTATION, js.Box(t=(0, 2)), initial={"u": 0.0, "v": 1.0})


class Polynomials:
    """Two cubics of time: a network that compiles quickly."""

    def init(self, key, inputs, outputs):
        return {"c": jax.random.normal(key, (4, outputs))}

    def apply(self, parameters, z):
        return jnp.polyval(parameters["c"], z[0])


OBJECTIVE = Objective.of(PROBLEM, Polynomials())
DATA_U, DATA_V, ROW_1, ROW_2 = range(4)  # the order of the terms


@functools.cache
def case():
    """Unknowns, and a batch with data in which one entry is missing."""
    unknowns = OBJECTIVE.init(jax.random.key(0), {})
    times = jnp.asarray([[0.5], [1.0], [1.5]])
    data = Batch(
        {"data": times},
        {"data": jnp.full((3, 2), 1 / 3).at[1, 0].set(0.0)},
        {"data": jnp.concatenate([jnp.sin(times), jnp.cos(times)], axis=1)},
    )
    return unknowns, with_observations(OBJECTIVE, even_points(OBJECTIVE, jax.random.key(1), 40), data)


@jax.jit
def terms_and_slopes(unknowns, batch):
    terms = lambda u: losses(OBJECTIVE, u, {}, batch)
    return terms(unknowns), jax.jacrev(terms)(unknowns)["network"]["c"].reshape(4, -1)


def terms_of(weights=None):
    """The terms of the loss, and their gradients ``[terms, parameters]``."""
    unknowns, batch = case()
    return map(np.asarray, terms_and_slopes(unknowns, batch if weights is None else batch._replace(weights=weights)))


def gradient_norms(weights=None):
    return np.linalg.norm(list(terms_of(weights))[1], axis=1)


def weigh(weighting, state=None):
    unknowns, batch = case()
    return weighting.weigh(OBJECTIVE, unknowns, {}, batch, weighting.init(OBJECTIVE, batch) if state is None else state)


@pytest.mark.slow
def test_terms_are_the_equations_and_the_observed_unknowns():
    unknowns, batch = case()
    terms, _ = terms_of()
    assert terms.shape == (4,)
    np.testing.assert_allclose(terms.sum(), jax.jit(OBJECTIVE.loss)(unknowns, {}, batch), rtol=1e-13)
    assert terms[ROW_2] > 1e4 * terms[ROW_1], "the case is what it is for"
    twice = scaled(batch, jnp.asarray([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_allclose(next(iter(terms_of(twice))), terms * np.arange(1, 5))
    assert twice["data"][1, 0] == 0, "what is missing stays missing"


@pytest.mark.slow
def test_balanced_gradients_have_one_norm():
    norms = gradient_norms()
    assert norms.max() > 1e4 * norms.min()
    weights, _ = weigh(GradientBalance(average=0.0))
    balanced = gradient_norms(weights)
    np.testing.assert_allclose(balanced, norms.mean(), rtol=1e-10)


def test_balanced_kernels_have_one_trace():
    unknowns, batch = case()
    weights, _ = weigh(KernelBalance(average=0.0))

    @jax.jit
    def traces(weights):
        """By the whole Jacobian; the rows of the equation come first here, in 40 points, and its terms last."""
        rows = lambda u: OBJECTIVE.rows(u, {}, batch._replace(weights=weights))
        per_row = jnp.sum(jax.jacfwd(rows)(unknowns)["network"]["c"] ** 2, axis=(1, 2))
        return jnp.concatenate([part.reshape(-1, 2).sum(axis=0) for part in (per_row[80:], per_row[:80])])

    np.testing.assert_allclose(traces(weights), traces(batch.weights).mean(), rtol=1e-10)


def test_factors_are_averaged_over_draws():
    at_once = weigh(GradientBalance(average=0.0))[1]
    first = weigh(GradientBalance(average=0.75))[1]
    np.testing.assert_allclose(first, 0.75 + 0.25 * at_once, rtol=1e-12)
    np.testing.assert_allclose(weigh(GradientBalance(average=0.75), first)[1], 0.75 * first + 0.25 * at_once, rtol=1e-12)


def test_relative_balance_is_its_formula():
    now, _ = terms_of()
    factors = jnp.asarray([1.5, 0.5, 1.2, 0.8])
    first, last = jnp.asarray(now * [4, 2, 1, 1]), jnp.asarray(now * [1, 2, 2, 1])
    soft = lambda before: 4 * np.exp(now / before / 0.7) / np.exp(now / before / 0.7).sum()
    for remember in (0.0, 1.0):  # no chance is left
        _, state = weigh(RelativeBalance(0.8, remember, 0.7), (factors, first, last, jnp.asarray(3)))
        looked_back = np.asarray(factors) if remember else soft(first)
        np.testing.assert_allclose(state[0], 0.8 * looked_back + 0.2 * soft(last), rtol=1e-12)
        np.testing.assert_allclose(state[2], now, rtol=1e-12)
    weights, (factors, first, *_) = weigh(RelativeBalance())
    np.testing.assert_allclose(factors, 1.0, rtol=1e-12)  # nothing fell yet
    np.testing.assert_allclose(weights["data"], case()[1].weights["data"])


def test_weightings_compose_in_their_order():
    unknowns, batch = case()
    scheme = js.learning.Scheme(weighting=(Causal(chunks=4, tolerance=0.1), GradientBalance(average=0.0)))
    causal, _ = weigh(scheme.weightings[0])
    leg = Leg(OBJECTIVE, js.learning.LevenbergMarquardt(points=40), {}, jax.random.key(1), scheme)
    both, _ = GradientBalance(average=0.0).weigh(OBJECTIVE, unknowns, {}, batch._replace(weights=causal), jnp.ones(4))
    norms = gradient_norms(both)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-10)
    factor = both["equation"] / causal["equation"]
    np.testing.assert_allclose(factor, factor[:1].repeat(40, 0), rtol=1e-12)  # the shape in time is the causal one
    assert len(leg.scheme.weightings) == 2


@pytest.mark.parametrize("weighting", [ResidualAttention(0.5, 0.2), SelfAdaptive(0.2)])
def test_points_with_large_residuals_gain_weight(weighting):
    unknowns, batch = case()
    residual = np.asarray(jax.jit(OBJECTIVE.residual)(unknowns, {}, batch.points["equation"]))
    weights, state = weigh(weighting)
    size = np.abs(residual)
    expected = (
        (0.5 + 0.2 * size / size.max(axis=0)) ** 2
        if isinstance(weighting, ResidualAttention)
        else 1 + 0.2 * size**2 / np.mean(size**2, axis=0)
    )
    np.testing.assert_allclose(weights["equation"] * 40, expected, rtol=1e-10)
    again, _ = weigh(weighting, state)
    multipliers = np.asarray(state[1])
    expected = (
        (0.5 * multipliers + 0.2 * size / size.max(axis=0)) ** 2
        if isinstance(weighting, ResidualAttention)
        else multipliers + 0.2 * size**2 / np.mean(size**2, axis=0)
    )
    np.testing.assert_allclose(again["equation"] * 40, expected, rtol=1e-10)


def test_attention_is_bounded():
    attention, multipliers = ResidualAttention(0.9, 0.1), jnp.ones((5, 1))
    for _ in range(200):
        multipliers, _ = attention.updated(multipliers, jnp.asarray([[1e9], [1.0], [1e-9], [3.0], [0.0]]))
    np.testing.assert_allclose(multipliers[:, 0], [1, 1e-9, 0, 3e-9, 0], atol=1e-8)  # rate / (1 - decay) at most


def test_a_new_point_takes_over_what_the_nearest_had():
    points = even_points(OBJECTIVE, jax.random.key(5), 30)
    assert (nearest(OBJECTIVE, points, points) == np.arange(30)).all()
    moved = points[::-1] + 1e-6
    assert (nearest(OBJECTIVE, moved, points) == np.arange(30)[::-1]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientBalance(average=1.0), r"GradientBalance: average must lie in \[0, 1\), got 1\.0"),
        (lambda: KernelBalance(average=-0.1), r"KernelBalance: average must lie in \[0, 1\)"),
        (lambda: RelativeBalance(temperature=0.0), "temperature be positive"),
        (lambda: ResidualAttention(decay=1.0), r"decay must lie in \[0, 1\) and rate be positive"),
        (lambda: SelfAdaptive(rate=0.0), "rate must be positive, got 0"),
        (lambda: js.learning.Scheme(weighting="causal"), "weighting must be js.learning.Causal"),
        (lambda: js.learning.Scheme("even"), "sampling must be js.learning.Even"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
