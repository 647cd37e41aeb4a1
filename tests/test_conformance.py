"""The conformance matrix: what every problem under every numerical method must do, whatever it is about.

A problem is entered once, in MATRIX.  Grids and runs are tiny: nothing here is about accuracy.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffrax import Dopri8, Kvaerno5

import jaxsci as js
from jaxsci.problems import CATALOGUE
from jaxsci.solvers.semidiscrete import states_with_static_steps

# The compiler takes all the time here, the programs none: let it optimise less.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def spectral(n, dt, order=4):
    return js.Spectral(n, order=order, dt=dt, estimate=False, rtol=1.0)


def staggered(n, dt):
    return js.Staggered(n, dt=dt, estimate=False)


def adaptive(solver):
    return js.Adaptive(rtol=1e-10, atol=1e-10, solver=solver, estimate=False)


def volumes(n, dt):
    return js.FiniteVolume(n, dt=dt, estimate=False)


MATRIX = {  # a method and the end of the run
    "abc_flow": (spectral(6, 0.05, order=2), 0.2),
    "advection": (spectral(6, 1e-3), 4e-3),
    "allen_cahn": (spectral(16, 0.02), 0.08),
    "burgers": (spectral(8, 0.02), 0.08),
    "decaying_turbulence": (spectral(40, 0.02, order=2), 0.04),
    "channel": (staggered((4, 6), 0.05), 0.2),
    "cylinder": (staggered((22, 8), 0.05), 0.2),
    "burgers_shock": (volumes(8, 0.05), 0.2),
    "diffusion_sorption": (volumes(8, 10.0), 40.0),
    "fisher_kpp": (spectral(6, 0.05, order=2), 0.2),
    "gray_scott": (spectral(6, 0.05), 0.2),
    "gray_scott_spot": (spectral(8, 1.0, order=3), 4.0),
    "heat": (spectral(6, 0.05), 0.2),
    "helmholtz": (spectral(10, 1.0), None),
    "kdv": (spectral(16, 0.02), 0.08),
    "kolmogorov_flow": (spectral(16, 0.05, order=2), 0.2),
    "kovasznay": (staggered(8, 0.02), 0.08),
    "kuramoto_sivashinsky": (spectral(16, 1e-3), 4e-3),
    "lid_driven_cavity": (staggered(8, 0.02), 0.08),
    "lorenz": (adaptive(Dopri8()), 0.2),
    "lotka_volterra": (adaptive(Dopri8()), 1.0),
    "navier_stokes_velocity": (spectral(6, 0.05, order=2), 0.2),
    "navier_stokes_vorticity": (spectral(6, 0.05), 0.2),
    "poisson": (spectral(6, 1.0), None),
    "reaction_diffusion": (volumes((6, 8), 0.05), 0.2),
    "robertson": (adaptive(Kvaerno5()), 1e-3),
    "shear_decay": (spectral(6, 0.05), 0.2),
    "taylor_green_3d": (spectral((8, 6, 6), 0.05, order=2), 0.1),
    "sod": (volumes(8, 0.005), 0.02),
    "vortex_mixing": (spectral((12, 10), 0.05), 0.2),
    "wave": (spectral(6, 0.02), 0.08),
}
# Steady and nonlinear, or with holes: fields solve them, no method of MATRIX does.
FOR_FIELDS = (
    "flow_past_two_discs",
    "laplace_four_discs",
    "steady_kovasznay",
    "steady_lid_driven_cavity",
    "steady_regularised_cavity",
)
# Other problems of the same kind stand for these in the default run: compilation takes long.
SLOW = (
    "abc_flow",
    "fisher_kpp",
    "kdv",
    "lotka_volterra",
    "decaying_turbulence",
    "kolmogorov_flow",
    "shear_decay",
    "taylor_green_3d",
    "allen_cahn",
    "channel",
    "cylinder",
    "gray_scott",
    "gray_scott_spot",
    "kovasznay",
    "kuramoto_sivashinsky",
    "lid_driven_cavity",
    "lorenz",
    "navier_stokes_velocity",
    "navier_stokes_vorticity",
    "reaction_diffusion",
    "robertson",
    "sod",
    "vortex_mixing",
)
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MATRIX]
WITH_COEFFICIENTS = [name for name in NAMES if name != "poisson"]


def times(name):
    end = MATRIX[name][1]
    return None if end is None else np.array([0.0, end / 2, end])


@functools.cache
def solution_of(name):
    return js.solve(CATALOGUE[name].build(), MATRIX[name][0], ts=times(name))


def sample_field(problem):
    """A smooth field that solves nothing, of the box's own scale."""

    def field(*point):
        unit = [
            (p - low) / (high - low)
            for p, (low, high) in zip(point, map(problem.domain.__getitem__, problem.coordinates), strict=True)
        ]
        phase = sum((i + 1.3) * u for i, u in enumerate(unit))
        return jnp.stack([1.5 + jnp.sin(phase + k) for k, _ in enumerate(problem.unknowns)])

    return field


