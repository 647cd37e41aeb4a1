"""One field on several devices, and batches: the same numbers as on one, without gathering a field anywhere.

Devices are made from one processor in processes of their own; each checks itself against one device and prints what it found.
"""

import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.solvers.slabs import SlabTorus
from jaxsci.solvers.torus import Axis, Torus

PROBLEM = js.problems.vortex_mixing()


def environment(devices):
    flags = f"--xla_force_host_platform_device_count={devices}"
    return os.environ | {"XLA_FLAGS": flags, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}


_COMMON = """
import json, re, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
import jaxsci as js

def difference(a, b):
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max() / np.abs(np.asarray(y)).max())
               for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))

def collectives(compiled):
    text = compiled.as_text()
    names = ("all-to-all", "all-gather", "collective-permute")
    return {name: len(re.findall(rf" {name}(-start)?[(]", text)) for name in names}

def of_one_device(array):
    (shape,) = {shard.data.shape for shard in array.addressable_shards}
    return list(shape)
"""

_SLABS = """
def compare(problem, n, order, steps, coefficient):
    meshes = None, jax.make_mesh((8,), ("slabs",))
    one, many = (js.stepper(problem, js.Spectral(n, order=order, dt=0.02, mesh=mesh)) for mesh in meshes)

    def loss(x, stepper):
        start = stepper.initial()
        start, stepper = (start, stepper.with_coefficients(viscosity=x)) if coefficient else (
            start._replace(values=x * start.values), stepper)
        trajectory = js.rollout(stepper, steps, state=start, gradient="step")
        return jnp.sum(trajectory.fields[-1, :2] ** 4), trajectory

    both = jax.jit(jax.value_and_grad(loss, has_aux=True))
    x = 0.05 if coefficient else 1.0
    program = both.lower(x, many).compile()
    (value, there), slope = program(x, many)
    (value_, here), slope_ = both(x, one)
    return {
        "fields": difference(there.fields, here.fields), "slopes": difference(slope, slope_), "slope": float(slope),
        "bad": int(there.status.first_bad_step), "courant": difference(there.status.courant, here.status.courant),
        "state": of_one_device(there.final.values), "grid": of_one_device(there.fields),
        "tables": of_one_device(many.tables.gain), "collectives": collectives(program),
    }

print(json.dumps(compare(*eval(sys.argv[1]))))
"""

_BATCH = """
mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
stepper = js.stepper(js.problems.burgers(viscosity=0.1), js.Spectral(32, order=1, dt=0.02))
x = jnp.asarray(stepper.grid["x"])
batch = jnp.stack([jnp.sin((1 + i % 3) * jnp.pi * x) * (1 + 0.1 * i) for i in range(16)])
alone = jax.vmap(lambda u: js.rollout(stepper, 6, state=stepper.encode(u), save_every=3))
shared = PartitionSpec("batch")
run = jax.jit(jax.shard_map(alone, mesh=mesh, in_specs=shared, out_specs=shared))
spread = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("batch")))
program = run.lower(spread).compile()
there, here = program(spread), jax.jit(alone)(batch)
turned = jax.jit(lambda u: u @ u.T).lower(spread).compile()  # what needs every member everywhere
try:
    js.stepper(js.problems.vortex_mixing(), js.Spectral(20, dt=0.1, mesh=mesh))
except ValueError as error:
    refusal = str(error)
print(json.dumps({
    "fields": difference(there.fields, here.fields), "refusal": refusal, "of_one_device": of_one_device(there.fields),
    "bad": there.status.first_bad_step.tolist(), "collectives": collectives(program), "control": collectives(turned),
}))
"""


def child(code, *arguments, devices=8):
    made = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment(devices), capture_output=True, text=True, timeout=200
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return [json.loads(line) for line in made.stdout.splitlines()]


def assert_same_on_eight(found, state, grid, round_off=1e-14):
    assert found["fields"] < round_off
    assert found["slopes"] < 10 * round_off
    assert found["courant"] < round_off
    assert abs(found["slope"]) > 1
    assert found["bad"] == -1
    assert found["state"] == found["tables"] == state
    assert found["grid"] == grid
    assert found["collectives"]["all-to-all"] > 0
    assert found["collectives"]["all-gather"] == found["collectives"]["collective-permute"] == 0


@pytest.fixture(scope="module")
def on_eight():
    """What one process with eight devices found, slabs and batches."""
    return child(_COMMON + _SLABS + _BATCH, "js.problems.vortex_mixing(), (16, 16), 2, 3, False")


