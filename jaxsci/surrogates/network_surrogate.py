"""Surrogates that are trained networks: what they are, and their fit, of one seed or of many at once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxsci._checks import is_whole
from jaxsci._timing import Cost, Stopwatch
from jaxsci._types import Key, Progress
from jaxsci.networks.functional import Network
from jaxsci.solvers import Spectral
from jaxsci.surrogates.fit_course import Course
from jaxsci.surrogates.stepper import FittedSurrogate
from jaxsci.surrogates.training import Training
from jaxsci.surrogates.trajectories import Trajectories


@dataclasses.dataclass(frozen=True)
class NetworkSurrogate:
    r"""A surrogate whose step is a trained network, alone or on top of a coarse solver.

        u(t + k dt) = b + s_k N((u - c) / s, numbers, positions),   k = 1 .. K

    with c and s the mean and the standard deviation of each channel over the data. The base b is u(t), and s_k the standard
    deviation of the change over k saves (``increment=True``); or c and s; or what the coarse solver makes of u(t) in dt, and the
    standard deviation of its error (`corrects`), in which case gradients of the training go through the solver.

    Args:
      network: a network on grids, such as `jaxsci.networks.FNO`: ``init(key, inputs, outputs)`` and ``apply(parameters,
        a[inputs, *space]) -> [outputs, *space]``.
      numbers: names of coefficients that the network is told, as constant channels; the data's runs differ in them.
      bundle: K, the saves that one evaluation predicts (temporal bundling).
      corrects: ``js.Spectral(n=..., dt=...)``, the coarse solver that is corrected, on the surrogate's grid or, on periodic axes,
        on a coarser one, to which fields are brought by their Fourier modes. It follows the problem's coefficients.
      increment: predict the change rather than the fields.
      positions: whether positions are inputs: cos and sin around periodic axes, -1 to 1 between walls. By default they are
        where the equation names a coordinate of space, or an axis has walls.
      training: how it is trained, a `Training`.
    Raises:
      ValueError, TypeError: settings that do not fit each other, or the data.
    Fails when: the data's step is longer than the time over which the dynamics are predictable; starts or coefficients lie
      outside the data's; rollouts are longer than what was unrolled in training and errors grow. The error estimate is the one on
      held-out runs, of one evaluation, in ``stats["held_out"]``.
    Reference: Li et al. (2021), ICLR, and Lippe et al. (2023), PDE-Refiner, NeurIPS, section 3 (increments); Um et al. (2020),
      Solver-in-the-loop, NeurIPS; Kochkov et al. (2021), PNAS 118, e2101784118 (learned correction); Brandstetter, Worrall &
      Welling (2022), ICLR, section 3.2 (bundling).
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> problem = js.problems.advection(speed=1.0)
      >>> x = jnp.arange(32) * 2 * jnp.pi / 32
      >>> t, phase = 0.1 * jnp.arange(20)[:, None, None], jnp.arange(8.0)[:, None, None, None]
      >>> data = js.surrogates.Trajectories(problem, jnp.sin(x - t + phase), {}, dt=0.1)
      >>> network = js.networks.FNO(modes=(4,), channels=8, layers=2)
      >>> surrogate = js.surrogates.NetworkSurrogate(network, training=js.surrogates.Training(steps=150, learning_rate=1e-2))
      >>> fitted = surrogate.fit(data, key=jax.random.key(0))
      >>> fitted.stats["stopped"], fitted.stats["held_out"] < 0.02
      ('steps', True)
      >>> js.rollout(js.stepper(problem, fitted), 10, save_every=5).fields.shape
      (3, 1, 32)
    """

    network: Network
    numbers: tuple[str, ...] = ()
    bundle: int = dataclasses.field(default=1, kw_only=True)
    corrects: Spectral | None = dataclasses.field(default=None, kw_only=True)
    increment: bool = dataclasses.field(default=True, kw_only=True)
    positions: bool | None = dataclasses.field(default=None, kw_only=True)
    training: Training = dataclasses.field(default=Training(), kw_only=True)

    def __post_init__(self):
        if isinstance(self.network, type) or not all(
            callable(getattr(self.network, name, None)) for name in ("init", "apply")
        ):
            raise TypeError(
                "NetworkSurrogate: network must be one on grids, as in js.networks.FNO(modes=(12,)), with init(key, inputs, "
                f"outputs) and apply(parameters, fields); got {self.network!r}."
            )
        object.__setattr__(self, "numbers", tuple(self.numbers) if not isinstance(self.numbers, str) else (self.numbers,))
        if not (is_whole(self.bundle) and self.bundle >= 1):
            raise ValueError(f"NetworkSurrogate: bundle must be a whole number >= 1, got {self.bundle!r}.")
        if not isinstance(self.training, Training):
            raise TypeError(f"NetworkSurrogate: training must be js.surrogates.Training(...), got {self.training!r}.")
        if self.corrects is not None:
            if not isinstance(self.corrects, Spectral) or self.corrects.dt is None:
                raise ValueError(
                    f"NetworkSurrogate: corrects must be js.Spectral(n=..., dt=...) with a step, got {self.corrects!r}."
                )
            if self.bundle > 1:
                raise ValueError("NetworkSurrogate: a solver is corrected at every save; leave out bundle or corrects.")

    def fit(
        self,
        data: Trajectories,
        *,
        key: Key | None = None,
        budget: float | None = None,
        progress: Progress = None,
        folder: str | os.PathLike[str] | None = None,
        resume: bool = False,
        save_seconds: float = 60.0,
        mesh: Mesh | None = None,
        batches: Iterable[Any] | Callable[[int], Iterable[Any]] | None = None,
        unlabelled: Any = None,
    ) -> FittedSurrogate:
        """Train on trajectories.

        Args:
          data: what to learn from. With `batches` it is used for the scales and the held-out error alone.
          key: of the first parameters, of batches and of noise; ``jax.random.key(0)`` by default. The same key gives the same
            parameters to the last bit on the same machine.
          budget: seconds for the iterations; compilation and the held-out error do not count. The learning rate and the
            curriculum then run over the iterations that the budget is expected to hold, at most `Training.steps`.
          progress: called with a line of text every few seconds.
          folder: where the fit keeps a record of itself, every `save_seconds`, when it is interrupted and at its end.
          resume: go on from the record in the folder, if there is one: without a budget the result is that of an uninterrupted
            fit to the last bit.
          mesh: a `jax.sharding.Mesh` with one axis: each device takes its part of every batch.
          batches: pieces of a data set that is larger than memory, in the order in which they are trained on, one an iteration:
            ``[batch, saves, channels, *space]`` with the saves of the longest unrolling and its start, or what
            `jaxsci.surrogates.stream_batches` yields, or pairs ``(piece, {name: [batch]})`` where runs differ in coefficients.
            Or a function of the number of the first piece that returns them, so that a resumed fit need not read those before:
            ``lambda first: stream_batches(source, batch=16, saves=2, start=first)``.
          unlabelled: fields ``[states, channels, *space]`` whose successors are not known, with the data's own coefficients:
            a batch of them goes into the residual of each iteration.
        Returns:
          A `FittedSurrogate`. Its stats: ``"parameters"`` (numbers trained), ``"steps"``, ``"samples_per_second"`` (windows),
          ``"loss"`` (the mean of the last 16), ``"held_out"`` (relative L2 error of one evaluation; NaN where no run is held
          out) and ``"stopped"``: "steps", "budget", "batches" (they ended) or "not finite".
        Raises:
          ValueError, TypeError: data that is not finite, too short for the unrolling or does not fit the surrogate; a folder
            with the record of another fit.
        """
        key = jax.random.key(0) if key is None else key
        with Stopwatch() as watch:
            course = Course.of(self, data, mesh=mesh, batches=batches, unlabelled=unlabelled)
            trained = course.train_recorded(key, budget, progress, folder, resume, save_seconds)
        return course.fitted(trained, watch.cost(training=True))[0]


def fit_seeds(
    surrogate: NetworkSurrogate,
    data: Trajectories,
    keys: Sequence[Key] | Key,
    *,
    budget: float | None = None,
    progress: Progress = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    save_seconds: float = 60.0,
    mesh: Mesh | None = None,
    unlabelled: Any = None,
) -> list[FittedSurrogate]:
    """Fit the same surrogate from many seeds, by one program over all of them.

    On an accelerator they are mapped at once: small networks leave most of it idle. On a processor the program takes them in
    turns, which is faster there. Each seed ends with the parameters that its own fit ends with, to round-off.

    Args:
      surrogate: what to fit.
      keys: a `jax.random.key` for each, or an array of them, as of `jax.random.split`.
      others: as of `NetworkSurrogate.fit`; the budget is for all of them together.
    Returns:
      The fitted surrogates in the order of the keys; the seconds of each are its share of the whole.
    Raises:
      ValueError: no key, and as of `NetworkSurrogate.fit`.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> x, t = jnp.arange(16) * 2 * jnp.pi / 16, 0.1 * jnp.arange(20)[:, None, None]
      >>> data = js.surrogates.Trajectories(js.problems.advection(speed=1.0), jnp.sin(x - t)[None], {}, dt=0.1)
      >>> network = js.networks.FNO(modes=(3,), channels=4, layers=1)
      >>> surrogate = js.surrogates.NetworkSurrogate(network, training=js.surrogates.Training(steps=5))
      >>> [fitted.stats["steps"] for fitted in js.surrogates.fit_seeds(surrogate, data, jax.random.split(jax.random.key(0), 3))]
      [5, 5, 5]
    """
    if not len(keys) or np.ndim(keys[0]):
        raise ValueError("fit_seeds: give at least one key, as in keys=jax.random.split(jax.random.key(0), 3).")
    together = keys if isinstance(keys, jax.Array) else jnp.stack(list(keys))
    with Stopwatch() as watch:
        course = Course.of(surrogate, data, mesh=mesh, batches=None, unlabelled=unlabelled, many=True)
        trained = course.train_recorded(together, budget, progress, folder, resume, save_seconds)
    return course.fitted(trained, Cost(*(value / len(keys) for value in watch.cost(training=True))))
