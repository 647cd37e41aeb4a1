r"""Optimal stopping on beliefs: when to answer, and when to ask for more information first.

One of K hypotheses is true. A query q costs c_q and returns an outcome o with probability P(o | h, q); a decision d costs
L[d, h] where h is true. All that is known is the belief b = P(h | what was seen), which Bayes' rule moves:

    b'(h) = b(h) P(o | h, q) / P(o | b, q),        P(o | b, q) = sum_h b(h) P(o | h, q)

    V(b) = min( min_d sum_h L[d, h] b(h),   min_q [ c_q + sum_o P(o | b, q) V(b') ] )

"If confidence is below X, seek more information" is the policy that answers where max_h b(h) >= X. The X that is best is not
chosen: `stopping_values` computes it from the costs. For two hypotheses, whatever the prior, the best policy is Wald's: ask while
the likelihood ratio lies between two bounds.

References: Wald (1945), Ann. Math. Stat. 16, 117; Wald & Wolfowitz (1948), Ann. Math. Stat. 19, 326 (optimality); Lovejoy (1991),
Oper. Res. 39, 162, for values on a grid of beliefs.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxsci._checks import is_traced, is_whole


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class SequentialTest:
    """Which hypothesis is true, what can be asked, and what everything costs.

    Args:
      likelihoods: P(o | h, q), ``[queries, hypotheses, outcomes]``; each row over the outcomes sums to 1.
      costs: of the queries, positive, ``[queries]``.
      losses: of decision d where h is true, ``[decisions, hypotheses]``.
    Raises:
      ValueError: shapes that do not fit, rows that are no probabilities, a query that costs nothing.
    """

    likelihoods: Float[Array, "queries hypotheses outcomes"]
    costs: Float[Array, " queries"]
    losses: Float[Array, "decisions hypotheses"]

    def __post_init__(self):
        leaves = (self.likelihoods, self.costs, self.losses)
        if not all(hasattr(leaf, "shape") for leaf in leaves):
            return  # a tree of something else than arrays, inside a transformation
        if self.likelihoods.ndim != 3 or self.losses.ndim != 2:
            raise ValueError(
                "SequentialTest: likelihoods is [queries, hypotheses, outcomes] and losses [decisions, hypotheses]; got "
                f"{self.likelihoods.shape} and {self.losses.shape}."
            )
        queries, hypotheses, _ = self.likelihoods.shape
        if self.costs.shape != (queries,) or self.losses.shape[1] != hypotheses:
            raise ValueError(
                f"SequentialTest: {queries} queries and {hypotheses} hypotheses by the likelihoods, but costs has shape "
                f"{self.costs.shape} and losses {self.losses.shape}."
            )
        if is_traced(leaves):
            return
        rows = np.asarray(self.likelihoods)
        if (rows < 0).any() or not np.allclose(rows.sum(axis=-1), 1, atol=1e-5):
            raise ValueError("SequentialTest: likelihoods over the outcomes must be probabilities that sum to 1.")
        if not (np.asarray(self.costs) > 0).all():
            raise ValueError(f"SequentialTest: a query that costs nothing is asked for ever; got costs {self.costs}.")


def bernoulli_test(probabilities: Any, cost: Any, loss: Any = 1.0) -> SequentialTest:
    """Which of these probabilities a coin has: one query, a toss, at a cost; `loss` for each wrong decision.

    Example:
      >>> import jaxsci as js
      >>> test = js.control.bernoulli_test((0.4, 0.6), cost=0.01)
      >>> low, high = js.control.stopping_values(test).thresholds()
      >>> print(f"ask while {low:.3f} < P(0.6) < {high:.3f}")
      ask while 0.194 < P(0.6) < 0.806
    """
    p = jnp.asarray(probabilities, jnp.result_type(float))
    if p.ndim != 1 or len(p) < 2:
        raise ValueError(f"bernoulli_test: at least two probabilities are needed, got {probabilities!r}.")
    likelihoods = jnp.stack([1 - p, p], axis=-1)[None]
    return SequentialTest(
        likelihoods=likelihoods,
        costs=jnp.asarray(cost, p.dtype).reshape(1),
        losses=loss * (1 - jnp.eye(len(p), dtype=p.dtype)),
    )


def predictive(test: SequentialTest, belief: Float[Array, " hypotheses"]) -> Float[Array, "queries outcomes"]:
    """P(o | b, q), what a belief expects of each query."""
    return jnp.einsum("h,qho->qo", belief, test.likelihoods)


def posteriors(test: SequentialTest, belief: Float[Array, " hypotheses"]) -> Float[Array, "queries outcomes hypotheses"]:
    """The beliefs after each outcome of each query; after an impossible one, the belief before."""
    joint = jnp.einsum("h,qho->qoh", belief, test.likelihoods)
    total = jnp.sum(joint, axis=-1, keepdims=True)
    return jnp.where(total > 0, joint / jnp.where(total > 0, total, 1.0), belief)


def answer_loss(test: SequentialTest, belief: Float[Array, " hypotheses"]) -> Float[Array, ""]:
    """The expected loss of the best decision now."""
    return jnp.min(test.losses @ belief)


class StoppingValues(NamedTuple):
    """The solution on a grid of beliefs.

    Attributes:
      test: the problem.
      table: V at the grid's points, ``[cells + 1] * (hypotheses - 1)``, by the numbers of `grid_weights`; `cells` from its shape.
      sweeps: of value iteration.
    """

    test: SequentialTest
    table: Any
    sweeps: Any

    def value(self, belief: Float[Array, " hypotheses"]) -> Float[Array, ""]:
        """V, interpolated linearly."""
        return _interpolated(self.table, belief)

    def asking(self, belief: Float[Array, " hypotheses"]) -> Float[Array, " queries"]:
        """The expected cost of asking each query now, and going on in the best way."""
        test = self.test
        later = jax.vmap(jax.vmap(self.value))(posteriors(test, belief))
        return test.costs + jnp.sum(predictive(test, belief) * later, axis=-1)

    def action(self, belief: Float[Array, " hypotheses"]) -> Int[Array, ""]:
        """0 for an answer, 1, 2, ... for a query: a policy of `query_task`, whose observation is the belief."""
        return jnp.argmin(jnp.concatenate([answer_loss(self.test, belief)[None], self.asking(belief)]))

    def thresholds(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """For two hypotheses: it is best to ask while P(hypothesis 1) lies strictly between these two.

        Between points of the grid where the best action changes, the border is where the lines through the two differences
        cross 0. Both are NaN where it is never best to ask.

        Raises:
          ValueError: another number of hypotheses.
        """
        if self.table.ndim != 1:
            raise ValueError("StoppingValues: thresholds are of two hypotheses; with more, ask action(belief).")
        p = jnp.linspace(0.0, 1.0, self.table.shape[0], dtype=self.table.dtype)
        beliefs = jnp.stack([1 - p, p], axis=-1)
        gain = jax.vmap(lambda b: answer_loss(self.test, b) - jnp.min(self.asking(b)))(beliefs)
        asks = gain > 0
        first, last = jnp.argmax(asks), len(p) - 1 - jnp.argmax(asks[::-1])

        def border(outside, inside):
            share = gain[outside] / (gain[outside] - gain[inside])
            return p[outside] + share * (p[inside] - p[outside])

        low, high = border(first - 1, first), border(last + 1, last)
        return jnp.where(asks.any(), low, jnp.nan), jnp.where(asks.any(), high, jnp.nan)


def stopping_values(
    test: SequentialTest, *, cells: int = 1000, tolerance: float = 1e-10, sweeps: int = 10_000
) -> StoppingValues:
    """Dynamic programming on the belief: value iteration on a regular grid of the simplex, between its points linear.

    V is concave, so that lines through points of the grid lie below it: the values are lower bounds, off by O(cells^-2).
    The simplices are those of Freudenthal's triangulation, for any number of hypotheses; the table has (cells + 1)^(K - 1)
    entries, which is meant for K of two to four.

    Args:
      test: the problem.
      cells: of the grid, along each side.
      tolerance: it stops where no value changes by more, relative to the greatest loss.
      sweeps: or after so many.
    Raises:
      ValueError: a number of cells below 1.
    """
    if not is_whole(cells) or cells < 1:
        raise ValueError(f"stopping_values: cells is a whole number >= 1, got {cells!r}.")
    hypotheses = test.losses.shape[1]
    shape = (cells + 1,) * (hypotheses - 1)
    # A point's numbers are cells * (b_1 + ... + b_{K-1}, b_2 + ..., ..., b_{K-1}): whole, and none greater than the one before.
    numbers = jnp.stack(jnp.meshgrid(*[jnp.arange(n) for n in shape], indexing="ij"), axis=-1).reshape(-1, hypotheses - 1)
    numbers = jax.lax.cummin(numbers, axis=1)  # entries of the table that are no beliefs repeat some that are
    sums = jnp.concatenate([jnp.full((len(numbers), 1), cells), numbers, jnp.zeros((len(numbers), 1), int)], axis=1)
    beliefs = -jnp.diff(sums, axis=1) / jnp.asarray(cells, test.losses.dtype)

    stop = jax.vmap(lambda b: answer_loss(test, b))(beliefs)
    chance = jax.vmap(lambda b: predictive(test, b))(beliefs)
    places, weights = jax.vmap(jax.vmap(jax.vmap(lambda b: grid_weights(b, cells))))(
        jax.vmap(lambda b: posteriors(test, b))(beliefs)
    )

    def sweep(table):
        later = jnp.sum(weights * table[places], axis=-1)
        return jnp.minimum(stop, jnp.min(test.costs + jnp.sum(chance * later, axis=-1), axis=-1))

    limit = max(tolerance, 4 * float(jnp.finfo(stop.dtype).eps)) * jnp.max(test.losses)

    def goes_on(carry):
        _, change, done = carry
        return (change > limit) & (done < sweeps)

    def once(carry):
        table, _, done = carry
        new = sweep(table)
        return new, jnp.max(jnp.abs(new - table)), done + 1

    table, _, done = jax.lax.while_loop(goes_on, once, (stop, jnp.asarray(jnp.inf, stop.dtype), jnp.asarray(0)))
    return StoppingValues(test, table.reshape(shape), done)


def grid_weights(
    belief: Float[Array, " hypotheses"], cells: int
) -> tuple[Int[Array, " vertices"], Float[Array, " vertices"]]:
    """The corners of the simplex of the grid around a belief, as places in the flat table, and their barycentric weights."""
    dimension = belief.shape[0] - 1
    x = cells * jnp.cumsum(belief[::-1])[::-1][1:]
    base = jnp.clip(jnp.floor(x), 0, cells - 1)
    rest = jnp.clip(x - base, 0.0, 1.0)
    order = jnp.argsort(-rest, stable=True)
    # From the base, add one coordinate after another, the one with the greatest rest first.
    steps = jnp.cumsum(jnp.eye(dimension, dtype=int)[order], axis=0)
    corners = base.astype(int) + jnp.concatenate([jnp.zeros((1, dimension), int), steps])
    ordered = rest[order]
    weights = jnp.concatenate([1 - ordered[:1], ordered[:-1] - ordered[1:], ordered[-1:]])
    strides = (cells + 1) ** jnp.arange(dimension - 1, -1, -1)
    return corners @ strides, weights


def _interpolated(table: Any, belief: Any) -> Any:
    places, weights = grid_weights(belief, table.shape[0] - 1)
    return jnp.sum(weights * table.reshape(-1)[places])


def wald_cost(probability: float, cost: float, threshold: Any, belief: Any, loss: float = 1.0) -> Any:
    """The expected cost of asking while 1 - X < b < X, for a coin that has probability p or 1 - p: exact, by Wald's identities.

    The logarithm of the odds walks by steps of log(p / (1 - p)), so that chance and time of leaving the interval are those of the
    gambler's ruin (overshoot included). In NumPy, over arrays of beliefs b = P(p).

    Args:
      probability: p, above 1/2.
      cost, loss: of a toss, and of a wrong answer.
      threshold, belief: X and b.
    Raises:
      ValueError: p not between 1/2 and 1, X below 1/2.
    """
    if not 0.5 < probability < 1 or np.any(np.asarray(threshold) < 0.5):
        raise ValueError(
            f"wald_cost: needs 1/2 < probability < 1 and a threshold >= 1/2, got {probability} and {threshold}."
        )
    b, p, q = np.asarray(belief, float), probability, 1 - probability
    step, odds, bound = np.log(p / q), np.log(b / (1 - b)), np.log(threshold / (1 - threshold))
    # How many steps up, and down, lead out of the interval.
    up = np.maximum(np.ceil((bound - odds) / step - 1e-9), 0)
    down = np.maximum(np.ceil((bound + odds) / step - 1e-9), 0)
    both = np.maximum(up + down, 1)

    def left(p, q):
        above = (1 - (q / p) ** down) / (1 - (q / p) ** both)
        return above, (above * up - (1 - above) * down) / (p - q)

    (above, tosses), (above_if_not, tosses_if_not) = left(p, q), left(q, p)
    asked = b * (cost * tosses + loss * (1 - above)) + (1 - b) * (cost * tosses_if_not + loss * above_if_not)
    return np.where((up > 0) & (down > 0), asked, loss * np.minimum(b, 1 - b))


def wald_threshold(probability: float, cost: float, loss: float = 1.0) -> float:
    """The best X of `wald_cost`: the belief at which an answer costs as much as one more toss and going on with the same X.

    1/2 where no toss is worth its cost.

    Example:
      >>> import jaxsci as js
      >>> print(f"{js.control.wald_threshold(0.6, cost=0.01):.4f}")
      0.8060
    """
    p, q = probability, 1 - probability

    def regret_of_asking(odds):
        b = 1 / (1 + np.exp(-odds))
        up = b * p + (1 - b) * q
        later = [wald_cost(p, cost, b, after, loss) for after in (b * p / up, b * q / (1 - up))]
        return cost + up * later[0] + (1 - up) * later[1] - loss * (1 - b)

    low, high = 1e-9, np.log(p / q) + np.log(2 * loss / cost + 1)
    if regret_of_asking(low) > 0:
        return 0.5
    for _ in range(60):  # a bisection to the last bit
        middle = (low + high) / 2
        low, high = (middle, high) if regret_of_asking(middle) < 0 else (low, middle)
    return float(1 / (1 + np.exp(-low)))
