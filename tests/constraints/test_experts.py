"""The mixture of experts: independent, sharded without collectives, and continuous where told."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

C = js.constraints
EQUATION = js.Equation(lambda u, a: u.xx - u + a * u**3, name="steady")
SIZE, EXPERTS = 6, 2
PLACES = (np.linspace(0, 1, 25) + np.arange(EXPERTS)[:, None]) / EXPERTS


def basis(x):
    return jnp.stack([jnp.cos(jnp.pi * k * x) for k in range(SIZE)])


def given(seed=0):
    noise = np.random.default_rng(seed)
    partials = [C.basis_partials(EQUATION, basis, {"x": x}) for x in PLACES]
    stacked = {p: np.stack([np.asarray(v[p]) for v in partials]) for p in partials[0]}
    face = np.asarray(basis(0.5))[None, None]
    return {
        "partials": {p: v * (1 + 0.02 * noise.normal(size=v.shape)) for p, v in stacked.items()},
        "a": np.asarray([0.1, 0.2]),
        "target": np.exp(PLACES) + 0.3 * np.arange(EXPERTS)[:, None],  # not continuous by itself
        "left": face,
        "right": face * (1 + 0.1 * noise.normal(size=face.shape)),
        "jump": np.asarray([[0.05]]),
    }


def constraint_of(data):
    rows = C.equation_rows(EQUATION, data["partials"], {}, {"a": data["a"]})
    return C.PDEConstraint((rows, C.linear_rows(data["partials"]["u", ""], data["target"])))


@jax.jit
def apart(data):
    return C.solve_experts(constraint_of(data), jnp.zeros(SIZE), tol=1e-12)


@jax.jit
def joined(data):
    faces = C.Interfaces(((0, 1),), data["left"], data["right"], data["jump"])
    return C.solve_experts(constraint_of(data), jnp.zeros(SIZE), interfaces=faces, tol=1e-12)


def gap(data, omega):
    return data["left"][0] @ omega[0] - data["right"][0] @ omega[1] - data["jump"][0]


def total(data, omega):
    return jnp.sum(constraint_of(data).penalty(omega))


@pytest.mark.slow
def test_experts_are_a_loop_over_experts():
    data = given()
    omega, info = apart(data)
    gradient = jax.grad(total, argnums=1)(data, omega)
    assert bool(info.converged.all())
    assert float(jnp.abs(gradient).max()) < 1e-9
    changed = data | {"target": data["target"] * np.array([[1.0], [-2.0]])}
    np.testing.assert_array_equal(apart(changed)[0][0], omega[0])  # the other one's problem is no business of the first
    assert float(jnp.abs(apart(changed)[0][1] - omega[1]).max()) > 0.1


@pytest.mark.slow
def test_joined_experts_are_the_constrained_minimum():
    data = given()
    omega, info = joined(data)
    assert bool(info.converged.all())
    assert float(jnp.abs(gap(data, omega)).max()) < 1e-13
    assert float(jnp.abs(gap(data, apart(data)[0])).max()) > 1e-2  # they would not be
    # The gradient of the sum is a multiple of the only condition's.
    gradient = np.asarray(jax.grad(total, argnums=1)(data, omega)).ravel()
    normal = np.concatenate([data["left"].ravel(), -data["right"].ravel()])
    left_over = gradient - normal * (normal @ gradient) / (normal @ normal)
    assert np.abs(left_over).max() < 1e-9 < np.abs(gradient).max()


@pytest.mark.slow
def test_the_derivative_of_joined_experts_is_that_of_the_constrained_minimum():
    data = given()
    direction = jax.tree.map(lambda v: 0.1 * np.random.default_rng(1).normal(size=v.shape), data)
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(EXPERTS, SIZE)))
    value = lambda d: jnp.sum(weights * joined(d)[0])
    tangent = jax.jit(lambda d: jax.jvp(value, (data,), (d,))[1])(direction)
    gradient = jax.jit(jax.grad(value))(data)
    product = sum(np.vdot(a, b) for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(product, tangent, rtol=1e-10)
    h = 1e-4
    at = lambda s: float(value(jax.tree.map(lambda a, b: a + s * h * b, data, direction)))
    np.testing.assert_allclose(tangent, (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h), rtol=1e-6)


@pytest.mark.parametrize("middle", [2, 0])
def test_an_expert_without_conditions_learns_them_from_its_neighbours(middle):
    """u'' = 2 on three parts, values only at both ends: no row knows the mean or the slope of an inner part."""
    low, high = (k for k in range(3) if k != middle)
    powers = [lambda x: np.stack([x**0, x, x**2], -1), lambda x: np.stack([0 * x, x**0, 2 * x], -1)]
    equation, ends = np.zeros((3, 7, 3)) + np.array([0.0, 0.0, 2.0]), np.zeros((3, 1, 3))
    one = np.array([1.0])
    ends[low], ends[high] = powers[0](-one), powers[0](one)
    rows = C.linear_rows(jnp.asarray(equation), 2.0), C.linear_rows(jnp.asarray(ends), 0.0)
    faces = [np.concatenate([power(end) for power in powers]) for end in (one, -one)]
    pairs = ((low, middle), (middle, high))
    both = C.Interfaces(pairs, jnp.stack([jnp.asarray(faces[0])] * 2), jnp.stack([jnp.asarray(faces[1])] * 2))
    omega, info = jax.jit(lambda: C.solve_experts(C.PDEConstraint(rows), jnp.zeros(3), interfaces=both))()
    assert bool(info.converged.all())
    # (X^2 - 9) with X = x - 2, x, x + 2 in the three parts.
    np.testing.assert_allclose(omega[low], [4 - 9, -4, 1], atol=1e-8)
    np.testing.assert_allclose(omega[middle], [-9, 0, 1], atol=1e-8)
    np.testing.assert_allclose(omega[high], [4 - 9, 4, 1], atol=1e-8)


SHARDED = """
import re, sys
sys.path.insert(0, sys.argv[1])
import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
from test_experts import C, SIZE, apart, constraint_of, given
data = given()
twice = jax.tree.map(lambda v: jnp.concatenate([v, 1.1 * v, 0.9 * v, v]), {k: data[k] for k in ("partials", "a", "target")})
mesh = jax.make_mesh((4,), ("experts",), axis_types=(jax.sharding.AxisType.Auto,))
solve = lambda d: C.solve_experts(constraint_of(d), jnp.zeros(SIZE), mesh=mesh, tol=1e-12)
program = jax.jit(solve).lower(twice).compile()
text = program.as_text()
found = re.findall(r"\\b(all-reduce|all-gather|collective-permute|all-to-all|reduce-scatter)", text)
assert "while(" in text and "num_partitions=4" in text, "the program is not what this test means to read"
assert not found, found
omega, info = program(twice)
assert len(omega.sharding.device_set) == 4
alone, alone_info = jax.jit(lambda d: C.solve_experts(constraint_of(d), jnp.zeros(SIZE), tol=1e-12))(twice)
assert float(jnp.abs(omega - alone).max()) < 1e-11, float(jnp.abs(omega - alone).max())
assert info.steps.tolist() == alone_info.steps.tolist() and bool(info.converged.all())
print("steps", info.steps.tolist())
"""


@pytest.mark.slow
def test_on_four_devices_the_program_holds_no_collective_and_gives_the_same():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", SHARDED, os.path.dirname(__file__)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "steps" in done.stdout


def test_a_grid_is_cut_and_joined_again():
    field = jnp.arange(3 * 4 * 6 * 8.0).reshape(3, 4, 6, 8)
    axes, split = ("t", "x", "y"), {"x": 3, "y": 2}
    parts = C.split_grid(field, axes, split, trailing=0)
    np.testing.assert_array_equal(C.join_grid(parts, axes, split), field)
    np.testing.assert_array_equal(parts[1], field[..., :2, 4:])  # the last axis runs fastest
    assert C.neighbours(("x", "y"), {"x": 2, "y": 2}) == ((0, 2, "x"), (1, 3, "x"), (0, 1, "y"), (2, 3, "y"))
    assert C.neighbours(("x",), {"x": 3}, periodic=("x",))[-1] == (2, 0, "x")
    with pytest.raises(ValueError, match="6 grid points of x cannot be split into 4"):
        C.split_grid(field, axes, {"x": 4}, trailing=0)


def test_overlapping_windows_add_up_to_one_and_are_smooth():
    x = jnp.linspace(0.0, 1.0, 1001)
    weights = C.partition_of_unity(x, [0.3, 0.7], 0.2)
    np.testing.assert_allclose(weights.sum(0), 1.0, atol=1e-15)
    assert float(weights.min()) >= 0
    assert float(weights[0][x > 0.4].max()) == 0
    assert float(weights[1][550]) == 1
    slopes = jax.vmap(jax.grad(lambda x: C.partition_of_unity(x, [0.3, 0.7], 0.2)[0]))(x)
    assert bool(jnp.isfinite(slopes).all())
    assert float(jnp.abs(jnp.diff(slopes)).max()) < 1.0


def test_edges_move_to_where_the_error_is():
    edges = C.rebalanced(jnp.linspace(0.0, 1.0, 5), jnp.array([8.0, 0.0, 0.0, 0.0]))
    assert edges.tolist()[0] == 0
    assert edges.tolist()[-1] == 1
    assert bool((jnp.diff(edges) > 0).all())
    assert float(edges[1]) < 0.15
    np.testing.assert_allclose(C.rebalanced(jnp.linspace(0.0, 1.0, 5), jnp.ones(4)), jnp.linspace(0.0, 1.0, 5), atol=1e-15)
    np.testing.assert_allclose(C.rebalanced(jnp.linspace(0.0, 1.0, 5), jnp.zeros(4)), jnp.linspace(0.0, 1.0, 5), atol=1e-15)


def test_coefficients_are_remembered_sample_by_sample():
    memory = C.Remembered.empty(5, jnp.zeros((2, 3)))
    ids = jnp.array([1, 3])
    converged = jnp.array([[True, True], [True, False]])  # one expert of sample 3 did not
    memory = memory.remember(ids, jnp.ones((2, 2, 3)), converged)
    assert memory.known.tolist() == [False, True, False, False, False]
    assert memory.recall(ids)[:, 0, 0].tolist() == [1.0, 0.0]


def test_bad_input_is_named():
    data = given()
    with pytest.raises(ValueError, match="no leading axis of experts"):
        C.solve_experts(C.PDEConstraint((C.linear_rows(data["partials"]["u", ""][0]),)), jnp.zeros(SIZE))
    mesh = jax.make_mesh((1,), ("other",), axis_types=(jax.sharding.AxisType.Auto,))
    with pytest.raises(ValueError, match="no axis 'experts'"):
        C.solve_experts(constraint_of(data), jnp.zeros(SIZE), mesh=mesh)
    with pytest.raises(ValueError, match="left and right must have"):
        C.Interfaces(((0, 1),), data["left"], data["right"][..., :2])
    for edges, overlap in (([0.7, 0.3], 0.1), ([0.4, 0.6], 0.8), ([0.5], 0.0)):
        with pytest.raises(ValueError, match="edges must increase by the overlap or more"):
            C.partition_of_unity(jnp.linspace(0, 1, 6), edges, overlap)


def test_interfaces_are_solved_with_matrices():
    data = given()
    constraint, faces = (
        dataclasses.replace(constraint_of(data), matrix_free=True),
        C.Interfaces(((0, 1),), data["left"], data["right"], data["jump"]),
    )
    with pytest.raises(ValueError, match="leave matrix_free out"):
        C.solve_experts(constraint, jnp.zeros(SIZE), interfaces=faces)
