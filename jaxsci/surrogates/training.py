"""How a network surrogate is trained: settings, and one iteration as a pure function."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxsci._checks import is_whole
from jaxsci.solvers import Spectral

Augment = Callable[[Any, Any], Any]  # (key, windows [batch, saves, channels, *space]) -> windows


@dataclasses.dataclass(frozen=True)
class Training:
    r"""Settings of a training by stochastic gradients on windows of the data; the losses are in `jaxsci.surrogates.losses`.

    Args:
      steps: iterations.
      batch: windows in each, drawn evenly from the runs and from the times at which a window may begin.
      learning_rate: the highest of Adam: it rises linearly over `warm_up`, then falls as a cosine to a hundredth of it.
      warm_up: as a share of the iterations.
      clip: the largest norm of a gradient, which is scaled down to it; None for no bound.
      betas: of Adam, the decays of its means of gradients and of their squares. The second mean forgets in 1 / (1 - beta)
        iterations: 0.99 follows a loss that falls by orders of magnitude.
      optimiser: of optax, used as it is, with its own learning rate, in place of Adam and of what is said of it above.
      unroll: evaluations of the network in a row, each on the result of the one before, with a loss at each of them; or a
        curriculum of pairs (share of the iterations at which it begins, unroll), as in ``((0, 1), (0.5, 4))``.
      cut: the gradient goes back through at most so many of them (truncated back-propagation); None for all.
      pushforward: all evaluations of an unrolling but the last are made without gradient, and the last alone is scored.
      noise: standard deviation of white noise that is added to the first save of a window, in units of each channel's own
        standard deviation; what is to be predicted stays as it is. Or a pair (first, last): it falls with the learning rate's
        cosine, as what little of it looks like data cannot be told from it and bounds the loss from below.
      augment: ``(key, windows [batch, saves, channels, *space]) -> windows``, applied to each batch before the noise: symmetries
        of the equation, which make other solutions of those in the data (a sign, a mirror image, sums where it is linear), for
        the same numbers.
      average: decay a of an exponential mean of the parameters, m <- m + (1 - a) (p - m), which is what the fit ends with; in
        the first iterations a is at most (1 + i) / (10 + i). 0 for none: the last parameters.
      residual: weight of the distance between what is predicted and the solver's own step from the save before it.
      residual_solver: that solver; by default the spectral one on the grid of the data, with one step of order 4 between saves.
        Where that is not stable, give a smaller step: ``js.Spectral(n=64, dt=...)``.
      rematerialise: the backward pass computes each evaluation again instead of keeping what it left: less memory, more time.
      held_out: share of the runs, the last ones, that is left out for the error that is reported; rounded, so that few runs
        leave out none.
    Raises:
      ValueError: naming the setting that does not fit.
    Fails when: the unrolled dynamics are chaotic over the window: the gradient grows like exp(Lyapunov exponent x time); set
      `cut`, or a shorter `unroll`. `augment` makes what is no solution: nothing checks that. A loss that is not finite
      ends a fit, which keeps the last parameters whose loss was.
    Reference: Kingma & Ba (2015), ICLR; Loshchilov & Hutter (2017), ICLR (cosine); Polyak & Juditsky (1992), SIAM J. Control
      Optim. 30, 838 (means of parameters; exponential ones as in Kingma & Ba, section 7.2); Brandstetter, Welling & Worrall
      (2022), Lie point symmetry data augmentation, ICML; for the rest see `jaxsci.surrogates.losses`.
    Example:
      >>> import jaxsci as js
      >>> js.surrogates.Training(steps=500, unroll=((0, 1), (0.5, 4)), cut=2).unrolls
      ((0.0, 1), (0.5, 4))
    """

    steps: int = 2000
    batch: int = 16
    learning_rate: float = 1e-3
    warm_up: float = 0.05
    clip: float | None = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    optimiser: optax.GradientTransformation | None = None
    unroll: int | tuple[tuple[float, int], ...] = 1
    cut: int | None = None
    pushforward: bool = False
    noise: float | tuple[float, float] = 0.0
    augment: Augment | None = None
    average: float = 0.0
    residual: float = 0.0
    residual_solver: Spectral | None = None
    rematerialise: bool = False
    held_out: float = 0.1

    def __post_init__(self):
        for name in ("steps", "batch", "cut"):
            value = getattr(self, name)
            if not (is_whole(value) and value >= 1) and not (name == "cut" and value is None):
                raise ValueError(f"Training: {name} must be a whole number >= 1, got {value!r}.")
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            if not (name == "clip" and value is None) and not (_is_number(value) and value > 0):
                raise ValueError(f"Training: {name} must be a positive number, got {value!r}.")
        if not (isinstance(self.betas, tuple) and len(self.betas) == 2 and all(_is_share(beta) for beta in self.betas)):
            raise ValueError(f"Training: betas are two numbers, at least 0 and below 1, got {self.betas!r}.")
        if not (_is_number(self.residual) and self.residual >= 0):
            raise ValueError(f"Training: residual must be a number >= 0, got {self.residual!r}.")
        pair = self.noise if isinstance(self.noise, tuple) else (self.noise, self.noise)
        if not (len(pair) == 2 and all(_is_number(level) and level >= 0 for level in pair)):
            raise ValueError(f"Training: noise must be a number >= 0, or a pair (first, last) of them, got {self.noise!r}.")
        for name in ("warm_up", "average", "held_out"):
            if not _is_share(getattr(self, name)):
                raise ValueError(f"Training: {name} is a share, at least 0 and below 1, got {getattr(self, name)!r}.")
        if not (self.optimiser is None or isinstance(self.optimiser, optax.GradientTransformation)):
            raise TypeError(f"Training: optimiser must be one of optax, as in optax.adam(1e-3), got {self.optimiser!r}.")
        if not (self.augment is None or callable(self.augment)):
            raise TypeError(f"Training: augment must be a function (key, windows) -> windows, got {self.augment!r}.")
        solver = self.residual_solver
        if not (solver is None or (isinstance(solver, Spectral) and solver.dt is not None)):
            raise ValueError(f"Training: residual_solver must be js.Spectral(n=..., dt=...) with a step, got {solver!r}.")
        if solver is not None and not self.residual:
            raise ValueError(
                "Training: residual_solver is given but residual, the weight of its loss, is 0; give residual=0.1."
            )
        begins = [begin for begin, _ in self.unrolls]
        if begins[0] != 0 or any(b <= a for a, b in itertools.pairwise(begins)) or begins[-1] >= 1:
            raise ValueError(
                "Training: unroll begins with a pair (0, ...) and its shares increase and are below 1, as in "
                f"((0, 1), (0.5, 4)); got {self.unroll!r}."
            )

    @property
    def unrolls(self) -> tuple[tuple[float, int], ...]:
        """The curriculum: pairs (share of the iterations at which it begins, unroll)."""
        given: Any = ((0.0, self.unroll),) if is_whole(self.unroll) else self.unroll
        try:
            pairs = tuple((float(begin), count) for begin, count in given)
        except (TypeError, ValueError):
            pairs = ()
        if not pairs or not all(is_whole(count) and count >= 1 for _, count in pairs):
            raise ValueError(
                "Training: unroll is a whole number >= 1, or pairs (share, unroll) as in ((0, 1), (0.5, 4)); got "
                f"{self.unroll!r}."
            )
        return pairs

    def stage(self, iteration: int, horizon: float) -> tuple[int, float]:
        """The unroll at an iteration of `horizon`, and the iteration at which the next one begins."""
        unroll, until = self.unrolls[0][1], math.inf
        for begin, count in self.unrolls[1:]:
            first = math.ceil(begin * horizon)
            if iteration < first:
                until = first
                break
            unroll = count
        return unroll, until

    @property
    def transformation(self) -> optax.GradientTransformation:
        """The optimiser; where it is ours, without its learning rate, see `rate`."""
        if self.optimiser is not None:
            return self.optimiser
        clip = [] if self.clip is None else [optax.clip_by_global_norm(self.clip)]
        return optax.chain(*clip, optax.scale_by_adam(*self.betas))

    def rate(self, iteration: Any, horizon: Any) -> Any:
        """The learning rate of an iteration, of as many as `horizon` says."""
        warm = jnp.maximum(self.warm_up * horizon, 1.0)
        return self.learning_rate * jnp.minimum((iteration + 1.0) / warm, 0.01 + 0.99 * self._falling(iteration, horizon))

    def noise_level(self, iteration: Any, horizon: Any) -> Any:
        """The standard deviation of the noise in an iteration, of as many as `horizon` says."""
        if not isinstance(self.noise, tuple):
            return self.noise
        first, last = self.noise
        return last + (first - last) * self._falling(iteration, horizon)

    def _falling(self, iteration: Any, horizon: Any) -> Any:
        """Half a cosine: 1 until the end of the warm-up, 0 at the horizon."""
        warm = jnp.maximum(self.warm_up * horizon, 1.0)
        share = jnp.clip((iteration - warm) / jnp.maximum(horizon - warm, 1.0), 0.0, 1.0)
        return 0.5 * (1.0 + jnp.cos(jnp.pi * share))


class TrainingState(NamedTuple):
    """What a training carries from iteration to iteration."""

    network: Any
    optimiser: Any
    good: Any  # the last parameters whose loss was finite, as one vector
    mean: Any  # of the parameters whose loss was finite, as one vector; None without averaging
    broken: Any  # from the first loss or gradient that is not finite on, nothing changes any more


def start(training: Training, network: Any) -> TrainingState:
    """Before the first iteration."""
    flat = ravel_pytree(network)[0]
    own, mean = training.optimiser is None, flat if training.average else None
    return TrainingState(network, training.transformation.init(flat if own else network), flat, mean, jnp.zeros((), bool))


def update(
    training: Training, state: TrainingState, loss: Any, gradient: Any, iteration: Any, horizon: Any
) -> TrainingState:
    """One iteration, from the loss and the gradient at ``state.network``.

    All leaves as one vector: a network has dozens, and a program with a handful of loops for each compiles and starts slowly.
    """
    before, unravel = ravel_pytree(state.network)
    slope = ravel_pytree(gradient)[0]
    finite = jnp.isfinite(loss) & ~state.broken
    usable = finite & jnp.all(jnp.isfinite(slope))
    if training.optimiser is None:
        change, optimiser = training.transformation.update(slope, state.optimiser, before)
        after = before - (training.rate(iteration, horizon) * change).astype(before.dtype)
    else:
        changes, optimiser = training.transformation.update(gradient, state.optimiser, state.network)
        after = ravel_pytree(optax.apply_updates(state.network, changes))[0]
    choose = lambda a, b: jnp.where(usable, a, b)  # noqa: E731
    mean = state.mean
    if mean is not None:
        decay = jnp.minimum(training.average, (1.0 + iteration) / (10.0 + iteration)).astype(before.dtype)
        mean = jnp.where(finite, before + decay * (mean - before), mean)
    return TrainingState(
        unravel(choose(after, before)),
        jax.tree.map(choose, optimiser, state.optimiser),
        jnp.where(finite, before, state.good),
        mean,
        ~usable,
    )


def final(state: TrainingState) -> Any:
    """The parameters to keep: their mean, or the last ones, or where they broke the last whose loss was finite."""
    flat, unravel = ravel_pytree(state.network)
    return unravel(jnp.where(state.broken, state.good, flat) if state.mean is None else state.mean)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value < 1
