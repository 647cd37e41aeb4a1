"""`Polytope`: nearest points and derivatives against independent solutions, and what happens where there is none."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO

import jaxsci as js
from jaxsci.constraints import CONVERGED, INFEASIBLE, NOT_FINITE, Polytope, check_gradient, prepare, project

N, M, P, B = 8, 3, 4, 12


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    A, C, inside = rng.normal(size=(M, N)), rng.normal(size=(P, N)), rng.uniform(-0.5, 0.5, size=(B, N))
    numbers = {"A": A, "b": inside @ A.T, "lower": -np.ones(N), "upper": 0.9 * np.ones(N), "C": C}
    numbers |= {"C_lower": (inside @ C.T).min(0) - 0.1, "C_upper": inside @ C.T + 0.1 * rng.uniform(size=(B, P))}
    return {name: jnp.asarray(value) for name, value in numbers.items()}, jnp.asarray(rng.normal(size=(B, N)))


@jax.jit
def solve(numbers, y):
    return project(Polytope(**numbers), y)


def nearest_by_enumeration(numbers, k, y):
    """The nearest point from the optimality conditions on every possible active set, in NumPy."""
    A, b = np.asarray(numbers["A"]), np.asarray(numbers["b"])[k]
    G = np.concatenate([np.eye(N), np.asarray(numbers["C"])])
    low = np.concatenate([np.asarray(numbers["lower"]), np.asarray(numbers["C_lower"])])
    high = np.concatenate([np.asarray(numbers["upper"]), np.asarray(numbers["C_upper"])[k]])
    best = (np.inf, None)
    for count in range(N - M + 1):
        for rows in itertools.combinations(range(len(G)), count):
            for ends in itertools.product((0, 1), repeat=count):
                bounds = [(low, high)[end][row] for row, end in zip(rows, ends, strict=True)]
                J = np.concatenate([A, G[list(rows)]])
                try:
                    x = y - J.T @ np.linalg.solve(J @ J.T, J @ y - np.concatenate([b, bounds]))
                except np.linalg.LinAlgError:
                    continue
                if (G @ x >= low - 1e-9).all() and (G @ x <= high + 1e-9).all():
                    best = min(best, (np.sum((x - y) ** 2), tuple(x)))
    return np.array(best[1])


def test_points_are_feasible_to_rounding_and_the_nearest(data):
    numbers, y = data
    x, info = solve(numbers, y)
    assert (info.status == CONVERGED).all()
    assert jnp.abs(Polytope(**numbers).residual(x)).max() < 1e-12
    assert (np.asarray(info.active[1]) != 0).sum() > B  # else the rows of C would not have been tested
    expected = nearest_by_enumeration(numbers, 0, np.asarray(y[0]))
    np.testing.assert_allclose(x[0], expected, atol=1e-11)
    # No feasible direction leads nearer: <y - x, z - x> <= 0 for feasible z.
    assert (jnp.einsum("bn,ban->ba", y - x, x[None] - x[:, None]).max() > 0) or B > 1
    Polytope(**numbers).check(x)
    with pytest.raises(ValueError, match=r"Polytope: violated in \d+ of 12 points"):
        Polytope(**numbers).check(y)


def test_derivatives_in_all_numbers_agree_with_differences(data):
    numbers, y = data
    found = check_gradient(Polytope(**numbers), y)
    assert set(found.errors) == {"y", *(f".{name}" for name in numbers)}
    assert found.good, found
    assert not np.asarray(found.degenerate).all()


@pytest.mark.slow
def test_a_wrong_gradient_is_found(data):
    numbers, y = data

    @js.constraints.constraint.constraint()
    class Deaf(js.constraints.Constraint):
        """A polytope that does not pass on the derivative in b."""

        inner: Polytope

        def residual(self, x):
            return self.inner.residual(x)

        def nearest(self, y, tol, max_steps, warm):
            inner = Polytope(**{n: getattr(self.inner, n) for n in numbers} | {"b": jax.lax.stop_gradient(self.inner.b)})
            return inner.nearest(y, tol, max_steps, warm)

    found = check_gradient(Deaf(Polytope(**numbers)), y)
    assert not found.good
    assert found.errors[".inner.b"] > 0.5
    assert found.errors["y"] < 1e-6


@pytest.mark.slow
def test_second_derivatives_both_modes_and_vmap(data):
    numbers, y = data
    box = {name: numbers[name] for name in ("A", "lower", "upper")}

    def value(A, b, y):
        return jnp.sum(jnp.sin(project(Polytope(**(box | {"A": A}), b=b), y)[0]))

    args = (numbers["A"], numbers["b"][0], y[0])
    step = [jnp.asarray(np.random.default_rng(1).normal(size=a.shape)) for a in args]
    line = jax.jit(lambda s: value(*(a + s * d for a, d in zip(args, step, strict=True))))
    slope = jax.jit(jax.grad(line))
    difference = (slope(1e-5) - slope(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.jit(jax.hessian(line))(0.0), difference, rtol=1e-6)

    one = lambda b, y: project(Polytope(**box, b=b), y)[0]
    forward, reverse = (jax.jit(mode(one, argnums=(0, 1)))(numbers["b"][0], y[0]) for mode in (jax.jacfwd, jax.jacrev))
    for a, b in zip(forward, reverse, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    together = jax.jit(one)(numbers["b"], y)
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(numbers["b"], y), together, atol=1e-12)


@pytest.mark.slow
def test_one_hard_member_disturbs_no_other_and_says_what_it_is(data):
    numbers, y = data
    box = {name: numbers[name] for name in ("A", "b", "lower", "upper")}
    good, _ = solve(box, y)
    bad = box | {"b": box["b"].at[2].set(50.0).at[4].set(jnp.nan)}
    y_bad = y.at[7].set(jnp.inf)
    x, info = solve(bad, y_bad)
    expected = np.full(B, CONVERGED)
    expected[[2, 4, 7]] = INFEASIBLE, NOT_FINITE, NOT_FINITE
    np.testing.assert_array_equal(info.status, expected)
    assert np.isfinite(np.asarray(x)).all()
    rest = [k for k in range(B) if k not in (2, 4, 7)]
    np.testing.assert_allclose(x[jnp.array(rest)], good[jnp.array(rest)], atol=1e-12)
    gradients = jax.jit(jax.grad(lambda numbers, y: project(Polytope(**numbers), y)[0].sum(), argnums=(0, 1)))(bad, y_bad)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(gradients))


def test_dependent_rows_are_one_and_contradictory_ones_are_infeasible(data):
    numbers, y = data
    twice = {"A": jnp.concatenate([numbers["A"]] * 2), "lower": numbers["lower"], "upper": numbers["upper"]}
    b = jnp.concatenate([numbers["b"]] * 2, axis=1)
    x, info = solve(twice | {"b": b}, y)
    alone, _ = solve({name: numbers[name] for name in ("A", "b", "lower", "upper")}, y)
    assert (info.status == CONVERGED).all()
    np.testing.assert_allclose(x, alone, atol=1e-11)
    _, info = solve(twice | {"b": b.at[:, 0].add(1e-3)}, y)
    assert (info.status == INFEASIBLE).all()
    assert (info.residual > 1e-4).all()


def test_float32_is_feasible_to_its_own_rounding():
    rng = np.random.default_rng(0)
    A, inside, y = rng.normal(size=(20, 40)), rng.uniform(-0.5, 0.5, size=(64, 40)), rng.normal(size=(64, 40))
    A, b, y = (jnp.asarray(value, jnp.float32) for value in (A, inside @ A.T, y))
    x, info = jax.jit(lambda A, b, y: project(Polytope(A, b, -1.0, 1.0), y))(A, b, y)
    assert x.dtype == jnp.float32
    assert (info.status == CONVERGED).all()
    exact = np.asarray(x, float) @ np.asarray(A, float).T - np.asarray(b, float)
    assert np.abs(exact).max() < 1e-6
    np.testing.assert_allclose(np.abs(exact).max(axis=1), info.residual, atol=1e-8)  # the residual is the true one


@pytest.mark.slow
def test_sparse_rows_stay_sparse(data):
    numbers, y = data
    box = {name: numbers[name] for name in ("b", "lower", "upper")}
    dense, _ = solve(box | {"A": numbers["A"]}, y)
    sparse, info = solve(box | {"A": BCOO.fromdense(numbers["A"])}, y)
    assert (info.status == CONVERGED).all()
    np.testing.assert_allclose(sparse, dense, atol=1e-10)
    assert isinstance(prepare(Polytope(BCOO.fromdense(numbers["A"]), numbers["b"])).factor.rows, BCOO)


@pytest.mark.slow
def test_prepared_and_warm_projections_are_the_same(data):
    numbers, y = data
    ready = prepare(Polytope(**numbers))
    _, info = solve(numbers, y)
    again, warm = jax.jit(lambda ready, y, warm: project(ready, y, warm=warm))(ready, 1.01 * y, info.warm)
    cold, _ = solve(numbers, 1.01 * y)
    np.testing.assert_allclose(again, cold, atol=1e-11)
    assert (warm.status == CONVERGED).all()
    assert warm.steps.sum() < 0.6 * info.steps.sum()


@pytest.mark.slow
def test_batches_of_matrices(data):
    numbers, y = data
    A = numbers["A"] + 0.1 * jnp.arange(B)[:, None, None]
    box = {name: numbers[name] for name in ("lower", "upper")}
    b = jnp.einsum("bmn,n->bm", A, jnp.full(N, 0.1))
    x, info = solve(box | {"A": A, "b": b}, y)
    assert (info.status == CONVERGED).all()
    one, _ = solve(box | {"A": A[5], "b": b[5:6]}, y[5:6])
    np.testing.assert_allclose(x[5], one[0], atol=1e-12)


@pytest.mark.slow
def test_layers_and_the_schedule_to_them(data):
    numbers, y = data
    ready = prepare(Polytope(**numbers))
    layer = js.constraints.Layer(ready, jnp.sin)
    ready.check(jax.jit(layer)(y))
    soft = js.constraints.Layer(ready, jnp.sin, hardness=js.constraints.harden(0, 10, 20))
    np.testing.assert_array_equal(jax.jit(soft)(y), jnp.sin(y))
    whole = js.constraints.Layer(ready, jnp.sin, hardness=js.constraints.harden(20, 10, 20))
    ready.check(jax.jit(whole)(y))  # the program of `soft`, with another number
    with pytest.raises(ValueError, match="must end after it begins"):
        js.constraints.harden(0, 20, 10)


@pytest.mark.slow
@pytest.mark.parametrize("bound", [None, 1.0])
def test_two_sided_rows_that_are_dependent_pinned_or_infeasible(bound):
    """By kind: random; rows of C that repeat one and one of A; at a corner; infeasible. Some rows have both bounds equal."""
    rng, count, n, m, p = np.random.default_rng(0), 400, 8, 2, 5
    kind = rng.integers(4, size=count)
    A, C = rng.normal(size=(count, m, n)), rng.normal(size=(count, p, n))
    C[kind == 1, 1], C[kind == 1, 2] = C[kind == 1, 0], A[kind == 1, 0]
    inside = rng.uniform(-0.9, 0.9, size=(count, n))
    inside[kind == 2] = np.sign(inside[kind == 2])
    widths = rng.uniform(0, 1, size=(2, count, p)) * (rng.random((2, count, p)) < 0.8)
    below, above = np.einsum("kpn,kn->kp", C, inside) + widths * np.array([-1, 1])[:, None, None]
    y, b = 2 * rng.normal(size=(count, n)), np.einsum("kmn,kn->km", A, inside)
    if bound:
        below[kind == 3, 0] = 1.2 * np.abs(C[kind == 3, 0]).sum(axis=1)  # more than row 0 can be in the box
        above[kind == 3, 0] = below[kind == 3, 0] + 1
    else:
        A[kind == 3, 1], b[kind == 3, 1] = A[kind == 3, 0], b[kind == 3, 0] + 1  # one row, two right-hand sides

    def nearest(y):
        return project(Polytope(A, b, None if bound is None else -bound, bound, C, below, above), y)

    solve = jax.jit(lambda y: (nearest(y), jax.grad(lambda y: jnp.sum(nearest(y)[0]))(y)))
    (x, info), pulled = solve(y)
    assert (info.status == np.where(kind == 3, INFEASIBLE, CONVERGED)).all()
    assert np.isfinite(pulled).all()
    feasible = kind < 3
    values = np.einsum("kpn,kn->kp", C, x)[feasible]
    assert np.abs(np.einsum("kmn,kn->km", A, x) - b)[feasible].max() < 1e-12
    assert max((below[feasible] - values).max(), (values - above[feasible]).max()) < 1e-12
    for other in (inside, solve(y[::-1])[0][0]):  # nearest: towards no feasible point does the distance fall
        assert (np.sum((y - x) * (other - x), axis=-1)[feasible] < 1e-9).all()


def test_bounds_alone_are_a_polytope(data):
    _, y = data
    x, info = project(Polytope(lower=-0.5, upper=0.5), y)
    np.testing.assert_array_equal(x, np.clip(y, -0.5, 0.5))
    np.testing.assert_array_equal(info.active[0], np.sign(y) * (np.abs(y) >= 0.5))
    slopes = jax.grad(lambda low, high: project(Polytope(lower=low, upper=high), y)[0].sum(), argnums=(0, 1))(-0.5, 0.5)
    assert slopes == ((y <= -0.5).sum(), (y >= 0.5).sum())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"A": np.ones((2, 3))}, "A and b belong together"),
        ({"A": np.ones((2, 3)), "b": np.ones(3)}, "A has 2 rows and b 3 entries"),
        ({"A": np.ones(3), "b": np.ones(1)}, "A must be a matrix"),
        ({"A": np.full((1, 3), np.nan), "b": np.ones(1)}, r"A holds NaN at index \(0, 0\)"),
        ({"lower": 1.0, "upper": 0.0}, "lower is above upper"),
        ({"lower": np.zeros(4), "A": np.ones((1, 3)), "b": np.ones(1)}, "lower has 4 entries and A 3 columns"),
        ({"C": np.ones((1, 3))}, "C needs C_lower"),
        ({"C": np.ones((1, 3)), "C_upper": -np.inf}, "C_upper holds -inf"),
        ({"C_lower": 0.0}, "give C"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Polytope(**arguments)


@pytest.mark.slow
def test_a_warm_start_of_something_else_is_refused():
    y = jnp.array([0.9, 0.6, -0.4])
    simplex = Polytope(jnp.ones((1, 3)), jnp.ones(1), 0.0)
    _, info = project(simplex, y)
    for warm in (info, jax.tree.map(lambda a: jnp.stack([a] * 2), info.warm)):
        with pytest.raises(ValueError, match="warm must be"):
            project(simplex, y, warm=warm)


def test_points_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="a point has 4 entries and lower 3"):
        project(Polytope(lower=jnp.zeros(3)), jnp.zeros(4))
    plane = Polytope(np.ones((1, 3)), np.ones(1))
    with pytest.raises(ValueError, match="a point has 4 entries and A 3 columns"):
        project(plane, jnp.zeros(4))
    with pytest.raises(ValueError, match="a point has 1 axes"):
        project(plane, 1.0)
    with pytest.raises(TypeError, match="must be a constraint"):
        project(3, jnp.zeros(4))
