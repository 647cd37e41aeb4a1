"""The proof that it is one definition: solver solutions in the pointwise residual, true fields in the solver's equations.

Every problem of the catalogue goes through both views of its equation, each with a control that must fail.
"""

import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from conftest import reference, solved

import jaxsci as js
from jaxsci.equations.evaluation import evaluate
from jaxsci.problems import CATALOGUE
from jaxsci.solvers.discretise import discretise
from jaxsci.solvers.lines import FourierLines
from jaxsci.solvers.semidiscrete import rate
from jaxsci.solvers.torus import Torus

S, A, STIFF = js.Spectral, js.Adaptive, diffrax.Kvaerno5()

# Solver solution -> pointwise residual: root mean square over 200 random points, relative to the largest term (1 means: no
# solution at all), as measured in float64.  Without a coarser run the finer one is exact in space already, and what is left
# comes from the interpolant in time, whose slope is one order less accurate than its value.
SOLVED = {
    #  problem                  coarser run               residual   finer run                   residual
    "abc_flow": (None, None, S(8), 3.8e-14),
    "advection": (S(8, rtol=1e-5), 2.1e-06, S(8), 2.9e-08),
    "allen_cahn": (S(512), 1.3e-04, S(1024), 2.1e-07),
    "burgers": (S(512, rtol=1e-6), 8.1e-02, S(1024, rtol=1e-6), 7.7e-04),
    "decaying_turbulence": (S(48, rtol=1e-6), 9.9e-02, S(96, rtol=1e-6), 1.3e-03),
    "diffusion_sorption": (
        *(A(n=24, rtol=1e-6, atol=1e-8, solver=STIFF, estimate=False), 9.5e-04),
        *(A(n=48, rtol=1e-8, atol=1e-9, solver=STIFF, estimate=False), 1.3e-05),
    ),
    "fisher_kpp": (S(16), 1.6e-04, S(32), 1.2e-07),
    "gray_scott": (None, None, S(8, rtol=1e-13), 6.5e-13),
    "gray_scott_spot": (S(48, rtol=1e-6), 5.2e-03, S(96, rtol=1e-6), 1.2e-05),
    "heat": (None, None, S(8), 1.6e-10),
    "helmholtz": (None, None, S(16), 8.7e-16),
    "kdv": (S(128, rtol=1e-6), 8.0e-02, S(256, rtol=1e-6), 2.2e-04),
    "kolmogorov_flow": (S(48, rtol=1e-6), 1.5e-02, S(96, rtol=1e-6), 5.8e-05),
    "kuramoto_sivashinsky": (S(96, rtol=1e-6), 3.8e-01, S(256, rtol=1e-6), 2.9e-03),
    "lorenz": (A(rtol=1e-8, atol=1e-8), 3.9e-07, A(rtol=1e-10, atol=1e-10), 2.3e-08),
    "lotka_volterra": (A(rtol=1e-8, atol=1e-8), 2.8e-07, A(rtol=1e-10, atol=1e-10), 1.3e-08),
    "navier_stokes_velocity": (S(4, rtol=1e-3), 6.2e-01, S(8, rtol=1e-11), 3.2e-11),
    "navier_stokes_vorticity": (None, None, S(8), 9.3e-14),
    "poisson": (None, None, S(8), 2.8e-16),
    "reaction_diffusion": (S(64, rtol=1e-6), 2.5e-04, S(128, rtol=1e-7), 1.1e-07),
    "robertson": (A(rtol=1e-4, atol=1e-8), 2.0e-05, A(rtol=1e-7, atol=1e-11), 7.1e-07),
    "shear_decay": (None, None, S(8), 2.4e-13),
    "taylor_green_3d": (S(12, rtol=1e-6), 8.5e-03, S(24, rtol=1e-6), 9.5e-07),
    "vortex_mixing": (S(32, rtol=1e-6), 9.1e-03, S(64, rtol=1e-6), 2.9e-06),
    "wave": (S(8, rtol=1e-5), 2.1e-05, S(8), 1.4e-06),
}

