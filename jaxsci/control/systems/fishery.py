r"""A fishery with a tipping point: a stock x is harvested by h, what escapes grows, and the growth is multiplied by noise.

    S_t = max(x_t - h_t, 0),      x_{t+1} = z_t f(S_t),   log z_t ~ N(0, sigma^2),      reward min(h_t, x_t)

With Allen's growth there is an Allee effect: below C the stock dies out by itself, and a harvest that leaves less than C today is
the last one. Ricker's growth knows no such threshold; who fits it to a stock that has one fishes it to extinction.

Stocks and harvests are in the unit of the carrying capacity, time is in years (one step).

References: Allen, Fujiwara & Schaffner (2005), the Allee growth; Ricker (1954); Myers, Barrowman, Hutchings & Rosenberg (1995),
Science 269, 1106; Boettiger, Mangel & Munch (2015), Proc. R. Soc. B 282, 20141631, the decision problem and its data.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import check_keys, unknown_name
from jaxsci.control.task import Task

GrowthName = Literal["allen", "ricker", "myers"]
Decision = Literal["harvest", "escapement", "share"]


def allen_growth(stock: Any, r: Any = 2.0, K: Any = 8.0, C: Any = 5.0) -> Any:
    """f(S) = S exp(r (1 - S/K) (S - C) / K): fixed points 0, C (unstable: the tipping point) and K.

    The paper prints it without the last division by K; this is what its data were made with (r here is r K there).
    """
    return stock * jnp.exp(r * (1 - stock / K) * (stock - C) / K)


def ricker_growth(stock: Any, r: Any = 1.0, K: Any = 8.0) -> Any:
    """f(S) = S exp(r (1 - S/K)): fixed points 0 (unstable) and K."""
    return stock * jnp.exp(r * (1 - stock / K))


def myers_growth(stock: Any, r: Any = 1.0, theta: Any = 1.0, K: Any = 8.0) -> Any:
    """f(S) = r S^theta / (1 + S^theta / K): Beverton and Holt's for theta = 1, an Allee effect for theta > 2."""
    safe = jnp.where(stock > 0, stock, 1.0)  # the derivative of 0^theta is NaN
    power = jnp.where(stock > 0, safe**theta, 0.0)
    return r * power / (1 + power / K)


GROWTH = {"allen": allen_growth, "ricker": ricker_growth, "myers": myers_growth}
_COEFFICIENTS = {
    "allen": {"r": 2.0, "K": 8.0, "C": 5.0},
    "ricker": {"r": 1.0, "K": 8.0},
    "myers": {"r": 1.0, "theta": 1.0, "K": 8.0},
}


class FisheryParameters(NamedTuple):
    """The parameters of the task.

    Attributes:
      growth: the coefficients of the growth, by name.
      noise: sigma, of the logarithm of the growth's noise; 0 for none.
      initial: the first stock.
    """

    growth: dict[str, Any]
    noise: Any
    initial: Any


def fishery(
    growth: GrowthName = "allen",
    coefficients: Mapping[str, Any] | None = None,
    *,
    noise: Any = 0.05,
    initial: Any = 10.0,
    horizon: int = 100,
    discount: Any = 0.99,
    decision: Decision = "harvest",
) -> Task:
    """The task of a fishery: state the stock, a scalar; cost the negative of what is landed.

    Args:
      growth: "allen", "ricker" or "myers".
      coefficients: of the growth, by name; the defaults are those of the paper's truth (r = 2, K = 8, C = 5 of Allen's).
      noise, initial: sigma and the first stock.
      horizon, discount: years, and gamma.
      decision: what an action is: the "harvest" h itself, the "escapement" S that is to be left, or the "share" of the stock that
        is taken, between 0 and 1. Nobody lands more than there is.
    Returns:
      A `Task` whose parameters are `FisheryParameters`.
    Raises:
      ValueError: an unknown growth or decision. KeyError: an unknown coefficient.
    Example:
      >>> import jax, jaxsci as js
      >>> task = js.control.systems.fishery(decision="escapement", horizon=50)
      >>> run = js.control.rollout(task, lambda target, stock: target, 6.75, jax.random.key(0), batch=100)
      >>> bool((run.final > 5).all()), bool((js.control.rollout(task, lambda s, x: s, 4.0, jax.random.key(0)).final < 1))
      (True, True)
    """
    if growth not in GROWTH:
        raise ValueError(unknown_name("fishery: growth", growth, GROWTH))
    if decision not in ("harvest", "escapement", "share"):
        raise ValueError(unknown_name("fishery: decision", decision, ("harvest", "escapement", "share")))
    check_keys("fishery: coefficient", coefficients or {}, _COEFFICIENTS[growth])
    known = _COEFFICIENTS[growth] | dict(coefficients or {})
    dtype = jnp.result_type(float)
    parameters = FisheryParameters({name: jnp.asarray(value, dtype) for name, value in known.items()}, noise, initial)

    def dynamics(p, stock, action, *, key):
        z = jnp.exp(p.noise * jax.random.normal(key, jnp.shape(stock), stock.dtype))
        return z * GROWTH[growth](stock - landed(stock, action, decision), **p.growth)

    return Task(
        dynamics=dynamics,
        cost=lambda p, stock, action, after: -landed(stock, action, decision),
        init=lambda p: jnp.asarray(p.initial, dtype),
        horizon=horizon,
        parameters=parameters,
        discount=discount,
        name=f"fishery, {growth}",
    )


def landed(stock: Any, action: Any, decision: Decision = "harvest") -> Any:
    """What is landed of a stock, between nothing and all of it."""
    wanted = {"harvest": action, "escapement": stock - action, "share": action * stock}[decision]
    return jnp.clip(wanted, 0.0, stock)


def fishery_training_data() -> tuple[np.ndarray, np.ndarray]:
    """The 40 pairs (S_t, x_{t+1}) of the paper: a stock over 40 years without harvest, from 5.5, and the pair (0, 0).

    Boettiger, Mangel & Munch's repository nonparametric-bayes, released as CC0; Allen's growth, r 2, K 8, C 5, noise 0.05.
    """
    text = files("jaxsci.control.systems").joinpath("fishery_training_data.csv").read_text()
    table = np.loadtxt(text.splitlines(), delimiter=",", comments="#", skiprows=4)
    return table[:, 0], table[:, 1]
