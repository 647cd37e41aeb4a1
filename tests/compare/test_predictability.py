"""Clocks of chaos: times on curves that are known, and exponents that are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.compare.predictability import correlation_curve, correlation_time, lyapunov_exponent, valid_prediction_time

TS = np.array([1.0, 2.0, 3.0, 5.0])


def with_correlations(*rows):
    """Prediction and truth, ``[runs, saves, 1, 2]``, with the given correlations: unit vectors at angles."""
    c = np.array(rows)
    prediction = np.stack([c, np.sqrt(1 - c**2)], axis=-1)[:, :, None]
    return prediction, np.broadcast_to([1.0, 0.0], prediction.shape)


def test_correlation_time_is_where_the_mean_over_samples_falls_below_the_level():
    a, b = with_correlations([1, 1, 0.9, 0.5], [1, 0.8, 0.6, 0.3])
    np.testing.assert_allclose(correlation_curve(a, b, space=1), [[1, 1, 0.9, 0.5], [1, 0.8, 0.6, 0.3]], rtol=1e-12)
    # Means 1, 0.9, 0.75, 0.4: 0.8 is passed 2/3 of the way from the second to the third save, 1.667 after the start.
    assert float(correlation_time(a, b, TS, space=1, level=0.8)) == pytest.approx(5 / 3)
    assert float(correlation_time(a, b, TS, space=1)) == pytest.approx(0.5)  # 0.95, Kochkov's
    np.testing.assert_allclose(correlation_time(a, b, TS, space=1, level=0.8, average=False), [2.5, 1.0])


def test_correlation_time_that_never_ends_or_never_begins():
    a, b = with_correlations([1, 0.99, 0.98, 0.97], [0.5, 1, 1, 1])
    np.testing.assert_allclose(correlation_time(a, b, TS, space=1, average=False), [4.0, 0.0])


def test_a_rollout_that_blew_up_correlates_no_more():
    a, b = (np.array(x) for x in with_correlations([1, 1, 1, 1]))
    for bad in (np.nan, np.inf):
        a[0, 2:] = bad
        np.testing.assert_allclose(correlation_curve(a, b, space=1), [[1, 1, 0, 0]])
        assert float(correlation_time(a, b, TS, space=1)) == pytest.approx(1.05)
    huge = jnp.asarray(a, jnp.float32).at[0, 2:].set(1e30)  # its square is not a number in single precision
    np.testing.assert_allclose(correlation_curve(huge, b, space=1)[0, 2], np.sqrt(0.5), rtol=1e-5)
    np.testing.assert_allclose(correlation_curve(0 * b, b, space=1), 0)
    np.testing.assert_allclose(correlation_curve(0 * b, 0 * b, space=1), 1)


@pytest.mark.slow
def test_valid_prediction_time_of_pathak():
    # <|y|^2> over saves and samples is 25 per save on average; |e| = 0, 1, 3, 4 and 0, 0, 0, inf.
    truth = np.broadcast_to([3.0, 4.0], (2, 4, 1, 2))
    prediction = truth + np.array([[0.0, 1, 3, 4], [0, 0, 0, np.nan]])[:, :, None, None] * [1.0, 0.0]
    # errors 0, 0.2, 0.6, 0.8: 0.4 is passed half-way between saves 1 and 2; the other is good up to its last finite save
    each = valid_prediction_time(prediction, truth, TS, space=1, average=False)
    np.testing.assert_allclose(each, [1.5, 2.0])
    mean = valid_prediction_time(prediction, truth, TS, space=1, lyapunov_time=0.5)
    assert float(mean) == pytest.approx(3.5)
    long = valid_prediction_time(prediction[:1], truth[:1], TS, space=1, threshold=0.9)
    assert float(long) == 4.0
    doubled = valid_prediction_time(prediction[:1], truth[:1], TS, space=1, deviation=10.0)
    assert float(doubled) == 4.0  # errors up to 0.4, not above


def test_valid_prediction_time_of_vlachas_scales_each_component():
    wave = np.array([1.0, -1, 1, -1])
    truth = np.stack([wave, 10 * wave], axis=-1)[:, None]  # deviations 1 and 10
    error = np.array([0.0, 0, 0.6, 1.0])
    prediction = truth + np.stack([error, 0 * error], axis=-1)[:, None]
    # root mean squares over the two components: 0.6 / sqrt 2 = 0.424, 0.707; 0.5 is between them
    found = valid_prediction_time(prediction, truth, TS, space=1, threshold=0.5, definition="vlachas")
    share = (0.5 * np.sqrt(2) - 0.6) / 0.4
    assert float(found) == pytest.approx(2 + 2 * share)
    given = valid_prediction_time(
        prediction, truth, TS, space=1, threshold=0.5, definition="vlachas", deviation=np.array([[0.6, 1.0]])
    )
    assert float(given) == pytest.approx(1 + 0.5 * np.sqrt(2))
    constant = np.ones_like(truth)  # has no deviation: exact is right, anything else is not
    assert float(valid_prediction_time(constant, constant, TS, space=1, definition="vlachas")) == 4.0
    assert float(valid_prediction_time(constant + 0.1, constant, TS, space=1, definition="vlachas")) == 0.0


def test_times_go_through_jit_and_vmap():
    a, b = with_correlations([1, 1, 0.9, 0.5], [1, 0.8, 0.6, 0.3])
    each = jax.jit(jax.vmap(lambda x, y: correlation_time(x, y, TS, space=1, level=0.8)))(a, b)
    np.testing.assert_allclose(each, [2.5, 1.0])


@dataclasses.dataclass(frozen=True)
class Linear:
    """x -> A x, the identity on the mean growth rates."""

    matrix: tuple
    dt: float = 0.5

    def step(self, state):
        return jnp.asarray(self.matrix) @ state


@dataclasses.dataclass(frozen=True)
class Lorenz:
    dt: float = 0.01

    def step(self, x):
        f = lambda x: jnp.stack([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])
        k1 = f(x)
        k2 = f(x + self.dt / 2 * k1)
        k3 = f(x + self.dt / 2 * k2)
        return x + self.dt / 6 * (k1 + 2 * k2 + 2 * k3 + f(x + self.dt * k3))


def test_exponent_of_a_linear_map_is_that_of_its_largest_eigenvalue():
    growing = Linear(((1.2, 5.0), (0.0, 0.7)))
    found = lyapunov_exponent(growing, jnp.zeros(2), steps=100, key=jax.random.key(0), every=3)
    assert float(found.exponent) == pytest.approx(np.log(1.2) / 0.5, rel=1e-6)
    assert float(found.standard_error) < 1e-6
    decaying = lyapunov_exponent(Linear(((0.5, 0.0), (1.0, 0.9))), jnp.ones(2), steps=200, key=jax.random.key(1))
    assert float(decaying.exponent) == pytest.approx(np.log(0.9) / 0.5, rel=1e-6)


def test_exponent_of_lorenz():
    """0.9056 (Viswanath 1998; Sprott 2003)."""
    found = lyapunov_exponent(Lorenz(), jnp.array([1.0, 1.0, 20.0]), steps=40_000, key=jax.random.key(0))
    assert float(found.exponent) == pytest.approx(0.9056, abs=0.02)
    assert 0 < float(found.standard_error) < 0.02
    assert abs(float(found.exponent) - 0.9056) < 4 * float(found.standard_error) + 5e-3


def test_exponents_of_spectral_steppers():
    """Advection keeps every wave: 0; with diffusion the constant is left: 0, not below; a state that carries counters."""
    s = js.stepper(js.problems.advection(), js.Spectral(n=16, dt=0.05))
    found = lyapunov_exponent(s, steps=40, key=jax.random.key(0))
    assert float(found.exponent) == pytest.approx(0, abs=1e-9)
    assert found.final.values.shape == s.initial().values.shape


@pytest.mark.slow
def test_exponent_of_kuramoto_sivashinsky():
    """L = 22, where the largest exponent is 0.043 to 0.048 (Cvitanovic et al. 2010; Edson et al. 2019)."""
    scale = 2 * np.pi / 22
    problem = js.problems.kuramoto_sivashinsky(advection=scale, antidiffusion=scale**2, hyperdiffusion=scale**4)
    s = js.stepper(problem, js.Spectral(n=64, dt=0.1))
    found = lyapunov_exponent(s, steps=200_000, warm_up=5_000, key=jax.random.key(0))
    assert 0.041 < float(found.exponent) < 0.050


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: correlation_time(a, a[:1], TS, space=1), r"got \(2, 4, 1, 2\) and \(1, 4, 1, 2\)"),
        (lambda a: correlation_time(a, a, TS[:3], space=1), r"one time per save, shape \(4,\); got shape \(3,\)"),
        (lambda a: correlation_time(a, a, TS[::-1].copy(), space=1), "ts must increase"),
        (lambda a: correlation_time(a, a, TS, space=1, level=1.5), "level must be above 0 and at most 1, got 1.5"),
        (lambda a: correlation_time(a[0, 0], a[0, 0], TS, space=1), "saves, channels"),
        (lambda a: valid_prediction_time(a, a, TS, space=1, threshold=0), "threshold must be above 0"),
        (lambda a: valid_prediction_time(a, a, TS, space=1, definition="pathac"), "Did you mean 'pathak'"),
        (
            lambda a: lyapunov_exponent(Lorenz(), jnp.ones(3), steps=0, key=jax.random.key(0)),
            "steps must be a whole .* got 0",
        ),
        (lambda a: lyapunov_exponent(Lorenz(), jnp.arange(3), steps=9, key=jax.random.key(0)), "no floating-point leaves"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 4, 1, 2)))
