r"""Minimal media: the least that has to be taken up for a given growth.

    least total   min sum_e u_e          fewest components   min #{e : u_e > 0}

over S v = 0, lower <= v <= upper, c.v >= growth, with u_e the uptake of exchange e.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize
import scipy.sparse

from jaxsci._checks import results_are_traced
from jaxsci.metabolism.model import StoichiometricModel, check_model

_ZERO = 1e-9


def minimal_medium(model: StoichiometricModel, growth: float, *, fewest: bool = False) -> dict[str, float]:
    """A medium on which the objective reaches `growth`, with the least total uptake, or of the fewest components.

    On the host, exact: a linear programme, or a mixed-integer one (HiGHS) of which the components are then checked, and their
    uptakes found, by a linear one. There may be other media as small.

    Args:
      model: one model; its bounds say what can be taken up, and at most how much.
      growth: what the objective must reach, 1/h for a biomass reaction.
      fewest: the number of components counts, and their total only after it.
    Returns:
      ``{exchange: uptake}`` in mmol/gDW/h, all > 0; made for `StoichiometricModel.with_medium`.
    Raises:
      ValueError: the growth cannot be reached with any medium, or is negative; a batch. TypeError: numbers that are traced.
    Reference: Suthers et al. (2009), Metab. Eng. 11; the same task as cobrapy's `minimal_medium`.
    Example:
      >>> import jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> medium = js.metabolism.minimal_medium(model, 0.8)
      >>> {name: round(uptake, 3) for name, uptake in medium.items()}
      {'EX_glc__D_e': 10.0, 'EX_nh4_e': 4.362, 'EX_o2_e': 18.579, 'EX_pi_e': 2.943}
      >>> anaerobic = js.metabolism.minimal_medium(model, 0.1, fewest=True)
      >>> sorted(anaerobic)
      ['EX_glc__D_e', 'EX_nh4_e', 'EX_pi_e']
    """
    check_model("minimal_medium", model)
    if results_are_traced((model, growth)):
        raise TypeError(
            "minimal_medium: a dictionary of what is needed has no shape; call it outside of jit, grad and vmap."
        )
    if isinstance(growth, bool | str) or np.ndim(growth) or not 0 <= float(growth) < np.inf:
        raise ValueError(f"minimal_medium: growth, which the objective must reach, is a finite number >= 0, got {growth!r}.")
    lower, upper, c = (np.asarray(x, float) for x in (model.lower, model.upper, model.objective))
    if lower.ndim != 1 or upper.ndim != 1 or c.ndim != 1:
        raise ValueError("minimal_medium: one model at a time.")
    signs = model.network.uptake_signs
    most = np.where(signs < 0, -lower, np.where(signs > 0, upper, 0.0))
    exchanges = np.array([j for name in model.exchanges if most[j := model.index(name)] > 0], int)
    need = np.maximum(np.where(signs < 0, -upper, np.where(signs > 0, lower, 0.0)), 0.0)  # forced uptakes
    problem = _Problem(model.network.matrix, lower, upper, c, float(growth), exchanges, signs[exchanges])
    uptake = problem.least(np.ones(len(exchanges), bool))
    if uptake is None:
        raise ValueError(
            f"{model.name}: the objective cannot reach {growth:g} with any uptake that the bounds allow; see `fba` for the most."
        )
    if fewest:
        uptake = problem.fewest(most[exchanges], need[exchanges] > 0)
    return {model.reactions[j]: float(u) for j, u in zip(exchanges, uptake, strict=True) if u > _ZERO}


class _Problem:
    """The two programmes over (v, u): u_e >= sign_e v_e, u >= 0."""

    def __init__(
        self, S: Any, lower: Any, upper: Any, c: Any, growth: float, exchanges: np.ndarray, signs: np.ndarray
    ) -> None:
        self.exchanges, self.signs, self.lower, self.upper = exchanges, signs, lower, upper
        n, k = S.shape[1], len(exchanges)
        self.n, self.k = n, k
        pick = scipy.sparse.csc_array((signs, (np.arange(k), exchanges)), shape=(k, n))
        self.rows = scipy.sparse.vstack([S, c[None], pick]).tocsc()
        self.row_low = np.concatenate([np.zeros(S.shape[0]), [growth], np.full(k, -np.inf)])
        self.row_high = np.concatenate([np.zeros(S.shape[0]), [np.inf]])

    def least(self, allowed: np.ndarray) -> np.ndarray | None:
        """The uptakes [k] of least total, with some exchanges closed; None where that is infeasible."""
        lower, upper = self.lower.copy(), self.upper.copy()
        shut = ~allowed
        for j, sign in zip(self.exchanges[shut], self.signs[shut], strict=True):
            if sign < 0:
                lower[j] = max(lower[j], 0.0)
            else:
                upper[j] = min(upper[j], 0.0)
        if (lower > upper).any():
            return None
        right = scipy.sparse.vstack([scipy.sparse.csc_array((len(self.row_high), self.k)), -scipy.sparse.eye_array(self.k)])
        found = scipy.optimize.milp(
            np.concatenate([np.zeros(self.n), np.ones(self.k)]),
            constraints=scipy.optimize.LinearConstraint(
                scipy.sparse.hstack([self.rows, right]).tocsc(),
                self.row_low,
                np.concatenate([self.row_high, np.zeros(self.k)]),
            ),
            bounds=scipy.optimize.Bounds(
                np.concatenate([lower, np.zeros(self.k)]), np.concatenate([upper, np.full(self.k, np.inf)])
            ),
        )
        return None if found.status != 0 else np.maximum(found.x[self.n :], 0.0)

    def fewest(self, most: np.ndarray, forced: np.ndarray) -> np.ndarray:
        """The uptakes of the smallest set of exchanges, proven by the mixed-integer programme and a linear one.

        A switch that is 0 within the solver's tolerance can let a little through: a set that does not do without is cut off.
        """
        far = 1e3 * max(1.0, np.where(np.isfinite(most), most, 0.0).max(initial=0.0))
        reach = np.where(np.isfinite(most), most, far)
        right = scipy.sparse.vstack([scipy.sparse.csc_array((len(self.row_high), self.k)), -scipy.sparse.diags_array(reach)])
        matrix = scipy.sparse.hstack([self.rows, right]).tocsc()
        cuts: list[np.ndarray] = []
        while True:
            constraints = [
                scipy.optimize.LinearConstraint(matrix, self.row_low, np.concatenate([self.row_high, np.zeros(self.k)]))
            ]
            constraints += [
                scipy.optimize.LinearConstraint(np.concatenate([np.zeros(self.n), cut])[None], 1.0, np.inf) for cut in cuts
            ]
            found = scipy.optimize.milp(
                np.concatenate([np.zeros(self.n), np.ones(self.k)]),
                constraints=constraints,
                integrality=np.concatenate([np.zeros(self.n), np.ones(self.k)]),
                bounds=scipy.optimize.Bounds(
                    np.concatenate([self.lower, forced.astype(float)]), np.concatenate([self.upper, np.ones(self.k)])
                ),
                options={"mip_rel_gap": 0.0},
            )
            if found.status != 0:
                raise RuntimeError(f"minimal_medium: the mixed-integer programme did not end: {found.message}")
            chosen = found.x[self.n :] > 0.5
            uptake = self.least(chosen)
            if uptake is not None:
                return uptake
            cuts.append((~chosen).astype(float))
