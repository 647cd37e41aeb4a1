"""A task under several models of its dynamics, a solver and surrogates say: which is worth it, for decisions.

A surrogate may be fast and near and still not be worth it: what counts is what the policy found on it costs on the solver.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsci._timing import Stopwatch
from jaxsci._types import Key
from jaxsci.control.policies import sequence
from jaxsci.control.policy_gradient import analytic_policy_gradient
from jaxsci.control.rollout import rollout, states_after
from jaxsci.control.task import Task


@dataclasses.dataclass(frozen=True)
class ModelRow:
    """What became of one model. Costs are means over the batch, on the truth unless said.

    Attributes:
      name: of the model.
      rollout_seconds: of a batch of rollouts, the least of several, without compiling.
      speed_ratio: the truth's seconds over these.
      error_growth: relative L2 error of the state after each step, with the truth's actions; the median of the members.
      policy_cost: of the policy found on this model.
      promised_cost: of the same policy on the model itself.
      standard_error: of the difference between policy_cost and the truth's own policy_cost, members paired.
      regret: policy_cost less that of the policy found on the truth.
      relative_regret: regret over the gain that training on the truth brought, (cost at the start - cost at its end).
      search_seconds, compile_seconds: of the search for the policy, without and of compiling.
    """

    name: str
    rollout_seconds: float
    speed_ratio: float
    error_growth: np.ndarray
    policy_cost: float
    promised_cost: float
    standard_error: float
    regret: float
    relative_regret: float
    search_seconds: float
    compile_seconds: float


@dataclasses.dataclass(frozen=True)
class ModelComparison:
    """Rows by model, the truth first.

    Attributes:
      rows: a `ModelRow` each.
      params: by model, the policy found on it.
      start_cost: of the policy before training, on the truth.
    """

    rows: tuple[ModelRow, ...]
    params: dict[str, Any]
    start_cost: float

    def table(self) -> str:
        """As text."""
        head = (
            "model",
            "speed",
            "error 1",
            "half",
            "last",
            "promised",
            "cost",
            "regret",
            "+-",
            "of gain",
            "search s",
            "compile s",
        )
        lines = [head]
        for row in self.rows:
            growth = row.error_growth
            errors = [f"{growth[i]:.1e}" for i in (0, len(growth) // 2, -1)]
            costs = [f"{value:.4g}" for value in (row.promised_cost, row.policy_cost, row.regret)]
            tail = [
                f"{row.standard_error:.1g}",
                f"{row.relative_regret:.1%}",
                f"{row.search_seconds:.1f}",
                f"{row.compile_seconds:.1f}",
            ]
            lines.append((row.name, f"{row.speed_ratio:.2f}", *errors, *costs, *tail))
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        text = [
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        text.insert(1, "-" * len(text[0]))
        return "\n".join([*text, f"Cost before training: {self.start_cost:.4g}. Costs are those on {self.rows[0].name}."])


def compare(
    task: Task,
    models: Mapping[str, Any],
    policy: Callable[..., Any],
    params: Any,
    *,
    key: Key,
    batch: int = 64,
    search: Callable[..., Any] | None = None,
    field: Callable[[Any, Any], Any] | None = None,
    repeats: int = 5,
    **options: Any,
) -> ModelComparison:
    """Find a policy on each model of the task, and see what it costs on the first of them, the truth.

    Args:
      task: the decision problem; its own dynamics are replaced by each model's.
      models: by name, the truth first: dynamics ``(parameters, state, action)`` of the same states, or a `Task` with the same
        observations and actions whose `init` gives corresponding starts for the same key (a surrogate with its own parameters or
        states, see `jaxsci.control.with_surrogate`).
      policy, params: what is trained, and where it starts.
      key: for starts and draws; models see the same.
      batch: members of every measurement.
      search: ``(task, policy, params, key=key, **options) -> PolicySearch``, or anything with ``.params``;
        `analytic_policy_gradient` by default.
      field: ``(parameters, state) -> array`` to compare states by; all numbers of the state by default.
      repeats: rollouts timed per model, in turns.
      options: of the search, such as iterations.
    Raises:
      ValueError: fewer than two models.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: s + 0.1 * (a - s**3), cost=lambda p, s, a, s1: (s1 - 1) ** 2 + 0.1 * a**2,
      ...     init=lambda p, *, key: jax.random.uniform(key), horizon=20)
      >>> report = js.control.compare(
      ...     task, {"solver": task.dynamics, "linear": lambda p, s, a: s + 0.1 * (a - s)}, lambda gain, s: gain * (1 - s),
      ...     jnp.asarray(0.1), key=jax.random.key(0), iterations=50)
      >>> [row.name for row in report.rows], bool(report.rows[1].regret > -1e-9)
      (['solver', 'linear'], True)
    """
    if len(models) < 2:
        raise ValueError(
            f"compare: give two models or more, the truth first, models={{'solver': ..., 'surrogate': ...}}; got {list(models)}."
        )
    tasks = {name: _task_of(task, name, model) for name, model in models.items()}
    truth, real = next(iter(tasks.items()))
    search = analytic_policy_gradient if search is None else search
    search_key, test_key = jax.random.split(key)
    found, spent = {}, {}
    for name, model in tasks.items():
        with Stopwatch() as watch:
            found[name] = jax.block_until_ready(search(model, policy, params, key=search_key, **options).params)
        spent[name] = watch
    seconds = _rollout_seconds(tasks, policy, found[truth], test_key, batch, repeats)
    growth = _error_growth(tasks, policy, found[truth], test_key, batch, field)
    cost_of = jax.jit(lambda p: rollout(real, policy, p, test_key, batch=batch).total)
    start = float(jnp.mean(cost_of(params)))
    costs = {name: np.asarray(cost_of(p)) for name, p in found.items()}
    gain = start - float(costs[truth].mean())
    rows = []
    for name, model in tasks.items():
        promised = rollout(model, policy, found[name], test_key, batch=batch).total
        apart = costs[name] - costs[truth]
        regret = float(apart.mean())
        rows.append(
            ModelRow(
                name,
                seconds[name],
                seconds[truth] / seconds[name],
                growth[name],
                float(costs[name].mean()),
                float(jnp.mean(promised)),
                float(apart.std(ddof=1) / np.sqrt(batch)) if batch > 1 else float("nan"),
                regret,
                regret / gain if gain else float("nan"),
                spent[name].run_seconds,
                spent[name].compile_seconds,
            )
        )
    return ModelComparison(tuple(rows), found, start)


def _task_of(task: Task, name: str, model: Any) -> Task:
    if isinstance(model, Task):
        if model.horizon != task.horizon:
            raise ValueError(f"compare: the model {name!r} has horizon {model.horizon}, the task {task.horizon}.")
        return model
    if not callable(model):
        raise TypeError(f"compare: the model {name!r} is neither dynamics (a function) nor a Task, got {model!r}.")
    return task.replace(dynamics=model)


def _rollout_seconds(tasks, policy, params, key, batch, repeats):
    """The least wall seconds of each, in turns; the first round compiles."""
    runs = {
        name: jax.jit(lambda p, model=model: rollout(model, policy, p, key, batch=batch).total)
        for name, model in tasks.items()
    }
    least = dict.fromkeys(runs, float("inf"))
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run(params))
            if turn:
                least[name] = min(least[name], time.perf_counter() - start)
    return least


def _error_growth(tasks, policy, params, key, batch, field):
    """Each model under the truth's actions from corresponding starts."""

    def seen(model, run):
        look = (lambda s: ravel_pytree(s)[0]) if field is None else (lambda s: jnp.ravel(field(model.parameters, s)))
        return jax.vmap(jax.vmap(look))(states_after(run))  # [batch, horizon, numbers]

    truth = next(iter(tasks.values()))
    run = jax.jit(lambda: rollout(truth, policy, params, key, batch=batch))()
    reference = seen(truth, run)
    keys = jax.random.split(key, batch)
    growth = {}
    for name, model in tasks.items():

        def replay(actions, key, model=model):
            return rollout(model, sequence, actions, key)

        with_same = jax.jit(jax.vmap(replay))(run.actions, keys)
        error = jnp.linalg.norm(seen(model, with_same) - reference, axis=-1) / jnp.linalg.norm(reference, axis=-1)
        growth[name] = np.asarray(jnp.median(error, axis=0))
    return growth
