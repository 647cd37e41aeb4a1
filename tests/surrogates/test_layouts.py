"""Files as PDEBench and The Well lay them out, made here and read back; and files that are not so."""

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.surrogates.dataset import open_dataset

RUNS, SAVES, N = 3, 5, 8
T = np.linspace(0, 0.4, SAVES).astype(np.float32)
CENTRES = ((np.arange(N) + 0.5) / N).astype(np.float32)


def values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def made(path, arrays, **attributes):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.attrs.update(attributes)
    return path


def tensor(path, **changed):
    arrays = {"tensor": values(RUNS, SAVES, N), "x-coordinate": CENTRES, "t-coordinate": np.append(T, 0.5)}
    return made(path, {k: v for k, v in (arrays | changed).items() if v is not None}, beta=0.4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.hdf5"


# --- PDEBench ----------------------------------------------------------------------------------------------------------------


def test_pdebench_tensor_with_a_time_to_spare(path):
    data = open_dataset(tensor(path))
    assert (data.layout, data.shape, data.names) == ("pdebench", (RUNS, SAVES, 1, N), ("tensor",))
    assert data.dt == pytest.approx(0.1)
    assert data.constants == {"beta": 0.4}
    assert data.dtype == np.float32
    np.testing.assert_array_equal(data.read()[:, :, 0], values(RUNS, SAVES, N))
    np.testing.assert_array_equal(data.read([2, 0], slice(1, 5, 2))[:, :, 0], values(RUNS, SAVES, N)[[2, 0], 1:5:2])
    np.testing.assert_array_equal(data.read(-1).shape, (1, SAVES, 1, N))


def test_pdebench_tensor_to_trajectories_tells_the_coefficient(path):
    problem = js.problems.advection(speed=1.0)
    lower, upper = problem.domain["x"]
    tensor(path, **{"x-coordinate": lower + (upper - lower) * CENTRES})
    data = open_dataset(path).trajectories(problem, runs=[1, 2], rename={"beta": "speed"})
    assert data.problem.coefficients["speed"] == pytest.approx(0.4)
    assert data.numbers == {}
    assert data.fields.shape == (2, SAVES, 1, N)
    assert data.dt == pytest.approx(0.1)
    assert open_dataset(path).trajectories(problem, saves=slice(0, None, 2)).dt == pytest.approx(0.2)


def test_pdebench_compressible_flow(path):
    fields = {name: values(RUNS, SAVES, N, N - 2, seed=i) for i, name in enumerate(("density", "pressure", "Vx", "Vy"))}
    y = (np.arange(N - 2) + 0.5) / (N - 2)
    data = open_dataset(made(path, fields | {"x-coordinate": CENTRES, "y-coordinate": y, "t-coordinate": T}, eta=0.1))
    assert data.names == ("density", "pressure", "Vx", "Vy")
    assert data.shape == (RUNS, SAVES, 4, N, N - 2)
    np.testing.assert_array_equal(data.read(1, slice(2, 4))[0, :, 3], fields["Vy"][1, 2:4])


def test_pdebench_groups_by_run(path):
    runs = {f"{i:04d}/data": values(SAVES, N, N, 2, seed=i) for i in range(RUNS)}
    grids = {f"{i:04d}/grid/{name}": x for i in range(RUNS) for name, x in (("x", CENTRES), ("y", CENTRES), ("t", T))}
    data = open_dataset(made(path, runs | grids))
    assert data.shape == (RUNS, SAVES, 2, N, N)
    assert tuple(data.axes) == ("x", "y")
    np.testing.assert_array_equal(data.read(2)[0, :, 1], runs["0002/data"][..., 1])


def test_pdebench_incompressible_flow(path):
    arrays = {"velocity": values(RUNS, SAVES, N, N, 2), "particles": values(RUNS, SAVES, N, N, 1, seed=1)}
    others = {"force": values(RUNS, N, N, 2), "t": np.tile(T, (RUNS, 1))}
    data = open_dataset(made(path, arrays | others))
    assert data.names == ("velocity_x", "velocity_y", "particles")
    assert data.left_out == ("force",)
    np.testing.assert_array_equal(data.read(0)[0, :, 1], arrays["velocity"][0, ..., 1])
    np.testing.assert_array_equal(data.read(0)[0, :, 2], arrays["particles"][0, ..., 0])


# --- The Well ----------------------------------------------------------------------------------------------------------------


def well(path, kind="PERIODIC"):
    with h5py.File(path, "w") as file:
        file.attrs.update(dataset_name="made here", n_trajectories=RUNS, n_spatial_dims=2, grid_type="cartesian")
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = ["x", "y"]
        dimensions["time"], dimensions["x"], dimensions["y"] = T, CENTRES, CENTRES[: N - 2] * N / (N - 2)
        scalar, vector = file.create_group("t0_fields"), file.create_group("t1_fields")
        scalar.attrs["field_names"], vector.attrs["field_names"] = ["buoyancy", "mask"], ["velocity"]
        for group, name, shape, varying in (
            (scalar, "buoyancy", (RUNS, SAVES, N, N - 2), True),
            (scalar, "mask", (RUNS, N, N - 2), False),
            (vector, "velocity", (RUNS, SAVES, N, N - 2, 2), True),
        ):
            group[name] = values(*shape)
            group[name].attrs.update(sample_varying=True, time_varying=varying, dim_varying=[True, True])
        scalars = file.create_group("scalars")
        scalars["Rayleigh"], scalars["Prandtl"] = np.arange(RUNS) * 1e3, [0.7]
        scalars["Rayleigh"].attrs.update(sample_varying=True, time_varying=False)
        scalars["Prandtl"].attrs.update(sample_varying=False, time_varying=False)
        for name in "xy":
            condition = file.create_group(f"boundary_conditions/{name}_{kind}")
            condition.attrs.update(associated_dims=[name], bc_type=kind if name == "y" else "PERIODIC")
    return path


def test_the_well(path):
    data = open_dataset(well(path, "WALL"))
    assert data.layout == "the_well"
    assert data.names == ("buoyancy", "velocity_x", "velocity_y")
    assert data.shape == (RUNS, SAVES, 3, N, N - 2)
    assert data.left_out == ("mask",)
    assert data.periodic == {"x": True, "y": False}
    assert data.constants == {"Prandtl": 0.7}
    np.testing.assert_array_equal(data.numbers["Rayleigh"], [0, 1e3, 2e3])
    expected = values(RUNS, SAVES, N, N - 2, 2)
    np.testing.assert_array_equal(data.read([1], slice(3, 5))[0, :, 2], expected[1, 3:5, ..., 1])
    np.testing.assert_array_equal(data.read()[:, :, 0], values(RUNS, SAVES, N, N - 2))


def transported():
    """u_t + speed u_x = 0 on the unit square."""
    equation = js.Equation(lambda u, speed: u.t + speed * u.x + 0 * u.y.y, name="transported")
    return js.Problem(equation, js.Box(t=(0, 1), x=(0, 1), y=(0, 1)), coefficients={"speed": 1.0}, initial={"u": 0})


def test_the_well_to_trajectories_with_numbers(path):
    with h5py.File(well(path), "r+") as file:
        del file["t1_fields"]
    data = open_dataset(path).trajectories(transported(), rename={"buoyancy": "u", "Rayleigh": "speed"})
    np.testing.assert_array_equal(data.numbers["speed"], [0, 1e3, 2e3])
    assert data.fields.shape == (RUNS, SAVES, 1, N, N - 2)
    assert isinstance(data.fields, jnp.ndarray)


# --- what is refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x-coordinate": None}, "as pdebench it should have .*x-coordinate"),
        ({"x-coordinate": CENTRES[:-1]}, r"tensor has shape \(3, 5, 8\), and by its coordinates it should have \(3, 5, 7\)"),
        ({"t-coordinate": T**2}, "times of the saves must be two or more, increasing and evenly spaced"),
        ({"t-coordinate": T[:3]}, "tensor has shape"),
        ({"tensor": np.zeros((RUNS, SAVES, N), int)}, "tensor holds int64, and fields are floating point"),
        ({"tensor": None, "numbers": T}, "none of the layouts .*'numbers'"),
    ],
)
def test_files_that_lack_something_say_what(path, changed, message):
    with pytest.raises(ValueError, match=message):
        open_dataset(tensor(path, **changed))


