"""The PDE-constrained layer: its solution against closed forms and dense solves, its derivative against differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.constraints import normal_equations
from jaxsci.constraints.basis_rows import Pointwise, smooth_floor

C = js.constraints
BURGERS = js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx, name="burgers")
DRAW = np.random.default_rng(0)
T, X = DRAW.uniform(0, 1, (2, 120))
START = np.linspace(0.0, 1.0, 15)


def basis(t, x):
    """u = x / (1 + t) solves Burgers' equation for every viscosity: the first function less 0.3 times the second."""
    return jnp.stack([x / (1 + t) + 0.3 * jnp.sin(x), jnp.sin(x), jnp.cos(2 * x * t), x * t**2, 1 + 0 * x])


PARTIALS = jax.tree.map(np.asarray, C.basis_partials(BURGERS, basis, {"t": T, "x": X}))
AT_START = np.asarray(jax.vmap(basis)(0 * START, START))


def data(seed=1):
    """Everything that the layer is differentiable in, with a residual that does not vanish."""
    random = np.random.default_rng(seed)
    noise = lambda like: 0.1 * random.normal(size=like.shape)
    return {
        "partials": {p: v + noise(v) for p, v in PARTIALS.items()},
        "start": AT_START,
        "viscosity": np.asarray(0.05),
        "target": START + 0.1 * np.sin(5 * START),
        "weight": np.asarray(1.3),
    }


def layer(data, exact=False, points=(T, X)):
    rows = C.equation_rows(
        BURGERS, data["partials"], dict(zip("tx", points, strict=True)), {"viscosity": data["viscosity"]},
        weight=data["weight"][..., None],
    )  # fmt: skip
    held = C.linear_rows(data["start"], data["target"])
    held = C.linear_rows(data["start"][..., ::7, :], data["target"][..., ::7]) if exact else held
    return C.PDEConstraint((rows,), (held,)) if exact else C.PDEConstraint((rows, held))


@functools.partial(jax.jit, static_argnums=1)
def solved(data, exact=False, start=None, max_steps=100):
    return C.project(layer(data, exact), np.zeros(5) if start is None else start, tol=1e-13, max_steps=max_steps)


@functools.partial(jax.jit, static_argnums=3)
def slopes(given, direction, weights, exact):
    """The tangent, and the gradient of a weighted sum."""
    tangent = jax.jvp(lambda g: solved(g, exact)[0], (given,), (direction,))[1]
    return tangent, jax.grad(lambda g: weights @ solved(g, exact)[0])(given)


@pytest.mark.slow
@pytest.mark.parametrize("exact", [False, True])
def test_an_exact_solution_in_the_span_is_found(exact):
    given = data() | {"partials": PARTIALS, "target": START}
    omega, info = solved(given, exact)
    assert bool(info.converged)
    assert int(info.steps) < 15
    np.testing.assert_allclose(omega, [1, -0.3, 0, 0, 0], atol=1e-12)
    assert float(info.residual) < 1e-12
    assert float(layer(given, exact).violation(omega)) < 1e-12


@pytest.mark.slow
def test_linear_equations_take_one_factorisation_and_match_a_dense_solve():
    heat = js.problems.heat()
    points = {"t": T, "x": X}
    functions = lambda t, x: jnp.stack([jnp.exp(-n * t) * jnp.sin(n * jnp.pi * x) for n in (1, 2, 3, 4)])
    constraint = C.pde_constraint(heat, functions, points, {"diffusivity": 0.3})
    assert constraint.is_linear
    omega, info = C.project(constraint, jnp.zeros(4))
    matrix = jax.jacfwd(constraint.residual)(jnp.zeros(4))
    truth = np.linalg.lstsq(np.asarray(matrix), -np.asarray(constraint.residual(jnp.zeros(4))), rcond=None)[0]
    np.testing.assert_allclose(omega, truth, atol=1e-13)
    assert bool(info.converged)
    assert int(info.steps) == 1


