"""The two baselines that know nothing of the dynamics: nothing changes, and everything is as on average."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress
from jaxsci.surrogates.closed_form import as_parameters, check_grid, checked_fields, fitted
from jaxsci.surrogates.stepper import FittedSurrogate
from jaxsci.surrogates.trajectories import Trajectories


@dataclasses.dataclass(frozen=True)
class PersistenceRule:
    """u' = u."""

    def encode(self, parameters: Any, fields: Any) -> Any:
        return fields

    def step(self, parameters: Any, carry: Any, coefficients: Any, t: Any) -> Any:
        return carry

    def decode(self, parameters: Any, carry: Any) -> Any:
        return carry


@dataclasses.dataclass(frozen=True)
class Persistence:
    """Tomorrow is as today: u' = u. What forecasts are scored against in meteorology.

    Its error over a time is how much the fields change in it: sqrt(2 (1 - correlation)) for steady statistics of mean zero.
    Nothing is fitted.

    Fails when: never; it is the error of doing nothing.
    Reference: Murphy (1992), Weather and Forecasting 7, 692.
    Example:
      >>> import jaxsci as js
      >>> problem = js.problems.advection(speed=1.0)
      >>> run = js.rollout(js.stepper(problem, js.Spectral(n=32, dt=0.1)), 10, save_every=1)
      >>> data = js.surrogates.Trajectories(problem, run.fields[None], {}, dt=0.1)
      >>> s = js.stepper(problem, js.surrogates.Persistence().fit(data))
      >>> bool(abs(s.decode(s.step(s.initial())) - run.fields[0]).max() < 1e-5)
      True
    """

    def fit(
        self, data: Trajectories, *, key: Key | None = None, budget: float | None = None, progress: Progress = None
    ) -> FittedSurrogate:
        """See the class; key, budget and progress are not used.

        Raises:
          TypeError, ValueError: no trajectories, or not finite.
        """
        with Stopwatch() as watch:
            checked_fields("Persistence", data, saves=1)
        return fitted(PersistenceRule(), {}, data, watch, {"parameters": 0})


@dataclasses.dataclass(frozen=True)
class MeanRule:
    """u' = the mean field."""

    def encode(self, parameters: Any, fields: Any) -> Any:
        check_grid(fields, parameters["mean"].shape)
        return jnp.asarray(fields, jnp.result_type(fields, parameters["mean"]))

    def step(self, parameters: Any, carry: Any, coefficients: Any, t: Any) -> Any:
        return jnp.asarray(parameters["mean"], carry.dtype)

    def decode(self, parameters: Any, carry: Any) -> Any:
        return carry


@dataclasses.dataclass(frozen=True)
class Mean:
    """The climate: u' = the mean field of all training saves, whatever u is.

    Where the statistics are steady and homogeneous its variance-scaled error (VRMSE) is 1 by construction, which no forecast
    should exceed in the long run.

    Fails when: the fields decay or drift, so that the average over the saves is like none of them.
    Reference: Ohana et al. (2024), The Well, NeurIPS Datasets and Benchmarks, section 4.1 (VRMSE).
    Example:
      >>> import jaxsci as js
      >>> problem = js.problems.advection(speed=1.0)
      >>> run = js.rollout(js.stepper(problem, js.Spectral(n=32, dt=0.1)), 10, save_every=1)
      >>> data = js.surrogates.Trajectories(problem, run.fields[None], {}, dt=0.1)
      >>> s = js.stepper(problem, js.surrogates.Mean().fit(data))
      >>> bool(abs(s.decode(s.step(s.initial())) - run.fields.mean(axis=0)).max() < 1e-6)
      True
    """

    def fit(
        self, data: Trajectories, *, key: Key | None = None, budget: float | None = None, progress: Progress = None
    ) -> FittedSurrogate:
        """See the class; key, budget and progress are not used.

        Raises:
          TypeError, ValueError: no trajectories, or not finite.
        """
        with Stopwatch() as watch:
            fields = checked_fields("Mean", data, saves=1)
            mean = np.mean([np.mean(run, axis=0, dtype=float) for run in fields], axis=0)  # a run at a time in memory
        return fitted(MeanRule(), as_parameters({"mean": mean}, fields), data, watch, {"parameters": mean.size})
