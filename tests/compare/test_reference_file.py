"""Reference fields from files: good ones score as they should, bad ones give one line that names the file and the fault."""

import functools
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import jaxsci as js
from jaxsci.compare import ReferenceFileError, read_reference

HEAT = js.problems.heat()  # t and x in [0, 1]
POISSON = js.problems.poisson()
PAIR = js.problems.navier_stokes_vorticity()
T, X = np.array([0.0, 0.125, 0.5, 1.0]), np.linspace(0, 1, 6) ** 2  # not even
U = np.exp(-(np.pi**2) * 0.4 * T[:, None]) * np.sin(np.pi * X)
ARRAYS = {"t": T, "x": X, "u": U}
HIGHEST = np.arange(U.size).reshape(U.shape) == U.argmax()


def comsol(x=X, times=T, values=U, name="u", head="X", **facts):
    """A COMSOL text export of one field."""
    facts = {"Model": "heat.mph", "Version": "COMSOL 6.0", "Nodes": len(x), "Expressions": len(times)} | facts
    lines = [f"% {key + ':':20s}{value}" for key, value in facts.items()]
    lines.append("% " + head.ljust(26) + "".join(f"{name} (1) @ t={t:.10g}".ljust(25) for t in times))
    lines += ["".join(f"{v:.17g}".ljust(25) for v in (x[i], *values[:, i])) for i in range(len(x))]
    return "\n".join(lines) + "\n"


def write_npz(path, arrays):
    np.savez(path, **arrays)


def write_hdf5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.create_group("notes")  # groups are passed over


def write_xarray(path, arrays, **attributes):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("zarr" if path.suffix == ".zarr" else "netCDF4")
    order = [name for name in ("t", "x", "y") if name in arrays]
    fields = {name: (order, array) for name, array in arrays.items() if name not in order}
    dataset = xarray.Dataset(fields, {name: (name, arrays[name], attributes.get(name, {})) for name in order})
    dataset.to_zarr(path, consolidated=False) if path.suffix == ".zarr" else dataset.to_netcdf(path)


WRITERS = {".npz": write_npz, ".h5": write_hdf5, ".hdf5": write_hdf5, ".nc": write_xarray, ".zarr": write_xarray}


def written(tmp_path, suffix, arrays):
    path = tmp_path / f"field{suffix}"
    WRITERS[suffix](path, arrays)
    return path


# --- good files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.filterwarnings("ignore:.*numpy.ndarray size changed:RuntimeWarning")
def test_arrays_by_name_are_read_as_they_are(tmp_path, suffix):
    found = read_reference(written(tmp_path, suffix, ARRAYS), HEAT)
    assert found.unknowns == ("u",)
    assert found.shape == (4, 6)
    np.testing.assert_allclose(found.values.reshape(4, 6), U, rtol=1e-15)
    np.testing.assert_allclose(found.points[:, 0].reshape(4, 6), np.broadcast_to(T[:, None], (4, 6)))
    np.testing.assert_allclose(found.points[:, 1].reshape(4, 6), np.broadcast_to(X, (4, 6)))
    assert js.relative_l2(HEAT.reference(), found) < 1e-14


def test_a_comsol_export_is_read_as_it_is(tmp_path):
    for suffix in (".dat", ".txt"):
        (tmp_path / f"field{suffix}").write_text(comsol())
        found = read_reference(tmp_path / f"field{suffix}", HEAT)
        assert found.shape == (4, 6)
        np.testing.assert_allclose(found.values.reshape(4, 6), U, rtol=1e-15)
        assert js.relative_l2(HEAT.reference(), found) < 1e-14


def test_a_comsol_export_with_commas_or_a_byte_order_mark_is_read(tmp_path):
    head, body = comsol().split("%", 8)[:-1], comsol().splitlines()
    assert head  # the header stays as it is
    commas = "\n".join(line if line.startswith("%") else ",".join(line.split()) for line in body)
    (tmp_path / "field.csv").write_text("\ufeff" + commas, encoding="utf-8")
    np.testing.assert_allclose(read_reference(tmp_path / "field.csv", HEAT).values.ravel(), U.ravel(), rtol=1e-15)