# True field -> the solver's equations on a grid of n intervals: root mean square of d(state)/dt less the solver's right-hand
# side, relative to d(state)/dt.  Closed forms first: round-off, which n^2 (fronts, walls) multiplies.
EXACT = {
    #  problem                  n     residual
    "abc_flow": (8, 3.6e-15),
    "advection": (16, 8.6e-15),
    "burgers": (4096, 8.6e-12),
    "fisher_kpp": (64, 3.9e-12),
    "gray_scott": (16, 3.7e-15),
    "heat": (16, 2.1e-14),
    "helmholtz": (16, 1.3e-15),
    "navier_stokes_velocity": (16, 6.6e-16),
    "navier_stokes_vorticity": (16, 1.8e-14),
    "poisson": (16, 1.1e-14),
    "shear_decay": (16, 4.6e-15),
    "wave": (16, 7.8e-15),
}
# Then references without one: their stated error, which differentiating their interpolant in time multiplies.  PDEs over the
# beginning of their time only, on a grid that is not the reference's own; two that take long stand behind the finer run of
# the table above in the default tests.
CONVERGED = {
    #  problem                  times, or the run            n     residual
    "kdv": (np.linspace(0, 0.25, 31), 256, 3.4e-08),
    "kuramoto_sivashinsky": (np.linspace(0, 0.05, 21), 192, 2.1e-08),
    "lorenz": (None, None, 1.1e-09),
    "lotka_volterra": (None, None, 3.7e-09),
    "robertson": (None, None, 3.0e-09),
    "vortex_mixing": (np.linspace(0, 0.1, 6), 64, 1.7e-10),
    "allen_cahn": ("finer run", 1250, 1.5e-06),
    "gray_scott_spot": ("finer run", 108, 3.7e-05),
    "diffusion_sorption": ("finer run", 40, 1.4e-05),
    "reaction_diffusion": ("finer run", 136, 1.3e-06),
}
LONG = {
    "allen_cahn": (np.linspace(0, 0.1, 6), 1024, 2.3e-09),
    "decaying_turbulence": (np.linspace(0, 0.02, 6), 192, 3.1e-10),
    "gray_scott_spot": (np.linspace(0, 8, 9), 96, 4.4e-09),
    "kolmogorov_flow": (np.linspace(0, 0.1, 6), 96, 5.7e-10),
    "taylor_green_3d": (np.linspace(0, 0.05, 6), 20, 9.0e-11),
}
# Solutions with jumps satisfy their equations in the weak sense only; tests/physics/test_shocks.py holds them to it.
WEAK = ("burgers_shock", "sod")
MANUFACTURED = ("gray_scott", "helmholtz", "poisson")  # their sources follow the coefficients: any value is right


# Flows between walls go through both views in tests/physics/test_wall_flows.py: their finite volumes are of second order.
WALL_FLOWS = {"channel", "cylinder", "kovasznay", "lid_driven_cavity"}
# Steady flows and shapes that no grid method of `js.solve` carries: tests/learning/test_steady_features.py has them.
FIELDS_ONLY = {
    *("steady_kovasznay", "steady_lid_driven_cavity", "steady_regularised_cavity"),
    *("laplace_four_discs", "flow_past_two_discs"),
}


def test_every_problem_is_in_the_tables():
    here = set(CATALOGUE) - WALL_FLOWS - FIELDS_ONLY
    assert set(SOLVED) | set(WEAK) == here
    assert set(EXACT) | set(CONVERGED) | set(LONG) | set(WEAK) == here
    assert set(EXACT) | set(WEAK) == {name for name in here if CATALOGUE[name].build().exact}


def wrong_versions(name, problem):
    """(coefficients, factor of the field), each wrong by 5 %."""
    if name in MANUFACTURED:
        return [(problem.coefficients, 1.05)]
    return [(problem.coefficients | {k: 1.05 * v}, 1.0) for k, v in problem.coefficients.items()]


# --- solver solution -> pointwise residual ------------------------------------------------------------------------------