def outputs(name, coefficients):
    """What the three entrances of the core give for these coefficients: residual, stepper, solve."""
    problem, (method, _) = CATALOGUE[name].build().with_coefficients(**coefficients), MATRIX[name]
    low, high = np.array([problem.domain[c] for c in problem.coordinates]).T
    points = jnp.asarray(low + (high - low) * np.random.default_rng(0).uniform(0.2, 0.8, (3, len(low))))
    out = {"residual": js.residual(problem)(sample_field(problem), coefficients, points)}
    if isinstance(method, js.Spectral | js.Staggered) and not problem.is_steady:
        stepper = js.stepper(problem, method)
        out["stepper"] = stepper.decode(stepper.step(stepper.initial()))
    return out | {"solve": js.solve(problem, method, ts=times(name)).fields}


def batch_around(problem, step):
    """Coefficients ``[1 + 2 k]``: the problem's own, then each one a little more and a little less."""
    base = {k: float(v) for k, v in problem.coefficients.items()}
    rows = [base]
    for k in base:
        rows += [base | {k: base[k] * (1 + step)}, base | {k: base[k] * (1 - step)}]
    return {k: jnp.asarray([row[k] for row in rows]) for k in base}


def scale(values):
    return float(jnp.max(jnp.abs(values)))


@pytest.mark.parametrize("name", WITH_COEFFICIENTS)
def test_core_under_jit_vmap_and_grad(name):
    problem, traces = CATALOGUE[name].build(), []

    def traced(coefficients):
        traces.append(name)
        return outputs(name, coefficients)

    step = 1e-4
    coefficients = batch_around(problem, step)
    batched = jit(jax.vmap(traced))
    values = batched(coefficients)
    # one trace for other values
    batched(jax.tree.map(lambda v: 1.1 * v, coefficients))
    assert len(traces) == 1

    # jit and vmap equal eager calls in a loop; the second eager call compiles nothing
    assert jnp.allclose(values["solve"][0], solution_of(name).fields, atol=1e-9 * scale(values["solve"]))
    programs = states_with_static_steps._cache_size()
    other = problem.with_coefficients(**{k: float(v[1]) for k, v in coefficients.items()})
    again = js.solve(other, MATRIX[name][0], ts=times(name)).fields
    assert jnp.allclose(values["solve"][1], again, atol=1e-9 * scale(again))
    assert states_with_static_steps._cache_size() == programs

    # gradients in every coefficient equal central differences, of a random projection of each output
    random = np.random.default_rng(1)
    weights = {k: jnp.asarray(random.normal(size=v.shape[1:])) / scale(v) for k, v in values.items()}
    project = lambda c: {k: jnp.sum(weights[k] * v) for k, v in outputs(name, c).items()}
    slopes = jit(jax.jacrev(project))({k: v[0] for k, v in coefficients.items()})
    for key, value in values.items():
        projected = jnp.sum(weights[key] * value, axis=tuple(range(1, value.ndim)))
        for i, (coefficient, row) in enumerate(coefficients.items()):
            difference = float((projected[1 + 2 * i] - projected[2 + 2 * i]) / 2)
            assert float(slopes[key][coefficient] * row[0] * step) == pytest.approx(difference, rel=1e-5, abs=1e-11), (
                key,
                coefficient,
            )


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_is_near_double(name):
    double = solution_of(name)
    with jax.enable_x64(False):
        single = js.solve(CATALOGUE[name].build(), MATRIX[name][0], ts=times(name))
        assert {leaf.dtype for leaf in jax.tree.leaves((single.fields, single.grid))} == {jnp.dtype("float32")}
    error = np.abs(np.asarray(single.fields) - np.asarray(double.fields)).max() / scale(double.fields)
    assert error < 3e-5  # measured: at most 4e-6, of the adaptive steps


