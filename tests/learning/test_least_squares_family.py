"""Dual and sketched steps, natural gradients, variable projection, precision: on problems with a known optimum."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from test_optimisers import KEY, OBJECTIVE, PROBLEM, begin, first_points, found, minimise, network, optimum

import jaxsci as js
from jaxsci.learning import (
    FirstOrder,
    LevenbergMarquardt,
    NaturalGradient,
    SinglePrecision,
    SketchedGaussNewton,
    VariableProjection,
    soap,
)
from jaxsci.learning.levenberg_marquardt import Model, damped
from jaxsci.learning.objective import Objective
from jaxsci.learning.sampling import even_points
from jaxsci.learning.sketched import compressed
from jaxsci.learning.sketching import Buckets, Cosines
from jaxsci.learning.training import with_observations
from jaxsci.learning.variable_projection import linear_leaves, solve_linear

# A nonlinear equation and a network with a nonlinear layer: u' = -u^2, u(0) = 1, u = 1 / (1 + t).
RICCATI = js.Problem(
    js.Equation(lambda u: u.t + u * u, name="riccati"),
    js.Box(t=(0, 1)),
    initial={"u": 1.0},
    exact={"u": lambda t: 1 / (1 + t)},
)
SMALL = Objective.of(RICCATI, js.networks.MLP((8,)))  # 25 parameters


@functools.cache
def small_start():
    return SMALL.init(jax.random.key(1), {})


@functools.cache
def batch_of(count):
    return with_observations(SMALL, even_points(SMALL, KEY, count), None)


@functools.cache
def after(method, count, points):
    """The state after so many steps; one at a time, so that one program serves all counts."""
    if not count:
        return method.init(SMALL, small_start(), {})
    return method.advance(SMALL, {}, after(method, count - 1, points), batch_of(points), 1)


def test_the_dual_step_is_the_primal_step():
    random = np.random.default_rng(0)
    jacobian, value = jnp.asarray(random.normal(size=(5, 9))), jnp.asarray(random.normal(size=5))
    model = Model.of(jacobian, value)
    assert model.factor.shape == (5, 5), "the dual form: no larger than the number of residuals"
    z = damped(model.factor, model.right, 0.3)
    normal = np.linalg.solve(jacobian.T @ jacobian + 0.09 * np.eye(9), -jacobian.T @ value)
    np.testing.assert_allclose(model.expand(z), normal, rtol=1e-11)
    decrease = jnp.sum(value**2) - jnp.sum((value + jacobian @ normal) ** 2)
    np.testing.assert_allclose(model.decrease(z), decrease, rtol=1e-11)


def test_fewer_points_than_parameters_are_fitted_to_round_off():
    method, batch = LevenbergMarquardt(), with_observations(OBJECTIVE, first_points()[:3], None)  # 4 parameters
    state = method.init(OBJECTIVE, begin().unknowns, {})
    assert method.advance(OBJECTIVE, {}, state, batch, 12).loss < 1e-20


class Rational:
    """u = 1 - t / (p + q z), z = 2 t - 1: exact for p = 3/2, q = 1/2."""

    def init(self, key, inputs, outputs):
        return {"p": jnp.asarray([1.3]), "q": jnp.asarray([0.35])}

    def apply(self, parameters, z):
        return -1 / (parameters["p"] + parameters["q"] * z)


def test_levenberg_marquardt_converges_quadratically_where_the_residual_vanishes():
    objective = Objective.of(RICCATI, Rational())
    method = LevenbergMarquardt(damping=1e-7)
    batch = with_observations(objective, even_points(objective, KEY, 50), None)
    state, errors = method.init(objective, objective.init(KEY, {}), {}), []
    for _ in range(6):
        state = method.advance(objective, {}, state, batch, 1)
        errors.append(abs(float(state.unknowns["network"]["p"][0]) - 1.5))
    assert errors[-1] < 1e-13
    pairs = [(a, b) for a, b in itertools.pairwise(errors) if 1e-7 < a < 0.1]
    assert len(pairs) >= 2
    assert all(b < 5 * a**2 for a, b in pairs), errors


# --- natural gradients -----------------------------------------------------------------------------------------------


def test_energy_natural_gradient_solves_a_linear_problem_in_one_step():
    fit = minimise(NaturalGradient(points=300, resample=100, steps=3))
    np.testing.assert_allclose(found(fit), optimum(first_points()), rtol=1e-9)
    assert fit.stopped == "converged"


@pytest.mark.slow
def test_field_natural_gradient_is_the_gradient_in_function_space():
    fit = minimise(NaturalGradient("field", points=300, resample=100, cutoff=0.0, steps=1))
    points = first_points()
    residual = lambda c: OBJECTIVE.residual(network(c), PROBLEM.coefficients, points)[:, 0]
    field = lambda c: jax.vmap(lambda p: OBJECTIVE.field(network(c), {})(*p)[0])(points)
    c = found(begin())
    gradient = jax.jacfwd(residual)(c).T @ residual(c)
    tangent = np.asarray(jax.jacfwd(field)(c))
    direction = -np.linalg.solve(tangent.T @ tangent, gradient)
    moved = np.asarray(found(fit) - c)
    length = moved @ direction / (direction @ direction)
    np.testing.assert_allclose(moved, length * direction, rtol=1e-7)
    assert np.log2(length) == pytest.approx(round(np.log2(length)), abs=1e-6)  # a power of two
    assert length > 0


# --- variable projection ---------------------------------------------------------------------------------------------


def test_linear_parameters_are_found_by_trying():
    assert set(linear_leaves(js.networks.MLP((4, 5)), 2, 1)) == {"layers/2/kernel", "layers/2/bias"}


@pytest.mark.slow
def test_the_gradient_of_the_reduced_problem_matches_finite_differences():
    tiny = Objective.of(RICCATI, js.networks.MLP((4,)))  # more units are nearly dependent, and c large
    batch = with_observations(tiny, even_points(tiny, KEY, 40), None)
    solve = jax.jit(lambda u: solve_linear(tiny, u, {}, batch, 8))
    at, loss = solve(tiny.init(jax.random.key(1), {}))
    gradient = jax.grad(lambda u: tiny.loss(u, {}, batch))(at)["network"]
    for name in ("layers/1/kernel", "layers/1/bias"):
        assert jnp.abs(gradient[name]).max() < 1e-8, "c is optimal"
    step = 1e-4
    for i in range(4):
        moved = [
            solve(at | {"network": at["network"] | {"layers/0/kernel": at["network"]["layers/0/kernel"].at[0, i].add(h)}})[1]
            for h in (step, -step)
        ]
        difference = (moved[0] - moved[1]) / (2 * step)
        assert gradient["layers/0/kernel"][0, i] == pytest.approx(float(difference), rel=1e-3, abs=1e-3 * float(loss))


def test_variable_projection_solves_a_linear_problem_before_its_first_step():
    fit = minimise(VariableProjection(points=300, steps=1))
    np.testing.assert_allclose(found(fit), optimum(first_points()), rtol=1e-9)


@pytest.mark.slow
def test_variable_projection_needs_fewer_steps():
    projected, joint = (float(after(m, 8, 60).loss) for m in (VariableProjection(), LevenbergMarquardt()))
    assert projected < 0.1 * joint


def test_a_network_without_linear_parameters_is_refused():
    class Squared:
        def init(self, key, inputs, outputs):
            return {"w": jax.random.normal(key, (inputs, outputs))}

        def apply(self, parameters, z):
            return jnp.sin(z @ parameters["w"])

    objective = Objective.of(RICCATI, Squared())
    with pytest.raises(ValueError, match=r"no parameter of .* enters linearly; use LevenbergMarquardt"):
        VariableProjection().init(objective, objective.init(KEY, {}), {})


# --- sketches --------------------------------------------------------------------------------------------------------


def test_sketches_keep_inner_products_on_average_and_lengths_nearly():
    random = np.random.default_rng(0)
    a = jnp.asarray(random.normal(size=(200, 2)))
    keys = jax.random.split(KEY, 400)
    gram = lambda k: (lambda s: s.T @ s)(Buckets.draw(k, 200, 40, a.dtype).apply(a, 40))
    grams = np.asarray(jax.jit(jax.vmap(gram))(keys))
    exact = np.asarray(a.T @ a)
    deviation = np.std(grams[:, 0, 1]) / 20
    assert abs(np.mean(grams[:, 0, 1]) - exact[0, 1]) < 4 * deviation
    np.testing.assert_allclose(np.mean(grams, axis=0).diagonal(), exact.diagonal(), rtol=0.05)

    length = lambda k: jnp.sum(Cosines.draw(k, 200, 50, a.dtype).apply(a.T) ** 2, axis=1)
    inside = np.asarray(jax.jit(jax.vmap(length))(keys))
    np.testing.assert_allclose(np.mean(inside, axis=0), exact.diagonal() / 4, rtol=0.05)  # k / columns
    assert np.std(inside / exact.diagonal()) < 0.1


def test_expanding_is_the_transpose_of_compressing():
    map_ = Cosines.draw(KEY, 30, 7, jnp.float64)
    x, z = jnp.arange(30.0), jnp.arange(7.0) - 2
    assert float(map_.apply(x[None])[0] @ z) == pytest.approx(float(x @ map_.expand(z)), rel=1e-12)
    np.testing.assert_allclose(map_.apply(map_.expand(z)[None])[0], z, atol=1e-12)  # orthonormal columns


@pytest.mark.slow
def test_blocks_of_points_give_the_same_sketch_as_all_rows():
    """With as many columns as parameters nothing is lost on that side; a block's filling has weight zero."""
    parameters = ravel_pytree(small_start())[0].size
    method = SketchedGaussNewton(columns=parameters, rows=400, block=16)
    value, jacobian, columns = compressed(method, SMALL, KEY, small_start(), {}, batch_of(60))
    assert columns is None
    exact, _ = SMALL.linearise(small_start(), {}, batch_of(60))
    np.testing.assert_allclose(jnp.sum(value**2), jnp.sum(exact**2), rtol=0.3)  # 60 rows among 400 buckets: few collisions
    assert jacobian.shape == (400, parameters)


