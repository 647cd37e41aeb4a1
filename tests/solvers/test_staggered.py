"""The staggered method: solving, stepping, differentiating, saving, and saying what went wrong."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.solvers import mac_stencils as stencils

TS = np.array([0.0, 0.2, 0.4])
CAVITY = js.Staggered(n=(8, 10), dt=0.05, stretch={"y": 1.5}, estimate=False)
# The compiler takes all the time here, the programs none: let it optimise less.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def cavity():
    return js.solve(js.problems.lid_driven_cavity(viscosity=0.1), CAVITY, ts=TS)


@functools.cache
def stepper():
    return js.stepper(js.problems.lid_driven_cavity(viscosity=0.1), CAVITY)


@functools.cache
def marched():
    """The stepper's start, its states after 4 and 8 steps decoded, and the last encoded again."""

    @jit
    def march(s):
        start = s.initial()
        end, states = jax.lax.scan(lambda state, _: (s.step(state),) * 2, start, length=8)
        fields = jax.vmap(s.decode)(jax.tree.map(lambda v: v[3::4], states))
        return start, end, fields, s.encode(fields[-1][:2], end.t)

    return march(stepper())


@pytest.mark.slow
def test_stepping_is_what_solve_does():
    assert np.asarray(marched()[2]) == pytest.approx(np.asarray(cavity().fields[1:]), abs=1e-12)
    assert int(cavity().stats["steps"]) == 8
    assert cavity().stats["dt"] == pytest.approx(0.05)


def test_courant_number_of_a_state_is_the_one_of_the_run():
    assert 0.1 < float(stepper().courant(marched()[1])) <= float(cavity().stats["cfl"]) * (1 + 1e-12)


def test_solution_is_at_the_nodes_with_the_walls_values():
    solution = cavity()
    assert solution.fields.shape == (3, 3, 9, 11)
    assert {name: tuple(axis) for name, axis in solution.grid.items()} == {
        name: tuple(axis) for name, axis in stepper().grid.items()
    }
    u, v = solution["u"], solution["v"]
    assert np.asarray(u[:, 1:-1, -1]) == pytest.approx(1.0)
    for wall in (u[:, 0], u[:, -1], u[:, 1:-1, 0], v[:, 0], v[:, -1], v[:, :, 0], v[:, :, -1]):
        assert np.abs(wall[..., :-1]).max() < 1e-14
    assert np.abs(u).max() > 0.5
    x, y = solution.grid["x"], solution.grid["y"]
    found = solution.evaluate(t=TS[:, None, None], x=x[:, None], y=y)
    assert np.asarray(found) == pytest.approx(np.moveaxis(np.asarray(solution.fields), 1, 0), abs=1e-13)


def test_velocity_has_no_divergence_and_pressure_no_mean():
    values = marched()[1].values
    flow = stepper().flow
    assert np.abs(stencils.divergence(flow.axes, values.velocity)).max() < 1e-13
    assert cavity().stats["divergence"] < 1e-13
    weights = np.outer(flow.axes[0].widths, flow.axes[1].widths)
    s, end = stepper(), marched()[1]
    pressure = jit(lambda s, state: flow.pressure(s.operators, s.problem, state.values.velocity, state.t))(s, end)
    assert np.sum(np.asarray(pressure) * weights) == pytest.approx(0, abs=1e-13)
    assert np.abs(pressure).max() > 0.1


def test_encoding_what_was_decoded_comes_back_nearly():
    end, again = marched()[1], marched()[3]
    for a, b in zip(end.values.velocity, again.values.velocity, strict=True):
        assert np.abs(a - b).max() < 0.2 * np.abs(a).max()  # 80 cells, and a lid
        assert np.abs(a - b).max() > 0
    assert np.abs(stencils.divergence(stepper().flow.axes, again.values.velocity)).max() < 1e-12
    with pytest.raises(ValueError, match=r"the fields u, v at the nodes have shape \(2, 9, 11\), got \(3, 9, 11\)"):
        stepper().encode(np.zeros((3, 9, 11)))
    with pytest.raises(KeyError, match="field 'w' does not exist"):
        stepper().encode({"u": 0, "w": 0})


def test_adjoint_identity_of_a_step():
    """<J v, w> = <v, J' w> for the whole step, both solves included, and linear in the velocity that enters."""
    s, end = stepper(), marched()[1]
    random = np.random.default_rng(0)
    like = lambda tree: jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape)), tree)
    v, w = like(end.values), like(end.values)
    dot = lambda a, b: sum(jnp.vdot(p, q) for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))

    @jit
    def both(s, end, v, w):
        step = lambda values: s.step(end._replace(values=values)).values
        forward = jax.jvp(step, (end.values,), (v,))[1]
        return dot(forward, w), dot(v, jax.vjp(step, end.values)[1](w)[0]), jnp.sqrt(dot(forward, forward) * dot(w, w))

    left, right, size = both(s, end, v, w)
    assert abs(left - right) < 1e-12 * size
    assert abs(left) > 1e-4 * size