def test_what_is_no_data_set_is_refused_in_one_sentence(path, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.hdf5 does not exist"):
        open_dataset(path)
    path.write_text("x, u\n0, 1\n")
    with pytest.raises(ValueError, match="is not an HDF5 or NetCDF-4 file, or was cut short"):
        open_dataset(path)
    tensor(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match="was cut short"):
        open_dataset(path)
    with pytest.raises(ValueError, match=r"'the_wel' does not exist.*Did you mean 'the_well'"):
        open_dataset(tensor(tmp_path / "other.h5"), "the_wel")
    with pytest.raises(ValueError, match=r"as the_well it should have .*dimensions"):
        open_dataset(tmp_path / "other.h5", "the_well")


def test_runs_that_are_not_there(path):
    with pytest.raises(IndexError, match="run 3 is not there; there are 3"):
        open_dataset(tensor(path)).read([0, 3])
    with pytest.raises(ValueError, match="read forwards"):
        open_dataset(path).read(0, slice(None, None, -1))


def test_a_problem_of_another_kind_is_refused(path):
    data = open_dataset(well(path))
    with pytest.raises(ValueError, match=r"evolves 'u', and the file has 'buoyancy', 'velocity_x', 'velocity_y'; .*rename="):
        data.trajectories(transported())
    with pytest.raises(ValueError, match="'Reynolds' is not there"):
        data.trajectories(transported(), rename={"Reynolds": "speed"})
    with pytest.raises(ValueError, match="has the axes 'x', 'y', advection has 'x'"):
        data.trajectories(js.problems.advection(speed=1.0), rename={"buoyancy": "u"})
    larger = js.Problem(
        transported().equation, js.Box(t=(0, 1), x=(0, 2), y=(0, 1)), coefficients={"speed": 1}, initial={"u": 0}
    )
    with pytest.raises(ValueError, match="the axis x has the period 1 in the file and 2 in transported"):
        data.trajectories(larger, rename={"buoyancy": "u"})
    walls = open_dataset(well(path, "WALL"))
    with pytest.raises(ValueError, match="has no walls on the axis y, which has walls in the file"):
        walls.trajectories(transported(), rename={"buoyancy": "u"})


def test_points_between_walls_must_be_nodes(path):
    with pytest.raises(ValueError, match="must be the first and the last point"):
        open_dataset(tensor(path)).trajectories(js.problems.heat())


def test_fields_that_are_not_finite_name_their_run(path):
    fields = values(RUNS, SAVES, N)
    fields[1, 2, 3] = np.inf
    problem = js.problems.advection(speed=1.0)
    lower, upper = problem.domain["x"]
    data = open_dataset(tensor(path, tensor=fields, **{"x-coordinate": lower + (upper - lower) * CENTRES}))
    with pytest.raises(ValueError, match=r"run 1 is not finite .*runs="):
        data.trajectories(problem)
    assert len(data.trajectories(problem, runs=[0, 2])) == 2