@pytest.mark.slow
def test_sketched_steps_descend_like_full_ones_in_a_subspace():
    state = after(SketchedGaussNewton(columns=8, rows=40, block=32), 20, 60)
    first = float(jnp.sum(SMALL.rows(small_start(), {}, batch_of(60)) ** 2))
    assert state.loss < 1e-3 * first
    assert ravel_pytree(state.unknowns)[0].size > 8


# --- precision and first order ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_single_precision_hands_over_to_double():
    method = SinglePrecision(LevenbergMarquardt())
    state = after(method, 5, 60)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.unknowns)} == {jnp.dtype("float64")}
    assert {leaf.dtype for leaf in jax.tree.leaves(state.inner) if leaf.dtype.kind == "f"} == {jnp.dtype("float32")}
    double = after(LevenbergMarquardt(), 5, 60)
    assert float(state.loss) == pytest.approx(float(double.loss), rel=1e-2)
    onward = LevenbergMarquardt().init(SMALL, state.unknowns, {})
    onward = LevenbergMarquardt().advance(SMALL, {}, onward, batch_of(60), 5)
    assert float(onward.loss) < float(state.loss)


def test_single_precision_wants_an_optimiser():
    with pytest.raises(TypeError, match="SinglePrecision: give an optimiser"):
        SinglePrecision(optax.adam(1e-3))


