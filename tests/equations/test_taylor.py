"""Partial derivatives from one pass over the jaxpr, against nested `jax.grad`."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.equations import partial_derivatives
from jaxsci.equations.taylor import NoRule, propagate


def nested_grad(function, index):
    for axis, order in enumerate(index):
        for _ in range(order):
            function = jax.grad(function, argnums=axis)
    return jax.vmap(function)


def assert_close(got, expected, tolerance, name):
    """Within a tolerance relative to the largest value: high derivatives cancel where they pass through zero."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, name
    assert np.abs(got - expected).max() <= tolerance * max(np.abs(expected).max(), 1.0), name


def check(functions, columns, wanted, tolerance=1e-14):
    """Every function of a dict by rules alone (`propagate` raises where one is missing), all compiled together."""
    names = sorted(functions)
    fields = lambda *point: {name: functions[name](*point) for name in names}
    got = jax.jit(lambda columns: propagate(jax.vmap(fields), columns, wanted))(columns)
    expected = jax.jit(
        lambda columns: {n: {index: nested_grad(functions[n], index)(*columns) for index in wanted} for n in names}
    )(columns)
    for name, index in itertools.product(names, wanted):
        assert_close(got[name][index], expected[name][index], tolerance, (name, index))


weights = np.random.default_rng(1).normal(size=(3, 8, 8)) / 2
table = jnp.asarray(np.random.default_rng(2).normal(size=7))


def network(*point):
    """A tanh network of the coordinates, which matmul, broadcasting, reshaping and a sum go into."""
    hidden = jnp.tanh(jnp.stack(point) @ weights[0, : len(point)])
    hidden = jax.nn.sigmoid(weights[1] @ hidden + 0.3)
    return jnp.sum(jnp.sin(hidden @ weights[2]).reshape(2, 4)[:, ::2])


ELEMENTWISE = {
    **{name: getattr(jnp, name) for name in ("tanh", "sin", "cos", "tan", "sinh", "cosh", "arcsin", "arccos", "arctan")},
    **{
        name: getattr(jnp, name)
        for name in ("arcsinh", "exp", "exp2", "expm1", "log", "log1p", "sqrt", "cbrt", "square", "abs")
    },
    "arctanh": lambda x: jnp.arctanh(x / 2),
    "arccosh": lambda x: jnp.arccosh(1.5 + x),
    "erf": jax.scipy.special.erf,
    "erfc": jax.scipy.special.erfc,
    "erf_inv": lambda x: jax.scipy.special.erfinv(x / 2),
    "lgamma": jax.scipy.special.gammaln,
    "logistic": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "rsqrt": jax.lax.rsqrt,
    "power": lambda x: x**7 + x**-3 + x**2.5 + x**2.0,
    "reciprocal": lambda x: 3.0 / (1.0 + x * x) - x / 7.0,
    "complex": lambda x: (jnp.exp(2j * x) * (1 + x) / (2 + 1j * x)).imag,
    "constant": lambda x: 0.0 * x + 2.0,
    "identity": lambda x: x,
}


@pytest.mark.slow
def test_elementwise_functions_to_fourth_order():
    x = jnp.asarray(np.random.default_rng(0).uniform(0.15, 0.85, size=6))
    check(ELEMENTWISE, (x,), [(k,) for k in range(5)])


STRUCTURE = {
    "network": network,
    "product": lambda t, x: jnp.exp(-t) * jnp.sin(3 * x) * jnp.tanh(t * x),
    "quotient": lambda t, x: jnp.cos(x * t) / (2 + jnp.sin(x + t)),
    "where": lambda t, x: jnp.where(x > 0, jnp.sin(t * x), x**3 * t),
    "maximum": lambda t, x: jnp.maximum(jnp.sin(3 * x), t) * jnp.minimum(x, t) + jnp.clip(x * t, -0.2, 0.2),
    "floor": lambda t, x: jnp.floor(3 * x) * x**2 + jnp.round(t) * t,
    "cast": lambda t, x: (5 * x).astype(int).astype(float) * x**2 * t,
    "gather": lambda t, x: table[jnp.floor(3 * x + 3).astype(int)] * x**3 * t,
    "slices": lambda t, x: jnp.concatenate([jnp.stack([t, x, t * x])[1:], jnp.roll(jnp.stack([x, t]), 1)]).cumsum()[2],
    "pad": lambda t, x: jnp.sum(jnp.pad(jnp.stack([x, t * x]), (1, 2), constant_values=3.0) ** 2),
    "norm": lambda t, x: jnp.linalg.norm(jnp.stack([x, t, 1.0 + x * t])),
    "einsum": lambda t, x: jnp.einsum("i,ij,j", jnp.stack([t, x]), weights[0, :2, :2], jnp.stack([x * x, t])),
    "remat": lambda t, x: jax.checkpoint(lambda t, x: jnp.sin(x) * x * t)(t, x),
    "stopped": lambda t, x: jax.lax.stop_gradient(jnp.sin(x)) * x * t,
    "only_t": lambda t, x: jnp.sin(t),
    "complex_wave": lambda t, x: jnp.real(jnp.exp(1j * (2 * x - t)) * (1 + 1j * x * t)),
}


