"""Fourier series as functions: one function on every grid, at every point, in every precision, and as a start of problems."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.problems import FourierSeries
from jaxsci.problems.fourier_series import hermitian, mode_weights

BOXES = {
    1: js.Box(x=(-1, 1)),
    2: js.Box(t=(0, 1), x=(0, 2), y=(-1, 2)),
    3: js.Box(x=(0, 2), y=(-1, 2), z=(0, 2 * np.pi)),
}


@functools.cache
def series(d):
    return js.problems.random_fourier_series(jax.random.key(d), BOXES[d], cutoff=3)


def grid(box, sizes):
    return [box[c][0] + length * np.arange(n) / n for c, length, n in zip(box.space, box.lengths, sizes, strict=True)]


SLOW = pytest.mark.slow  # the compiler's seconds


@pytest.mark.slow
@pytest.mark.parametrize("d", [pytest.param(1, marks=SLOW), 2, pytest.param(3, marks=SLOW)])
def test_two_grids_an_open_mesh_and_points_hold_one_function(d):
    f, sizes = series(d), (7, 10, 9)[:d]  # 7 = 2 * 3 + 1, the least
    values = f.on_grid(sizes)
    axes = grid(BOXES[d], sizes)
    mesh = np.meshgrid(*axes, indexing="ij")
    open_mesh = np.meshgrid(*axes, indexing="ij", sparse=True)
    np.testing.assert_allclose(f(*open_mesh), values, atol=1e-13)
    np.testing.assert_allclose(jax.vmap(f)(*(m.ravel() for m in mesh)).reshape(sizes), values, atol=1e-13)
    finer = f.on_grid(tuple(2 * n for n in sizes))
    np.testing.assert_allclose(finer[(slice(None, None, 2),) * d], values, atol=1e-13)
    assert float(f.mean_square) == pytest.approx(float(np.mean(finer**2)), rel=1e-12)


def test_series_is_the_sum_that_its_docstring_says():
    f = series(2)
    (x0, y0), (lx, ly) = f.lower, f.lengths
    k, m = np.meshgrid([0, 1, 2, 3, -3, -2, -1], [0, 1, 2, 3], indexing="ij")
    waves = np.exp(2j * np.pi * (k * (0.3 - x0) / lx + m * (0.9 - y0) / ly))
    total = np.sum(np.where(m == 0, 1, 2) * (f.modes[0] + 1j * f.modes[1]) * waves).real
    assert float(f(0.3, 0.9)) == pytest.approx(float(total), abs=1e-14)


def test_a_constant_is_added_everywhere():
    f = series(2)
    np.testing.assert_allclose(f.plus(0.5).on_grid(8), f.on_grid(8) + 0.5, atol=1e-14)


def test_series_is_periodic_and_differentiates():
    f = series(2)
    assert float(f(0.3, 0.2)) == pytest.approx(float(f(2.3, -2.8)), abs=1e-13)
    step = 1e-5
    slope = (f(0.3 + step, 0.2) - f(0.3 - step, 0.2)) / (2 * step)
    assert float(jax.grad(f)(0.3, 0.2)) == pytest.approx(float(slope), rel=1e-8)
    other = jax.grad(lambda f: f(0.3, 0.2))(f)  # in its modes: the waves themselves
    assert float(jnp.sum(other.modes * f.modes)) == pytest.approx(float(f(0.3, 0.2)), rel=1e-12)
    assert float(f.scaled(2.0)(0.3, 0.2)) == pytest.approx(2 * float(f(0.3, 0.2)))


def test_modes_without_symmetry_mean_their_real_part():
    modes = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)))
    f = FourierSeries(modes, (0.0, 0.0), (1.0, 1.0))
    symmetric = FourierSeries(hermitian(modes), (0.0, 0.0), (1.0, 1.0))
    np.testing.assert_allclose(f.on_grid(6), symmetric.on_grid(6), atol=1e-14)
    np.testing.assert_allclose(f(0.3, 0.4), symmetric(0.3, 0.4), atol=1e-14)
    assert float(f.mean_square) == pytest.approx(float(np.mean(f.on_grid(6) ** 2)))
    assert not np.allclose(modes, symmetric.modes)
    assert mode_weights((2, 2)).tolist() == [1, 2, 2]


def test_wrong_calls_are_named():
    with pytest.raises(TypeError, match="Fourier series on 2 axes takes as many coordinates, got 1"):
        series(2)(0.1)
    for n in (6, (8, 8, 8), 8.5):
        with pytest.raises(ValueError, match=r"n must be one whole number, or one per axis, above twice.*\(3, 3\)"):
            series(2).on_grid(n)


# --- as the start of a problem ---------------------------------------------------------------------------------------------


def starting_from(w):
    return js.problems.vortex_mixing().with_initial(w=w)


def start_of(key):
    return js.problems.random_fourier_series(key, js.problems.vortex_mixing().domain, cutoff=3)


@pytest.mark.slow
def test_problem_starts_from_a_series():
    start = start_of(jax.random.key(0))
    problem = starting_from(start)
    state = js.stepper(problem, js.Spectral(16, dt=0.1)).initial()
    decoded = js.stepper(problem, js.Spectral(16, dt=0.1)).decode(state)[0]
    np.testing.assert_allclose(decoded, start.on_grid(16), atol=1e-13)
    by_hand = js.Problem(
        problem.equation,
        problem.domain,
        coefficients={"viscosity": 0.05, "start": start},
        initial={"w": lambda x, y, start: start(x, y)},
    )
    other = js.stepper(by_hand, js.Spectral(16, dt=0.1)).initial()
    np.testing.assert_allclose(other.values, state.values, atol=1e-14)


@pytest.mark.slow
def test_a_batch_of_starts_is_one_program_and_differentiates():
    starts = jax.vmap(start_of)(jax.random.split(jax.random.key(1), 2))
    traces = []

    @jax.jit
    def energy(start):
        traces.append(1)
        w = js.solve(starting_from(start), js.Spectral(8, dt=0.1, order=2), ts=[0.0, 0.1])["w"]
        return jnp.mean(w[-1] ** 2)

    one = jax.tree.map(lambda a: a[1], starts)
    value, slope = energy(one), jax.grad(energy)(one)
    assert float(jax.vmap(energy)(starts)[1]) == pytest.approx(float(value), rel=1e-12)
    energy(one.scaled(2.0))
    assert len(traces) == 1
    along = jax.tree.map(lambda a: a[0], starts)
    step = 1e-5
    shifted = [energy(FourierSeries(one.modes + s * along.modes, one.lower, one.lengths)) for s in (step, -step)]
    difference = float(shifted[0] - shifted[1]) / (2 * step)
    assert float(jnp.sum(slope.modes * along.modes)) == pytest.approx(difference, rel=1e-6)


def test_identity_knows_the_start():
    start = start_of(jax.random.key(0))
    moved = FourierSeries(start.modes, (0.1, 0.0), start.lengths)
    problems = [js.problems.vortex_mixing(), *map(starting_from, (start, start_of(jax.random.key(1)), moved))]
    assert len({p.identity for p in problems}) == 4
    assert starting_from(start_of(jax.random.key(0))).identity == problems[1].identity
    leaves, structure = jax.tree.flatten(problems[1])
    assert jax.tree.unflatten(structure, leaves).identity == problems[1].identity


def test_a_problem_takes_it_as_a_start():
    known, start = js.problems.vortex_mixing(), start_of(jax.random.key(0))
    made = js.Problem(known.equation, known.domain, coefficients=known.coefficients, initial={"w": start})
    assert made.initial["w"].arguments == ("w_start", "x", "y")
    assert made.identity == starting_from(start).identity
    with pytest.raises(KeyError, match="initial value 'v' does not exist; there is 'w'"):
        js.Problem(known.equation, known.domain, coefficients=known.coefficients, initial={"v": start})


def test_another_start_takes_the_exact_solution_away():
    problem = js.problems.navier_stokes_vorticity()
    other = problem.with_initial(w=start_of(jax.random.key(0)))
    assert problem.exact
    assert not other.exact
    with pytest.raises(ValueError, match="navier_stokes_vorticity has no reference"):
        other.reference()
    assert js.problems.vortex_mixing().with_initial(w=lambda x, y: x)._reference is not None
    with pytest.raises(KeyError, match="initial value 'v' does not exist; there is 'w'"):
        problem.with_initial(v=lambda x, y: x)
    with pytest.raises(TypeError, match=r"with_initial: w must be a function of 'x', 'y', got 1\.0"):
        problem.with_initial(w=1.0)


def test_an_expression_is_an_initial_value():
    problem = js.problems.heat()
    again = js.Problem(
        problem.equation,
        problem.domain,
        coefficients=problem.coefficients,
        initial={"u": problem.initial["u"].expression},
        boundary=problem.boundary,
    )
    assert again.identity == problem.identity
