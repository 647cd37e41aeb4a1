"""How long a prediction of a chaotic flow is of use, and by which clock: correlation time, valid prediction time, exponents."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import is_traced, is_whole, unknown_name
from jaxsci._types import Key
from jaxsci.compare.field_errors import check_fields, root
from jaxsci.compare.metrics import correlation

ValidityDefinition = Literal["pathak", "vlachas"]


def correlation_curve(prediction: ArrayLike, truth: ArrayLike, *, space: int) -> Float[Array, "*batch saves"]:
    """The correlation of prediction and truth at each save, over channels and space together: see `correlation`.

    Where the prediction is not finite, or only one of the two is zero, it is 0; where both are zero it is 1.

    Args:
      prediction, truth: ``[*batch, saves, channels, *space]``. Give the vorticity of a flow, as is usual.
      space: how many of the last axes are space.
    Raises:
      ValueError: shapes that differ, or too few axes.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.predictability import correlation_curve
      >>> x = jnp.arange(16) * jnp.pi / 8
      >>> truth = jnp.stack([jnp.sin(x), jnp.sin(x)])[:, None]
      >>> prediction = jnp.stack([jnp.sin(x), jnp.sin(x + jnp.pi / 3)])[:, None]
      >>> [f"{c:.3f}" for c in correlation_curve(prediction, truth, space=1)]
      ['1.000', '0.500']
    """
    a, b = check_fields("correlation_curve", prediction, truth, space, 2)
    over = tuple(range(-space - 1, 0))
    peak = lambda f: jnp.max(jnp.abs(f), axis=over, keepdims=True)  # noqa: E731
    sizes = [jnp.where(jnp.isfinite(peak(f)) & (peak(f) > 0), peak(f), 1) for f in (a, b)]
    value = correlation(a / sizes[0], b / sizes[1], axes=space + 1)  # scaled: a square would overflow while it blows up
    nothing = ((a == 0) & (b == 0)).all(axis=over)
    return jnp.where(nothing, 1, jnp.where(jnp.isfinite(value), value, 0)).astype(b.dtype)


def correlation_time(
    prediction: ArrayLike,
    truth: ArrayLike,
    ts: ArrayLike,
    *,
    space: int,
    level: float = 0.95,
    average: bool = True,
) -> Float[Array, "..."]:
    """The time from ts[0] until the correlation with the truth falls below a level.

    Kochkov et al. (2021) follow the correlation of vorticities, averaged over samples, to 0.95; 0.8 is common for the
    Kuramoto-Sivashinsky equation (Lippe et al. 2023, PDE-Refiner). Between saves it is interpolated linearly. A prediction
    that blew up correlates 0 from there on.

    Args:
      prediction, truth: ``[*batch, saves, channels, *space]``.
      ts: the times of the saves, ``[saves]``, increasing; the first is the start.
      space: how many of the last axes are space.
      level: between 0 and 1.
      average: whether it is the time of the correlation averaged over the batch, a number (their definition), or the time of
        each sample, ``[*batch]``, for a bootstrap; the mean of these is another number.
    Returns:
      Time. It is ts[-1] - ts[0] where the level is never passed: a lower bound.
    Raises:
      ValueError: shapes that do not fit, times that do not increase, or a level that is none.
    Reference: Kochkov et al. (2021), PNAS 118, e2101784118.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.predictability import correlation_time
      >>> x = jnp.arange(64) * jnp.pi / 32
      >>> angles = jnp.array([0.0, 0.2, 0.4, 0.8])  # cosines 1, 0.980, 0.921, 0.697
      >>> wave = lambda phase: jnp.sin(x + phase[:, None])[:, None]
      >>> print(f"{correlation_time(wave(angles), wave(0 * angles), jnp.array([0.0, 1.0, 2.0, 3.0]), space=1):.3f}")
      1.510
    """
    if not 0 < level <= 1:
        raise ValueError(f"correlation_time: level must be above 0 and at most 1, got {level!r}.")
    curve = correlation_curve(prediction, truth, space=space)
    ts = _times("correlation_time", ts, curve.shape[-1])
    if average:
        curve = jnp.mean(curve, axis=tuple(range(curve.ndim - 1)))
    return _crossing(level - curve, ts)


def valid_prediction_time(
    prediction: ArrayLike,
    truth: ArrayLike,
    ts: ArrayLike,
    *,
    space: int,
    threshold: float = 0.4,
    lyapunov_time: float | Array = 1.0,
    definition: ValidityDefinition = "pathak",
    deviation: ArrayLike | None = None,
    average: bool = True,
) -> Float[Array, "..."]:
    """The time from ts[0], in Lyapunov times, until the normalised error first exceeds a threshold.

    - ``"pathak"``: e(t) = |prediction - truth|_2 / <|truth|_2^2>^(1/2) over channels and space, with the mean < > over the
      saves and samples of the truth (Pathak et al. 2018, threshold 0.4).
    - ``"vlachas"``: e(t) = (mean_i (e_i / sigma_i)^2)^(1/2) over the components i (channels and points), with sigma_i the
      standard deviation of component i in time, here over the saves and samples of the truth (Vlachas et al. 2020, threshold
      0.5). A constant component makes it infinite, unless it is predicted exactly.

    Between saves the error is interpolated linearly. A prediction that is not finite exceeds every threshold.

    Args:
      prediction, truth: ``[*batch, saves, channels, *space]``.
      ts: the times of the saves, ``[saves]``, increasing; the first is the start.
      space: how many of the last axes are space.
      threshold: of the error.
      lyapunov_time: 1 / the largest Lyapunov exponent (`lyapunov_exponent`), in the unit of ts.
      definition: one of these.
      deviation: in place of the norm <>^(1/2), a number, or of sigma, ``[channels, *space]``: from a longer run of the truth.
      average: whether to return the mean over the batch of the times, or ``[*batch]``.
    Returns:
      Lyapunov times; the whole horizon where the threshold is never exceeded, a lower bound.
    Raises:
      ValueError: shapes that do not fit, times that do not increase, a threshold <= 0, or an unknown definition.
    Reference: Pathak et al. (2018), Physical Review Letters 120, 024102; Vlachas et al. (2020), Neural Networks 126, 191-217.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.predictability import valid_prediction_time
      >>> truth = jnp.ones((5, 1, 8))
      >>> prediction = truth + jnp.array([0.0, 0.1, 0.2, 0.6, 2.0])[:, None, None]
      >>> ts = jnp.arange(5.0)
      >>> print(f"{valid_prediction_time(prediction, truth, ts, space=1, lyapunov_time=2.0):.3f}")
      1.250
    """
    if definition not in get_args(ValidityDefinition):
        raise ValueError(f"valid_prediction_time: {unknown_name('definition', definition, get_args(ValidityDefinition))}")
    if not threshold > 0:
        raise ValueError(f"valid_prediction_time: threshold must be above 0, got {threshold!r}.")
    a, b = check_fields("valid_prediction_time", prediction, truth, space, 2)
    ts = _times("valid_prediction_time", ts, a.shape[-space - 2])
    over, before = tuple(range(-space - 1, 0)), tuple(range(a.ndim - space - 1))
    if definition == "pathak":
        size = root(jnp.mean(jnp.sum(b**2, axis=over))) if deviation is None else jnp.asarray(deviation)
        error = root(jnp.sum((a - b) ** 2, axis=over)) / size
    else:
        size = jnp.std(b, axis=before) if deviation is None else jnp.asarray(deviation)
        scaled = jnp.where(a == b, 0, (a - b) / jnp.where(a == b, 1, size))
        error = root(jnp.mean(scaled**2, axis=over))
    error = jnp.where(jnp.isfinite(a).all(axis=over), error, jnp.inf)
    times = _crossing(error - threshold, ts) / lyapunov_time
    return jnp.mean(times) if average else times


class LyapunovExponent(NamedTuple):
    """The largest Lyapunov exponent.

    Attributes:
      exponent: in 1 / time; 1 over it is the Lyapunov time.
      standard_error: of the mean over the run, from the spread of ten parts of it.
      final: the state at the end.
    """

    exponent: Float[Array, ""]
    standard_error: Float[Array, ""]
    final: Any


def lyapunov_exponent(
    stepper: Any, state: Any = None, *, steps: int, key: Key, warm_up: int | None = None, every: int = 10
) -> LyapunovExponent:
    """The largest Lyapunov exponent of a stepper, by a tangent vector that is carried along and brought back to length 1.

        lambda = 1 / (n every dt) sum_i log |D Phi^every v_i|,    v_(i+1) = D Phi^every v_i / |D Phi^every v_i|

    with D Phi the exact derivative of the stepper's step (jvp), for a solver as for a surrogate. A surrogate whose exponent is
    not the solver's is no model of its chaos, however small its error.

    The exponent is that of the discrete map: a step that is too long for the solver shows. Without chaos it is <= 0, and a
    tangent along a neutral direction (a shift in space or time) gives 0.

    Args:
      stepper: anything with ``step(state) -> state`` and ``dt``; ``initial()`` where no state is given.
      state: where it begins, on the attractor or not far from it.
      steps: over which the mean is taken, rounded up to a multiple of 10 `every`.
      key: draws the first tangent vector.
      warm_up: steps before them, for the state to reach the attractor and the tangent its direction; steps // 4 by default.
      every: steps between renormalisations: growth in between must stay far from overflow.
    Returns:
      A `LyapunovExponent`; NaN where the state does not stay finite.
    Raises:
      ValueError: numbers that are not whole and positive, or a state without floating-point leaves.
    Reference: Benettin, Galgani, Giorgilli & Strelcyn (1980), Meccanica 15, 9-20, eq. 12.
    Example:
      >>> import dataclasses, jax, jax.numpy as jnp
      >>> from jaxsci.compare.predictability import lyapunov_exponent
      >>> @dataclasses.dataclass(frozen=True)
      ... class Doubling:
      ...     dt: float = 0.5
      ...     def step(self, state):
      ...         return state @ jnp.array([[2.0, 1.0], [0.0, 0.5]])
      >>> found = lyapunov_exponent(Doubling(), jnp.zeros(2), steps=100, key=jax.random.key(0))
      >>> print(f"{found.exponent:.4f}")  # log 2 / dt
      1.3863
    """
    numbers = {"steps": (steps, 1), "every": (every, 1), "warm_up": (0 if warm_up is None else warm_up, 0)}
    for name, (value, least) in numbers.items():
        if not is_whole(value) or value < least:
            raise ValueError(f"lyapunov_exponent: {name} must be a whole number >= {least}, got {value!r}.")
    state = stepper.initial() if state is None else state
    leaves, tree = jax.tree.flatten(state)
    moving = [jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves]
    if not any(moving):
        raise ValueError("lyapunov_exponent: the state has no floating-point leaves, so that nothing can grow.")

    def advance(state, tangent):
        whole = [v if ok else np.zeros(jnp.shape(x), jax.dtypes.float0)
                 for v, x, ok in zip(tangent, jax.tree.leaves(state), moving, strict=True)]  # fmt: skip
        new, moved = jax.jvp(stepper.step, (state,), (jax.tree.unflatten(tree, whole),))
        kept = [v if ok else jnp.zeros(()) for v, ok in zip(jax.tree.leaves(moved), moving, strict=True)]
        return new, kept

    def stretch(carry, _):
        state, tangent = jax.lax.scan(lambda c, _: (advance(*c), None), carry, None, length=every)[0]
        size = jnp.sqrt(sum(jnp.sum(jnp.abs(v) ** 2) for v in tangent))
        return (state, [v / jnp.asarray(size, v.dtype) for v in tangent]), jnp.log(size)

    count = 10 * -(-steps // (10 * every))
    settle = -(-(steps // 4 if warm_up is None else warm_up) // every)

    @jax.jit
    def run(state, tangent):
        carry, _ = jax.lax.scan(stretch, (state, tangent), None, length=settle)
        (final, _), logs = jax.lax.scan(stretch, carry, None, length=count)
        rates = jnp.mean(logs.reshape(10, -1), axis=1) / (every * stepper.dt)
        return LyapunovExponent(jnp.mean(rates), jnp.std(rates, ddof=1) / np.sqrt(10), final)

    tangent = [v if ok else jnp.zeros(()) for v, ok in zip(_first_tangent(stepper, state, key), moving, strict=True)]
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    return run(jax.tree.unflatten(tree, leaves), tangent)


def _first_tangent(stepper: Any, state: Any, key: Key) -> list[Any]:
    """Random fields in the form in which the stepper carries them; random leaves where it does not say how. Time stays."""
    frame = getattr(stepper, "frame", stepper)
    if hasattr(stepper, "encode") and hasattr(frame, "lines"):
        # A spectral state holds numbers that stand for no real field (an imaginary mean): a direction there would never decay.
        shape = (len(frame.lines.component_names), *(len(x) for x in stepper.grid.values()))
        fields = jax.random.normal(key, shape)
        encoded = lambda x: stepper.encode(x, state.t)  # noqa: E731
        _, tangent = jax.jvp(encoded, (jnp.zeros_like(fields),), (fields,))
        return [v.astype(jnp.result_type(x)) if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else None
                for v, x in zip(jax.tree.leaves(tangent), jax.tree.leaves(state), strict=True)]  # fmt: skip
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, jnp.shape(x), jnp.result_type(x)) if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else None
             for k, x in zip(keys, leaves, strict=True)]  # fmt: skip
    if hasattr(state, "_replace") and hasattr(state, "t"):
        marked = jax.tree.unflatten(tree, list(range(len(leaves))))
        drawn[marked.t] = jnp.zeros_like(leaves[marked.t])
    return drawn


def _times(what: str, ts: ArrayLike, saves: int) -> jax.Array:
    ts = jnp.asarray(ts)
    if ts.shape != (saves,):
        raise ValueError(f"{what}: ts must hold one time per save, shape {(saves,)}; got shape {ts.shape}.")
    if not is_traced(ts) and not (np.diff(np.asarray(ts)) > 0).all():
        raise ValueError(f"{what}: ts must increase, got {np.asarray(ts)}.")
    return ts.astype(jnp.result_type(ts, 0.0))


def _crossing(excess: jax.Array, ts: jax.Array) -> jax.Array:
    """The time after ts[0] at which a curve, the last axis, first rises above zero; by linear interpolation."""
    above = excess > 0
    last = jnp.argmax(above, axis=-1, keepdims=True)  # 0 where it is above at once, or never
    first = jnp.maximum(last - 1, 0)
    low, high = (jnp.take_along_axis(excess, i, axis=-1) for i in (first, last))
    start, end = ts[first], ts[last]
    rise = jnp.where(jnp.isfinite(high) & (high > low), high - low, 1)
    share = jnp.where(jnp.isfinite(high), jnp.clip(-low / rise, 0, 1), 0)  # up to the save before where it jumps to infinity
    time = jnp.where(last == 0, ts[0], start + share * (end - start))
    time = jnp.where(above.any(axis=-1, keepdims=True), time, ts[-1])
    return time[..., 0] - ts[0]
