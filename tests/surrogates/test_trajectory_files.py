"""Trajectories there and back in every format, and files of other problems, damaged ones and half-written ones."""

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.surrogates.batches import stream_batches
from jaxsci.surrogates.dataset import open_dataset
from jaxsci.surrogates.trajectories import Trajectories
from jaxsci.surrogates.trajectory_files import provenance_of, read_trajectories, write_trajectories

FORMATS = (".h5", ".nc", ".zarr")


def trajectories(problem=None, runs=3, saves=4):
    problem = js.problems.burgers() if problem is None else problem
    fields = np.random.default_rng(0).normal(size=(runs, saves, 1, 17)).astype(np.float32)
    return Trajectories(problem, jnp.asarray(fields), {"viscosity": jnp.asarray([0.01, 0.02, 0.03][:runs])}, dt=0.1)


@pytest.mark.parametrize("suffix", FORMATS)
def test_there_and_back_bit_for_bit(tmp_path, suffix):
    path, data = tmp_path / f"runs{suffix}", trajectories()
    write_trajectories(path, data, provenance={"solver": js.Spectral(n=64, dt=0.05), "seed": 3, "skip": np.float32(2)})
    found = read_trajectories(path, js.problems.burgers())
    assert found.fields.dtype == jnp.float32
    assert found.dt == 0.1
    np.testing.assert_array_equal(found.fields, data.fields)
    np.testing.assert_array_equal(found.numbers["viscosity"], data.numbers["viscosity"])
    about = provenance_of(path)
    assert about["identity"] == data.problem.identity
    assert about["provenance"] == {"solver": repr(js.Spectral(n=64, dt=0.05)), "seed": 3, "skip": 2.0}
    assert about["precision"] == "float32"
    assert about["n"] == "16"
    assert set(about["versions"]) == {"jaxsci", "jax", "numpy"}
    assert about["equation"] == repr(data.problem.equation)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]  # nothing is left beside it


@pytest.mark.parametrize("suffix", FORMATS)
def test_parts_are_read_and_streamed(tmp_path, suffix):
    path, data = tmp_path / f"runs{suffix}", trajectories()
    write_trajectories(path, data)
    dataset = open_dataset(path)
    assert dataset.layout == "jaxsci"
    assert dataset.names == ("u",)
    np.testing.assert_array_equal(dataset.read([2], slice(1, 3)), data.fields[2:, 1:3])
    for one, other in zip(
        stream_batches(dataset, batch=2, saves=2, epochs=1), stream_batches(data, batch=2, saves=2, epochs=1), strict=True
    ):
        np.testing.assert_array_equal(one.fields, other.fields)


def test_what_is_there_is_replaced_whole(tmp_path):
    for suffix in FORMATS:
        path = tmp_path / f"runs{suffix}"
        write_trajectories(path, trajectories(runs=3))
        write_trajectories(path, trajectories(runs=1))
        assert len(read_trajectories(path, js.problems.burgers())) == 1


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "runs.h5"
    write_trajectories(path, trajectories())
    monkeypatch.setattr(h5py.File, "flush", lambda file: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space left"):
        write_trajectories(path, trajectories(runs=1))
    monkeypatch.undo()
    assert len(read_trajectories(path, js.problems.burgers())) == 3
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_dimensions_have_names_as_netcdf_wants_them(tmp_path):
    path = tmp_path / "runs.nc"
    write_trajectories(path, trajectories())
    with h5py.File(path) as file:
        named = [dim[0].name for dim in file["fields"].dims]
        assert named == ["/run", "/time", "/channel", "/x"]
        np.testing.assert_allclose(file["time"], [0, 0.1, 0.2, 0.3])
        np.testing.assert_allclose(file["x"][[0, -1]], js.problems.burgers().domain["x"])


def test_another_problem_is_refused_with_what_differs(tmp_path):
    path = tmp_path / "runs.h5"
    problem = js.problems.burgers()
    data = trajectories(problem)
    write_trajectories(path, Trajectories(problem, data.fields, {}, data.dt))
    with pytest.raises(ValueError, match=r"runs of another problem: viscosity is \S+ there and 0.5 here"):
        read_trajectories(path, problem.with_coefficients(viscosity=0.5))
    with pytest.raises(ValueError, match=r"the equation is .* there and .* here; the box is"):
        read_trajectories(path, js.problems.heat())
    with pytest.raises(ValueError, match="give the problem: read_trajectories"):
        read_trajectories(path)
    write_trajectories(path, data)  # where runs differ in it, any value will do
    assert len(read_trajectories(path, problem.with_coefficients(viscosity=0.5))) == 3


def test_what_cannot_be_written_is_refused(tmp_path):
    data = trajectories()
    with pytest.raises(ValueError, match=r"runs\.txt must end in one of \.h5, \.hdf5, \.nc, \.zarr"):
        write_trajectories(tmp_path / "runs.txt", data)
    with pytest.raises(TypeError, match="must be Trajectories, got ndarray"):
        write_trajectories(tmp_path / "runs.h5", np.zeros(3))
    broken = Trajectories(data.problem, data.fields.at[1, 2].set(jnp.nan), data.numbers, data.dt)
    with pytest.raises(ValueError, match="run 1 is not finite"):
        write_trajectories(tmp_path / "runs.h5", broken)
    flat = Trajectories(data.problem, data.fields[:, :, 0], data.numbers, data.dt)
    with pytest.raises(ValueError, match=r"\[runs, saves, 1 for u, x\], got shape \(3, 4, 17\)"):
        write_trajectories(tmp_path / "runs.h5", flat)
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_files_are_refused_in_one_sentence(tmp_path):
    path = tmp_path / "runs.h5"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_trajectories(path, js.problems.burgers())
    write_trajectories(path, trajectories())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="was cut short"):
        read_trajectories(path, js.problems.burgers())
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["fields"][2, 1, 0, 3] = np.nan
    with pytest.raises(ValueError, match="run 2 is not finite"):
        read_trajectories(path, js.problems.burgers())
    with h5py.File(path, "r+") as file:
        del file["fields"]
        file["fields"] = np.zeros((3, 4, 1, 9), np.float32)
    with pytest.raises(
        ValueError, match=r"fields has shape \(3, 4, 1, 9\), and by its coordinates it should have \(3, 4, 1, 17\)"
    ):
        read_trajectories(path, js.problems.burgers())
    with h5py.File(path, "w") as file:
        file["tensor"] = np.zeros((2, 3, 4))
    with pytest.raises(ValueError, match="as jaxsci it should have"):
        read_trajectories(path, js.problems.burgers())
    with pytest.raises(ValueError, match="was not written by write_trajectories"):
        provenance_of(path)
