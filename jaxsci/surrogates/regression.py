"""A network as the surrogate of a function of numbers: y = f(x) from pairs of x and y."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxsci._checks import is_whole
from jaxsci._types import Key
from jaxsci.networks.functional import Network


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class FittedFunction:
    """What `NetworkRegression.fit` returns: ``function(x[..., k]) -> y[..., m]``, or [...] where the outputs were [n].

    A pytree: the parameters and the units of inputs and outputs are its leaves.
    """

    network: Network = dataclasses.field(metadata={"static": True})
    parameters: Any
    inputs: Any  # (mean, deviation), [k] each
    outputs: Any  # (mean, deviation), [m] each, or numbers

    def __call__(self, x: Any) -> Any:
        (center, spread), (mean, size) = self.inputs, self.outputs
        z = (jnp.asarray(x) - center) / spread
        apply = lambda z: self.network.apply(self.parameters, z)  # noqa: E731
        y = jnp.vectorize(apply, signature="(k)->(m)")(z)
        return (y if jnp.ndim(mean) else y[..., 0]) * size + mean


@dataclasses.dataclass(frozen=True)
class NetworkRegression:
    """Least squares by Adam on a rate that falls to 0 as a cosine; inputs and outputs in units of their deviation.

    Args:
      network: such as `jaxsci.networks.MLP`.
      steps: of Adam. batch: pairs a step, drawn anew; all of them where there are fewer.
      learning_rate: the first one.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
      >>> regression = js.surrogates.NetworkRegression(js.networks.MLP((16,)), steps=1000, learning_rate=1e-2)
      >>> function = regression.fit(x, x[:, 0] ** 2, key=jax.random.key(0))
      >>> bool(abs(function(jnp.array([0.5])) - 0.25) < 0.05)
      True
    """

    network: Network
    steps: int = 3000
    batch: int = 128
    learning_rate: float = 3e-3

    def __post_init__(self):
        for name in ("steps", "batch"):
            if not is_whole(getattr(self, name)) or getattr(self, name) < 1:
                raise ValueError(f"NetworkRegression: {name} is a whole number >= 1, got {getattr(self, name)!r}.")
        if not self.learning_rate > 0:
            raise ValueError(f"NetworkRegression: learning_rate is a number > 0, got {self.learning_rate!r}.")

    def fit(self, inputs: Any, outputs: Any, *, key: Key) -> FittedFunction:
        """From inputs [n, k] and outputs [n] or [n, m], all finite.

        Raises:
          ValueError: other shapes, or numbers that are not finite.
        """
        x, y = (jnp.asarray(v, jnp.result_type(float)) for v in (inputs, outputs))
        if x.ndim != 2 or y.ndim not in (1, 2) or len(x) != len(y) or not len(x):
            raise ValueError(
                f"NetworkRegression: inputs are [n, k] and outputs [n] or [n, m], got {list(x.shape)} and {list(y.shape)}."
            )
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError("NetworkRegression: inputs and outputs must be finite; leave out what has no solution.")
        units = [(v.mean(0), jnp.where(v.std(0) > 0, v.std(0), 1.0)) for v in (x, y)]
        first, draws = jax.random.split(key)
        parameters = self.network.init(first, x.shape[1], y.shape[1] if y.ndim == 2 else 1)
        function = FittedFunction(self.network, parameters, *units)
        return dataclasses.replace(function, parameters=_train(self, function, x, y, draws))


@functools.partial(jax.jit, static_argnums=0)
def _train(regression: NetworkRegression, function: FittedFunction, x: Any, y: Any, key: Key) -> Any:
    batch = min(regression.batch, len(x))
    optimiser = optax.adam(optax.cosine_decay_schedule(regression.learning_rate, regression.steps))

    def loss(parameters: Any, rows: Any) -> Any:
        error = dataclasses.replace(function, parameters=parameters)(x[rows]) - y[rows]
        return jnp.mean((error / function.outputs[1]) ** 2)

    def step(carried: Any, key: Key) -> tuple[Any, None]:
        parameters, state = carried
        rows = jax.random.choice(key, len(x), (batch,), replace=False) if batch < len(x) else jnp.arange(batch)
        updates, state = optimiser.update(jax.grad(loss)(parameters, rows), state)
        return (optax.apply_updates(parameters, updates), state), None

    start = (function.parameters, optimiser.init(function.parameters))
    return jax.lax.scan(step, start, jax.random.split(key, regression.steps))[0][0]
