"""Extended dynamic mode decomposition (EDMD): a linear step between functions of the leading modes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress
from jaxsci.surrogates.closed_form import as_parameters, checked_fields, fitted, folds, rollout_error, summed
from jaxsci.surrogates.decompositions import (
    check_rank,
    proper_orthogonal_decomposition,
    rank_ladder,
    to_coefficients,
    to_fields,
)
from jaxsci.surrogates.dynamic_modes import with_remainder
from jaxsci.surrogates.ridge import check_penalty, rounding_energy
from jaxsci.surrogates.stepper import FittedSurrogate
from jaxsci.surrogates.trajectories import Trajectories

_LARGEST_RANK = 64  # that is chosen without being asked for
_PENALTIES = (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)


@dataclasses.dataclass(frozen=True)
class DictionaryRule:
    """psi' = K psi + k with psi carried, or a' = C (K psi(a) + k) with a carried; decoded by the linear part of psi."""

    products: int
    lifted: bool

    def encode(self, parameters: Any, fields: Any) -> Any:
        a = to_coefficients(parameters, fields) / parameters["scale"]
        return lift(jnp, parameters, a, self.products) if self.lifted else a

    def step(self, parameters: Any, carry: Any, coefficients: Any, t: Any) -> Any:
        psi = carry if self.lifted else lift(jnp, parameters, carry, self.products)
        new = parameters["operator"] @ psi + parameters["constant"]
        return new if self.lifted else jnp.clip(new, -parameters["reach"], parameters["reach"])

    def decode(self, parameters: Any, carry: Any) -> Any:
        rank = len(parameters["modes"])
        a = carry[:rank] * parameters["spread"][:rank] + parameters["center"][:rank] if self.lifted else carry
        return to_fields(parameters, a * parameters["scale"])


def lift(xp: Any, parameters: Any, a: Any, products: int) -> Any:
    """psi(a) ``[..., features]`` of ``[..., rank]``, each centred and in units of its standard deviation; xp: NumPy or JAX."""
    i, j = np.triu_indices(products)
    waves = xp.cos(a @ parameters["frequencies"].T + parameters["phases"])
    psi = xp.concatenate([a, a[..., i] * a[..., j], waves], axis=-1)
    return (psi - parameters["center"]) / parameters["spread"]


@dataclasses.dataclass(frozen=True)
class ExtendedDMD:
    r"""Extended dynamic mode decomposition: least squares between functions psi of the POD coefficients, a dictionary.

        psi(a) = (a,  a_i a_j for i <= j <= products,  cos(w_l . a + b_l) for l <= waves),
        min_K sum |psi(a') - K psi(a) - k|^2 + penalty (pairs) |K|^2

    a in units of the rms of all coefficients together; w_l normal with the inverse of the median distance between saves as
    standard deviation, b_l uniform (random Fourier features, Rahimi & Recht 2007); psi standardised. The linear functions are
    part of the dictionary, so that fields are decoded from it.

    Args:
      rank: POD coefficients; a fraction below 1 for the share of the variance; None for a choice on held-out runs, 64 at most.
      products: of how many leading coefficients all products are taken.
      waves: how many random Fourier features.
      penalty: None for a choice among 1e-12 ... 1e-2 on held-out runs.
      lifted: True: psi is carried, and evolves linearly: the Koopman picture (Williams et al.), whose rollouts blow up only by an
        eigenvalue beyond 1. False: a is carried and psi made anew in each step: a nonlinear autoregression, more accurate over
        a few steps; a is kept within twice the largest of the data, so that nothing overflows. None for a choice on held-out
        runs.
    Fails when: the data are few for the number of functions, or a rollout leaves the region of the data, where products grow
      and waves do not.
    Reference: Williams, Kevrekidis & Rowley (2015), J. Nonlinear Sci. 25, 1307, section 2; Rahimi & Recht (2007), NeurIPS.
    Example:
      >>> import jax, jaxsci as js
      >>> logistic = js.Equation(lambda u: u.t - u * (1 - u) - u.xx)
      >>> problem = js.Problem(logistic, js.Box(t=(0, 1), x=(0, 1)), initial={"u": 0.5})
      >>> s = js.stepper(problem, js.Spectral(n=16, dt=0.05))
      >>> starts = jax.random.uniform(jax.random.key(0), (12, 1, 1)) * jax.numpy.ones(16)
      >>> run = lambda u: js.rollout(s, 10, state=s.encode(u), save_every=1).fields
      >>> data = js.surrogates.Trajectories(problem, jax.vmap(run)(starts), {}, dt=0.05)
      >>> fit = js.surrogates.ExtendedDMD(waves=16).fit(data, key=jax.random.key(0))
      >>> fit.stats["rank"]
      1
    """

    rank: int | float | None = None
    products: int = 16
    waves: int = 128
    penalty: float | None = None
    lifted: bool | None = None

    def __post_init__(self):
        check_rank("ExtendedDMD", self.rank)
        check_penalty("ExtendedDMD", self.penalty)
        for name in ("products", "waves"):
            value = getattr(self, name)
            if not (is_whole(value) and value >= 0):
                raise ValueError(f"ExtendedDMD: {name} must be a whole number >= 0, got {value!r}.")

    def fit(
        self, data: Trajectories, *, key: Key | None = None, budget: float | None = None, progress: Progress = None
    ) -> FittedSurrogate:
        """See the class.

        Args:
          key: of the random features, ``jax.random.key(0)`` by default.
          budget: not used, as nothing is iterated.
        Raises:
          TypeError, ValueError: no trajectories, not finite, or a rank beyond what the data give.
        """
        with Stopwatch() as watch:
            fields = checked_fields("ExtendedDMD", data)
            key = jax.random.key(0) if key is None else key
            choice = self._chosen(data, fields, key, progress)
            basis = proper_orthogonal_decomposition(data, fields, rank=choice.rank, name="ExtendedDMD")
            a = basis.coefficients(fields)
            dictionary, products = self._dictionary(a, key)
            operator, constant = _Regression.of(dictionary, a, products).solve(choice.penalty, rounding_energy(fields))
            rule = DictionaryRule(products, choice.lifted)
            if not choice.lifted:
                rank, spread, center = basis.rank, dictionary["spread"], dictionary["center"]
                operator = operator[:rank] * spread[:rank, None]
                constant = constant[:rank] * spread[:rank] + center[:rank]
            stats = {
                "parameters": operator.size + constant.size, "rank": basis.rank, "energy": basis.energy,
                "features": operator.shape[1], "penalty": choice.penalty, "lifted": choice.lifted,
            }  # fmt: skip
            if choice.lifted:
                stats["eigenvalues"] = np.linalg.eigvals(operator)
            learned = {"operator": operator, "constant": constant}
            parameters = as_parameters(basis.parameters() | dictionary | learned, fields)
        return fitted(rule, parameters, data, watch, stats)

    def _dictionary(self, a: np.ndarray, key: Key) -> tuple[dict[str, np.ndarray], int]:
        """Frequencies, phases, scales; and of how many coefficients products are taken."""
        rank = a.shape[-1]
        scale = float(np.sqrt(np.mean(np.sum(a**2, axis=-1)))) or 1.0
        rows = a.reshape(-1, rank) / scale
        some = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), 200)).round().astype(int))]
        distances = np.linalg.norm(some[:, None] - some[None], axis=-1)
        length = float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
        first, second = jax.random.split(key)
        made = {
            "scale": np.asarray(scale),
            "reach": 2 * np.abs(rows).max(axis=0),
            "frequencies": np.asarray(jax.random.normal(first, (self.waves, rank), jnp.float32), float) / length,
            "phases": np.asarray(jax.random.uniform(second, (self.waves,), jnp.float32), float) * 2 * math.pi,
            "center": np.zeros(()),
            "spread": np.ones(()),
        }
        products = min(self.products, rank)
        psi = lift(np, made, rows, products)
        spread = psi.std(axis=0)
        spread = np.where(spread > 1e-12 * (1 + np.abs(psi).max(axis=0)), spread, 1.0)
        return made | {"center": psi.mean(axis=0), "spread": spread}, products

    def _chosen(self, data: Trajectories, fields: np.ndarray, key: Key, progress: Progress) -> _Choice:
        """Rank, penalty and what is carried, by rollouts of runs that were held out."""
        if not (self.rank is None or self.penalty is None or self.lifted is None):
            return _Choice(self.rank, self.penalty, self.lifted)
        errors = summed([self._errors(data, fields, key, *fold) for fold in folds(fields)])
        least = min(errors.values())
        best = next((choice for choice, error in errors.items() if error <= 1.01 * least), next(iter(errors)))
        if progress is not None:
            progress(f"EDMD: {best}, error of held-out rollouts {least / len(folds(fields)):.3g}")
        return best

    def _errors(
        self, data: Trajectories, fields: np.ndarray, key: Key, kept: np.ndarray, others: np.ndarray
    ) -> dict[_Choice, float]:
        """By choice, the smaller ranks first, of rollouts of others by what was fitted to the kept ones."""
        full = proper_orthogonal_decomposition(data, kept, rank=self.rank, name="ExtendedDMD")
        full = full.cut(min(full.rank, _LARGEST_RANK)) if self.rank is None else full
        given, truth = full.coefficients(kept), with_remainder(full, others)
        samples = given.shape[0] * (given.shape[1] - 1)
        ranks = rank_ladder(full, samples)[::2] if self.rank is None else [full.rank]
        penalties = _PENALTIES if self.penalty is None else (self.penalty,)
        carried = (False, True) if self.lifted is None else (self.lifted,)
        errors = {}
        for rank in ranks:
            dictionary, products = self._dictionary(given[..., :rank], key)
            regression = _Regression.of(dictionary, given[..., :rank], products)
            for penalty, lifted in itertools.product(penalties, carried):
                operator, constant = regression.solve(penalty, rounding_energy(fields))
                predicted = _rollout(dictionary, products, operator, constant, truth, rank, lifted)
                choice = _Choice(rank if self.rank is None else self.rank, penalty, lifted)
                errors[choice] = rollout_error(predicted, truth)
        return errors


class _Choice(NamedTuple):
    rank: int | float
    penalty: float
    lifted: bool


class _Regression(NamedTuple):
    """Moments of the standardised dictionary over pairs of saves, diagonalised: one decomposition for all penalties."""

    energies: np.ndarray
    vectors: np.ndarray
    cross: np.ndarray
    input_mean: np.ndarray
    output_mean: np.ndarray

    @staticmethod
    def of(dictionary: dict[str, np.ndarray], a: np.ndarray, products: int) -> _Regression:
        psi = lift(np, dictionary, a / dictionary["scale"], products)
        x, y = (part.reshape(-1, psi.shape[-1]) for part in (psi[:, :-1], psi[:, 1:]))
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        x, y = x - x_mean, y - y_mean
        energies, vectors = np.linalg.eigh(x.T @ x / len(x))
        return _Regression(np.maximum(energies, 0), vectors, (y.T @ x) @ vectors / len(x), x_mean, y_mean)

    def solve(self, penalty: float, floor: float) -> tuple[np.ndarray, np.ndarray]:
        """K and k; the moments of a double have rounding of 1e-16, below which no penalty is taken."""
        added = max(penalty, floor, 1e-15)
        operator = (self.cross / (self.energies + added)) @ self.vectors.T
        return operator, self.output_mean - operator @ self.input_mean


def _rollout(
    dictionary: dict[str, np.ndarray],
    products: int,
    operator: np.ndarray,
    constant: np.ndarray,
    truth: np.ndarray,
    rank: int,
    lifted: bool,
) -> np.ndarray:
    """Coefficients predicted from the first save of each run, in the shape of the truth."""
    scale, spread, center = dictionary["scale"], dictionary["spread"], dictionary["center"]
    predicted = np.zeros_like(truth)
    predicted[:, 0, :rank] = truth[:, 0, :rank]
    a = truth[:, 0, :rank] / scale
    with np.errstate(over="ignore", invalid="ignore"):
        psi = lift(np, dictionary, a, products)
        for i in range(1, truth.shape[1]):
            psi = psi @ operator.T + constant
            a = psi[:, :rank] * spread[:rank] + center[:rank]
            if not lifted:
                a = np.clip(a, -dictionary["reach"], dictionary["reach"])
                psi = lift(np, dictionary, a, products)
            predicted[:, i, :rank] = a * scale
    return predicted
