"""Bonds and angles: exact, nearest, in linear time; against the general projection, dense algebra and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxsci.constraints import CONVERGED, NOT_FINITE, Bonds, Nonlinear, from_internal, project, to_internal
from jaxsci.constraints.block_tridiagonal import band, factor, solve


def chain(atoms, seed=0):
    """(the constraint of a chain with all lengths and angles, a conformation that satisfies it)."""
    rng = np.random.default_rng(seed)
    lengths, angles = rng.uniform(1.3, 1.7, atoms - 1), rng.uniform(1.7, 2.1, atoms - 2)
    x = from_internal(jnp.asarray(lengths), jnp.asarray(angles), jnp.asarray(rng.uniform(-3, 3, atoms - 3)))
    pairs, triples = [(i, i + 1) for i in range(atoms - 1)], [(i, i + 1, i + 2) for i in range(atoms - 2)]
    masses = jnp.asarray(rng.uniform(1, 16, atoms))
    return Bonds(pairs, jnp.asarray(lengths), triples, jnp.asarray(angles), masses), x


def disturbed(x, noise, *batch, seed=1):
    return x + noise * np.random.default_rng(seed).normal(size=(*batch, *x.shape))


def rotation(seed=2):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return jnp.asarray(q * np.sign(np.linalg.det(q)))


@pytest.mark.slow
def test_chain_of_200_atoms_at_round_off_with_its_tangent_on_the_manifold():
    bonds, x = chain(200)
    y, v = disturbed(x, 0.05), disturbed(x, 1.0, seed=3) - x
    nearest = lambda y: project(bonds, y)
    point, dx, info = jax.jit(lambda y, v: jax.jvp(nearest, (y,), (v,), has_aux=True))(y, v)
    assert info.status == CONVERGED
    assert jnp.abs(bonds.residual(point)).max() < 1e-13
    assert info.residual < 1e-13
    change = lambda w: jnp.abs(jax.jvp(bonds.residual, (point,), (w,))[1]).max()
    assert change(dx) < 1e-13
    assert change(bonds.tangent(point, v)) < 1e-13
    assert change(v) > 1  # the control
    momentum = jnp.sum(bonds.masses[:, None] * (point - y), 0)
    assert jnp.abs(momentum).max() < 1e-11


@pytest.mark.slow
def test_small_molecule_against_the_general_projection():
    """The same set and metric as nonlinear equalities, whose KKT matrices are dense, of the square roots and arccosines."""
    bonds, x = chain(5, seed=4)
    root = jnp.sqrt(bonds.masses / bonds.masses.mean())[:, None]

    def conditions(z, data):
        x = z.reshape(5, 3) / root
        lengths, angles, _ = to_internal(x)
        return jnp.concatenate([lengths - data[0], angles - data[1]])

    y = disturbed(x, 0.2, 6)
    ours, info = project(bonds, y)
    general, check = project(Nonlinear(conditions, data=(bonds.lengths, bonds.angles)), (root * y).reshape(6, 15))
    assert info.converged.all()
    assert check.converged.all()
    assert jnp.abs(ours - general.reshape(6, 5, 3) / root).max() < 1e-13
    unweighted, _ = project(Bonds(bonds.pairs, bonds.lengths, bonds.triples, bonds.angles), y)
    assert jnp.abs(ours - unweighted).max() > 1e-2  # masses matter


@pytest.mark.slow
def test_projection_commutes_with_rotations_and_translations():
    bonds, x = chain(5, seed=5)
    y, turn, shift = disturbed(x, 0.1), rotation(), jnp.array([1.0, -2.0, 0.5])
    moved, _ = project(bonds, y @ turn.T + shift)
    still, _ = project(bonds, y)
    assert jnp.abs(moved - (still @ turn.T + shift)).max() < 1e-13
    correction = jnp.asarray(bonds.masses)[:, None] * (still - y)
    assert jnp.abs(correction.sum(0)).max() < 1e-13
    assert jnp.abs(jnp.cross(still, correction).sum(0)).max() < 1e-12  # nor angular momentum about the projected positions
    shake = y - 0.1 * jnp.sum(y**2)  # a change that has momentum: the control
    assert jnp.abs((bonds.masses[:, None] * (shake - y)).sum(0)).max() > 1e-3


@pytest.mark.slow
def test_derivatives_in_positions_lengths_angles_and_masses_against_finite_differences():
    bonds, x = chain(4, seed=6)
    y = disturbed(x, 0.2)
    flat, unravel = ravel_pytree((y, bonds.lengths, bonds.angles, bonds.masses))

    def nearest(v):
        y, lengths, angles, masses = unravel(v)
        return project(Bonds(bonds.pairs, lengths, bonds.triples, angles, masses), y)[0].reshape(-1)

    step, size = 1e-5, len(flat)
    f = jax.jit(jax.vmap(nearest))
    numeric = (f(flat + step * jnp.eye(size)) - f(flat - step * jnp.eye(size))).T / (2 * step)
    forward = jax.jit(jax.jacfwd(nearest))(flat)
    assert jnp.abs(forward - numeric).max() < 1e-8
    assert jnp.abs(forward - jax.jit(jax.jacrev(nearest))(flat)).max() < 1e-12
    direction, weight = jnp.cos(jnp.arange(size)), jnp.sin(jnp.arange(12.0))
    gradient = jax.jit(jax.vmap(jax.grad(lambda v: jnp.vdot(weight, nearest(v) ** 2))))
    curvature = jax.jit(lambda v: jax.jvp(jax.grad(lambda v: jnp.vdot(weight, nearest(v) ** 2)), (v,), (direction,))[1])(
        flat
    )
    ends = gradient(jnp.stack([flat + step * direction, flat - step * direction]))
    assert jnp.abs(curvature - (ends[0] - ends[1]) / (2 * step)).max() < 1e-6
    assert jnp.abs(forward[:, -4:]).max() > 1e-4  # the masses' derivative is not nothing


@pytest.mark.slow
def test_ring_with_side_groups_batches_and_single_precision():
    ring = [(i, (i + 1) % 6) for i in range(6)] + [(i, i + 6) for i in range(6)]
    angle = np.arange(6) * np.pi / 3
    inner = 1.4 * np.stack([np.cos(angle), np.sin(angle), np.zeros(6)], -1)
    x = np.concatenate([inner, inner * (1.4 + 1.1) / 1.4])
    lengths = jnp.array([[1.4] * 6 + [1.1] * 6, [1.5] * 6 + [1.0] * 6])
    y = disturbed(x, 0.1, 3, 1)
    point, info = project(Bonds(ring, lengths), y)
    assert point.shape == (3, 2, 12, 3)
    assert info.status.shape == (3, 2)
    assert info.converged.all()
    assert info.residual.max() < 1e-14
    alone, _ = project(Bonds(ring, lengths[1]), y[2, 0])
    assert jnp.abs(point[2, 1] - alone).max() < 1e-14
    mapped = jax.vmap(lambda y: project(Bonds(ring, lengths[0]), y)[0])(y[:, 0])
    assert jnp.abs(point[:, 0] - mapped).max() < 1e-14
    single, info = project(Bonds(ring, lengths.astype(jnp.float32)), jnp.asarray(y, jnp.float32))
    assert single.dtype == jnp.float32
    assert info.converged.all()
    assert info.residual.max() < 2e-6
    assert jnp.abs(single - point).max() < 1e-4


@pytest.mark.slow
def test_velocities_are_projected_as_least_squares_would():
    bonds, x = chain(5, seed=7)
    v = disturbed(x, 1.0, seed=8) - x
    jacobian = np.asarray(jax.jacfwd(bonds.residual)(x)).reshape(7, 15)
    inverse = np.diag(1 / np.repeat(bonds.masses, 3))
    force = np.linalg.solve(jacobian @ inverse @ jacobian.T, jacobian @ np.ravel(v))
    dense = np.ravel(v) - inverse @ jacobian.T @ force
    assert np.abs(np.ravel(bonds.tangent(x, v)) - dense).max() < 1e-13
    slope = jax.grad(lambda x: jnp.sum(bonds.tangent(x, v) ** 3))
    numeric = (jnp.sum(bonds.tangent(x + 1e-6 * v, v) ** 3) - jnp.sum(bonds.tangent(x - 1e-6 * v, v) ** 3)) / 2e-6
    assert jnp.abs(jnp.vdot(slope(x), v) - numeric) < 1e-6


@pytest.mark.slow
def test_atoms_on_one_place_and_nan():
    """Coinciding atoms have no direction: a step aside finds one."""
    water = Bonds([(0, 1), (0, 2)], 1.0, [(1, 0, 2)], 1.824)
    point, info = project(water, jnp.stack([jnp.zeros((3, 3)), jnp.full((3, 3), jnp.nan)]))
    assert info.status.tolist() == [CONVERGED, NOT_FINITE]
    assert jnp.isfinite(point).all()
    assert info.residual[0] < 1e-14


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Bonds([], 1.0), "there is no condition"),
        (lambda: Bonds([(0, 0)], 1.0), "2 different atoms"),
        (lambda: Bonds([(0, 1, 2)], 1.0), "pairs must be groups of 2"),
        (lambda: Bonds([(0, 1)], -1.0), "lengths must lie between 0 and inf"),
        (lambda: Bonds([(0, 1)], jnp.ones(2)), "last axis of 1"),
        (lambda: Bonds([(0, 1)], jnp.nan), "lengths holds NaN"),
        (lambda: Bonds([(0, 1)], 1.0, [(0, 1, 2)]), "triples and angles come together"),
        (lambda: Bonds([(0, 1)], 1.0, [(0, 1, 2)], np.pi), "angles must lie between 0 and 3.142"),
        (lambda: project(Bonds([(0, 5)], 1.0), jnp.ones((3, 3))), "6 or more atoms, got \\(3, 3\\)"),
        (lambda: project(Bonds([(0, 1)], 1.0, masses=jnp.ones(2)), jnp.ones((3, 3))), "3 atoms and masses"),
    ],
)
def test_bad_input_is_refused_by_name(make, match):
    with pytest.raises(ValueError, match=match):
        make()


# --- the linear algebra and internal coordinates -------------------------------------------------------------------------


def test_block_tridiagonal_solution_of_a_shuffled_graph_against_a_dense_one():
    rng = np.random.default_rng(9)
    name = rng.permutation(11)
    groups = tuple((int(name[i]), int(name[i + 1])) for i in range(10))
    shape = band(groups, 11, 2)
    assert shape.width == 2  # the shuffled chain is a chain again
    elements = rng.normal(size=(10, 4, 4))
    elements = elements @ elements.transpose(0, 2, 1)
    diagonal, right = rng.uniform(0.5, 1, 22), rng.normal(size=22)
    dense = np.diag(diagonal)
    for group, element in zip(groups, elements, strict=True):
        at = (np.array(group)[:, None] * 2 + np.arange(2)).reshape(-1)
        dense[np.ix_(at, at)] += element
    factors, exists = factor(shape, jnp.asarray(elements.reshape(-1)), jnp.asarray(diagonal))
    assert exists
    assert np.abs(solve(shape, factors, jnp.asarray(right)) - np.linalg.solve(dense, right)).max() < 1e-12
    _, exists = factor(shape, jnp.asarray(-elements.reshape(-1)), jnp.asarray(diagonal))
    assert not exists


@pytest.mark.slow
def test_internal_coordinates_there_and_back_and_by_bonds():
    rng = np.random.default_rng(10)
    given = rng.uniform(1, 2, (2, 199)), rng.uniform(0.2, 3.1, (2, 198)), rng.uniform(-3.1, 3.1, (2, 197))
    given = tuple(map(jnp.asarray, given))
    x = from_internal(*given)
    for back, there in zip(to_internal(x), given, strict=True):
        assert jnp.abs(back - there).max() < 1e-12
    turned = to_internal(x @ rotation().T + 1.0)
    assert jnp.abs(turned[2] - given[2]).max() < 1e-12
    mirrored = to_internal(x * jnp.array([1.0, 1.0, -1.0]))
    assert jnp.abs(mirrored[2] + given[2]).max() < 1e-12  # handed
    bonds, conformation = chain(30)
    assert jnp.abs(bonds.residual(conformation)).max() < 1e-13


def test_torsion_has_the_sign_of_iupac():
    """Seen along the middle bond (towards -z here), the far bond is a quarter turn clockwise from the near one."""
    x = jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, -1.0]])
    assert jnp.abs(to_internal(x)[2][0] - jnp.pi / 2) < 1e-15


@pytest.mark.slow
def test_straight_chains_have_positions_and_derivatives():
    lengths, angles, torsions = jnp.ones(4), jnp.array([jnp.pi, 2.0, jnp.pi]), jnp.array([0.3, -0.4])
    jacobian = jax.jacfwd(from_internal, (0, 1, 2))(lengths, angles, torsions)
    numeric = (from_internal(lengths, angles + 1e-6, torsions) - from_internal(lengths, angles - 1e-6, torsions)) / 2e-6
    assert jnp.abs(jacobian[1].sum(-1) - numeric).max() < 1e-9
    straight = jnp.arange(5.0)[:, None] * jnp.array([1.0, 0.0, 0.0])
    for value, slope in zip(to_internal(straight), jax.jacrev(to_internal)(straight), strict=True):
        assert jnp.isfinite(value).all()
        assert jnp.isfinite(slope).all()


@pytest.mark.parametrize("shapes", [((3,), (3,), (1,)), ((), (), ()), ((3,), (2,), (2,))])
def test_internal_coordinates_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ValueError, match="n - 1 lengths, n - 2 angles and n - 3 torsions"):
        from_internal(*(jnp.ones(shape) for shape in shapes))
    with pytest.raises(ValueError, match="two or more atoms"):
        to_internal(jnp.ones((1, 3)))
