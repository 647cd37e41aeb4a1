r"""Loss balancing: one factor for every term of the loss, which are the equations, and every unknown that was observed.

    loss = sum_k lambda_k L_k,        L_k = sum_i w_i r_i^2 over the points of term k

Each method says what lambda should be at a set of unknowns; the factors used are an average over past draws. The factors of
a new fit are one.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.learning.objective import Batch, Coefficients, Objective, Unknowns

_KERNEL_POINTS = 128  # of every part; the trace is a mean over points


def losses(objective: Objective, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> Any:
    """The terms of the loss, ``[terms]``: part after part in the order of their names (jit sorts dictionaries), row by row."""
    parts = objective.parts(unknowns, coefficients, batch)
    return jnp.concatenate([jnp.sum(batch.weights[name] * parts[name] ** 2, axis=0) for name in sorted(parts)])


def term_count(batch: Batch) -> int:
    """How many there are."""
    return sum(batch.weights[name].shape[1] for name in batch.points)


def scaled(batch: Batch, factors: Any) -> dict[str, Any]:
    """The weights of a batch times the factors of its terms."""
    weights, first = {}, 0
    for name in sorted(batch.points):
        rows = batch.weights[name].shape[1]
        weights[name] = batch.weights[name] * factors[first : first + rows]
        first += rows
    return weights


def equalising(sizes: Any) -> Any:
    """Factors by which all sizes become their mean; one for a size of zero."""
    safe = jnp.where(sizes > 0, sizes, 1.0)
    return jnp.where(sizes > 0, jnp.mean(sizes) / safe, 1.0)


@dataclasses.dataclass(frozen=True)
class _Averaged:
    """What the two methods share that look at the unknowns alone."""

    average: float = 0.9

    def factors(self, objective: Objective, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> Any:
        """``[terms]``, before they are averaged."""
        raise NotImplementedError  # This is a bug in jaxsci: each method has its own.

    def __post_init__(self):
        if not 0 <= self.average < 1:
            raise ValueError(f"{type(self).__name__}: average must lie in [0, 1), got {self.average!r}.")

    def init(self, objective, batch):
        return jnp.ones(term_count(batch), batch.points["equation"].dtype)

    def weigh(self, objective, unknowns, coefficients, batch, state):
        state = _averaged(self, objective, unknowns, coefficients, batch, state)
        return scaled(batch, state), state


@functools.partial(jax.jit, static_argnames=("balancing", "objective"))
def _averaged(balancing: _Averaged, objective, unknowns, coefficients, batch, state):
    new = balancing.factors(objective, unknowns, coefficients, batch)
    new = jnp.where(jnp.isfinite(new), new, state)
    return balancing.average * state + (1 - balancing.average) * new


@dataclasses.dataclass(frozen=True)
class GradientBalance(_Averaged):
    """Factors that give the gradients of all terms in the network's parameters the same norm.

    Args:
      average: how much of the factors before is kept at a draw.
    Reference: Wang, Teng & Perdikaris (2021), SIAM J. Sci. Comput. 43, A3055, algorithm 1; with norms instead of the largest
      entry as in Wang, Sankaran, Wang & Perdikaris (2023), arXiv:2308.08468, eq. 4.1.
    Example:
      >>> import jaxsci as js
      >>> scheme = js.learning.Scheme(weighting=(js.learning.Causal(), js.learning.GradientBalance()))
    """

    def factors(self, objective, unknowns, coefficients, batch):
        slopes = jax.jacrev(lambda u: losses(objective, u, coefficients, batch))(unknowns)
        squares = [jnp.sum(leaf.reshape(len(leaf), -1) ** 2, axis=1) for leaf in jax.tree.leaves(slopes["network"])]
        return equalising(jnp.sqrt(functools.reduce(jnp.add, squares)))


@dataclasses.dataclass(frozen=True)
class KernelBalance(_Averaged):
    """Factors that give all terms the same trace of their neural tangent kernel, the sum of |d r_i / d parameters|^2.

    Args:
      average: how much of the factors before is kept at a draw.
    Reference: Wang, Yu & Perdikaris (2022), J. Comput. Phys. 449, 110768, eq. 6.5.
    Example:
      >>> import jaxsci as js
      >>> scheme = js.learning.Scheme(weighting=js.learning.KernelBalance())
    """

    def factors(self, objective, unknowns, coefficients, batch):
        traces = []
        for name, points in sorted(batch.points.items()):  # every so-manieth point: a mean needs few
            some = slice(None, None, -(-len(points) // _KERNEL_POINTS))
            share = len(points[some]) / len(points)
            targets = {name: batch.targets[name][some]} if name in batch.targets else {}
            part = Batch({name: points[some]}, {name: batch.weights[name][some]}, targets)
            _, slopes = objective.linearise(unknowns, coefficients, part)
            rows = batch.weights[name].shape[1]
            traces.append(jnp.sum(slopes.reshape(-1, rows, slopes.shape[-1]) ** 2, axis=(0, 2)) / share)
        return equalising(jnp.concatenate(traces))


@dataclasses.dataclass(frozen=True)
class RelativeBalance:
    r"""Factors that favour the terms that fell least: relative loss balancing with random lookback (ReLoBRaLo).

        lambda = a (rho lambda_before + (1 - rho) soft(L / L_first)) + (1 - a) soft(L / L_before),
        soft(q) = terms * softmax(q / temperature)

    with rho = 1 at random, with the probability `remember`, and else 0.

    Args:
      average: a.
      remember: the expected value of rho.
      temperature: of the softmax; large makes all factors one.
    Reference: Bischof & Kraus (2021), *Multi-objective loss balancing for physics-informed deep learning*, arXiv:2110.09813,
      eq. 10 to 12.
    Example:
      >>> import jaxsci as js
      >>> scheme = js.learning.Scheme(weighting=js.learning.RelativeBalance(temperature=1.0))
    """

    average: float = 0.95
    remember: float = 0.99
    temperature: float = 0.1

    def __post_init__(self):
        if not (0 <= self.average < 1 and 0 <= self.remember <= 1 and self.temperature > 0):
            raise ValueError(
                "RelativeBalance: average must lie in [0, 1), remember in [0, 1] and temperature be positive, got "
                f"{self.average!r}, {self.remember!r} and {self.temperature!r}."
            )

    def init(self, objective, batch):
        """The factors, the first and the last losses (zero until they are known) and the number of draws."""
        zeros = jnp.zeros(term_count(batch), batch.points["equation"].dtype)
        return zeros + 1, zeros, zeros, jnp.asarray(0)

    def weigh(self, objective, unknowns, coefficients, batch, state):
        state = _relative(self, objective, unknowns, coefficients, batch, state)
        return scaled(batch, state[0]), state


@functools.partial(jax.jit, static_argnames=("balancing", "objective"))
def _relative(balancing: RelativeBalance, objective, unknowns, coefficients, batch, state):
    factors, first, last, draws = state
    now = losses(objective, unknowns, coefficients, batch)
    first, last = (jnp.where(draws == 0, now, before) for before in (first, last))
    rho = jax.random.bernoulli(jax.random.fold_in(jax.random.key(0), draws), balancing.remember).astype(now.dtype)

    def soft(before):
        return len(now) * jax.nn.softmax(now / jnp.where(before > 0, before, 1.0) / balancing.temperature)

    a = balancing.average
    new = a * (rho * factors + (1 - rho) * soft(first)) + (1 - a) * soft(last)
    return jnp.where(jnp.isfinite(new).all(), new, factors), first, now, draws + 1
