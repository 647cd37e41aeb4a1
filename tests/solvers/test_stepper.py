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
def test_fields_survive_encoding(name):
    problem = CATALOGUE[name].build()
    stepper = js.stepper(problem, STEPPED[name])
    state = stepper.initial()
    evolved = len(stepper.lines.component_names)
    fields = stepper.decode(state)
    if name == "wave":  # u_t is part of the state but no unknown
        x = jnp.asarray(stepper.grid["x"])
        state = stepper.encode({"u": jnp.sin(jnp.pi * x), "u_t": jnp.sin(2 * jnp.pi * x)})
        assert jnp.allclose(stepper.decode(state)[0], jnp.sin(jnp.pi * x), atol=1e-15)
        return
    again = stepper.encode(fields[:evolved])
    assert jnp.allclose(again.values, state.values, atol=1e-14)
    assert again.values.dtype == state.values.dtype
    assert float(again.t) == float(state.t) == problem.domain["t"][0]


@pytest.mark.parametrize("name", STEPPED)
def test_stepping_is_what_solve_does(name):
    problem, method = CATALOGUE[name].build(), STEPPED[name]
    stepper = js.stepper(problem, method)
    state, states = jax.lax.scan(lambda s, _: (stepper.step(s),) * 2, stepper.initial(), length=5)
    end = problem.domain["t"][0] + 5 * method.dt
    solution = js.solve(problem, S(method.n, dt=method.dt, estimate=False, rtol=1.0), ts=np.linspace(0, end, 6))
    decoded = jax.vmap(stepper.decode)(states)
    assert float(state.t) == pytest.approx(end)
    assert jnp.allclose(decoded, solution.fields[1:], atol=1e-13)


def test_one_field_needs_no_axis_of_unknowns(burgers):
    u = jnp.sin(jnp.pi * jnp.asarray(burgers.grid["x"]))
    assert jnp.array_equal(burgers.encode(u).values, burgers.encode(u[None]).values)
    assert jnp.array_equal(burgers.encode(u).values, burgers.encode({"u": u}).values)
    assert float(burgers.encode(u, t=0.25).t) == 0.25


def test_coefficients_of_a_step_replace_the_prepared_ones(burgers):
    state = burgers.initial()
    other = js.stepper(js.problems.burgers(viscosity=0.3), S(32, dt=0.02)).step(state)
    assert jnp.allclose(burgers.step(state, {"viscosity": 0.3}).values, other.values, rtol=1e-13)
    assert jnp.allclose(burgers.with_coefficients(viscosity=0.3).step(state).values, other.values, rtol=1e-13)
    assert jnp.max(jnp.abs(burgers.step(state).values - other.values)) > 1e-3


def test_a_stepper_is_a_pytree_that_jit_takes_as_an_argument(burgers):
    @jax.jit
    def advance(stepper, state):
        return stepper.step(state)

    state = burgers.initial()
    rebuilt = jax.tree.unflatten(jax.tree.structure(burgers), jax.tree.leaves(burgers))
    assert jnp.array_equal(advance(rebuilt, state).values, advance(burgers, state).values)
    slower = advance(burgers.with_coefficients(viscosity=0.3), state)
    assert advance._cache_size() == 1  # other coefficients, the same program
    assert jnp.max(jnp.abs(slower.values - advance(burgers, state).values)) > 1e-3


def test_steps_go_through_vmap_over_states_and_coefficients(burgers):
    x = jnp.asarray(burgers.grid["x"])
    fields = jnp.stack([jnp.sin(jnp.pi * x), jnp.sin(2 * jnp.pi * x) / 2])
    viscosities = jnp.asarray([0.1, 0.4])
    batched = jax.vmap(lambda u, v: burgers.decode(burgers.step(burgers.encode(u), {"viscosity": v})))(fields, viscosities)
    for i in range(2):
        one = burgers.with_coefficients(viscosity=float(viscosities[i]))
        assert jnp.allclose(batched[i], one.decode(one.step(one.encode(fields[i]))), atol=1e-14)


def test_gradients_with_respect_to_the_state_are_those_of_finite_differences(burgers):
    x = jnp.asarray(burgers.grid["x"])
    start, direction = jnp.sin(jnp.pi * x), jnp.sin(3 * jnp.pi * x)

    @jax.jit
    def loss(amplitude):
        state = burgers.encode(start + amplitude * direction)
        state, _ = jax.lax.scan(lambda s, _: (burgers.step(s), None), state, length=10)
        return jnp.sum(burgers.decode(state) ** 2)

    slope = (loss(0.1 + 1e-5) - loss(0.1 - 1e-5)) / 2e-5
    assert float(jax.grad(loss)(0.1)) == pytest.approx(float(slope), rel=1e-8)


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
