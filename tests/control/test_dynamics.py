"""Dynamics: the action held over a step, the order of the solvers, equations of the catalogue that are pushed."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.control.dynamics import actuated, mixed, ode, pushed
from jaxsci.problems.flow_fields import velocity_of, vorticity_of


def swing(p, s, a):
    """A driven oscillator with a nonlinear spring."""
    return {"x": s["v"], "v": -p * jnp.sin(s["x"]) + a}


START = {"x": jnp.asarray(0.7), "v": jnp.asarray(-0.2)}


@pytest.fixture(scope="module")
def exact():
    return jax.jit(ode(swing, 0.4, substeps=400))(2.0, START, 0.3)


@pytest.mark.parametrize(
    ("solver", "order", "substeps"),
    [("rk4", 4, 2), (diffrax.Tsit5(), 5, 2), pytest.param(diffrax.Kvaerno3(), 3, 4, marks=pytest.mark.slow)],
    ids=str,
)
def test_the_order_of_a_solver(solver, order, substeps, exact):
    def error(parts):
        end = jax.jit(ode(swing, 0.4, solver=solver, substeps=parts))(2.0, START, 0.3)
        return max(abs(float(end[k] - exact[k])) for k in end)

    coarse, fine = error(substeps), error(2 * substeps)
    assert fine < 1e-4
    assert coarse / fine > 0.75 * 2**order


@pytest.mark.slow
def test_an_implicit_solver_holds_a_stiff_rate_and_differentiates():
    """ds/dt = -1e4 (s - a): explicit steps of this size blow up; of this one 3e-3 of the distance is left, R(z) ~ 1 / z."""
    step = jax.jit(ode(lambda rate, s, a: -rate * (s - a), 0.1, solver=diffrax.Kvaerno3(), substeps=1))
    assert abs(float(step(1e4, jnp.asarray(3.0), 2.0)) - 2.0) < 5e-3
    assert abs(float(jax.jit(ode(lambda rate, s, a: -rate * (s - a), 0.1))(1e4, jnp.asarray(3.0), 2.0))) > 1e6
    slope = jax.grad(lambda a: step(1e4, jnp.asarray(3.0), a))(2.0)
    assert abs(float(slope) - 1.0) < 5e-3


IMPLICIT = pytest.param(diffrax.Kvaerno3(), marks=pytest.mark.slow)  # half a minute to compile


@pytest.mark.parametrize("solver", ["rk4", diffrax.Tsit5(), IMPLICIT], ids=str)
def test_a_step_does_not_see_the_next_action(solver):
    """Zero-order hold: s_{t+1} depends on a_t and not on a_{t+1}, to the last bit; and on a_t it does depend."""
    task = js.control.Task(
        dynamics=ode(swing, 0.1, solver=solver, substeps=2), cost=lambda p, s, a, after: s["x"] ** 2, init=lambda p: START,
        horizon=4, parameters=2.0,
    )  # fmt: skip
    run = jax.jit(lambda actions: js.control.rollout(task, js.control.sequence, actions))
    actions = jnp.asarray([0.1, -0.2, 0.3, 0.4])
    a, b = run(actions), run(actions.at[2].add(5.0))
    for k in START:
        assert jnp.array_equal(a.states[k][:3], b.states[k][:3])
        assert abs(float(a.states[k][3] - b.states[k][3])) > 1e-3


@pytest.mark.parametrize("solver", ["rk4", IMPLICIT], ids=str)
def test_gradients_are_finite_differences(solver):
    step = ode(swing, 0.2, solver=solver, substeps=2)

    @jax.jit
    def value(p, x, a):
        return step(p, {"x": x, "v": START["v"]}, a)["x"]

    slopes, h = jax.jit(jax.grad(value, (0, 1, 2)))(2.0, 0.7, 0.3), 1e-5
    for i, slope in enumerate(slopes):
        at = np.array([2.0, 0.7, 0.3])
        shift = h * np.eye(3)[i]
        assert abs(float(slope) - float(value(*(at + shift)) - value(*(at - shift))) / (2 * h)) < 1e-8


# --- equations with actuators -------------------------------------------------------------------------------------------------


def burgers(dt, n=48):
    shape = lambda x: jnp.exp(-4 * (x - np.array([[-0.4], [0.3]])) ** 2) * jnp.sin(jnp.pi * x)
    return actuated(js.problems.burgers(viscosity=0.05), js.Spectral(n=n, dt=dt), shape)


def test_a_push_enters_as_a_source_of_the_equation():
    """u_t + u u_x - nu u_xx = a . shape, checked at the grid's points against its terms by differences of the solution."""
    h, a = 1e-3, jnp.asarray([0.7, -0.4])
    parameters = burgers(h)
    stepper = parameters.stepper
    forward = jax.jit(lambda s: pushed(parameters, s, a))
    state = stepper.initial()
    for _ in range(3):
        state = forward(state)
    before, after = state, forward(forward(state))
    middle = forward(state)
    rate = (stepper.decode(after) - stepper.decode(before))[0] / (2 * h)
    x = jnp.asarray(stepper.grid["x"])
    profile = stepper.lines.profile(stepper.operators, stepper.problem.coefficients, middle.values, middle.t)
    u = lambda x: stepper.lines.at_point(profile, (x,))[0]
    ux, uxx = jax.vmap(jax.grad(u))(x), jax.vmap(jax.grad(jax.grad(u)))(x)
    force = a @ parameters.shapes[:, 0]
    # The solver has the product and the force on the modes it keeps, as it has every source.
    project = lambda f: stepper.decode(stepper.encode(f))[0]
    residual = rate - project(force - jax.vmap(u)(x) * ux) - 0.05 * uxx
    assert float(jnp.abs(residual).max()) < 1e-4
    assert float(jnp.abs(force).max()) > 0.1  # or the test would hold without the push


