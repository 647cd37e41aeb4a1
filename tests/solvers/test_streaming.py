"""`js.stream` and `js.read_trajectory`: what is in the file, what survives an interruption, and what is refused."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zarr

import jaxsci as js
from jaxsci.solvers import trajectory_file

PROBLEM = js.problems.vortex_mixing()
STEPS, EVERY, CHUNK = 33, 3, 3  # 12 saves in 4 pieces
formats = pytest.mark.parametrize("ending", [".h5", ".zarr"])


@pytest.fixture(scope="module")
def stepper():
    return js.stepper(PROBLEM, js.Spectral(16, order=2, dt=0.02))


def run(stepper, path, **options):
    return js.stream(stepper, path, STEPS, save_every=EVERY, chunk=CHUNK, **options)


@pytest.fixture(scope="module")
def whole(stepper, tmp_path_factory):
    """The run that nothing interrupted, once per format."""
    folder = tmp_path_factory.mktemp("whole")
    return {ending: run(stepper, folder / f"run{ending}") for ending in (".h5", ".zarr")}


def same_bits(a, b):
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(a, b, strict=True))


def contents(stored):
    return stored.ts, *(stored[name] for name in stored.unknowns), np.frombuffer(stored.checkpoint.state, np.uint8)


class Interrupted(BaseException):
    """What Ctrl-C is: no Exception."""


# --- what is in a file -------------------------------------------------------------------------------------------------------


@formats
def test_a_file_holds_what_a_rollout_returns(whole, stepper, ending):
    stored, expected = whole[ending], js.rollout(stepper, STEPS, save_every=EVERY)
    assert stored.is_complete
    assert stored.check() is stored
    assert np.abs(stored.ts - np.asarray(expected.ts)).max() < 1e-15
    for i, name in enumerate(PROBLEM.unknowns):
        assert stored[name].shape == (12, 16, 16)
        assert np.abs(stored[name][:] - expected.fields[:, i]).max() < 1e-14
    assert np.abs(stored.final(stepper).values - expected.final.values).max() < 1e-15
    assert int(stored.status.first_bad_step) == int(expected.status.first_bad_step) == -1
    assert float(stored.status.courant) == pytest.approx(float(expected.status.courant))
    assert int(stored.status.courant_step) == int(expected.status.courant_step)


def test_both_formats_hold_the_same_bits(whole):
    assert same_bits(contents(whole[".h5"]), contents(whole[".zarr"]))


@formats
def test_fields_are_loaded_where_they_are_indexed(whole, ending):
    field = whole[ending]["w"]
    all_of_it = np.asarray(field)
    assert (len(field), field.ndim, field.dtype) == (12, 3, np.float64)
    assert np.array_equal(field[-1], all_of_it[-1])
    assert np.array_equal(field[2:9:3, 4], all_of_it[2:9:3, 4])
    assert np.array_equal(field[..., 5], all_of_it[..., 5])
    assert np.array_equal(field[5, ..., 5], all_of_it[5, :, 5])
    assert field[5:5].shape == (0, 16, 16)
    with pytest.raises(IndexError):
        field[12]
    with pytest.raises(TypeError, match="Index the saves of w by a whole number or a slice, got list"):
        field[[1, 2]]
    with pytest.raises(KeyError, match="unknown 'v' does not exist; there is 'w', 'psi'"):
        whole[ending]["v"]


@formats
def test_a_file_says_where_it_comes_from(whole, ending):
    attributes = whole[ending].attributes
    assert attributes["identity"] == PROBLEM.identity
    assert attributes["equation"] == repr(PROBLEM.equation)
    assert json.loads(attributes["coefficients"]) == PROBLEM.coefficients
    expected = {
        "problem": "vortex_mixing", "dt": 0.02, "n": "16 x 16", "order": 2, "dtype": "float64", "steps": STEPS,
        "save_every": EVERY, "start": "initial", "jax_version": jax.__version__,
    }  # fmt: skip
    assert {name: attributes[name] for name in expected} == expected


@formats
def test_xarray_opens_it_with_named_dimensions(whole, ending):
    """As users do, with neither options nor warnings."""
    xarray = pytest.importorskip("xarray")
    path = whole[ending].path
    with (xarray.open_zarr if ending == ".zarr" else xarray.open_dataset)(path) as data:
        assert data["w"].dims == ("t", "x", "y")
        assert set(data.data_vars) == {"w", "psi"}
        assert np.array_equal(data["w"].sel(t=0.06, method="nearest"), whole[ending]["w"][1])
        assert np.array_equal(data["x"], 2 * np.pi * np.arange(16) / 16)
        assert data.attrs["problem"] == "vortex_mixing"


def test_a_file_is_a_reference_for_a_comparison(whole):
    """What `read_reference` wants of a file is what is written."""
    samples = js.read_reference(whole[".h5"].path, PROBLEM)
    assert set(samples.unknowns) == {"w", "psi"}


def test_no_more_than_a_chunk_is_held_and_written_at_a_time(stepper, tmp_path, monkeypatch):
    written, append = [], trajectory_file.append
    monkeypatch.setattr(trajectory_file, "append", lambda *a: written.append(a[3].shape) or append(*a))
    js.stream(stepper, tmp_path / "run.h5", 30, save_every=EVERY, chunk=CHUNK)
    assert written == [(3, 2, 16, 16)] * 3 + [(2, 2, 16, 16)]


# --- stopping and going on ---------------------------------------------------------------------------------------------------


@formats
def test_a_run_that_was_stopped_between_pieces_goes_on_bit_for_bit(whole, stepper, tmp_path, ending):
    path, lines = tmp_path / f"run{ending}", []

    def stop(line):
        lines.append(line)
        if len(lines) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stepper, path, progress=stop)
    half = js.read_trajectory(path)
    assert not half.is_complete
    assert len(half.ts) == len(half["w"]) == 2 * CHUNK
    assert same_bits((half["w"][-1], half.ts), (whole[ending]["w"][5], whole[ending].ts[:6]))
    resumed = run(stepper, path, resume=True, progress=lines.append)
    assert same_bits(contents(resumed), contents(whole[ending]))
    assert [line.split(",")[0] for line in lines] == [f"step {i} of 33" for i in (6, 15, 24, 33)]
    assert ", Courant number 0." in lines[-1]
    assert lines[-1].endswith(" steps/s")


@formats
def test_wherever_a_write_is_interrupted_nothing_is_torn(whole, stepper, tmp_path, ending, monkeypatch):
    """At every point at which something is made durable: before it, and after it with the file closed anyhow."""
    fsync, path, interruptions = os.fsync, tmp_path / f"run{ending}", 0

    def interrupt_at(n):
        calls = iter(range(10**6))

        def counted(descriptor):
            if next(calls) == n:
                raise Interrupted
            fsync(descriptor)

        return counted

    seen = 0
    for n in (0, 1, 2, 3, 5, 8, 1, 4, 2, 6, 3):
        monkeypatch.setattr(os, "fsync", interrupt_at(n))
        try:
            run(stepper, path, resume=True)
        except Interrupted:
            interruptions += 1
        if path.exists():
            now = js.read_trajectory(path)
            assert len(now.ts) >= seen
            seen = len(now.ts)
            assert same_bits((now["w"], now.ts), (whole[ending]["w"][:seen], whole[ending].ts[:seen]))
    monkeypatch.undo()
    assert interruptions >= 5
    assert same_bits(contents(run(stepper, path, resume=True)), contents(whole[ending]))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


_CHILD = """
import os, signal, sys
import jax
jax.config.update("jax_enable_x64", True)
import jaxsci as js

