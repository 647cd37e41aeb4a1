r"""An uptake law learned by a Gaussian process: for tens of measured growth rates, where a network has too many parameters.

    u(m) = m s(m),     s(m) = a + f(m) / g(m),     f ~ GP(0, k)

m is the medium as nominal bounds, g(m) growth in it by flux balance, s the one number that scales all uptakes: the capacity of
the cell in that medium. As g(s m) = s g(m), growth is a g(m) + f(m): Gaussian in what is unknown, so that the posterior has a
closed form, and its hyperparameters come from the evidence of the training data alone.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.linalg import cho_solve, solve_triangular

from jaxsci._checks import is_traced

_START = (0.0, -2.0, 1.0, -0.5)  # logarithms of: variance, noise variance, length in media, length in g
_PRIOR = 0.05  # of their squares: a hyperparameter of which the data say nothing stays


class UptakeProcess(NamedTuple):
    """What `GaussianProcessUptake.fit` returns: the posterior, and what it was conditioned on. Leading axes are the batch."""

    mean: Any  # a, by generalised least squares
    logarithms: Any  # [4]: of variance and noise variance, relative to that of growth, and of the lengths in media and in g
    places: Any  # [media, k + 1]: media and g, scaled
    coefficients: Any  # [media]
    factor: Any  # [media, media]: Cholesky's, of the covariance of what was measured
    weights: Any  # [media]
    scales: Any  # [k + 2]: of the media, of g and of growth
    evidence: Any  # the logarithm of the marginal likelihood of growth in its units; to compare laws


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class GaussianProcessUptake:
    r"""The capacity law u = m (a + f(m) / g(m)) with f a Gaussian process; an `uptake` of `Hybrid`.

        k(m, m') = v exp(-|m - m'|^2 / (2 l^2) - (g - g')^2 / (2 l_g^2))

    with media relative to their largest bounds and g to its mean. Media are alike if the same is in them, and if flux balance
    can do as much with them. Variance, noise and lengths maximise the evidence, with a weak prior.

    Args:
      knowledge: ``media -> growth``, [..., k] -> [...]: flux balance with the nominal bounds, such as a `GrowthSurrogate`, for
        which growth is proportional to all bounds together (no maintenance, nothing else that limits).
      steps: of Adam on the evidence.
    Reference: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eqs. 2.25, 2.26, 5.8 and 2.42.
    Example:
      >>> import numpy as np, jax.numpy as jnp, jaxsci as js
      >>> g = js.metabolism.GrowthSurrogate(jnp.array([[0.1, 0.05]]), jnp.zeros(1))
      >>> law = js.metabolism.GaussianProcessUptake(g)
      >>> media = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (30, 2)))
      >>> params = law.fit(media, g(media) * (1 + 0.5 * media[:, 0]))
      >>> print(f"{g(law(params, jnp.array([1.5, 1.5]))):.2f}")
      0.39
    """

    knowledge: Any
    steps: int = dataclasses.field(metadata={"static": True}, default=100)

    def fit(self, media: Any, growth: Any, weights: Any = None) -> UptakeProcess:
        r"""The posterior, given growth rates measured in some media.

        Args:
          media: [media, k], nominal bounds. growth: [media], 1/h.
          weights: [media] or [folds, media]: 1 / the relative variance of each; 0 leaves one out, so that all folds of a
            cross-validation are one call.
        Raises:
          ValueError: shapes that do not fit; numbers that are not finite; negative weights; a `knowledge` that is not
            proportional to all bounds, or not positive.
        """
        media, growth = jnp.asarray(media), jnp.asarray(growth)
        if media.ndim != 2 or growth.shape != media.shape[:1]:
            raise ValueError(
                f"GaussianProcessUptake: media are [media, k] and growth [media], got {list(media.shape)} and "
                f"{list(growth.shape)}."
            )
        weights = jnp.ones_like(growth) if weights is None else jnp.asarray(weights, growth.dtype)
        if weights.shape[-1:] != growth.shape or weights.ndim > 2:
            raise ValueError(f"GaussianProcessUptake: weights are [..., {len(growth)} media], got {list(weights.shape)}.")
        able = self.knowledge(media)
        if not is_traced((media, growth, weights, able)):
            _check(
                np.asarray(media),
                np.asarray(growth),
                np.asarray(weights),
                np.asarray(able),
                np.asarray(self.knowledge(2 * media)),
            )
        if weights.ndim == 1:
            return _fit(media, able, growth, weights, self.steps)
        return jax.lax.map(lambda w: _fit(media, able, growth, w, self.steps), weights)

    def growth(self, params: UptakeProcess, medium: Any) -> tuple[Any, Any]:
        """The posterior's mean and standard deviation of growth in media [..., k], without the noise of a measurement."""
        medium = jnp.asarray(medium)
        able = self.knowledge(medium)
        k = medium.shape[-1]
        place = jnp.concatenate([medium, able[..., None]], -1) / params.scales[: k + 1]
        cross = _covariance(params.logarithms, place.reshape(-1, k + 1), params.places) * jnp.sqrt(params.weights)
        half = solve_triangular(params.factor, cross.T, lower=True)
        variance = jnp.maximum(jnp.exp(params.logarithms[0]) - (half**2).sum(0), 0).reshape(able.shape)
        learned = (cross @ params.coefficients).reshape(able.shape)
        return params.mean * able + params.scales[-1] * learned, params.scales[-1] * jnp.sqrt(variance)

    def __call__(self, params: UptakeProcess, medium: Any) -> Any:
        medium = jnp.asarray(medium)
        able = self.knowledge(medium)
        some = able > 0  # in a medium in which nothing grows, no scale of it does
        scale = jnp.where(some, self.growth(params, medium)[0] / jnp.where(some, able, 1.0), 0.0)
        return medium * jnp.maximum(scale, 0)[..., None]


