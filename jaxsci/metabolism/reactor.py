r"""What surrounds the cells: the reactor that holds them, and the laws by which they may take up what is in it.

dX/dt = (mu - D) X,    dC_i/dt = r_i X + D (feed_i - C_i) + kLa_i (C*_i - C_i),    dV/dt = F - F_out,    D = F / V
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Uptake:
    r"""The largest uptake of a substrate at its concentration C, by Michaelis and Menten, inhibited by what else is there:

        u <= vmax C / (km + C) prod_k 1 / (1 + C_k / K_k)

    Any function of the concentrations, a dict by exchange, can stand in its place (with `jax.tree_util.Partial` around it where
    it has parameters to differentiate in); it must be 0 where its own substrate is gone.

    Args:
      vmax: mmol/gDW/h.
      km: mM. None: vmax as long as there is anything; once it is gone, no more than what feed and transfer bring,
        u <= min(vmax, supply / X).
      inhibition: exchange -> K_k in mM.
    Raises:
      ValueError: a number that is known and negative (for km, and K_k: not positive).
    Example:
      >>> import jaxsci as js
      >>> law = js.metabolism.Uptake(10.0, 5.0, {"EX_etoh_e": 20.0})
      >>> float(law({"EX_glc__D_e": 5.0, "EX_etoh_e": 20.0}, "EX_glc__D_e"))
      2.5
    """

    vmax: Any
    km: Any = None
    inhibition: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        _check_number("Uptake: vmax, in mmol/gDW/h,", self.vmax)
        if self.km is not None:
            _check_number("Uptake: km, in mM,", self.km, positive=True)
        for name, value in dict(self.inhibition).items():
            _check_number(f"Uptake: the inhibition constant of {name}, in mM,", value, positive=True)

    def __call__(self, concentrations: Mapping[str, Any], substrate: str) -> Any:
        """The bound, mmol/gDW/h."""
        c = concentrations[substrate]
        value = self.vmax * jnp.ones_like(c) if self.km is None else self.vmax * c / (self.km + c)
        for name, constant in self.inhibition.items():
            value = value / (1 + concentrations[name] / constant)
        return value


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Reactor:
    r"""A well-stirred reactor; without arguments a batch. Concentrations are in mM, flows in L/h, volumes in L.

    - Batch: ``Reactor()``.
    - Chemostat of dilution rate D: ``Reactor.chemostat(D, feed)``.
    - Fed-batch: ``Reactor(inflow=F, feed=...)``; F a number, or a function of the time in h.

    Args:
      inflow: F. A function with parameters of its own is a `jax.tree_util.Partial`.
      outflow: F_out, of the reactor's contents.
      feed: exchange -> concentration in the inflow; what is not named is not in it.
      transfer: exchange -> (kLa in 1/h, C* in mM): a gas that dissolves.
      volume: at the start.
    Raises:
      ValueError: a known number that is negative, or a volume that is not positive.
    Example:
      >>> import jaxsci as js
      >>> js.metabolism.Reactor.chemostat(0.2, {"EX_glc__D_e": 20.0}).outflow
      0.2
    """

    inflow: Any = 0.0
    outflow: Any = 0.0
    feed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    transfer: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    volume: Any = 1.0

    def __post_init__(self):
        for name in ("inflow", "outflow"):
            value = getattr(self, name)
            if callable(value) and not isinstance(value, jax.tree_util.Partial):
                object.__setattr__(self, name, jax.tree_util.Partial(value))
            elif not callable(value):
                _check_number(f"Reactor: {name}, in L/h,", value)
        _check_number("Reactor: the volume, in L,", self.volume, positive=True)
        for name, value in dict(self.feed).items():
            _check_number(f"Reactor: the feed of {name}, in mM,", value)
        for name, pair in dict(self.transfer).items():
            if isinstance(pair, tuple | list) and len(pair) != 2:
                raise ValueError(f"Reactor: transfer of {name} is (kLa in 1/h, C* in mM), got {pair!r}.")
            for value in pair if isinstance(pair, tuple | list) else ():
                _check_number(f"Reactor: transfer of {name}, (kLa in 1/h, C* in mM),", value)

    @classmethod
    def chemostat(cls, dilution: Any, feed: Mapping[str, Any], transfer: Mapping[str, Any] | None = None) -> Reactor:
        """A litre through which as much flows in as out: D = `dilution`, 1/h."""
        return cls(inflow=dilution, outflow=dilution, feed=feed, transfer=transfer or {})

    def flows(self, t: Any) -> tuple[Any, Any]:
        """(F, F_out) at a time."""
        inflow, outflow = (flow(t) if callable(flow) else flow for flow in (self.inflow, self.outflow))
        return inflow, outflow

    def arrays(self, names: tuple[str, ...], dtype: Any) -> tuple[Any, Any, Any]:
        """(feed, kLa, C*), each [names]."""
        feed = [self.feed.get(name, 0.0) for name in names]
        pairs = [self.transfer.get(name, (0.0, 0.0)) for name in names]

        def stacked(column: list[Any]) -> Any:
            return jnp.stack([jnp.asarray(x, dtype) for x in column])

        return stacked(feed), stacked([p[0] for p in pairs]), stacked([p[1] for p in pairs])


def _check_number(what: str, value: Any, *, positive: bool = False) -> None:
    """Known numbers must be finite and >= 0, or > 0. What JAX rebuilds a dataclass of may be no number at all."""
    if is_traced(value) or not isinstance(value, int | float | np.ndarray | np.generic | jax.Array):
        return
    known = np.asarray(value)
    if known.dtype == object or not np.issubdtype(known.dtype, np.number):
        return
    if not np.isfinite(known).all() or (known < 0).any() or (positive and (known == 0).any()):
        raise ValueError(f"{what} is {'> 0' if positive else '>= 0'} and finite, got {value!r}.")