def random_points(problem, count=200):
    """Even in space, and in time as the saved times are (logarithmic for Robertson)."""
    random = np.random.default_rng(0)
    columns = []
    for name in problem.coordinates:
        nodes = problem.times if name == "t" else np.asarray(problem.domain[name])
        columns.append(np.interp(random.uniform(0, len(nodes) - 1, count), np.arange(len(nodes)), nodes))
    return jnp.asarray(np.stack(columns, axis=-1))


def rms(values):
    return jnp.sqrt(jnp.mean(values**2))


@jax.jit
def pointwise_residual(problem, field, coefficients, factor, points):
    """The largest over the equations of a system; the call of `js.residual` in its two steps, to see the terms between."""
    residual, columns = js.residual(problem), tuple(points.T)
    scaled = lambda *point: factor * field(*point)
    partials = residual.field_partials(scaled, columns)
    coordinates = dict(zip(problem.coordinates, columns, strict=True))
    relative = []
    for row, value in zip(
        problem.equation.residuals, residual.from_partials(partials, columns, coefficients).T, strict=True
    ):
        terms = [evaluate(t, partials, coordinates, coefficients) for t in sympy.Add.make_args(row.formula.doit().expand())]
        relative.append(rms(value) / jnp.max(jnp.stack([rms(jnp.broadcast_to(t, value.shape)) for t in terms])))
    return jnp.max(jnp.stack(relative))


SLOW = (  # half a minute each; others of their kind stand for them
    *("abc_flow", "decaying_turbulence", "diffusion_sorption", "gray_scott_spot", "kolmogorov_flow"),
    *("kuramoto_sivashinsky", "reaction_diffusion", "robertson", "taylor_green_3d", "vortex_mixing"),
    *("navier_stokes_velocity", "fisher_kpp", "gray_scott", "kdv", "allen_cahn", "shear_decay"),
    *("lorenz", "lotka_volterra", "wave"),
)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SOLVED])
def test_solver_solution_has_a_pointwise_residual_of_discretisation_size(name):
    coarse, coarse_level, fine, fine_level = SOLVED[name]
    problem = CATALOGUE[name].build()
    points = random_points(problem)
    measure = functools.partial(pointwise_residual, problem, solved(name, fine).field)
    residual = measure(problem.coefficients, 1.0, points)
    assert residual < max(3 * fine_level, 1e-14)
    if coarse is not None:
        coarser = pointwise_residual(problem, solved(name, coarse).field, problem.coefficients, 1.0, points)
        assert coarse_level / 3 < coarser < 3 * coarse_level
        assert residual < coarser / 10
    for coefficients, factor in wrong_versions(name, problem):  # the control: 5 % off is seen at once
        assert measure(coefficients, factor, points) > max(5 * residual, 4e-4)


# --- true field -> the solver's equations on a grid ---------------------------------------------------------------------


def lines_of(problem, n):
    if not problem.domain.space:
        return FourierLines(problem.equation, Torus(()), ((),) * len(problem.unknowns))
    return discretise(problem, n)


def on_grid(lines, field, t):
    """Every unknown and its first two time derivatives on the solver's grid, ``[3, unknowns, *space]``."""
    mesh = jnp.meshgrid(*(jnp.asarray(x) for x in lines.grid().values()), indexing="ij")

    def at(point):
        value = lambda t: field(t, *point)
        slope = lambda t: jax.jvp(value, (t,), (jnp.ones_like(t),))[1]
        return jnp.stack([value(t), *jax.jvp(slope, (t,), (jnp.ones_like(t),))])

    if not mesh:
        return at(())
    values = jax.lax.map(at, jnp.stack([m.ravel() for m in mesh], axis=-1), batch_size=512)
    return jnp.moveaxis(values, 0, -1).reshape(3, -1, *mesh[0].shape)


