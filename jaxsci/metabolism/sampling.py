r"""Flux sampling: fluxes drawn uniformly from {S v = 0, lower <= v <= upper}, many chains at once.

Hit-and-run: from a point of the polytope along a direction to a uniform point of the chord. Whatever set of directions spans
the space and does not depend on the point, the uniform distribution is stationary; how fast it is reached depends on them.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linprog

from jaxsci._checks import is_traced, is_whole, unknown_name
from jaxsci.metabolism.flux_polytope import FluxPolytope, flux_polytope
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.presolve import presolve
from jaxsci.metabolism.sampling_diagnostics import effective_sample_size, potential_scale_reduction

_METHODS = ("chrr", "optgp")
_ROUNDS = 6  # of rounding at most
_ROUND = (64, 32)  # chains, and draws a chain, of each; more where there are many dimensions
_ROUNDED = 4.0  # ratio of the longest to the shortest axis that is round enough


class FluxSamples(NamedTuple):
    """Draws of fluxes and what is known of their quality."""

    fluxes: Any  # [chains, samples / chains, reactions], mmol/gDW/h
    ess: Any  # effective sample size of each reaction, all chains; NaN for a fixed flux
    rhat: Any  # potential scale reduction of each reaction; NaN for a fixed flux
    residual: Any  # the largest |S v| or violation of a bound of all
    reactions: tuple[str, ...]
    dimension: int  # of the polytope
    rounds: int  # of rounding that were made

    def check(self, *, ess: float = 100.0, rhat: float = 1.05, tol: float = 1e-9) -> FluxSamples:
        """Itself, if all draws are feasible and all fluxes have mixed.

        Raises:
          ValueError: naming the slowest reaction and what to do.
        """
        if not float(self.residual) <= tol:
            raise ValueError(f"sample: draws violate S v = 0 or a bound by {float(self.residual):.2g}; use float64.")
        few, wide = np.asarray(self.ess), np.asarray(self.rhat)
        if np.isnan(few).all():
            return self
        slow, worst = int(np.nanargmin(few)), int(np.nanargmax(wide))
        if few[slow] < ess or wide[worst] > rhat:
            raise ValueError(
                f"sample: not mixed: {self.reactions[slow]!r} has an effective sample size of {few[slow]:.0f} (asked: {ess:g}), "
                f"{self.reactions[worst]!r} an R-hat of {wide[worst]:.3f} (at most {rhat:g}); take more samples or thinning."
            )
        return self


def sample(
    model: StoichiometricModel,
    *,
    key: Any,
    samples: int = 1000,
    thinning: int = 100,
    chains: int = 20,
    method: str = "chrr",
) -> FluxSamples:
    r"""Uniform random fluxes of a model.

        v ~ uniform on  {v : S v = 0, lower <= v <= upper}

    Coordinates for the polytope are found first, on the host: reactions in proportion are lumped, bounds that no flux can leave
    become equations (one linear programme, no thresholds on small fluxes: what is narrower than 1e-8 counts as fixed), and the
    rest is v = v0 + N w. The chains start from where the rounding ends, so no more burn-in is needed.

    ``"chrr"``, coordinate hit-and-run with rounding: the polytope is made round, first by the ellipsoid of the logarithmic
    barrier at its analytic centre, then by the covariance of pilot draws, and the coordinates take turns.
    ``"optgp"``: directions from the centre to the ends of every flux's range, as OptGP has them, held fixed so that the draws
    are uniform; it skips the rounding, and mixes more slowly.

    Args:
      model: one model (no batch); the objective plays no part.
      key: of `jax.random`.
      samples: in all, over all chains.
      thinning: steps from one sample to the next.
      chains: that run side by side; they divide `samples`.
      method: "chrr" or "optgp".
    Returns:
      `FluxSamples`; its ``check()`` raises where the chains have not mixed. In float32 draws are feasible to about 1e-3 only.
    Raises:
      ValueError: infeasible bounds, a flux without limit, a batch, numbers that do not fit.
    Example:
      >>> import jax, numpy as np, jaxsci as js
      >>> network = js.metabolism.Network(np.array([[1.0, -1.0, -1.0]]), ("in", "left", "right"), ("a",))
      >>> model = js.metabolism.StoichiometricModel(network, np.zeros(3), np.array([1.0, 9.0, 9.0]), np.zeros(3))
      >>> draws = js.metabolism.sample(model, key=jax.random.key(0), samples=2000, thinning=10)
      >>> draws.fluxes.shape, draws.dimension
      ((20, 100, 3), 2)
      >>> print(np.round(draws.fluxes.mean((0, 1)), 1))  # a triangle: 2/3, 1/3, 1/3
      [0.7 0.3 0.3]

    Source: Haraldsdottir, Cousins, Thiele, Fleming & Vempala (2017) Bioinformatics 33:1741; Megchelenbrink, Huynen & Marchiori
      (2014) PLoS ONE 9:e86587 (OptGP); Smith (1984) Operations Research 32:1296 (hit-and-run).
    """
    lower, upper = _inputs(model, samples, thinning, chains, method)
    presolved = presolve(model.network)
    polytope = flux_polytope(presolved, lower, upper, model.reactions)
    dimension, rounds = polytope.basis.shape[1], 0
    if dimension == 0:
        draws = np.broadcast_to(polytope.centre[:, None], (samples // chains, len(polytope.centre), chains))
    else:
        pilot, final = jax.random.split(key)
        if method == "chrr":
            directions, start, rounds = _round(polytope, pilot, chains)
        else:
            directions = _ranges(presolved.A, polytope)
            start = np.repeat(polytope.centre[:, None], chains, axis=1)
            start = _walk(polytope, directions, start, pilot, 1, max(20 * len(directions), 10 * thinning))[-1]
        draws = _walk(polytope, directions, start, final, samples // chains, thinning)
    x = np.moveaxis(draws, 2, 0)
    fluxes = x[..., presolved.group] * presolved.ratio.astype(x.dtype)  # the ratio of a blocked reaction is 0
    over = max(float((lower - fluxes).max()), float((fluxes - upper).max()), 0.0)
    residual = max(over, float(np.abs(fluxes @ model.network.dense.T).max(initial=0)))
    enough = samples // chains >= 4
    # A fixed flux may move by rounding; that is no distribution.
    moves = np.any(polytope.basis != 0, axis=1)[presolved.group] & (presolved.group >= 0)
    blank = np.full(len(lower), np.nan)
    ess = np.where(moves, effective_sample_size(fluxes), np.nan) if enough else blank
    rhat = np.where(moves, potential_scale_reduction(fluxes), np.nan) if enough else blank
    return FluxSamples(jnp.asarray(fluxes), ess, rhat, residual, model.reactions, dimension, rounds)


def _inputs(model: Any, samples: Any, thinning: Any, chains: Any, method: Any) -> tuple[np.ndarray, np.ndarray]:
    check_model("sample", model)
    if is_traced((model.lower, model.upper)):
        raise TypeError("sample: coordinates for the polytope are found on the host; call it outside of jit, grad and vmap.")
    for name, value in (("samples", samples), ("thinning", thinning), ("chains", chains)):
        if not is_whole(value) or value < 1:
            raise ValueError(f"sample: {name} is a whole number >= 1, got {value!r}.")
    if samples % chains:
        raise ValueError(f"sample: {samples} samples do not divide over {chains} chains; change one of them.")
    if method not in _METHODS:
        raise ValueError(unknown_name("sample: the method", str(method), _METHODS))
    lower, upper = (np.asarray(bound, float) for bound in (model.lower, model.upper))
    if lower.ndim != 1 or upper.ndim != 1:
        raise ValueError(
            f"sample: one model at a time, got bounds of the shapes {list(lower.shape)} and {list(upper.shape)}."
        )
    model.check()
    return lower, upper


def _round(polytope: FluxPolytope, key: Any, chains: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Directions [dimension, groups] that make the polytope round, and points [groups, chains] for the chains to start from."""
    dimension = polytope.basis.shape[1]
    many = max(_ROUND[0], chains)
    count = max(_ROUND[1], -(-40 * dimension // many))
    axes, x, rounds = polytope.shape, np.repeat(polytope.centre[:, None], many, axis=1), 0
    for pilot in jax.random.split(key, _ROUNDS):
        rounds += 1
        draws = _walk(polytope, (polytope.basis @ axes).T, x, pilot, count, 2 * dimension)
        x = draws[-1]
        late = np.moveaxis(draws[count // 2 :].astype(float) - polytope.centre[:, None], 1, -1).reshape(-1, len(x))
        covariance = np.atleast_2d(np.cov(np.linalg.solve(axes, (late @ polytope.basis).T)))
        spread = np.linalg.eigvalsh(covariance)
        axes = axes @ np.linalg.cholesky(covariance)
        if spread[0] * _ROUNDED**2 > spread[-1]:
            break
    return (polytope.basis @ axes).T, x[:, :chains], rounds


def _ranges(matrix: np.ndarray, polytope: FluxPolytope) -> np.ndarray:
    """Directions [.., groups] from the centre to the points where each flux is smallest and largest."""
    bounds = np.stack([polytope.low, polytope.high], axis=1)
    ends = []
    for k in np.flatnonzero(np.any(polytope.basis != 0, axis=1)):
        for sign in (1.0, -1.0):
            cost = np.zeros(len(bounds))
            cost[k] = sign
            found = linprog(cost, A_eq=matrix, b_eq=np.zeros(len(matrix)), bounds=bounds, method="highs")
            if found.status == 0:
                ends.append(found.x - polytope.centre)
    inside = (np.array(ends) @ polytope.basis) @ polytope.basis.T
    inside = inside[np.linalg.norm(inside, axis=1) > 0]
    if np.linalg.matrix_rank(inside) < polytope.basis.shape[1]:
        raise ValueError("sample: the ends of the fluxes' ranges do not span the polytope in double precision; use 'chrr'.")
    return inside


def _walk(polytope: FluxPolytope, directions: np.ndarray, start: Any, key: Any, count: int, thinning: int) -> np.ndarray:
    """Draws [count, groups, chains]."""
    moves = np.abs(directions) > 1e-13 * np.abs(directions).max(axis=1, keepdims=True)
    directions = np.where(moves, directions, 0)
    inverse = np.where(moves, 1 / np.where(moves, directions, 1), 1)
    # What stops a step down or up; where a direction does not move a flux, nothing.
    down = np.where(moves, np.where(directions > 0, polytope.low, polytope.high), -np.inf)
    up = np.where(moves, np.where(directions > 0, polytope.high, polytope.low), np.inf)
    arrays = (directions, inverse, down, up, polytope.centre, polytope.basis, np.asarray(start))
    return np.asarray(_walk_compiled(*map(jnp.asarray, arrays), key, count=count, thinning=thinning))


@functools.partial(jax.jit, static_argnames=("count", "thinning"))
def _walk_compiled(directions, inverse, down, up, centre, basis, start, key, *, count, thinning):
    """Hit-and-run along each direction in turn, [groups, chains]; the point is put back on A x = 0 at each draw."""

    def step(carry, uniform):
        x, k = carry
        g, inv, below, above = (a[k][:, None] for a in (directions, inverse, down, up))
        least = jnp.minimum(jnp.max((below - x) * inv, axis=0), 0)
        most = jnp.maximum(jnp.min((above - x) * inv, axis=0), 0)
        return (x + g * (least + uniform * (most - least)), jnp.where(k + 1 == len(directions), 0, k + 1)), None

    def draw(carry, key):
        uniforms = jax.random.uniform(key, (thinning, start.shape[1]), start.dtype)
        (x, k), _ = jax.lax.scan(step, carry, uniforms)
        x = centre[:, None] + basis @ (basis.T @ (x - centre[:, None]))
        return (x, k), x

    return jax.lax.scan(draw, (start, 0), jax.random.split(key, count))[1]
