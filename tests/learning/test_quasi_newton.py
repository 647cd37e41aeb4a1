"""Quasi-Newton: the updates by their defining properties, the line search by its conditions, the descent by its optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_optimisers import OBJECTIVE, PROBLEM, begin, first_points, found, minimise, optimum

from jaxsci.learning import SelfScaledBroyden
from jaxsci.learning.broyden import UPDATES, scaling, updated
from jaxsci.learning.line_search import Trial, strong_wolfe
from jaxsci.learning.training import with_observations


def positive(random, n):
    a = random.normal(size=(n, n))
    return a @ a.T + 0.1 * np.eye(n)


@pytest.mark.parametrize("update", UPDATES)
def test_updates_satisfy_the_secant_equation_and_stay_positive_definite(update):
    random = np.random.default_rng(0)
    for n in (3, 8):
        inverse, s = positive(random, n), random.normal(size=n)
        y = positive(random, n) @ s  # a convex function's change of gradient: y's > 0
        bold = s @ np.linalg.solve(inverse, s)
        new = np.asarray(jax.jit(updated, static_argnums=0)(update, inverse, s, y, bold))
        np.testing.assert_allclose(new @ y, s, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(new, new.T, rtol=1e-12, atol=1e-12)
        assert np.linalg.eigvalsh(new).min() > 0


def test_bfgs_with_unit_scale_is_the_textbook_update():
    random = np.random.default_rng(1)
    inverse, s = positive(random, 4), random.normal(size=4)
    y = 2 * np.linalg.solve(inverse, s) + 1e-3 * s  # y's > s'Bs: tau would exceed one and is cut
    got = jax.jit(updated, static_argnums=0)("bfgs", inverse, s, y, s @ np.linalg.solve(inverse, s))
    tau = min(1.0, (y @ s) / (s @ np.linalg.solve(inverse, s)))
    assert tau == 1
    left = np.eye(4) - np.outer(s, y) / (y @ s)
    np.testing.assert_allclose(got, left @ inverse @ left.T + np.outer(s, s) / (y @ s), rtol=1e-10)


def test_broyden_scales_where_the_model_was_too_stiff_and_never_loses_definiteness():
    for b, h in ((0.1, 20.0), (1.0, 1.5), (5.0, 0.4), (50.0, 0.021), (1.0, 1.0)):
        phi, tau = (float(v) for v in scaling("broyden", jnp.asarray(b), jnp.asarray(h), 10))
        assert 0 < tau <= 1.0 + 1e-12
        a = max(b * h - 1, 0.0)
        assert 1 + phi * a > 0  # Fletcher's condition on phi for a positive definite update


def line(function):
    """The start, and the search from it as a compiled function of its first trial."""

    def evaluate(a):
        value, slope = jax.value_and_grad(function)(a)
        return value, slope, slope[None]

    start = jax.jit(lambda a: Trial(a, *evaluate(a)))(jnp.asarray(0.0))
    return start, jax.jit(lambda first: strong_wolfe(evaluate, start, first))


@pytest.mark.parametrize(
    "function",
    [
        lambda a: -a / (a**2 + 2),  # More & Thuente (1994), function 5.1
        lambda a: (a + 0.004) ** 5 - 2 * (a + 0.004) ** 4,  # 5.2
        lambda a: jnp.where(a < 2, (a - 1.5) ** 2, jnp.nan),  # undefined beyond
    ],
    ids=["bump", "quintic", "edge"],
)
def test_the_line_search_finds_a_strong_wolfe_step(function):
    start, search = line(function)
    for first in (1e-3, 1.0, 300.0):
        found = search(jnp.asarray(first))
        assert found.step > 0
        assert found.value <= start.value + 1e-4 * found.step * start.slope
        assert abs(found.slope) <= 0.9 * abs(start.slope)


def test_a_line_that_only_rises_gives_the_start_back():
    start, search = line(lambda a: jnp.where(a == 0, 0.0, 1.0) - 1e-30 * a)
    found = search(jnp.asarray(1.0))
    assert (found.step, found.value) == (0, start.value)


@pytest.mark.parametrize("update", ["broyden", pytest.param("bfgs", marks=pytest.mark.slow)])
def test_the_descent_finds_the_optimum_and_says_that_it_converged(update):
    method = SelfScaledBroyden(update, points=300, resample=10_000)
    fit = minimise(method)
    np.testing.assert_allclose(found(fit), optimum(first_points()), rtol=1e-6)
    assert fit.stopped == "converged"
    assert fit.steps < 60


@pytest.mark.slow
def test_seeds_can_be_mapped():
    method = SelfScaledBroyden(points=300)
    batch = with_observations(OBJECTIVE, first_points(), None)

    def after(c):
        state = method.init(OBJECTIVE, {"network": {"c": c}, "coefficients": {}}, PROBLEM.coefficients)
        return method.advance(OBJECTIVE, PROBLEM.coefficients, state, batch, 6).unknowns["network"]["c"]

    starts = jnp.stack([found(begin()), jnp.asarray([1.0, 0.5, -2.0, 0.1])])
    together, alone = jax.vmap(after)(starts), jnp.stack([after(c) for c in starts])
    np.testing.assert_allclose(together, alone, rtol=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SelfScaledBroyden("dfp"), "SelfScaledBroyden: update 'dfp' does not exist"),
        (lambda: SelfScaledBroyden(points=0), "points must be a positive whole number, got 0"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
