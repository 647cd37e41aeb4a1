"""Each reference's stated error, held against independent methods, finer resolutions and published numbers."""

import importlib

import diffrax
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from conftest import reference
from scipy.integrate import solve_ivp

import jaxsci as js
from jaxsci.problems import CATALOGUE, Periodic
from jaxsci.solvers import Adaptive, Spectral

burgers_module = importlib.import_module("jaxsci.problems.burgers")  # the attribute of that name is the problem

# A new function each time: the number of nodes is read while it is traced.
cole_hopf = lambda: jax.jit(jax.vmap(lambda *point: burgers_module.cole_hopf(*point), (0, 0, None)))

WITH_EXACT = [name for name, entry in CATALOGUE.items() if entry.build().exact]
WITH_RECIPE = [name for name in CATALOGUE if name not in WITH_EXACT]


def relative(a, b):
    """[T, unknowns, ...]: relative L2 difference, the largest over the unknowns."""
    norm = lambda v: np.sqrt(np.sum(np.moveaxis(np.asarray(v), 1, 0).reshape(v.shape[1], -1) ** 2, axis=1))
    return np.max(norm(a - b) / norm(b))


# --- Burgers by Cole-Hopf ------------------------------------------------------------------------------------------------


def cole_hopf_in_30_digits(t, x, viscosity):
    """The same two integrals by Gauss-Legendre panels in 30 digits."""
    with mpmath.workdps(30):
        t, x, viscosity = mpmath.mpf(t), mpmath.mpf(x), mpmath.mpf(viscosity)
        width, largest = mpmath.sqrt(4 * viscosity * t), 1 / (2 * mpmath.pi * viscosity)
        weight = lambda s: mpmath.exp(
            -mpmath.cos(mpmath.pi * (x - s * width)) / (2 * mpmath.pi * viscosity) - s**2 - largest
        )
        slope = mpmath.sqrt(t / viscosity) / 2
        panels = mpmath.linspace(-1, 1, 81)
        reach = min(mpmath.sqrt(2 * largest + 80), slope + mpmath.sqrt(slope**2 + 80))
        integral = lambda f: mpmath.quad(f, [reach * p for p in panels], method="gauss-legendre", maxdegree=5)
        return float(-integral(lambda s: mpmath.sin(mpmath.pi * (x - s * width)) * weight(s)) / integral(weight))


@pytest.mark.parametrize("viscosity", [0.01 / np.pi, 0.01, 1e-3])
def test_cole_hopf_agrees_with_thirty_digits(viscosity):
    # Measured: at most 6e-15. Before the front, in its flank (|x| ~ nu), outside it, and late.
    points = [(0.1, -0.4), (0.32, 0.003), (0.5, 1e-4), (0.5, -0.02), (1.0, 0.7), (1.0, 0.99)]
    exact = [cole_hopf_in_30_digits(t, x, viscosity) for t, x in points]
    assert np.asarray(cole_hopf()(*np.transpose(points), viscosity)) == pytest.approx(exact, abs=5e-14)


@pytest.mark.parametrize("viscosity", [1.0, 0.1, 0.01, 0.01 / np.pi, 1e-3, 1e-4])
def test_cole_hopf_has_nodes_to_spare(viscosity, monkeypatch):
    t, x = map(np.ravel, np.meshgrid([1e-6, 1e-3, 0.1, 0.3, 0.33, 0.5, 1.0], np.linspace(-1, 1, 401)))
    usual = np.asarray(cole_hopf()(t, x, viscosity))
    monkeypatch.setattr(burgers_module, "_NODES", 800)
    doubled = np.asarray(cole_hopf()(t, x, viscosity))
    assert 0 < np.abs(doubled - usual).max() < 1e-13  # of a field of size 1
    assert np.linalg.norm(doubled - usual) < 1e-12 * np.linalg.norm(doubled)


def test_cole_hopf_is_continuous_at_the_start():
    x = np.linspace(-1, 1, 41)
    start, first = (np.asarray(cole_hopf()(np.full(41, t), x, 0.01)) for t in (0.0, 1e-7))
    rate = np.pi * (0.01 * np.pi - np.cos(np.pi * x)) * np.sin(np.pi * x)  # nu u_xx - u u_x of -sin(pi x)
    assert np.abs(start + np.sin(np.pi * x)).max() < 1e-15
    assert np.abs(first - start - 1e-7 * rate).max() < 1e-12


# --- systems of ODEs against SciPy ----------------------------------------------------------------------------------------


def lorenz_rates(y, sigma, rho, beta):
    return [sigma * (y[1] - y[0]), y[0] * (rho - y[2]) - y[1], y[0] * y[1] - beta * y[2]]


def lotka_volterra_rates(y, birth, predation, growth, death):
    return [birth * y[0] - predation * y[0] * y[1], growth * y[0] * y[1] - death * y[1]]


