"""The best linear step: least squares over all pairs of saves, with a penalty."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from jaxsci._checks import is_whole
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress
from jaxsci.equations.evaluation import coordinates_in
from jaxsci.problems import Problem
from jaxsci.solvers.etdrk import combine
from jaxsci.solvers.lines import structure
from jaxsci.surrogates.closed_form import as_parameters, check_grid, checked_fields, fitted
from jaxsci.surrogates.decompositions import AffineModesRule, proper_orthogonal_decomposition
from jaxsci.surrogates.stepper import FittedSurrogate
from jaxsci.surrogates.trajectories import Trajectories

_LARGEST_RANK = 512  # of the POD where there is no translation invariance


@dataclasses.dataclass(frozen=True)
class FourierRule:
    """u_k' = A_k u_k + b_k, one small matrix per wavenumber; the modes are what is carried."""

    shape: tuple[int, ...]

    def encode(self, parameters: Any, fields: Any) -> Any:
        check_grid(fields, (len(parameters["propagator"]), *self.shape))
        modes = jnp.fft.rfftn(fields, axes=tuple(range(1, fields.ndim)), norm="forward")
        return modes.astype(jnp.result_type(modes, parameters["propagator"]))

    def step(self, parameters: Any, carry: Any, coefficients: Any, t: Any) -> Any:
        return combine(parameters["propagator"], carry) + parameters["constant"]

    def decode(self, parameters: Any, carry: Any) -> Any:
        return jnp.fft.irfftn(carry, s=self.shape, axes=tuple(range(1, carry.ndim)), norm="forward")


