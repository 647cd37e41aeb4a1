"""The command line: what it prints and writes, and one line with status 2 for everything that cannot be run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci import cli
from jaxsci.compare.study_report import Gallery, StudyReport
from jaxsci.problems import CATALOGUE

CHEAP = ["compare", "heat", "--methods", "spectral"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """What the command sets for its process, other tests do not see."""
    import jax

    monkeypatch.chdir(tmp_path)
    double = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", double)


@pytest.fixture
def refused(capsys, tmp_path):
    """Runs a command that must fail: one line, status 2, nothing written."""

    def run(*arguments, match):
        before = sorted(tmp_path.rglob("*"))
        assert cli.main([str(a) for a in arguments]) == 2
        out, error = capsys.readouterr()
        assert error.startswith("jaxsci: ")
        assert error.count("\n") == 1
        assert error.endswith("\n")
        assert re.search(match, error), error
        assert "Traceback" not in out + error
        assert "Written" not in out
        assert sorted(tmp_path.rglob("*")) == before
        return out

    return run


# --- problems ----------------------------------------------------------------------------------------------------------------


def test_problems_lists_the_whole_catalogue(capsys):
    assert cli.main(["problems"]) == 0
    out, studies = capsys.readouterr().out.split("Studies of solver against surrogates")
    assert "kolmogorov\n    Two-dimensional turbulence" in studies
    blocks = {block.splitlines()[0]: block for block in out.strip().split("\n\n")}
    assert list(blocks) == sorted(CATALOGUE)
    for name, entry in CATALOGUE.items():
        assert repr(entry.build().equation) in blocks[name]
        assert f"source: {entry.source}" in blocks[name]
        for label, problem in entry.problems().items():
            assert re.search(rf"^ +{label}: +{problem.identity}", blocks[name], flags=re.M), (name, label)
    assert re.search(r"default: +\w{16}  viscosity = 0\.0031831\n +thick: +\w{16}  viscosity = 0\.01\n", blocks["burgers"])


# --- compare -----------------------------------------------------------------------------------------------------------------


def test_compare_prints_progress_and_a_table_and_writes_the_report(capsys, tmp_path):
    assert cli.main([*CHEAP, "--out", "deep/report"]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    assert out.startswith("heat: u_t - diffusivity*u_xx = 0 on Box(t=(0, 1), x=(0, 1)) with diffusivity=0.4\n")
    assert re.search(r"^\[ *\d+\.\d s\] spectral, n = 256: started$", out, flags=re.M)
    assert re.search(r"^spectral, n = 2048 +<= \de-1\d ", out, flags=re.M)
    folder = tmp_path / "deep" / "report"
    assert out.strip().endswith(
        f"Written: {os.path.join('deep', 'report', 'index.html')}, cost.png, fields.png, results.json"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["cost.png", "fields.png", "index.html", "results.json"]
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in found["rows"]] == ["spectral, n = 256", "spectral, n = 2048"]
    assert found["environment"]["precision"] == "float64"


@pytest.fixture
def asked(monkeypatch):
    """What `compare` would be asked, without the work."""
    calls = []

    def record(problem, methods, **options):
        calls.append((problem, methods, options))
        raise ValueError("not now")

    monkeypatch.setattr("jaxsci.compare.compare", record)

    def ask(*arguments):
        assert cli.main(["compare", *arguments]) == 2
        return calls[-1]

    return ask


def test_options_reach_the_comparison(asked):
    import jax

    problem, methods, options = asked("lorenz", "--set", "rho=15", "--set", "sigma=9.5", "--seed", "7", "--budget", "3.5")
    assert problem.coefficients == {"sigma": 9.5, "rho": 15.0, "beta": 8 / 3}
    assert list(methods) == ["adaptive Runge-Kutta", "random features", "neural network"]
    assert methods["neural network"].budget == 3.5
    assert options["key"] == jax.random.key(7)


def test_methods_are_those_that_apply_or_those_that_are_named(asked):
    assert list(asked("burgers")[1]) == ["spectral, n = 256", "spectral, n = 2048", "random features", "neural network"]
    assert list(asked("poisson")[1]) == ["spectral, n = 32", "spectral, n = 64", "random features", "neural network"]
    assert list(asked("burgers", "--methods", "neural,adaptive")[1]) == ["neural network", "adaptive Runge-Kutta"]


def test_a_method_that_cannot_does_not_lose_the_others_and_nothing_is_written_unasked(capsys, tmp_path):
    assert cli.main(["compare", "poisson", "--methods", "adaptive,spectral"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^adaptive Runge-Kutta +failed *$", out, flags=re.M)
    assert re.search(r"^adaptive Runge-Kutta failed: .*js\.Spectral", out, flags=re.M)
    assert re.search(r"^spectral, n = 64 +<= \de-1\d ", out, flags=re.M)
    assert "Written" not in out
    assert list(tmp_path.iterdir()) == []


def test_a_reference_from_a_file_scores_the_certified_one_too(capsys, tmp_path):
    x, y = np.linspace(0, 1, 9), np.linspace(0, 1, 3)
    np.savez("field.npz", x=x, y=y, u=1.01 * np.sin(np.pi * x)[:, None] * np.sin(np.pi * y))
    command = ["compare", "poisson", "--methods", "spectral", "--reference", "field.npz", "--out", "report"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert out.strip().splitlines()[-2] == "Errors against field.npz (27 points)."
    rows = json.loads((tmp_path / "report" / "results.json").read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows] == ["certified reference", "spectral, n = 32", "spectral, n = 64"]
    assert [row["error"] for row in rows] == pytest.approx([0.01 / 1.01] * 3, rel=1e-9)


@pytest.mark.slow
def test_python_m_jaxsci_is_the_same_command(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}  # not every stack has it installed
    command = [sys.executable, "-m", "jaxsci", "compare", "poisson", "--methods", "spectral", "--out", "report"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    found = json.loads((tmp_path / "report" / "results.json").read_text(encoding="utf-8"))
    assert found["environment"]["precision"] == "float64"  # the program switches it on by itself
    assert all(row["error"] < 1e-13 for row in found["rows"])
    command[4] = "poison"
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "Did you mean 'poisson'?" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--help"], ["problems", "compare"]),
        (["compare", "--help"], ["problem", "--out", "--reference", "--set", "--methods", "--budget", "--seed"]),
        (["compare", "--help"], ["--device", "--precision", "--resume", "--quick", "kolmogorov", ".toml"]),
    ],
)
def test_help_names_every_command_and_option(capsys, arguments, names):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert [name for name in names if name not in out] == []


def test_an_interrupt_is_one_line_too(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxsci.compare.compare", interrupt)
    assert cli.main(CHEAP) == 130
    assert capsys.readouterr().err == "jaxsci: stopped.\n"


def test_the_study_of_a_function_runs_and_is_written(monkeypatch, capsys, tmp_path):
    def small(scale):
        draw = np.random.default_rng(0).uniform(-1, 1, (32, 1))
        line = js.compare.Fit(lambda x, y, key: lambda z: z[:, 0])
        return js.compare.FunctionStudy("sine", {"sine": lambda x: jnp.sin(x[:, 0])}, draw, draw, {"line": line}, seeds=1,
                                        batches=(1,), quick=scale == "quick")  # fmt: skip

    monkeypatch.setitem(js.compare.FUNCTION_STUDIES, "e_coli_growth", small)
    assert cli.main(["compare", "e_coli_growth", "--quick", "--out", "report"]) == 0
    out = capsys.readouterr().out
    assert "line errs by" in out
    assert "jaxsci compare e_coli_growth --seed 0 --out report --quick" in out
    assert (tmp_path / "report" / "index.html").is_file()


def test_a_study_reaches_its_runner_and_a_half_finished_one_is_not_overwritten(monkeypatch, capsys, tmp_path):
    asked = []

    def record(study, **options):
        asked.append((study, options))
        options["folder"].mkdir(parents=True)
        raise ValueError("stopped here")

    monkeypatch.setattr("jaxsci.compare.study_command.run_study", record)
    arguments = ["compare", "advection_waves", "--quick", "--out", "report", "--seed", "3", "--budget", "5"]
    assert cli.main(arguments) == 2
    study, options = asked[0]
    assert study.name == "advection_waves"
    assert (options["seed"], options["budget"], options["resume"]) == (3, 5.0, False)
    assert cli.main(arguments) == 2
    assert "go on with it by --resume" in capsys.readouterr().err
    assert len(asked) == 1


OWN = """
[problem]
equation = "u.t + speed * u.x = 0"
domain = {t = [0, 1], x = [0, 6.283185307179586]}
coefficients = {speed = 1.0}
[starts]
u = {kind = "random_fourier_series", cutoff = 4}
[study]
truth = {n = 128, dt = 0.05}
ladder = [12, 16, 24, 32, 48]
n = 32
dt = 0.1
steps = 10
[surrogates.FNO]
network = "FNO"
modes = [8]
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("[study]", '[study]\ndata = "gone.h5"'), r"own.toml: \[study\] data: .*gone.h5"),
        (OWN.replace("[study]", '[study]\nscored = "own.toml"'), r"own.toml: \[study\] scored: .*own.toml"),
        (OWN + 'numbers = ["sped"]', r"\[surrogates.FNO\], numbers: coefficient 'sped' does not exist.* 'speed'"),
    ],
)
def test_what_a_study_file_gets_wrong_is_found_before_the_work(refused, tmp_path, text, message):
    (tmp_path / "own.toml").write_text(text)
    refused("compare", "own.toml", "--out", "report", match=message)
    assert not (tmp_path / "report").exists()


