"""Measured orders of convergence in time and space, and where round-off ends them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.problems.burgers import burgers_equation
from jaxsci.solvers.discretise import discretise
from jaxsci.solvers.semidiscrete import Times, states_with_traced_steps


def periodic_burgers():
    box = js.Box(t=(0, 1), x=(0, 1))
    initial = {"u": lambda x: 1 + js.sin(2 * np.pi * x)}
    return js.Problem(burgers_equation, box, coefficients={"viscosity": 0.02}, initial=initial)


#   problem, intervals, end, steps; the largest |dt L| of the longest step: 37, 77, 57, 50
STIFF = {
    "kdv": (js.problems.kdv(), 256, 0.2, (50, 100, 200)),
    "kuramoto_sivashinsky": (js.problems.kuramoto_sivashinsky(), 256, 0.05, (50, 100, 200)),
    "burgers": (periodic_burgers(), 256, 0.5, (50, 100, 200)),
    "walls": (js.problems.fisher_kpp(), 32, 1.0, (10, 20, 40)),
}


def state_at(problem, n, order, steps, end):
    times = Times(jnp.asarray([0.0, end]), jnp.asarray(0.0))
    return states_with_traced_steps(discretise(problem, n), order, True, jnp.asarray(steps), problem, times)[-1]


def relative(a, b):
    a, b = np.asarray(a).ravel(), np.asarray(b).ravel()
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def slope(steps, errors):
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


@pytest.mark.parametrize("name", STIFF)
def test_etdrk_has_its_nominal_order_on_stiff_problems(name):
    problem, n, end, steps = STIFF[name]
    truth = state_at(problem, n, 4, 10 * steps[-1], end)
    for order in (1, 2, 3, 4):
        errors = [relative(state_at(problem, n, order, s, end), truth) for s in steps]
        assert slope(steps, errors) == pytest.approx(order, abs=0.15)


def test_moving_walls_cost_order_four_part_of_its_order_at_small_steps():
    # The caveat of exponential methods: a forcing by the walls' values couples to the stiffest modes, and the order falls
    # towards the stiff order (3 for this scheme) once dt resolves them. Measured 3.9, 3.8, 3.3; Hochbruck & Ostermann (2005).
    problem, steps = js.problems.fisher_kpp(), (40, 80, 160)
    truth = state_at(problem, 32, 4, 1280, 1.0)
    errors = [relative(state_at(problem, 32, 4, s, 1.0), truth) for s in steps]
    assert 3.0 < slope(steps, errors) < 3.8


def test_order_four_is_the_most_accurate_of_the_orders():
    problem, n, end, (steps, *_) = STIFF["kdv"]
    truth = state_at(problem, n, 4, 2000, end)
    errors = [relative(state_at(problem, n, order, steps, end), truth) for order in (1, 2, 3, 4)]
    assert errors[3] < 1e-8
    assert all(higher < lower / 50 for lower, higher in itertools.pairwise(errors))


@pytest.mark.parametrize(
    ("problem", "grids", "rate"),
    [  # the error falls by this factor per interval: a front in sines, a wave in Chebyshev polynomials
        (js.problems.burgers(viscosity=0.05), (32, 64, 96), 0.82),
        (js.problems.fisher_kpp(), (8, 16, 24), 0.48),
    ],
    ids=["mirrored Fourier", "Chebyshev"],
)
def test_space_converges_exponentially(problem, grids, rate):
    errors = []
    for n in grids:
        lines = discretise(problem, n)
        (x,) = lines.grid().values()
        exact = jax.jit(lambda x, lines=lines: lines.encode(jax.vmap(lambda x: problem.exact_field(0.5, x))(x).T))
        errors.append(relative(state_at(problem, n, 4, 1000, 0.5), exact(x)))
    assert np.exp(np.polyfit(grids, np.log(errors), 1)[0]) == pytest.approx(rate, abs=0.05)
    assert errors[-1] < 3e-8


@pytest.mark.parametrize("name", ["kdv", "kuramoto_sivashinsky", "walls"])
def test_float32_ends_at_its_round_off_however_many_steps(name):
    problem, n, end, _ = STIFF[name]
    truth = state_at(problem, n, 4, 1600, end)
    with jax.enable_x64(False):
        coarse, fine = state_at(problem, n, 4, 400, end), state_at(problem, n, 4, 6400, end)
    assert coarse.dtype in (jnp.complex64, jnp.float32)
    assert relative(coarse, truth) < 1e-5
    assert relative(fine, truth) < 3e-5  # measured: up to 1.5e-5 after 6,400 steps