@dataclasses.dataclass(frozen=True)
class Ridge:
    r"""The best linear step with a penalty, in closed form.

    Where all axes are periodic and x occurs in no term with an unknown, the step commutes with translations: in Fourier space
    it is one matrix per wavenumber, channels x channels,

        A_k = (sum u'_k u_k^H) (sum u_k u_k^H + penalty s I)^-1,    u'_k = A_k u_k + b_k,

    sums over all pairs of saves of all runs, means taken out, s the mean energy of a mode; channels in units of their root mean
    square. b has the wavenumber 0 alone, or all where the equation has a source that depends on x. Elsewhere (walls, factors
    that depend on x) it is the same on the coefficients of a POD, of rank 512 at most.

    Args:
      penalty: relative to the mean energy; None for that of least generalised cross-validation among powers of ten from
        rounding to 1 (one for all wavenumbers).
      stencil: a radius in grid points: u'(x) is a linear function of u in the cube of 2 radius + 1 points a side around x, as a
        convolution without activation, far fewer numbers than one per wavenumber. None for no limit.
    Fails when: the dynamics is not linear over a step: it then damps what it cannot predict and tends to the mean field. Values
      of coefficients in which the runs differ are not looked at, nor is a forcing that depends on time.
    Reference: Hoerl & Kennard (1970), Technometrics 12, 55; Golub, Heath & Wahba (1979), Technometrics 21, 215, eq. 1.4.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> problem = js.problems.advection(speed=1.0)
      >>> s = js.stepper(problem, js.Spectral(n=16, dt=0.1))
      >>> starts = jax.random.normal(jax.random.key(0), (4, 1, 16))
      >>> run = lambda u: js.rollout(s, 10, state=s.encode(u), save_every=1).fields
      >>> data = js.surrogates.Trajectories(problem, jax.vmap(run)(starts), {}, dt=0.1)
      >>> fit = js.surrogates.Ridge().fit(data)
      >>> jnp.angle(fit.parameters["propagator"][0, 0, :4]).round(3).tolist()  # -k c dt
      [0.0, -0.1..., -0.2..., -0.3...]
    """

    penalty: float | None = None
    stencil: int | None = None

    def __post_init__(self):
        check_penalty("Ridge", self.penalty)
        if self.stencil is not None and not (is_whole(self.stencil) and self.stencil >= 0):
            raise ValueError(f"Ridge: stencil must be a radius in grid points, a whole number >= 0, got {self.stencil!r}.")

    def fit(
        self, data: Trajectories, *, key: Key | None = None, budget: float | None = None, progress: Progress = None
    ) -> FittedSurrogate:
        """See the class; key and budget are not used, as nothing is drawn or iterated.

        Raises:
          TypeError, ValueError: no trajectories, not finite, or a stencil on axes without translations.
        """
        with Stopwatch() as watch:
            fields = checked_fields("Ridge", data)
            kind = translations(data.problem)
            if kind == "none" and self.stencil is not None:
                raise ValueError(
                    f"Ridge: {data.problem.name} has walls or factors that depend on x, where no stencil is the same "
                    "everywhere; leave stencil out."
                )
            if kind == "none":
                rule, parameters, stats = self._on_modes(data, fields)
            else:
                rule, parameters, stats = self._on_wavenumbers(fields, kind)
            if progress is not None:
                progress(f"ridge: {stats['parameters']} numbers, penalty {stats['penalty']:.1e}")
            parameters = as_parameters(parameters, fields)
        return fitted(rule, parameters, data, watch, stats)

    def _on_modes(self, data: Trajectories, fields: np.ndarray) -> tuple[Any, Any, dict[str, Any]]:
        basis = proper_orthogonal_decomposition(data, fields, name="Ridge")
        basis = basis.cut(min(basis.rank, _LARGEST_RANK))
        matrix, constant, penalty = affine_fit(basis.coefficients(fields), self.penalty, rounding_energy(fields))
        stats = {"parameters": matrix.size + constant.size, "penalty": penalty, "rank": basis.rank, "energy": basis.energy}
        return AffineModesRule(), basis.parameters() | {"matrix": matrix, "constant": constant}, stats

    def _on_wavenumbers(self, fields: np.ndarray, kind: str) -> tuple[Any, Any, dict[str, Any]]:
        shape, channels = fields.shape[3:], fields.shape[2]
        scale = np.sqrt(np.mean([np.mean(run.astype(float) ** 2, axis=(0, *range(2, run.ndim))) for run in fields], axis=0))
        scale = np.where(scale > 0, scale, 1.0)
        moments = _moments(fields, scale, everywhere=kind == "sources")
        if self.stencil is None:
            choices, solve = _by_wavenumber(moments)
            numbers = 2 * channels**2 * math.prod(shape) // 2
        else:
            if any(2 * self.stencil + 1 > n for n in shape):
                raise ValueError(f"Ridge: a stencil of radius {self.stencil} is wider than the grid {shape}; lower it.")
            choices, solve = _by_stencil(moments, shape, self.stencil)
            numbers = channels**2 * (2 * self.stencil + 1) ** len(shape)
        penalty = choose_penalty(self.penalty, rounding_energy(fields), choices)
        propagator = solve(penalty)
        constant = moments.output_mean - np.einsum("kij,kj->ki", propagator, moments.input_mean)
        propagator = propagator * scale[:, None] / scale
        modes = (*shape[:-1], shape[-1] // 2 + 1)
        parameters = {
            "propagator": propagator.transpose(1, 2, 0).reshape(channels, channels, *modes),
            "constant": (constant * scale).T.reshape(channels, *modes),
        }
        numbers += channels * (math.prod(shape) if kind == "sources" else 1)
        return FourierRule(shape), parameters, {"parameters": numbers, "penalty": penalty, "translations": kind}


Translations = Literal["all", "sources", "none"]


def translations(problem: Problem) -> Translations:
    """Whether a problem is the same at every place: "all"; but for its sources; or not ("none")."""
    if problem.solid is not None or any(problem.walls(axis) for axis in problem.domain.space):
        return "none"
    found: Translations = "all"
    for rest in structure(problem.equation).rest:
        for term in sympy.Add.make_args(sympy.expand(rest.formula)):
            if coordinates_in(term) - {"t"}:
                if term.atoms(AppliedUndef):
                    return "none"
                found = "sources"
    return found


class _Moments(NamedTuple):
    """Second moments of pairs of saves about their means, by wavenumber k of the half spectrum."""

    inputs: np.ndarray  # sum u_k u_k^H, [k, c, c]
    cross: np.ndarray  # sum u'_k u_k^H
    outputs: float  # sum |u'|^2 over all wavenumbers
    input_mean: np.ndarray  # [k, c]
    output_mean: np.ndarray
    weights: np.ndarray  # how often k occurs in the full spectrum, [k]
    pairs: int


def _moments(fields: np.ndarray, scale: np.ndarray, everywhere: bool) -> _Moments:
    """Accumulated a run at a time, in double precision; means are taken out at k = 0, or everywhere."""
    channels, shape = fields.shape[2], fields.shape[3:]
    axes = tuple(range(2, 2 + len(shape)))
    inputs, cross, total, first, second, pairs = 0.0, 0.0, 0.0, 0.0, 0.0, 0
    for run in fields:
        values = run / scale.reshape(-1, *(1,) * len(shape))
        modes = np.fft.rfftn(values, axes=axes, norm="forward").reshape(len(run), channels, -1).transpose(2, 1, 0)
        x, y = modes[..., :-1], modes[..., 1:]
        adjoint = np.conj(x).swapaxes(-1, -2)
        inputs, cross = inputs + x @ adjoint, cross + y @ adjoint
        total = total + np.sum(np.abs(y) ** 2, axis=(1, 2))
        first, second, pairs = first + x.sum(axis=-1), second + y.sum(axis=-1), pairs + x.shape[-1]
    half = np.full(shape[-1] // 2 + 1, 2.0)
    half[0] = 1.0
    if shape[-1] % 2 == 0:
        half[-1] = 1.0
    weights = np.broadcast_to(half, (*shape[:-1], len(half))).ravel()
    kept = np.ones(len(weights)) if everywhere else np.eye(1, len(weights))[0]
    x, y = first / pairs * kept[:, None], second / pairs * kept[:, None]
    outer = lambda a, b: pairs * a[:, :, None] * np.conj(b)[:, None, :]  # noqa: E731
    outputs = np.sum(weights * (total - pairs * np.sum(np.abs(y) ** 2, axis=1)))
    return _Moments(inputs - outer(x, x), cross - outer(y, x), float(outputs), x, y, weights, pairs)


class Choices(NamedTuple):
    """What generalised cross-validation needs of a family of ridge fits in the eigenvectors of the inputs' moments."""

    energies: np.ndarray  # eigenvalues, any shape
    gains: np.ndarray  # squared cross moments along the eigenvectors, summed over outputs, the same shape
    weights: np.ndarray  # how often each occurs
    outputs: float  # sum of squares of what is predicted
    samples: float  # numbers that are predicted
    fits: int  # outputs that share one set of inputs

    @property
    def scale(self) -> float:
        """The mean energy."""
        return max(float(np.sum(self.weights * self.energies) / np.sum(self.weights)), np.finfo(float).tiny)

    @property
    def unexplained(self) -> float:
        """What no penalty at all leaves; zero where it is the rounding of the difference."""
        there = self.energies > np.finfo(float).eps ** 2 * np.max(self.energies)
        explained = np.sum(np.where(there, self.weights * self.gains / np.where(there, self.energies, 1.0), 0.0))
        left = self.outputs - explained
        return float(left) if left > 1e-13 * self.outputs else 0.0

    def score(self, penalty: float) -> float:
        """Residual sum of squares over (1 - degrees of freedom / samples)^2."""
        added, energies = penalty * self.scale, np.maximum(self.energies, 0)
        lost = self.gains / np.maximum(energies, np.finfo(float).tiny) * (added / (energies + added)) ** 2
        lost = np.sum(self.weights * np.where(energies > np.finfo(float).eps ** 2 * np.max(energies), lost, 0.0))
        freedom = self.fits * np.sum(self.weights * energies / (energies + added))
        room = max(1 - freedom / self.samples, 1e-3)
        return (self.unexplained + lost) / room**2


def choose_penalty(penalty: float | None, floor: float, choices: Choices) -> float:
    """The given penalty, or that of least generalised cross-validation from the floor to 1."""
    if penalty is not None:
        return max(penalty, floor)
    candidates = [floor, *(10.0**k for k in range(math.ceil(math.log10(floor)), 1))]
    return min(candidates, key=choices.score)


def check_penalty(name: str, penalty: Any) -> None:
    """A number >= 0, or None."""
    if penalty is not None and not (isinstance(penalty, int | float) and math.isfinite(penalty) and penalty >= 0):
        raise ValueError(f"{name}: penalty must be a number >= 0 or None, got {penalty!r}.")


def rounding_energy(fields: np.ndarray) -> float:
    """The energy of rounding: a smaller penalty would fit it."""
    return float(10 * np.finfo(fields.dtype).eps) ** 2


def _by_wavenumber(moments: _Moments) -> tuple[Choices, Callable[[float], np.ndarray]]:
    energies, vectors = np.linalg.eigh(moments.inputs)
    turned = moments.cross @ vectors
    channels = energies.shape[1]
    weights = np.broadcast_to(moments.weights[:, None], energies.shape)
    samples = moments.pairs * channels * moments.weights.sum()
    gains = np.sum(np.abs(turned) ** 2, axis=1)
    choices = Choices(energies, gains, weights, moments.outputs, samples, channels)

    def solve(penalty: float) -> np.ndarray:
        shrunk = np.maximum(energies, 0) + penalty * choices.scale
        return (turned / shrunk[:, None, :]) @ np.conj(vectors).swapaxes(-1, -2)

    return choices, solve


def _by_stencil(moments: _Moments, shape: tuple[int, ...], radius: int) -> tuple[Choices, Callable[[float], np.ndarray]]:
    """u'_a(x) = sum_{b, j} W[a, b, j] u_b(x + j), from the correlations that the moments are the transforms of."""
    channels = moments.inputs.shape[1]
    half = (*shape[:-1], shape[-1] // 2 + 1)
    axes = tuple(range(2, 2 + len(shape)))

    def correlation(spectrum: np.ndarray) -> np.ndarray:  # [a, b, d]: sum over x of (first)_a(x) u_b(x + d)
        stacked = np.conj(spectrum).transpose(1, 2, 0).reshape(channels, channels, *half)
        return np.fft.irfftn(stacked, s=shape, axes=axes, norm="forward")

    cube = np.stack(np.meshgrid(*[np.arange(-radius, radius + 1)] * len(shape), indexing="ij"), -1).reshape(-1, len(shape))
    at = lambda table, shift: table[(slice(None), slice(None), *np.moveaxis(shift % np.array(shape), -1, 0))]  # noqa: E731
    inputs = at(correlation(moments.inputs), cube[None, :] - cube[:, None])  # [a, b, i, j]
    inputs = inputs.transpose(0, 2, 1, 3).reshape(channels * len(cube), -1)
    cross = at(correlation(moments.cross), cube).reshape(channels, -1)  # [a, (b, j)]
    energies, vectors = np.linalg.eigh((inputs + inputs.T) / 2)
    turned = cross @ vectors
    samples = moments.pairs * channels * math.prod(shape)
    choices = Choices(energies, np.sum(turned**2, axis=0), np.ones(len(energies)), moments.outputs, samples, channels)

    def solve(penalty: float) -> np.ndarray:
        shrunk = np.maximum(energies, 0) + penalty * choices.scale
        stencil = ((turned / shrunk) @ vectors.T).reshape(channels, channels, len(cube))
        k = [np.fft.fftfreq(n) for n in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
        k = np.stack(np.meshgrid(*k, indexing="ij"), -1).reshape(-1, len(shape))
        return np.einsum("abj,kj->kab", stencil, np.exp(2j * np.pi * (k @ cube.T)))

    return choices, solve


def affine_fit(coefficients: np.ndarray, penalty: float | None, floor: float) -> tuple[np.ndarray, np.ndarray, float]:
    """a' = A a + b over pairs of saves ``[runs, saves, r]``: A, b and the penalty."""
    rank = coefficients.shape[-1]
    x, y = coefficients[:, :-1].reshape(-1, rank), coefficients[:, 1:].reshape(-1, rank)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    left, values, right = np.linalg.svd(x, full_matrices=False)  # not x^T x, whose condition is the square
    turned = left.T @ y
    energies, gains = values**2, np.sum(turned**2, axis=1) * values**2
    choices = Choices(energies, gains, np.ones(len(values)), float(np.sum(y**2)), y.size, rank)
    penalty = choose_penalty(penalty, floor, choices)
    shrunk = values / (energies + penalty * choices.scale)
    matrix = (right.T @ (shrunk[:, None] * turned)).T
    return matrix, y_mean - matrix @ x_mean, penalty
