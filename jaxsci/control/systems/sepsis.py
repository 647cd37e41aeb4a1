r"""Treatment of sepsis as a table: read from the user's files, or a small synthetic one made from a seed.

The layout of ICU-Sepsis (Choudhary, Gupta & Thomas 2024, arXiv:2406.05646): transitions ``[states, actions, states]``, rewards of
the same shape, a distribution of the first state; 716 states (713 of patients, then death, survival and an absorbing end) and 25
actions, 5 levels of fluids x 5 of vasopressors, number 5 fluids + vasopressors; reward 1 on survival and discount 1, so that the
value of a policy is a probability of survival (optimal 0.88, uniformly random 0.78). A cost here is minus a reward.

The synthetic table has the same structure and no patient in it: nothing about sepsis can be learnt from it.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsci._checks import is_whole, listed
from jaxsci.control.tables import TabularMDP

STATES, ACTIONS = 716, 25
_NAMES = ("tx_mat", "r_mat", "d_0")
_OPTIONAL = "expert_policy"
_ARCHIVED = {  # the names of the same tables in the published archive of CSV files
    "tx_mat": "transitionFunction",
    "r_mat": "rewardFunction",
    "d_0": "initialStateDistribution",
    "expert_policy": "expertPolicy",
}
_TOLERANCE = 1e-6  # by which probabilities of a file may miss 1: they were written as text, or in single precision


class SepsisTable(NamedTuple):
    """What `read_sepsis` and `synthetic_sepsis` return.

    Attributes:
      mdp: a `TabularMDP` with costs -E[reward].
      vasopressors: a safety cost ``[states, actions]`` in [0, 1]: the level of vasopressors as a share of the highest; 0 once the
        patient's course has ended. Positive, and more is worse.
      behaviour: what clinicians did, probabilities ``[states, actions]``, where the file has it; else None.
    """

    mdp: TabularMDP
    vasopressors: Float[Array, "states actions"]
    behaviour: Float[Array, "states actions"] | None


def read_sepsis(path: str | Path, *, states: int = STATES, actions: int = ACTIONS, discount: float = 1.0) -> SepsisTable:
    """Read a table: an ``.npz`` with tx_mat, r_mat, d_0 (and expert_policy), or a folder of CSV files.

    The package that publishes ICU-Sepsis has the first, ``envs/assets/dynamics.npz``; a folder has ``tx_mat.csv`` and so on,
    or the names of its archive: ``transitionFunction.csv``, ``rewardFunction.csv`` (one row: a reward belongs to the next
    state), ``initialStateDistribution.csv``, ``expertPolicy.csv``. Rows of transitions are (state, action) with the action
    running faster, the columns next states, no header. Either the whole table is read and checked, or an error says what is
    wrong.

    Args:
      path: of the file or the folder; of a folder with ``dynamics.npz``, that is read.
      states, actions: what it must have. The number of actions is a square: levels of fluids times as many of vasopressors.
      discount: of the table; 1 as published.
    Raises:
      FileNotFoundError: no such file or folder, or a table of it is missing.
      ValueError: a file that cannot be read, other shapes, NaN, probabilities that are negative or do not sum to 1.
    """
    levels = round(actions**0.5)
    if levels**2 != actions:
        raise ValueError(f"read_sepsis: {actions} actions are no square of levels of two drugs.")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"read_sepsis: there is no {path}; give the .npz, or the folder with tx_mat.csv and so on.")
    if (path / "dynamics.npz").exists():
        path = path / "dynamics.npz"
    tables = _from_folder(path) if path.is_dir() else _from_npz(path)
    if np.size(tables["r_mat"]) == states:  # of the state that is entered
        tables["r_mat"] = np.broadcast_to(np.ravel(tables["r_mat"]), (states, actions, states))
    if _OPTIONAL in tables:
        tables[_OPTIONAL] = _with_ends(tables[_OPTIONAL])
    shapes = {
        "tx_mat": (states, actions, states),
        "r_mat": (states, actions, states),
        "d_0": (states,),
        "expert_policy": (states, actions),
    }
    checked = {name: _shaped(path, name, table, shapes[name]) for name, table in tables.items()}
    for name in ("tx_mat", "d_0", "expert_policy"):
        if name in checked:
            checked[name] = _distributions(path, name, checked[name])
    costs = -np.sum(checked["tx_mat"] * checked["r_mat"], axis=2)
    return _table(checked["tx_mat"], costs, checked["d_0"], discount, levels, checked.get("expert_policy"))


def synthetic_sepsis(
    seed: int = 0, *, severities: int = 20, levels: int = 3, discount: float = 1.0, noise: float = 0.3
) -> SepsisTable:
    """A small table like the published one: severities of illness, then death, survival and an absorbing end.

    In each severity one pair of levels is best, more of both in the worse ones; the further a treatment is from it the likelier
    the patient is to get worse. From the worst severities patients die, from the mildest they leave alive, reward 1.

    Args:
      seed: of everything that is drawn.
      severities: how many states of patients, >= 4.
      levels: of each drug, >= 2.
      discount: of the table.
      noise: of the probabilities, relative; 0 for a smooth table.
    Raises:
      ValueError: numbers below those above.
    Example:
      >>> table = synthetic_sepsis(0)
      >>> table.mdp.states, table.mdp.actions, table.vasopressors.max().item()
      (23, 9, 1.0)
    """
    if not is_whole(severities) or severities < 4 or not is_whole(levels) or levels < 2:
        raise ValueError(f"synthetic_sepsis: severities >= 4 and levels >= 2, got {severities!r} and {levels!r}.")
    draw = np.random.default_rng(seed)
    states, actions = severities + 3, levels**2
    death, survival, end = severities, severities + 1, severities + 2
    severity = np.linspace(0, 1, severities)
    best = severity[:, None] * (levels - 1) + draw.normal(scale=0.3, size=(severities, 2))
    fluids, vasopressors = np.divmod(np.arange(actions), levels)
    apart = np.hypot(fluids - best[:, :1], vasopressors - best[:, 1:]) / levels  # [severities, actions]
    worse = np.clip(0.2 + 0.5 * apart, 0.05, 0.75)
    moves = np.zeros((severities, actions, states))
    index = np.arange(severities)
    moves[index, :, index] = 0.25
    for step, share in ((1, 0.7), (2, 0.3)):
        down, up = index - step, index + step
        target_down, target_up = np.where(down < 0, survival, down), np.where(up >= severities, death, up)
        moves[index, :, target_down] += 0.75 * share * (1 - worse)
        moves[index, :, target_up] += 0.75 * share * worse
    moves *= np.exp(noise * draw.normal(size=moves.shape))
    moves /= moves.sum(axis=2, keepdims=True)
    transitions = np.zeros((states, actions, states))
    transitions[:severities] = moves
    transitions[severities:, :, end] = 1.0
    costs = np.concatenate([-moves[:, :, survival], np.zeros((3, actions))])
    start = np.concatenate([np.exp(-0.5 * ((severity - 0.6) / 0.15) ** 2), np.zeros(3)])
    behaviour = np.concatenate([np.exp(-4 * apart), np.ones((3, actions))])
    behaviour /= behaviour.sum(axis=1, keepdims=True)
    return _table(transitions, costs, start / start.sum(), discount, levels, behaviour)


def _table(transitions, costs, start, discount, levels, behaviour):
    states = len(start)
    share = np.tile(np.arange(levels) / (levels - 1), levels)
    ended = np.arange(states) >= states - 3
    vasopressors = np.where(ended[:, None], 0.0, share)
    dtype = jnp.result_type(float)
    mdp = TabularMDP(jnp.asarray(transitions, dtype), jnp.asarray(costs, dtype), discount, jnp.asarray(start, dtype))
    return SepsisTable(mdp, jnp.asarray(vasopressors, dtype), None if behaviour is None else jnp.asarray(behaviour, dtype))


def _with_ends(behaviour: np.ndarray) -> np.ndarray:
    """The published file has zeros where the course is over (the last three states); there any action will do."""
    if behaviour.ndim != 2 or not np.issubdtype(behaviour.dtype, np.number):
        return behaviour
    states, actions = behaviour.shape
    idle = (np.arange(states) >= states - 3) & ~behaviour.any(axis=1)
    return np.where(idle[:, None], 1 / actions, behaviour)


def _from_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in _NAMES if name not in file.files]
            if missing:
                raise FileNotFoundError(
                    f"read_sepsis: {path} has no {listed(missing)}; it has {listed(sorted(file.files))}."
                )
            return {name: file[name] for name in (*_NAMES, _OPTIONAL) if name in file.files}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"read_sepsis: {path} is no .npz that can be read to its end: {error}") from error


def _from_folder(path: Path) -> dict[str, np.ndarray]:
    files = {name: path / f"{name}.csv" for name in (*_NAMES, _OPTIONAL)}
    archived = {name: path / f"{long}.csv" for name, long in _ARCHIVED.items()}
    if archived["tx_mat"].exists():
        files = archived
    missing = [files[name].name for name in _NAMES if not files[name].exists()]
    if missing:
        raise FileNotFoundError(f"read_sepsis: {path} has no {listed(missing)}.")
    tables = {}
    for name, file in files.items():
        if file.exists():
            try:
                tables[name] = np.loadtxt(file, delimiter=",", ndmin=2)
            except ValueError as error:
                raise ValueError(f"read_sepsis: {file} is no table of numbers: {error}") from error
    return tables


def _shaped(path: Path, name: str, table: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The table in its shape; CSV has (state, action) in one axis, and a vector as a row or a column."""
    flat = (int(np.prod(shape[:-1])), shape[-1])
    if table.shape != shape and not (
        table.ndim == 2 and (table.shape == flat or (table.size == shape[0] and len(shape) == 1))
    ):
        raise ValueError(
            f"read_sepsis: {name} of {path} has shape {table.shape}; wanted is {shape}. "
            "For another number of states or actions give states= and actions=."
        )
    if not (np.issubdtype(table.dtype, np.floating) or np.issubdtype(table.dtype, np.integer)):
        raise ValueError(f"read_sepsis: {name} of {path} must have numbers, got dtype {table.dtype}.")
    table = table.reshape(shape).astype(float)
    if not np.isfinite(table).all():
        raise ValueError(
            f"read_sepsis: {name} of {path} has {int((~np.isfinite(table)).sum())} numbers that are not finite."
        )
    return table


def _distributions(path: Path, name: str, table: np.ndarray) -> np.ndarray:
    """Probabilities that sum to 1 to rounding, made exact."""
    sums = table.sum(axis=-1)
    if (table < 0).any() or (np.abs(sums - 1) > _TOLERANCE).any():
        worst = np.unravel_index(np.argmax(np.abs(sums - 1)), sums.shape)
        raise ValueError(
            f"read_sepsis: {name} of {path} must hold probabilities: least {table.min():.4g}, and the sum at "
            f"{tuple(map(int, worst))} is {sums[worst]:.8g}."
        )
    return table / sums[..., None]
