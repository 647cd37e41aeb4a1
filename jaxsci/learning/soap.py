"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner, as an optax transformation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Moments(NamedTuple):
    """What SOAP keeps of one leaf; the last two are None for leaves that are no matrices, and for sides that are too long."""

    mean: Any  # of the gradient
    square: Any  # of the gradient in the eigenbasis
    covariances: tuple[Any, ...]  # of the rows and of the columns of the gradient
    bases: tuple[Any, ...]  # their eigenvectors


class SoapState(NamedTuple):
    """The step, and the moments of every leaf in the order of `jax.tree.leaves`."""

    count: Any
    moments: tuple[Moments, ...]


def soap(
    learning_rate: Any,
    b1: float = 0.95,
    b2: float = 0.95,
    eps: float = 1e-8,
    every: int = 10,
    longest: int = 2048,
) -> optax.GradientTransformation:
    r"""SOAP: Adam in the slowly turning eigenbasis of Shampoo's preconditioner.

        L = E[G G'],  R = E[G'G],  G~ = Q_L' G Q_R,  N~ = M~ / (sqrt(V~) + eps),  step = -rate Q_L N~ Q_R'

    Q_L and Q_R follow the eigenvectors of L and R by one power iteration and a QR every `every` steps.  Leaves that are no
    matrices (biases, coefficients) get Adam.  The first step only fills L and R.

    Args:
      learning_rate: a number or an optax schedule.
      b1, b2: decay of the means of gradients and of squares (L and R included).
      eps: added to the root of the mean square.
      every: steps between two refreshes of the bases.
      longest: sides above this length are not rotated.
    Dtype: that of the parameters.
    Reference: Vyas et al. (2024), *SOAP: Improving and Stabilizing Shampoo using Adam*, arXiv:2409.11321, algorithm 3.
    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxsci.learning import soap
      >>> method, w = soap(0.1), jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> state = method.init(w)
      >>> for _ in range(100):
      ...     change, state = method.update(w, state)  # the gradient of |w|^2 / 2
      ...     w = optax.apply_updates(w, change)
      >>> bool(jnp.abs(w).max() < 2.0)
      True
    """

    def init(params):
        def moments(leaf):
            sides = leaf.shape if leaf.ndim == 2 else ()
            identity = tuple(jnp.eye(n, dtype=leaf.dtype) if n <= longest else None for n in sides) or (None, None)
            zeros = jax.tree.map(jnp.zeros_like, identity)
            return Moments(jnp.zeros_like(leaf), jnp.zeros_like(leaf), zeros, identity)

        return SoapState(jnp.zeros((), jnp.int32), tuple(moments(leaf) for leaf in jax.tree.leaves(params)))

    def update(updates, state, params=None):
        del params
        leaves, structure = jax.tree.flatten(updates)
        pairs = [_leaf(g, m, state.count, b1, b2, eps, every) for g, m in zip(leaves, state.moments, strict=True)]
        steps = jax.tree.unflatten(structure, [step for step, _ in pairs])
        return steps, SoapState(state.count + 1, tuple(moments for _, moments in pairs))

    return optax.chain(optax.GradientTransformation(init, update), optax.scale_by_learning_rate(learning_rate))


def _leaf(gradient: Any, m: Moments, count: Any, b1: float, b2: float, eps: float, every: int) -> tuple[Any, Moments]:
    """The direction for one leaf, and its next moments."""
    mean = b1 * m.mean + (1 - b1) * gradient
    square = b2 * m.square + (1 - b2) * _rotate(gradient, m.bases) ** 2
    rotates = any(basis is not None for basis in m.bases)
    seen = (count if rotates else count + 1).astype(gradient.dtype)  # steps that have gone into the squares
    square = jnp.where(count == 0, 0.0, square) if rotates else square
    size = jnp.sqrt(square / (1 - b2 ** jnp.maximum(seen, 1.0))) + eps
    direction = _rotate(_rotate(mean / (1 - b1 ** (count + 1.0)), m.bases) / size, m.bases, back=True)
    if not rotates:
        return direction, Moments(mean, square, m.covariances, m.bases)
    direction = jnp.where(count == 0, 0.0, direction)
    squares = (gradient @ gradient.T, gradient.T @ gradient)
    covariances = tuple(None if c is None else b2 * c + (1 - b2) * s for c, s in zip(m.covariances, squares, strict=True))
    bases = tuple(None if q is None else _refresh(c, q, count, every) for c, q in zip(covariances, m.bases, strict=True))
    return direction, Moments(mean, square, covariances, bases)


def _rotate(matrix: Any, bases: tuple[Any, ...], back: bool = False) -> Any:
    left, right = bases
    if left is not None:
        matrix = (left if back else left.T) @ matrix
    if right is not None:
        matrix = matrix @ (right.T if back else right)
    return matrix


def _refresh(covariance: Any, basis: Any, count: Any, every: int) -> Any:
    """Eigenvectors at the first step; afterwards, now and then, one power iteration and a QR."""

    def turn():
        first = lambda: jnp.linalg.eigh(covariance)[1]  # noqa: E731
        return jax.lax.cond(count == 0, first, lambda: jnp.linalg.qr(covariance @ basis)[0])

    return jax.lax.cond(count % every == 0, turn, lambda: basis)