@pytest.mark.slow
def test_structure_and_mixed_derivatives_in_two_variables():
    random = np.random.default_rng(3)
    columns = tuple(jnp.asarray(random.uniform(-0.9, 0.9, size=5)) for _ in range(2))
    check(STRUCTURE, columns, [(0, 0), (1, 0), (0, 2), (1, 1), (2, 2), (1, 3), (0, 4)])


def test_three_variables():
    random = np.random.default_rng(4)
    columns = tuple(jnp.asarray(random.uniform(-1, 1, size=4)) for _ in range(3))
    functions = {"network": network, "wave": lambda t, x, y: jnp.sin(x * y - t) * jnp.exp(x) / (2 + y * y)}
    check(functions, columns, [(1, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 1), (0, 2, 2), (1, 0, 3)])


def random_expression(random, depth):
    """A random function of two variables, as a closure."""
    if depth == 0:
        a, b, c = random.normal(size=3).round(2)
        return [lambda t, x: a * t + b, lambda t, x: b * x + c * t, lambda t, x: jnp.asarray(c), lambda t, x: t * x][
            random.integers(4)
        ]
    left, right = random_expression(random, depth - 1), random_expression(random, depth - 1)
    return [
        lambda t, x: left(t, x) + right(t, x),
        lambda t, x: left(t, x) * right(t, x),
        lambda t, x: left(t, x) / (1.5 + jnp.square(right(t, x))),
        lambda t, x: jnp.sin(left(t, x)) - right(t, x),
        lambda t, x: jnp.tanh(left(t, x)) * jnp.exp(-jnp.square(right(t, x))),
        lambda t, x: jnp.where(left(t, x) > right(t, x), left(t, x) ** 3, jnp.cos(right(t, x))),
        lambda t, x: jnp.sum(jnp.stack([left(t, x), right(t, x)]) @ weights[0, :2, :3]),
    ][random.integers(7)]


@pytest.mark.slow
def test_random_expressions():
    random = np.random.default_rng(5)
    functions = {f"{i}": random_expression(random, 2) for i in range(16)}
    columns = tuple(jnp.asarray(random.uniform(-1, 1, size=4)) for _ in range(2))
    check(functions, columns, [(2, 0), (1, 1), (0, 3)])


WITHOUT_A_RULE = {
    "sort": lambda t, x: jnp.sort(jnp.stack([t, x * x, jnp.sin(x)]))[1] ** 2,
    "scan": lambda t, x: jax.lax.scan(lambda c, _: (jnp.sin(c) * x, None), t, length=3)[0],
    "custom_jvp_call": lambda t, x: jax.nn.softplus(x * t),
    "reduce_prod": lambda t, x: jnp.prod(jnp.stack([t, x, x * t])),
    "atan2": lambda t, x: jnp.arctan2(x, 1 + t * t),
    "abs of a complex": lambda t, x: jnp.abs(jnp.exp(1j * x * t) * (2 + x)),
    "pow": lambda t, x: (1.5 + x) ** t,
}


@pytest.mark.parametrize("name", WITHOUT_A_RULE)
def test_operations_without_a_rule_fall_back_on_nested_jvp(name):
    function = WITHOUT_A_RULE[name]
    random = np.random.default_rng(6)
    columns = tuple(jnp.asarray(random.uniform(0.2, 0.9, size=3)) for _ in range(2))
    wanted = [(0, 0), (1, 0), (1, 1), (0, 2)]
    with pytest.raises(NoRule, match=name):
        propagate(jax.vmap(function), columns, wanted)
    got = jax.jit(lambda *columns: partial_derivatives(function, columns, wanted))(*columns)
    expected = jax.jit(lambda *columns: {index: nested_grad(function, index)(*columns) for index in wanted})(*columns)
    for index in wanted:
        assert_close(got[index], expected[index], 1e-14, index)


def test_polynomials_are_right_where_their_variable_is_zero():
    x = jnp.zeros(1)
    for function in (lambda x: x**3, lambda x: x**3.0, lambda x: x * x * x):
        values = partial_derivatives(function, (x,), [(k,) for k in range(5)])
        assert [float(values[k,][0]) for k in range(5)] == [0, 0, 0, 6, 0]