@pytest.mark.slow
def test_a_flow_in_the_plane_on_eight_devices_is_that_on_one(on_eight):
    """16 points keep 11 and 6 modes; 6 are padded to 8, one for each device."""
    assert_same_on_eight(on_eight[0], state=[1, 11, 1], grid=[2, 2, 2, 16])


TAYLOR_GREEN = """
initial = {
    "u": lambda x, y, z: js.sin(x) * js.cos(y) * js.cos(z), "v": lambda x, y, z: -js.cos(x) * js.sin(y) * js.cos(z), "w": 0,
}
box = js.Box(t=(0, 1), x=(0, 2 * np.pi), y=(0, 2 * np.pi), z=(0, 2 * np.pi))
flow = js.Problem(js.problems.flow.velocity_equation_3d, box, coefficients={"viscosity": 0.05}, initial=initial)
"""


@pytest.mark.slow
@pytest.mark.parametrize("coefficient", [False, True])
def test_a_flow_in_space_on_eight_devices_is_that_on_one(coefficient):
    """Of 11 modes along the second axis, padded to 16, two for each device; the gradient by the state or the viscosity."""
    (found,) = child(_COMMON + TAYLOR_GREEN + _SLABS, f"flow, (16, 16, 16), 4, 3, {coefficient}")
    assert_same_on_eight(found, state=[3, 11, 2, 6], grid=[2, 4, 2, 16, 16])


_SOLVED = """
import tempfile
mesh = jax.make_mesh((8,), ("slabs",))
heat = js.Equation(lambda u, k: u.t - k * (u.xx + u.yy), name="heat")
walls = js.Problem(
    heat, js.Box(t=(0, 1), x=(0, 1), y=(0, 1)), coefficients={"k": 0.1}, boundary={"x": js.Dirichlet(0), "y": js.Neumann(0)},
    initial={"u": lambda x, y: js.sin(np.pi * x) * js.cos(np.pi * y)},
)
found = {}
for problem in (js.problems.gray_scott(), walls):
    one, many = (js.solve(problem, js.Spectral(16, dt=0.5, mesh=m, estimate=False)) for m in (None, mesh))
    found[problem.name] = difference(many.fields, one.fields)

stepper = js.stepper(js.problems.vortex_mixing(), js.Spectral(16, dt=0.02, mesh=mesh))
def stop(_):
    raise KeyboardInterrupt
with tempfile.TemporaryDirectory() as folder:
    run = lambda name, **options: js.stream(stepper, f"{folder}/{name}.h5", 12, save_every=2, chunk=2, **options)
    whole = run("whole")
    try:
        run("stopped", progress=stop)
    except KeyboardInterrupt:
        found["stopped_at"] = len(js.read_trajectory(f"{folder}/stopped.h5").ts)
    resumed = run("stopped", resume=True)
    found["same_bits"] = np.array_equal(resumed["w"], whole["w"]) and resumed.checkpoint.state == whole.checkpoint.state
print(json.dumps(found))
"""


@pytest.mark.slow
def test_solving_and_streaming_go_over_a_mesh_too():
    """A system that couples its fields in every mode; walls, whose mirrored torus is twice the box; a file that is resumed."""
    (found,) = child(_COMMON + _SOLVED)
    assert found["gray_scott"] < 1e-13
    assert found["heat"] < 1e-13
    assert (found["stopped_at"], found["same_bits"]) == (2, True)


@pytest.mark.slow
def test_a_batch_over_eight_devices_needs_nothing_from_another(on_eight):
    found = on_eight[1]
    assert found["fields"] < 1e-14
    assert found["of_one_device"] == [2, 3, 1, 33]
    assert found["bad"] == [-1] * 16
    assert set(found["collectives"].values()) == {0}
    assert found["control"]["all-gather"] > 0  # they would be seen
    assert "the 20 points of the axis x do not divide evenly over 8 devices" in found["refusal"]


# --- two processes -----------------------------------------------------------------------------------------------------------

_PROCESS = (
    _COMMON
    + """
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{sys.argv[2]}", num_processes=2, process_id=int(sys.argv[1]), initialization_timeout=60)
mesh = jax.make_mesh((len(jax.devices()),), ("slabs",))
stepper = js.stepper(js.problems.vortex_mixing(), js.Spectral(16, order=1, dt=0.02, mesh=mesh))

@jax.jit
def run(stepper):
    fields = js.rollout(stepper, 3).fields
    return jnp.sum(fields[-1, 0] ** 4), fields

value, fields = run(stepper)
shards = [[shard.index[2].start or 0, np.asarray(shard.data)[-1, 0].tolist()] for shard in fields.addressable_shards]
print(json.dumps({"devices": len(jax.devices()), "value": float(value), "shards": shards}))
"""
)


