"""The rule of a network surrogate: standardised fields in, the change to the next saves out, alone or on top of a solver."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsci.networks.functional import Network
from jaxsci.solvers import Stepper
from jaxsci.surrogates.solver_step import SolverStep


@dataclasses.dataclass(frozen=True)
class NetworkRule:
    r"""e_k(u) = b + s_k N(z), k = 1 .. K: the next K saves from one, by one evaluation of a network N.

    z stacks the standardised fields (u - c) / s, the standardised numbers as constant channels, and the positions. The base b is
    what N corrects: u itself, the solver's step from u, or the mean c.

    Parameters: ``"network"`` are trained; ``"scales"`` are of the data: ``centre``, ``scale`` ``[channels]``, ``step``
    ``[K, channels]``, ``number_centre``, ``number_scale`` ``[numbers]``. `prepare` adds ``"positions"`` and ``"solver"``.

    What is carried is ``[channels, *space]``, or for a bundle the K saves and which of them is now; encoded fields are the last
    of their bundle. That number is not batched where only the fields are, so that a map over starts evaluates N once in K steps.
    """

    network: Network
    channels: int
    numbers: tuple[str, ...] = ()
    bundle: int = 1
    increment: bool = True
    corrects: SolverStep | None = None
    places: tuple[tuple[str, float, float, bool], ...] = ()  # axis, lower end, length, walls: where positions are inputs

    # --- the rule of a stepper ---------------------------------------------------------------------------------------------

    def prepare(self, parameters: Mapping[str, Any], frame: Stepper) -> dict[str, Any]:
        """Positions on the frame's grid, and the solver inside with the frame's coefficients."""
        made = {name: parameters[name] for name in ("network", "scales")}
        if self.places:
            made["positions"] = positions(self.places, frame, made["scales"]["centre"].dtype)
        if self.corrects is not None:
            made["solver"] = self.corrects.solver(frame)
        return made

    def encode(self, parameters: Mapping[str, Any], fields: Float[Array, "channels ..."]) -> Any:
        fields = jnp.asarray(fields, parameters["scales"]["centre"].dtype)
        if self.bundle == 1:
            return fields
        return jnp.broadcast_to(fields, (self.bundle, *fields.shape)), jnp.asarray(self.bundle - 1, jnp.int32)

    def step(self, parameters: Mapping[str, Any], carry: Any, coefficients: Mapping[str, Any], t: Any) -> Any:
        if self.bundle == 1:
            return self.evaluate(parameters, carry, coefficients, t)[0]

        def anew(saves):
            return self.evaluate(parameters, saves[-1], coefficients, t)

        saves, position = carry
        is_last = position == self.bundle - 1
        return jax.lax.cond(is_last, anew, lambda saves: saves, saves), jnp.where(is_last, 0, position + 1)

    def decode(self, parameters: Mapping[str, Any], carry: Any) -> Float[Array, "channels ..."]:
        return carry if self.bundle == 1 else carry[0][carry[1]]

    # --- the network ---------------------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> int:
        """Channels of z."""
        return self.channels + len(self.numbers) + sum(1 if walls else 2 for *_, walls in self.places)

    @property
    def outputs(self) -> int:
        return self.channels * self.bundle

    def evaluate(
        self, parameters: Mapping[str, Any], fields: Float[Array, "channels ..."], coefficients: Mapping[str, Any], t: Any
    ) -> Float[Array, "bundle channels ..."]:
        """The next K saves."""
        scales, space = parameters["scales"], fields.shape[1:]
        column = lambda v: v.reshape(*v.shape, *(1,) * len(space))  # noqa: E731
        base = fields if self.corrects is None else self.corrects.advance(parameters["solver"], fields, t)
        stacked = [(base - column(scales["centre"])) / column(scales["scale"])]
        for i, name in enumerate(self.numbers):
            value = (coefficients[name] - scales["number_centre"][i]) / scales["number_scale"][i]
            stacked.append(jnp.broadcast_to(jnp.asarray(value, fields.dtype), (1, *space)))
        if self.places:
            stacked.append(parameters["positions"])
        found = self.network.apply(parameters["network"], jnp.concatenate(stacked))
        found = found.reshape(self.bundle, self.channels, *space)
        if self.corrects is None and not self.increment:
            base = column(scales["centre"])
        return (base + column(scales["step"]) * found).astype(fields.dtype)


def positions(places: tuple[tuple[str, float, float, bool], ...], frame: Stepper, dtype: Any) -> Any:
    """Positions as channels, ``[channels, *space]``: cos and sin around a periodic axis, -1 to 1 between walls.

    Ends and lengths are those of the training, so that a larger periodic box is the same one several times.
    """
    grid, waves = frame.grid, []
    for i, (name, lower, length, walls) in enumerate(places):
        unit = ((grid[name] - lower) / length).reshape([-1 if i == j else 1 for j in range(len(grid))])
        waves += [2 * unit - 1] if walls else [np.cos(2 * np.pi * unit), np.sin(2 * np.pi * unit)]
    shape = tuple(map(len, grid.values()))
    return jnp.asarray(np.stack([np.broadcast_to(wave, shape) for wave in waves]), dtype)
