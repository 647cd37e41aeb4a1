"""A surrogate's fit, ready to begin: data checked and scaled, the plan, and what is made of the result."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxsci._checks import unknown_name
from jaxsci._timing import Cost
from jaxsci._types import Progress
from jaxsci.equations.evaluation import coordinates_in
from jaxsci.problems import Problem
from jaxsci.solvers import Stepper
from jaxsci.surrogates.fit_record import FitRecord, identity_of
from jaxsci.surrogates.network_rule import NetworkRule
from jaxsci.surrogates.piece_stream import PieceStream
from jaxsci.surrogates.simulate import depends_on_time
from jaxsci.surrogates.solver_step import SolverStep
from jaxsci.surrogates.stepper import FittedSurrogate
from jaxsci.surrogates.training_loop import HeldOut, Material, Plan, Trained, held_out, run
from jaxsci.surrogates.trajectories import Trajectories

if TYPE_CHECKING:
    from jaxsci.surrogates.network_surrogate import NetworkSurrogate

_GROUP = 8  # pieces of a stream that are trained on between two looks at the clock


@dataclasses.dataclass(frozen=True)
class Course:
    """A fit that is ready to begin."""

    surrogate: NetworkSurrogate
    data: Trajectories
    plan: Plan
    material: Material
    held: HeldOut | None
    batches: Any

    @staticmethod
    def of(
        surrogate: NetworkSurrogate,
        data: Trajectories,
        *,
        mesh: Mesh | None,
        batches: Any,
        unlabelled: Any,
        many: bool = False,
    ) -> Course:
        training = surrogate.training
        _check(surrogate, data, mesh, batches, unlabelled)
        frame, problem = data.frame(), data.problem
        dtype = jnp.result_type(float)
        rule = _rule(surrogate, data)
        corrects, residual = rule.corrects, None
        if training.residual:
            method = training.residual_solver or data.method
            residual = SolverStep(method, data.dt, data.intervals)
        fields = jnp.asarray(data.fields, dtype)
        numbers = {name: jnp.asarray(values, dtype) for name, values in data.numbers.items()}
        error = None if corrects is None else _solver_error(rule, fields, numbers, frame, data.dt)
        scales = _scales(rule, fields, [numbers[name] for name in rule.numbers], error)
        prepared = rule.prepare({"network": {}, "scales": scales}, frame)
        del prepared["network"]
        kept = len(data) - round(training.held_out * len(data))
        begin = float(problem.domain["t"][0])
        held = held_out(fields[kept:], {name: v[kept:] for name, v in numbers.items()}, rule.bundle, data.dt, begin)
        coefficients = {k: jnp.asarray(v, dtype) for k, v in problem.coefficients.items() if not callable(v)}
        material = Material(
            fields=None if batches is not None else fields[:kept],
            numbers={name: v[:kept] for name, v in numbers.items()},
            coefficients=coefficients,
            prepared=prepared,
            unit=jnp.sqrt(jnp.mean(scales["step"] ** 2, axis=0)),
            start=jnp.asarray(begin, dtype),
            solver=None if residual is None else residual.solver(frame),
            unlabelled=None if unlabelled is None else jnp.asarray(unlabelled, dtype),
        )
        if mesh is not None:  # the compiler decides about what is not said, also where the mesh was made otherwise
            mesh = Mesh(mesh.devices, mesh.axis_names)
        return Course(surrogate, data, Plan(rule, training, data.dt, residual, mesh, many), material, held, batches)

    def train(self, key: Any, budget: float | None, progress: Progress, record: FitRecord | None) -> Trained:
        if budget is not None and not budget > 0:
            raise ValueError(f"fit: the budget is seconds, above 0, got {budget!r}.")
        rule = self.plan.rule
        init = _init(rule)
        first = jax.vmap(lambda k: jax.random.split(k))(key) if self.plan.many else jax.random.split(key)
        network = jax.vmap(init)(first[:, 0]) if self.plan.many else init(first[0])
        stream = None if self.batches is None else self._stream
        return run(
            self.plan,
            network,
            first[..., 1],
            self.material,
            self.held,
            budget=budget,
            progress=progress,
            record=record,
            stream=stream,
        )

    def train_recorded(
        self, key: Any, budget: float | None, progress: Progress, folder: Any, resume: bool, every: float
    ) -> Trained:
        """`train`, with a record in the folder, where one is given."""
        if folder is None:
            if resume:
                raise ValueError("fit: resume=True needs the folder in which the record of the fit is.")
            return self.train(key, budget, progress, None)
        record = FitRecord(folder, resume, identity_of(self.surrogate, self.data, key), every)
        with record.watching():
            return self.train(key, budget, progress, record)

    def _stream(self, first: int) -> PieceStream:
        mesh = self.plan.mesh
        return PieceStream(
            self.batches,
            first,
            group=_GROUP,
            shape=(self.plan.training.batch, _longest(self.surrogate) + 1, *self.data.fields.shape[2:]),
            names=tuple(self.material.numbers),
            dtype=self.material.unit.dtype,
            sharding=None if mesh is None else NamedSharding(mesh, PartitionSpec(None, *mesh.axis_names)),
        )

    def fitted(self, trained: Trained, cost: Cost) -> list[FittedSurrogate]:
        """What the fits of all seeds return."""
        losses, error = np.atleast_2d(trained.losses), np.atleast_1d(trained.error)
        found = []
        for i, stopped in enumerate(trained.stopped):
            network = jax.tree.map(lambda leaf, i=i: leaf[i], trained.network) if self.plan.many else trained.network
            history = losses[i]
            if stopped == "not finite":  # nothing changed after the first of these
                history = history[: int(np.argmax(~np.isfinite(history))) + 1]
            stats = {
                "parameters": sum(int(np.size(leaf)) for leaf in jax.tree.leaves(network)),
                "steps": len(history),
                "samples_per_second": losses.size * self.plan.training.batch / max(trained.seconds, 1e-9),
                "loss": float(np.mean(history[-16:])) if len(history) else float("nan"),
                "held_out": float(error[i]),
                "stopped": stopped,
            }
            parameters = {"network": network, "scales": self.material.prepared["scales"]}
            found.append(FittedSurrogate(self.plan.rule, parameters, self.data.method, cost, stats, history))
        return found


def check_fit(surrogate: NetworkSurrogate, data: Trajectories) -> None:
    """Raise what `NetworkSurrogate.fit` raises of shapes, grids and names, of which data of any values tell, without a fit."""
    _check(surrogate, data, None, None, None)
    rule = _rule(surrogate, data)
    if rule.corrects is not None:
        rule.corrects.solver(data.frame())


def _rule(surrogate: NetworkSurrogate, data: Trajectories) -> NetworkRule:
    """What is trained. Its network's output has the shape of the next saves, or a ValueError says so."""
    rule = NetworkRule(
        surrogate.network,
        data.fields.shape[2],
        surrogate.numbers,
        surrogate.bundle,
        surrogate.increment,
        None if surrogate.corrects is None else SolverStep(surrogate.corrects, data.dt, data.intervals),
        _places(surrogate.positions, data.problem),
    )
    space = data.fields.shape[3:]
    network = jax.eval_shape(lambda k: rule.network.init(k, rule.inputs, rule.outputs), jax.random.key(0))
    given = jax.ShapeDtypeStruct((rule.inputs, *space), jnp.result_type(float))
    found = jax.eval_shape(rule.network.apply, network, given)
    shape = getattr(found, "shape", None)
    if shape != (rule.outputs, *space):
        raise ValueError(
            f"fit: the network makes {shape} of {rule.inputs} channels on a grid of {space} points, expected "
            f"{(rule.outputs, *space)}: it must be one on grids, as js.networks.FNO."
        )
    return rule