@pytest.mark.parametrize("name", NAMES)
def test_problem_and_solution_are_pytrees(name):
    problem, solution = CATALOGUE[name].build(), solution_of(name)
    leaves, structure = jax.tree.flatten(problem)
    assert leaves == [problem.coefficients[k] for k in sorted(problem.coefficients)]
    rebuilt = jax.tree.unflatten(structure, leaves)
    assert rebuilt.identity == problem.identity
    assert jax.tree.structure(rebuilt) == structure == jax.tree.structure(CATALOGUE[name].build())
    assert hash(structure) == hash(jax.tree.structure(rebuilt))
    again = jax.tree.unflatten(jax.tree.structure(solution), jax.tree.leaves(solution))
    assert repr(again) == repr(solution)
    assert jnp.array_equal(again[problem.unknowns[0]], solution[problem.unknowns[0]])
    assert again.problem.coefficients == problem.coefficients


# --- bad input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_COEFFICIENTS)
def test_wrong_coefficients_are_named(name):
    problem = CATALOGUE[name].build()
    known = next(iter(problem.coefficients))
    field, points = sample_field(problem), jnp.ones((2, len(problem.coordinates)))
    entrances = [
        lambda values: CATALOGUE[name].build(**values),
        lambda values: problem.with_coefficients(**values),
        lambda values: js.residual(problem)(field, values, points),
    ]
    for enter in entrances:
        with pytest.raises(KeyError, match=rf"coefficient '{known}_' does not exist.*Did you mean"):
            enter({known + "_": 1.0})
        with pytest.raises(ValueError, match=rf"coefficient {known} must be a scalar, got shape \(2,\).*jax.vmap"):
            enter({known: jnp.ones(2)})
        with pytest.raises(TypeError, match=rf"coefficient {known} must be real"):
            enter({known: 1j})


@pytest.mark.parametrize("name", NAMES)
def test_wrong_points_and_coordinates_are_named(name):
    problem, solution = CATALOGUE[name].build(), solution_of(name)
    count, first = len(problem.coordinates), problem.coordinates[0]
    residual, field = js.residual(problem), sample_field(problem)
    with pytest.raises(ValueError, match=rf"points must have shape \(points, {count}\).*got shape \(4, {count + 1}\)"):
        residual(field, None, jnp.ones((4, count + 1)))
    with pytest.raises(TypeError, match=f"coordinate {first} must be floating point, got dtype int"):
        residual(field, None, jnp.ones((4, count), int))
    inside = {c: problem.domain[c][0] for c in problem.coordinates}
    with pytest.raises(KeyError, match="coordinate 'r' does not exist"):
        solution.evaluate(**inside, r=0.0)
    with pytest.raises(KeyError, match=f"coordinate '{first}' missing"):
        solution.evaluate(**{c: v for c, v in inside.items() if c != first})
    with pytest.raises(ValueError, match=f"coordinate {first} must lie in"):
        solution.evaluate(**inside | {first: problem.domain[first][1] * 2 + 1})
    with pytest.raises(KeyError, match="unknown 'q' does not exist"):
        solution["q"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("helmholtz", "poisson")])
def test_wrong_saved_times_are_named(name):
    problem, (method, _) = CATALOGUE[name].build(), MATRIX[name]
    end = problem.domain["t"][1]
    with pytest.raises(ValueError, match="ts must increase and lie in"):
        js.solve(problem, method, ts=[0.0, end / 2, 2 * end])
    with pytest.raises(ValueError, match="ts must increase and lie in"):
        js.solve(problem, method, ts=[0.0, end / 2, end / 2])
    with pytest.raises(ValueError, match=r"ts must be a list of at least two times, got shape \(1,\)"):
        js.solve(problem, method, ts=[end])


@pytest.mark.parametrize("name", FOR_FIELDS)
def test_problems_for_fields_are_pytrees_with_a_residual(name):
    problem = CATALOGUE[name].build()
    again = jax.tree.unflatten(*jax.tree.flatten(problem)[::-1])
    assert again.identity == problem.identity
    assert again.solids == problem.solids
    low, high = np.array([problem.domain[c] for c in problem.coordinates]).T
    points = jnp.asarray(low + (high - low) * np.random.default_rng(0).uniform(0.2, 0.8, (3, 2)))
    of = lambda coefficients: js.residual(problem)(sample_field(problem), coefficients, points)
    batch = batch_around(problem, 1e-4)
    values = jit(jax.vmap(of))(batch) if batch else of({})[None]
    assert jnp.allclose(values[0], of(None))
    with pytest.raises(ValueError, match="Spectral"):
        js.solve(problem, js.Spectral(n=8))


def test_every_catalogued_problem_is_in_the_matrix():
    assert set(MATRIX).isdisjoint(FOR_FIELDS)
    assert set(MATRIX) | set(FOR_FIELDS) == set(CATALOGUE)
