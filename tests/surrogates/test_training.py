"""The loop of a training: settings, one iteration by hand, interruption, seeds, devices, streams, and numbers that end it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_training import Stencil, waves

import jaxsci as js
from jaxsci.surrogates import training_loop
from jaxsci.surrogates.batches import stream_batches
from jaxsci.surrogates.network_surrogate import NetworkSurrogate, fit_seeds
from jaxsci.surrogates.training import Training, final, start, update

KEY = jax.random.key(3)


def flat(fitted):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(fitted.parameters["network"])])


def surrogate(network=None, **options):
    options = {"steps": 12, "batch": 4, "learning_rate": 1e-2, "held_out": 0.0} | options
    return NetworkSurrogate(network or Stencil(), training=Training(**options))


@pytest.fixture
def short_chunks(monkeypatch):
    """Two iterations at a time, so that there is something between chunks."""
    monkeypatch.setattr(training_loop, "_CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(training_loop, "_PROGRESS_SECONDS", 0.0)


# --- settings -------------------------------------------------------------------------------------------------------


def test_the_learning_rate_rises_falls_and_ends_at_a_hundredth():
    training = Training(learning_rate=2.0, warm_up=0.1)
    assert [float(training.rate(i, 100.0)) for i in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert float(training.rate(55, 100.0)) == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert float(training.rate(100, 100.0)) == pytest.approx(0.02)


def test_noise_falls_with_the_cosine_of_the_learning_rate():
    training = Training(noise=(0.3, 0.1), warm_up=0.1)
    assert [float(training.noise_level(i, 100.0)) for i in (0, 10, 55, 100)] == pytest.approx([0.3, 0.3, 0.2, 0.1])
    assert Training(noise=0.3).noise_level(55, 100.0) == 0.3


def test_the_curriculum_says_which_unrolling_when():
    training = Training(unroll=((0, 1), (0.5, 4), (0.75, 8)))
    assert training.stage(0, 100.0) == (1, 50)
    assert training.stage(49, 100.0) == (1, 50)
    assert training.stage(50, 100.0) == (4, 75)
    assert training.stage(75, 100.0) == (8, np.inf)
    assert Training(unroll=3).stage(7, 10.0) == (3, np.inf)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number"),
        ({"batch": 2.5}, "batch must be a whole number"),
        ({"cut": 0}, "cut must be a whole number"),
        ({"learning_rate": -1.0}, "learning_rate must be a positive number"),
        ({"noise": float("nan")}, "noise must be a number >= 0"),
        ({"noise": (0.1, -0.1)}, "noise must be a number >= 0"),
        ({"betas": (0.9, 1.0)}, "betas are two numbers"),
        ({"residual": -0.1}, "residual must be a number >= 0"),
        ({"held_out": 1.0}, "held_out is a share"),
        ({"average": 1.0}, "average is a share"),
        ({"unroll": 0}, "unroll is a whole number"),
        ({"unroll": ((0.1, 2),)}, "begins with a pair"),
        ({"unroll": ((0, 1), (0, 2))}, "increase"),
        ({"residual_solver": js.Spectral(n=16, dt=0.1)}, "the weight of its loss, is 0"),
        ({"residual": 1.0, "residual_solver": js.Spectral(n=16)}, "with a step"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Training(**options)


def test_an_optimiser_that_is_none_is_refused():
    with pytest.raises(TypeError, match=r"optax\.adam"):
        Training(optimiser="adam")


# --- one iteration --------------------------------------------------------------------------------------------------


def test_an_iteration_is_adams_with_the_clipped_gradient():
    training = Training(learning_rate=0.1, warm_up=0.0, clip=1.0)
    network = {"a": jnp.asarray([1.0, 2.0]), "b": jnp.asarray(3.0)}
    gradient = {"a": jnp.asarray([3.0, 0.0]), "b": jnp.asarray(-4.0)}  # norm 5
    clipped = jax.tree.map(lambda g: g / 5, gradient)
    adam = optax.adam(0.1)
    changes, _ = adam.update(clipped, adam.init(network))
    found = update(training, start(training, network), 1.0, gradient, 0.0, 100.0)
    for name, value in optax.apply_updates(network, changes).items():
        np.testing.assert_allclose(found.network[name], value, rtol=1e-12)


def test_betas_are_adams():
    training, network = Training(learning_rate=0.1, warm_up=0.0, clip=None, betas=(0.5, 0.6)), {"a": jnp.asarray([1.0, 2.0])}
    state, adam = start(training, network), optax.adam(0.1, b1=0.5, b2=0.6)
    carry = adam.init(network)
    for slope in (jnp.asarray([3.0, -1.0]), jnp.asarray([-1.0, 0.1])):
        state = update(training, state, 1.0, {"a": slope}, 0.0, 100.0)
        changes, carry = adam.update({"a": slope}, carry)
        network = optax.apply_updates(network, changes)
    np.testing.assert_allclose(state.network["a"], network["a"], rtol=1e-12)


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_numbers_that_are_not_finite_end_it_with_the_last_good_parameters(bad):
    training = Training(clip=None)
    state = start(training, {"a": jnp.asarray([1.0])})
    one = update(training, state, 1.0, {"a": jnp.asarray([1.0])}, 0.0, 10.0)
    loss, slope = (jnp.nan, 1.0) if bad == "loss" else (1.0, jnp.inf)
    two = update(training, one, loss, {"a": jnp.asarray([slope])}, 1.0, 10.0)
    assert bool(two.broken)
    np.testing.assert_array_equal(two.network["a"], one.network["a"])
    # Where the loss was finite at the last parameters they are good; else those before them are.
    np.testing.assert_array_equal(two.good, (state if bad == "loss" else one).network["a"])
    three = update(training, two, 1.0, {"a": jnp.asarray([1.0])}, 2.0, 10.0)
    assert bool(three.broken)
    np.testing.assert_array_equal(three.good, two.good)


def test_a_fit_that_blows_up_says_so_and_keeps_finite_parameters():
    fitted = surrogate(Stencil(), steps=200, optimiser=optax.sgd(1e3), unroll=8).fit(waves(), key=KEY)
    assert fitted.stats["stopped"] == "not finite"
    assert 1 <= fitted.stats["steps"] < 200
    assert fitted.stats["steps"] == len(fitted.history)
    assert np.isfinite(flat(fitted)).all()
    assert np.isfinite(fitted.history[:-1]).all()


# --- interruption ---------------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


def test_a_fit_that_was_interrupted_goes_on_bit_for_bit(tmp_path, short_chunks):
    made, data = surrogate(noise=0.1, unroll=((0, 1), (0.5, 2))), waves()
    whole = made.fit(data, key=KEY)
    lines = []

    def interrupt(line):
        lines.append(line)
        if len(lines) == 5:
            raise Stop

    with pytest.raises(Stop):
        made.fit(data, key=KEY, folder=tmp_path / "fit", save_seconds=0.0, progress=interrupt)
    with pytest.raises(ValueError, match="give resume=True"):
        made.fit(data, key=KEY, folder=tmp_path / "fit")
    with pytest.raises(ValueError, match="another fit"):
        made.fit(data, key=jax.random.key(4), folder=tmp_path / "fit", resume=True)
    seen = []
    resumed = made.fit(data, key=KEY, folder=tmp_path / "fit", resume=True, progress=seen.append)
    assert 0 < len(seen) < 12  # not from the beginning
    np.testing.assert_array_equal(flat(resumed), flat(whole))
    np.testing.assert_array_equal(resumed.history, whole.history)
    again = made.fit(data, key=KEY, folder=tmp_path / "fit", resume=True, progress=seen.append)
    np.testing.assert_array_equal(flat(again), flat(whole))
    assert again.stats["stopped"] == "steps"
    assert np.abs(flat(whole) - flat(made.fit(data, key=jax.random.key(4)))).max() > 1e-3  # another key, another fit


def test_resuming_needs_a_folder():
    with pytest.raises(ValueError, match="needs the folder"):
        surrogate().fit(waves(), resume=True)


def test_a_budget_ends_a_fit_and_shortens_its_schedule(tmp_path, short_chunks):
    made = surrogate(steps=10**6)
    fitted = made.fit(waves(), key=KEY, budget=0.05, folder=tmp_path)
    assert fitted.stats["stopped"] == "budget"
    assert 0 < fitted.stats["steps"] < 10**6
    more = made.fit(waves(), key=KEY, budget=0.1, folder=tmp_path, resume=True)  # and a larger one goes on
    assert more.stats["steps"] > fitted.stats["steps"]
    np.testing.assert_array_equal(more.history[: len(fitted.history)], fitted.history)
    with pytest.raises(ValueError, match="above 0"):
        made.fit(waves(), budget=0.0)


def test_progress_tells_loss_error_and_speed(short_chunks):
    lines = []
    surrogate(steps=2, held_out=0.5).fit(waves(), key=KEY, progress=lines.append)
    assert len(lines) == 2
    assert lines[-1].startswith("step 2 of 2: loss ")
    assert "held-out error" in lines[-1]
    assert "samples/s" in lines[-1]


# --- many seeds, many devices, streams ------------------------------------------------------------------------------


@pytest.mark.slow
def test_seeds_at_once_are_those_one_by_one():
    made, data = surrogate(Stencil(curved=True), noise=0.1, held_out=0.3), waves()
    keys = jax.random.split(KEY, 3)
    together = fit_seeds(made, data, keys)
    for key, fitted in zip(keys, together, strict=True):
        alone = made.fit(data, key=key)
        np.testing.assert_allclose(flat(fitted), flat(alone), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(fitted.history, alone.history, rtol=1e-9)
        assert fitted.stats["held_out"] == pytest.approx(alone.stats["held_out"], rel=1e-9)
        assert fitted.cost.training_seconds > 0
    with pytest.raises(ValueError, match="at least one key"):
        fit_seeds(made, data, [])


MESH = """
import json, sys
import jax
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, sys.argv[1])
import numpy as np
from tiny_training import Stencil, waves
from jaxsci.surrogates.network_surrogate import NetworkSurrogate
from jaxsci.surrogates.training import Training
made = NetworkSurrogate(Stencil(curved=True), training=Training(steps=10, batch=8, learning_rate=1e-2, noise=0.1, unroll=2))
mesh = jax.make_mesh((4,), ("batch",))
data = waves(runs=12)
pieces = lambda first: (np.asarray(data.fields[:8, i : i + 3]) for i in range(first, 9))
out = []
for options in ({}, {"batches": pieces}):
    alone, spread = made.fit(data, **options), made.fit(data, mesh=mesh, **options)
    out.append([[np.asarray(v).ravel().tolist() for v in jax.tree.leaves(f.parameters["network"])] for f in (alone, spread)])
