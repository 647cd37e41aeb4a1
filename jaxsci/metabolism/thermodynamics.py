r"""Which way a reaction can run: directions from the free energies of reactions.

    Delta_r G'_j = Delta_r G'0_j + R T sum_i S_ij ln c_i,        v_j > 0 only if Delta_r G'_j < 0,    v_j < 0 only if it is > 0

With concentrations known to ranges, each energy is known to a range, and where that lies on one side of 0 the direction is
settled. Internal cycles are another matter: see `flux_variability(loopless=True)`, `is_loopless`, `remove_loops`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.names import unknown
from jaxsci.metabolism.optimum import numbers

GAS_CONSTANT = 8.31446261815324e-3  # kJ/mol/K


class EnergyRange(NamedTuple):
    """The range of Delta_r G' of every reaction, kJ/mol, [reactions]; from -infinity to infinity where it is not known."""

    minimum: Any
    maximum: Any


def energy_ranges(
    model: StoichiometricModel,
    standard_energies: Mapping[str, Any],
    concentrations: Mapping[str, Any] | None = None,
    *,
    default: Any = (1e-6, 1e-2),
    temperature: Any = 298.15,
) -> EnergyRange:
    """What Delta_r G' of a reaction can be while every concentration stays in its range.

    Args:
      standard_energies: ``{reaction: Delta_r G'0}`` in kJ/mol for 1 mol/L, at the pH and ionic strength that are meant; for
        these energies the proton and the water that a reaction names have activity 1.
      concentrations: ``{metabolite: (least, most)}`` in mol/L; give protons and water (1, 1).
      default: the range of all others.
      temperature: K.
    Raises:
      KeyError: an unknown reaction or metabolite. ValueError: a range that is not 0 < least <= most, an energy that is not
        finite, a temperature that is not in kelvin (200 to 500), where these are known.
    Reference: Alberty (2003), Thermodynamics of Biochemical Reactions; Kuemmel, Panke & Heinemann (2006), Mol. Syst. Biol. 2.
    Example:
      >>> import jaxsci as js
      >>> toy = js.metabolism.from_equations({"in": "-> a", "turn": "a <=> b", "out": "b ->"})
      >>> found = js.metabolism.energy_ranges(toy, {"turn": -30.0}, {"a": (1e-3, 1e-2)}, default=(1e-5, 1e-3))
      >>> print(f"{found.minimum[1]:.2f} {found.maximum[1]:.2f}")
      -47.12 -30.00
    """
    check_model("energy_ranges", model)
    if not is_traced(temperature) and not 200 <= float(temperature) <= 500:
        raise ValueError(f"energy_ranges: the temperature is in kelvin, 298.15 say; got {temperature!r}.")
    for name, energy in standard_energies.items():
        if not is_traced(energy) and not np.isfinite(energy).all():
            raise ValueError(f"energy_ranges: the energy of {name!r} is a finite number in kJ/mol, got {energy!r}.")
    dtype = numbers(model, None, None, None)[0].dtype
    S = model.network.matrix
    logs = []
    ranges = dict.fromkeys(model.metabolites, default)
    for name, pair in (concentrations or {}).items():
        if name not in model.network.metabolite_index:
            raise unknown(f"{model.name}: metabolite", name, model.metabolites)
        ranges[name] = pair
    for name in (None, *(concentrations or {})):
        _check_range(name, default if name is None else ranges[name])
    for end in (0, 1):
        logs.append(jnp.log(jnp.stack([jnp.asarray(ranges[name][end], dtype) for name in model.metabolites])))
    index = np.array([model.index(name) for name in standard_energies], int)
    n = len(model.reactions)
    if not index.size:
        return EnergyRange(jnp.full(n, -jnp.inf, dtype), jnp.full(n, jnp.inf, dtype))
    columns = S[:, index].toarray()
    made, used = (jnp.asarray(x, dtype) for x in (np.maximum(columns, 0.0), np.minimum(columns, 0.0)))
    energies = jnp.stack([jnp.asarray(v, dtype) for v in standard_energies.values()])
    thermal = GAS_CONSTANT * jnp.asarray(temperature, dtype)
    least = energies + thermal * (logs[0] @ made + logs[1] @ used)
    most = energies + thermal * (logs[1] @ made + logs[0] @ used)
    return EnergyRange(jnp.full(n, -jnp.inf, dtype).at[index].set(least), jnp.full(n, jnp.inf, dtype).at[index].set(most))


def direction_bounds(
    model: StoichiometricModel,
    standard_energies: Mapping[str, Any],
    concentrations: Mapping[str, Any] | None = None,
    *,
    default: Any = (1e-6, 1e-2),
    temperature: Any = 298.15,
) -> StoichiometricModel:
    """The model with the directions that free energies settle: no forward flux where Delta_r G' >= 0 always, and vice versa.

    Each reaction is looked at by itself: a metabolite may have one concentration in one reaction and another one elsewhere.
    So no feasible direction is ever closed; some that only all reactions together exclude stay open.

    Args:
      Those of `energy_ranges`.
    Returns:
      The model with other bounds. One that was forced the wrong way is then infeasible: `fba` says so, with a certificate.
    Example:
      >>> import jaxsci as js
      >>> toy = js.metabolism.from_equations({"in": "-> a", "turn": "a <=> b", "out": "b ->"})
      >>> held = js.metabolism.direction_bounds(toy, {"turn": -30.0})
      >>> print(held.lower[1], held.upper[1])
      0.0 1000.0
    """
    energy = energy_ranges(model, standard_energies, concentrations, default=default, temperature=temperature)
    if not is_traced((model.lower, model.upper, energy)):
        lower, upper = np.asarray(model.lower, float), np.asarray(model.upper, float)
        least, most = (np.asarray(x, float) for x in energy)
        xp: Any = np
    else:
        lower, upper, _ = numbers(model, None, None, None)
        (least, most), xp = energy, jnp
    # A forced flux stays forced (and infeasible): only the open side is closed, down to 0.
    return dataclasses.replace(
        model,
        lower=xp.where(most <= 0, xp.maximum(lower, 0.0), lower),
        upper=xp.where(least >= 0, xp.minimum(upper, 0.0), upper),
    )


def _check_range(name: str | None, pair: Any) -> None:
    what = "default" if name is None else f"the concentration of {name!r}"
    try:
        least, most = pair
    except (TypeError, ValueError):
        raise ValueError(f"energy_ranges: {what} is a pair (least, most) in mol/L, got {pair!r}.") from None
    if not is_traced((least, most)) and not 0 < float(least) <= float(most) < np.inf:
        raise ValueError(f"energy_ranges: {what} is a range with 0 < least <= most in mol/L, got ({least!r}, {most!r}).")