@pytest.mark.slow
def test_two_processes_compute_the_field_of_one():
    """Four devices in two processes on this machine; each holds and prints its own slabs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", _PROCESS]
    processes = [
        subprocess.Popen(
            [*command, str(i), port], env=environment(2), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for i in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs[0][1][-2000:] + outputs[1][1][-2000:]
    found = [json.loads(out.splitlines()[-1]) for out, _ in outputs]

    stepper = js.stepper(PROBLEM, js.Spectral(16, order=1, dt=0.02))
    field = np.asarray(jax.jit(lambda s: js.rollout(s, 3).fields[-1, 0])(stepper))
    for process in found:
        assert process["devices"] == 4
        assert len(process["shards"]) == 2
        assert process["value"] == pytest.approx((field**4).sum(), rel=1e-13)
        for first, slab in process["shards"]:
            assert np.abs(np.asarray(slab) - field[first : first + 4]).max() < 1e-14
    assert sorted(first for process in found for first, _ in process["shards"]) == [0, 4, 8, 12]


# --- the parts, on one device ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((1,), ("slabs",))


@pytest.mark.parametrize("sizes", [(8, 12), (12, 8, 10)])
def test_the_transforms_are_those_of_a_torus(mesh, sizes):
    axes = tuple(Axis(name, 0.0, 1.0, n) for name, n in zip("xyz", sizes, strict=False))
    one, slabs = Torus(axes), SlabTorus(axes, mesh=mesh)
    values = np.random.default_rng(0).normal(size=(2, *sizes))
    modes = one.from_grid(values)
    assert np.abs(slabs.from_grid(values) - modes).max() < 1e-15
    assert np.abs(slabs.to_grid(modes) - one.to_grid(modes)).max() < 1e-15
    assert np.abs(jax.vmap(slabs.to_grid)(modes) - one.to_grid(modes)).max() < 1e-15


class Many:
    """A mesh as far as counting goes."""

    def __init__(self, size):
        self.size = size


@pytest.mark.parametrize(("devices", "padded"), [(1, 6), (2, 6), (4, 8), (5, 10), (8, 8)])
def test_modes_are_padded_to_a_multiple_of_the_devices(mesh, devices, padded):
    torus = SlabTorus((Axis("x", 0.0, 1.0, 80), Axis("y", 0.0, 1.0, 16)), mesh=mesh)
    object.__setattr__(torus, "mesh", Many(devices))
    assert torus.mode_shape == (53, padded)
    assert torus.integer_wavenumbers(1).tolist() == [0, 1, 2, 3, 4, 5] + [5] * (padded - 6)
    assert len(torus.integer_wavenumbers(0)) == 53
    assert torus.symbol("yy", np.float64).shape == (1, padded)


def test_tori_are_equal_where_their_meshes_are(mesh):
    """They are keys of compiled programs."""
    axes = (Axis("x", 0.0, 1.0, 8), Axis("y", 0.0, 1.0, 8))
    again = jax.make_mesh((1,), ("slabs",))
    assert SlabTorus(axes, mesh=mesh) == SlabTorus(axes, mesh=again)
    assert hash(SlabTorus(axes, mesh=mesh)) == hash(SlabTorus(axes, mesh=again))
    assert SlabTorus(axes, mesh=mesh) != SlabTorus(axes, mesh=jax.make_mesh((1,), ("other",)))
    assert SlabTorus(axes, mesh=mesh) != Torus(axes)


# --- refusals ----------------------------------------------------------------------------------------------------------------


def test_what_does_not_go_over_a_mesh_is_refused(mesh):
    with pytest.raises(
        ValueError, match=r"slabs over a mesh need two or three axes of space. For a batch put jax.shard_map"
    ):
        js.stepper(js.problems.burgers(), js.Spectral(32, dt=0.1, mesh=mesh))
    with pytest.raises(ValueError, match=r"the mesh must have one axis, got \('a', 'b'\)"):
        js.stepper(PROBLEM, js.Spectral(16, dt=0.1, mesh=jax.make_mesh((1, 1), ("a", "b"))))
    with pytest.raises(TypeError, match=r"Spectral: mesh must be a jax.sharding.Mesh, got 8"):
        js.Spectral(16, mesh=8)
