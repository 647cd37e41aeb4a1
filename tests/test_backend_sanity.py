"""Small numeric checks of the compiler below us, against NumPy and SciPy.

jax 0.10.2 compiled some batched products wrongly on CPUs (https://github.com/jax-ml/jax/issues/39103), in silence: the last
rows of a large batch.  What the package is built of is checked here at sizes around those at which the compiler changes its
plan: powers of two and one more; three of these tests fail under 0.10.2.  Nothing here is about jaxsci; a failure means that
this installation of jax is broken.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

ROUND_OFF = {"float32": 2e-6, "float64": 4e-15}  # of the largest value: about 20 units in the last place
random = np.random.default_rng(0)
both = pytest.mark.parametrize("dtype", ROUND_OFF)
sizes = pytest.mark.parametrize("n", [16_384, 16_385, 32_769])


@pytest.fixture(autouse=True)
def full_precision():
    """Accelerators multiply float32 matrices in fewer bits unless they are told not to."""
    with jax.default_matmul_precision("highest"):
        yield


def assert_same(got, expected, dtype, factor=1):
    """Relative to the largest value, everywhere: one wrong entry is enough."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= factor * ROUND_OFF[dtype] * np.abs(expected).max()


@both
@sizes
@pytest.mark.parametrize("k", [2, 3, 4])
def test_batched_small_products(dtype, n, k):
    """sum((M x)^2) and x M x row by row: what 0.10.2 got wrong in the last row at 16,385 and 32,769 of them."""
    matrix, rows = random.normal(size=(k, k)), random.normal(size=(n, k))
    matrix, rows = matrix.astype(dtype), rows.astype(dtype)

    @jax.jit
    def run(matrix, rows):
        return jax.vmap(lambda row: (jnp.sum((matrix @ row) ** 2), row @ (matrix @ row)))(rows)

    squares, forms = run(matrix, rows)
    product = rows.astype(float) @ matrix.astype(float).T
    assert_same(squares, (product**2).sum(axis=1), dtype)
    assert_same(forms, (product * rows).sum(axis=1), dtype)


@both
@pytest.mark.parametrize("n", [1_023, 4_097])
def test_elementwise_functions_and_sums(dtype, n):
    x = random.uniform(-3, 3, size=n).astype(dtype)
    run = jax.jit(lambda x: (jnp.sin(x) * jnp.exp(-x), jnp.tanh(x) / (2 + jnp.cos(x)), jnp.cumsum(x * x), jnp.sum(x)))
    products, quotients, sums, total = run(x)
    x = x.astype(float)
    assert_same(products, np.sin(x) * np.exp(-x), dtype)
    assert_same(quotients, np.tanh(x) / (2 + np.cos(x)), dtype)
    assert_same(sums, np.cumsum(x * x), dtype, factor=10)  # errors of n sums
    assert abs(float(total) - x.sum()) <= 10 * ROUND_OFF[dtype] * np.abs(x).sum()


@both
@pytest.mark.parametrize("n", [64, 129])
def test_matrices(dtype, n):
    """Products, their gradient, QR, triangular and linear solves, singular values: least squares lives on these."""
    a = (random.normal(size=(n, n)) / np.sqrt(n) + 2 * np.eye(n)).astype(dtype)
    b = random.normal(size=(n, 3)).astype(dtype)

    @jax.jit
    def run(a, b):
        q, r = jnp.linalg.qr(a)
        triangular = jax.scipy.linalg.solve_triangular(r, q.T @ b)
        gradient = jax.grad(lambda a: jnp.sum(jnp.tanh(a @ b) ** 2))(a)
        return a @ b, q @ r, q.T @ q, triangular, jnp.linalg.solve(a, b), gradient, jnp.linalg.svd(a, compute_uv=False)

    product, factored, orthogonal, triangular, solved, gradient, singular = run(a, b)
    a, b = a.astype(float), b.astype(float)
    assert_same(product, a @ b, dtype)
    assert_same(factored, a, dtype)
    assert_same(orthogonal, np.eye(n), dtype)
    for solution in (triangular, solved):
        assert_same(solution, scipy.linalg.solve(a, b), dtype, factor=10)  # condition number 3
    y = np.tanh(a @ b)
    assert_same(gradient, (2 * y * (1 - y**2)) @ b.T, dtype)
    assert_same(singular, scipy.linalg.svdvals(a), dtype)


