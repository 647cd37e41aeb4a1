r"""Velocities on a grid without divergence: the discrete Leray projection, spectral and on a staggered grid.

The nearest velocity whose divergence is the source s,

    u = y - G (D G)^-1 (D y - s),        D the divergence, G = -D* the gradient, D* the adjoint in the grid's inner product,

is a Poisson problem, solved directly by fast transforms; functions of coordinates without divergence are in
`jaxsci.constraints.curl`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced
from jaxsci.constraints.constraint import INFEASIBLE, Constraint, check_numbers, closed_form, constraint
from jaxsci.constraints.members import joined
from jaxsci.solvers.fast_diagonal import Diagonal, apply_function, inverse_or_zero

# --- Fourier series -------------------------------------------------------------------------------------------------------


@constraint()
class DivergenceFreeSpectral(Constraint):
    r"""Periodic velocities whose trigonometric interpolant has no divergence anywhere.

        u_k = y_k - k (k . y_k) / |k|^2        for every wavevector k.

    On an even number of points the highest cosine along an axis, cos(pi j), has a slope that is zero at all points of the grid
    but not between them. The component along that axis is left none of it; for the others its wavenumber is zero. So fields
    stay real, and have no divergence on any finer grid either.

    Args:
      lengths: of the periods, ``[..., dims]`` with two or three dims.
    Points: ``[..., dims, *space]``. The residual is the divergence on the grid, then the slopes of the highest cosines.
    Reference: Canuto, Hussaini, Quarteroni & Zang (2007), *Spectral Methods: Evolution to Complex Geometries*, section 3.3.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> box = js.constraints.DivergenceFreeSpectral((1.0, 2.0))
      >>> u, info = js.constraints.project(box, jax.random.normal(jax.random.key(0), (2, 16, 32)))
      >>> bool(info.residual < 1e-3), bool(jnp.abs(box.project(u)[0] - u).max() < 1e-5)
      (True, True)
    """

    lengths: Any

    def __post_init__(self):
        check_numbers("DivergenceFreeSpectral", lengths=self.lengths)
        shape = (len(self.lengths),) if isinstance(self.lengths, list | tuple) else getattr(self.lengths, "shape", None)
        known = shape is not None or isinstance(self.lengths, int | float)  # else what a tree was mapped to
        if known and (not shape or shape[-1] not in (2, 3)):
            raise ValueError(
                f"DivergenceFreeSpectral: lengths are those of two or three periods, as in (1.0, 2.0); got {self.lengths!r}."
            )

        if known and not is_traced(self.lengths) and not (np.asarray(self.lengths, float) > 0).all():
            raise ValueError(f"DivergenceFreeSpectral: lengths must be positive, got {self.lengths!r}.")

    @property
    def dims(self) -> int:
        return jnp.asarray(self.lengths).shape[-1]

    @property
    def event_ndim(self) -> int:  # ty: ignore[incompatible-property-override]
        return self.dims + 1

    def residual(self, x: Any) -> Any:
        self._check(x)
        divergence = self._to_grid(sum(1j * k * u for k, u in zip(self._waves(x), self._modes(x), strict=True)), x)
        parts = [divergence]
        for i, n in enumerate(x.shape[-self.dims :]):
            if n % 2 == 0:
                axis = i - self.dims
                signs = _along(np.resize([1.0, -1.0], n), axis, x)
                highest = jnp.mean(signs * jnp.take(x, i, -self.dims - 1), axis=axis, keepdims=True)
                parts.append(jnp.pi * n / self._length(i, x) * highest)
        return joined([part.reshape(*part.shape[: -self.dims], -1) for part in parts])

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> Any:
        """Closed form: one transform each way."""
        self._check(y)
        waves, modes, dims = self._waves(y), self._modes(y), self.dims
        for i, n in enumerate(y.shape[-dims:]):
            if n % 2 == 0:
                modes[i] = jnp.where(_along(np.arange(n) == n // 2, i - dims, y, half=i == dims - 1), 0, modes[i])
        potential = sum(k * u for k, u in zip(waves, modes, strict=True)) * inverse_or_zero(sum(k**2 for k in waves))
        parts = [self._to_grid(u - k * potential, y) for k, u in zip(waves, modes, strict=True)]
        return closed_form(self, jnp.stack(parts, axis=-dims - 1))

    def _check(self, x: Any) -> None:
        if x.shape[-self.dims - 1] != self.dims:
            raise ValueError(
                f"DivergenceFreeSpectral: with {self.dims} lengths a point is [{self.dims}, *space], a component for each; "
                f"got the shape {x.shape}."
            )

    def _length(self, i: int, x: Any) -> Any:
        """That of axis i in the shape of the batch and the space."""
        return jnp.asarray(self.lengths, x.dtype)[(..., i, *(None,) * self.dims)]

    def _waves(self, x: Any) -> list[Any]:
        """Wavenumbers by axis, zero for the highest cosine."""
        waves = []
        for i, n in enumerate(x.shape[-self.dims :]):
            whole = np.fft.fftfreq(n, 1 / n) * (np.arange(n) != n / 2)
            waves.append(2 * jnp.pi / self._length(i, x) * _along(whole, i - self.dims, x, half=i == self.dims - 1))
        return waves

    def _modes(self, x: Any) -> list[Any]:
        modes = jnp.fft.rfftn(x, axes=tuple(range(-self.dims, 0)))
        return [jnp.take(modes, i, axis=-self.dims - 1) for i in range(self.dims)]

    def _to_grid(self, modes: Any, x: Any) -> Any:
        return jnp.fft.irfftn(modes, s=x.shape[-self.dims :], axes=tuple(range(-self.dims, 0)))


def _along(values: np.ndarray, axis: int, x: Any, half: bool = False) -> Any:
    """A vector in the shape in which it multiplies arrays along an axis counted from the end; its first half for rfft."""
    values = values[: len(values) // 2 + 1] if half else values
    values = values if values.dtype == bool else values.astype(x.dtype)
    return values.reshape(-1, *(1,) * (-axis - 1))


# --- staggered grid -------------------------------------------------------------------------------------------------------


@constraint("periodic")
class DivergenceFreeDiscrete(Constraint):
    r"""Velocities on the faces of a grid's cells whose net outflow of every cell is the source's.

        sum_i (u_i[j_i] - u_i[j_i - 1]) / h_i[j_i] = source[j]        for every cell j: the grid of Harlow and Welch.

    ``u_i[j]`` is the velocity along axis i through the *upper* face of cell j. On a periodic axis the lowest face is the
    highest one. On an axis with walls both are held at zero, so that the upper face of the last cell is part of the point, and
    the lowest face is not.

    The projection is the nearest in the grid's own inner product, face values squared times the volumes around the faces,
    which is the plain one where the cells of each axis are even. It is one solve by FFT (even cells; walls by mirrors) or by
    fast diagonalisation (uneven ones), and one more for what rounding leaves.

    Args:
      widths: for each of one to three axes the width of the cells: a number or ``[..., 1]``, or ``[..., n]`` of uneven cells. The
        number of cells is that of the points to project.
      periodic: for each axis whether it is; by default all are.
      source: ``[..., *cells]``, or a number; its integral must be zero, for what flows in must flow out: INFEASIBLE
        otherwise, with the source less its mean in the place of the source.
    Points: ``[..., dims, *cells]``. The residual is the divergence less the source, then the velocity at the walls.
    Reference: Harlow & Welch (1965), Phys. Fluids 8, 2182; Chorin (1968), Math. Comput. 22, 745; Schumann & Sweet (1988),
      J. Comput. Phys. 75, 123, for the fast transforms.
    Example:
      >>> import jax, jaxsci as js
      >>> channel = js.constraints.DivergenceFreeDiscrete((0.1, 0.05), periodic=(True, False))
      >>> u, info = js.constraints.project(channel, jax.random.normal(jax.random.key(0), (2, 16, 8)))
      >>> bool(info.residual < 1e-4), float(abs(u[1, :, -1]).max())
      (True, 0.0)
    """

    widths: tuple[Any, ...]
    periodic: tuple[bool, ...] | None = None
    source: Any = 0.0

    def __post_init__(self):
        if not isinstance(self.widths, tuple) or not 1 <= len(self.widths) <= 3:
            raise ValueError(
                f"DivergenceFreeDiscrete: widths are a tuple with one entry for each of one to three axes, got {self.widths!r}."
            )
        periodic = (True,) * len(self.widths) if self.periodic is None else tuple(self.periodic)
        if len(periodic) != len(self.widths):
            raise ValueError(
                f"DivergenceFreeDiscrete: periodic has {len(periodic)} entries for {len(self.widths)} axes; give one for each."
            )
        object.__setattr__(self, "periodic", periodic)
        check_numbers("DivergenceFreeDiscrete", source=self.source)
        for i, width in enumerate(self.widths):
            check_numbers("DivergenceFreeDiscrete", **{f"widths[{i}]": width})

    @property
    def dims(self) -> int:
        return len(self.widths)

    @property
    def event_ndim(self) -> int:  # ty: ignore[incompatible-property-override]
        return self.dims + 1

    def residual(self, x: Any) -> Any:
        return self._over_batch(self._residual, x, "(r)")

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> Any:
        """Closed form: two Poisson solves."""
        point = self._over_batch(self._nearest, y, "(" + ",".join(["d", *_letters(self.dims)]) + ")")
        point, info = closed_form(self, point)
        source = jnp.asarray(self.source, y.dtype)
        if source.ndim == 0:
            net, gross = source, jnp.abs(source)
        else:
            net, gross = self._mean(source), self._mean(jnp.abs(source))
        infeasible = jnp.abs(net) > 1e3 * jnp.finfo(y.dtype).eps * gross
        return point, info._replace(
            status=jnp.where(info.converged & infeasible, INFEASIBLE, info.status), converged=info.converged & ~infeasible
        )

    def _over_batch(self, function: Any, x: Any, out: str) -> Any:
        """A function of one velocity, one source and the widths, over the batches of all of them."""
        if x.shape[-self.dims - 1] != self.dims:
            raise ValueError(
                f"DivergenceFreeDiscrete: with {self.dims} widths a point is [{self.dims}, *cells], a component for each; got "
                f"the shape {x.shape}."
            )
        letters = _letters(self.dims)
        widths = self._widths(x.dtype)
        for i, (width, n) in enumerate(zip(map(jnp.asarray, self.widths), x.shape[-self.dims :], strict=True)):
            if width.ndim and width.shape[-1] not in (1, n):
                raise ValueError(
                    f"DivergenceFreeDiscrete: widths[{i}] has {width.shape[-1]} entries for {n} cells along that axis; give "
                    "one for each, or one number for even cells."
                )
        source = jnp.asarray(self.source, x.dtype)
        given = ["(" + ",".join(["d", *letters]) + ")", "(" + ",".join(letters) + ")" if source.ndim else "()"]
        even = [jnp.shape(w)[-1:] in ((), (1,)) for w in self.widths]
        given += ["()" if same else f"({letter})" for letter, same in zip(letters, even, strict=True)]
        return jnp.vectorize(function, signature=",".join(given) + "->" + out)(x, source, *widths)

    def _widths(self, dtype: Any) -> list[Any]:
        """Numbers for even cells, ``[..., n]`` for uneven ones."""
        widths = [jnp.asarray(width, dtype) for width in self.widths]
        return [width[..., 0] if width.ndim and width.shape[-1] == 1 else width for width in widths]

    def _mean(self, cells: Any) -> Any:
        """Over the volume, ``[..., *cells]`` to ``[...]``."""
        for width in reversed(self.widths):
            width = jnp.asarray(width, cells.dtype)
            if width.ndim and width.shape[-1] > 1:
                weight = width / width.sum(-1, keepdims=True)
                cells = jnp.sum(cells * _before(weight, cells), axis=-1)
            else:
                cells = jnp.mean(cells, axis=-1)
        return cells

    # --- one point -------------------------------------------------------------------------------------------------------

    def _residual(self, x: Any, source: Any, *widths: Any) -> Any:
        walls = [jnp.take(x[i], -1, axis=i).ravel() for i in range(self.dims) if not self._is_periodic(i)]
        return jnp.concatenate([(self._divergence(x, widths) - source).ravel(), *walls])

    def _nearest(self, y: Any, source: Any, *widths: Any) -> Any:
        shape = y.shape[1:]
        volumes = [jnp.broadcast_to(width, n) for width, n in zip(widths, shape, strict=True)]
        y = jnp.stack([self._without_walls(component, i) for i, component in enumerate(y)])
        fixed = tuple(map(jax.lax.stop_gradient, widths))
        solvers = tuple(self._diagonal(i, width, n) for i, (width, n) in enumerate(zip(fixed, shape, strict=True)))

        def weighted(cells):  # cells times volumes: the operator is symmetric then
            for i, volume in enumerate(volumes):
                cells = cells * _axis(volume, i, len(shape))
            return cells

        def laplacian(p):
            return weighted(self._divergence(self._gradient(p, widths), widths))

        def solve(_, b):
            for i, volume in enumerate(volumes):
                b = b / _axis(jax.lax.stop_gradient(volume), i, len(shape))
            return self._inverse(solvers, b)

        for _ in range(2):  # the second time for what rounding left of the divergence
            net = weighted(self._divergence(y, widths) - source)
            total = weighted(jnp.ones(shape, y.dtype))
            net = net - total * (jnp.sum(net) / jnp.sum(total))
            potential = jax.lax.custom_linear_solve(laplacian, net, solve, symmetric=True)
            y = y - jnp.stack(self._gradient(potential, widths))
        return y

    def _is_periodic(self, i: int) -> bool:
        assert self.periodic is not None  # This is a bug in jaxsci: set when made.
        return self.periodic[i]

    def _without_walls(self, component: Any, i: int) -> Any:
        return component if self._is_periodic(i) else component.at[(slice(None),) * i + (-1,)].set(0)

    def _divergence(self, velocity: Any, widths: tuple[Any, ...]) -> Any:
        return flux_divergence(tuple(velocity), widths, self.periodic)

    def _gradient(self, p: Any, widths: tuple[Any, ...]) -> list[Any]:
        """On the upper faces; zero on walls."""
        out = []
        for i, width in enumerate(widths):
            spacing = width if jnp.ndim(width) == 0 else _axis((width + jnp.roll(width, -1)) / 2, i, p.ndim)
            out.append(self._without_walls((jnp.roll(p, -1, i) - p) / spacing, i))
        return out

    def _diagonal(self, i: int, width: Any, n: int) -> Diagonal:
        """The second difference along an axis, diagonalised; by FFT for even cells, with walls on twice as many."""
        if jnp.ndim(width) == 0:
            size = n if self._is_periodic(i) else 2 * n
            return Diagonal(-((2 * np.sin(np.pi * np.arange(size) / size).astype(width.dtype) / width) ** 2))
        conductances = 2 / (width + jnp.roll(width, -1))
        conductances = conductances if self._is_periodic(i) else conductances.at[-1].set(0)
        unit = jnp.eye(n, dtype=width.dtype)
        slopes = jnp.roll(unit, 1, 1) - unit  # of the potential through upper faces, [face, cell]
        roots = jnp.sqrt(width)
        matrix = -(slopes.T * conductances) @ slopes / roots[:, None] / roots
        eigenvalues, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
        eigenvalues = eigenvalues.at[-1].set(0)  # the constant's
        return Diagonal(eigenvalues, vectors / roots[:, None], vectors.T * roots)

    def _inverse(self, solvers: tuple[Diagonal, ...], b: Any) -> Any:
        """The Poisson solve without a mean."""
        shape = b.shape
        for i, solver in enumerate(solvers):
            if solver.vectors is None and solver.eigenvalues.shape[0] == 2 * shape[i]:
                b = jnp.concatenate([b, jnp.flip(b, i)], axis=i)
        found = apply_function(solvers, inverse_or_zero, b)
        return found[tuple(slice(n) for n in shape)]


def flux_divergence(fluxes: tuple[Any, ...], widths: tuple[Any, ...], periodic: tuple[bool, ...] | None = None) -> Any:
    r"""The net outflow of every cell over its volume: ``rate = -flux_divergence(...)`` conserves what the cells hold.

        sum_i (F_i[j_i] - F_i[j_i - 1]) / h_i[j_i]

    What leaves one cell enters the next, so that the sum over all volumes is the flow through the walls alone, for any fluxes.

    Args:
      fluxes: by axis, ``[*cells]`` through the upper faces; no flux through the lowest face of an axis with walls.
      widths: by axis, a number or ``[n]``.
      periodic: by axis; by default all are.
    Returns:
      ``[*cells]``.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> rate = -js.constraints.flux_divergence((jnp.array([3.0, 1.0, 0.0]),), (0.5,), (False,))
      >>> print(rate, rate.sum())
      [-6.  4.  2.] 0.0
    """
    periodic = (True,) * len(widths) if periodic is None else periodic
    total = None
    for i, (flux, width, around) in enumerate(zip(fluxes, widths, periodic, strict=True)):
        below = jnp.roll(flux, 1, i)
        if not around:
            below = below.at[(slice(None),) * i + (0,)].set(0)
        part = (flux - below) / (width if jnp.ndim(width) == 0 else _axis(width, i, flux.ndim))
        total = part if total is None else total + part
    return total


def _axis(vector: Any, i: int, ndim: int) -> Any:
    return jnp.reshape(vector, [-1 if k == i else 1 for k in range(ndim)])


def _before(weight: Any, cells: Any) -> Any:
    """A weight ``[..., n]`` of the last axis against ``[..., *cells]``: its batch axes come before those of the cells."""
    return weight.reshape(*weight.shape[:-1], *(1,) * (cells.ndim - weight.ndim), weight.shape[-1])


def _letters(dims: int) -> list[str]:
    return ["m", "n", "o"][:dims]
