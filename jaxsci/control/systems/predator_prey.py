r"""Grass, sheep and wolves as numbers: published metamodels of the agent-based model, and the task to hold them at a target.

    ds/dt = f(s) - u s,      s = (green patches, sheep, wolves),      u: removals per head and tick

Three forms of f, with the parameters that were fitted to datasets I-V of the agents (`predator_prey_agents`):
`MechanisticPredatorPrey` (logistic grass, mass action), and two `PowerLawPredatorPrey`, sums of k g^a s^b w^c: a generalised mass
action system and an S-system. All hold grass and sheep well and miss wolves under control by 18 to 82 %: the steady states that
they have are measured in the tests. A learned one is in `jaxsci.control.metamodel`.

Reference: Fonseca, Boettcher & Laubenbacher (2024), arXiv:2402.05750 (PLoS Comput. Biol. 2025, 1012138), and the programs that
come with it (MIT licence), from which the parameters are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsci._checks import is_whole, unknown_name
from jaxsci.control.calling import call, is_random
from jaxsci.control.dynamics import ode
from jaxsci.control.task import Task

SPECIES = ("grass", "sheep", "wolves")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class MechanisticPredatorPrey:
    """g' = growth g - crowding g^2 - grazing g s;  s' = feeding g s - starving s - hunting s w;  w' = gain s w - dying w.

    Rates per tick; the defaults are the published ones. Without control, wolves, sheep and grass rest at s = dying / gain,
    g = (growth - grazing s) / crowding, w = (feeding g - starving) / hunting.
    """

    growth: Any = 0.209782211319144
    crowding: Any = 4.50613392290133e-06
    grazing: Any = 2.38108020743778e-05
    feeding: Any = 1.27393787122488e-06
    starving: Any = 0.00854743569403738
    hunting: Any = 1.37641724324446e-05
    gain: Any = 1.50182377649022e-05
    dying: Any = 0.0633574675792873

    def __call__(self, counts: Float[Array, " 3"], removals: Any = 0.0) -> Float[Array, " 3"]:
        """The time derivative under removals per head."""
        g, s, w = counts[0], counts[1], counts[2]
        rates = jnp.stack(
            [
                self.growth - self.crowding * g - self.grazing * s,
                self.feeding * g - self.starving - self.hunting * w,
                self.gain * s - self.dying,
            ]
        )
        return counts * (rates - removals)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PowerLawPredatorPrey:
    """s_i' = sum_j signs_ij k_j g^a_j s^b_j w^c_j (biochemical systems theory).

    Args:
      factors: k, ``[terms]``.
      exponents: (a, b, c), ``[terms, 3]``.
      signs: of each term in each equation: 1, 0 or -1, a tuple of three tuples.
    """

    factors: Any
    exponents: Any
    signs: tuple[tuple[int, ...], ...] = dataclasses.field(metadata={"static": True})

    def __call__(self, counts: Float[Array, " 3"], removals: Any = 0.0) -> Float[Array, " 3"]:
        """The time derivative under removals per head."""
        # Of a number that has come to 0 no power below 1 has a finite derivative; a thousandth of an animal stands for it.
        logs = jnp.log(jnp.maximum(counts, 1e-3))
        terms = jnp.asarray(self.factors) * jnp.exp(jnp.asarray(self.exponents) @ logs)
        return jnp.asarray(self.signs, terms.dtype) @ terms - removals * counts


def generalised_mass_action() -> PowerLawPredatorPrey:
    """The published generalised mass action system, of seven terms.

    Exponents of 0.03 and less are 0, as in the program that fitted them: read literally, its printed numbers miss sheep by up to
    35 % and wolves by up to 145 %.
    """
    terms = np.array(
        [
            [1101.56066143358, -0.061147793373802, 0.150276670828555, 0],
            [2.95182065883021e-05, 1.08667353832568, 0.891745745356395, -0.0418167654121998],
            [9.72853126647962e-07, 0.776810343311747, 1.36118282775825, 0],
            [1.91385037901842, -0.486323213123282, 0.830813549752694, 0.276134902900581],
            [7.84362600961635e-07, 0, 1.66332965702456, 0.628362758945057],
            [1.26570409541109e-05, 0.0629454415177019, 0.920665169816947, 0.972602707658072],
            [0.0613654242587333, 0, -0.0699308359026207, 1.02455180137201],
        ]
    )
    signs = ((1, -1, 0, 0, 0, 0, 0), (0, 0, 1, -1, -1, 0, 0), (0, 0, 0, 0, 0, 1, -1))
    return _power_law(terms, signs)


def s_system() -> PowerLawPredatorPrey:
    """The published S-system: one term of production and one of loss for each species."""
    terms = np.array(
        [
            [2069.42893661126, -0.0537200338692112, 0.131384586573752, -0.0928360230258138],
            [6.76828521866173e-05, 1.04354163421149, 0.899446827103169, -0.123390351722462],
            [1.99765759524512e-07, 0.910081754956121, 1.45427430908421, -0.0845052589143311],
            [6.26895926429618e-06, 0.259710658582638, 1.53480975269071, 0.24201310722123],
            [2.73072268196848e-05, 0.129648272522659, 0.716155230053845, 1.01198019045722],
            [0.01755202774014, 0.269749920753349, -0.260292645375453, 1.0444508904374],
        ]
    )
    return _power_law(terms, ((1, -1, 0, 0, 0, 0), (0, 0, 1, -1, 0, 0), (0, 0, 0, 0, 1, -1)))


def _power_law(terms, signs):
    factors, exponents = jnp.asarray(terms[:, 0], jnp.result_type(float)), jnp.asarray(terms[:, 1:], jnp.result_type(float))
    return PowerLawPredatorPrey(factors, exponents, signs)


def removing(
    *, removal: Literal["probability", "number"] = "probability", hold: int = 1, substeps: int | None = None
) -> Callable[..., Any]:
    """Dynamics of counts under removals, for any field: the counterpart of a step of the agents.

    Args:
      removal: what an action is for each species: a "probability" u per head and tick, with u s in the equation, or a "number" n
        per tick, with (n / s) s and n / s, at most 1, taken at the beginning of a substep, so that nobody is removed twice.
      hold: ticks of a step, the action held.
      substeps: classical Runge-Kutta steps within it; one a tick by default.
    Returns:
      ``(field, counts, action) -> counts`` with ``field(counts, removals per head) -> d counts / dt`` a pytree that can be
      called: those of this file, or a `jaxsci.control.metamodel.Metamodel`.
    Raises:
      ValueError: an unknown kind of removal, a hold that is no whole positive number.
    Example:
      >>> import jax.numpy as jnp
      >>> step = removing(hold=10)
      >>> after = step(MechanisticPredatorPrey(), jnp.asarray([24e3, 4e3, 1.9e3]), jnp.asarray([0.0, 0.0, 0.015]))
      >>> bool(after[2] < 1.9e3)
      True
    """
    if removal not in ("probability", "number"):
        raise ValueError(f"removing: {unknown_name('removal', str(removal), ('probability', 'number'))}")
    if not is_whole(hold) or hold < 1:
        raise ValueError(f"removing: hold is a whole number of ticks >= 1, got {hold!r}.")
    substeps = hold if substeps is None else substeps
    moved = ode(lambda field, counts, rates: field(counts, rates), hold / substeps)

    def once(field, counts, action):
        rates = action if removal == "probability" else jnp.minimum(action / jnp.maximum(counts, 1.0), 1.0)
        return moved(field, counts, rates)

    def dynamics(field, counts, action):
        if substeps == 1:
            return once(field, counts, action)
        return jax.lax.scan(lambda s, _: (once(field, s, action), None), counts, length=substeps)[0]

    return dynamics


def counts_of(state: Any) -> Float[Array, " 3"]:
    """[grass, sheep, wolves] of a state of agents, or of numbers."""
    return state.counts if hasattr(state, "counts") else state


def hold_at(
    target: dict[str, float],
    *,
    dynamics: Callable[..., Any],
    parameters: Any,
    init: Callable[..., Any],
    horizon: int,
    controls: tuple[str, ...] = ("sheep", "wolves"),
    unit: float = 1.0,
    settle: int = 0,
    price: float = 0.0,
    name: str = "predator-prey",
) -> Task:
    """The task to hold species at levels: the mean of sum_i (s_i / target_i - 1)^2 over the steps from `settle` on.

    It is the same task for agents and for numbers; the policy sees [grass, sheep, wolves].

    Args:
      target: levels by name, such as ``{"sheep": 4500, "wolves": 900}``.
      dynamics: `removing`, or ``agent_dynamics(...)`` of the agents, with an action [grass, sheep, wolves].
      parameters: of the dynamics.
      init: ``(parameters) -> state``, random or not.
      horizon: steps.
      controls: the species whose removals the policy decides, in the order of its action; no other is removed.
      unit: what 1 in an action of the policy is: 1e-4, so that whole numbers are removals per ten thousand, say.
      settle: first step that counts.
      price: weight of the mean of sum_i (action_i)^2.
    Raises:
      ValueError: names that are no species, a level that is not positive, a settle that leaves no step.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> task = hold_at({"wolves": 900.0}, dynamics=removing(hold=10), parameters=MechanisticPredatorPrey(),
      ...     init=lambda p: jnp.asarray([24e3, 4e3, 1.9e3]), horizon=100, controls=("wolves",), settle=50)
      >>> run = js.control.rollout(task, lambda rate, s: rate, jnp.asarray([0.017]))
      >>> bool(run.total < 0.1)
      True
    """
    for species in (*target, *controls):
        if species not in SPECIES:
            raise ValueError(f"hold_at: {unknown_name('species', str(species), SPECIES)}")
    if not target or not all(level > 0 for level in target.values()):
        raise ValueError(f"hold_at: the levels of the target are positive numbers, got {target!r}.")
    if not is_whole(settle) or not 0 <= settle < horizon:
        raise ValueError(f"hold_at: settle lies between 0 and the horizon, {horizon}, got {settle!r}.")
    which = np.array([SPECIES.index(species) for species in target])
    levels = np.array(list(target.values()), float)
    columns = np.array([SPECIES.index(species) for species in controls], int)

    def all_species(action):
        action = jnp.asarray(action)
        return jnp.zeros(len(SPECIES), action.dtype).at[columns].set(unit * action)

    def moved(parameters, state, action, *, key):
        return call(dynamics, parameters, state, all_species(action), key=key)

    def cost(parameters, state, action, after, *, t):
        levels_now = jnp.asarray(levels, counts_of(after).dtype)
        away = jnp.sum((counts_of(after)[which] / levels_now - 1) ** 2) * horizon / (horizon - settle)
        return (jnp.where(t >= settle, away, 0.0) + price * jnp.sum(jnp.asarray(action) ** 2)) / horizon

    return Task(
        dynamics=moved
        if is_random(dynamics)
        else lambda parameters, state, action: moved(parameters, state, action, key=None),
        cost=cost,
        init=init,
        horizon=horizon,
        parameters=parameters,
        observe=lambda parameters, state: counts_of(state),
        name=name,
    )