@pytest.mark.slow
@pytest.mark.parametrize(
    "transformation",
    [
        soap(optax.exponential_decay(0.02, 100, 0.5)),
        optax.contrib.muon(optax.exponential_decay(0.02, 100, 0.5)),
        optax.lbfgs(),
    ],
    ids=["soap", "muon", "lbfgs"],
)
def test_matrix_aware_transformations_descend(transformation):
    method = FirstOrder(transformation)
    state = method.advance(SMALL, {}, after(method, 0, 60), batch_of(60), 200)
    first = float(jnp.sum(SMALL.rows(small_start(), {}, batch_of(60)) ** 2))
    assert state.loss < 1e-2 * first


def test_soap_is_adam_in_the_eigenbasis():
    """A gradient Q d P' with fixed Q, P: in their basis Adam normalises every entry, so the step is Q sign(d) P'."""
    random = np.random.default_rng(0)
    q, p = (np.linalg.qr(random.normal(size=(3, 3)))[0] for _ in range(2))
    gradient = jnp.asarray(q @ np.diag([3.0, -0.2, 0.01]) @ p.T)
    method = soap(1.0, eps=1e-8)
    state = method.init(gradient)
    step, state = method.update(gradient, state)
    assert (step == 0).all(), "the first gradient only fills the preconditioner"
    step, state = method.update(gradient, state)
    np.testing.assert_allclose(step, -q @ np.diag([1.0, -1.0, 1.0]) @ p.T, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NaturalGradient("hessian"), "NaturalGradient: metric 'hessian' does not exist"),
        (lambda: NaturalGradient(cutoff=2.0), r"cutoff must lie between 0 and 1, got 2\.0"),
        (lambda: SketchedGaussNewton(columns=50, rows=20), "rows must be at least columns = 50, got 20"),
        (lambda: VariableProjection(inner=0), "VariableProjection: inner must be a positive whole number, got 0"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