def test_a_steady_field_on_scattered_nodes_is_read_without_times(tmp_path):
    random = np.random.default_rng(0).uniform(size=(9, 2))
    u = np.sin(np.pi * random[:, 0]) * np.sin(np.pi * random[:, 1])
    rows = "\n".join(f"{x} {y} {v}" for (x, y), v in zip(random, u, strict=True))
    (tmp_path / "field.dat").write_text(f"% Nodes: 9\n% x y u (1)\n{rows}\n")
    found = read_reference(tmp_path / "field.dat", POISSON)
    assert found.shape is None
    np.testing.assert_allclose(found.points, random)
    assert js.relative_l2(POISSON.reference(), found) < 1e-14


def test_nodes_in_any_order_are_points_and_no_grid(tmp_path):
    order = [3, 0, 5, 1, 4, 2]
    (tmp_path / "field.dat").write_text(comsol(X[order], values=U[:, order]))
    found = read_reference(tmp_path / "field.dat", HEAT)
    assert found.shape is None
    assert js.relative_l2(HEAT.reference(), found) < 1e-14


def test_coordinates_that_run_down_are_turned(tmp_path):
    found = read_reference(written(tmp_path, ".npz", {"t": T[::-1], "x": X[::-1], "u": U[::-1, ::-1]}), HEAT)
    np.testing.assert_array_equal(found.values.reshape(4, 6), U)
    assert (np.diff(found.points.reshape(4, 6, 2)[:, 0, 0]) > 0).all()


def test_other_arrays_and_lower_precision_do_not_disturb(tmp_path):
    arrays = {"t": T.astype(np.float32), "x": X, "u": U.astype(np.float32), "notes": np.array("hello"), "v": np.zeros(3)}
    found = read_reference(written(tmp_path, ".npz", arrays), HEAT)
    assert found.values.dtype == float
    np.testing.assert_allclose(found.values.reshape(4, 6), U, atol=1e-7)


def test_one_of_several_unknowns_is_enough(tmp_path):
    axes = {"t": np.array([0.0, 1.0]), "x": np.linspace(0, 6, 3), "y": np.linspace(0, 6, 4)}
    t, x, y = np.meshgrid(*axes.values(), indexing="ij")
    psi = np.cos(x) * np.cos(y) * np.exp(-0.02 * t)
    found = read_reference(written(tmp_path, ".h5", axes | {"psi": psi}), PAIR)
    assert found.unknowns == ("psi",)
    assert found.shape == (2, 3, 4)
    assert js.relative_l2(PAIR.reference(), found) < 1e-14


def test_round_off_at_the_walls_is_forgiven(tmp_path):
    found = read_reference(written(tmp_path, ".npz", {"t": T + 1e-9, "x": X * (1 + 1e-8) - 1e-9, "u": U}), HEAT)
    assert ((found.points >= 0) & (found.points <= 1)).all()


