"""Distributions with given moments: the tilt, its derivatives, targets at and beyond the border."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

c = js.constraints
KEYS = jax.random.split(jax.random.key(0), 4)
F = jax.random.normal(KEYS[0], (2, 6))
Y = jax.random.uniform(KEYS[1], (80, 6))
M = F.mean(axis=1)


@pytest.fixture(scope="module")
def tilted():
    return jax.jit(lambda y, f, m: c.TiltedMoments(f, m).project(y))


def test_the_nearest_in_relative_entropy(tilted):
    p, info = tilted(Y, F, M)
    assert bool(info.converged.all())
    assert float(info.residual.max()) <= 2e-15
    assert int(info.steps.max()) <= 10
    # log(p / y) is a combination of one and the values: the condition of the minimum.
    basis, _ = np.linalg.qr(np.concatenate([np.ones((1, 6)), F]).T)
    logs = np.log(p / Y)
    np.testing.assert_allclose(logs - logs @ basis @ basis.T, 0, atol=1e-14)
    # A prevalence alone: the closed form.
    share, _ = c.TiltedMoments(jnp.array([[1.0, 1, 0, 0]]), jnp.array([0.8])).project(jnp.array([1.0, 3, 4, 2]))
    np.testing.assert_allclose(share, [0.2, 0.6, 0.4 / 3, 0.2 / 3], atol=1e-15)


@pytest.mark.slow
def test_targets_of_every_kind_in_one_batch(tilted):
    """Inside, at a vertex, outside; weights that leave no distribution; NaN. Nobody disturbs another."""
    targets = jnp.stack([M, F[:, 2], jnp.array([10.0, 0.0]), M, M, M])
    weights = Y[:6].at[3].set(0.0).at[4, 0].set(-0.1).at[5].set(jnp.nan)
    p, info = tilted(weights, F, targets)
    assert info.status.tolist() == [0, 0, c.INFEASIBLE, c.INFEASIBLE, c.INFEASIBLE, c.NOT_FINITE]
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p[0], tilted(Y, F, M)[0][0], atol=1e-15)
    vertex = np.abs(F - F[:, 2:3]).max(axis=0).argmin()
    np.testing.assert_allclose(p[1], np.eye(6)[vertex], atol=1e-12) if float(info.residual[1]) < 1e-14 else None
    gradient = jax.jit(jax.grad(lambda y: jnp.sum(c.TiltedMoments(F, targets).project(y)[0] ** 2)))(weights)
    assert np.isfinite(gradient[:5]).all()
    p32, info32 = tilted(Y.astype(jnp.float32), F, M)
    assert p32.dtype == jnp.float32
    assert float(info32.residual.max()) <= 1e-6


def test_moments_that_repeat_and_states_of_no_weight(tilted):
    p, info = tilted(Y.at[:, 4].set(0.0), jnp.concatenate([F, F[:1]]), jnp.concatenate([M, M[:1]]))
    assert bool(info.converged.all())
    assert float(info.residual.max()) <= 2e-15
    np.testing.assert_array_equal(p[:, 4], 0)


@pytest.mark.slow
def test_derivatives_of_the_tilt_in_weights_values_and_targets():
    flat, back = jax.flatten_util.ravel_pytree((Y[0], F, M + 0.1))
    f = lambda v: c.TiltedMoments(*back(v)[1:]).project(back(v)[0])[0]
    g = lambda v: jnp.sum(jnp.sin(3 * f(v) * jnp.arange(6)))
    h = 1e-5
    near = jnp.concatenate([flat + h * jnp.eye(flat.size), flat - h * jnp.eye(flat.size)])
    forward, reverse, hessian, gradients, values = jax.jit(
        lambda v, near: (
            jax.jacfwd(f)(v),
            jax.jacrev(f)(v),
            jax.hessian(g)(v),
            jax.vmap(jax.grad(g))(near),
            jax.vmap(f)(near),
        )
    )(flat, near)
    np.testing.assert_allclose(forward, (values[: flat.size] - values[flat.size :]).T / (2 * h), atol=3e-8)
    np.testing.assert_allclose(reverse, forward, atol=1e-12)
    np.testing.assert_allclose(hessian, (gradients[: flat.size] - gradients[flat.size :]) / (2 * h), atol=1e-6)


def test_bad_moments_are_refused_by_name():
    with pytest.raises(ValueError, match=r"TiltedMoments: values must be \[..., moments, states\]"):
        c.TiltedMoments(F, M).project(jnp.ones(5))
    with pytest.raises(ValueError, match="TiltedMoments: targets holds NaN"):
        c.TiltedMoments(F, jnp.array([jnp.nan, 0.0]))