fsync, left = os.fsync, [int(sys.argv[2])]
def kill_later(descriptor):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = kill_later
stepper = js.stepper(js.problems.vortex_mixing(), js.Spectral(16, order=2, dt=0.02))
js.stream(stepper, sys.argv[1], 33, save_every=3, chunk=3)
"""


@pytest.mark.parametrize(("ending", "syncs"), [(".h5", 9), pytest.param(".zarr", 45, marks=pytest.mark.slow)])
def test_a_process_that_is_killed_in_the_middle_of_a_write_is_resumed_bit_for_bit(whole, stepper, tmp_path, ending, syncs):
    path = tmp_path / f"run{ending}"
    child = subprocess.run([sys.executable, "-c", _CHILD, path, str(syncs)], capture_output=True, text=True, timeout=120)
    assert child.returncode == -signal.SIGKILL, child.stderr
    there = js.read_trajectory(path)
    assert 0 < len(there.ts) < 12
    assert same_bits((there["w"],), (whole[ending]["w"][: len(there.ts)],))
    assert same_bits(contents(run(stepper, path, resume=True)), contents(whole[ending]))


@formats
def test_of_two_checkpoints_one_may_be_damaged(whole, stepper, tmp_path, ending):
    path = tmp_path / f"run{ending}"
    shutil.copytree(whole[ending].path, path) if ending == ".zarr" else shutil.copy(whole[ending].path, path)
    newest = js.read_trajectory(path).checkpoint.sequence
    if ending == ".zarr":
        slot = path / "resume/checkpoint/c" / str(newest % 2) / "0"
        slot.write_bytes(slot.read_bytes()[:-50])  # cut short
    else:
        with h5py.File(path, "r+") as file:
            file["resume/checkpoint"][newest % 2, 100] += 1  # one byte
    assert js.read_trajectory(path).checkpoint.sequence == newest - 1
    assert len(js.read_trajectory(path).ts) == 9
    assert same_bits(contents(run(stepper, path, resume=True)), contents(whole[ending]))


def test_a_file_without_a_whole_checkpoint_says_so(whole, tmp_path):
    path = tmp_path / "run.h5"
    shutil.copy(whole[".h5"].path, path)
    with h5py.File(path, "r+") as file:
        file["resume/checkpoint"][:, 30] += 1
    with pytest.raises(ValueError, match=r"both checkpoints are damaged. Its fields can be read with h5py"):
        js.read_trajectory(path)


def test_writing_changes_nothing_in_an_hdf5_file_but_its_numbers(stepper, tmp_path):
    """What makes a kill harmless: no byte outside the arrays differs between an empty and a full file."""
    path, structures = tmp_path / "run.h5", []

    def structure(_=None):
        with h5py.File(path) as file:
            names = ["t", "x", "y", "w", "psi", "resume/checkpoint"]
            parts = [(file[name].id.get_offset(), file[name].id.get_storage_size()) for name in names]
        data = bytearray(path.read_bytes())
        for offset, size in parts:
            data[offset : offset + size] = bytes(size)
        structures.append(bytes(data))

    run(stepper, path, progress=structure)
    assert len(structures) == 4
    assert len(set(structures)) == 1


def test_resuming_is_bitwise_in_single_precision_and_for_a_stiff_problem(tmp_path):
    with jax.enable_x64(False):
        stepper = js.stepper(js.problems.kuramoto_sivashinsky(), js.Spectral(32, dt=0.05))
        once = js.stream(stepper, tmp_path / "once.h5", 40, save_every=4, chunk=2)
        twice = tmp_path / "twice.h5"
        with pytest.raises(Interrupted):
            js.stream(stepper, twice, 40, save_every=4, chunk=2, progress=lambda _: interrupt())
        assert len(js.read_trajectory(twice).ts) == 2
        stored = js.stream(stepper, twice, 40, save_every=4, chunk=2, resume=True)
    assert stored["u"].dtype == np.float32
    assert same_bits(contents(stored), contents(once))


def interrupt():
    raise Interrupted


def test_a_finished_run_is_not_run_again(whole, stepper):
    before = whole[".h5"].path.read_bytes()
    again = run(stepper, whole[".h5"].path, resume=True, progress=lambda _: interrupt())
    assert again.is_complete
    assert whole[".h5"].path.read_bytes() == before


def test_a_second_file_goes_on_where_the_first_ends(whole, stepper, tmp_path):
    state = whole[".h5"].final(stepper)
    second = js.stream(stepper, tmp_path / "second.h5", 6, save_every=3, state=state)
    longer = js.stream(stepper, tmp_path / "longer.h5", STEPS + 6, save_every=3, chunk=CHUNK)
    assert same_bits((second["w"][:], second.ts), (longer["w"][-3:], longer.ts[-3:]))
    assert len(second.attributes["start"]) == 16  # a digest


# --- a state that is not finite ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unstable():
    return js.stepper(js.problems.vortex_mixing(viscosity=1e-4), js.Spectral(16, order=2, dt=0.35))


@pytest.fixture(scope="module")
def blown_up(unstable):
    return js.rollout(unstable, 40, save_every=2)


@pytest.mark.parametrize(("ending", "chunk"), [(".h5", 3), (".zarr", 4)])  # none and one of its saves are good
def test_a_run_that_blows_up_keeps_what_is_good_and_says_where_it_ended(unstable, blown_up, tmp_path, ending, chunk):
    bad, lines = int(blown_up.status.first_bad_step), []
    good = -(-bad // 2)
    assert (bad, good) == (18, 9)
    stored = js.stream(unstable, tmp_path / f"run{ending}", 40, save_every=2, chunk=chunk, progress=lines.append)
    assert int(stored.status.first_bad_step) == bad
    assert len(stored.ts) == good
    assert np.isfinite(stored["w"][:]).all()
    assert not np.isfinite(np.asarray(blown_up.fields[good])).all()
    assert not stored.is_complete
    final = stored.final(unstable)
    assert np.isfinite(final.values).all()
    assert float(final.t) == stored.ts[-1]
    assert lines[-1].endswith(f"not finite after step {bad}")
    with pytest.raises(FloatingPointError, match=f"not finite after step {bad}; {good} saves before it are there"):
        stored.check()
    again = js.stream(unstable, stored.path, 40, save_every=2, chunk=chunk, resume=True, progress=lambda _: interrupt())
    assert len(again.ts) == good


def test_a_start_that_is_not_finite_leaves_no_saves(stepper, tmp_path):
    start = stepper.encode(np.full((16, 16), np.nan))
    stored = run(stepper, tmp_path / "run.h5", state=start)
    assert (int(stored.status.first_bad_step), len(stored.ts), stored["w"].shape) == (0, 0, (0, 16, 16))


# --- refusals ----------------------------------------------------------------------------------------------------------------


@formats
def test_a_file_that_exists_is_never_overwritten(whole, stepper, ending):
    with pytest.raises(FileExistsError, match=f"run{ending} exists. Go on with it by resume=True, or give another path"):
        run(stepper, whole[ending].path)


def test_a_file_of_another_run_is_refused_with_what_differs(whole, stepper):
    path, go_on = whole[".h5"].path, {"save_every": EVERY, "chunk": CHUNK, "resume": True}
    other = js.stepper(PROBLEM, js.Spectral(16, order=2, dt=0.01))
    with pytest.raises(ValueError, match=r"run.h5 holds another run, which differs in 'dt': dt is 0.02 there and 0.01 here"):
        js.stream(other, path, STEPS, **go_on)
    with pytest.raises(ValueError, match=r"differs in 'coefficients', 'identity': coefficients is .*0.05.* and .*0.1"):
        js.stream(stepper.with_coefficients(viscosity=0.1), path, STEPS, **go_on)
    with pytest.raises(ValueError, match=r"differs in 'n', 'grid': n is '16 x 16' there and '32 x 32' here"):
        js.stream(js.stepper(PROBLEM, js.Spectral(32, order=2, dt=0.02)), path, STEPS, **go_on)
    with pytest.raises(ValueError, match=r"differs in 'order': order is 2 there and 1 here"):
        js.stream(dataclasses.replace(stepper, order=1), path, STEPS, **go_on)
    with pytest.raises(ValueError, match=r"differs in 'steps': steps is 33 there and 66 here"):
        js.stream(stepper, path, 66, **go_on)
    with pytest.raises(ValueError, match=r"differs in 'start': start is 'initial' there"):
        js.stream(stepper, path, STEPS, state=stepper.step(stepper.initial()), **go_on)
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match=r"differs in 'dtype': dtype is 'float64' there and 'float32'"),
    ):
        js.stream(js.stepper(PROBLEM, js.Spectral(16, order=2, dt=0.02)), path, STEPS, **go_on)


def test_a_state_of_another_kind_is_refused(whole):
    with pytest.raises(ValueError, match=r"The stored state has .* bytes, the stepper's has .*: it is another method's"):
        whole[".h5"].final(js.stepper(PROBLEM, js.Spectral(32, order=2, dt=0.02)))


@pytest.mark.parametrize(("steps", "every"), [(10, 3), (0, 1), (10, 0), (10.0, 5)])
def test_steps_are_a_multiple_of_save_every(stepper, tmp_path, steps, every):
    with pytest.raises(ValueError, match="stream: steps must be a multiple of save_every, whole numbers >= 1; got"):
        js.stream(stepper, tmp_path / "run.h5", steps, save_every=every)


def test_other_arguments_that_do_not_fit(stepper, tmp_path):
    with pytest.raises(ValueError, match="chunk must be a whole number >= 1, got 0"):
        js.stream(stepper, tmp_path / "run.h5", 10, save_every=5, chunk=0)
    with pytest.raises(ValueError, match=r"stream: run.nc must end in .h5 \(HDF5\) or .zarr \(Zarr\)"):
        js.stream(stepper, tmp_path / "run.nc", 10, save_every=5)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), stepper.initial())
    with pytest.raises(ValueError, match=r"one trajectory at a time, got a batch of shape \(2,\); call it for every member"):
        js.stream(stepper, tmp_path / "run.h5", 10, save_every=5, state=batch)
    with pytest.raises(TypeError, match="it writes a file, which cannot be traced"):
        jax.jit(lambda s: js.stream(stepper, tmp_path / "run.h5", 10, save_every=5, state=s))(stepper.initial())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("ending", "package"), [(".h5", "h5py"), (".zarr", "zarr")])
def test_a_missing_package_is_named_with_its_extra(stepper, tmp_path, monkeypatch, ending, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'{ending} files need {package}. Install it with: pip install "jaxsci\[data\]"'):
        js.stream(stepper, tmp_path / f"run{ending}", 10, save_every=5)


@formats
def test_files_that_are_not_there_or_not_ours(tmp_path, ending):
    with pytest.raises(FileNotFoundError, match=f"run{ending} does not exist"):
        js.read_trajectory(tmp_path / f"run{ending}")
    path = tmp_path / f"other{ending}"
    if ending == ".h5":
        with h5py.File(path, "w") as file:
            file["t"] = np.arange(3)
    else:
        zarr.create_group(path)
    with pytest.raises(ValueError, match=r"was not written by jaxsci.stream: it has no resume/checkpoint"):
        js.read_trajectory(path)


def test_a_checkpoint_survives_packing():
    checkpoint = trajectory_file.Checkpoint(7, 3, -1, 4, 0.25, b"state")
    assert trajectory_file.Checkpoint.unpack(checkpoint.pack()) == checkpoint