def _longest(surrogate: NetworkSurrogate) -> int:
    """Saves after the start that the longest unrolling of the curriculum needs."""
    return surrogate.bundle * max(unroll for _, unroll in surrogate.training.unrolls)


def _places(asked: bool | None, problem: Problem) -> tuple[tuple[str, float, float, bool], ...]:
    space = problem.domain.space
    named = {c for residual in problem.equation.residuals for c in coordinates_in(residual.formula)} & set(space)
    walled = any(problem.walls(axis) for axis in space)
    if not (bool(named) or walled if asked is None else asked):
        return ()
    ends = {axis: problem.domain[axis] for axis in space}
    return tuple((axis, float(a), float(b - a), bool(problem.walls(axis))) for axis, (a, b) in ends.items())


@functools.cache
def _init(rule: NetworkRule) -> Any:
    """It runs once; a processor's compiler takes seconds over small arrays of several axes."""
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(lambda key: rule.network.init(key, rule.inputs, rule.outputs), compiler_options=options)


@functools.partial(jax.jit, static_argnums=0)
def _scales(rule: NetworkRule, fields: Any, told: list[Any], error: Any) -> dict[str, Any]:
    """Centres and scales of the data; 1 where nothing varies. The error is that of the solver that is corrected."""
    axes = (0, 1, *range(3, fields.ndim))
    spread = lambda v: jnp.where((s := jnp.std(v)) > 0, s, 1.0)  # noqa: E731
    scale = jnp.std(fields, axis=axes)
    scale = jnp.where(scale > 0, scale, 1.0)
    if rule.corrects is not None:
        step = error[None]
    elif rule.increment:
        changes = [fields[:, k:] - fields[:, :-k] for k in range(1, rule.bundle + 1)]
        step = jnp.stack([jnp.sqrt(jnp.mean(change**2, axis=axes)) for change in changes])
    else:
        step = jnp.broadcast_to(scale, (rule.bundle, rule.channels))
    return {
        "centre": jnp.mean(fields, axis=axes),
        "scale": scale,
        "step": jnp.maximum(step, jnp.finfo(fields.dtype).eps * scale),  # below round-off there is nothing to predict
        "number_centre": jnp.stack([jnp.mean(v) for v in told]) if told else jnp.zeros(0, fields.dtype),
        "number_scale": jnp.stack([spread(v) for v in told]) if told else jnp.ones(0, fields.dtype),
    }


