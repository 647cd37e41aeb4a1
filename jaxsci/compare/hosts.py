"""The devices of a study, on one host or on several: who computes what, and how all processes come to know the same.

Over several hosts every process runs the same program. What runs on one device is done by the first process, and told to the
others; data and trainings are done by all devices together. Only the first process writes files.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from jaxsci._command import BadInput
from jaxsci._timing import Cost
from jaxsci.surrogates.stepper import FittedSurrogate

AXIS = "batch"


def is_first() -> bool:
    """Whether this is the process that writes; where there is one, it is."""
    return jax.process_index() == 0


def join_hosts(text: str) -> None:
    """Meet the other processes, by `jax.distributed.initialize`: before anything is computed.

    Args:
      text: "" where a launcher says who they are (Slurm, Open MPI, Cloud TPU, ...); else HOST:PORT,PROCESSES,NUMBER, the address
        of the first, how many there are, and which this is, from 0.
    Raises:
      BadInput: it is neither, or they do not come.
    """
    try:
        if not text:
            jax.distributed.initialize()
            return
        address, count, number = text.split(",")
        if ":" not in address or not 0 <= int(number) < int(count):
            raise ValueError("the number is from 0 to PROCESSES - 1")
    except (ValueError, RuntimeError) as error:
        how = "there is no launcher that says who the processes are" if not text else f"got {text!r}"
        why = " ".join(str(error).split())
        raise BadInput(f"--distributed: {how} ({why}); start it by srun, or give HOST:PORT,PROCESSES,NUMBER.") from None
    try:
        jax.distributed.initialize(address, int(count), int(number))
    except (ValueError, RuntimeError) as error:
        raise BadInput(f"--distributed {text}: {' '.join(str(error).split())}") from None


def device_named(text: str) -> Any:
    """A platform and a number on this host, "gpu:1", as JAX's device; without a number the first.

    Raises:
      BadInput: it is not there.
    """
    platform, _, number = text.partition(":")
    try:
        place = int(number or 0)
        if place < 0:
            raise IndexError(place)
        return jax.local_devices(backend=platform)[place]
    except (RuntimeError, ValueError, IndexError):
        there = ", ".join(f"{device.platform}:{i}" for i, device in enumerate(jax.local_devices()))
        raise BadInput(f"--device {text}: it is not here; there is {there}.") from None


def mesh_of(text: str | None = None) -> Mesh | None:
    """All devices of a platform, on all hosts, for data and trainings; with a number, "gpu:1", that one of each host.

    None where this is a single device. Every process has the same number of them, the least that any has.

    Raises:
      BadInput: it is not there.
    Example:
      >>> import jax
      >>> from jaxsci.compare.hosts import mesh_of
      >>> (1 if mesh_of() is None else mesh_of().size) == len(jax.devices()), mesh_of("cpu:0")
      (True, None)
    """
    if text is None:
        devices = jax.devices()
    else:
        device_named(text)
        devices = jax.devices(text.partition(":")[0])
    hosts = [[d for d in devices if d.process_index == i] for i in range(jax.process_count())]
    if text is not None and ":" in text:
        place = int(text.partition(":")[2])
        hosts = [own[place : place + 1] for own in hosts]
    each = min(len(own) for own in hosts)
    if not each:
        raise BadInput(f"--device {text}: some process has none.")
    return None if len(hosts) * each == 1 else Mesh([d for own in hosts for d in own[:each]], (AXIS,))


def part_of(mesh: Mesh | None, batch: int) -> Mesh | None:
    """As many devices of a mesh, the same number on each host, as divide a batch; None where that is one.

    Raises:
      ValueError: there are more hosts than the batch can be divided among.
    """
    if mesh is None:
        return None
    hosts = _by_host(mesh)
    fits = [k for k in range(1, len(hosts[0]) + 1) if batch % (k * len(hosts)) == 0]
    if not fits:
        raise ValueError(f"a batch of {batch} cannot be divided among {len(hosts)} hosts; give Training a multiple of them.")
    devices = [d for own in hosts for d in own[: fits[-1]]]
    return None if len(devices) == 1 else Mesh(devices, mesh.axis_names)


def part_here(mesh: Mesh | None) -> Mesh | None:
    """The devices of a mesh that are this process's own; None where that is one."""
    if mesh is None:
        return None
    own = _by_host(mesh)[jax.process_index() if len(_by_host(mesh)) > 1 else 0]
    return None if len(own) == 1 else Mesh(own, mesh.axis_names)


def of_devices(fitted: FittedSurrogate, count: int) -> FittedSurrogate:
    """The seconds of a fit on several devices as those of all of them together, as the solver's are those of one."""
    cost = Cost(*(count * seconds for seconds in fitted.cost))
    return dataclasses.replace(fitted, cost=cost, stats={**fitted.stats, "devices": count})


def spans_hosts(mesh: Mesh | None) -> bool:
    """Whether devices of several processes are in it."""
    return mesh is not None and len(_by_host(mesh)) > 1


def _by_host(mesh: Mesh) -> list[list[Any]]:
    devices = list(mesh.devices.flat)
    return [[d for d in devices if d.process_index == i] for i in sorted({d.process_index for d in devices})]


def share_of(count: int) -> slice | None:
    """Which of `count` runs this process makes; None where there are not two for each, so that the first makes them all."""
    hosts = jax.process_count()
    if count < 2 * hosts:
        return None
    each = math.ceil(count / hosts)
    each = each if count - (hosts - 1) * each >= 2 else count // hosts
    first = jax.process_index() * each
    return slice(first, count if jax.process_index() == hosts - 1 else first + each)


# --- telling -------------------------------------------------------------------------------------------------------------------


def first_says(make: Callable[[], bytes]) -> bytes:
    """What the first process makes, in all processes; what it raises is raised in all."""
    if jax.process_count() == 1:
        return make()
    told, raised = b"", None
    if is_first():
        told, raised = _outcome(make)
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(len(told), np.int32)))
    told = multihost_utils.broadcast_one_to_all(np.frombuffer(told if is_first() else bytes(size), np.uint8)).tobytes()
    return _taken(told, raised)


def all_say(make: Callable[[], bytes]) -> list[bytes]:
    """What each process makes, in all processes; what one of them raises is raised in all."""
    if jax.process_count() == 1:
        return [make()]
    told, raised = _outcome(make)
    sizes = np.ravel(multihost_utils.process_allgather(np.asarray(len(told), np.int32)))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(told)] = np.frombuffer(told, np.uint8)
    gathered = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    if raised is not None:
        raise raised
    return [_taken(row[:size].tobytes(), None) for row, size in zip(gathered, sizes, strict=True)]


def agree(value: Any) -> Any:
    """A JSON value of the first process, in all."""
    return json.loads(first_says(lambda: json.dumps(value).encode()))


def _outcome(make: Callable[[], bytes]) -> tuple[bytes, Exception | None]:
    try:
        return b"+" + make(), None
    except Exception as error:  # the others wait: they are told whatever it is
        kind = next((k.__name__ for k in _KINDS if isinstance(error, k)), "RuntimeError")
        return b"-" + f"{kind}:{error}".encode(), error


_KINDS: Sequence[type[Exception]] = (BadInput, ValueError, TypeError)


def _taken(told: bytes, raised: Exception | None) -> bytes:
    if raised is not None:
        raise raised
    if told[:1] == b"+":
        return told[1:]
    kind, _, text = told[1:].decode().partition(":")
    raise {k.__name__: k for k in _KINDS}.get(kind, RuntimeError)(text)
