r"""Parameters of a kinetic model from measured time courses: least squares in log-parameters, many starts at once."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import check_keys, is_whole, listed
from jaxsci.metabolism.kinetic_integration import DONE
from jaxsci.metabolism.kinetic_model import KineticModel
from jaxsci.metabolism.kinetic_simulation import simulate_kinetics


class KineticData(NamedTuple):
    """Measured time courses.

    Attributes:
      times: [T], increasing, the first >= 0.
      values: by identifier of an unknown or of what an assignment rule defines, [T] each; NaN where nothing was measured.
    """

    times: Any
    values: Mapping[str, Any]


class KineticFit(NamedTuple):
    """What `fit_kinetics` returns, the best start first.

    Attributes:
      model: with the best start's parameters.
      parameters: of every start, by identifier, [starts].
      losses: of every start, [starts]: half the sum of the squared scaled residuals; infinite where no trajectory was found.
      first_losses: before fitting, in the same order.
      steps: that were taken (the same for all starts).
    """

    model: KineticModel
    parameters: dict[str, jax.Array]
    losses: jax.Array
    first_losses: jax.Array
    steps: int


def fit_kinetics(
    model: KineticModel,
    data: KineticData,
    free: Sequence[str],
    *,
    key: Any = None,
    starts: int = 1,
    spread: float = 1.0,
    scale: Mapping[str, float] | None = None,
    steps: int = 50,
    tol: float = 1e-12,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    max_steps: int = 1024,
) -> KineticFit:
    r"""The free parameters theta = exp(u) that minimise the weighted squares, by Levenberg and Marquardt's method.

        minimise_u  1/2 sum_(s, j) ((y_s(t_j; exp(u)) - d_sj) / scale_s)^2

    The Jacobian comes with the trajectory (forward sensitivities); all starts advance together under vmap. The first start
    is the model's own parameters, the others theirs times exp(spread * normal).

    Args:
      model: from `load_kinetics`; what is not free stays as it is.
      data: a `KineticData`, or a pair (times, values).
      free: identifiers of parameters (all > 0) to fit.
      key: of `jax.random`; needed with more than one start.
      starts: how many.
      spread: standard deviation of the logarithms of the starts.
      scale: by identifier; the largest absolute value measured by default.
      steps: the most steps of the optimiser.
      tol: it ends where no start's loss falls by more than this share.
      rtol, atol, max_steps: of the integration.
    Returns:
      A `KineticFit`: all starts, sorted by loss.
    Raises:
      KeyError: a parameter or a measured quantity that does not exist, with the nearest name that does.
      ValueError: no free parameters, values <= 0, lengths that do not agree, no start, starts without a key.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> model = js.metabolism.load_kinetics('''
      ...   <sbml xmlns="http://www.sbml.org/sbml/level2/version4" level="2" version="4"><model id="decay">
      ...   <listOfParameters><parameter id="k" value="1.5"/><parameter id="x" value="2" constant="false"/></listOfParameters>
      ...   <listOfRules><rateRule variable="x"><math xmlns="http://www.w3.org/1998/Math/MathML">
      ...   <apply><minus/><apply><times/><ci>k</ci><ci>x</ci></apply></apply></math></rateRule></listOfRules></model></sbml>''')
      >>> times = jnp.linspace(0.0, 2.0, 5)
      >>> fit = js.metabolism.fit_kinetics(model, (times, {"x": 2 * jnp.exp(-0.5 * times)}), ["k"], steps=8, rtol=1e-4)
      >>> print(f"{fit.parameters['k'][0]:.2f}")
      0.50

    Source: Moré, The Levenberg-Marquardt algorithm: implementation and theory (1978).
    """
    data = KineticData(*data)
    if not free:
        raise ValueError(f"free is empty: name some of the {len(model.parameters)} parameters of the model.")
    check_keys("The free parameter", dict.fromkeys(free), model.parameters)
    first = np.array([float(model.parameters[name]) for name in free])
    if not np.all(first > 0):
        raise ValueError(
            f"{free[int(np.argmin(first))]!r} is {first.min()}: a parameter fitted by its logarithm begins > 0."
        )
    if not is_whole(starts) or starts < 1 or (starts > 1 and key is None):
        raise ValueError(f"starts is a whole number >= 1, and more than one needs key=jax.random.key(0); got {starts!r}.")
    check_keys("The measured quantity", data.values, [*model.states, *model.assigned])
    times = np.asarray(data.times, float)
    for name, values in data.values.items():
        if np.shape(values) != times.shape:
            raise ValueError(f"{name!r} has shape {np.shape(values)}, the times {times.shape}: one value at each time.")
    if not data.values:
        raise ValueError("data.values is empty: there is nothing to fit to.")
    measured = np.stack([np.asarray(v, float) for v in data.values.values()], axis=1)
    if not np.isfinite(times).all() or np.isinf(measured).any() or np.isnan(measured).all():
        wrong = [name for name, values in data.values.items() if np.isinf(np.asarray(values, float)).any()]
        what = (
            f"{listed(wrong)} holds infinity" if wrong else "nothing was measured" if np.isfinite(times).all() else "times"
        )
        raise ValueError(
            f"fit_kinetics: the data are not finite ({what}); NaN stands for a missing value, times are all finite."
        )
    check_keys("The scaled quantity", scale or {}, data.values)
    sizes = np.nanmax(np.abs(measured), axis=0)
    sizes = np.array([(scale or {}).get(n, s if s > 0 else 1.0) for n, s in zip(data.values, sizes, strict=True)])
    here = tuple(data.values), tuple(free), (rtol, atol, max_steps)
    begin = jnp.log(jnp.asarray(first))[None]
    if starts > 1:
        begin = begin + spread * jax.random.normal(key, (starts, len(free)), begin.dtype).at[0].set(0)
    trial = functools.partial(_sweep, *here)
    u, loss, slope, curve = trial(model, times, measured, sizes, begin)
    first_loss, damping, taken = loss, jnp.full(starts, 1e-2), 0
    for taken in range(1, steps + 1):  # noqa: B007
        move = _moves(slope, curve, damping)
        u1, loss1, slope1, curve1 = trial(model, times, measured, sizes, u + jnp.clip(move, -2.0, 2.0))
        better = loss1 < loss
        fall = np.asarray(jnp.where(better, (loss - loss1) / jnp.maximum(loss, 1e-300), 0))
        u, slope = (jnp.where(better[:, None], new, old) for new, old in ((u1, u), (slope1, slope)))
        curve = jnp.where(better[:, None, None], curve1, curve)
        loss = jnp.where(better, loss1, loss)
        damping = jnp.clip(jnp.where(better, damping / 5, damping * 4), 1e-12, 1e8)
        if np.all((fall <= tol) & np.asarray(better | (damping > 1e4) | (loss < 1e-28))):
            break
    order = jnp.argsort(loss)
    values = {name: jnp.exp(u[order, i]) for i, name in enumerate(free)}
    best = model.replace({name: v[0] for name, v in values.items()})
    return KineticFit(best, values, loss[order], first_loss[order], taken)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _sweep(names: tuple, free: tuple, options: tuple, model: Any, times: Any, measured: Any, sizes: Any, u: Any) -> Any:
    """Loss, gradient and Gauss-Newton curvature of every start: u [starts, free]."""
    rtol, atol, max_steps = options

    def residuals(u):
        parameters = {name: jnp.exp(u[i]) for i, name in enumerate(free)}
        run = simulate_kinetics(model, times, parameters, rtol=rtol, atol=atol, max_steps=max_steps)

        def seen(t, y):
            columns = []
            others = model.observables(t, y, parameters) if set(names) & set(model.assigned) else {}
            for name in names:
                columns.append(y[model.states.index(name)] if name in model.states else others[name])
            return jnp.stack(columns)

        values = jax.vmap(seen)(run.times, run.values)
        known = jnp.isfinite(measured) & (run.status == DONE)
        difference = jnp.where(known, (values - jnp.where(known, measured, 0)) / sizes, 0)
        return difference.ravel(), (difference.ravel(), run.status)

    def one(u):
        jacobian, (r, status) = jax.jacfwd(residuals, has_aux=True)(u)
        jacobian = jnp.where(jnp.isfinite(jacobian), jacobian, 0)
        loss = jnp.where(status == DONE, 0.5 * jnp.sum(r**2), jnp.inf)
        return jnp.where(jnp.isfinite(loss), loss, jnp.inf), jacobian.T @ r, jacobian.T @ jacobian

    return (u, *jax.vmap(one)(u))


@jax.jit
def _moves(slope: jax.Array, curve: jax.Array, damping: jax.Array) -> jax.Array:
    diagonal = jnp.diagonal(curve, axis1=1, axis2=2)
    diagonal = jnp.maximum(diagonal, 1e-12 * jnp.max(diagonal, axis=1, keepdims=True) + 1e-300)
    matrix = curve + damping[:, None, None] * diagonal[..., None] * jnp.eye(curve.shape[1], dtype=curve.dtype)
    return -jnp.linalg.solve(matrix, slope[..., None])[..., 0]