def _check(media: Any, growth: Any, weights: Any, able: Any, twice: Any) -> None:
    for name, values in (("media", media), ("growth", growth), ("weights", weights)):
        if not np.isfinite(values).all():
            raise ValueError(f"GaussianProcessUptake: {name} must be finite; leave out what was not measured (weight 0).")
    if (weights < 0).any() or not (weights > 0).any(-1).all():
        raise ValueError("GaussianProcessUptake: weights are >= 0, and some of them > 0.")
    if able.shape != growth.shape or not (able > 0).all():
        raise ValueError("GaussianProcessUptake: knowledge gives one positive growth rate a medium; leave the others out.")
    if not np.allclose(twice, 2 * able, rtol=1e-5):
        raise ValueError(
            "GaussianProcessUptake: growth of `knowledge` must be proportional to all bounds together, as without a maintenance "
            "demand and with all other uptakes free. Use NeuralUptake where it is not."
        )


def _covariance(logarithms: Any, a: Any, b: Any) -> Any:
    def squares(x, y):
        return ((x[:, None, :] - y[None, :, :]) ** 2).sum(-1)

    near = squares(a[:, :-1], b[:, :-1]) * jnp.exp(-2 * logarithms[2])
    like = squares(a[:, -1:], b[:, -1:]) * jnp.exp(-2 * logarithms[3])
    return jnp.exp(logarithms[0] - (near + like) / 2)


def _measured(logarithms: Any, distances: tuple[Any, ...], weights: Any) -> Any:
    """The covariance of W^(1/2) growth, with the noise."""
    near, like = (d * jnp.exp(-2 * length) for d, length in zip(distances, logarithms[2:], strict=True))
    K = jnp.exp(logarithms[0] - (near + like) / 2) * jnp.sqrt(weights[:, None] * weights)
    return K + jnp.exp(logarithms[1]) * jnp.eye(len(weights), dtype=K.dtype)


def _posterior(logarithms: Any, distances: tuple[Any, ...], able: Any, target: Any, weights: Any) -> tuple[Any, ...]:
    """(log evidence, a, coefficients, factor), of W^(1/2) growth = W^(1/2) (a g + f) + noise; what has weight 0 drops out."""
    root = jnp.sqrt(weights)
    factor = jnp.linalg.cholesky(_measured(logarithms, distances, weights))
    h, t = root * able, root * target
    solved = cho_solve((factor, True), jnp.stack([h, t], -1))
    mean = (h @ solved[:, 1]) / (h @ solved[:, 0])
    coefficients = solved[:, 1] - mean * solved[:, 0]
    used = weights > 0
    determinant = jnp.where(used, jnp.log(jnp.diagonal(factor)) - jnp.log(jnp.where(used, root, 1.0)), 0.0).sum()
    evidence = -(t - mean * h) @ coefficients / 2 - determinant - used.sum() * np.log(2 * np.pi) / 2
    return evidence, mean, coefficients, factor


@functools.partial(jax.jit, static_argnames="steps")
def _fit(media: Any, able: Any, growth: Any, weights: Any, steps: int) -> UptakeProcess:
    share = weights / weights.sum()
    scales = jnp.concatenate(
        [
            jnp.maximum(jnp.abs(media).max(0), jnp.finfo(media.dtype).tiny),
            (share @ able)[None],
            jnp.sqrt(share @ (growth - share @ growth) ** 2)[None],
        ]
    )
    places = jnp.concatenate([media, able[:, None]], -1) / scales[:-1]
    distances = tuple(((x[:, None, :] - x[None, :, :]) ** 2).sum(-1) for x in (places[:, :-1], places[:, -1:]))
    target = growth / scales[-1]
    start = jnp.asarray(_START, growth.dtype)

    able = able / scales[-2]

    def slope(logarithms):
        """Of the loss: d(log evidence) = tr(G dK) / 2 with G = a a' - K^-1; a factor's own derivative costs ten times as much."""
        _, _, coefficients, factor = _posterior(logarithms, distances, able, target, weights)
        G = jnp.outer(coefficients, coefficients) - cho_solve((factor, True), jnp.eye(len(target), dtype=factor.dtype))
        found = jax.grad(lambda x: (G * _measured(x, distances, weights)).sum())(logarithms)
        # What has weight 0 is noise alone in K, and no part of the evidence.
        found = found.at[1].add((weights == 0).sum())
        return 2 * _PRIOR * (logarithms - start) - found / 2

    optimiser = optax.adam(optax.cosine_decay_schedule(0.15, steps))

    def step(carried, _):
        logarithms, state = carried
        change, state = optimiser.update(slope(logarithms), state)
        return (optax.apply_updates(logarithms, change), state), None

    (logarithms, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), None, length=steps)
    evidence, mean, coefficients, factor = _posterior(logarithms, distances, able, target, weights)
    evidence = evidence - (weights > 0).sum() * jnp.log(scales[-1])
    mean = mean * scales[-1] / scales[-2]
    return UptakeProcess(mean, logarithms, places, coefficients, factor, weights, scales, evidence)
