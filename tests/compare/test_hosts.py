"""Devices and hosts of a study: who computes, and that all of them come to know the same."""

import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxsci._command import BadInput
from jaxsci.compare import hosts
from jaxsci.compare.comparison import environment

TINY = """
[problem]
equation = "u.t + u * u.x = viscosity * u.xx"
domain = {t = [0, 1], x = [0, 6.283185307179586]}
coefficients = {viscosity = [0.1, 0.2]}
[starts]
u = {kind = "random_fourier_series", cutoff = 3, rms = 1.0}
[study]
truth = {n = 48, dt = 0.05}
ladder = [8, 10, 12, 16, 20]
n = 16
dt = 0.1
steps = 3
starts = 4
probes = 2
seeds = 2
training_runs = 9
batches = [1]
quick = true
[surrogates.FNO]
network = "FNO"
modes = [3]
channels = 4
layers = 1
numbers = ["viscosity"]
training = {steps = 30, batch = 8}
"""


def run(folder, *more, devices=1, **others):
    """The command on the tiny study, as a process of its own."""
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    program = "import sys; from jaxsci.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", program, *more], cwd=folder, env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **others,
    )  # fmt: skip


def results(folder):
    found = json.loads((folder / "results.json").read_text())
    return found, {(m["name"], m["detail"]): np.asarray(m["errors"]) for m in found["measurements"]}


def the_same(one, other):
    """Solvers, baselines and surrogates, but for round-off."""
    assert set(one) == set(other)
    for name, errors in one.items():
        np.testing.assert_allclose(other[name], errors, rtol=1e-3, err_msg=str(name))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder with the study, and its report by one device."""
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "tiny.toml").write_text(TINY)
    done = run(folder, "compare", "tiny.toml", "--out", "one")
    out, error = done.communicate(timeout=1200)
    assert done.returncode == 0, error[-2000:] + out[-2000:]
    return folder


@pytest.mark.slow
def test_four_devices_make_the_report_of_one(alone):
    done = run(alone, "compare", "tiny.toml", "--out", "four", devices=4)
    out, error = done.communicate(timeout=1200)
    assert done.returncode == 0, error[-2000:]
    found, errors = results(alone / "four")
    the_same(results(alone / "one")[1], errors)
    assert found["settings"]["devices"] == {"the data": 4, "FNO": 4}
    assert "the data on 4, FNO on 4" in " ".join(out.split())
    assert found["environment"]["device"] == "cpu:0: cpu"
    alone_again = run(alone, "compare", "tiny.toml", "--out", "third", "--device", "cpu:2", devices=4)
    told = alone_again.communicate(timeout=1200)[1]
    assert alone_again.returncode == 0, told[-2000:]
    found, errors = results(alone / "third")
    the_same(results(alone / "one")[1], errors)
    assert found["environment"]["device"] == "cpu:2: cpu"
    assert set(found["settings"]["devices"].values()) == {1}


@pytest.mark.slow
def test_two_processes_make_the_report_of_one(alone):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    both = [
        run(alone, "sweep", "tiny.toml", "--out", "two", "--distributed", f"localhost:{port},2,{i}", devices=2)
        for i in (0, 1)
    ]
    told = [done.communicate(timeout=1800) for done in both]
    assert [done.returncode for done in both] == [0, 0], [error[-2000:] for _, error in told]
    assert "1 of 1 done" in told[0][0]
    assert told[1][0] == "" or "done" not in told[1][0]  # the second says nothing of its own
    found, errors = results(alone / "two" / "tiny, seed 0" / "report")
    the_same(results(alone / "one")[1], errors)
    assert found["settings"]["devices"] == {"the data": 4, "FNO": 4}
    assert found["settings"]["hosts"] == 2
    assert not list((alone / "two").rglob("*.tmp"))


# --- without other processes ---------------------------------------------------------------------------------------------------


def mesh_like(*counts):
    """As many devices on each host."""
    devices = [SimpleNamespace(process_index=i, name=f"{i}:{k}") for i, count in enumerate(counts) for k in range(count)]
    return SimpleNamespace(devices=np.asarray(devices, object), axis_names=("batch",))


@pytest.fixture
def meshes(monkeypatch):
    monkeypatch.setattr(hosts, "Mesh", lambda devices, names: [d.name for d in devices])


@pytest.mark.parametrize(
    ("counts", "batch", "expected"),
    [
        ((4,), 32, ["0:0", "0:1", "0:2", "0:3"]),
        ((4,), 6, ["0:0", "0:1", "0:2"]),
        ((4,), 5, None),
        ((2, 2), 32, ["0:0", "0:1", "1:0", "1:1"]),
        ((2, 2), 6, ["0:0", "1:0"]),
    ],
)
def test_as_many_devices_train_as_divide_the_batch(meshes, counts, batch, expected):
    assert hosts.part_of(mesh_like(*counts), batch) == expected


def test_a_batch_that_hosts_cannot_share_is_refused(meshes):
    with pytest.raises(ValueError, match="batch of 5 cannot be divided among 2 hosts"):
        hosts.part_of(mesh_like(1, 1), 5)
    assert hosts.part_of(None, 5) is None
    assert hosts.part_here(None) is None
    assert not hosts.spans_hosts(mesh_like(4))
    assert hosts.spans_hosts(mesh_like(1, 1))


@pytest.mark.parametrize(("count", "processes"), [(8, 2), (9, 2), (9, 4), (8, 3), (100, 7)])
def test_every_run_is_made_by_one_process_and_two_at_least_by_each(monkeypatch, count, processes):
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    made = []
    for i in range(processes):
        monkeypatch.setattr(jax, "process_index", lambda i=i: i)
        share = hosts.share_of(count)
        assert share is not None
        assert share.stop - share.start >= 2
        made += range(count)[share]
    assert made == list(range(count))
    assert hosts.share_of(2 * processes - 1) is None


def test_what_one_process_raises_is_told_and_raised_again():
    def fails():
        raise BadInput("the cure")

    told, raised = hosts._outcome(fails)
    with pytest.raises(BadInput, match="the cure"):
        hosts._taken(told, None)
    assert isinstance(raised, BadInput)
    told, _ = hosts._outcome(lambda: {}["gone"])
    with pytest.raises(RuntimeError, match="gone"):
        hosts._taken(told, None)
    assert hosts._taken(*hosts._outcome(lambda: b"+-")) == b"+-"
    assert hosts.agree([1, "a"]) == [1, "a"]
    assert hosts.all_say(lambda: b"x") == [b"x"]


@pytest.mark.parametrize(
    ("given", "said"),
    [("localhost,2,0", "got 'localhost,2,0'"), ("a:1,2,2", "number is from 0"), ("a:1,2", "HOST:PORT,PROCESSES,NUMBER")],
)
def test_who_the_hosts_are_must_be_said_well(given, said):
    with pytest.raises(BadInput, match=said):
        hosts.join_hosts(given)


def test_devices_are_named_by_platform_and_number():
    assert hosts.device_named("cpu") == hosts.device_named("cpu:0") == jax.local_devices(backend="cpu")[0]
    for bad in ("cpu:7", "cpu:-1", "cpu:x", "abacus"):
        with pytest.raises(BadInput, match=f"--device {bad}: it is not here; there is cpu:0"):
            hosts.device_named(bad)
    assert hosts.mesh_of("cpu:0") is None
    assert environment()["device"].startswith("cpu")
