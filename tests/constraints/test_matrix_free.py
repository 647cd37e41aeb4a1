"""The PDE-constrained layer without matrices: points, derivatives and statuses are those of the direct method."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

C = js.constraints
BURGERS = js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx, name="burgers")
DRAW = np.random.default_rng(0)
T, X = DRAW.uniform(0, 1, (2, 40))


def basis(t, x):
    return jnp.stack([x / (1 + t) + 0.3 * jnp.sin(x), jnp.sin(x), jnp.cos(2 * x * t), x * t**2, 1 + 0 * x])


PARTIALS = {p: v + 0.1 * DRAW.normal(size=v.shape) for p, v in C.basis_partials(BURGERS, basis, {"t": T, "x": X}).items()}
START = np.asarray(jax.vmap(basis)(np.zeros(9), np.linspace(0, 1, 9)))
DATA = {"partials": PARTIALS, "start": START, "viscosity": np.asarray(0.05), "target": np.linspace(0, 1, 9) ** 2}


def layer(data, kind, **options):
    """Over-determined rows: no omega makes them zero."""
    rows = C.equation_rows(BURGERS, data["partials"], {"t": T, "x": X}, {"viscosity": data["viscosity"]})
    if kind == "linear":
        rows = C.linear_rows(
            data["partials"]["u", "t"] - data["viscosity"][..., None, None] * data["partials"]["u", "xx"], 0.2
        )
    if kind == "exact":
        held = C.linear_rows(data["start"][..., ::7, :], data["target"][..., ::7])
        return C.PDEConstraint((rows,), (held,), **options)
    return C.PDEConstraint((rows, C.linear_rows(data["start"], data["target"])), **options)


def both(function):
    """The same without and with matrices."""
    return function(matrix_free=True), function(matrix_free=False)


@functools.partial(jax.jit, static_argnames=("kind", "matrix_free"))
def solved(data, kind, matrix_free):
    def total(data):
        omega, info = C.project(layer(data, kind, matrix_free=matrix_free), jnp.zeros(5, data["target"].dtype))
        return jnp.sum(jnp.sin(omega)), (omega, info)

    return jax.grad(total, has_aux=True)(data)


def close(a, b, tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance), a, b)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("kind", [pytest.param("linear", marks=SLOW), "nonlinear", pytest.param("exact", marks=SLOW)])
def test_point_gradient_and_status_are_those_of_the_direct_method(kind):
    (gradient, (omega, info)), (truth, (point, direct)) = both(functools.partial(solved, DATA, kind))
    assert int(info.status) == int(direct.status) == C.CONVERGED
    close(omega, point, 1e-8)
    close(gradient, truth, 1e-8)
    close(info.residual, direct.residual, 1e-8)
    assert float(info.residual) > 1e-3  # so that the second derivatives count


@SLOW
def test_a_batch_is_its_members_and_a_member_that_is_nan_disturbs_none():
    target = jnp.stack([DATA["target"], DATA["target"] * jnp.nan])
    gradient, (omega, info) = solved(DATA | {"target": target}, "nonlinear", True)
    assert info.status.tolist() == [C.CONVERGED, C.NOT_FINITE]
    alone, (point, _) = solved(DATA, "nonlinear", True)
    close(omega[0], point, 1e-12)
    close(gradient["target"][0], alone["target"], 1e-10)
    assert all(bool(jnp.isfinite(v).all()) for v in jax.tree.leaves((omega, gradient)))


@pytest.mark.slow
def test_exact_rows_that_contradict_each_other_and_a_maximum_are_told():
    held = C.linear_rows(np.concatenate([START[:2]] * 2), np.array([0.1, 0.2, 0.3, 0.2]))
    rows = layer(DATA, "linear").rows[:1]
    omega, info = jax.jit(C.project)(C.PDEConstraint(rows, (held,), matrix_free=True), jnp.zeros(5))
    assert int(info.status) == C.INFEASIBLE
    assert bool(jnp.isfinite(omega).all())
    rows = C.equation_rows(js.Equation(lambda u: u * u - 1), {("u", ""): jnp.ones((3, 1))}, {})  # a maximum at omega = 0
    project = jax.jit(lambda start: C.project(C.PDEConstraint((rows,), matrix_free=True), start))
    assert int(project(jnp.zeros(1))[1].status) == C.SADDLE
    omega, info = project(jnp.full(1, 0.1))
    assert bool(info.converged)
    assert abs(float(omega[0]) - 1) < 1e-12


@SLOW
def test_float32_reaches_its_own_round_off():
    single = jax.tree.map(lambda v: np.asarray(v, np.float32), DATA)
    _, (omega, info) = solved(single, "nonlinear", True)
    assert omega.dtype == jnp.float32
    assert bool(info.converged)
    close(omega, solved(DATA, "nonlinear", False)[1][0], 2e-4)


def test_no_matrix_n_by_n_is_formed():
    m, size = 300, 400
    rows = C.linear_rows(np.ones((m, size)), 1.0)
    for free in (True, False):
        constraint = C.PDEConstraint((rows,), matrix_free=free)
        text = str(
            jax.make_jaxpr(lambda r, w, c=constraint: dataclasses.replace(c, rows=(r,)).project(w))(rows, np.zeros(size))
        )
        assert (f"[{size},{size}]" in text) == (not free)