@pytest.mark.slow
def test_gradient_of_a_rollout_equals_differences_and_a_batch_equals_a_loop():
    problem = js.problems.lid_driven_cavity(viscosity=0.1)

    def energy(viscosity):
        solution = js.solve(problem.with_coefficients(viscosity=viscosity), CAVITY, ts=TS)
        return jnp.sum(solution.fields[-1, :2] ** 2) + solution.fields[1, 2, 2, 5]

    step = 1e-5
    values, slopes = jit(jax.vmap(jax.value_and_grad(energy)))(jnp.array([0.1, 0.1 + step, 0.1 - step]))
    assert float(slopes[0]) == pytest.approx(float(values[1] - values[2]) / (2 * step), rel=1e-7)
    fields = cavity().fields
    assert float(values[0]) == pytest.approx(float(jnp.sum(fields[-1, :2] ** 2) + fields[1, 2, 2, 5]), rel=1e-12)


@pytest.mark.slow
def test_start_need_not_be_saved_and_the_estimate_is_near_the_error():
    problem = js.problems.channel()
    ts = np.array([0.5, 1.0])
    solution = js.solve(problem, js.Staggered(n=(8, 16), dt=0.02), ts=ts)
    assert solution.fields.shape == (2, 3, 9, 17)
    exact = np.asarray(problem.exact["u"]({"t": 1.0, "y": np.asarray(solution.grid["y"])}, problem.coefficients))
    error = np.linalg.norm(solution["u"][-1] - exact) / np.linalg.norm(exact) / 3  # of nine columns
    assert error / 2 < solution.error_estimate < 2 * error
    assert 1e-4 < error < 1e-2
    assert solution.cost.solve_seconds > 0
    assert solution.stats["estimate_seconds"] > 0
    stepper = js.stepper(problem, js.Staggered(n=(8, 16), dt=0.5 / 25))
    march = jit(lambda s: s.decode(jax.lax.scan(lambda state, _: (s.step(state), None), s.initial(), length=25)[0]))
    assert np.asarray(march(stepper)) == pytest.approx(np.asarray(solution.fields[0]), abs=1e-13)
    assert np.isnan(cavity().error_estimate)


def test_step_is_chosen_from_the_flow_and_stops_at_a_steady_state():
    said = []
    problem = js.problems.lid_driven_cavity(viscosity=0.1)
    free = js.solve(problem, js.Staggered(n=8, estimate=False, steady=1e-5), ts=[0.0, 50.0, 100.0], progress=said.append)
    assert len(said) == free.stats["tries"] == 1
    assert "Courant number" in said[0]
    assert 0.5 < free.stats["cfl"] < 1.6
    assert 0 < free.stats["steps"] < 0.2 * 100 / free.stats["dt"]
    assert free.stats["change"] < 1e-5
    assert np.asarray(free.fields[2]) == pytest.approx(np.asarray(free.fields[1]), abs=1e-4)
    given = js.solve(problem, js.Staggered(n=8, estimate=False, dt=0.2), ts=[0.0, 10.0, 20.0])
    # A steady state does not depend on the step.
    assert np.asarray(given.fields[2]) == pytest.approx(np.asarray(free.fields[2]), abs=1e-4)


def test_unstable_run_is_reported_with_its_time():
    problem = js.problems.lid_driven_cavity(viscosity=1e-4)
    solution = js.solve(problem, js.Staggered(n=16, dt=25.0, estimate=False), ts=[0.0, 50.0, 100.0])
    assert not np.isfinite(solution.stats["cfl"])
    with pytest.raises(FloatingPointError, match=r"not finite from t = 100 on.*smaller step"):
        solution.check()


def test_inflow_is_balanced_where_the_grid_sums_it_differently():
    """Through the walls of this box flows as much in as out, but not as the faces' midpoints count it."""
    u, v = (lambda x, y: js.sin(x) * js.cos(y)), (lambda x, y: -js.cos(x) * js.sin(y))
    problem = js.Problem(
        js.problems.kovasznay().equation,
        js.Box(t=(0, 1), x=(0.1, 1.3), y=(-0.4, 0.9)),
        coefficients={"viscosity": 0.1},
        initial={"u": u, "v": v},
        boundary={"x": js.Dirichlet(u=u, v=v), "y": js.Dirichlet(u=u, v=v)},
    )
    flow = js.Staggered(n=(8, 12)).discretise(problem)

    @jit
    def measure(operators, problem, t):
        normal = list(flow.walls(problem.coefficients, t).normal)
        velocity = flow.initial(operators, problem, t.dtype).velocity
        left = flow._fluxes(normal, lambda value: value)
        return flow.net_inflow(problem.coefficients, t), left, stencils.divergence(flow.axes, velocity)

    raw, left, divergence = measure(flow.operators(float), problem, jnp.asarray(0.0))
    assert 1e-5 < abs(raw) < 1e-2
    assert abs(left) < 1e-15
    assert np.abs(divergence).max() < 1e-13