def robertson_rates(y, k1, k2, k3):
    return [-k1 * y[0] + k3 * y[1] * y[2], k1 * y[0] - k3 * y[1] * y[2] - k2 * y[1] ** 2, k2 * y[1] ** 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rates", "options"),
    [
        ("lorenz", lorenz_rates, {"method": "DOP853", "rtol": 1e-13, "atol": 1e-13}),
        ("lotka_volterra", lotka_volterra_rates, {"method": "DOP853", "rtol": 1e-13, "atol": 1e-13}),
        ("robertson", robertson_rates, {"method": "Radau", "rtol": 1e-10, "atol": 1e-15}),
    ],
)
def test_ode_reference_is_within_its_stated_error_of_scipy(name, rates, options):
    problem, ours = CATALOGUE[name].build(), reference(name)
    start = [float(problem.initial[u]({}, {})) for u in problem.unknowns]
    theirs = solve_ivp(
        lambda t, y: rates(y, **problem.coefficients), problem.domain["t"], start, t_eval=problem.times, **options
    )
    stated = float(ours.error_estimate)
    assert stated < 2e-8
    assert stated / 30 < relative(ours.fields, theirs.y.T) < stated  # and the statement is no gross exaggeration


@pytest.mark.slow
def test_robertson_has_the_published_values():
    solution = reference("robertson")
    # Hairer & Wanner (1996), section IV.10, at t = 40; Test Set for IVP Solvers (Mazzia & Magherini 2008), at t = 1e11.
    # The last concentrations lie below the tolerance on the first, so they are less accurate than the L2 norm says.
    assert np.asarray(solution.evaluate(t=40.0)) == pytest.approx([0.7158270688, 9.185534765e-6, 0.2841637457], rel=2e-8)
    published = [0.2083340149701255e-7, 0.8333360770334713e-13, 0.9999999791665050]
    assert np.asarray(solution.fields[-1]) == pytest.approx(published, rel=1e-5)


# --- PDEs without a closed form ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kdv_reference_agrees_with_another_integrator():
    problem, ts = CATALOGUE["kdv"].build(), np.linspace(0, 0.25, 31)
    ours = problem.reference(ts)
    theirs = js.solve(problem, Adaptive(rtol=1e-13, atol=1e-15, n=256, estimate=False), ts=ts)  # explicit, order 8
    assert ours.error_estimate < 2e-11
    assert relative(ours.fields[:, :, ::4], theirs.fields) < float(ours.error_estimate)


FOURIER = [n for n in WITH_RECIPE if getattr(CATALOGUE[n].build()._reference, "recipe", None) == "spectral"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FOURIER if len(CATALOGUE[name].build().domain.space) in (1, 2)])
def test_pde_reference_is_within_its_stated_error_of_twice_the_resolution(name):
    ours, problem = reference(name), CATALOGUE[name].build()
    walls = bool(problem.walls("x"))
    intervals = len(ours.grid["x"]) - walls
    if name == "diffusion_sorption":  # Chebyshev nodes and an implicit solver: another one here
        finer = Adaptive(
            n=2 * intervals, rtol=1e-9, atol=1e-10, solver=diffrax.Kvaerno4(), estimate=False, max_steps=100_000
        )
    else:
        finer = Spectral(n=2 * intervals, dt=ours.stats["dt"] / 2, estimate=False, rtol=1e-9)
    theirs = js.solve(problem, finer).fields
    shared = theirs[(slice(None), slice(None), *(slice(None, None, 2),) * (theirs.ndim - 2))]
    assert relative(ours.fields, shared) < float(ours.error_estimate)


# --- exact solutions satisfy the conditions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in WITH_EXACT if not CATALOGUE[name].build().is_steady])
def test_exact_solution_has_the_initial_values(name):
    problem, random = CATALOGUE[name].build(), np.random.default_rng(0)
    space = {c: jnp.asarray(random.uniform(*problem.domain[c], 20)) for c in problem.domain.space}
    start = jnp.full(20, problem.domain["t"][0])
    along = jax.jit(lambda t: jax.jvp(lambda t: jax.vmap(problem.exact_field)(t, *space.values()), (t,), (jnp.ones(20),)))
    value, slope = map(np.asarray, along(start))
    for name, formula in problem.initial.items():
        u, is_slope = name.removesuffix("_t"), name.endswith("_t")
        found = (slope if is_slope else value)[:, problem.unknowns.index(u)]
        assert found == pytest.approx(np.asarray(formula(space, problem.coefficients)), abs=1e-14)


@pytest.mark.parametrize("name", WITH_EXACT)
def test_exact_solution_has_the_boundary_values(name):
    problem, random = CATALOGUE[name].build(), np.random.default_rng(0)
    inside = {c: jnp.asarray(random.uniform(*problem.domain[c], 20)) for c in problem.coordinates}
    for axis in problem.domain.space:
        ends = [inside | {axis: jnp.full(20, end)} for end in problem.domain[axis]]
        evaluate = jax.jit(jax.vmap(problem.exact_field))
        lower, upper = (np.asarray(evaluate(*(at[c] for c in problem.coordinates))) for at in ends)
        if isinstance(problem.boundary[axis], Periodic):
            assert lower == pytest.approx(upper, abs=1e-13)
            continue
        for values, at, wall in zip((lower, upper), ends, problem.boundary[axis], strict=True):
            for u, formula in wall.for_unknowns(problem.unknowns).items():
                held = np.asarray(formula(at, problem.coefficients))
                assert wall.kind == "dirichlet"
                assert values[:, problem.unknowns.index(u)] == pytest.approx(held, abs=1e-14)
