"""A surrogate as a stepper: the solver's signature, what it is told, what pushes it, and what reads it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.control.dynamics import Actuated, pushed
from jaxsci.surrogates import FittedSurrogate, SurrogateStepper
from jaxsci.surrogates.stepper import components


@dataclasses.dataclass(frozen=True)
class Decay:
    """u' = rate coefficient u; what is carried is squared, so that encoding rates would show."""

    coefficient: str = "speed"

    def encode(self, parameters, fields):
        return fields + 7.0

    def step(self, parameters, carry, coefficients, t):
        return (carry - 7.0) * (1 - parameters * coefficients[self.coefficient]) + 7.0

    def decode(self, parameters, carry):
        return carry - 7.0


class Prepared(Decay):
    def prepare(self, parameters, frame):
        return frame.problem.coefficients["speed"]

    def step(self, parameters, carry, coefficients, t):
        return carry * parameters


def decay(rule=None, speed=1.0):
    frame = js.stepper(js.problems.advection(speed=speed), js.Spectral(n=8, dt=0.5))
    return SurrogateStepper.of(rule or Decay(), jnp.asarray(0.1), frame)


def test_it_steps_and_is_told_coefficients():
    s = decay()
    start = s.initial()
    np.testing.assert_allclose(s.decode(start)[0], np.sin(s.grid["x"]), atol=1e-14)
    np.testing.assert_allclose(s.decode(s.step(start))[0], 0.9 * np.sin(s.grid["x"]), atol=1e-14)
    np.testing.assert_allclose(s.decode(s.step(start, {"speed": 3.0}))[0], 0.7 * np.sin(s.grid["x"]), atol=1e-14)
    np.testing.assert_allclose(
        s.decode(s.with_coefficients(speed=3.0).step(start))[0], 0.7 * np.sin(s.grid["x"]), atol=1e-14
    )
    assert float(s.step(start).t) == 0.5
    with pytest.raises(KeyError, match="speeed"):
        s.step(start, {"speeed": 1.0})


def test_a_rule_is_prepared_again_when_it_is_told_other_coefficients():
    s = decay(Prepared(), speed=2.0)
    assert float(s.parameters) == 2.0
    assert float(s.with_coefficients(speed=5.0).parameters) == 5.0
    start = s.initial()
    np.testing.assert_allclose(s.step(start, {"speed": 5.0}).values, 5 * start.values)


def test_rates_are_pushed_as_they_are():
    s = decay()
    rates = jnp.arange(8.0)
    push = s.push(rates)
    np.testing.assert_array_equal(push, rates[None])  # not through the rule's encoding
    np.testing.assert_allclose(
        s.decode(s.step(s.initial(), push=push))[0], 0.9 * np.sin(s.grid["x"]) + 0.5 * rates, atol=1e-14
    )
    with pytest.raises(ValueError, match=r"push: the fields u on this grid have shape \(1, 8\), got \(7,\)"):
        s.push(jnp.arange(7.0))


def test_a_push_of_an_incompressible_flow_leaves_its_gradient_part_out():
    problem = js.problems.navier_stokes_velocity()
    frame = js.stepper(problem, js.Spectral(n=8, dt=0.1))
    s = SurrogateStepper.of(Decay(next(iter(problem.coefficients))), jnp.asarray(0.1), frame)
    grid = list(s.grid.values())
    length = [problem.domain[name][1] - problem.domain[name][0] for name in s.grid]
    x, y = (2 * np.pi * g / size for g, size in zip(np.meshgrid(*grid, indexing="ij"), length, strict=True))
    names = frame.lines.component_names
    gradient = dict(zip(names, (np.cos(x) * np.sin(y) / length[0], np.sin(x) * np.cos(y) / length[1]), strict=True))
    np.testing.assert_allclose(s.push(gradient), 0, atol=1e-13)
    free = dict(zip(names, (np.cos(y), np.cos(x)), strict=True))
    np.testing.assert_allclose(s.push(free), np.stack([free[name] for name in names]), atol=1e-13)


def test_it_drives_a_control_task_with_a_push():
    s = decay()
    shapes = jnp.stack([jnp.ones((1, 8)), jnp.arange(8.0)[None]])
    after = jax.jit(lambda a: pushed(Actuated(s, shapes), s.initial(), a).values)
    found = after(jnp.asarray([2.0, 1.0])) - 7.0
    np.testing.assert_allclose(found[0], 0.9 * np.sin(s.grid["x"]) + 0.5 * (2.0 + np.arange(8.0)), atol=1e-13)
    slope = jax.jacfwd(lambda a: after(a)[0])(jnp.zeros(2))
    np.testing.assert_allclose(slope, 0.5 * np.stack([np.ones(8), np.arange(8.0)], axis=1), atol=1e-14)


def test_actuators_take_a_fitted_surrogate_in_the_place_of_a_method():
    s = decay()
    fitted = FittedSurrogate(s.rule, s.parameters, js.Spectral(n=8, dt=0.5), js.problems.Cost(), {}, np.zeros(0))
    task = js.control.actuated(s.problem, fitted, jnp.ones((1, 8)))
    np.testing.assert_allclose(pushed(task, s.initial(), jnp.asarray([2.0])).values, s.step(s.initial()).values + 1.0)


def test_components_are_what_the_solver_encodes():
    wave = js.stepper(js.problems.wave(), js.Spectral(n=8, dt=0.1))
    fields = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9))).at[:, (0, -1)].set(0.0)
    np.testing.assert_allclose(components(wave, wave.encode(fields)), fields, atol=1e-13)


def test_it_passes_jit_vmap_grad_and_rollouts():
    s = decay()
    batch = jnp.stack([jnp.ones((1, 8)), 2 * jnp.ones((1, 8))])
    run = lambda s, fields: js.rollout(s, 4, state=s.encode(fields), save_every=2).fields
    found = jax.jit(jax.vmap(run, in_axes=(None, 0)))(s, batch)
    np.testing.assert_allclose(found[:, :, 0, 0], [[1, 0.81, 0.6561], [2, 1.62, 1.3122]], rtol=1e-13)
    slope = jax.grad(lambda s: jnp.sum(run(s, batch[0])[-1]))(s).parameters
    assert float(slope) == pytest.approx(-8 * 4 * 0.9**3, rel=1e-12)