@functools.partial(jax.jit, static_argnames="lines")
def grid_residual(lines, problem, field, factor, t):
    """(residual of the evolution equations, error of the unknowns that the solver reconstructs), both relative."""
    unknowns, space = problem.unknowns, problem.domain.space
    values = on_grid(lines, lambda *point: factor * field(*point), t)
    component = lambda k: jnp.stack([values[j + k, unknowns.index(u)] for u, j in lines.parts.components])
    encode = lines.encode if space else lambda v: v
    state, change = encode(component(0)), encode(component(1))
    operators = lines.operators(problem.coefficients, t.dtype)
    found = rate(lines, operators, problem.coefficients, state, t)
    norm = lambda v: jnp.sqrt(jnp.sum(jnp.abs(v) ** 2))
    scale = norm(change)
    if not space:  # stiff kinetics: the terms nearly cancel, and the larger of them is the scale
        scale = jnp.maximum(scale, norm(lines.nonlinear(operators, problem.coefficients, state, t)))
    profile = lines.profile(operators, problem.coefficients, state, t)
    fields = lines.decode(profile) if space else profile
    return norm(found - change) / scale, norm(fields - values[0]) / norm(values[0])


def steady_residual(lines, problem, field, factor):
    """L u + source of a steady equation, mode by mode, relative to the source."""
    grid = jnp.meshgrid(*(jnp.asarray(x) for x in lines.grid().values()), indexing="ij")
    values = factor * jax.vmap(field)(*(g.ravel() for g in grid)).reshape(1, *grid[0].shape)
    modes = lines.torus.from_grid(lines.torus.extend(values, lines.signs))[0]
    linear = sum(
        evaluate(term.factor, {}, {}, problem.coefficients) * lines.torus.symbol(term.letters, np.dtype(float)) * modes
        for term in lines.parts.linear
    )
    operators = lines.operators(problem.coefficients, float)
    source = lines.rest_modes(operators, problem.coefficients, jnp.zeros((0, *modes.shape)), jnp.asarray(0.0))[0]
    return jnp.linalg.norm(linear + source) / jnp.linalg.norm(source)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_exact_field_has_a_grid_residual_of_round_off(name):
    n, level = EXACT[name]
    problem = CATALOGUE[name].build()
    lines, field = lines_of(problem, n), reference(name).field
    if problem.is_steady:
        assert steady_residual(lines, problem, field, 1.0) < 3 * level
        assert steady_residual(lines, problem, field, 1.05) > 0.01
        return
    start, end = problem.domain["t"]
    for t in jnp.asarray(start + (end - start) * np.array([0.25, 0.5, 0.95])):
        residual, reconstruction = grid_residual(lines, problem, field, 1.0, t)
        assert residual < 3 * level
        assert reconstruction < 2e-15
    for coefficients, factor in wrong_versions(name, problem):
        other = problem.with_coefficients(**coefficients)
        assert grid_residual(lines, other, field, factor, t)[0] > 5e-4


def truth_of(name, times):
    if times is None:
        return reference(name)
    return solved(name, SOLVED[name][2]) if isinstance(times, str) else CATALOGUE[name].build().reference(times)


@pytest.mark.parametrize(
    ("name", "times", "n", "level"),
    [pytest.param(name, *row, marks=pytest.mark.slow if name in SLOW else ()) for name, row in CONVERGED.items()]
    + [pytest.param(name, *row, marks=pytest.mark.slow) for name, row in LONG.items()],
)
def test_reference_field_has_a_grid_residual_of_its_stated_error(name, times, n, level):
    problem, truth = CATALOGUE[name].build(), truth_of(name, times)
    lines = lines_of(problem, n)
    before, middle, after = truth.ts[-3:] if problem.domain.space else truth.ts[len(truth.ts) // 2 - 1 :][:3]
    for t in (0.48 * before + 0.52 * middle, 0.43 * middle + 0.57 * after):  # between saved times, where it interpolates
        residual, reconstruction = grid_residual(lines, problem, truth.field, 1.0, t)
        assert residual < 3 * level
        assert reconstruction < 1e-8  # the field has higher modes than some of these grids
    for coefficients, factor in wrong_versions(name, problem):
        wrong = grid_residual(lines, problem.with_coefficients(**coefficients), truth.field, factor, t)[0]
        assert wrong > 100 * residual
