r"""Blood glucose under an insulin pump: Bergman's minimal model of a patient without insulin of their own, with meals.

    dG/dt = -p1 (G - G_b) - X G + D          glucose in plasma, mg/dL
    dX/dt = -p2 X + p3 (I - I_b)             insulin in its remote compartment, 1/min
    dI/dt = -n I + u / V_I                   insulin in plasma, mU/L
    dD/dt = -k D                             appearance of a meal's glucose, mg/dL/min

u is the infusion in mU/min (thousandths of a unit a minute): NOT units an hour; 1 U/h = 1000/60 mU/min = 16.667 mU/min. It is
held over a step (zero-order hold). A meal of m grams eaten at the start of a step adds D = k A 1000 m / V_G, so that the whole
meal raises the glucose by A 1000 m / V_G mg/dL if nothing takes it up.

Parameters: Fisher (1991), IEEE Trans. Biomed. Eng. 38, 57, for p1 = 0 (an insulin-dependent patient), p2, p3, n, V_I, G_b = 4.5
mmol/L = 81 mg/dL, I_b and k; n V_I I_b = 16.667 mU/min = 1 U/h holds the basal state. A and V_G (1.6 dL/kg at 70 kg): Hovorka et
al. (2004), Physiol. Meas. 25, 905. The model: Bergman, Phillips & Cobelli (1981), J. Clin. Invest. 68, 1456. The risk of a
glucose: Kovatchev et al. (1997), Diabetes Care 20, 1655.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsci._checks import is_whole
from jaxsci.control.dynamics import ode
from jaxsci.control.task import Task

MILLIUNITS_PER_MINUTE = 1000 / 60  # in a unit an hour
HYPOGLYCAEMIA = 70.0  # mg/dL; below it a patient is in danger
SUBSTEP = 1.0  # minutes, the longest step of the Runge-Kutta method: the fastest rate is 0.093 / min


class GlucoseState(NamedTuple):
    """Attributes: `glucose` mg/dL, `remote` insulin action 1/min, `insulin` mU/L, `meal` appearance mg/dL/min."""

    glucose: Float[Array, ""]
    remote: Float[Array, ""]
    insulin: Float[Array, ""]
    meal: Float[Array, ""]


class GlucoseParameters(NamedTuple):
    """Of one patient; every number can be differentiated.

    Attributes:
      effectiveness: p1, 1/min.
      remote_decay: p2, 1/min.
      sensitivity: p3, 1/min^2 per mU/L.
      clearance: n, 1/min.
      insulin_volume: V_I, L.
      basal_glucose: G_b, mg/dL.
      basal_insulin: I_b, mU/L.
      absorption: k, 1/min.
      bioavailability: A, the share of a meal's carbohydrate that reaches the plasma.
      glucose_volume: V_G, dL.
      meals: grams of carbohydrate at the start of each step, ``[horizon]``.
    """

    effectiveness: Any = 0.0
    remote_decay: Any = 0.025
    sensitivity: Any = 1.3e-5
    clearance: Any = 5 / 54
    insulin_volume: Any = 12.0
    basal_glucose: Any = 81.0
    basal_insulin: Any = 15.0
    absorption: Any = 0.05
    bioavailability: Any = 0.8
    glucose_volume: Any = 112.0
    meals: Any = 0.0


def milliunits_per_minute(units_per_hour: Any) -> Any:
    """An infusion in U/h, as pumps and clinicians write it, in the mU/min of the equations."""
    return units_per_hour * MILLIUNITS_PER_MINUTE


def units_per_hour(milliunits_per_minute: Any) -> Any:
    """An infusion in mU/min in U/h."""
    return milliunits_per_minute / MILLIUNITS_PER_MINUTE


def basal_infusion(parameters: GlucoseParameters) -> Any:
    """n V_I I_b, the infusion in mU/min that keeps the basal state."""
    return parameters.clearance * parameters.insulin_volume * parameters.basal_insulin


def glucose_field(parameters: GlucoseParameters, state: GlucoseState, infusion: Any) -> GlucoseState:
    """Time derivatives of the state, per minute. An infusion (mU/min) below 0 is none: a pump takes nothing back."""
    p, s = parameters, state
    return GlucoseState(
        -p.effectiveness * (s.glucose - p.basal_glucose) - s.remote * s.glucose + s.meal,
        -p.remote_decay * s.remote + p.sensitivity * (s.insulin - p.basal_insulin),
        -p.clearance * s.insulin + jnp.maximum(infusion, 0.0) / p.insulin_volume,
        -p.absorption * s.meal,
    )


def glucose_risk(glucose: Any) -> Any:
    """10 f^2 with f = 1.509 (log(G)^1.084 - 5.381), G in mg/dL: 0 at 112.5, about 100 at 20 and at 600. G is taken >= 2.

    As published, with the convention that it is dimensionless; low glucose is worse than high at the same distance.
    """
    return 10 * (1.509 * (jnp.log(jnp.maximum(glucose, 2.0)) ** 1.084 - 5.381)) ** 2


def glucose(
    *,
    horizon: int = 48,
    minutes: float = 10.0,
    meals: Any = None,
    initial: GlucoseState | None = None,
    parameters: GlucoseParameters | None = None,
) -> Task:
    """Insulin by a pump: the action is the infusion in mU/min, the cost of a step the risk of the glucose after it.

    The constraint is "hypoglycaemia" = 70 - G mg/dL (of the state before a step): positive where it is too low.

    Args:
      horizon, minutes: steps, and the length of one.
      meals: grams of carbohydrate at the start of each step, ``[horizon]``; none by default.
      initial: where it starts; the basal state by default.
      parameters: of the patient; `GlucoseParameters()` by default. Its `meals` are replaced by those given here.
    Raises:
      ValueError: meals of another length, negative ones; a step that is no positive number of minutes.
    Example:
      >>> import jax.numpy as jnp, numpy as np, jaxsci as js
      >>> task = glucose(meals=np.eye(1, 48)[0] * 45)  # 45 g at once
      >>> run = js.control.rollout(task, lambda p, s: jnp.asarray(p), milliunits_per_minute(1.0))
      >>> print(f"{run.final.glucose:.0f} mg/dL")  # all of the meal, 81 + 0.8 * 45000 / 112: a basal rate does not touch it
      402 mg/dL
    """
    if not is_whole(horizon) or horizon < 1:
        raise ValueError(f"glucose: the horizon is a whole number of steps >= 1, got {horizon!r}.")
    if not (np.isfinite(minutes) and minutes > 0):
        raise ValueError(f"glucose: a step lasts a positive number of minutes, got {minutes!r}.")
    meals = np.zeros(horizon) if meals is None else np.asarray(meals, float)
    if meals.shape != (horizon,) or not np.isfinite(meals).all() or (meals < 0).any():
        raise ValueError(f"glucose: meals are {horizon} numbers of grams >= 0, one a step; got shape {meals.shape}.")
    parameters = (parameters or GlucoseParameters())._replace(meals=meals)
    dtype = jnp.result_type(float)
    parameters = GlucoseParameters(*(jnp.asarray(value, dtype) for value in parameters))
    zero = jnp.zeros((), dtype)
    begin = initial or GlucoseState(parameters.basal_glucose, zero, parameters.basal_insulin, zero)
    substeps = max(1, int(np.ceil(minutes / SUBSTEP)))
    move = ode(glucose_field, minutes / substeps)

    def dynamics(p, s, a, *, t):
        appears = p.absorption * p.bioavailability * 1000 * p.meals[t] / p.glucose_volume
        eaten = s._replace(meal=s.meal + appears)
        return jax.lax.scan(lambda state, _: (move(p, state, a), None), eaten, length=substeps)[0]

    return Task(
        dynamics=dynamics,
        cost=lambda p, s, a, s1: glucose_risk(s1.glucose),
        init=lambda p: GlucoseState(*(jnp.asarray(value, dtype) for value in begin)),
        constraint=lambda p, s, a: {"hypoglycaemia": HYPOGLYCAEMIA - s.glucose},
        horizon=horizon,
        parameters=parameters,
        name="glucose",
    )
