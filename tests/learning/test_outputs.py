"""Divergence, sign and integrals of a field hold for any network, together with its conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import Ansatz, Conserved, DivergenceFree, HardConditions, Positive
from jaxsci.problems.flow import velocity_equation_3d

HEAT = js.Equation(lambda u, k: u.t - k * u.xx, name="heat")
STOKES = js.Equation(lambda u, v, p: (u.xx + u.yy - p.x, v.xx + v.yy - p.y, u.x + v.y), "u v p", name="stokes")
REST, SQUARE = js.Dirichlet(u=0, v=0), js.Box(x=(0, 2), y=(-1, 1))
PI = float(np.pi)


def heat(initial, boundary, **more):
    box = js.Box(t=(0, 1), x=(0, 1))
    return js.Problem(HEAT, box, coefficients={"k": 0.1}, initial={"u": initial}, boundary={"x": boundary}, **more)


def stokes(x=REST, **more):
    return js.Problem(STOKES, SQUARE, boundary={"x": x, "y": REST} | more.pop("held", {}), **more)


def field_of(ansatz, seed=0):
    random = np.random.default_rng(seed)
    size, outputs = ansatz.input_size, len(ansatz.problem.unknowns)
    first, last = jnp.asarray(random.normal(size=(size, 6)), float), jnp.asarray(random.normal(size=(6, outputs)), float)
    return ansatz.field(lambda z: jnp.tanh(z @ first + 0.3) @ last, ansatz.problem.coefficients)


def points(problem, count=30):
    random = np.random.default_rng(1)
    return [jnp.asarray(random.uniform(*problem.domain[c], count), float) for c in problem.coordinates]


BETWEEN_WALLS = stokes(solid={"post": js.Disc((1, 0), 0.3)}, held={"post": REST})
IN_SPACE = js.Problem(
    velocity_equation_3d, js.Box(t=(0, 1), x=(0, 1), y=(0, 1), z=(0, 1)), coefficients={"viscosity": 0.1},
    initial={"u": 0, "v": 0, "w": 0}, boundary={"y": js.Dirichlet(u=0, v=0, w=0)},
)  # fmt: skip


@pytest.mark.parametrize(
    "problem",
    [*(pytest.param(p, marks=pytest.mark.slow) for p in (BETWEEN_WALLS, IN_SPACE)), js.problems.navier_stokes_velocity()],
    ids=["post", "3d", "2d"],
)
def test_a_curl_has_no_divergence_and_rests_where_the_velocity_does(problem):
    names = " ".join(problem.unknowns[:-1])
    dims, ansatz = len(problem.domain.space), Ansatz(HardConditions(problem), (DivergenceFree(names),))
    field, place = field_of(ansatz), points(problem)
    first = len(place) - dims
    slopes = jax.jit(jax.vmap(jax.jacfwd(field, argnums=tuple(range(first, first + dims)))))(*place)
    divergence = sum(slopes[i][:, i] for i in range(dims))
    assert np.abs(slopes[0][:, 0]).max() > 0.1
    assert np.abs(divergence).max() < 1e-12 * max(1, np.abs(jnp.stack(slopes)).max())
    values = jax.vmap(field)
    for axis in problem.domain.space:
        for end, _ in zip(problem.domain[axis], problem.walls(axis), strict=False):
            wall = [jnp.full_like(c, end) if name == axis else c for name, c in zip(problem.coordinates, place, strict=True)]
            assert np.abs(values(*wall)[:, :dims]).max() < 1e-12
    if problem.solids:
        angle = np.linspace(0, 6, 20)
        assert np.abs(values(jnp.asarray(1 + 0.3 * np.cos(angle)), jnp.asarray(0.3 * np.sin(angle)))[:, :2]).max() < 1e-12
    if not problem.is_steady:
        start = values(jnp.zeros_like(place[0]), *place[1:])
        here = dict(zip(problem.coordinates[1:], place[1:], strict=True))
        wanted = jnp.stack([problem.initial[n](here, problem.coefficients) for n in names.split()], axis=-1)
        assert np.abs(start[:, :dims] - wanted).max() < 1e-12


def test_positive_values_with_walls_and_start():
    problem = heat(lambda x: js.sin(PI * x), js.Dirichlet(0))
    field, (t, x) = field_of(Ansatz(HardConditions(problem), (Positive("u"),))), points(problem)
    values = jax.vmap(field)
    assert (values(t, x) > 0).all()
    np.testing.assert_allclose(values(0 * t, x)[:, 0], np.sin(PI * x), rtol=1e-13)
    assert np.abs(values(t, 0 * x)).max() == 0
    assert np.abs(values(t, x)[:, 0] - np.sin(PI * x)).max() > 0.1


@pytest.mark.parametrize(
    "boundary", [js.Neumann(0), js.Dirichlet(0), (js.Dirichlet(0), js.Neumann(0))], ids=["n", "d", "dn"]
)
def test_integrals_are_the_ones_given(boundary):
    problem = heat(lambda x: 6 * x**2 * (1 - x) ** 2, boundary)
    field = field_of(Ansatz(HardConditions(problem), (Conserved("u", lambda t, k: 0.2 + k * t),)))
    nodes, weights = np.polynomial.legendre.leggauss(32)  # another quadrature than its own
    t, x = np.array([0.0, 0.4, 1.0]), jnp.asarray((nodes + 1) / 2)
    values = jax.jit(jax.vmap(jax.vmap(field, (None, 0)), (0, None)))(jnp.asarray(t), x)[..., 0]
    np.testing.assert_allclose(values @ weights / 2, 0.2 + 0.1 * t, atol=1e-12)
    np.testing.assert_allclose(values[0], 6 * x**2 * (1 - x) ** 2, atol=1e-12)
    ends = jax.vmap(field, (None, 0))(0.7, jnp.array([0.0, 1.0]))[:, 0]
    if boundary != js.Neumann(0):
        assert abs(float(ends[0])) < 1e-13


def test_together():
    problem = heat(lambda x: 1 + js.cos(PI * x) / 2, js.Neumann(0))
    field = field_of(Ansatz(HardConditions(problem), (Positive("u"), Conserved("u", 1.0))))
    nodes, weights = np.polynomial.legendre.leggauss(32)
    values = jax.vmap(field, (None, 0))(0.5, jnp.asarray((nodes + 1) / 2))[:, 0]
    assert float(values @ weights) / 2 == pytest.approx(1, abs=1e-12)


@pytest.mark.slow
def test_float32():
    with jax.enable_x64(False):
        problem = js.problems.navier_stokes_velocity()
        field = field_of(Ansatz(HardConditions(problem), (DivergenceFree("u v"),)))
        slopes = jax.vmap(jax.jacfwd(field, argnums=(1, 2)))(*points(problem))
        assert slopes[0].dtype == jnp.float32
        assert np.abs(slopes[0][:, 0] + slopes[1][:, 1]).max() < 1e-5 * np.abs(jnp.stack(slopes)).max()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (stokes((js.Dirichlet(u=lambda y: 1 - y**2, v=0), REST)), DivergenceFree("u v")), "has a divergence of"),
        (lambda: (stokes((REST, js.Neumann(u=0, v=0))), DivergenceFree("u v")), "prescribes slopes of the velocity"),
        (lambda: (stokes(), DivergenceFree("u")), "name one component for each of x, y"),
        (lambda: (stokes(), DivergenceFree("u w")), "DivergenceFree: unknown 'w' does not exist"),
        (lambda: (heat(lambda x: x - 0.5, js.Periodic() if False else js.Dirichlet(lambda x: x - 0.5)), Positive("u")),
         "falls to -0.4"),
        (lambda: (heat(lambda x: x, js.Neumann(1)), Positive("u")), "prescribes slopes of u other than zero"),
        (lambda: (BETWEEN_WALLS, Conserved("p", 0)), "integrals are over boxes without solids"),
        (lambda: (stokes(), Conserved("q", 0)), "Conserved: unknown 'q' does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_held_is_named(make, message):
    problem, output = make()
    with pytest.raises(ValueError, match=message):
        Ansatz(HardConditions(problem), (output,))


@pytest.mark.slow
def test_a_network_is_fitted_with_what_holds_beside_its_conditions():
    problem = heat(lambda x: 1 + js.cos(np.pi * x), js.Neumann(0))  # insulated: its integral stays 1
    optimiser = js.learning.LevenbergMarquardt(steps=4, points=60)
    method = js.Neural(js.networks.MLP((4,)), optimiser=optimiser, outputs=(Conserved("u", 1.0),), grid=4, estimate=False)
    field = js.solve(problem, method).field
    nodes, weights = np.polynomial.legendre.leggauss(24)
    for t in (0.0, 0.4, 1.0):
        values = jax.vmap(lambda x, t=t: field(t, x)[0])((nodes + 1) / 2)
        np.testing.assert_allclose(values @ weights / 2, 1.0, atol=1e-12)
    with pytest.raises(TypeError, match="outputs must be a tuple"):
        js.Neural(outputs=Conserved("u", 1.0))


def test_an_integral_that_the_start_has_not_and_an_order_that_loses_it_are_refused():
    conditions = HardConditions(heat(lambda x: 1 + js.cos(np.pi * x), js.Neumann(0)))
    with pytest.raises(ValueError, match=r"integral of the start of u in heat is 1, not the total 2"):
        Ansatz(conditions, (Conserved("u", 2.0),))
    with pytest.raises(ValueError, match="Conserved must come last"):
        Ansatz(conditions, (Conserved("u", 1.0), Positive("u")))
