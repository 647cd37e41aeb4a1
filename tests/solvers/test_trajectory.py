"""`js.rollout`: what it saves, where it goes on, what it says of a run that failed, and how it is transformed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

METHOD = js.Spectral(32, order=1, dt=0.01)  # compiles in no time


@pytest.fixture(scope="module")
def stepper():
    return js.stepper(js.problems.burgers(viscosity=0.1), METHOD)


@pytest.fixture(scope="module")
def saved(stepper):
    return rolled(stepper, stepper.initial(), 12, 4)


rolled = jax.jit(lambda s, state, steps, every: js.rollout(s, steps, save_every=every, state=state), static_argnums=(2, 3))


def test_saved_fields_are_those_of_the_steps(stepper, saved):
    step, state = jax.jit(lambda s, x: s.step(x)), stepper.initial()
    for i in range(13):
        if i % 4 == 0:
            assert float(saved.ts[i // 4]) == float(state.t)
            assert np.abs(saved.fields[i // 4] - stepper.decode(state)).max() < 1e-14
        state = step(stepper, state) if i < 12 else state
    assert saved.fields.shape == (4, 1, 33)
    assert np.abs(saved.final.values - state.values).max() < 1e-15
    assert float(saved.final.t) == float(state.t) == pytest.approx(0.12)


def test_it_goes_on_bit_for_bit_where_it_ended(stepper, saved):
    state = stepper.initial()
    for k in range(3):
        part = rolled(stepper, state, 4, 4)
        state = part.final
        assert np.array_equal(part.fields, saved.fields[k : k + 2])
        assert np.array_equal(part.ts, saved.ts[k : k + 2])
    assert all(np.array_equal(a, b) for a, b in zip(state, saved.final, strict=True))


def test_without_save_every_the_two_ends_are_saved():
    assert js.rollout(Doubling(), 3).fields.tolist() == [[1, 2], [2.0**300, 2.0**301]]


def test_the_status_of_a_good_run(stepper, saved):
    """Burgers carries u by u: the Courant number is max |u| dt / dx, and largest at the start."""
    assert int(saved.status.first_bad_step) == -1
    fastest = np.abs(saved.fields).max(axis=(1, 2)) * METHOD.dt / (2 / 32)
    assert float(saved.status.courant) == pytest.approx(fastest.max(), rel=1e-12)
    assert int(saved.status.courant_step) == 4 * int(np.argmax(fastest))


class Doubling:
    """A stepper of its own: x doubles, and overflows at a step that is known."""

    def initial(self):
        return js.solvers.State(jnp.asarray([1.0, 2.0]), jnp.asarray(0.0))

    def step(self, state):
        return js.solvers.State(state.values * 2.0**100, state.t + 1)

    def decode(self, state):
        return state.values


@pytest.mark.parametrize(("steps", "every"), [(12, 12), (12, 3), (13, 1)])
def test_the_first_step_that_is_not_finite_is_named_exactly(steps, every):
    """2 * 2^(100 k) overflows double precision, 2^1024, at k = 11; what follows does not move the number."""
    rolled = js.rollout(Doubling(), steps, save_every=every)
    assert int(rolled.status.first_bad_step) == 11
    assert np.isfinite(rolled.fields[: 10 // every + 1]).all()
    assert not np.isfinite(rolled.fields[-1]).all()
    assert np.isnan(rolled.status.courant)  # a stepper without one


def test_a_start_that_is_not_finite_is_step_zero():
    state = js.solvers.State(jnp.asarray([1.0, jnp.nan]), jnp.asarray(0.0))
    assert int(js.rollout(Doubling(), 2, state=state).status.first_bad_step) == 0


def test_every_member_of_a_batch_has_its_own_status(stepper, saved):
    def double(x):
        return js.rollout(Doubling(), 12, state=js.solvers.State(x, jnp.asarray(0.0))).status.first_bad_step

    assert jax.vmap(double)(jnp.asarray([[1.0, 1.0], [0.0, 0.0], [2.0**200, 0.0]])).tolist() == [11, -1, 9]
    start = stepper.initial()
    pair = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf / 2]), start)
    batch = jax.jit(jax.vmap(lambda state: js.rollout(stepper, 12, save_every=4, state=state)))(pair)
    assert batch.fields.shape == (2, 4, 1, 33)
    assert np.abs(batch.fields[0] - saved.fields).max() < 1e-14
    assert np.abs(batch.fields[1, 0] - saved.fields[0] / 2).max() < 1e-15
    assert float(batch.status.courant[1]) == pytest.approx(float(saved.status.courant) / 2)


@pytest.mark.parametrize("compiled", [False, True])
def test_progress_is_told_at_every_saved_step_inside_jit_too(compiled):
    lines = []
    run = lambda: js.rollout(Doubling(), 6, save_every=2, progress=lines.append)
    jax.block_until_ready((jax.jit(run) if compiled else run)())
    jax.effects_barrier()
    assert sorted(lines) == ["step 2 of 6, t = 2", "step 4 of 6, t = 4", "step 6 of 6, t = 6"]


def test_gradients_go_through_saved_fields():
    """d/dx of 2^100 x + 2^200 x, the fields at steps 1 and 2."""
    start = lambda x: js.solvers.State(x, jnp.asarray(0.0))
    loss = lambda x: jnp.sum(js.rollout(Doubling(), 2, save_every=1, state=start(x)).fields[1:])
    assert jax.grad(loss)(jnp.ones(2)).tolist() == [2.0**100 + 2.0**200] * 2


def test_single_precision_stays_single():
    """The start is the stepper's own where none is given."""
    with jax.enable_x64(False):
        single = rolled(js.stepper(js.problems.burgers(viscosity=0.1), METHOD), None, 4, None)
    assert single.fields.dtype == single.ts.dtype == np.float32


@pytest.mark.parametrize(("steps", "every"), [(10, 3), (0, None), (10, 0), (10.0, 5), (True, None)])
def test_steps_are_a_multiple_of_save_every(steps, every):
    with pytest.raises(ValueError, match="rollout: steps must be a multiple of save_every, whole numbers >= 1; got"):
        js.rollout(Doubling(), steps, save_every=every)


def test_an_unknown_policy_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"rollout: gradient policy 'sqr' does not exist.*Did you mean 'sqrt'"):
        js.rollout(Doubling(), 4, gradient="sqr")
