"""Projections on velocities without divergence are exact, orthogonal and linear; functions made of potentials have none."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.constraints import DivergenceFreeDiscrete, DivergenceFreeSpectral, divergence_free, flux_divergence, project

# The compiler takes all the time here, the programs none: let it optimise less.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
RANDOM = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape))


UNEVEN = jnp.asarray(RANDOM.uniform(0.1, 0.3, 6))
SETS = {
    "spectral, even": (DivergenceFreeSpectral((1.0, 2.0)), (2, 8, 6)),
    "spectral, odd": (DivergenceFreeSpectral((1.0, 2.0)), (2, 7, 6)),
    "spectral, space": (DivergenceFreeSpectral((1.0, 2.0, 0.5)), (3, 4, 5, 6)),
    "periodic": (DivergenceFreeDiscrete((0.1, 0.2)), (2, 8, 6)),
    "channel": (DivergenceFreeDiscrete((0.1, 0.2), (True, False), source=0.0), (2, 5, 6)),
    "cavity, uneven": (DivergenceFreeDiscrete((0.1, UNEVEN), (False, False)), (2, 5, 6)),
    "duct": (DivergenceFreeDiscrete((0.1, UNEVEN, 0.2), (False, True, False)), (3, 4, 6, 3)),
}


def volumes(constraint, shape):
    """Of the grid's inner product, as the projection's docstring has it: around faces, ``[dims, *cells]``."""
    if isinstance(constraint, DivergenceFreeSpectral):
        return np.ones(shape)
    widths = [np.broadcast_to(w, n) for w, n in zip(constraint.widths, shape[1:], strict=True)]
    out = np.ones(shape)
    for i in range(len(widths)):
        for j, width in enumerate(widths):
            vector = (width + np.roll(width, -1)) / 2 if i == j else width
            out[i] *= vector.reshape([-1 if k == j else 1 for k in range(len(widths))])
    return out


QUICK = ("spectral, even", "cavity, uneven")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SETS])
def test_the_projection_is_the_nearest_field_without_divergence(name):
    """Against a least-squares solve with the matrix of the residual."""
    constraint, shape = SETS[name]
    y = normal(*shape)
    point, info = jit(project)(constraint, y)
    size = int(np.prod(shape))
    matrix = np.asarray(jit(jax.jacfwd(constraint.residual))(y)).reshape(-1, size)
    root = np.sqrt(volumes(constraint, shape).ravel())
    wanted = np.asarray(y).ravel() - np.linalg.pinv(matrix / root, rcond=1e-10) @ (matrix @ np.asarray(y).ravel()) / root
    np.testing.assert_allclose(np.asarray(point).ravel(), wanted, atol=1e-12)
    assert bool(info.converged)
    assert float(constraint.violation(y)) > 1  # the control: what came was far from the set
    assert float(info.residual) < 1e-12 * float(jnp.abs(y).max() * 100)
    assert float(jnp.abs(jit(project)(constraint, point)[0] - point).max()) < 1e-13
    with pytest.raises(ValueError, match="violated, by"):
        constraint.check(y)
    assert constraint.check(point) is point


def test_spectral_fields_have_no_divergence_between_the_points_either():
    n, fine = 8, 24
    u, _ = project(DivergenceFreeSpectral((1.0, 1.0)), normal(2, n, n))
    k = np.fft.fftfreq(n, 1 / n)
    x = np.arange(fine) / fine
    waves = np.exp(2j * np.pi * np.outer(x, k))
    waves[:, n // 2] = np.cos(np.pi * n * x)  # the highest wave of a real field is a cosine
    slopes = waves * 2j * np.pi * k
    slopes[:, n // 2] = -np.pi * n * np.sin(np.pi * n * x)
    modes = np.fft.fft2(u) / n**2
    divergence = np.einsum("xa,yb,ab->xy", slopes, waves, modes[0]) + np.einsum("xa,yb,ab->xy", waves, slopes, modes[1])
    assert np.abs(divergence).max() < 1e-12
    shear = jnp.stack([jnp.zeros((n, n)), jnp.broadcast_to((-1.0) ** jnp.arange(n)[:, None], (n, n))])  # v = cos(pi n x)
    np.testing.assert_allclose(project(DivergenceFreeSpectral((1.0, 1.0)), shear)[0], shear, atol=1e-14)


@pytest.mark.parametrize(
    "name", ["spectral, even", *(pytest.param(n, marks=pytest.mark.slow) for n in ("channel", "cavity, uneven"))]
)
def test_derivatives_in_both_modes_in_the_point_and_in_the_grid(name):
    constraint, shape = SETS[name]
    y, cotangent = normal(*shape), normal(*shape[::-1]).reshape(shape)

    def value(constraint, y):
        return jnp.sum(jnp.sin(project(constraint, y)[0]) * cotangent)

    given = (constraint, y)
    direction = jax.tree.map(lambda leaf: normal(*np.shape(leaf), 1)[..., 0] * 0.1, given)
    if isinstance(constraint, DivergenceFreeDiscrete):  # a source has no mean
        direction[0].__dict__["source"] = 0.0
    moved = lambda h: jax.tree.map(lambda a, d: jnp.asarray(a, float) + h * d, given, direction)
    h = 1e-5
    compiled = jit(value)
    wanted = (compiled(*moved(h)) - compiled(*moved(-h))) / (2 * h)
    exact = moved(0.0)

    @jit
    def derivatives(constraint, y):
        forward = jax.jvp(value, (constraint, y), direction)[1]
        backward = jax.grad(value, argnums=(0, 1))(constraint, y)
        curvature = jax.jvp(lambda y: jax.grad(value, argnums=1)(constraint, y), (y,), (direction[1],))[1]
        nearest = lambda y: project(constraint, y)[0]  # a linear map: its own adjoint in this inner product
        point, along = jax.jvp(nearest, (y,), (direction[1],))
        bent = jax.vjp(nearest, y)[1](-jnp.sin(point) * cotangent * along)[0]
        return forward, backward, curvature, bent

    forward, backward, curvature, bent = derivatives(*exact)
    np.testing.assert_allclose(forward, wanted, rtol=1e-6)
    pairs = zip(jax.tree.leaves(backward), jax.tree.leaves(direction), strict=True)
    np.testing.assert_allclose(sum(float(jnp.sum(g * d)) for g, d in pairs), forward, rtol=1e-10)
    np.testing.assert_allclose(curvature, bent, atol=1e-12)


@pytest.mark.slow
def test_batches_of_points_and_of_data_are_loops():
    lengths, y = jnp.array([[1.0, 2.0], [0.5, 1.5]]), normal(3, 2, 2, 6, 4)
    nearest = jit(lambda lengths, y: project(DivergenceFreeSpectral(lengths), y))
    batched, info = nearest(lengths, y)
    assert info.status.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            np.testing.assert_allclose(batched[i, j], nearest(lengths[j], y[i, j])[0], atol=1e-14)
    mapped = jax.vmap(lambda lengths, y: nearest(lengths, y)[0])(lengths, y[0])
    np.testing.assert_allclose(mapped, batched[0], atol=1e-14)
    widths, source = jnp.array([0.1, 0.3]), normal(2, 6, 4)
    source = source - source.mean((1, 2), keepdims=True)
    held = lambda w, s: DivergenceFreeDiscrete((w, 0.2), (True, False), s)
    nearest = jit(lambda w, s, y: project(held(w, s), y))
    batched, info = nearest(widths[:, None], source, y[0])
    assert bool(info.converged.all())
    assert float(info.residual.max()) < 1e-12
    for j in range(2):
        np.testing.assert_allclose(batched[j], nearest(widths[j], source[j], y[0, j])[0], atol=1e-13)


def test_a_source_is_met_and_one_with_a_mean_is_infeasible():
    source = normal(6, 4)
    source = source - source.mean()
    y = normal(2, 6, 4)
    for mean, converged in ((0.0, True), (1.0, False)):
        constraint = DivergenceFreeDiscrete((0.1, 0.2), (False, True), source + mean)
        point, info = jit(project)(constraint, y)
        assert bool(info.converged) is converged
        assert js.constraints.STATUS[int(info.status)].startswith("converged" if converged else "infeasible")
        np.testing.assert_allclose(constraint.residual(point)[:24], -mean, atol=1e-12)
    slopes = jit(jax.grad(lambda y: project(constraint, y)[0][0, 1, 1]))(y)
    assert bool(jnp.isfinite(slopes).all())


def test_bad_members_do_not_reach_others():
    y = normal(2, 2, 6, 4).at[0, 1, 2, 3].set(jnp.nan)
    for constraint in (DivergenceFreeSpectral((1.0, 1.0)), DivergenceFreeDiscrete((0.1, 0.1))):
        point, info = jit(project)(constraint, y)
        np.testing.assert_array_equal(info.status, [3, 0])
        np.testing.assert_allclose(point[1], jit(project)(constraint, y.at[0].set(1.0))[0][1], atol=1e-14)
        assert bool(jnp.isfinite(point).all())


def test_float32():
    y = jnp.asarray(normal(2, 16, 16), jnp.float32)
    for constraint in (DivergenceFreeSpectral((1.0, 1.0)), DivergenceFreeDiscrete((1 / 16, 1 / 16), (True, False))):
        point, info = jit(project)(constraint, y)
        assert point.dtype == jnp.float32
        assert float(info.residual) < 1e-6 * 16 * np.pi * float(jnp.abs(y).max())


def test_flux_form_conserves_what_the_cells_hold():
    fluxes, widths = (normal(5, 6), normal(6, 5).T), (0.3, UNEVEN)
    rate = flux_divergence(fluxes, widths, (True, False))
    through_the_wall = float(jnp.sum(fluxes[1][:, -1]) * 0.3)
    np.testing.assert_allclose(jnp.sum(rate * 0.3 * UNEVEN), through_the_wall, rtol=1e-13)
    solver = js.solvers.mac_stencils
    axes = (
        js.solvers.mac_grid.MacAxis("x", tuple(0.3 * np.arange(6)), True),
        js.solvers.mac_grid.MacAxis("y", (0.0, *np.cumsum(UNEVEN).tolist()), False),
    )
    faces = (jnp.roll(fluxes[0], 1, 0), jnp.pad(fluxes[1], ((0, 0), (1, 0))))  # the solver's: from the lowest face up
    np.testing.assert_allclose(rate, solver.divergence(axes, faces), atol=1e-13)


# --- functions --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(4, marks=pytest.mark.slow)])
def test_functions_made_of_potentials_have_no_divergence(dims):
    count = dims * (dims - 1) // 2
    first, last = normal(dims, 7), normal(7, count)
    network = lambda x: jnp.tanh(x @ first + 0.2) @ last
    u, x = divergence_free(network), normal(4, 5, dims)
    slopes, values = jit(lambda x: (jax.vmap(jax.vmap(jax.jacfwd(u)))(x), u(x)))(x)
    assert values.shape == x.shape
    assert float(jnp.abs(slopes).max()) > 0.3
    assert float(jnp.abs(jnp.trace(slopes, axis1=-2, axis2=-1)).max()) < 1e-14 * float(jnp.abs(slopes).max()) * 10
    plain = jax.vmap(jax.jacfwd(lambda x: network(x)[:dims] if count >= dims else jnp.concatenate([network(x)] * 2)))(x[0])
    assert float(jnp.abs(jnp.trace(plain[:, :dims], axis1=-2, axis2=-1)).max()) > 0.1  # the control: a plain network


def test_the_stream_function_and_the_vector_potential_are_those_of_the_books():
    x = normal(2)
    np.testing.assert_allclose(
        divergence_free(lambda x: jnp.sin(x[0]) * x[1] ** 2)(x),
        [2 * x[1] * jnp.sin(x[0]), -jnp.cos(x[0]) * x[1] ** 2],
        atol=1e-15,
    )
    x = normal(3)
    potential = lambda x: jnp.stack([x[1] * x[2] ** 2, x[0] ** 3, x[0] * x[1]])
    curl = [x[0], 2 * x[1] * x[2] - x[1], 3 * x[0] ** 2 - x[2] ** 2]
    np.testing.assert_allclose(divergence_free(potential)(x), curl, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DivergenceFreeSpectral(1.0), "two or three periods"),
        (lambda: DivergenceFreeSpectral((1.0, np.nan)), "lengths holds NaN at index"),
        (lambda: project(DivergenceFreeSpectral((1.0, 1.0)), jnp.ones((3, 4, 4))), r"got the shape \(3, 4, 4\)"),
        (lambda: DivergenceFreeDiscrete(0.1), "one entry for each of one to three axes"),
        (lambda: DivergenceFreeDiscrete((0.1, 0.1), (True,)), "periodic has 1 entries for 2 axes"),
        (
            lambda: project(DivergenceFreeDiscrete((0.1, jnp.ones(5))), jnp.ones((2, 4, 4))),
            r"widths\[1\] has 5 entries for 4",
        ),
        (lambda: project(DivergenceFreeDiscrete((0.1, 0.1)), jnp.ones((3, 4, 4))), r"a point is \[2, \*cells\]"),
        (lambda: divergence_free(lambda x: x)(jnp.ones(2)), "the potential has 1 values"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
