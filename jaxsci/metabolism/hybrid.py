r"""The neural-mechanistic hybrid: from a medium by a learned uptake to growth and fluxes by flux balance.

    medium  ->  uptake bounds  u = uptake(params, medium)  ->  max c.v  with  S v = 0, bounds of which u are some

What is in the medium is known, how fast cells take it up is not: that is learned from measured growth, through the derivative
of the optimum. The fluxes are those of flux balance and conserve mass, whatever was learned.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._types import Key
from jaxsci.metabolism.fba import FluxBalance, fba
from jaxsci.metabolism.growth_surrogate import with_uptakes
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.networks import Network

_STATIC = {"static": True}
_ONE = float(np.log(np.expm1(1.0)))  # softplus of it is 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Hybrid:
    r"""A network in front of flux balance: ``hybrid(params, medium) -> FluxBalance``.

    Growth is differentiable in `params` and in the medium; everything works under jit, vmap and grad, and media may have leading
    axes. To train on growth alone, ``surrogate(hybrid.uptakes(params, medium))`` with the planes of `growth_planes` is the same
    number a thousand times cheaper, as far as the planes reach; `growth_planes` at the trained uptakes shows whether they did.

    Args:
      model: what is fixed: the network, the objective and all other bounds.
      exchanges: the k exchanges whose uptake bounds are learned.
      uptake: ``(params, medium) -> uptakes``, [k] -> [k] in mmol/gDW/h, written for ONE medium: `NeuralUptake`,
        `GaussianProcessUptake` or any function. What it gives below 0 counts as 0.
    Raises:
      KeyError: an unknown exchange. ValueError: a reaction that is no exchange. TypeError: an uptake that cannot be called.
    Reference: Faulon et al. (2023), Nat. Commun. 14, 4669 (their fluxes come out of a few unrolled steps, or of a loss, and
    meet S v = 0 only about).
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> model = js.metabolism.from_equations(
      ...     {"sugar": "-> a", "acid": "-> b", "turn": "a -> 2 b", "growth": "10 b ->"}, "growth")
      >>> half = js.metabolism.Hybrid(model, ("sugar", "acid"), lambda params, medium: params * medium)
      >>> found = half(jnp.array(0.5), jnp.array([[8.0, 0.0], [8.0, 2.0]]))
      >>> print(found.objective)
      [0.8 0.9]
      >>> print(jax.grad(lambda p: half(p, jnp.array([8.0, 2.0])).objective)(0.5).round(4))
      1.8
    """

    model: StoichiometricModel
    exchanges: tuple[str, ...] = dataclasses.field(metadata=_STATIC)
    uptake: Any

    def __post_init__(self):
        object.__setattr__(self, "exchanges", tuple(self.exchanges))
        if not isinstance(self.model, StoichiometricModel):  # JAX rebuilds it out of things that are no models
            return
        with_uptakes(self.model, self.exchanges, np.zeros(len(self.exchanges)))
        if not callable(self.uptake):
            raise TypeError(f"Hybrid: uptake is a function (params, medium) -> uptakes, got {self.uptake!r}.")
        if jax.tree_util.treedef_is_leaf(jax.tree.structure(self.uptake)):  # a plain function: as a pytree without leaves
            object.__setattr__(self, "uptake", jax.tree_util.Partial(self.uptake))

    def uptakes(self, params: Any, medium: Any) -> Any:
        """The learned bounds, [..., k] -> [..., k], mmol/gDW/h.

        Raises:
          ValueError: a medium of another length.
        """
        medium = jnp.asarray(medium)
        if medium.shape[-1:] != (len(self.exchanges),):
            raise ValueError(f"Hybrid: a medium is [..., {len(self.exchanges)} exchanges], got shape {list(medium.shape)}.")
        law = jnp.vectorize(lambda one: jnp.asarray(self.uptake(params, one)), signature="(k)->(j)")
        found = law(medium)
        if found.shape != medium.shape:
            raise ValueError(
                f"Hybrid: the uptake of ONE medium is one bound for each of {len(self.exchanges)} exchanges, got "
                f"{found.shape[-1]}."
            )
        return jnp.maximum(found, 0)

    def __call__(self, params: Any, medium: Any, *, regularisation: Any = None) -> FluxBalance:
        """Growth and fluxes; `regularisation` as in `fba`, for training through fluxes."""
        limited = with_uptakes(self.model, self.exchanges, self.uptakes(params, medium))
        return fba(limited, regularisation=regularisation)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class NeuralUptake:
    r"""Uptakes as a network scales them: what is absent is not taken up, and an untrained network changes nothing much.

        u_i = m_i softplus(b + N_i(z)),      z = [2 m / largest - 1, g(m) - 1],      softplus(b) = 1

    m is the medium as nominal bounds, g growth in it by flux balance with those bounds, relative to a typical one, if
    `knowledge` is given: what the cell could do with a medium is then an input, and need not be learned from data.

    Args:
      network: of `jaxsci.networks`, or any with ``init`` and ``apply``.
      shared: one number scales all uptakes, the capacity of the cell in that medium; else every exchange has its own.
      knowledge: ``medium -> growth``, such as a `GrowthSurrogate`.
      largest: [k], the largest nominal bounds; 1 by default. typical: a growth rate, 1 by default.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> law = js.metabolism.NeuralUptake(js.networks.MLP((8,)), shared=True)
      >>> params = law.init(jax.random.key(0), 3)
      >>> u = law(params, jnp.array([1.0, 0.0, 1.0]))
      >>> bool(u[0] == u[2]), float(u[1])
      (True, 0.0)
    """

    network: Network = dataclasses.field(metadata=_STATIC)
    shared: bool = dataclasses.field(metadata=_STATIC, default=False)
    knowledge: Any = None
    largest: Any = 1.0
    typical: Any = 1.0

    def init(self, key: Key, exchanges: int) -> Any:
        """Parameters for so many exchanges."""
        inputs = exchanges + (self.knowledge is not None)
        return self.network.init(key, inputs=inputs, outputs=1 if self.shared else exchanges)

    def __call__(self, params: Any, medium: Any) -> Any:
        medium = jnp.asarray(medium)
        z = 2 * medium / self.largest - 1
        if self.knowledge is not None:
            z = jnp.append(z, self.knowledge(medium) / self.typical - 1)
        return medium * jax.nn.softplus(_ONE + self.network.apply(params, z))