@both
@pytest.mark.parametrize("shape", [(256,), (1_025,), (48, 33), (16, 8, 12)])
def test_fourier_transforms_and_complex_products(dtype, shape):
    """A spectral derivative: transform, complex factors, and back, forward and reverse."""
    u = random.normal(size=shape).astype(dtype)
    k = np.fft.rfftfreq(shape[-1], 1 / shape[-1])
    symbol = (1j * k * np.exp(-0.3j * k - k / shape[-1])).astype(np.result_type(dtype, 1j))

    def run(u):
        return jnp.fft.irfftn(symbol * jnp.fft.rfftn(u), s=shape)

    expected = np.fft.irfftn(symbol * np.fft.rfftn(u.astype(float)), s=shape, axes=range(len(shape)))
    assert_same(jax.jit(run)(u), expected, dtype)
    transform = np.fft.fftn(u.astype(float))
    assert_same(jax.jit(lambda u: jnp.fft.fftn(u + 0j))(u), transform, dtype)
    turned = jax.jit(lambda z, w: (z * w / (1 + jnp.conj(w) * w), jnp.abs(z)))(
        transform.astype(symbol.dtype), symbol.flat[1]
    )
    w = complex(symbol.flat[1])
    assert_same(turned[0], transform * w / (1 + abs(w) ** 2), dtype)
    assert_same(turned[1], np.abs(transform), dtype)


@both
@pytest.mark.parametrize("n", [33, 257])
def test_scans_of_batches(dtype, n):
    """A rotation taken 100 steps: the radius stays, the angle adds up, in a loop, under vmap and in reverse."""
    angles = random.uniform(0.1, 1.0, size=n).astype(dtype)

    def rotate(angle):
        c, s = jnp.cos(angle), jnp.sin(angle)
        step = lambda z, _: ((c * z[0] - s * z[1], s * z[0] + c * z[1]), z[0])
        return jax.lax.scan(step, (jnp.ones_like(angle), jnp.zeros_like(angle)), None, length=101)

    (_, _), path = jax.jit(jax.vmap(rotate))(angles)
    steps = np.arange(101)
    expected = np.cos(angles.astype(float)[:, None] * steps)
    # cos(100 a): the rounding of c and s is met a hundred times.
    assert_same(path, expected, dtype, factor=10)
    slope = jax.jit(jax.vmap(jax.grad(lambda angle: rotate(angle)[1][100])))(angles)
    assert_same(slope, -100 * np.sin(100 * angles.astype(float)), dtype, factor=10)


def test_compiled_equals_uncompiled_on_a_fused_residual():
    """The shape of this library's hot loop: derivatives of a network at a batch of points, reduced."""
    weights = [random.normal(size=s) / 4 for s in ((2, 16), (16, 16), (16, 1))]
    points = random.uniform(-1, 1, size=(4_097, 2))

    def loss(weights, points):
        def u(x):
            for w in weights[:-1]:
                x = jnp.tanh(x @ w)
            return (x @ weights[-1])[0]

        slope = jax.vmap(jax.grad(u))(points)
        return jnp.mean((slope[:, 0] + jax.vmap(u)(points) * slope[:, 1]) ** 2)

    compiled = jax.jit(jax.value_and_grad(loss))(weights, points)
    with jax.disable_jit():
        plain = jax.value_and_grad(loss)(weights, points)
    for got, expected in zip(jax.tree.leaves(compiled), jax.tree.leaves(plain), strict=True):
        assert_same(got, expected, "float64", factor=10)
