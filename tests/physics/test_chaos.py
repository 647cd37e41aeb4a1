"""Largest Lyapunov exponents, by the tangent of one step (jvp) and renormalisation: what chaos does to any solver's error."""

import jax
import jax.numpy as jnp
import pytest

import jaxsci as js
from jaxsci.problems.dispersive import kuramoto_sivashinsky_equation
from jaxsci.solvers.lines import FourierLines
from jaxsci.solvers.semidiscrete import rate
from jaxsci.solvers.torus import Torus


def largest_exponent(step, state, dt, settle, steps):
    """The mean rate of growth of a tangent vector along a trajectory, after `settle` steps."""

    def advance(carry, _):
        state, tangent = carry
        state, tangent = jax.jvp(step, (state,), (tangent,))
        size = jnp.linalg.norm(tangent)
        return (state, tangent / size), jnp.log(size)

    _, growth = jax.jit(lambda state: jax.lax.scan(advance, (state, jnp.ones_like(state)), length=settle + steps))(state)
    return float(jnp.sum(growth[settle:]) / (steps * dt))


@pytest.mark.slow
def test_lorenz():
    problem, dt = js.problems.lorenz(), 0.01
    lines = FourierLines(problem.equation, Torus(()), ((),) * 3)
    operators = lines.operators(problem.coefficients, jnp.dtype(float))
    f = lambda x: rate(lines, operators, problem.coefficients, x, jnp.asarray(0.0))

    def step(x):  # the classical Runge-Kutta scheme on the library's right-hand side
        a = f(x)
        b = f(x + dt / 2 * a)
        c = f(x + dt / 2 * b)
        return x + dt / 6 * (a + 2 * b + 2 * c + f(x + dt * c))

    found = largest_exponent(step, jnp.asarray([-8.0, 7.0, 27.0]), dt, 1_000, 200_000)
    assert found == pytest.approx(0.9056, abs=0.01)  # Sprott (2003); 2,000 time units


@pytest.mark.slow
def test_kuramoto_sivashinsky_on_a_box_of_22():
    ones = dict.fromkeys(("advection", "antidiffusion", "hyperdiffusion"), 1.0)
    start = js.problems.random_fourier_series(jax.random.key(0), js.Box(x=(0, 22)), cutoff=3)
    problem = js.Problem(
        kuramoto_sivashinsky_equation,
        js.Box(t=(0, 1), x=(0, 22)),
        coefficients=ones | {"start": start},
        initial={"u": lambda x, start: start(x)},
    )
    stepper = js.stepper(problem, js.Spectral(48, dt=0.1))
    state = stepper.initial()

    def step(u):
        return stepper.decode(stepper.step(stepper.encode(u)))[0]

    found = largest_exponent(step, stepper.decode(state)[0], 0.1, 5_000, 60_000)
    assert 0.040 < found < 0.053  # Cvitanovic, Davidchack & Siminos (2010): 0.048; Edson et al. (2019): 0.043
