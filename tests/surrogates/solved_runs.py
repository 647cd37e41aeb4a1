"""Runs of the solver that the tests of surrogates learn from."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxsci as js
from jaxsci.surrogates import Trajectories


def solved_runs(problem, n, dt, starts, saves, substeps=1):
    """Trajectories from starts ``[runs, channels, *space]``."""
    s = js.stepper(problem, js.Spectral(n=n, dt=dt / substeps))

    def to_next(state, _):
        later = jax.lax.scan(lambda state, _: (s.step(state), None), state, length=substeps)[0]
        return later, s.lines.decode(state.values)

    run = lambda start: jax.lax.scan(to_next, s.encode(start), length=saves)[1]
    return Trajectories(problem, jax.jit(jax.vmap(run))(jnp.asarray(starts)), {}, dt)


def rolled_out(fitted, data):
    """The rollouts of a fit from the first saves of the data, ``[runs, saves, channels, *space]``."""
    s = js.stepper(data.problem, fitted)

    def run(start):
        later = lambda state, _: (s.step(state), s.components(state))
        return jax.lax.scan(later, s.encode(start), length=data.fields.shape[1])[1]

    return np.asarray(jax.jit(jax.vmap(run))(data.fields[:, 0]))


def relative_errors(fitted, data):
    """|error| / |truth| of the rollouts, ``[runs, saves]``."""
    truth = np.asarray(data.fields)
    norm = lambda v: np.sqrt(np.sum(v**2, axis=tuple(range(2, v.ndim))))
    return norm(rolled_out(fitted, data) - truth) / norm(truth)


def normal_starts(runs, *shape, seed=0):
    return np.random.default_rng(seed).normal(size=(runs, *shape))


def check_transformations(fitted, data):
    """What every surrogate promises: rollout, jit, vmap, and a gradient that a difference confirms."""
    s = js.stepper(data.problem, fitted)
    start = jnp.asarray(data.fields[0, 0])
    trajectory = js.rollout(s, 2, state=s.encode(start), save_every=1)
    np.testing.assert_allclose(trajectory.fields, rolled_out(fitted, data)[0][:3], rtol=1e-9, atol=1e-11)
    loss = lambda fields: jnp.sum(jnp.sin(s.components(s.step(s.step(s.encode(fields))))))
    slope = jax.jit(jax.grad(loss))(start)
    direction = jnp.asarray(normal_starts(1, *start.shape, seed=5)[0])
    difference = (loss(start + 1e-5 * direction) - loss(start - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(jnp.vdot(slope, direction), difference, rtol=1e-5, atol=1e-7)
    leaves = jax.tree.leaves(s)  # a stepper is a pytree: it goes through jit as an argument
    assert leaves
    again = jax.jit(lambda s, u: s.components(s.step(s.encode(u))))(s, start)
    np.testing.assert_allclose(again, trajectory.fields[1], rtol=1e-9, atol=1e-11)
