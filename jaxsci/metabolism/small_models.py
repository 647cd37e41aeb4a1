"""A model small enough to be written down, for examples and tests."""

from __future__ import annotations

from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.reaction_text import from_equations


def diauxic_growth() -> StoichiometricModel:
    """E. coli in four reactions: growth on glucose, with or without acetate as waste, on acetate, and without oxygen.

    Fluxes are in mmol/gDW/h, that of ``growth`` in 1/h. Oxygen: at most 15 mmol/gDW/h.

    Reference: Mahadevan, Edwards & Doyle (2002), Biophys. J. 83, 1331 (from whom the coefficients are).
    Example:
      >>> import jaxsci as js
      >>> model = js.metabolism.diauxic_growth().with_bounds({"EX_glc": (-10.0, 0.0)})
      >>> print(f"{js.metabolism.fba(model).objective:.4f}")
      1.0954
    """
    return from_equations(
        {
            "v1": "39.43 ac + 35 o2 -> biomass",
            "v2": "9.46 glc + 12.92 o2 -> biomass",
            "v3": "9.84 glc + 12.73 o2 -> 1.24 ac + biomass",
            "v4": "19.23 glc -> 12.12 ac + biomass",
            "EX_glc": "glc <=>",
            "EX_ac": "ac <=>",
            "EX_o2": "o2 <=>",
            "growth": "biomass ->",
        },
        "growth",
        bounds={"EX_o2": (-15.0, 1000.0)},
        name="diauxic growth",
    )
