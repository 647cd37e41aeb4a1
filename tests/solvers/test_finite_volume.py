"""`js.FiniteVolume`: conservation, walls, gradients, status, error estimates, evaluation, its refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import solved

import jaxsci as js
from jaxsci.problems.shocks import euler_equation, inviscid_burgers_equation

V = js.FiniteVolume
fast = functools.partial(V, estimate=False)


def burgers(**changes):
    """A wave that has not broken yet at t = 1/2."""
    given = {
        "coefficients": {"mean": 0.5, "amplitude": 1.0},
        "initial": {"u": lambda x, mean, amplitude: mean + amplitude * js.sin(x)},
    }
    return js.Problem(inviscid_burgers_equation, js.Box(t=(0, 0.5), x=(0, 2 * np.pi)), **given | changes)


def box_of_gas(walls):
    """A dense, hot half of a box, which sends a shock against the upper wall."""
    return js.Problem(
        euler_equation, js.Box(t=(0, 0.4), x=(0, 1)), coefficients={"gamma": 1.4}, boundary={"x": walls},
        initial={
            "density": lambda x: jnp.where(x < 0.5, 1.0, 0.2),
            "velocity": 0.0,
            "pressure": lambda x: jnp.where(x < 0.5, 2.0, 0.1),
        },
    )  # fmt: skip


# --- conservation ------------------------------------------------------------------------------------------------------


def test_total_of_a_conserved_quantity_is_kept_to_round_off():
    u = np.asarray(solved("burgers_shock", V(n=100))["u"])
    assert np.abs(u.sum(axis=1) - u[0].sum()).max() < 1e-14 * np.abs(u[0]).sum()


@pytest.mark.slow
def test_gas_between_reflecting_walls_keeps_mass_and_energy():
    gas = js.solve(box_of_gas(js.Dirichlet(velocity=0)), fast(n=50), ts=[0.0, 0.2, 0.4]).check()
    mass = np.asarray(gas["density"].sum(axis=1))
    energy = np.asarray((gas["pressure"] / 0.4 + gas["density"] * gas["velocity"] ** 2 / 2).sum(axis=1))
    np.testing.assert_allclose(mass / mass[0], 1, rtol=1e-14)
    np.testing.assert_allclose(energy / energy[0], 1, rtol=1e-14)
    assert float(gas["velocity"].max()) > 0.5
    # the control: where it can leave, it does
    open_ends = js.solve(box_of_gas(js.Outflow()), fast(n=50), ts=[0.0, 0.2, 0.4])
    assert float(open_ends["density"][-1].sum()) < 0.95 * mass[0]


def test_bent_density_with_a_flux_is_conserved_and_slowed_down():
    """Sorption holds a front back: it travels at the speed of the jump in flux over the jump in density."""
    equation = js.Equation(lambda u, k: (u + k * js.sqrt(u)).t + u.x)
    problem = js.Problem(
        equation, js.Box(t=(0, 1), x=(0, 2)), coefficients={"k": 3.0}, initial={"u": lambda x: jnp.where(x < 0.5, 1.0, 0.25)},
        boundary={"x": (js.Dirichlet(1), js.Outflow())},
    )  # fmt: skip
    solution = js.solve(problem, fast(n=100), ts=[0.0, 1.0]).check()
    u, x = np.asarray(solution["u"][-1]), np.asarray(solution.grid["x"])
    front = x[np.argmin(np.diff(u))]
    speed = (1 - 0.25) / ((1 + 3.0) - (0.25 + 3.0 * 0.5))
    assert front == pytest.approx(0.5 + speed, abs=0.02)  # a cell
    density = lambda v: (v + 3 * np.sqrt(v)).sum() * 0.02
    assert density(u) - density(np.asarray(solution["u"][0])) == pytest.approx(1.0 - 0.25, rel=1e-6)  # what came in and left


# --- walls -----------------------------------------------------------------------------------------------------------------


def test_value_enters_at_one_wall_and_leaves_at_the_other():
    advection = js.Equation(lambda u, c: u.t + c * u.x)
    problem = js.Problem(
        advection, js.Box(t=(0, 2), x=(0, 1)), coefficients={"c": 1.0}, initial={"u": 0},
        boundary={"x": (js.Dirichlet(lambda t: js.sin(3 * t)), js.Outflow())},
    )  # fmt: skip
    errors = []
    for n in (40, 80):
        solution = js.solve(problem, fast(n=n), ts=[0.0, 2.0])
        errors.append(float(jnp.mean(jnp.abs(solution["u"][-1] - jnp.sin(3 * (2 - solution.grid["x"]))))))
    assert errors[1] < 4e-3  # measured 1.1e-3
    assert errors[0] > 2.8 * errors[1]


@pytest.mark.slow
def test_moving_values_at_the_walls_of_a_diffusion():
    exact = lambda t, x, k: js.exp(-k * t) * js.sin(x) + js.cos(x - 0.3) * js.exp(-k * t)
    problem = js.Problem(
        js.Equation(lambda u, k: u.t - k * u.xx), js.Box(t=(0, 1), x=(0, 2)), coefficients={"k": 0.7},
        initial={"u": lambda x: exact(0, x, 0.7)}, boundary={"x": js.Dirichlet(exact)}, exact={"u": exact},
    )  # fmt: skip
    solutions = [js.solve(problem, fast(n=n, rtol=1e-5)) for n in (16, 32)]
    errors = [js.relative_l2(s, problem.reference()) for s in solutions]
    assert errors[1] < 1.2e-3  # measured 4e-4, of the linear profile in each cell
    assert errors[0] > 3 * errors[1]


# --- derivatives -----------------------------------------------------------------------------------------------------------


def moment(method, ts=(0.0, 0.25, 0.5)):
    def output(mean, amplitude):
        solution = js.solve(burgers().with_coefficients(mean=mean, amplitude=amplitude), method, ts=np.asarray(ts))
        return jnp.sum(solution["u"][-1] ** 2 * jnp.cos(solution.grid["x"]))

    return output


@pytest.mark.slow
def test_gradients_in_both_modes_agree_with_differences():
    output = moment(fast(n=64, dt=0.01))
    point = (0.5, 1.0)
    reverse = jax.grad(output, (0, 1))(*point)
    for k, along in enumerate(((1.0, 0.0), (0.0, 1.0))):
        forward = jax.jvp(output, point, along)[1]
        step = lambda sign, along=along: output(*(p + sign * 1e-4 * a for p, a in zip(point, along, strict=True)))
        difference = (step(1) - step(-1)) / 2e-4
        assert float(reverse[k]) == pytest.approx(float(forward), rel=1e-12)
        assert float(reverse[k]) == pytest.approx(float(difference), rel=1e-7)


@pytest.mark.slow
def test_forward_mode_and_vmap_pass_through_the_steps_that_are_found():
    output = moment(fast(n=32))
    values = jax.vmap(output, (0, None))(jnp.asarray([0.4, 0.5, 0.6]), 1.0)
    assert float(values[1]) == pytest.approx(float(output(0.5, 1.0)), rel=1e-12)
    slope = jax.jvp(output, (0.5, 1.0), (1.0, 0.0))[1]
    assert float(slope) == pytest.approx(float((output(0.5 + 1e-6, 1.0) - output(0.5 - 1e-6, 1.0)) / 2e-6), rel=1e-6)


@pytest.mark.slow
def test_gradient_through_the_implicit_steps_of_diffusion_sorption():
    problem, method = js.problems.diffusion_sorption(), fast(n=16, dt=10.0)

    def output(exponent):
        return jnp.sum(js.solve(problem.with_coefficients(exponent=exponent), method, ts=[0.0, 40.0])["u"][-1])

    difference = (output(0.874 + 1e-4) - output(0.874 - 1e-4)) / 2e-4
    assert float(jax.grad(output)(0.874)) == pytest.approx(float(difference), rel=1e-6)


# --- status ----------------------------------------------------------------------------------------------------------------


def test_stats_say_what_happened():
    stats = solved("burgers_shock", V(n=100)).stats
    assert stats["succeeded"]
    assert 0.4 < stats["courant"] <= 0.5 * (1 + 1e-3)  # each interval between saved times is divided evenly
    assert stats["least_u"] == pytest.approx(-0.5, abs=1e-2)
    assert stats["steps"] * stats["dt"] <= 2.0 + 1e-12
    assert stats["estimate_seconds"] > 0


def test_step_beyond_the_stability_limit_is_reported_and_named():
    solution = js.solve(burgers(), fast(n=64, dt=0.1), ts=[0.0, 0.5])
    assert solution.stats["courant"] > 1.2
    with pytest.raises(FloatingPointError, match=r"inviscid_burgers: the Courant number reached 1\.\d+.*smaller step"):
        solution.check()


def test_giving_up_is_reported_and_named():
    solution = js.solve(burgers(), fast(n=64, max_steps=3))
    assert not solution.stats["succeeded"]
    with pytest.raises(FloatingPointError, match=r"did not reach its end.*max_steps"):
        solution.check()


# --- error estimates and evaluation ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("limiter", ["van_leer", "none"])
def test_error_estimate_is_honest_on_a_smooth_wave(limiter):
    problem = js.problems.advection(speed=1.0)
    solution = js.solve(problem, V(n=64, limiter=limiter))
    h = 2 * np.pi / 64
    exact = np.sinc(h / 2 / np.pi) * np.sin(np.asarray(solution.grid["x"]) - np.asarray(solution.ts)[:, None])
    error = np.linalg.norm(solution["u"] - exact) / np.linalg.norm(exact)
    assert error / 2 < float(solution.error_estimate) < 3 * error


@pytest.mark.parametrize("name", ["burgers_shock", pytest.param("sod", marks=pytest.mark.slow)])
def test_error_estimate_is_honest_with_shocks(name):
    solution = solved(name, V(n=100))
    problem, x = solution.problem, solution.grid["x"]
    exact = jax.jit(jax.vmap(jax.vmap(problem.exact_field, (None, 0)), (0, None)))(solution.ts, x)
    gap = np.linalg.norm(np.moveaxis(exact, 2, 1) - solution.fields, axis=(0, 2))
    error = (gap / np.linalg.norm(np.moveaxis(exact, 2, 1), axis=(0, 2))).max()
    assert error / 2 < float(solution.error_estimate) < 6 * error


@pytest.mark.parametrize("n", [50, (34, 22)])
def test_averages_of_the_initial_field_and_of_the_profiles_in_the_cells(n):
    wave = lambda x, y: js.sin(x) * js.cos(y)
    if isinstance(n, int):
        problem = burgers()
        exact = lambda x: 0.5 + np.sin(x)
    else:
        box = js.Box(t=(0, 0.1), x=(0, 2 * np.pi), y=(0, 2 * np.pi))
        problem = js.Problem(js.Equation(lambda u: u.t + u.x + u.y), box, initial={"u": wave})
        exact = lambda x, y: np.sin(x) * np.cos(y)
    solution = js.solve(problem, fast(n=n), ts=[0.0, 0.1])
    assert solution.fields.shape[2:] == ((50,) if isinstance(n, int) else n)
    space, shape = problem.domain.space, solution.fields.shape[2:]
    quarters = [2 * np.pi * (np.arange(4 * size) + 0.5) / (4 * size) for size in shape]  # four points in each cell
    mesh = np.meshgrid(*quarters, indexing="ij")
    values = np.asarray(solution.evaluate(t=0.0, **dict(zip(space, mesh, strict=True))))
    assert np.abs(values - exact(*mesh)).max() < 0.06  # measured 0.05, at the extremes, which are clipped
    assert np.abs(values - exact(*mesh)).mean() < 0.01
    means = values.reshape([k for size in shape for k in (size, 4)]).mean(axis=tuple(range(1, 2 * len(shape), 2)))
    np.testing.assert_allclose(means, solution["u"][0], atol=1e-14)


def test_single_precision_stays_single():
    with jax.enable_x64(False):
        solution = js.solve(burgers(), fast(n=32))
        assert {leaf.dtype for leaf in jax.tree.leaves((solution.fields, solution.grid, solution.field))} <= {
            jnp.dtype("float32"),
            jnp.dtype("int32"),
        }
        assert float(jnp.abs(solution["u"].sum(axis=1) / solution["u"][0].sum() - 1).max()) < 2e-6


# --- refusals ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 3}, "n must be whole numbers >= 4, got 3"),
        ({"n": 10.0}, "n must be whole numbers"),
        ({"limiter": "superbee"}, "limiter must be one of minmod, van_leer, mc, none, got 'superbee'"),
        ({"cfl": 0.0}, "cfl must be positive"),
        ({"dt": -1.0}, "dt must be positive"),
        ({"rtol": float("nan")}, "rtol must be positive"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        V(**options)


def test_problems_that_it_cannot_carry_are_named():
    with pytest.raises(ValueError, match="poisson is steady"):
        js.solve(js.problems.poisson(), V())
    with pytest.raises(ValueError, match="lorenz has no space"):
        js.solve(js.problems.lorenz(), V())
    with pytest.raises(ValueError, match="u has 2"):
        js.solve(js.problems.wave(), V())
    with pytest.raises(ValueError, match="n has 2 entries for the 1 axes x"):
        js.solve(burgers(), V(n=(8, 8)))
    crossed = js.Equation(lambda u, v: (u.t - (u * v.x).x, v.t - v.xx), "u v")
    problem = js.Problem(crossed, js.Box(t=(0, 1), x=(0, 1)), initial={"u": 0, "v": 0})
    with pytest.raises(ValueError, match=r"in equation 1 of equation the diffusion along x couples the unknowns u, v"):
        js.solve(problem, V(n=8))