def test_netcdf_times_with_a_unit_stay_numbers_and_dimensions_may_come_in_any_order(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    dataset = xarray.Dataset({"u": (("x", "t"), U.T)}, {"x": X, "t": ("t", T, {"units": "seconds since 2000-01-01"})})
    dataset.to_netcdf(tmp_path / "field.nc")
    np.testing.assert_allclose(read_reference(tmp_path / "field.nc", HEAT).values.reshape(4, 6), U, rtol=1e-15)


# --- bad files: one line that names the file and the fault -----------------------------------------------------------------


def refused(path, problem, message):
    with pytest.raises(ReferenceFileError, match=message) as caught:
        read_reference(path, problem)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text


BAD_TEXT = {
    "no header": ("0 1 2\n", "no header; a COMSOL export begins with lines that start with %"),
    "header alone": ("".join(f"{line}\n" for line in comsol().splitlines()[:5]), "a header, but no data below it"),
    "no field": ("% X  Y\n0 1\n", "the last header line names no field like 'u \\(1\\)': 'X  Y'"),
    "cut between rows": ("\n".join(comsol().splitlines()[:-2]), "announces 6 rows, the file has 4; is it truncated"),
    "cut within a row": (comsol()[:-60], "data row 6 has . columns, the header names 5"),
    "a column too few": (comsol(Expressions=5), "announces 5 columns of values, the file has 4"),
    "a word": (comsol().replace("\n0 ", "\nzero ", 1), "data row 1 holds something that is no number"),
    "nan": (comsol(values=np.where(HIGHEST, np.nan, U)), "1 of 24 values are NaN or infinite"),
    "infinite": (comsol(values=np.where(HIGHEST, np.inf, U)), "1 of 24 values are NaN or infinite"),
    "nan among the coordinates": (comsol(x=np.where(X == 0, np.nan, X)), "coordinates are NaN or infinite"),
    "wrong name": (comsol(name="T"), "the field 'T' is no unknown of heat: 'u'"),
    "wrong coordinate": (comsol(head="Y"), "its coordinates are 'y', those of heat are 'x'"),
    "too many coordinates": (comsol(head="X Y"), "its coordinates are 'x', 'y', those of heat are 'x'"),
    "outside in space": (comsol(x=2 * X), r"coordinate x runs over \[0, 2\], outside \[0, 1\] of heat"),
    "outside in time": (comsol(times=T + 1), r"coordinate t runs over \[1, 2\], outside \[0, 1\] of heat"),
    "a time twice": (comsol(times=[0, 0.5, 0.5, 1]), "the header names u at t = 0.5 twice"),
    "a time that is none": (comsol().replace("t=1 ", "t=1e-"), "the header holds a time that is no number: '1e-'"),
    "no times": ("% X u (1)\n0 0\n1 0\n", r"heat wants a time in each column, as in 'u \(1\) @ t=0\.1'"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_comsol_exports(tmp_path, case):
    content, message = BAD_TEXT[case]
    (tmp_path / "field.dat").write_text(content)
    refused(tmp_path / "field.dat", HEAT, message)


def test_times_of_a_steady_problem_and_fields_at_different_times(tmp_path):
    (tmp_path / "field.dat").write_text("% x y u (1) @ t=0\n0 0 0\n")
    refused(tmp_path / "field.dat", POISSON, "poisson wants none, as it is steady")
    (tmp_path / "field.dat").write_text("% x y w (1) @ t=0 psi (1) @ t=1\n0 0 0 0\n")
    refused(tmp_path / "field.dat", PAIR, "the fields 'w', 'psi' are given at different times")


BAD_ARRAYS = {
    "no unknown": ({"t": T, "x": X, "w": U}, "at least one of the unknowns 'u'; found 't', '[xw]', '[xw]'"),
    "no coordinate": ({"x": X, "u": U}, "expected the coordinates 't', 'x' .* found '[xu]', '[xu]'"),
    "transposed": ({"t": T, "x": X, "u": U.T}, r"u has shape \(6, 4\), expected \(4, 6\), the lengths of 't', 'x'"),
    "one value too few": ({"t": T, "x": X[:-1], "u": U}, r"u has shape \(4, 6\), expected \(4, 5\)"),
    "a mesh for an axis": (
        {"t": T, "x": np.broadcast_to(X, (4, 6)), "u": U},
        r"coordinate x must be 1-D, got shape \(4, 6\)",
    ),
    "a number for an axis": ({"t": np.array(0.0), "x": X, "u": U}, r"coordinate t must be 1-D, got shape \(\)"),
    "complex": ({"t": T, "x": X, "u": U + 0j}, "u must hold real numbers, got dtype complex128"),
    "words": ({"t": T, "x": X, "u": U.astype("S8")}, r"u must hold real numbers, got dtype \|S8"),
    "yes and no": ({"t": T, "x": X, "u": U > 0}, "u must hold real numbers, got dtype bool"),
    "nothing": ({"t": T[:0], "x": X, "u": U[:0]}, "there are no values in it"),
    "nan": ({"t": T, "x": X, "u": np.where(U < 0.5, np.nan, U)}, r"\d+ of 24 values are NaN or infinite"),
    "nan among the coordinates": ({"t": T * np.nan, "x": X, "u": U}, "24 of 48 coordinates are NaN or infinite"),
    "a coordinate twice": ({"t": T, "x": X[[0, 1, 2, 2, 3, 4]], "u": U}, "the coordinate x holds the same number twice"),
    "outside": ({"t": T, "x": X - 0.5, "u": U}, r"coordinate x runs over \[-0\.5, 0\.5\], outside \[0, 1\] of heat"),
}


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays(tmp_path, suffix, case):
    arrays, message = BAD_ARRAYS[case]
    refused(written(tmp_path, suffix, arrays), HEAT, message)


@pytest.mark.parametrize("case", ["no unknown", "nan", "outside", "nothing"])
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_bad_datasets(tmp_path, suffix, case):
    arrays, message = BAD_ARRAYS[case]
    if case == "no unknown":
        message = "found 't', 'x'"  # what is no unknown is not read at all
    refused(written(tmp_path, suffix, arrays), HEAT, message)


def test_a_dataset_with_other_dimensions(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    xarray.Dataset({"u": (("time", "x"), U)}, {"time": T, "x": X}).to_netcdf(tmp_path / "field.nc")
    refused(tmp_path / "field.nc", HEAT, "u has the dimensions 'time', 'x', expected 't', 'x'")


SUFFIXES = [".dat", ".txt", ".csv", ".npz", ".h5", ".hdf5", ".nc", ".zarr"]


def skip_without_readers(suffix):
    if suffix in (".nc", ".zarr"):
        pytest.importorskip("xarray")
        pytest.importorskip("zarr" if suffix == ".zarr" else "netCDF4")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_none_is_empty_or_is_a_folder(tmp_path, suffix):
    skip_without_readers(suffix)
    path = tmp_path / f"field{suffix}"
    refused(path, HEAT, "no such file")
    path.write_bytes(b"")
    refused(path, HEAT, "the file is empty")
    path.unlink()
    path.mkdir()
    refused(path, HEAT, "cannot read it" if suffix == ".zarr" else "this is a folder; a file is needed")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_binary_garbage(tmp_path, suffix):
    skip_without_readers(suffix)
    path = tmp_path / f"field{suffix}"
    path.write_bytes(np.random.default_rng(0).bytes(3000))
    refused(path, HEAT, "not a text file|not a readable|cannot read it")


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    (tmp_path / "field.mat").write_bytes(b"x")
    refused(tmp_path / "field.mat", HEAT, "the suffix '.mat' is none of '.dat', '.txt', '.csv', '.npz', '.h5'")


def test_pickled_objects_are_not_loaded(tmp_path):
    np.savez(tmp_path / "field.npz", t=T, x=X, u=np.array([print, None], dtype=object))
    refused(tmp_path / "field.npz", HEAT, "not a readable .npz file")


@pytest.mark.parametrize(("suffix", "module"), [(".h5", "h5py"), (".nc", "xarray"), (".zarr", "xarray")])
def test_a_missing_reader_is_named_with_the_way_to_get_it(tmp_path, monkeypatch, suffix, module):
    (tmp_path / f"field{suffix}").write_bytes(b"x")
    monkeypatch.setitem(__import__("sys").modules, module, None)
    refused(tmp_path / f"field{suffix}", HEAT, rf'reading it needs {module}\. Install it with: pip install "jaxsci\[data\]"')


# --- files cut or changed anywhere -----------------------------------------------------------------------------------------


@functools.cache
def good_bytes(suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"field{suffix}"
        path.write_text(comsol()) if suffix == ".dat" else WRITERS[suffix](path, ARRAYS)
        return path.read_bytes()


def read_or_refuse(suffix, content):
    """The samples, or None after one line; any other exception passes and fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"field{suffix}"
        path.write_bytes(content)
        try:
            return read_reference(path, HEAT)
        except ReferenceFileError as error:
            message = str(error)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return None


ANYWHERE = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("suffix", [".dat", ".npz", ".h5"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(share=ANYWHERE)
@example(share=0.999)
def test_a_file_cut_anywhere_is_refused_in_one_line(suffix, share):
    whole = good_bytes(suffix)
    found = read_or_refuse(suffix, whole[: int(share * len(whole))])
    if found is not None:  # what may be missing is the end of the last number, or padding
        assert share > 0.95
        np.testing.assert_allclose(found.values.ravel()[:-1], U.ravel()[:-1], rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("suffix", [".dat", ".npz", ".h5"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(places=st.lists(st.tuples(ANYWHERE, st.integers(0, 255)), min_size=1, max_size=5))
def test_a_file_with_changed_bytes_is_read_or_refused_in_one_line(suffix, places):
    content = bytearray(good_bytes(suffix))
    for share, byte in places:
        content[int(share * len(content))] = byte
    found = read_or_refuse(suffix, bytes(content))
    assert found is None or np.isfinite(found.values).all()