def test_order_four_with_a_held_push():
    a = jnp.asarray([2.0, -3.0])

    def end(substeps):
        parameters = burgers(0.2 / substeps)
        return jax.jit(lambda: pushed(parameters, parameters.stepper.initial(), a, substeps=substeps).values)()

    exact = end(160)
    coarse, fine = (float(jnp.abs(end(k) - exact).max()) for k in (5, 10))
    assert fine < 1e-6
    assert coarse / fine > 12


def test_a_pushed_linear_equation_is_exact():
    """u_t = nu u_xx + a sin(pi x): one long step of the heat equation."""
    problem = js.problems.heat(diffusivity=0.3)
    parameters = actuated(problem, js.Spectral(n=16, dt=0.7), lambda x: np.sin(np.pi * x)[None])
    stepper = parameters.stepper
    u = stepper.decode(pushed(parameters, stepper.encode(np.zeros(len(stepper.grid["x"]))), jnp.asarray([2.0])))[0]
    rate = 0.3 * np.pi**2
    expected = 2 * (1 - np.exp(-0.7 * rate)) / rate * np.sin(np.pi * stepper.grid["x"])
    assert float(jnp.abs(u - expected).max()) < 1e-14


@pytest.mark.slow
def test_a_force_on_velocities_is_its_curl_on_vorticity():
    """The gradient part of the force goes into the pressure, and the flow stays free of divergence."""
    method, box = js.Spectral(n=16, dt=0.02), js.problems.navier_stokes_velocity().domain
    fx = lambda x, y: np.exp(np.cos(x)) * np.sin(y)  # without a mean, which would move the flow and has no vorticity
    fy = lambda x, y: np.sin(x + 2 * y) + np.cos(x)
    velocity = actuated(
        js.problems.navier_stokes_velocity(), method, lambda x, y: {"u": fx(x, y)[None], "v": fy(x, y)[None]}
    )
    grid = velocity.stepper.grid
    x, y = np.meshgrid(*grid.values(), indexing="ij")
    curl = vorticity_of(jnp.stack([fx(x, y), fy(x, y)]), box.lengths)
    vorticity = actuated(js.problems.navier_stokes_vorticity(), method, curl[None])
    w = jnp.asarray(np.sin(x) * np.cos(2 * y) + 0.5 * np.cos(x - y))
    a = jnp.asarray([1.5])

    @jax.jit
    def both(w):
        one = pushed(velocity, velocity.stepper.encode(velocity_of(w, box.lengths)), a, substeps=3)
        other = pushed(vorticity, vorticity.stepper.encode(w), a, substeps=3)
        return velocity.stepper.decode(one)[:2], vorticity.stepper.decode(other)[0]

    flow, expected = both(w)
    np.testing.assert_allclose(vorticity_of(flow, box.lengths), expected, atol=1e-11)
    np.testing.assert_allclose(flow, velocity_of(expected, box.lengths), atol=1e-11)
    without = velocity.stepper.push({"u": np.cos(x) * np.sin(y), "v": np.sin(x) * np.cos(y)})  # a gradient
    assert float(jnp.abs(without).max()) < 1e-15


def test_what_cannot_be_pushed_is_refused():
    with pytest.raises(TypeError, match="Staggered cannot be pushed"):
        actuated(js.problems.lid_driven_cavity(), js.Staggered(n=8, dt=0.01), {})
    with pytest.raises(ValueError, match=r"shapes are \[actuators, 16\]"):
        actuated(js.problems.kuramoto_sivashinsky(), js.Spectral(n=16, dt=0.1), np.ones((2, 15)))
    with pytest.raises(ValueError, match="evolves u, v; give the shapes as a dict"):
        actuated(js.problems.navier_stokes_velocity(), js.Spectral(n=8, dt=0.1), np.ones((1, 8, 8)))
    with pytest.raises(ValueError, match='solver is "rk4" or a diffrax solver'):
        ode(swing, 0.1, solver="euler")
    with pytest.raises(ValueError, match="substeps is a whole number"):
        ode(swing, 0.1, substeps=0)


def test_a_mixture_has_the_values_of_one_and_the_slopes_of_the_other():
    step = mixed(lambda p, s, a: jnp.round(s + a), lambda p, s, a: s * p + 3 * a)
    value, (ds, da) = jax.value_and_grad(lambda s, a: step(2.0, s, a), (0, 1))(1.2, 0.4)
    assert (float(value), float(ds), float(da)) == (2.0, 2.0, 3.0)
