"""Trajectories by a solver: those of `solve`, the same ones in any batch, and honest about what went wrong."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.surrogates.resample import resample
from jaxsci.surrogates.simulate import simulate

KEYS = jax.random.split(jax.random.key(0), 5)
METHOD = js.Spectral(n=32, dt=0.05, estimate=False)
GRID = {"n": 16, "dt": 0.1, "steps": 4}


def still():
    equation = js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx, name="burgers")
    box = js.Box(t=(0, 1), x=(0, 2 * jnp.pi))
    start = {"u": lambda x, phase: js.sin(x + phase)}
    return js.Problem(equation, box, coefficients={"viscosity": 0.1, "phase": 0.0}, initial=start)


def shifted(key):
    """Other starts alone."""
    return still().with_coefficients(phase=jax.random.uniform(key, maxval=6.0))


def thick_or_thin(key):
    """Other starts and another viscosity."""
    phase, viscosity = jax.random.split(key)
    values = {"phase": jax.random.uniform(phase, maxval=6.0), "viscosity": jax.random.uniform(viscosity, minval=0.05)}
    return still().with_coefficients(**values)


@pytest.fixture(scope="module")
def made():
    return simulate(thick_or_thin, KEYS, METHOD, **GRID)


@pytest.mark.slow
def test_each_run_is_what_solve_finds_from_that_start_with_those_coefficients(made):
    assert made.data.fields.shape == (5, 5, 1, 16)
    assert made.data.dt == 0.1
    for i in (4,):
        solution = js.solve(thick_or_thin(KEYS[i]), METHOD, ts=jnp.linspace(0, 0.4, 5))
        expected = resample(solution.fields, (False,), 16)
        np.testing.assert_allclose(made.data.fields[i], expected, atol=1e-12)
        assert made.data.numbers["viscosity"][i] == thick_or_thin(KEYS[i]).coefficients["viscosity"]
    assert list(made.data.numbers) == ["viscosity"]  # the phase is the start's alone
    assert (made.first_bad_step == -1).all()


def test_the_batch_changes_nothing_but_round_off(made):
    lines = []
    again = simulate(thick_or_thin, KEYS, METHOD, **GRID, batch=2, progress=lines.append)
    np.testing.assert_allclose(again.data.fields, made.data.fields, atol=1e-13)
    np.testing.assert_array_equal(again.data.numbers["viscosity"], made.data.numbers["viscosity"])
    assert [line.split(" runs")[0] for line in lines] == ["2 of 5", "4 of 5", "5 of 5"]
    backwards = simulate(thick_or_thin, KEYS[::-1], METHOD, **GRID)
    np.testing.assert_allclose(backwards.data.fields[::-1], made.data.fields, atol=1e-13)


def test_the_same_call_gives_the_same_numbers_bit_for_bit(made):
    again = simulate(thick_or_thin, KEYS, METHOD, **GRID)
    np.testing.assert_array_equal(again.data.fields, made.data.fields)
    assert made.cost.compile_seconds > 10 * again.cost.compile_seconds  # compiled once
    assert again.cost.solve_seconds > 0


def test_runs_that_differ_in_their_starts_alone_have_no_numbers_and_keep_plain_coefficients():
    found = simulate(shifted, KEYS[:2], METHOD, **GRID).data
    assert found.numbers == {}
    assert found.problem.coefficients["viscosity"] == 0.1
    assert isinstance(found.problem.coefficients["viscosity"], float)
    told = simulate(shifted, KEYS[:2], METHOD, **GRID, coefficients={"viscosity": 0.3}).data
    assert told.problem.coefficients["viscosity"] == 0.3
    assert np.abs(told.fields[:, -1]).max() < np.abs(found.fields[:, -1]).max()
    np.testing.assert_allclose(told.fields[:, 0], found.fields[:, 0], atol=1e-14)
    each = simulate(shifted, KEYS[:2], METHOD, **GRID, coefficients={"viscosity": [0.1, 0.3]}).data
    np.testing.assert_array_equal(each.numbers["viscosity"], [0.1, 0.3])
    np.testing.assert_allclose(each.fields, jnp.stack([found.fields[0], told.fields[1]]), atol=1e-13)


def test_what_is_skipped_is_the_beginning(made):
    later = simulate(thick_or_thin, KEYS, METHOD, **GRID | {"steps": 2}, skip=0.2)
    np.testing.assert_allclose(later.data.fields, made.data.fields[:, 2:], atol=1e-13)


@pytest.mark.slow
def test_starts_that_are_functions_and_walls():
    problem = js.problems.heat()

    def family(key):
        return problem.with_initial(u=js.problems.random_fourier_series(key, problem.domain))

    found = simulate(family, KEYS[:2], js.Spectral(n=16, dt=0.01), n=8, dt=0.01, steps=1).data
    assert found.fields.shape == (2, 2, 1, 9)
    assert abs(found.fields[0] - found.fields[1]).max() > 1e-3
    assert found.numbers == {}


@pytest.mark.slow
def test_runs_over_four_devices_are_the_same():
    program = """
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
from tests.surrogates.test_simulate import GRID, KEYS, METHOD, thick_or_thin
from jaxsci.surrogates.simulate import simulate
mesh = jax.make_mesh((4,), ("runs",))
over, alone = (simulate(thick_or_thin, KEYS, METHOD, **GRID, mesh=m).data.fields for m in (mesh, None))
np.testing.assert_allclose(over, alone, atol=1e-13)
"""
    flags = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_mesh_of_one_device_is_no_different(made):
    mesh = jax.make_mesh((1,), ("runs",))
    np.testing.assert_allclose(
        simulate(thick_or_thin, KEYS, METHOD, **GRID, mesh=mesh).data.fields, made.data.fields, atol=1e-13
    )


# --- what goes wrong ---------------------------------------------------------------------------------------------------------


def growing(key):
    """u_t = rate u^2 blows up at t = 1 / (rate u): within the time where the key says so."""
    equation = js.Equation(lambda u, rate: u.t - rate * u * u + 0 * u.x, name="growing")
    rate = jnp.where(jax.random.key_data(key)[-1] % 2 == 1, 500.0, 0.1)
    return js.Problem(equation, js.Box(t=(0, 1), x=(0, 1)), coefficients={"rate": rate}, initial={"u": 1})


def keys_of(*numbers):
    return jnp.stack([jax.random.key(number) for number in numbers])


def test_a_run_that_blows_up_is_named_with_the_cure_or_dropped():
    keys = keys_of(0, 1, 2, 3)
    with pytest.raises(
        ValueError, match=r"2 of 4 runs of growing are not finite, run 1 first, at step \d+; take a smaller step"
    ):
        simulate(growing, keys, METHOD, n=16, dt=0.2, steps=10)
    lines = []
    found = simulate(growing, keys, METHOD, n=16, dt=0.2, steps=10, drop=True, progress=lines.append)
    np.testing.assert_allclose(found.data.numbers["rate"], [0.1, 0.1])
    assert np.isfinite(found.data.fields).all()
    assert len(found.data) == 2
    assert (found.first_bad_step >= 0).tolist() == [False, True, False, True]
    assert lines[-1] == "2 of 4 runs were not finite and are left out: 1, 3"
    with pytest.raises(ValueError, match="1 of 1 runs"):
        simulate(growing, keys[1:2], METHOD, n=16, dt=0.2, steps=10, drop=True)


def forced(key):
    equation = js.Equation(lambda u, force: u.t - u.xx - force(u), name="forced")
    size = jax.random.uniform(key)
    force = jax.tree_util.Partial(lambda size, u: size * u, size)
    return js.Problem(equation, js.Box(t=(0, 1), x=(0, 1)), coefficients={"force": force}, initial={"u": 1})


def timed(key):
    equation = js.Equation(lambda u, t, size: u.t - u.xx - size * t, name="timed")
    return js.Problem(equation, js.Box(t=(0, 1), x=(0, 1)), coefficients={"size": 1.0}, initial={"u": 0})


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"dt": 0.12}, ValueError, "dt must be a multiple of the solver's step 0.05, 1 or more, got 0.12"),
        ({"skip": 0.01}, ValueError, "skip must be a multiple"),
        ({"skip": -0.05}, ValueError, "skip must be a multiple"),
        ({"n": 64}, ValueError, "n=64 is finer than the solver's"),
        ({"n": (16, 16)}, ValueError, "one or one for each of x, got"),
        ({"steps": 0}, ValueError, "steps must be a whole number >= 1, got 0"),
        ({"keys": jax.random.key(0)}, ValueError, "keys must be one or more"),
        ({"method": js.Spectral(n=32)}, TypeError, "its step"),
        ({"method": js.FiniteVolume(n=32)}, TypeError, "must be js.Spectral"),
        ({"family": lambda key: key}, TypeError, "must return a js.Problem"),
        ({"family": still()}, TypeError, "must be a function"),
        ({"family": forced}, ValueError, "force differs and is no number"),
        ({"family": timed, "skip": 0.05}, ValueError, "timed depends on t itself"),
        ({"coefficients": {"viscocity": 1.0}}, KeyError, "Did you mean 'viscosity'"),
        ({"coefficients": {"viscosity": [1.0, 2.0]}}, ValueError, r"one for each of 5 runs, got shape \(2,\)"),
        ({"batch": 0}, ValueError, "batch must be a whole number >= 1"),
        ({"mesh": "x"}, TypeError, "Mesh with one axis"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_solved(changed, error, message):
    given = {"family": shifted, "keys": KEYS, "method": METHOD} | GRID | changed
    with pytest.raises(error, match=message):
        simulate(given.pop("family"), given.pop("keys"), given.pop("method"), **given)


def test_walls_are_kept_on_nodes():
    with pytest.raises(ValueError, match="the axis x has walls and 16 intervals, no multiple of 6"):
        simulate(lambda key: js.problems.heat(), KEYS[:1], js.Spectral(n=16, dt=0.01), n=6, dt=0.01, steps=1)