def test_results_keep_the_pytree_of_the_field():
    field = lambda t, x: {"u": x * t, "v": (jnp.stack([x, t]), 2.0)}
    columns = (jnp.arange(3.0), jnp.ones(3))
    values = partial_derivatives(field, columns, [(0, 1), (2, 0)])
    assert jax.tree.structure(values[0, 1]) == jax.tree.structure(field(0.0, 0.0))
    np.testing.assert_array_equal(values[0, 1]["u"], columns[0])
    np.testing.assert_array_equal(values[0, 1]["v"][0], [[1, 0]] * 3)
    assert not np.any([leaf.any() for leaf in jax.tree.leaves(values[2, 0])])  # exact zeros, not absent


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_is_that_of_the_coordinates(dtype):
    """A float32 field stays float32 although x64 is on, through every rule that multiplies by a number."""
    columns = tuple(jnp.linspace(0.2, 0.8, 3, dtype=dtype) for _ in range(2))
    for name in "product", "quotient", "maximum", "norm", "remat":
        values = partial_derivatives(STRUCTURE[name], columns, [(0, 0), (1, 1), (0, 4)])
        assert {value.dtype for value in values.values()} == {jnp.dtype(dtype)}
    for name in "power", "logistic", "log", "erf":
        values = partial_derivatives(ELEMENTWISE[name], columns[:1], [(1,), (4,)])
        assert {value.dtype for value in values.values()} == {jnp.dtype(dtype)}


def test_float32_agrees_with_float64():
    wanted = [(1, 0), (0, 2), (2, 2)]
    random = np.random.default_rng(7)
    points = random.uniform(-1, 1, size=(2, 8))
    double = partial_derivatives(STRUCTURE["product"], tuple(jnp.asarray(points)), wanted)
    single = partial_derivatives(STRUCTURE["product"], tuple(jnp.asarray(points, jnp.float32)), wanted)
    for index in wanted:
        assert_close(single[index], double[index], 1e-6, index)


def test_derivatives_differentiate_again_in_parameters_and_points():
    """Forward over the pass, reverse over it, and vmap of it, against the same of nested grad."""
    columns = (jnp.linspace(0.1, 0.9, 4), jnp.linspace(-0.5, 0.5, 4))

    def field(a):
        return lambda t, x: jnp.tanh(a * x + t) * jnp.sin(a * t)

    def by_pass(a, columns):
        return jnp.sum(partial_derivatives(field(a), columns, [(1, 2)])[1, 2] ** 2)

    def by_grad(a, columns):
        return jnp.sum(nested_grad(field(a), (1, 2))(*columns) ** 2)

    a, many = jnp.asarray(1.3), jnp.asarray([0.7, 1.3])
    for transform in (
        lambda f: jax.jit(jax.grad(f, argnums=(0, 1)))(a, columns),
        lambda f: jax.jvp(lambda a: f(a, columns), (a,), (jnp.ones(()),)),
        lambda f: jax.jit(jax.vmap(f, in_axes=(0, None)))(many, columns),
    ):
        for got, expected in zip(jax.tree.leaves(transform(by_pass)), jax.tree.leaves(transform(by_grad)), strict=True):
            assert_close(got, expected, 1e-14, "transformed")


def test_one_pass_costs_fewer_operations_than_nested_gradients():
    """The Burgers residual of a 4x64 network with its gradient: operations counted by the compiler, before it optimises."""
    layers = [jnp.asarray(w) for w in (np.ones((2, 64)), *[np.eye(64)] * 3, np.ones((64, 1)))]
    columns = (jnp.linspace(0, 1, 256), jnp.linspace(-1, 1, 256))

    def field(layers):
        def at_point(t, x):
            hidden = jnp.stack([t, x])
            for w in layers[:-1]:
                hidden = jnp.tanh(hidden @ w)
            return (hidden @ layers[-1])[0]

        return at_point

    def by_pass(layers):
        d = partial_derivatives(field(layers), columns, [(0, 0), (1, 0), (0, 1), (0, 2)])
        return jnp.mean((d[1, 0] + d[0, 0] * d[0, 1] - 0.01 * d[0, 2]) ** 2)

    def by_grad(layers):
        u = field(layers)
        u_t, u_x, u_xx = (nested_grad(u, index)(*columns) for index in [(1, 0), (0, 1), (0, 2)])
        return jnp.mean((u_t + jax.vmap(u)(*columns) * u_x - 0.01 * u_xx) ** 2)

    cost = {f: jax.jit(jax.value_and_grad(f)).lower(layers).cost_analysis() for f in (by_pass, by_grad)}
    assert cost[by_grad]["flops"] > 1.4 * cost[by_pass]["flops"]
    assert cost[by_grad]["transcendentals"] > 1.4 * cost[by_pass]["transcendentals"]
    np.testing.assert_allclose(by_pass(layers), by_grad(layers), rtol=1e-12)
