r"""The steady lid-driven cavity by a spectral Galerkin method, with the singularities of its corners taken out.

On [0, 1]^2 the lid y = 1 moves with u = 1, the other walls are at rest. With u = psi_y, v = -psi_x, w = v_x - u_y = -q and
q = lap psi the steady Navier-Stokes equations are

    nu lap q = psi_y q_x - psi_x q_y,      psi = 0,  d psi / dn = the wall's speed.

Where the lid meets a wall the velocity jumps and the vorticity grows as 1/r. So psi = S + p, where S holds the first two terms
of the expansion about both upper corners (Gupta, Manohar & Noble 1981) and the remainder p, which is of order r^3 there, is
approximated by a polynomial:

    S = r f(a) + r^2 g(a) / nu,      lap lap (r f) = 0,      lap lap (r^2 g) = the nonlinear terms of r f,

with r the distance to the corner and a the angle from the lid. p takes over what S leaves on the walls: a known polynomial (the
lift, by transfinite Hermite interpolation) plus one in products of Shen's clamped Legendre combinations, whose coefficients
are the unknowns of Newton's method. Fourth derivatives never occur: nu (lap p, lap phi) = (..., phi) for every clamped phi.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from numpy.polynomial import Chebyshev, Polynomial, legendre

from jaxsci._checks import is_traced, is_whole
from jaxsci.solvers.cavity_corners import INERTIAL, STOKES, Parts, corner_flow, corner_parts
from jaxsci.solvers.collocation import chebyshev_nodes, chebyshev_weights

_STAGES = 8  # viscosities from that of Re = 100 to the wanted one
_MOST_ITERATIONS = 12
_SETTLED = 1e-9  # Newton's last change, relative
WALL_DEGREE = 32  # of the polynomials along the walls, where S is analytic: 4.6^-32 is below round-off


# --- the polynomial part ---------------------------------------------------------------------------------------------------


def _shen(n: int, x: np.ndarray, order: int) -> np.ndarray:
    """Derivatives at x in [0, 1] of the clamped polynomials of degree <= n, ``[len(x), n - 3]``.

    L_k - 2 (2k + 5) / (2k + 7) L_(k+2) + (2k + 3) / (2k + 7) L_(k+4), with orthonormal second derivatives.
    """
    k = np.arange(n - 3)
    size = 2**1.5 * np.sqrt(2 * (2 * k + 3) ** 2 * (2 * k + 5))  # on [0, 1]
    rows = np.zeros((n + 1, n - 3))
    rows[k, k], rows[k + 2, k], rows[k + 4, k] = 1, -2 * (2 * k + 5) / (2 * k + 7), (2 * k + 3) / (2 * k + 7)
    return 2**order * legendre.legval(2 * x - 1, legendre.legder(rows / size, order), tensor=True).T


def _polynomial_parts(d: Any) -> Parts:
    """The parts of a polynomial, from a function (order in x, order in y) -> its derivative on the grid."""
    values = d(0, 0)
    return Parts(values, d(1, 0), d(0, 1), d(3, 0) + d(1, 2), d(2, 1) + d(0, 3), d(2, 0) + d(0, 2), 0 * values)


def _hermite(k: int, x: np.ndarray) -> list[np.ndarray]:
    """The k-th derivatives of the cubics that are 1 in one of (value at 0, value at 1, slope at 0, slope at 1)."""
    cubics = ([1, 0, -3, 2], [0, 0, 3, -2], [0, 1, -2, 1], [0, 0, -1, 1])
    return [Polynomial(c).deriv(k)(x) for c in cubics]


def polynomial_lift(x: np.ndarray, m: int) -> Parts:
    """The polynomial with the wall data that the terms r^m of S leave to p, on the grid x by x.

    Transfinite Hermite interpolation: P_x + P_y - P_x P_y, where P_x interpolates between the walls x = 0 and x = 1. A corner's
    own function vanishes on its two walls (but for the lid's speed), so that all data are analytic.
    """
    nodes, sign = (chebyshev_nodes(WALL_DEGREE) + 1) / 2, -((-1) ** m)
    corner = functools.partial(corner_parts, m=m, angular=STOKES if m == 1 else INERTIAL)
    side, low = corner(1 + 0 * nodes, nodes), corner(nodes, 0 * nodes)  # the left corner's function on the far walls
    nothing, lid = 0 * nodes, np.full_like(nodes, -1.0 if m == 1 else 0.0)
    along = lambda data: [Chebyshev.fit(nodes, values, WALL_DEGREE, domain=[0, 1]) for values in data]  # noqa: E731
    # The right corner's function is `sign` times the left one's in 1 - x. Values at 0 and 1, slopes at 0 and 1:
    walls_of_x = along((-sign * side.psi, -side.psi, sign * side.x, -side.x))
    walls_of_y = along((-low.psi - sign * low.psi[::-1], nothing, -low.y - sign * low.y[::-1], lid))

    def derivative(i, j):
        over_x, over_y = _hermite(i, x), _hermite(j, x)
        total = sum(h[:, None] * wall.deriv(j)(x)[None, :] for h, wall in zip(over_x, walls_of_x, strict=True))
        total = total + sum(wall.deriv(i)(x)[:, None] * h[None, :] for h, wall in zip(over_y, walls_of_y, strict=True))
        for h, wall in zip(over_x, walls_of_x, strict=True):  # both have the data at the corners of the box
            ends = (wall(0.0), wall(1.0), wall.deriv()(0.0), wall.deriv()(1.0))
            total = total - sum(end * h[:, None] * k[None, :] for end, k in zip(ends, over_y, strict=True))
        return total

    return _polynomial_parts(derivative)


# --- Newton's method -------------------------------------------------------------------------------------------------------


def _regular_lift(x: np.ndarray) -> Parts:
    """16 x^2 (1 - x)^2 (y^3 - y^2) on the grid x by x: at rest on the walls but for the speed 16 x^2 (1 - x)^2 of the lid."""
    speed, rise = Polynomial([0, 0, 16, -32, 16]), Polynomial([0, 0, -1, 1])
    return _polynomial_parts(lambda i, j: np.outer(speed.deriv(i)(x), rise.deriv(j)(x)))


Size = tuple[int, bool]  # the degree, and whether the lid is regularised


class _Galerkin(NamedTuple):
    """The discretisation at degree n: quadrature, the clamped polynomials there, and what is known of psi, S + lift."""

    weights: np.ndarray  # [Q, Q]
    basis: tuple[np.ndarray, ...]  # derivatives 0 to 3, each [Q, n - 3]
    stokes: Parts  # the part of size 1
    inertial: Parts  # the part of size 1 / nu
    drift: np.ndarray  # its coefficients, [n - 3, n - 3]: what p gains where 1 / nu falls


@functools.cache
def _galerkin(size: Size) -> _Galerkin:
    n, regularised = size
    nodes, weights = legendre.leggauss(3 * n // 2)
    x, w = (nodes + 1) / 2, weights / 2
    mesh = np.meshgrid(x, x, indexing="ij")
    first, second = corner_parts(*mesh, 1, STOKES), corner_parts(*mesh, 2, INERTIAL)
    stokes = first + first.mirrored() + polynomial_lift(x, 1)
    inertial = second + second.mirrored().scaled(-1) + polynomial_lift(x, 2)
    if regularised:
        stokes, inertial = _regular_lift(x), inertial.scaled(0)
    basis = tuple(_shen(n, x, k) for k in range(4))
    expand = np.linalg.pinv(basis[0])
    return _Galerkin(np.outer(w, w), basis, stokes, inertial, expand @ inertial.psi @ expand.T)


def _total(space: _Galerkin, p: Any, viscosity: Any) -> Parts:
    b = space.basis
    return space.stokes + space.inertial.scaled(1 / viscosity) + _polynomial_parts(lambda i, j: b[i] @ p @ b[j].T)


def _residual(size: Size, p: Any, viscosity: Any) -> Any:
    """The equation tested with every clamped polynomial, ``[n - 3, n - 3]``."""
    space = _galerkin(size)
    psi, (b0, _, b2, _) = _total(space, p, viscosity), space.basis
    viscous, rest = space.weights * psi.q, space.weights * (psi.biharmonic * viscosity - psi.y * psi.qx + psi.x * psi.qy)
    return viscosity * (b2.T @ viscous @ b0 + b0.T @ viscous @ b2) + b0.T @ rest @ b0


def _jacobian(size: Size, p: Any, viscosity: Any) -> Any:
    """d residual / d p, ``[m^2, m^2]`` with m = n - 3."""
    space = _galerkin(size)
    psi, (b0, b1, b2, b3), m = _total(space, p, viscosity), space.basis, size[0] - 3
    products = lambda a, b: (a[:, :, None] * b[:, None, :]).reshape(len(a), m * m)  # noqa: E731  (test, unknown)

    def tested(field, *terms):
        """The sum over the terms (i, j) of integrals of field phi d^i d^j p: one axis after the other."""
        inner = [(products(b0, i).T @ (space.weights * field)) @ products(b0, j) for i, j in terms]
        return sum(inner)

    mass, mixed, stiff = (
        np.einsum("qa,qb,q->ab", a, b, np.sum(space.weights, 1)) for a, b in ((b0, b0), (b2, b0), (b2, b2))
    )
    scaled = viscosity * jnp.stack([stiff, mass, mixed, mixed.T])
    viscous = sum(jnp.kron(a, b) for a, b in zip(scaled, (mass, stiff, mixed.T, mixed), strict=True))
    carried = tested(-psi.y, (b3, b0), (b1, b2)) + tested(psi.x, (b2, b1), (b0, b3))
    carried = carried + tested(-psi.qx, (b0, b1)) + tested(psi.qy, (b1, b0))
    carried = carried.reshape(m, m, m, m).transpose(0, 2, 1, 3).reshape(m * m, m * m)  # (test x, test y), (p x, p y)
    return viscous + carried


def _newton(size: Size, p: Any, viscosity: Any) -> tuple[Any, Any]:
    """From a guess: the solution, and the size of the last change relative to it."""

    def step(carry):
        p, _, count = carry
        move = jnp.linalg.solve(_jacobian(size, p, viscosity), _residual(size, p, viscosity).ravel()).reshape(p.shape)
        return p - move, jnp.linalg.norm(move) / jnp.linalg.norm(p - move), count + 1

    def unsettled(carry):
        return (carry[1] > _SETTLED) & (carry[2] < _MOST_ITERATIONS)

    p, change, _ = jax.lax.while_loop(unsettled, step, (p, jnp.asarray(jnp.inf, p.dtype), 0))
    return p, change


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _root(size: Size, guess: Any, viscosity: Any) -> tuple[Any, Any]:
    """Newton's result as a function of the viscosity, whose derivative is that of the equation: J dp = -d residual."""
    return _newton(size, guess, viscosity)


@_root.defjvp
def _root_jvp(size, primals, tangents):
    guess, viscosity = primals
    p, change = _root(size, guess, viscosity)
    forced = jax.jvp(lambda viscosity: _residual(size, p, viscosity), (viscosity,), (tangents[1],))[1]
    slope = jnp.linalg.solve(_jacobian(size, p, viscosity), -forced.ravel()).reshape(p.shape)
    return (p, change), (slope, jnp.zeros_like(change))


@functools.partial(jax.jit, static_argnames=("n", "regularised"))
def _solve(n: int, regularised: bool, viscosity: Any) -> tuple[Any, Any, Any]:
    """Values of the polynomial part at Chebyshev nodes, Newton's last change, and the difference to two thirds of n."""
    coarse, size, fixed = (2 * n // 3, regularised), (n, regularised), jax.lax.stop_gradient(viscosity)
    start = jnp.maximum(fixed, 0.01)

    def stage(carry, fraction):
        p, before = carry
        here = start ** (1 - fraction) * fixed**fraction
        p, _ = _newton(coarse, p + _galerkin(coarse).drift * (1 / before - 1 / here), here)
        return (p, here), None

    fractions = jnp.linspace(0, 1, _STAGES)
    (guess, _), _ = jax.lax.scan(stage, (jnp.zeros((coarse[0] - 3, coarse[0] - 3)), start), fractions)
    guess = jnp.pad(guess, (0, n - coarse[0]))
    p, change = _root(size, guess, viscosity)
    space = _galerkin(size)
    fine, b = _total(space, p, viscosity), space.basis
    norm = lambda x, y: jnp.sqrt(jnp.sum(space.weights * (x**2 + y**2)))  # noqa: E731
    error = norm(b[1] @ (p - guess) @ b[0].T, b[0] @ (p - guess) @ b[1].T) / norm(fine.x, fine.y)
    x = (chebyshev_nodes(max(n, WALL_DEGREE + 3)) + 1) / 2
    lift = _regular_lift(x).psi if regularised else polynomial_lift(x, 1).psi + polynomial_lift(x, 2).psi / viscosity
    values = lift + _shen(n, x, 0) @ p @ _shen(n, x, 0).T
    return values, change, jax.lax.stop_gradient(error)


# --- the result ------------------------------------------------------------------------------------------------------------


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CavityFlow:
    """A steady flow in the lid-driven cavity, made by `steady_cavity`. A pytree; its functions take ONE point of [0, 1]^2.

    Attributes:
      viscosity: 1 / Re.
      values: the polynomial part of the stream function at Chebyshev nodes, ``[m, m]``, x first.
      error_estimate: relative L2 difference of the velocity to that of two thirds of n, which bounds the error from above.
      change: Newton's last change, relative.
      regularised: whether the lid moves with 16 x^2 (1 - x)^2.
    """

    viscosity: Any
    values: Float[Array, "m m"]
    error_estimate: Any
    change: Any
    regularised: bool = dataclasses.field(default=False, metadata={"static": True})

    def __call__(self, x: Float[ArrayLike, ""], y: Float[ArrayLike, ""]) -> Float[Array, "2"]:
        """The velocity (u, v). At the two upper corners, where it jumps, that of the lid."""
        slope_x, slope_y = jax.grad(self.stream_function, argnums=(0, 1))(*map(jnp.asarray, (x, y)))
        return jnp.stack([slope_y, -slope_x])

    def stream_function(self, x: Float[ArrayLike, ""], y: Float[ArrayLike, ""]) -> Float[Array, ""]:
        """psi with u = psi_y, v = -psi_x; zero on the walls."""
        at = lambda s: chebyshev_weights(len(self.values) - 1, 0.0, 1.0, s)  # noqa: E731
        polynomial = at(x) @ self.values @ at(y)
        return polynomial if self.regularised else polynomial + corner_flow(x, y, self.viscosity)

    def vorticity(self, x: Float[ArrayLike, ""], y: Float[ArrayLike, ""]) -> Float[Array, ""]:
        """w = v_x - u_y, which is unbounded at the two upper corners."""
        psi, one = self.stream_function, jnp.ones(())
        second = lambda f, s: jax.jvp(lambda s: jax.jvp(f, (s,), (one,))[1], (s,), (one,))[1]  # noqa: E731
        x, y = map(jnp.asarray, (x, y))
        return -second(lambda x: psi(x, y), x) - second(lambda y: psi(x, y), y)

    def check(self) -> CavityFlow:
        """Raise where Newton's method has not settled; return the flow otherwise.

        Raises:
          FloatingPointError: with the cure.
        """
        if np.all(np.asarray(self.change) <= 100 * _SETTLED):
            return self
        raise FloatingPointError(
            f"steady_cavity: Newton's method stopped at a relative change of {np.max(self.change):.1e}. A larger n resolves the "
            "wall layers; beyond Re of about 10,000 the steady flow is out of reach."
        )


def steady_cavity(viscosity: Float[ArrayLike, ""], *, n: int = 48, regularised: bool = False) -> CavityFlow:
    r"""The steady flow in the lid-driven cavity [0, 1]^2: u = 1 on the lid y = 1, u = v = 0 on the other walls.

    A reference with spectral accuracy for the cavity without regularised corners, at Re = 1 / viscosity. A Galerkin method with
    polynomials of degree n, the leading corner singularities subtracted; Newton's method with a dense Jacobian, through a
    sequence of Reynolds numbers at two thirds of n, then at n.

    Args:
      viscosity: nu > 0. Differentiable, by the implicit function theorem; jit and vmap pass.
      n: the degree, at least 12. Re = 1000: 24 gives four digits, 48 six. Time grows as n^6: (n - 3)^2 unknowns, dense.
      regularised: the lid moves with 16 x^2 (1 - x)^2 instead, and the flow has no singularities to speak of.
    Returns:
      A `CavityFlow`: ``flow(x, y) -> [u, v]`` at one point, ``flow.stream_function``, ``flow.vorticity``; its `check` raises
      where Newton's method has failed.
    Raises:
      ValueError: the viscosity is not positive, n is too small, or float64 is off: the digits of a reference need it.
    Reference: Botella & Peyret (1998), Computers & Fluids 27, 421; Gupta, Manohar & Noble (1981), J. Comput. Phys. 42, 257;
      Shen (1994), SIAM J. Sci. Comput. 15, 1489, for the basis.
    Example:
      >>> import jax, jaxsci as js
      >>> with jax.enable_x64(True):
      ...     flow = js.solvers.steady_cavity(0.01, n=18)
      ...     print(f"{flow.stream_function(0.5, 0.5):.4f} {flow.error_estimate:.0e}")
      -0.0665 ...
    """
    if not (is_whole(n) and n >= 12):
        raise ValueError(f"steady_cavity: n must be a whole number >= 12, got {n!r}.")
    if jnp.result_type(float) != jnp.float64:
        raise ValueError(
            "steady_cavity works in float64 only. Switch it on, jax.config.update('jax_enable_x64', True), or call it inside "
            "`with jax.enable_x64(True):`."
        )
    if not is_traced(viscosity) and not np.all(np.asarray(viscosity) > 0):
        raise ValueError(f"steady_cavity: the viscosity must be positive, got {viscosity!r}.")
    viscosity = jnp.asarray(viscosity, float)
    if viscosity.ndim:
        raise ValueError(
            f"steady_cavity: the viscosity must be a scalar, got shape {viscosity.shape}. For a batch use jax.vmap."
        )
    values, change, error = _solve(n, regularised, viscosity)
    return CavityFlow(viscosity, values, error, change, regularised)
