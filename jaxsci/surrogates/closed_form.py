"""What fits without iterations share: checked data, pairs of saves, and the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._timing import Stopwatch
from jaxsci.surrogates.stepper import FittedSurrogate, Rule
from jaxsci.surrogates.trajectories import Trajectories


def checked_fields(name: str, data: Any, *, saves: int = 2) -> np.ndarray:
    """The fields on the host, in their own precision, ``[runs, saves, channels, *space]``.

    Args:
      name: of the method, for messages.
      saves: how many a run needs.
    Raises:
      TypeError: the data are no `Trajectories`.
      ValueError: no run, too few saves, or a run that is not finite.
    """
    if not isinstance(data, Trajectories):
        raise TypeError(f"{name}.fit: the data must be jaxsci.surrogates.Trajectories, got {type(data).__name__}.")
    fields = np.asarray(data.fields)
    dimensions = 3 + len(data.problem.domain.space)
    if fields.ndim != dimensions:
        raise ValueError(
            f"{name}.fit: the fields must be [runs, saves, channels, {', '.join(data.problem.domain.space)}], "
            f"got shape {fields.shape}."
        )
    if len(fields) < 1 or fields.shape[1] < saves:
        raise ValueError(
            f"{name}.fit: needs one run or more of {saves} saves or more, got {fields.shape[0]} runs of {fields.shape[1]}."
        )
    bad = [i for i, run in enumerate(fields) if not np.isfinite(run).all()]
    if bad:
        raise ValueError(f"{name}.fit: run {bad[0]} of the data is not finite ({len(bad)} such runs); leave them out.")
    return fields


def fitted(rule: Rule, parameters: Any, data: Trajectories, watch: Stopwatch, stats: Mapping[str, Any]) -> FittedSurrogate:
    """The result of a fit that was measured by a (finished) watch."""
    return FittedSurrogate(rule, parameters, data.method, watch.cost(training=True), dict(stats), np.zeros(0))


def as_parameters(tree: Any, fields: np.ndarray) -> Any:
    """Host arrays to device arrays in the precision of the data, complex ones too."""
    real = jnp.result_type(fields.dtype)
    kind = {True: jnp.result_type(real, jnp.complex64), False: real}
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, kind[np.iscomplexobj(leaf)]), tree)


def check_grid(fields: Any, shape: tuple[int, ...]) -> None:
    """Raise where fields are on another grid than that of the fit."""
    if fields.shape != shape:
        raise ValueError(
            f"This surrogate holds fields on the grid it was fitted on, {shape}, and got {fields.shape}; another grid or a "
            "longer box needs a fit of its own."
        )


def folds(fields: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Runs to fit and runs to score a choice on: thirds of the runs in turn, or the last fifth of the saves of a single run."""
    runs, saves = fields.shape[:2]
    if runs > 1:
        third = np.arange(runs) % min(3, runs)
        return [(fields[third != i], fields[third == i]) for i in range(min(3, runs))]
    cut = max(2, round(0.8 * saves))
    return [(fields[:, :cut], fields[:, cut - 1 :])] if saves > cut else [(fields, fields)]


def summed(errors: list[dict[Any, float]]) -> dict[Any, float]:
    """The sum over folds of what was tried in all of them."""
    common = [choice for choice in errors[0] if all(choice in fold for fold in errors)]
    return {choice: sum(fold[choice] for fold in errors) for choice in common}


def rollout_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """The mean over runs and saves (without the start) of |error| / |truth|, ``[runs, saves, ...]``; inf where it blew up."""
    axes = tuple(range(2, truth.ndim))
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt(np.sum(np.abs(predicted - truth) ** 2, axis=axes))
        scale = np.sqrt(np.sum(np.abs(truth) ** 2, axis=axes))
        ratio = (error / np.maximum(scale, np.finfo(float).tiny))[:, 1:]
    return float(np.mean(ratio)) if np.isfinite(ratio).all() else np.inf
