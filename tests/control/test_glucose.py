"""The glucose task: units, the hold of an infusion, meals, signs, and the model against its closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.control.systems.glucose import (
    GlucoseParameters,
    GlucoseState,
    basal_infusion,
    glucose,
    glucose_field,
    glucose_risk,
    milliunits_per_minute,
    units_per_hour,
)

BASAL = GlucoseState(81.0, 0.0, 15.0, 0.0)


def hold(infusion, observation):
    return jnp.asarray(infusion)


def test_units_of_insulin():
    """One unit an hour is 16.667 mU/min, and that is what keeps the published basal state: 81 mg/dL at 15 mU/L."""
    assert milliunits_per_minute(1.0) == pytest.approx(16.6667, abs=1e-4)
    assert units_per_hour(milliunits_per_minute(2.5)) == pytest.approx(2.5)
    assert basal_infusion(GlucoseParameters()) == pytest.approx(milliunits_per_minute(1.0), rel=1e-12)
    task = glucose(horizon=12)
    run = js.control.rollout(task, hold, milliunits_per_minute(1.0))
    np.testing.assert_allclose(run.final, BASAL, atol=1e-12)
    taken_for_units_an_hour = js.control.rollout(task, hold, 1.0)  # the mistake: 1 mU/min is almost no insulin
    assert taken_for_units_an_hour.final.glucose > 95


def test_insulin_follows_the_closed_form():
    """dI/dt = -n I + u / V_I from I_b, and X driven by it, two hours of 3 U/h in steps of 10 minutes."""
    u, p = milliunits_per_minute(3.0), GlucoseParameters()
    run = js.control.rollout(glucose(horizon=12), hold, u)
    t = 120.0
    level = u / (p.clearance * p.insulin_volume)
    np.testing.assert_allclose(run.final.insulin, level + (15 - level) * np.exp(-p.clearance * t), rtol=1e-7)
    excess = level - 15
    response = (1 - np.exp(-0.025 * t)) / 0.025 - (np.exp(-p.clearance * t) - np.exp(-0.025 * t)) / (0.025 - p.clearance)
    np.testing.assert_allclose(run.final.remote, 1.3e-5 * excess * response, rtol=1e-6)


def test_a_meal_raises_the_glucose_by_its_whole_mass():
    meals = np.eye(1, 48)[0] * 30.0
    run = js.control.rollout(glucose(meals=meals), hold, milliunits_per_minute(1.0))
    np.testing.assert_allclose(run.final.glucose, 81 + 0.8 * 30_000 / 112, rtol=1e-6)
    later = js.control.rollout(glucose(meals=np.eye(1, 48, 10)[0] * 30.0), hold, milliunits_per_minute(1.0))
    np.testing.assert_allclose(later.states.glucose[:11], 81, atol=1e-9)  # a step does not see a meal that is to come
    np.testing.assert_allclose(later.states.glucose[11:], run.states.glucose[1:38], rtol=1e-9)


@pytest.mark.slow
def test_the_infusion_is_held_and_the_length_of_a_step_does_not_change_the_patient():
    """Steps of 30 and of 10 minutes under the same insulin: the same patient at the same hours (carbohydrate included)."""
    coarse, fine = np.zeros(8), np.zeros(24)
    coarse[1], fine[3] = 20.0, 20.0
    doses = jnp.array([20.0, 60.0, 5.0, 5.0, 40.0, 0.0, 16.0, 16.0])
    a = js.control.rollout(glucose(horizon=8, minutes=30.0, meals=coarse), js.control.sequence, doses)
    b = js.control.rollout(glucose(horizon=24, minutes=10.0, meals=fine), js.control.sequence, jnp.repeat(doses, 3))
    np.testing.assert_allclose(a.states.glucose, b.states.glucose[::3], rtol=1e-9)
    # No state before a dose depends on it.
    slopes = jax.jacrev(lambda d: js.control.rollout(glucose(horizon=8), js.control.sequence, d).states.glucose)(doses)
    np.testing.assert_array_equal(np.triu(slopes), 0)
    assert slopes[5, 1] < 0


def test_hypoglycaemia_is_positive():
    constraint = glucose().constraint
    of = lambda level: constraint(None, BASAL._replace(glucose=jnp.asarray(level)), 0.0)["hypoglycaemia"]
    assert of(60.0) == 10
    assert of(71.0) < 0
    runs = [js.control.rollout(glucose(), hold, milliunits_per_minute(u)) for u in (1.0, 2.0, 4.0)]
    violated = [float(jnp.sum(jnp.maximum(run.constraints["hypoglycaemia"], 0))) for run in runs]
    assert violated[0] == 0
    assert violated[0] < violated[1] < violated[2]
    assert all(float(run.states.glucose.min()) > 0 for run in runs)


def test_risk_as_published():
    """Kovatchev et al.: 0 at 112.5 mg/dL, 100 at 20, and symmetric: 600 has that of 20."""
    np.testing.assert_allclose(glucose_risk(jnp.array([112.5, 20.0, 600.0])), [0, 100, 100], atol=1.5)
    low, high = glucose_risk(jnp.array([112.5 - 40, 112.5 + 40]))
    assert low > 2 * high
    assert np.isfinite(jax.grad(glucose_risk)(0.5))


def test_no_negative_insulin_and_the_field_at_rest():
    parameters = GlucoseParameters()
    np.testing.assert_allclose(glucose_field(parameters, BASAL, basal_infusion(parameters)), 0, atol=1e-14)
    np.testing.assert_array_equal(glucose_field(parameters, BASAL, -50.0), glucose_field(parameters, BASAL, 0.0))


def test_gradient_in_the_patient_and_the_dose():
    task = glucose(horizon=12, meals=np.eye(1, 12)[0] * 20)

    def total(dose, sensitivity):
        patient = task.replace(parameters=task.parameters._replace(sensitivity=sensitivity))
        return js.control.rollout(patient, hold, dose).total

    slopes = jax.grad(total, (0, 1))(30.0, 1.3e-5)
    steps = ((1e-3, 0), (0, 1e-10))
    for slope, (d, s) in zip(slopes, steps, strict=True):
        central = (total(30.0 + d, 1.3e-5 + s) - total(30.0 - d, 1.3e-5 - s)) / (2 * (d + s))
        np.testing.assert_allclose(slope, central, rtol=1e-6)


def test_bad_arguments():
    with pytest.raises(ValueError, match="meals are 48 numbers of grams"):
        glucose(meals=np.zeros(3))
    with pytest.raises(ValueError, match="meals are 48 numbers of grams >= 0"):
        glucose(meals=-np.ones(48))
    with pytest.raises(ValueError, match="positive number of minutes"):
        glucose(minutes=0.0)
    with pytest.raises(ValueError, match="whole number of steps"):
        glucose(horizon=1.5)
