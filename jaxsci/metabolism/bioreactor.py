r"""A bioreactor as a decision problem: how much to feed, when the cells answer by dynamic flux balance.

s = (X, C, V),    a = F (L/h, held for dt hours),    cost = -(amount of product made) + price F dt
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.metabolism.dynamic import dynamic_fba
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.names import unknown
from jaxsci.metabolism.reactor import Reactor, Uptake
from jaxsci.metabolism.simplex import OPTIMAL


class Bioreactor(NamedTuple):
    """The ingredients of a `jaxsci.control.Task`, under the names that it has for them."""

    dynamics: Callable[[Any, Any, Any], Any]
    cost: Callable[[Any, Any, Any, Any], Any]
    init: Callable[[Any], Any]
    terminated: Callable[[Any, Any], Any]
    parameters: Any


def bioreactor(
    model: StoichiometricModel,
    uptake: Mapping[str, Any],
    biomass: Any,
    concentrations: Mapping[str, Any],
    reactor: Reactor,
    *,
    dt: float,
    product: str = "biomass",
    feed_price: Any = 0.0,
    **options: Any,
) -> Bioreactor:
    r"""A fed-batch (or a chemostat) whose inflow is the action.

    The state is a dict: biomass (gDW/L), concentrations (a dict, mM), volume (L), and alive, 1 until the cells' demands cannot
    be met (then nothing moves any more, and the task has terminated). The action is the inflow F in L/h; what is below 0 counts
    as 0. The cost of a step is what it makes of the product, in gDW or mmol, with a minus, plus `feed_price` a litre.
    Every leaf of `parameters` can be differentiated in: the model's bounds, the laws, the feed, the start.

    Args:
      model, uptake, biomass, concentrations: as in `dynamic_fba`.
      reactor: its inflow is not used; feed, outflow and transfer are.
      dt: h, the length of a step.
      product: "biomass", or an exchange that is followed.
      feed_price: a litre.
      options: of `dynamic_fba`: then, solver, rtol, atol, max_events (8 a step by default).
    Returns:
      A `Bioreactor`, to be completed with a horizon: ``Task(horizon=10, **bioreactor(...)._asdict())``.
    Raises:
      KeyError: a product that is not followed. ValueError: dt that is not positive; what `dynamic_fba` raises.
    Example:
      >>> import jaxsci as js
      >>> toy = js.metabolism.from_equations({"food": "-> a", "growth": "10 a ->"}, "growth")
      >>> vessel = js.metabolism.bioreactor(
      ...     toy, {"food": js.metabolism.Uptake(5.0, 1.0)}, 0.1, {"food": 0.0},
      ...     js.metabolism.Reactor(feed={"food": 100.0}), dt=0.5)
      >>> task = js.control.Task(horizon=4, **vessel._asdict())
      >>> sorted(task.first_state())
      ['alive', 'biomass', 'concentrations', 'volume']
    """
    check_model("bioreactor", model, usual_units=True)
    if not (isinstance(dt, float | int) and dt > 0):
        raise ValueError(f"bioreactor: dt is a number of hours > 0, got {dt!r}.")
    if product != "biomass" and product not in concentrations:
        raise unknown("bioreactor: product", product, ("biomass", *concentrations))
    for name in concentrations:
        if name not in model.exchanges:
            raise unknown(f"{model.name}: exchange", name, model.exchanges)
    options = {"max_events": 8, **options}
    laws = {name: law if isinstance(law, Uptake) else jax.tree_util.Partial(law) for name, law in uptake.items()}
    parameters = {
        "model": model,
        "uptake": laws,
        "reactor": reactor,
        "biomass": biomass,
        "concentrations": dict(concentrations),
        "feed_price": feed_price,
    }

    def init(p: Any) -> Any:
        start = {"biomass": p["biomass"], "concentrations": p["concentrations"], "volume": p["reactor"].volume, "alive": 1.0}
        dtype = jnp.result_type(float, *(x for x in jax.tree.leaves(start) if isinstance(x, jax.Array)))
        return jax.tree.map(lambda x: jnp.asarray(x, dtype), start)

    def dynamics(p: Any, state: Any, action: Any) -> Any:
        dtype = state["biomass"].dtype
        inflow = jnp.maximum(jnp.reshape(jnp.asarray(action, dtype), ()), 0)
        r = p["reactor"]
        now = Reactor(inflow, r.outflow, r.feed, r.transfer, state["volume"])
        ts = jnp.array([0.0, dt], dtype)
        run = dynamic_fba(p["model"], p["uptake"], state["biomass"], state["concentrations"], ts, reactor=now, **options)
        after = {**run.final, "alive": jnp.where(run.status == OPTIMAL, state["alive"], 0.0)}
        return jax.tree.map(lambda old, new: jnp.where(state["alive"] > 0, new, old).astype(dtype), state, after)

    def amount(state: Any) -> Any:
        held = state["biomass"] if product == "biomass" else state["concentrations"][product]
        return held * state["volume"]

    def cost(p: Any, state: Any, action: Any, after: Any) -> Any:
        spent = p["feed_price"] * jnp.maximum(jnp.reshape(action, ()), 0) * dt
        return amount(state) - amount(after) + spent

    return Bioreactor(dynamics, cost, init, lambda p, state: state["alive"] <= 0, parameters)