print(json.dumps([len(jax.devices()), out]))
"""


@pytest.mark.slow
def test_a_mesh_of_devices_gives_the_same_fit():
    flags = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    done = subprocess.run(
        [sys.executable, "-c", MESH, str(Path(__file__).parent)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    devices, fits = json.loads(done.stdout.splitlines()[-1])
    assert devices == 4
    for alone, spread in fits:
        np.testing.assert_allclose(np.concatenate(spread), np.concatenate(alone), rtol=1e-9, atol=1e-12)


def test_a_mesh_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="with one axis"):
        surrogate().fit(waves(), mesh="all")


def pieces_of(data, count, batch=4, saves=2):
    for i in range(count):
        yield np.asarray(data.fields[i % 3 : i % 3 + batch, i % 5 : i % 5 + saves])


def test_a_stream_of_pieces_is_trained_on_in_order():
    data = waves(runs=8)
    made = surrogate(optimiser=optax.sgd(0.1), steps=11)
    fitted = made.fit(data, key=KEY, batches=pieces_of(data, 100))
    assert fitted.stats["steps"] == 11  # a whole group of pieces and a part of one

    scales = fitted.parameters["scales"]
    network = made.fit(data, key=KEY, batches=pieces_of(data, 0)).parameters["network"]
    rule = fitted.rule

    def loss(network, window):
        found = jax.vmap(lambda u: rule.evaluate({"network": network, "scales": scales}, u, {}, 0.0)[0])(window[:, 0])
        return jnp.mean(((found - window[:, 1]) / scales["step"][0]) ** 2)

    step = jax.jit(jax.value_and_grad(loss))
    for i, window in enumerate(pieces_of(data, 11)):
        value, gradient = step(network, window)
        assert fitted.history[i] == pytest.approx(float(value), rel=1e-9)
        network = jax.tree.map(lambda p, g: p - 0.1 * g, network, gradient)
    for name, value in network.items():
        np.testing.assert_allclose(fitted.parameters["network"][name], value, rtol=1e-9, atol=1e-13)


def test_a_stream_may_end_goes_on_where_it_was_and_is_checked(tmp_path):
    data, made = waves(runs=8), surrogate(steps=24)
    whole = made.fit(data, key=KEY, batches=pieces_of(data, 100))
    part = made.fit(data, key=KEY, batches=pieces_of(data, 10), folder=tmp_path)
    assert (part.stats["stopped"], part.stats["steps"]) == ("batches", 10)
    with pytest.raises(ValueError, match=r"shape \(4, 1, 1, 16\), expected"):
        made.fit(data, key=KEY, batches=pieces_of(data, 100, saves=1))

    def broken(first):
        yield from list(pieces_of(data, 8))[first:]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        made.fit(data, key=KEY, batches=broken, folder=tmp_path / "b", save_seconds=0.0)
    resumed = made.fit(data, key=KEY, batches=pieces_of(data, 100), folder=tmp_path / "b", resume=True)
    np.testing.assert_array_equal(flat(resumed), flat(whole))


def test_batches_of_a_data_set_are_pieces():
    data, made = waves(runs=8), surrogate(steps=9)
    fitted = made.fit(data, key=KEY, batches=lambda first: stream_batches(data, batch=4, saves=2, start=first))
    pieces = (batch.fields for batch in stream_batches(data, batch=4, saves=2))
    np.testing.assert_array_equal(flat(fitted), flat(made.fit(data, key=KEY, batches=pieces)))


def test_a_stream_tells_the_numbers_that_differ():
    data = waves(runs=6, speeds=[0.5, 0.6, 0.8, 1.0, 1.2, 1.5])
    made = NetworkSurrogate(Stencil(), ("speed",), training=Training(steps=4, batch=6))
    with pytest.raises(ValueError, match="give batches of pairs"):
        made.fit(data, batches=(np.asarray(data.fields[:, :2]) for _ in range(9)))
    pairs = ((np.asarray(data.fields[:, :2]), {"speed": np.asarray(data.numbers["speed"])}) for _ in range(9))
    assert made.fit(data, batches=pairs).stats["steps"] == 4


# --- symmetries and means -------------------------------------------------------------------------------------------


def doubled_or_not(key, windows):
    sign = jnp.where(jax.random.bernoulli(key, 0.5, (len(windows), 1, 1, 1)), 2.0, 1.0)
    return sign * windows


@pytest.mark.parametrize("streamed", [False, True])
def test_what_a_batch_is_made_into_is_what_is_trained_on(streamed):
    data, history = waves(runs=8), {}
    for factor in (1.0, 3.0):  # the loss of a linear network without bias is quadratic in the fields
        made = surrogate(optimiser=optax.sgd(0.0), steps=3, augment=lambda key, windows, f=factor: f * windows)
        given = {"batches": pieces_of(data, 100)} if streamed else {}
        history[factor] = made.fit(data, key=KEY, **given).history
    np.testing.assert_allclose(history[3.0], 9 * history[1.0], rtol=1e-9)


def test_symmetries_are_drawn_anew_in_each_iteration_and_resume_bit_for_bit(tmp_path, short_chunks):
    data = waves()
    plain = surrogate(optimiser=optax.sgd(0.0), steps=12).fit(data, key=KEY).history
    made = surrogate(optimiser=optax.sgd(0.0), steps=12, augment=doubled_or_not)
    ratio = made.fit(data, key=KEY).history / plain
    assert ratio.min() >= 1 - 1e-9
    assert ratio.max() <= 4 + 1e-9
    assert len(set(ratio.round(6))) > 6
    whole = surrogate(augment=doubled_or_not, average=0.9)
    with pytest.raises(Stop):
        whole.fit(data, key=KEY, folder=tmp_path, save_seconds=0.0, progress=stop_after(4))
    resumed = whole.fit(data, key=KEY, folder=tmp_path, resume=True)
    np.testing.assert_array_equal(flat(resumed), flat(whole.fit(data, key=KEY)))


def stop_after(count):
    lines = []

    def progress(line):
        lines.append(line)
        if len(lines) == count:
            raise Stop

    return progress


def test_symmetries_keep_the_shape():
    with pytest.raises(ValueError, match="augment made"):
        surrogate(augment=lambda key, windows: windows[:, :1]).fit(waves(), key=KEY)
    with pytest.raises(TypeError, match="augment must be a function"):
        Training(augment="mirror")


def test_the_mean_is_of_the_parameters_whose_loss_was_finite():
    training = Training(average=0.5, optimiser=optax.sgd(1.0))
    state, mean, value = start(training, {"a": jnp.asarray([1.0])}), 1.0, 1.0
    for i in range(12):
        state = update(training, state, 1.0, {"a": jnp.asarray([0.5])}, float(i), 100.0)
        mean, value = value + min(0.5, (1 + i) / (10 + i)) * (mean - value), value - 0.5
    np.testing.assert_allclose(final(state)["a"], mean, rtol=1e-12)
    assert abs(mean - value) > 0.4
    broken = update(training, state, jnp.nan, {"a": jnp.asarray([0.5])}, 12.0, 100.0)
    np.testing.assert_array_equal(final(broken)["a"], final(state)["a"])


def test_a_mean_does_not_change_the_iterations():
    data = waves()
    plain, mean = (surrogate(average=share).fit(data, key=KEY) for share in (0.0, 0.9))
    np.testing.assert_array_equal(plain.history, mean.history)
    assert np.abs(flat(plain) - flat(mean)).max() > 1e-3


def test_noise_that_falls_to_nothing_is_less_than_noise_that_stays():
    data = waves()
    last = [surrogate(optimiser=optax.sgd(0.0), noise=noise).fit(data, key=KEY).history for noise in (0.0, (1.0, 0.0), 1.0)]
    excess = [np.abs(history - last[0]) for history in last[1:]]
    np.testing.assert_allclose(excess[0][:2], excess[1][:2], rtol=1e-9)  # the same draws, the same level
    assert (excess[0][2:] < excess[1][2:]).all()


def test_a_stream_without_times_is_refused_where_the_solver_needs_them():
    data, made = waves(runs=8), surrogate(residual=0.1)
    pulsed = js.Equation(lambda u, t: u.t + js.sin(t) * u.x, name="pulsed")
    timed = dataclasses.replace(data, problem=js.Problem(pulsed, js.Box(t=(0, 1), x=(0, 2 * np.pi)), initial={"u": 0}))
    with pytest.raises(ValueError, match="carry no time, and pulsed"):
        made.fit(timed, key=KEY, batches=pieces_of(data, 1))
