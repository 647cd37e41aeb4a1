"""Direct solves against dense matrices that are written out here."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.solvers.fast_diagonal import apply_function, for_centres, for_faces, inverse_or_zero
from jaxsci.solvers.mac_grid import MacAxis, tanh_stretched

RANDOM = np.random.default_rng(0)
EVEN = tuple(np.linspace(0, 2, 9))
STRETCHED = tuple(tanh_stretched((0.0, 2.0), 8, 1.5))


def dense(apply, size):
    return np.stack([apply(column) for column in np.eye(size)], axis=1)


def second_difference_of_centres(axis, held):
    """(L u)_i from fluxes, one point at a time."""

    def apply(u):
        h, c, n = axis.widths, axis.centres, axis.n
        flux = np.zeros(n + 1)
        for k in range(1, n):
            flux[k] = (u[k] - u[k - 1]) / (c[k] - c[k - 1])
        if axis.periodic:
            flux[0] = flux[n] = (u[0] - u[-1]) / ((h[0] + h[-1]) / 2)
        else:
            flux[0] = held[0] * u[0] / (h[0] / 2)
            flux[n] = -held[1] * u[-1] / (h[-1] / 2)
        return np.diff(flux) / h

    return dense(apply, axis.n)


def second_difference_of_faces(axis):
    def apply(u):
        out, h = np.zeros(axis.faces), axis.widths
        for k in range(axis.faces):
            if axis.periodic:
                up, down = (u[(k + 1) % axis.n] - u[k]) / h[k], (u[k] - u[k - 1]) / h[k - 1]
                out[k] = (up - down) / ((h[k] + h[k - 1]) / 2)
            elif 0 < k < axis.n:
                out[k] = ((u[k + 1] - u[k]) / h[k] - (u[k] - u[k - 1]) / h[k - 1]) / ((h[k] + h[k - 1]) / 2)
            elif axis.open_ends[0] and k == 0:
                out[k] = 2 * (u[1] - u[0]) / h[0] ** 2  # mirrored
            elif axis.open_ends[1] and k == axis.n:
                out[k] = 2 * (u[-2] - u[-1]) / h[-1] ** 2
        return out

    return dense(apply, axis.faces)


AXES = {
    "even walls": (MacAxis("x", EVEN, False), (True, True)),
    "stretched, one wall held": (MacAxis("x", STRETCHED, False), (True, False)),
    "open above": (MacAxis("x", STRETCHED, False, (False, True)), (False, True)),
    "periodic": (MacAxis("x", EVEN, True), (False, False)),
    "periodic and stretched": (MacAxis("x", STRETCHED, True), (False, False)),
}


@pytest.mark.parametrize(("first", "second"), list(itertools.product(AXES, ["even walls", "periodic"])))
def test_helmholtz_solve_inverts_the_dense_matrix(first, second):
    (a, _), (b, held_b) = AXES[first], AXES[second]
    operators = (for_faces(a, float), for_centres(b, held_b, float))
    total = np.kron(second_difference_of_faces(a), np.eye(b.n)) + np.kron(
        np.eye(a.faces), second_difference_of_centres(b, held_b)
    )
    source = RANDOM.normal(size=(a.faces, b.n))
    kept = np.ones(a.faces, bool)
    if not a.periodic:
        kept[[0, -1]] = a.open_ends
        source[~kept] = 0
    found = apply_function(operators, lambda s: 1 / (1 - 0.3 * s), jnp.asarray(source))
    rows = np.repeat(kept, b.n)
    matrix = (np.eye(total.shape[0]) - 0.3 * total)[np.ix_(rows, rows)]
    wanted = np.zeros(source.size)
    wanted[rows] = np.linalg.solve(matrix, source.ravel()[rows])
    assert np.asarray(found).ravel() == pytest.approx(wanted, abs=1e-13)
    assert abs(wanted).max() > 0.1


@pytest.mark.parametrize("name", AXES)
def test_poisson_solve_gives_back_the_source_less_its_mean(name):
    axis, held = AXES[name]
    other = MacAxis("y", EVEN, False)
    operators = (for_centres(axis, held, float), for_centres(other, (False, False), float))
    source = RANDOM.normal(size=(axis.n, other.n))
    weights = np.outer(axis.widths, other.widths)
    singular = held == (False, False)
    found = np.asarray(apply_function(operators, inverse_or_zero, jnp.asarray(source)))
    applied = second_difference_of_centres(axis, held) @ found + found @ second_difference_of_centres(other, (0, 0)).T
    mean = np.sum(source * weights) / weights.sum() if singular else 0.0
    assert applied == pytest.approx(source - mean, abs=1e-11)
    if singular:
        assert np.sum(found * weights) == pytest.approx(0, abs=1e-13)


def test_solve_in_three_dimensions_is_its_own_adjoint_on_an_even_grid():
    axes = (MacAxis("x", EVEN, True), MacAxis("y", EVEN, False), MacAxis("z", EVEN, True))
    operators = tuple(for_centres(axis, (True, True), float) for axis in axes)
    a, b = RANDOM.normal(size=(2, 8, 8, 8))
    solve = lambda v: apply_function(operators, lambda s: 1 / (1 - 0.1 * s), v)
    assert np.vdot(solve(jnp.asarray(a)), b) == pytest.approx(np.vdot(a, solve(jnp.asarray(b))), rel=1e-13)
    _, pull = jax.vjp(solve, jnp.asarray(a))
    assert np.asarray(pull(jnp.asarray(b))[0]) == pytest.approx(np.asarray(solve(jnp.asarray(b))), abs=1e-13)


def test_single_precision_stays_single():
    axis = MacAxis("x", STRETCHED, False)
    operators = (for_centres(axis, (True, True), jnp.float32),) * 2
    found = apply_function(operators, inverse_or_zero, jnp.ones((8, 8), jnp.float32))
    assert found.dtype == jnp.float32