@pytest.mark.parametrize("exact", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_derivative_in_all_data_is_that_of_the_solution(exact):
    given = data()
    direction = jax.tree.map(lambda v: DRAW.normal(size=v.shape), given)
    value = lambda g: solved(g, exact)[0]
    assert bool(solved(given, exact)[1].converged)
    weights = jnp.arange(1.0, 6.0)
    tangent, gradient = slopes(given, direction, weights, exact)
    moved = lambda h: value(jax.tree.map(lambda a, b: a + h * b, given, direction))
    h = 1e-4
    slope = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    np.testing.assert_allclose(tangent, slope, rtol=1e-7, atol=1e-8)
    product = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(product, weights @ tangent, rtol=1e-11)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.slow
def test_second_derivatives_and_jacobians_agree(exact):
    given = data()
    total = lambda s: jnp.sum(jnp.sin(solved(given | {"viscosity": s[0], "target": given["target"] * s[1]}, exact)[0]))
    at = jnp.array([0.05, 1.0])
    hessian = jax.jit(jax.hessian(total))(at)
    gradient = jax.jit(jax.grad(total))
    h = 1e-4
    rows = [(gradient(at + h * e) - gradient(at - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(hessian, jnp.stack(rows), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(total))(at), gradient(at), rtol=1e-11)


@pytest.mark.slow
def test_gauss_newton_derivatives_are_exact_only_where_the_residual_vanishes():
    def slope(given, gauss_newton):
        def of(viscosity):
            made = layer(given | {"viscosity": viscosity})
            return C.project(C.PDEConstraint(made.rows, (), gauss_newton), jnp.zeros(5), tol=1e-13)[0]

        return jax.jit(jax.jacfwd(of))(jnp.asarray(0.05))

    exact = data() | {"partials": PARTIALS, "target": START}
    np.testing.assert_allclose(slope(exact, True), slope(exact, False), atol=1e-10)
    assert float(jnp.abs(slope(data(), True) - slope(data(), False)).max()) > 1e-4


@pytest.mark.slow
def test_one_pass_gives_cost_gradient_and_whole_hessian(monkeypatch):
    monkeypatch.setattr(normal_equations, "CHUNK", 32)  # several chunks, and padding
    constraint = layer(data())
    chunks = tuple(normal_equations.in_chunks(part) for part in constraint.rows)
    omega = jnp.linspace(-1.0, 1.0, 5)
    found = normal_equations.model(chunks, omega, full=True)
    np.testing.assert_allclose(found.cost, constraint.penalty(omega), rtol=1e-14)
    np.testing.assert_allclose(found.gradient, jax.grad(constraint.penalty)(omega), rtol=1e-12)
    np.testing.assert_allclose(found.hessian, jax.hessian(constraint.penalty)(omega), rtol=1e-12)
    frame = jnp.asarray(DRAW.normal(size=(5, 3)))
    np.testing.assert_allclose(
        normal_equations.model(chunks, omega, frame, full=True).hessian, frame.T @ found.hessian @ frame, rtol=1e-11
    )


@pytest.mark.slow
def test_a_batch_is_its_members_and_a_member_that_is_nan_disturbs_none():
    batch = [data(seed) for seed in (1, 2, 3)]
    stacked = jax.tree.map(lambda *v: jnp.stack(v), *batch)
    stacked["partials"]["u", "x"] = stacked["partials"]["u", "x"].at[1, 3, 2].set(jnp.nan)
    omega, info = solved(stacked)
    assert omega.shape == (3, 5)
    assert info.status.tolist() == [C.CONVERGED, C.NOT_FINITE, C.CONVERGED]
    assert bool(jnp.isfinite(omega).all())
    for k in (0, 2):
        np.testing.assert_allclose(omega[k], solved(batch[k])[0], rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_gradients_of_a_batch_with_a_nan_member_are_finite():
    stacked = jax.tree.map(lambda *v: jnp.stack(v), data(1), data(2))
    stacked["target"] = stacked["target"].at[1, 3].set(jnp.nan)
    gradient = jax.jit(jax.grad(lambda g: jnp.sum(solved(g)[0])))(stacked)
    assert float(jnp.abs(gradient["start"][0]).max()) > 0
    assert all(bool(jnp.isfinite(v).all()) for v in jax.tree.leaves(gradient))


def test_a_rank_deficient_basis_takes_the_solution_nearest_to_the_start():
    x = jnp.linspace(0.0, 1.0, 30)
    matrix = jnp.stack([x, x, x**2], -1)
    start = jnp.array([1.0, 0.0, 0.5])
    of = jax.jit(lambda m: C.project(C.PDEConstraint((C.linear_rows(m, x),)), start))
    omega, info = of(matrix)
    np.testing.assert_allclose(omega, [1.0, 0.0, 0.0], atol=1e-13)
    assert bool(info.converged)


@pytest.mark.slow
def test_a_rank_deficient_nonlinear_basis_has_finite_derivatives():
    matrix = jnp.stack([X, X, X**2], -1)
    of = lambda m: C.project(C.PDEConstraint((C.linear_rows(m, X),)), jnp.zeros(3))[0]
    assert bool(jnp.isfinite(jax.jit(jax.jacfwd(of))(matrix)).all())
    doubled = jax.tree.map(lambda v: jnp.concatenate([v, v[..., :1]], -1), PARTIALS)
    rows = C.equation_rows(BURGERS, doubled, {"t": T, "x": X}, {"viscosity": 0.05})
    held = C.linear_rows(jnp.concatenate([AT_START, AT_START[:, :1]], 1), START)
    omega, info = jax.jit(C.project)(C.PDEConstraint((rows, held)), jnp.zeros(6))
    assert bool(info.converged)
    assert float(info.residual) < 1e-10
    np.testing.assert_allclose(omega[0] + omega[5], 1.0, atol=1e-8)  # which of them, is left open


def test_exact_conditions_that_contradict_each_other_are_infeasible_and_redundant_ones_are_not():
    held = C.linear_rows(jnp.concatenate([AT_START[:2]] * 2), jnp.array([0.1, 0.2, 0.1, 0.2]))
    rows = layer(data()).rows[:1]
    omega, info = jax.jit(C.project)(C.PDEConstraint(rows, (held,)), jnp.zeros(5))
    assert bool(info.converged)
    assert float(jnp.abs(AT_START[:2] @ omega - jnp.array([0.1, 0.2])).max()) < 1e-13
    held = C.linear_rows(jnp.concatenate([AT_START[:2]] * 2), jnp.array([0.1, 0.2, 0.3, 0.2]))
    omega, info = jax.jit(C.project)(C.PDEConstraint(rows, (held,)), jnp.zeros(5))
    assert int(info.status) == C.INFEASIBLE
    assert bool(jnp.isfinite(omega).all())


@pytest.mark.slow
def test_too_few_steps_are_told_and_a_warm_start_takes_fewer():
    given = data()
    _, info = solved(given, max_steps=1)
    assert int(info.status) == C.MAX_STEPS
    assert not bool(info.converged)
    _, cold = solved(given)
    near = given | {"viscosity": given["viscosity"] * 1.01}
    omega, warm = solved(near, start=cold.warm)
    assert int(warm.steps) < int(cold.steps)
    np.testing.assert_allclose(omega, solved(near)[0], atol=1e-9)


@pytest.mark.slow
def test_a_stationary_point_that_is_no_minimum_is_told():
    # u^2 = 1 at u = omega: omega = 0 is stationary, and a maximum.
    rows = C.equation_rows(js.Equation(lambda u: u * u - 1), {("u", ""): jnp.ones((3, 1))}, {})
    omega, info = jax.jit(C.project)(C.PDEConstraint((rows,)), jnp.zeros(1))
    assert int(info.status) == C.SADDLE
    assert float(omega[0]) == 0
    omega, info = jax.jit(C.project)(C.PDEConstraint((rows,)), jnp.full(1, 0.1))
    assert bool(info.converged)
    assert abs(float(omega[0]) - 1) < 1e-12


@pytest.mark.slow
def test_float32_reaches_its_own_round_off():
    given = jax.tree.map(lambda v: v.astype(np.float32), data() | {"partials": PARTIALS, "target": START})
    single = jax.jit(C.project)(layer(given), jnp.zeros(5, jnp.float32))
    assert single[0].dtype == jnp.float32
    assert bool(single[1].converged)
    np.testing.assert_allclose(single[0], [1, -0.3, 0, 0, 0], atol=2e-4)


@pytest.mark.slow
def test_powers_of_the_unknown_stay_smooth_with_a_floor():
    u = jnp.array([-1e3, -1.0, 0.0, 1e-3, 1.0, 1e3])
    floor = smooth_floor(u, 1e-3)
    assert bool((floor > 0).all())
    assert float(floor[2]) == 1e-3
    np.testing.assert_allclose(floor[4:], u[4:], rtol=2e-6)
    np.testing.assert_allclose(floor[1], 1e-6, rtol=1e-5)  # delta^2 / |u|, without cancellation
    sorption = js.problems.diffusion_sorption()
    b = {p: jnp.ones((4, 2)) for p in sorption.equation.partials}
    at_zero = lambda floor: C.equation_rows(sorption, b, {}, floor=floor)
    of = lambda rows: jax.hessian(lambda w: jnp.sum(rows.values(w)))(jnp.zeros(2))
    assert bool(jnp.isfinite(of(at_zero({"u": 1e-3}))).all())
    assert not bool(jnp.isfinite(of(at_zero(None))).all())


def test_an_equation_is_split_into_what_is_linear_and_the_rest():
    flow = js.problems.navier_stokes_vorticity().equation
    first = Pointwise(flow, (0,))
    assert set(first.linear) == {("w", "t"), ("w", "xx"), ("w", "yy")}
    assert first.nonlinear == (("psi", "x"), ("psi", "y"), ("w", "x"), ("w", "y"))
    assert first.pairs == ((0, 3), (1, 2))
    assert Pointwise(flow, (1,)).nonlinear == ()


def test_rows_of_several_equations_offsets_and_targets_are_those_of_the_residual():
    flow = js.problems.navier_stokes_vorticity()
    points = {c: jnp.asarray(DRAW.uniform(size=20)) for c in "txy"}
    field = lambda t, x, y, k: {"w": jnp.sin(k * x + t) * jnp.cos(y), "psi": jnp.cos(x + k * t) * jnp.sin(k * y)}
    functions = lambda t, x, y: jax.tree.map(lambda *v: jnp.stack(v), *[field(t, x, y, k) for k in (1.0, 2.0, 3.0)])
    partials = C.basis_partials(flow, functions, points)
    offset = {p: v[:, 2] for p, v in partials.items()}
    rows = C.equation_rows(flow, {p: v[:, :2] for p, v in partials.items()}, points, offset=offset, target=0.25)
    omega = jnp.array([0.7, -1.2, 1.0])
    total = lambda t, x, y: jax.tree.map(lambda v: v @ omega, functions(t, x, y))
    truth = js.residual(flow)(total, None, points) - 0.25
    np.testing.assert_allclose(rows.unweighted(omega[:2]).T, truth, atol=1e-13)


def test_conditions_are_those_of_the_problem():
    problem = js.Problem(
        BURGERS, js.Box(t=(0, 1), x=(0, 2)), coefficients={"viscosity": 0.1}, initial={"u": lambda x: x / 2},
        boundary={"x": (js.Robin(2.0, 0.5), js.Neumann(lambda t: t))},
    )  # fmt: skip
    points = {"t": T[:9], "x": X[:9]}
    start, lower, upper = C.condition_rows(problem, lambda t, x: jnp.stack([x + t, x**2]), points)
    omega = jnp.array([2.0, 3.0])
    np.testing.assert_allclose(start.unweighted(omega)[0], 2 * X[:9] + 3 * X[:9] ** 2 - X[:9] / 2, atol=1e-14)
    np.testing.assert_allclose(lower.unweighted(omega)[0], -2 + 2 * 2 * T[:9] - 0.5, atol=1e-14)
    np.testing.assert_allclose(upper.unweighted(omega)[0], 2 + 12 - T[:9], atol=1e-14)
    ring = js.Problem(BURGERS, js.Box(t=(0, 1), x=(-1, 1)), coefficients={"viscosity": 0.1}, initial={"u": 0})
    periodic = C.condition_rows(ring, lambda t, x: jnp.stack([jnp.sin(jnp.pi * x), x]), points)
    np.testing.assert_allclose(periodic[1].unweighted(jnp.array([1.0, 0.5]))[0], -1.0, atol=1e-14)  # the values
    np.testing.assert_allclose(periodic[2].unweighted(jnp.array([1.0, 0.5]))[0], 0.0, atol=1e-14)  # and the slopes


@pytest.mark.parametrize(("periodic", "tolerance"), [(False, 1e-4), (True, 1e-10)])
def test_partials_on_a_grid(periodic, tolerance):
    x = 2 * jnp.pi * jnp.arange(128) / 128
    t = jnp.linspace(0.0, 1.0, 41)
    wave = jnp.sin(2 * x)[None, :] * jnp.exp(-t)[:, None]
    values = jnp.stack([wave, wave**2], -1)[None]
    spacing = {"t": 1 / 40, "x": 2 * jnp.pi / 128}
    found = C.grid_partials(BURGERS, values, spacing, periodic=("x",) if periodic else ())
    np.testing.assert_allclose(found["u", "xx"][0, ..., 0], -4 * wave, atol=40 * tolerance)
    np.testing.assert_allclose(found["u", "x"][0, ..., 1], 2 * jnp.sin(4 * x) * jnp.exp(-2 * t)[:, None], atol=4 * tolerance)
    np.testing.assert_allclose(found["u", "t"][0, ..., 0], -wave, atol=1e-6)
    at = C.at_places(found, jnp.array([0, 129]), (41, 128))
    np.testing.assert_array_equal(at["u", "x"][0, 1], found["u", "x"][0, 1, 1])


def test_bad_input_is_named():
    points = {"t": T, "x": X}
    given = {"viscosity": 0.1}
    with pytest.raises(ValueError, match=r"needs the partial derivatives \[\('u', 'xx'\)\]"):
        C.equation_rows(BURGERS, {k: v for k, v in PARTIALS.items() if k != ("u", "xx")}, points, given)
    with pytest.raises(KeyError, match="viscosity"):
        C.equation_rows(BURGERS, PARTIALS, points)
    with pytest.raises(KeyError, match="viscosty"):
        C.equation_rows(BURGERS, PARTIALS, points, given | {"viscosty": 1.0})
    with pytest.raises(ValueError, match="one shape"):
        C.equation_rows(BURGERS, PARTIALS | {("u", "t"): PARTIALS["u", "t"][:5]}, points, given)
    with pytest.raises(ValueError, match="floor must be positive"):
        C.equation_rows(BURGERS, PARTIALS, points, given, floor={"u": 0.0})
    with pytest.raises(ValueError, match="among 0 to 0"):
        C.equation_rows(BURGERS, PARTIALS, points, given, equations=(1,))
    with pytest.raises(ValueError, match="weight holds NaN"):
        C.equation_rows(BURGERS, PARTIALS, points, given, weight=float("nan"))
    with pytest.raises(ValueError, match="exact rows must be linear"):
        C.PDEConstraint(C.linear_rows(AT_START), layer(data()).rows)
    with pytest.raises(ValueError, match="the same N"):
        C.PDEConstraint((C.linear_rows(AT_START), C.linear_rows(AT_START[:, :2])))
    with pytest.raises(ValueError, match="rows, as from"):
        C.PDEConstraint(())
    with pytest.raises(ValueError, match="needs 5 grid points"):
        C.grid_derivative(jnp.zeros(4), 0, 0.1)
    with pytest.raises(ValueError, match="conditions must be"):
        C.pde_constraint(js.problems.heat(), basis, points, conditions="hard")
    with pytest.raises(ValueError, match=r"must return \[N\] for u at ONE point"):
        C.pde_constraint(js.problems.heat(), lambda t, x: t * x, points)
    with pytest.raises(TypeError, match="points are columns by coordinate"):
        C.pde_constraint(js.problems.heat(), basis, jnp.ones((5, 2)))
    with pytest.raises(ValueError, match=rf"a point has N = {AT_START.shape[-1]} coefficients"):
        C.project(C.PDEConstraint(C.linear_rows(AT_START)), jnp.zeros(AT_START.shape[-1] - 1))
    assert repr(C.PDEConstraint(C.linear_rows(AT_START))).startswith("PDEConstraint(rows: [(1, ")


def test_exact_rows_that_leave_nothing_free_are_met():
    """What is left of the equation's rows are rounding errors: no direction to go along."""
    functions = lambda t, x: jnp.stack([jnp.exp(-((n * jnp.pi) ** 2) * t / 10) * jnp.sin(n * jnp.pi * x) for n in (1, 2, 3)])
    constraint = C.pde_constraint(js.problems.heat(), functions, {"t": T, "x": X}, {"diffusivity": 0.1}, conditions="exact")
    omega, info = C.project(constraint, jnp.zeros(3))
    np.testing.assert_allclose(omega, [1, 0, 0], atol=1e-12)
    assert bool(info.converged)
    assert float(info.residual) < 1e-12


def test_a_nonlinear_equation_moves_nothing_that_exact_rows_hold():
    """sin(n pi x) exp(-t), n = 1, 2, 3: the start of Burgers' equation fixes all three."""
    functions = lambda t, x: jnp.stack([jnp.exp(-t) * jnp.sin(n * jnp.pi * x) for n in (1, 2, 3)])
    constraint = C.pde_constraint(js.problems.burgers(), functions, {"t": T, "x": 2 * X - 1}, conditions="exact")
    omega, info = C.project(constraint, jnp.zeros(3))
    np.testing.assert_allclose(omega, [-1, 0, 0], atol=1e-14)
    assert bool(info.converged)
