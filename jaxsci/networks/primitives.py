"""Primitives of our own, for products whose derivatives we know how to write faster than a general rule does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import mlir


def primitive(name: str, compute: Callable, cpu: Callable | None = None) -> Primitive:
    """One whose value is ``compute(*arrays, **options)``, or another way to the same on a processor."""
    made = Primitive(name)
    made.def_impl(lambda *args, **options: jax.jit(made.bind, static_argnames=tuple(options))(*args, **options))

    def abstract(*args: Any, **options: Any) -> Any:
        plain = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in args]
        out = jax.eval_shape(lambda *a: compute(*a, **options), *plain)
        return ShapedArray(out.shape, out.dtype)

    made.def_abstract_eval(abstract)
    mlir.register_lowering(made, mlir.lower_fun(compute, multiple_results=False))
    if cpu is not None:
        mlir.register_lowering(made, mlir.lower_fun(cpu, multiple_results=False), platform="cpu")
    return made


def varies(a: Any) -> bool:
    """Whether devices have different values of it, inside of `jax.shard_map`.

    There JAX's general products stand in the place of our primitives: they know over which axes of a mesh their operands
    vary, and that the derivative in what all devices share is a sum over them.
    """
    kind = jax.typeof(a)
    manual = getattr(kind, "manual_axis_type", None)  # JAX before 0.10 called its part `vma`
    return bool(getattr(kind, "vma", None) if manual is None else manual.varying)
