"""Dynamic mode decomposition (DMD): the best linear step between the leading modes of the data."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress
from jaxsci.surrogates.closed_form import as_parameters, checked_fields, fitted, folds, rollout_error, summed
from jaxsci.surrogates.decompositions import (
    AffineModesRule,
    Basis,
    check_rank,
    proper_orthogonal_decomposition,
    rank_ladder,
)
from jaxsci.surrogates.ridge import affine_fit, rounding_energy
from jaxsci.surrogates.stepper import FittedSurrogate
from jaxsci.surrogates.trajectories import Trajectories

_LARGEST_RANK = 256  # that is chosen without being asked for


@dataclasses.dataclass(frozen=True)
class DMD:
    r"""Dynamic mode decomposition: a' = A a + b on POD coefficients a, by least squares over all pairs of saves.

        A = Y X^+,    X, Y: coefficients of the saves and of their successors, [rank, pairs], means taken out

    As the basis holds X and Y, the eigenvectors of A are the exact dynamic modes of Tu et al. (definition 1); taking the means
    out adds the constant b (Hirsh et al. 2020), for forced flows. The coefficients are carried: a step costs rank^2, however
    fine the grid is.

    Args:
      rank: how many modes; a fraction below 1 for the share of the variance that they hold; None for the smallest number whose
        rollouts are within a hundredth of the best on runs that were held out (thirds in turn), 256 at most. The threshold of
        Gavish & Donoho (2014) is for white noise on the data, which a solver's fields do not have.
      stable: eigenvalues beyond the unit circle are drawn back to it, so that no rollout grows exponentially.
    Fails when: the dynamics is nonlinear (see `ExtendedDMD`), or travels: a wave that starts elsewhere than the data's is not in
      the basis. An eigenvalue beyond 1, ``stats["spectral_radius"]``, makes long rollouts blow up unless `stable`.
    Reference: Tu, Rowley, Luchtenburg, Brunton & Kutz (2014), J. Comput. Dyn. 1, 391, algorithm 2; Hirsh, Harris, Kutz &
      Brunton (2020), SIAM J. Appl. Dyn. Syst. 19, 1920.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> problem = js.problems.heat()
      >>> s = js.stepper(problem, js.Spectral(n=8, dt=0.1))
      >>> sines = jnp.sin(jnp.pi * jnp.array([[1], [2]]) * s.grid["x"])
      >>> starts = jax.random.normal(jax.random.key(0), (10, 1, 2)) @ sines
      >>> run = lambda u: js.rollout(s, 3, state=s.encode(u), save_every=1).fields
      >>> data = js.surrogates.Trajectories(problem, jax.vmap(run)(starts), {}, dt=0.1)
      >>> fit = js.surrogates.DMD(rank=2).fit(data)
      >>> fit.stats["eigenvalues"].real.round(2).tolist()  # exp(-kappa pi^2 k^2 dt)
      [0.67, 0.21]
    """

    rank: int | float | None = None
    stable: bool = False

    def __post_init__(self):
        check_rank("DMD", self.rank)

    def fit(
        self, data: Trajectories, *, key: Key | None = None, budget: float | None = None, progress: Progress = None
    ) -> FittedSurrogate:
        """See the class; key and budget are not used, as nothing is drawn or iterated.

        Raises:
          TypeError, ValueError: no trajectories, not finite, or a rank beyond what the data give.
        """
        with Stopwatch() as watch:
            fields = checked_fields("DMD", data)
            rank = self._chosen_rank(data, fields) if self.rank is None else self.rank
            basis = proper_orthogonal_decomposition(data, fields, rank=rank, name="DMD")
            matrix, constant, _ = affine_fit(basis.coefficients(fields), 0.0, rounding_energy(fields))
            if self.stable:
                matrix = drawn_back(matrix)
            eigenvalues = np.linalg.eigvals(matrix)
            eigenvalues = eigenvalues[np.argsort(-np.abs(eigenvalues), kind="stable")]
            stats = {
                "parameters": matrix.size + constant.size, "rank": basis.rank, "energy": basis.energy,
                "eigenvalues": eigenvalues, "spectral_radius": float(np.abs(eigenvalues[0])),
            }  # fmt: skip
            if progress is not None:
                progress(f"DMD: rank {basis.rank}, spectral radius {stats['spectral_radius']:.4f}")
            parameters = as_parameters(basis.parameters() | {"matrix": matrix, "constant": constant}, fields)
        return fitted(AffineModesRule(), parameters, data, watch, stats)

    def _chosen_rank(self, data: Trajectories, fields: np.ndarray) -> int:
        return smallest_good(summed([self._errors(data, fields, *fold) for fold in folds(fields)]))

    def _errors(self, data: Trajectories, fields: np.ndarray, kept: np.ndarray, others: np.ndarray) -> dict[int, float]:
        """By rank, of rollouts of others by what was fitted to the kept ones."""
        basis = proper_orthogonal_decomposition(data, kept, name="DMD")
        basis = basis.cut(min(basis.rank, _LARGEST_RANK))
        given, truth = basis.coefficients(kept), with_remainder(basis, others)
        samples = given.shape[0] * (given.shape[1] - 1)
        errors = {}
        for rank in rank_ladder(basis, samples):
            matrix, constant, _ = affine_fit(given[..., :rank], 0.0, rounding_energy(fields))
            if self.stable:
                matrix = drawn_back(matrix)
            predicted = np.zeros_like(truth)
            predicted[:, 0, :rank] = a = truth[:, 0, :rank]
            with np.errstate(over="ignore", invalid="ignore"):
                for i in range(1, truth.shape[1]):
                    predicted[:, i, :rank] = a = a @ matrix.T + constant
            errors[rank] = rollout_error(predicted, truth)
        return errors


def with_remainder(basis: Basis, fields: np.ndarray) -> np.ndarray:
    """Coefficients and, as one more, the norm of what the basis does not hold: ``[runs, saves, rank + 1]``."""
    coefficients = basis.coefficients(fields)
    axes = tuple(range(2, fields.ndim))
    total = np.sum((fields - basis.mean) ** 2 * basis.weights, axis=axes)
    left = np.sqrt(np.maximum(total - np.sum(coefficients**2, axis=-1), 0.0))
    return np.concatenate([coefficients, left[..., None]], axis=-1)


def smallest_good(errors: dict[int, float]) -> int:
    """The smallest key whose error is within a hundredth of the least."""
    least = min(errors.values())
    return min((k for k, error in errors.items() if error <= 1.01 * least), default=min(errors))


def drawn_back(matrix: np.ndarray) -> np.ndarray:
    """The real matrix with the same eigenvectors whose eigenvalues lie in the unit disc, by their nearest phase."""
    values, vectors = np.linalg.eig(matrix)
    clipped = values / np.maximum(np.abs(values), 1.0)
    if np.array_equal(clipped, values):
        return matrix
    changed = vectors @ np.diag(clipped - values) @ np.linalg.pinv(vectors)
    return matrix + np.real(changed)