def test_a_study_file_whose_data_need_a_package_says_which(refused, monkeypatch, tmp_path):
    (tmp_path / "own.toml").write_text(OWN.replace("[study]", '[study]\ndata = "runs.h5"'))
    (tmp_path / "runs.h5").write_bytes(b"whatever")
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused("compare", "own.toml", match=r"own.toml: \[study\] data: .*needs h5py. Install it with: pip install")


def test_a_study_without_a_verdict_has_status_1(monkeypatch, capsys):
    def nothing(study, **options):
        problem = study.family(jax.random.key(0))
        return StudyReport("none", problem, {}, np.arange(2), "a fine grid", 0.1, (), (), (),
                           Gallery("u", np.arange(3), {}, np.zeros(3), {}), {})  # fmt: skip

    monkeypatch.setattr("jaxsci.compare.study_command.run_study", nothing)
    assert cli.main(["compare", "advection_waves", "--quick"]) == 1
    assert "No surrogate was judged." in capsys.readouterr().out


def test_a_study_that_is_stopped_says_how_to_go_on(monkeypatch, capsys):
    def stop(study, *, folder, **_):
        folder.mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxsci.compare.study_command.run_study", stop)
    assert cli.main(["compare", "advection_waves", "--quick", "--out", "report"]) == 130
    assert capsys.readouterr().err == "jaxsci: stopped; go on with the same command and --resume.\n"


