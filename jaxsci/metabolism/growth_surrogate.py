r"""A surrogate of flux balance: growth as the least of a few affine functions of the uptake bounds.

    g(u) = min_k  s_k . u + c_k

The largest growth rate is a concave, piecewise affine function of the bounds (linear programming duality), so a least of planes
is not an approximation of another kind: with enough planes it is exact. They come from the solver's prices, or from growth rates
alone by regression.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole
from jaxsci.metabolism.fba import fba
from jaxsci.metabolism.model import StoichiometricModel


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class GrowthSurrogate:
    r"""Growth as a least of planes: ``surrogate(uptakes) -> growth``, [..., k] -> [...].

    Of several members (fits from several starts) the median counts. It is a pytree of two arrays, cheap under jit, vmap and
    grad; the gradient is the slope of the plane that is least.

    Args:
      slopes: [pieces, k], or [members, pieces, k]; growth per unit of uptake bound, gDW/mmol.
      offsets: [pieces], or [members, pieces], 1/h.
    Raises:
      ValueError: shapes that do not fit.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> g = js.metabolism.GrowthSurrogate(jnp.array([[0.1, 0.0], [0.0, 0.05]]), jnp.zeros(2))
      >>> print(g(jnp.array([[2.0, 10.0], [8.0, 10.0]])))
      [0.2 0.5]
    """

    slopes: Any
    offsets: Any

    def __post_init__(self):
        slopes, offsets = np.shape(self.slopes), np.shape(self.offsets)
        if hasattr(self.slopes, "dtype") and (len(slopes) not in (2, 3) or slopes[:-1] != offsets):
            raise ValueError(
                "GrowthSurrogate: slopes are [pieces, k] or [members, pieces, k] and offsets have the shape but for k, got "
                f"{list(slopes)} and {list(offsets)}."
            )

    def __call__(self, uptakes: Any) -> Any:
        slopes, offsets = jnp.asarray(self.slopes), jnp.asarray(self.offsets)
        uptakes = jnp.asarray(uptakes)
        if uptakes.shape[-1:] != slopes.shape[-1:]:
            raise ValueError(f"GrowthSurrogate: uptakes are [..., {slopes.shape[-1]}], got shape {list(uptakes.shape)}.")
        if slopes.ndim == 2:
            return (uptakes @ slopes.T + offsets).min(-1)
        return jnp.median((jnp.einsum("ipk,...k->...ip", slopes, uptakes) + offsets).min(-1), -1)


def with_uptakes(model: StoichiometricModel, exchanges: Any, uptakes: Any) -> StoichiometricModel:
    """The model with these uptake bounds, [..., k], of some exchanges; all others stay as they are.

    Raises:
      KeyError: an unknown reaction. ValueError: one that is no exchange; another number of uptakes.
    """
    places = np.array([model.index(name) for name in exchanges], int)
    signs = model.network.uptake_signs[places]
    if (signs == 0).any():
        wrong = exchanges[int(np.argmax(signs == 0))]
        raise ValueError(f"{model.network.name}: {wrong!r} is no exchange; an uptake is one of {model.exchanges[:3]}, ...")
    uptakes = jnp.asarray(uptakes)
    uptakes = uptakes if jnp.issubdtype(uptakes.dtype, jnp.floating) else uptakes.astype(jnp.result_type(float))
    if uptakes.shape[-1:] != places.shape:
        raise ValueError(
            f"{model.network.name}: uptakes are [..., {len(places)} exchanges], got shape {list(uptakes.shape)}."
        )
    backward = signs < 0
    shape = (*uptakes.shape[:-1], len(model.reactions))
    lower, upper = (jnp.broadcast_to(jnp.asarray(x, uptakes.dtype), shape) for x in (model.lower, model.upper))
    return dataclasses.replace(
        model,
        lower=lower.at[..., places[backward]].set(-uptakes[..., backward]),
        upper=upper.at[..., places[~backward]].set(uptakes[..., ~backward]),
    )


def growth_planes(model: StoichiometricModel, exchanges: Any, uptakes: Any, *, digits: int = 9) -> GrowthSurrogate:
    """The planes that touch growth at some media: from the prices that the solver finds with each optimum.

    Each solve gives a plane that lies above growth everywhere and touches it there: the surrogate is exact at those media, and
    never too low elsewhere.

    Args:
      model: `fba`'s; every bound but those of `uptakes` is held fixed.
      exchanges: k names.
      uptakes: [media, k], mmol/gDW/h, all feasible.
      digits: planes equal to so many digits are one.
    Raises:
      RuntimeError: a medium without an optimum; the message names it.
    Reference: Faulon et al. (2023), Nat. Commun. 14, 4669, train networks on such media; Gal & Greenberg (1997), Advances in
    Sensitivity Analysis and Parametric Programming, for the value of a linear programme as a function of its right-hand side.
    Example:
      >>> import numpy as np, jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> names = ("EX_glc__D_e", "EX_o2_e")
      >>> planes = js.metabolism.growth_planes(model, names, np.array([[10.0, 1000.0], [10.0, 20.0], [10.0, 5.0]]))
      >>> print(f"{planes(np.array([10.0, 20.0])):.4f} {planes(np.array([8.0, 18.0])):.4f}")
      0.8326 0.6906
    """
    exchanges = tuple(exchanges)
    media = jnp.asarray(uptakes, jnp.result_type(float))
    found = _solve(with_uptakes(model, exchanges, media)).check()
    places = np.array([model.index(name) for name in exchanges])
    costs = np.asarray(found.reduced_costs)[:, places]
    # The reduced cost is the slope in whichever bound holds the flux: at the other one, growth does not depend on uptake.
    slopes = np.maximum(costs * model.network.uptake_signs[places], 0)
    offsets = np.asarray(found.objective) - (slopes * np.asarray(media)).sum(-1)
    _, first = np.unique(np.c_[slopes, offsets].round(digits), axis=0, return_index=True)
    return GrowthSurrogate(jnp.asarray(slopes[np.sort(first)]), jnp.asarray(offsets[np.sort(first)]))


_solve = jax.jit(fba)


def fit_growth(uptakes: Any, growth: Any, *, pieces: int = 15, members: int = 8, seed: int = 0) -> GrowthSurrogate:
    r"""The planes that fit growth rates best, with no prices and no model: convex piecewise-linear regression.

    Starting from the least-squares plane, a plane is added where growth is overestimated most and all are refitted, each to
    the media in which it is the least (Lloyd's iteration), until there are `pieces`. The places are drawn, and several fits
    vote by their median. It runs on the host, in seconds for a thousand media. Too many pieces fit their media exactly and
    others badly: some media that are kept apart show it.

    Args:
      uptakes: [media, k], of any unit.
      growth: [media], any concave function of them.
      pieces: planes a member. members: fits. seed: of the draws.
    Raises:
      ValueError: shapes that do not fit, numbers that are not finite, no pieces or members.
    Reference: Magnani & Boyd (2009), Optim. Eng. 10, 1, for the iteration.
    Example:
      >>> import numpy as np, jaxsci as js
      >>> u = np.random.default_rng(0).uniform(0, 1, (200, 2))
      >>> g = js.metabolism.fit_growth(u, np.minimum(u[:, 0], 0.2 + 0.5 * u[:, 1]), pieces=2, members=3)
      >>> print(f"{g(np.array([0.5, 0.1])):.3f} {g(np.array([0.2, 0.9])):.3f}")
      0.250 0.200
    """
    media, target = np.asarray(uptakes, float), np.asarray(growth, float)
    if media.ndim != 2 or target.shape != media.shape[:1] or not len(media):
        raise ValueError(
            f"fit_growth: uptakes are [media, k] and growth [media], got {list(media.shape)} and {list(target.shape)}."
        )
    if not (np.isfinite(media).all() and np.isfinite(target).all()):
        raise ValueError("fit_growth: uptakes and growth must be finite; leave out media that are infeasible.")
    for name, count in (("pieces", pieces), ("members", members)):
        if not is_whole(count) or count < 1:
            raise ValueError(f"fit_growth: {name} is a whole number >= 1, got {count!r}.")
    scale = np.maximum(np.abs(media).max(0), np.finfo(float).tiny)
    inputs = np.c_[np.ones(len(media)), media / scale]
    made = [_grown(inputs, target, pieces, np.random.default_rng((seed, i))) for i in range(members)]
    planes = np.stack([np.r_[p, np.repeat(p[:1], pieces - len(p), 0)] for p in made])
    return GrowthSurrogate(jnp.asarray(planes[..., 1:] / scale), jnp.asarray(planes[..., 0]))


def _grown(inputs: np.ndarray, target: np.ndarray, pieces: int, random: np.random.Generator) -> np.ndarray:
    """Planes [<= pieces, 1 + k], one added at a time."""
    loss, planes = _refitted(inputs, target, np.linalg.lstsq(inputs, target, rcond=None)[0][None])
    scale = (target - target.mean()) @ (target - target.mean())
    refused = 0
    while len(planes) < pieces and refused < 12 and loss > 1e-20 * scale:
        values = inputs @ planes.T
        above = np.maximum(values.min(1) - target, 0)
        if not above.any():
            break
        i = random.choice(len(target), p=above**2 / (above @ above))
        near = np.argsort(((inputs - inputs[i]) ** 2).sum(1), kind="stable")[: 3 * inputs.shape[1]]
        near = near[above[near] > 0.3 * above[i]]
        added = _plane(inputs[near], target[near], planes[values[i].argmin()], 1e-2)
        less, more = _refitted(inputs, target, np.r_[planes, added[None]])
        if less < 0.999 * loss:
            loss, planes, refused = less, more, 0
        else:
            refused += 1
    return planes


def _refitted(inputs: np.ndarray, target: np.ndarray, planes: np.ndarray, rounds: int = 40) -> tuple[float, np.ndarray]:
    """The least sum of squares on the way of Lloyd's iteration, and its planes."""
    best, kept = np.inf, planes
    for _ in range(rounds):
        values = inputs @ planes.T
        least = values.argmin(1)
        error = values.min(1) - target
        if error @ error < best:
            best, kept = float(error @ error), planes
        planes = planes.copy()
        for k in np.unique(least):
            planes[k] = _plane(inputs[least == k], target[least == k], planes[k], 1e-4)
        if np.array_equal(planes, kept):
            break
    return best, kept


def _plane(inputs: np.ndarray, target: np.ndarray, near: np.ndarray, ridge: float) -> np.ndarray:
    """The least-squares plane; what few media leave open stays as in a plane nearby."""
    normal = inputs.T @ inputs + ridge * np.eye(inputs.shape[1])
    return near + np.linalg.solve(normal, inputs.T @ (target - inputs @ near))
