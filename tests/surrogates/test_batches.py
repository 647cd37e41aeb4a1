"""Streams of windows: each once, the same ones again from anywhere, and nothing left behind."""

import itertools
import threading

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.surrogates.batches import permuted, stream_batches
from jaxsci.surrogates.dataset import open_dataset
from jaxsci.surrogates.trajectories import Trajectories

RUNS, SAVES, N = 5, 7, 8


def numbered(runs=RUNS, saves=SAVES):
    """Fields that say which run and save they are: 100 run + save."""
    return np.broadcast_to(
        100.0 * np.arange(runs)[:, None, None, None] + np.arange(saves)[:, None, None], (runs, saves, 1, N)
    )


def in_memory():
    return Trajectories(js.problems.advection(speed=1.0), jnp.asarray(numbered()), {}, dt=0.1)


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "numbered.hdf5"
    with h5py.File(path, "w") as file:
        file["tensor"] = numbered()[:, :, 0]
        file["x-coordinate"], file["t-coordinate"] = (np.arange(N) + 0.5) / N, 0.1 * np.arange(SAVES)
    return open_dataset(path)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "stream_batches"]


def test_an_epoch_has_every_window_once_and_each_window_is_what_it_says(dataset):
    batches = list(stream_batches(dataset, batch=5, saves=3, epochs=1))
    assert [batch.number for batch in batches] == list(range(5))
    assert not threads()
    seen = [(run, first) for batch in batches for run, first in zip(batch.runs, batch.first, strict=True)]
    assert sorted(seen) == list(itertools.product(range(RUNS), range(SAVES - 2)))
    for batch in batches:
        assert batch.fields.shape == (5, 3, 1, N)
        expected = 100 * batch.runs[:, None] + batch.first[:, None] + np.arange(3)
        np.testing.assert_array_equal(batch.fields, np.broadcast_to(expected[:, :, None, None], batch.fields.shape))


def test_epochs_and_seeds_have_other_orders_and_the_rest_of_an_epoch_is_left_out():
    order = lambda seed: [
        tuple(100 * b.runs + b.first) for b in stream_batches(in_memory(), batch=4, saves=3, epochs=2, seed=seed)
    ]
    first = order(0)
    assert len(first) == 2 * (25 // 4)
    assert first[:6] != first[6:]
    assert first != order(1)
    assert first == order(0)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_stream_that_is_begun_later_is_the_same_bit_for_bit(dataset, prefetch):
    whole = list(itertools.islice(stream_batches(dataset, batch=4, saves=2), 20))
    later = list(itertools.islice(stream_batches(dataset, batch=4, saves=2, start=9, prefetch=prefetch), 11))
    for one, other in zip(whole[9:], later, strict=True):
        assert one.number == other.number
        np.testing.assert_array_equal(one.fields, other.fields)
        np.testing.assert_array_equal(one.runs, other.runs)


def test_memory_and_file_give_the_same_batches_and_held_out_runs_stay_out(dataset):
    options = {"batch": 3, "saves": 2, "epochs": 1, "runs": (1, 4)}
    for one, other in zip(stream_batches(dataset, **options), stream_batches(in_memory(), **options), strict=True):
        np.testing.assert_array_equal(one.fields, other.fields)
        assert set(one.runs) <= {1, 4}


def test_the_thread_ends_when_the_stream_is_closed_or_dropped(dataset):
    stream = stream_batches(dataset, batch=2, saves=2, prefetch=3)
    next(stream)
    assert len(threads()) == 1
    stream.close()
    assert not threads()
    next(stream_batches(dataset, batch=2, saves=2))  # dropped at once
    assert not threads()


def test_errors_of_the_thread_reach_the_consumer(tmp_path):
    path = tmp_path / "broken.hdf5"
    fields = numbered()[:, :, 0].copy()
    fields[3, 4] = np.nan
    with h5py.File(path, "w") as file:
        file["tensor"] = fields
        file["x-coordinate"], file["t-coordinate"] = (np.arange(N) + 0.5) / N, 0.1 * np.arange(SAVES)
    with pytest.raises(ValueError, match="run 3 is not finite near its save"):
        list(stream_batches(open_dataset(path), batch=5, saves=2, epochs=1))
    assert not threads()
    kept = stream_batches(open_dataset(path), batch=5, saves=2, epochs=1, runs=(0, 1, 2, 4))
    assert len(list(kept)) == 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch": 0}, ValueError, "batch must be a whole number >= 1, got 0"),
        ({"saves": 8}, ValueError, "windows of 8 saves do not fit into runs of 7"),
        ({"batch": 31}, ValueError, "a batch of 31 is more than the 30 windows"),
        ({"runs": (5,)}, IndexError, r"among 0 ... 4, got \(5,\)"),
        ({"runs": ()}, IndexError, "among 0 ... 4"),
        ({"epochs": 0}, ValueError, "epochs >= 1"),
        ({"start": -1}, ValueError, "start must be a whole number >= 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_at_once(options, error, message):
    with pytest.raises(error, match=message):
        stream_batches(in_memory(), **{"batch": 2, "saves": 2, **options})


def test_sources_of_other_kinds_are_refused():
    with pytest.raises(TypeError, match="Dataset from open_dataset, or Trajectories, got ndarray"):
        stream_batches(numbered(), batch=1, saves=2)


@pytest.mark.parametrize("count", [1, 2, 3, 64, 1000, 4097])
def test_permutations_are_permutations(count):
    everywhere = permuted(np.arange(count), count, (3, 1))
    assert sorted(everywhere) == list(range(count))
    np.testing.assert_array_equal(permuted(np.arange(count)[-2:], count, (3, 1)), everywhere[-2:])


def test_permutations_are_mixed_well():
    """Neighbours land anywhere: rank correlation and displacement as of a random order."""
    count = 5000
    order = permuted(np.arange(count), count, (0, 0))
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 5 / np.sqrt(count)
    assert abs(np.abs(order - np.arange(count)).mean() / count - 1 / 3) < 0.02
