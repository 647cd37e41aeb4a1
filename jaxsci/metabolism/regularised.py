r"""Flux balance with a strictly convex objective, for training through fluxes.

    max c.v - e |v|^2 / 2     with     S v = 0,     lower <= v <= upper

Its optimum is the point of the polytope nearest to c / e: unique, and continuous in every number.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jaxsci.metabolism.network import Network
from jaxsci.metabolism.presolve import presolve
from jaxsci.metabolism.quadratic import Nearest, nearest_fluxes
from jaxsci.metabolism.simplex import OPTIMAL


def regularised_fluxes(network: Network, lower: Any, upper: Any, objective: Any, strength: Any) -> Nearest:
    """Fluxes, prices and status, NaN where there is no optimum; see `fba`."""
    if isinstance(strength, int | float) and not strength > 0:
        raise ValueError(f"fba: regularisation is a number > 0, got {strength!r}; leave it out for the exact optimum.")
    found = nearest_fluxes(presolve(network), objective / strength, lower, upper)
    optimal = (found.status == OPTIMAL)[..., None]
    nan = lambda x: jnp.where(optimal, x, jnp.nan)  # noqa: E731
    return found._replace(fluxes=nan(found.fluxes), shadow_prices=nan(strength * found.shadow_prices))