def _solver_error(rule: NetworkRule, fields: Any, numbers: Any, frame: Stepper, dt: float) -> Any:
    """The root mean square of what the coarse solver errs in one save, ``[channels]``, at no more than 256 places of the data."""
    assert rule.corrects is not None  # This is a bug in jaxsci: asked for a surrogate that corrects nothing.
    runs, saves = fields.shape[:2]
    picked = np.unique(np.linspace(0, runs * (saves - 1) - 1, 256).round().astype(int))
    run, at = picked // (saves - 1), picked % (saves - 1)
    corrects, solver = rule.corrects, rule.corrects.solver(frame)
    begin = frame.problem.domain["t"][0]

    @jax.jit
    def errors(before, after, told, ts):
        def one(given):
            before, after, told, t = given
            own = solver.with_coefficients(**told) if told else solver
            return corrects.advance(own, before, t) - after

        found = jax.lax.map(one, (before, after, told, ts), batch_size=16)
        return jnp.sqrt(jnp.mean(found**2, axis=(0, *range(2, found.ndim))))

    told = {name: values[run] for name, values in numbers.items()}
    found = errors(fields[run, at], fields[run, at + 1], told, jnp.asarray(begin + dt * at, fields.dtype))
    if not bool(jnp.all(jnp.isfinite(found))):
        raise ValueError(
            f"fit: the coarse solver {rule.corrects.method} is not stable on the data: it gives values that are not finite "
            "within one save. Give corrects a smaller dt."
        )
    return found


def _check(surrogate: NetworkSurrogate, data: Any, mesh: Any, batches: Any, unlabelled: Any) -> None:
    """Raise where data and surrogate do not fit."""
    training = surrogate.training
    if not isinstance(data, Trajectories):
        raise TypeError(
            f"fit: data must be js.surrogates.Trajectories, as of js.surrogates.simulate, got {type(data).__name__}."
        )
    runs, saves = data.fields.shape[:2]
    finite = np.asarray(jnp.all(jnp.isfinite(jnp.asarray(data.fields)), axis=tuple(range(1, data.fields.ndim))))
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise ValueError(
            f"fit: {len(bad)} of {runs} runs hold values that are not finite, the first is run {bad[0]}; drop them."
        )
    for name in surrogate.numbers:
        if name not in data.numbers:
            raise ValueError(
                f"fit: {unknown_name('the number', name, data.numbers)} Give numbers in which the data's runs differ."
            )
    shortest = surrogate.bundle if batches is not None else _longest(surrogate)
    if saves < shortest + 1:
        raise ValueError(
            f"fit: the data have {saves} saves a run, and unroll {max(u for _, u in training.unrolls)} with bundle "
            f"{surrogate.bundle} needs {shortest + 1}; give longer runs or a shorter unrolling."
        )
    if batches is not None and (surrogate.corrects or training.residual) and depends_on_time(data.problem):
        raise ValueError(
            f"fit: pieces of a stream carry no time, and {data.problem.name}, whose solver the training calls, depends on t "
            "itself; train from memory."
        )
    if mesh is not None:
        if not isinstance(mesh, Mesh) or len(mesh.axis_names) != 1:
            raise ValueError(
                f"fit: mesh must be a jax.sharding.Mesh with one axis, jax.make_mesh((4,), ('batch',)), got {mesh!r}."
            )
        if training.batch % mesh.size:
            raise ValueError(f"fit: the batch of {training.batch} must be a multiple of the mesh's {mesh.size} devices.")
    if unlabelled is not None:
        if not training.residual:
            raise ValueError("fit: unlabelled states go into the residual, whose weight is 0; give Training(residual=0.1).")
        shape = jnp.shape(unlabelled)
        if len(shape) != data.fields.ndim - 1 or shape[1:] != data.fields.shape[2:] or not shape[0]:
            raise ValueError(
                f"fit: unlabelled is [states, {', '.join(map(str, data.fields.shape[2:]))}], got shape {shape}."
            )
