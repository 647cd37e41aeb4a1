"""Fourier series on boxes: transforms, derivatives, dealiasing, mirrors, interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.solvers.torus import Axis, Torus


def transform(method):
    """A transform as one program per box, between NumPy arrays ``[channels, ...]``."""
    compiled = jax.jit(method, static_argnums=0)
    return lambda torus, values: np.asarray(compiled(torus, values))


from_grid, to_grid = transform(Torus.from_grid), transform(Torus.to_grid)

BOXES = {
    "odd": Torus((Axis("x", -1.0, 2.0, 15),), 1.0),
    "even": Torus((Axis("x", 0.0, 1.0, 16),), 1.0),
    "flat": Torus((Axis("x", 0.0, 1.0, 12), Axis("y", -3.0, 2.0, 9)), 1.0),
    "cube": Torus((Axis("x", 0.0, 1.0, 6), Axis("y", 0.0, 2.0, 5), Axis("z", -1.0, 0.0, 8)), 1.0),
    "dealiased": Torus((Axis("x", 0.0, 1.0, 12), Axis("y", -3.0, 2.0, 16)), 2 / 3),
}


def random_modes(torus, seed=0):
    """Modes of a random real field that the torus represents exactly: through the grid once."""
    return from_grid(torus, np.random.default_rng(seed).normal(size=(1, *torus.shape)))


@pytest.mark.parametrize("name", BOXES)
def test_modes_survive_the_grid(name):
    torus = BOXES[name]
    modes = random_modes(torus)
    assert modes.shape == (1, *torus.mode_shape)
    assert np.abs(from_grid(torus, to_grid(torus, modes)) - modes).max() < 1e-15


@pytest.mark.parametrize("name", BOXES)
def test_a_mode_is_its_fourier_coefficient_whatever_the_grid(name):
    torus = BOXES[name]
    phases = [2 * np.pi * (c - a.lower) / a.period for a, c in zip(torus.axes, torus.torus_grid().values(), strict=True)]
    values = 3.0 + 0.5 * np.cos(sum(phases)) + np.zeros(torus.shape)
    modes = from_grid(torus, values[None])[0]
    expected = np.zeros(torus.mode_shape)
    expected[(0,) * len(torus.axes)] = 3.0
    expected[(1,) * len(torus.axes)] = 0.25
    assert np.abs(modes - expected).max() < 1e-15


DERIVATIVES = ["", "x", "xx", "xxx", "xxxx", "y", "xy", "xxyy", "z", "xyz"]


@pytest.mark.parametrize(
    ("name", "letters"), [(n, d) for n, t in BOXES.items() for d in DERIVATIVES if set(d) <= {a.name for a in t.axes}]
)
def test_symbols_differentiate(name, letters):
    torus = BOXES[name]
    slopes = {a.name: 2 * np.pi / a.period for a in torus.axes}
    grid = torus.torus_grid()
    angle = sum(slopes[a.name] * (grid[a.name] - a.lower) for a in torus.axes)
    modes = from_grid(torus, (np.sin(angle + 0.3) + np.zeros(torus.shape))[None])
    symbol = torus.symbol(letters, np.float64)
    expected = np.prod([slopes[c] for c in letters]) * np.sin(angle + 0.3 + len(letters) * np.pi / 2)
    assert np.abs(to_grid(torus, modes * symbol)[0] - expected).max() < 1e-14 * max(np.abs(symbol).max(), 1.0)


def convolve(torus, a, b):
    """The modes of a product by direct summation over all pairs of kept modes: what no aliasing error means."""
    full: list[dict] = [{}, {}]
    for modes, table in zip((a, b), full, strict=True):
        numbers = [torus.integer_wavenumbers(i) for i in range(len(torus.axes))]
        for index in np.ndindex(*torus.mode_shape):
            k = tuple(int(n[i]) for n, i in zip(numbers, index, strict=True))
            table[k] = modes[index]
            table[tuple(-c for c in k)] = np.conj(modes[index])
    out = np.zeros(torus.mode_shape, complex)
    for index in np.ndindex(*torus.mode_shape):
        k = tuple(int(torus.integer_wavenumbers(i)[j]) for i, j in enumerate(index))
        out[index] = sum(v * full[1].get(tuple(np.subtract(k, p)), 0.0) for p, v in full[0].items())
    return out


@pytest.mark.parametrize("shape", [(12,), (15,), (16,), (24,), (12, 9)])  # 3 divides most: the sharp case of the 2/3 rule
def test_products_of_two_fields_are_free_of_aliasing(shape):
    torus = Torus(tuple(Axis(c, 0.0, 1.0, n) for c, n in zip("xy", shape, strict=False)), 2 / 3)
    a, b = random_modes(torus, 0), random_modes(torus, 1)
    product = from_grid(torus, to_grid(torus, a) * to_grid(torus, b))
    assert np.abs(product[0] - convolve(torus, a[0], b[0])).max() < 1e-15
    assert all(3 * m < n <= 3 * (m + 1) for n, m in zip(torus.shape, torus.highest, strict=True))  # and no mode is wasted


def test_products_alias_where_all_modes_are_kept():
    torus = Torus((Axis("x", 0.0, 1.0, 16),), 1.0)
    a, b = random_modes(torus, 0), random_modes(torus, 1)
    product = from_grid(torus, to_grid(torus, a) * to_grid(torus, b))
    assert np.abs(product[0] - convolve(torus, a[0], b[0])).max() > 1e-3


@pytest.mark.parametrize("points", [4, 5, 8, 9])
def test_the_nyquist_mode_is_not_kept(points):
    torus = Torus((Axis("x", 0.0, 1.0, points),), 1.0)
    assert 2 * torus.highest[0] < points <= 2 * (torus.highest[0] + 1)


# --- mirrors -------------------------------------------------------------------------------------------------------------


MIRROR = Torus((Axis("x", 0.0, 2.0, 8, mirrored=True),), 1.0)


def test_a_mirror_doubles_the_torus_and_owns_both_walls():
    assert MIRROR.shape == (16,)
    assert MIRROR.axes[0].period == 4.0
    assert np.allclose(MIRROR.box_grid()["x"], np.linspace(0, 2, 9))


@pytest.mark.parametrize(("sign", "function"), [(-1, np.sin), (1, np.cos)])
def test_a_mirror_continues_sines_oddly_and_cosines_evenly(sign, function):
    field = lambda x: function(np.pi * x / 2) - 0.3 * function(3 * np.pi * x / 2)
    x = MIRROR.axes[0].coordinates()
    extended = MIRROR.extend(jnp.asarray(field(MIRROR.box_grid()["x"]))[None], ((sign,),))
    assert np.abs(extended[0] - field(x)).max() < 1e-14
    assert np.allclose(MIRROR.restrict(extended), field(MIRROR.box_grid()["x"]))


def test_mirrors_act_by_unknown_and_axis():
    torus = Torus((Axis("x", 0.0, 1.0, 6, mirrored=True), Axis("y", 0.0, 1.0, 4)), 1.0)
    x, y = np.meshgrid(*torus.box_grid().values(), indexing="ij")
    box = jnp.asarray(np.stack([np.sin(np.pi * x) * np.cos(2 * np.pi * y), np.cos(np.pi * x) * np.ones_like(y)]))
    x, y = np.broadcast_arrays(*torus.torus_grid().values())
    expected = np.stack([np.sin(np.pi * x) * np.cos(2 * np.pi * y), np.cos(np.pi * x) * np.ones_like(y)])
    assert np.abs(torus.extend(box, ((-1, 1), (1, 1))) - expected).max() < 1e-14


# --- between grid points ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["odd", "even", "flat", "cube"])
def test_interpolation_is_the_field_itself_and_differentiates(name):
    torus = BOXES[name]
    angles = lambda *p: [
        2 * jnp.pi * (q - a.lower) / a.period + i for i, (q, a) in enumerate(zip(p, torus.axes, strict=True))
    ]
    field = lambda *p: sum(map(jnp.sin, angles(*p)))
    modes = from_grid(torus, (field(*torus.torus_grid().values()) + np.zeros(torus.shape))[None])
    point = [a.lower + 0.377 * a.period for a in torus.axes]
    at = lambda *p: torus.at_point(modes, p)[0]
    (value, slope), (exact, exact_slope) = jax.jit(lambda *p: (jax.value_and_grad(at)(*p), jax.value_and_grad(field)(*p)))(
        *point
    )
    assert float(value) == pytest.approx(float(exact), abs=1e-14)
    assert float(slope) == pytest.approx(float(exact_slope), abs=1e-12)


def test_tail_tells_resolved_from_unresolved():
    torus = Torus((Axis("x", 0.0, 1.0, 64),), 2 / 3)
    x = torus.torus_grid()["x"]
    modes, tail = (lambda values: from_grid(torus, values[None])), jax.jit(torus.tail)
    assert tail(modes(np.exp(np.sin(2 * np.pi * x)))) < 1e-14
    assert tail(modes(np.sign(x - 0.5))) > 0.05
    highest = torus.highest[0]
    mixed = modes(3 * np.cos(2 * np.pi * x) + 4 * np.cos(2 * np.pi * highest * x))
    assert float(tail(mixed)) == pytest.approx(4 / 5)


def test_a_torus_without_axes_is_a_point():
    point = Torus(())
    state = jnp.asarray([1.0, 2.0])
    assert point.shape == point.mode_shape == ()
    assert jnp.array_equal(point.from_grid(point.to_grid(state)), state)
    assert float(point.tail(state)) == 0.0
