"""`js.stepper`: the pure core of a solver; encode, step, decode, coefficients, transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.problems import CATALOGUE

S = js.Spectral
STEPPED = {
    "burgers": S(16, dt=0.02),
    "fisher_kpp": S(8, dt=0.04),
    "wave": S(8, dt=0.02),
}


@pytest.fixture(scope="module")
def burgers():
    return js.stepper(js.problems.burgers(viscosity=0.1), S(32, dt=0.02))


@pytest.mark.parametrize("name", STEPPED)
def test_fields_survive_encoding_and_stepping_is_what_solve_does(name):
    problem, method = CATALOGUE[name].build(), STEPPED[name]
    stepper = js.stepper(problem, method)

    @jax.jit
    def both(stepper):
        start = stepper.initial()
        again = stepper.encode(stepper.decode(start)) if name != "wave" else start
        end, states = jax.lax.scan(lambda s, _: (stepper.step(s),) * 2, start, length=5)
        return start, again, end, jax.vmap(stepper.decode)(states)

    start, again, end, fields = both(stepper)
    assert np.abs(again.values - start.values).max() < 1e-14
    assert again.values.dtype == start.values.dtype
    assert float(again.t) == float(start.t) == problem.domain["t"][0]
    assert float(end.t) == pytest.approx(problem.domain["t"][0] + 5 * method.dt)
    ts = np.linspace(problem.domain["t"][0], float(end.t), 6)
    solution = js.solve(problem, S(method.n, dt=method.dt, estimate=False, rtol=1.0), ts=ts)
    assert np.abs(fields - np.asarray(solution.fields[1:])).max() < 1e-13


def test_first_time_derivatives_are_part_of_the_state_by_name():
    stepper = js.stepper(js.problems.wave(speed=1.0), S(8, dt=0.5))
    x = stepper.grid["x"]
    state = stepper.encode({"u": np.zeros(9), "u_t": np.pi * np.sin(np.pi * x)})
    assert np.abs(stepper.decode(stepper.step(state))[0] - np.sin(np.pi * x)).max() < 1e-14  # sin(pi t) sin(pi x) at t = 1/2


def test_one_field_needs_no_axis_of_unknowns(burgers):
    u = jnp.sin(jnp.pi * jnp.asarray(burgers.grid["x"]))
    assert jnp.array_equal(burgers.encode(u).values, burgers.encode(u[None]).values)
    assert jnp.array_equal(burgers.encode(u).values, burgers.encode({"u": u}).values)
    assert float(burgers.encode(u, t=0.25).t) == 0.25


@jax.jit
def advance(stepper, state):
    return stepper.step(state)


def test_coefficients_of_a_step_replace_the_prepared_ones(burgers):
    state = burgers.initial()
    other = js.stepper(js.problems.burgers(viscosity=0.3), S(32, dt=0.02))
    expected = np.asarray(advance(other, state).values)
    given = jax.jit(lambda state, v: burgers.step(state, {"viscosity": v}))(state, 0.3)
    assert np.allclose(given.values, expected, rtol=1e-13)
    assert np.allclose(advance(burgers.with_coefficients(viscosity=0.3), state).values, expected, rtol=1e-13)
    assert np.abs(advance(burgers, state).values - expected).max() > 1e-3


def test_a_stepper_is_a_pytree_that_jit_takes_as_an_argument(burgers):
    state = burgers.initial()
    rebuilt = jax.tree.unflatten(jax.tree.structure(burgers), jax.tree.leaves(burgers))
    usual = advance(burgers, state)
    programs = advance._cache_size()
    assert np.array_equal(advance(rebuilt, state).values, usual.values)
    slower = advance(burgers.with_coefficients(viscosity=0.3), state)
    assert advance._cache_size() == programs  # other coefficients, the same program
    assert np.abs(slower.values - usual.values).max() > 1e-3


def test_steps_go_through_vmap_over_states_and_coefficients(burgers):
    x = burgers.grid["x"]
    fields = np.stack([np.sin(np.pi * x), np.sin(2 * np.pi * x) / 2])
    viscosities = np.array([0.1, 0.4])
    one = jax.jit(lambda u, v: burgers.decode(burgers.step(burgers.encode(u), {"viscosity": v})))
    batched = jax.jit(jax.vmap(one))(fields, viscosities)
    for i in range(2):
        assert np.abs(batched[i] - one(fields[i], viscosities[i])).max() < 1e-14
    assert np.abs(batched[0] - batched[1]).max() > 0.1


def test_gradients_with_respect_to_the_state_are_those_of_finite_differences(burgers):
    x = jnp.asarray(burgers.grid["x"])
    start, direction = jnp.sin(jnp.pi * x), jnp.sin(3 * jnp.pi * x)

    def loss(amplitude):
        state = burgers.encode(start + amplitude * direction)
        state, _ = jax.lax.scan(lambda s, _: (burgers.step(s), None), state, length=10)
        return jnp.sum(burgers.decode(state) ** 2)

    value = jax.jit(loss)
    slope = (value(0.1 + 1e-5) - value(0.1 - 1e-5)) / 2e-5
    assert float(jax.jit(jax.grad(loss))(0.1)) == pytest.approx(float(slope), rel=1e-8)


# --- refusals --------------------------------------------------------------------------------------------------------------


def test_a_stepper_needs_a_step():
    with pytest.raises(ValueError, match=r"give the step, as in js.Spectral\(n=256, dt=1e-2\)"):
        js.stepper(js.problems.burgers(), S(16))


def test_steady_problems_have_no_step():
    with pytest.raises(ValueError, match="poisson is steady; there is nothing to step"):
        js.stepper(js.problems.poisson(), S(8, dt=0.1))


def test_methods_without_a_step_are_named():
    with pytest.raises(TypeError, match=r"Adaptive has no single step; use js.Spectral\(n=..., dt=...\)"):
        js.stepper(js.problems.burgers(), js.Adaptive())


def test_fields_of_another_shape_are_refused_with_the_shape_that_fits(burgers):
    with pytest.raises(
        ValueError, match=r"fields u on this grid have shape \(1, 33\), got \(1, 32\). For a batch use jax.vmap"
    ):
        burgers.encode(jnp.zeros((1, 32)))


def test_fields_by_a_wrong_name_are_refused(burgers):
    with pytest.raises(KeyError, match=r"field 'v' does not exist; there is 'u'"):
        burgers.encode({"v": jnp.zeros(33)})
    wave = js.stepper(js.problems.wave(), S(8, dt=0.1))
    with pytest.raises(KeyError, match="field 'u_t' missing"):
        wave.encode({"u": jnp.zeros(9)})


def test_unknown_coefficients_are_refused_with_the_nearest_name(burgers):
    with pytest.raises(KeyError, match=r"coefficient 'viscocity' does not exist.*Did you mean 'viscosity'"):
        burgers.step(burgers.initial(), {"viscocity": 0.1})
    with pytest.raises(KeyError, match=r"Did you mean 'viscosity'"):
        burgers.with_coefficients(viscocity=0.1)
    with pytest.raises(ValueError, match=r"coefficient viscosity must be a scalar, got shape \(2,\).*jax.vmap"):
        burgers.step(burgers.initial(), {"viscosity": jnp.ones(2)})