def test_the_doctor_says_what_there_is(capsys):
    assert cli.main(["doctor", "--quick"]) == 0
    out = capsys.readouterr().out
    assert "jax" in out
    assert "cpu" in out


# --- what cannot be run ------------------------------------------------------------------------------------------------------


BAD = {
    "no command": ([], "the following arguments are required: COMMAND"),
    "unknown command": (["solve"], "invalid choice: 'solve'"),
    "no problem": (["compare"], "the following arguments are required: problem"),
    "unknown problem": (["compare", "burger"], "problem 'burger' does not exist; there is .* Did you mean 'burgers'"),
    "problem and a word too many": (["compare", "heat", "wave"], "unrecognized arguments: wave"),
    "unknown option": ([*CHEAP, "--fast"], "unrecognized arguments: --fast"),
    "no methods": (["compare", "heat", "--methods", ""], "--methods : '' is none of spectral, adaptive, features, neural"),
    "a comma too many": (["compare", "heat", "--methods", "spectral,"], "--methods spectral,: '' is none of spectral"),
    "unknown method": (
        ["compare", "heat", "--methods", "Spectral"],
        "'Spectral' is none of spectral, adaptive, features, neural",
    ),
    "set without a value": ([*CHEAP, "--set", "diffusivity"], "--set diffusivity: write NAME=VALUE"),
    "set an unknown name": (
        [*CHEAP, "--set", "diffusvity=1"],
        "coefficient 'diffusvity' does not exist.* mean 'diffusivity'",
    ),
    "set no number": ([*CHEAP, "--set", "diffusivity=fast"], "--set diffusivity=fast: 'fast' is no number"),
    "set nothing": ([*CHEAP, "--set", "diffusivity="], "--set diffusivity=: '' is no number"),
    "set nan": ([*CHEAP, "--set", "diffusivity=nan"], "--set diffusivity=nan: a finite number is needed"),
    "set infinity": ([*CHEAP, "--set", "diffusivity=-inf"], "--set diffusivity=-inf: a finite number is needed"),
    "set what has no coefficients": (
        ["compare", "poisson", "--set", "k=1"],
        "coefficient 'k' does not exist; there is none",
    ),
    "negative budget": ([*CHEAP, "--budget", "-1"], r"--budget -1\.0: a positive number of seconds is needed"),
    "budget nan": ([*CHEAP, "--budget", "nan"], "--budget nan: a positive number"),
    "budget in words": ([*CHEAP, "--budget", "long"], "argument --budget: invalid float value: 'long'"),
    "seed in parts": ([*CHEAP, "--seed", "1.5"], r"argument --seed: invalid int value: '1\.5'"),
    "seed too large": ([*CHEAP, "--seed", str(10**30)], "--seed 1000000000000000000000000000000: the number is too large"),
    "out without a name": ([*CHEAP, "--out", ""], "--out: the folder has no name"),
    "reference without a name": ([*CHEAP, "--reference", ""], "--reference: the file has no name"),
    "a device that is not here": ([*CHEAP, "--device", "tpu:7"], "--device tpu:7: it is not here; there is cpu:0"),
    "a study's option": ([*CHEAP, "--resume"], "--resume is for studies"),
    "a problem's option": (["compare", "kolmogorov", "--set", "viscosity=1"], "--set is for problems of the catalogue"),
    "an option of studies of trajectories": (
        ["compare", "e_coli_growth", "--budget", "9"],
        "--budget is not for e_coli_growth, the study of a function",
    ),
    "a study that is no file": (["compare", "gone.toml"], "gone.toml: no such file"),
    "resume without a folder": (["compare", "kolmogorov", "--resume", "--out", ""], "--out: the folder has no name"),
    "reference that is not there": ([*CHEAP, "--reference", "gone.npz"], r"gone\.npz: no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2(refused, case):
    arguments, message = BAD[case]
    refused(*arguments, *(["--out", "report"] if arguments and "--out" not in arguments else []), match=message)


def test_a_file_where_the_report_should_go_is_found_before_the_work(refused, tmp_path):
    (tmp_path / "taken").write_text("mine")
    for out in ("taken", "taken/report", "taken/deep/report"):
        printed = refused(*CHEAP, "--out", out, match=f"--out {out}: .*taken is a file; give a folder")
        assert "started" not in printed
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_found_before_the_work(refused, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    printed = refused(*CHEAP, "--out", "locked/report", match="locked may not be written to")
    assert "started" not in printed


def test_a_disk_that_is_full_at_the_end_is_one_line_too(refused, monkeypatch):
    class Done:
        def table(self):
            return "the table"

        def save(self, folder):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("jaxsci.compare.compare", lambda *_, **__: Done())
    printed = refused(*CHEAP, "--out", "report", match="cannot write to report: No space left on device")
    assert "the table" in printed, "what was computed is shown all the same"


def test_without_matplotlib_the_cure_comes_before_the_work(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    printed = refused(*CHEAP, "--out", "report", match=r'Pictures need matplotlib.*pip install "jaxsci\[plot\]"')
    assert "started" not in printed


def test_coefficients_without_a_finite_reference_are_refused(refused):
    # Cole-Hopf takes the root of the viscosity
    command = ["compare", "burgers", "--methods", "spectral", "--set", "viscosity=-1", "--out", "report"]
    refused(*command, match="burgers: the reference is not finite; are the coefficients those of a well-posed problem")


def comsol(times="t=0", last="1 0\n"):
    return f"% Nodes: 2\n% X u (1) @ {times}\n0 0\n{last}"


BAD_FILES = {
    "binary.dat": (bytes(range(256)), "not a text file"),
    "binary.npz": (bytes(range(256)), "not a readable .npz file"),
    "binary.h5": (bytes(range(256)), "not a readable HDF5 file"),
    "empty.dat": (b"", "the file is empty"),
    "cut.dat": (comsol(last="").encode(), "announces 2 rows, the file has 1"),
    "nan.dat": (comsol(last="1 NaN\n").encode(), "1 of 2 values are NaN or infinite"),
    "late.dat": (comsol(times="t=5").encode(), r"coordinate t runs over \[5, 5\], outside \[0, 1\]"),
    "field.mat": (b"MATLAB", "the suffix '.mat' is none of"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_reference_files_are_one_line_and_status_2(refused, tmp_path, name):
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    refused(*CHEAP, "--reference", name, "--out", "report", match=f"{name}: .*{message}")


def test_folders_and_fields_of_other_problems_are_refused_as_references(refused, tmp_path):
    for suffix in ("dat", "npz", "h5"):
        (tmp_path / f"folder.{suffix}").mkdir()
        refused(*CHEAP, "--reference", f"folder.{suffix}", match="this is a folder; a file is needed")
    with h5py.File("poisson.h5", "w") as file:
        file["x"] = file["y"] = np.linspace(0, 1, 3)
        file["u"] = np.zeros((3, 3))
    refused(*CHEAP, "--reference", "poisson.h5", match=r"expected the coordinates 't', 'x' .* found 'u', 'x', 'y'")


def test_a_file_for_another_problem_is_refused(refused, shared):
    file = shared / "comsol" / "burgers1d.dat"
    refused(*CHEAP, "--reference", file, match=r"coordinate x runs over \[-1, 1\], outside \[0, 1\] of heat")
    refused("compare", "poisson", "--reference", file, match="its coordinates are 'x', those of poisson are 'x', 'y'")
    refused("compare", "wave", "--reference", shared / "comsol" / "ns2d.dat", match="its coordinates are 'x', 'y'")


def test_a_comparison_without_any_result_has_status_1(capsys):
    assert cli.main(["compare", "poisson", "--methods", "adaptive"]) == 1
    out, error = capsys.readouterr()
    assert error == ""
    assert re.search(r"^adaptive Runge-Kutta failed: .*js\.Spectral", out, flags=re.M)
