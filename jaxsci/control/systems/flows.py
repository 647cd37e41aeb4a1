r"""Flows with actuators: the Kuramoto-Sivashinsky equation and Kolmogorov flow, both from the catalogue of problems.

    u_t = -u u_x - u_xx - u_xxxx + sum_i a_i shape_i(x)                       on [0, L], periodic
    w_t = -(v . grad) w + nu lap w - drag w - 4 f cos(4 y) + sum_i a_i curl F_i    on [0, 2 pi]^2, periodic

The state of a task is the field on the grid, a real array, so that learned models, planners and networks take it as it is; a
step of the task goes to the solver's modes, takes a whole number of the solver's steps with the action held, and comes back.

References: Bucci et al. (2019), Proc. R. Soc. A 475, 20190351 (L = 22, 64 points, four jets); Zhang et al. (2023),
arXiv:2311.18736, controlgym (L = 32 pi, 256 points, eight actuators, ten sensors); Kochkov et al. (2021), PNAS 118, e2101784118.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci import problems
from jaxsci._checks import is_whole, unknown_name
from jaxsci.control.dynamics import Actuated, actuated, pushed
from jaxsci.control.task import Task
from jaxsci.problems.flow_fields import velocity_of
from jaxsci.solvers import Spectral

Support = Literal["gaussian", "interval"]


class Flow(NamedTuple):
    """Parameters of the tasks of this file.

    Attributes:
      equation: with its actuators; its coefficients can be differentiated, varied and batched.
      starts: fields that an episode may begin from, ``[starts, *space]``.
      penalty: what the square of an action costs.
    """

    equation: Actuated
    starts: Any
    penalty: Any


# --- Kuramoto and Sivashinsky ------------------------------------------------------------------------------------------------


def kuramoto_sivashinsky(
    *,
    length: float = 22.0,
    n: int = 64,
    actuators: int = 4,
    sensors: int = 8,
    support: Support = "gaussian",
    width: float = 0.4,
    interval: float = 0.25,
    substeps: int = 2,
    horizon: int = 200,
    penalty: Any = 0.1,
    starts: Any = None,
) -> Task:
    """Bring the Kuramoto-Sivashinsky equation to rest: the cost of a step is mean u^2 + penalty sum a^2.

    The default is the set of Bucci et al. (2019); the one of controlgym is ``length=32 * pi, n=256, actuators=8, sensors=10,
    support="interval", width=0.1 * 32 * pi, interval=0.5, substeps=10, penalty=1 / 256``, where 256 times the cost is theirs.

    The state is u at x_j = j L / n. An episode begins on the attractor: at a point of a long run, shifted along x by chance
    (a shifted solution of the equation without actuators is another one).

    Args:
      length: L; the rest loses its stability at 2 pi.
      n: grid points.
      actuators: how many, evenly spread; Gaussians at i L / actuators, intervals in the middle of the i-th part.
      sensors: how many points of the grid are observed, evenly spread from 0.
      support: "gaussian", exp(-(x - x_i)^2 / (2 width^2)), periodic; "interval", one within `width` around x_i.
      width: in the units of x.
      interval: length of a step of the task, over which the action is held.
      substeps: of the solver within it, of order 4.
      starts: fields to begin from instead, ``[starts, n]``; they are not shifted.
    Raises:
      ValueError: another support, numbers that are no positive whole ones, starts of another shape.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> task = js.control.systems.flows.kuramoto_sivashinsky(horizon=5)
      >>> run = js.control.rollout(task, lambda p, sensed: -p * sensed[::2], 0.5, jax.random.key(0), batch=3)
      >>> run.states.shape, run.observations.shape, run.actions.shape
      ((3, 5, 64), (3, 5, 8), (3, 5, 4))
    """
    _check_counts("kuramoto_sivashinsky", actuators=actuators, sensors=sensors, substeps=substeps)
    scale = 2 * math.pi / length  # the catalogue has the equation on [0, 2 pi]
    problem = problems.kuramoto_sivashinsky(advection=scale, antidiffusion=scale**2, hyperdiffusion=scale**4)
    shapes = _supports(support, n, actuators, width * scale)
    equation = actuated(problem, Spectral(n=n, dt=interval / substeps), shapes)
    if starts is None:
        x = equation.stepper.grid["x"]
        first = jnp.asarray(0.1 * (np.cos(x) + np.sin(2 * x)))
        pool, shifted = _long_run(equation, first, skip=400.0, apart=10.0), True
    else:
        pool, shifted = _given_starts("kuramoto_sivashinsky", starts, (n,)), False
    at = np.arange(sensors) * (n // sensors)  # as controlgym has them where the numbers do not divide

    def init(p, *, key):
        one, other = jax.random.split(key)
        u = p.starts[jax.random.randint(one, (), 0, len(p.starts))]
        return jnp.roll(u, jax.random.randint(other, (), 0, n)) if shifted else u

    return Task(
        dynamics=_Steps(substeps),
        cost=lambda p, u, a, after: jnp.mean(u**2) + p.penalty * jnp.sum(a**2),
        init=init,
        observe=lambda p, u: u[at],
        horizon=horizon,
        parameters=Flow(equation, pool, jnp.asarray(penalty, pool.dtype)),
        name="kuramoto_sivashinsky",
    )


def _supports(support: str, n: int, count: int, width: float) -> np.ndarray:
    """Shapes of the actuators on [0, 2 pi], ``[actuators, n]``."""
    if support not in get_args(Support):
        raise ValueError(f"kuramoto_sivashinsky: {unknown_name('support', str(support), get_args(Support))}")
    x, part = 2 * math.pi * np.arange(n) / n, 2 * math.pi / count
    centres = part * (np.arange(count) + (0.5 if support == "interval" else 0.0))
    gap = (x - centres[:, None] + math.pi) % (2 * math.pi) - math.pi
    if support == "gaussian":
        return np.exp(-(gap**2) / (2 * width**2))
    # Whole cells, as many to the left of the centre as to the right, rounded down as controlgym does.
    cell = 2 * math.pi / n
    left = np.floor(centres / cell + 1e-9) - width / cell / 2
    right = left + width / cell
    place = np.arange(n)
    return ((place >= np.floor(left + 1e-9)[:, None]) & (place < np.floor(right + 1e-9)[:, None])).astype(float)


# --- Kolmogorov flow ---------------------------------------------------------------------------------------------------------


def kolmogorov_flow(
    *,
    reynolds: Any = 40.0,
    n: int = 64,
    actuators: int = 2,
    sensors: int = 4,
    width: float = 0.5,
    drag: Any = 0.1,
    interval: float = 0.1,
    substeps: int = 4,
    horizon: int = 100,
    penalty: Any = 0.01,
    starts: Any = None,
) -> Task:
    r"""Calm the flow that the body force sin(4 y) e_x drives: a step costs nu mean w^2 (its dissipation) + penalty sum a^2.

    The state is the vorticity w. The policy sees the velocity at points of a lattice and pushes the fluid along x by patches
    of force in the middle between them, F = a_i exp((cos(x - x_i) + cos(y - y_i) - 2) / width^2) e_x, whose curl enters.

    An episode begins at a point of a long run. Without actuators the laminar flow u = f sin(4 y) / (16 nu + drag) is unstable
    from a small Reynolds number on; at 40 the flow is irregular.

    Args:
      reynolds: 1 / nu, 40 to 200 say.
      n: grid points per axis.
      actuators: patches per axis, 2 x 2 by default.
      sensors: points per axis, at 4 x 4 of which two numbers are observed by default, ``[2, sensors, sensors]``.
      width: of a patch.
      drag: the linear one of the catalogue's problem; 0 for none.
      interval, substeps, penalty, starts: as of `kuramoto_sivashinsky`.
    Raises:
      ValueError: numbers that are no positive whole ones, starts of another shape.
    """
    _check_counts("kolmogorov_flow", actuators=actuators, sensors=sensors, substeps=substeps)
    problem = problems.kolmogorov_flow(viscosity=1 / reynolds, drag=drag)
    lattice = 2 * math.pi * (np.arange(actuators) + 0.5) / actuators
    centres = np.stack(np.meshgrid(lattice, lattice, indexing="ij"), -1).reshape(-1, 2)

    def curls(x, y):  # -d/dy of the patches
        gap_x, gap_y = x - centres[:, 0, None, None], y - centres[:, 1, None, None]
        return np.sin(gap_y) / width**2 * np.exp((np.cos(gap_x) + np.cos(gap_y) - 2) / width**2)

    equation = actuated(problem, Spectral(n=n, dt=interval / substeps), curls)
    if starts is None:
        start = equation.stepper.initial()
        pool = _long_run(equation, equation.stepper.decode(start)[0], skip=40.0, apart=2.0)
    else:
        pool = _given_starts("kolmogorov_flow", starts, (n, n))
    at = np.arange(sensors) * (n // sensors)
    lengths = problem.domain.lengths

    def cost(p, w, a, after):
        return p.equation.stepper.problem.coefficients["viscosity"] * jnp.mean(w**2) + p.penalty * jnp.sum(a**2)

    return Task(
        dynamics=_Steps(substeps),
        cost=cost,
        init=lambda p, *, key: p.starts[jax.random.randint(key, (), 0, len(p.starts))],
        observe=lambda p, w: velocity_of(w, lengths)[:, at][:, :, at],
        horizon=horizon,
        parameters=Flow(equation, pool, jnp.asarray(penalty, pool.dtype)),
        name="kolmogorov_flow",
    )


# --- what both need ----------------------------------------------------------------------------------------------------------


class _Steps:
    """Dynamics of a single field on the grid. A class, so that tasks made twice are equal where their numbers of steps are."""

    def __init__(self, substeps: int):
        self.substeps = substeps

    def __call__(self, parameters: Flow, field: Any, action: Any) -> Any:
        stepper = parameters.equation.stepper
        return stepper.decode(pushed(parameters.equation, stepper.encode(field), action, substeps=self.substeps))[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Steps) and self.substeps == other.substeps

    def __hash__(self) -> int:
        return hash((_Steps, self.substeps))


def _long_run(equation: Actuated, field: Any, *, skip: float, apart: float, count: int = 64) -> Any:
    """Fields of a run without actuators: `count` of them `apart` in time, after a time `skip`."""
    stepper = equation.stepper

    def run(state, duration):
        steps = jnp.asarray(jnp.round(duration / stepper.dt), int)
        return jax.lax.fori_loop(0, steps, lambda i, s: stepper.step(s), state)

    def saved(state, _):
        return run(state, apart), stepper.decode(state)[0]

    @jax.jit
    def pool(field):
        return jax.lax.scan(saved, run(stepper.encode(field), skip), length=count)[1]

    return pool(field)


def _given_starts(name: str, starts: Any, shape: tuple[int, ...]) -> Any:
    starts = jnp.asarray(starts, jnp.result_type(float))
    if starts.ndim != 1 + len(shape) or starts.shape[1:] != shape or not len(starts):
        raise ValueError(
            f"{name}: starts are fields on the grid, [starts, {', '.join(map(str, shape))}], got {starts.shape}."
        )
    return starts


def _check_counts(name: str, **counts: Any) -> None:
    for what, value in counts.items():
        if not is_whole(value) or value < 1:
            raise ValueError(f"{name}: {what} is a whole number >= 1, got {value!r}.")
