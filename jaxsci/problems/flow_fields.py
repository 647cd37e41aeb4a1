"""Periodic incompressible flows on grids: velocity, vorticity and stream function into one another, and their spectra.

One sign convention: w = v_x - u_y, u = psi_y, v = -psi_x, so that lap psi = -w; in three dimensions the vorticity is the curl of
the velocity and the velocity the curl of the vector potential. (exponax has minus this vorticity in two dimensions.)

Fields are ``[*batch, nx, ny]`` or ``[*batch, nx, ny, nz]``, vectors ``[*batch, components, ...]``, at the even points of a
periodic box, its far ends left out, as `jaxsci.Spectral` saves them. Everything here is exact for what the grid resolves;
derivatives of its highest (Nyquist) modes, which no grid tells from their mirror images, are taken as zero.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsci._checks import check_real

Lengths = tuple[float, ...]


def velocity_of(vorticity: Float[Array, "..."], lengths: Lengths) -> Float[Array, "..."]:
    """The velocity of a periodic vorticity: that with zero divergence and zero mean. A mean flow is the caller's to add.

    Args:
      vorticity: ``[*batch, nx, ny]`` in two dimensions, ``[*batch, 3, nx, ny, nz]`` in three. Its mean is ignored: on a
        periodic box there is no flow with another than zero.
      lengths: of the box, one per axis.
    Returns:
      ``[*batch, 2, nx, ny]`` or ``[*batch, 3, nx, ny, nz]``.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x = jnp.linspace(0, 2 * jnp.pi, 16, endpoint=False)
      >>> w = 2 * jnp.cos(x)[:, None] * jnp.cos(x)[None, :]
      >>> u, v = js.problems.velocity_of(w, (6.2831853, 6.2831853))
      >>> bool(abs(v - jnp.sin(x)[:, None] * jnp.cos(x)[None, :]).max() < 1e-5)
      True
    """
    _check("velocity_of: the vorticity", vorticity, lengths, 3 if len(lengths) == 3 else None)
    d, n = len(lengths), vorticity.shape[-len(lengths) :]
    potential = _to_modes(vorticity, d) * _inverse_laplacian(n, lengths, vorticity.dtype)
    if d == 2:
        kx, ky = _derivatives(n, lengths, vorticity.dtype)
        return _to_grid(jnp.stack([ky * potential, -kx * potential], axis=-3), n)
    return _to_grid(_curl(potential, n, lengths), n)


def vorticity_of(velocity: Float[Array, "..."], lengths: Lengths) -> Float[Array, "..."]:
    """The vorticity of a periodic velocity: v_x - u_y in two dimensions, the curl in three.

    Args:
      velocity: ``[*batch, 2, nx, ny]`` or ``[*batch, 3, nx, ny, nz]``.
      lengths: of the box, one per axis.
    Returns:
      ``[*batch, nx, ny]`` or ``[*batch, 3, nx, ny, nz]``.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x = jnp.linspace(0, 2 * jnp.pi, 16, endpoint=False)
      >>> shear = jnp.stack([jnp.zeros((16, 16)), jnp.sin(x)[:, None] * jnp.ones(16)])  # v = sin x
      >>> bool(abs(js.problems.vorticity_of(shear, (6.2831853, 6.2831853)) - jnp.cos(x)[:, None]).max() < 1e-5)
      True
    """
    d = len(lengths)
    _check("vorticity_of: the velocity", velocity, lengths, d)
    n = velocity.shape[-d:]
    modes = _to_modes(velocity, d)
    if d == 2:
        kx, ky = _derivatives(n, lengths, velocity.dtype)
        return _to_grid(kx * modes[..., 1, :, :] - ky * modes[..., 0, :, :], n)
    return _to_grid(_curl(modes, n, lengths), n)


def stream_function_of(vorticity: Float[Array, "*batch nx ny"], lengths: Lengths) -> Float[Array, "*batch nx ny"]:
    """psi with lap psi = -w and zero mean, of a periodic vorticity in two dimensions: u = psi_y, v = -psi_x.

    Args:
      vorticity: ``[*batch, nx, ny]``; its mean is ignored.
      lengths: of the box, two.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x = jnp.linspace(0, 2 * jnp.pi, 16, endpoint=False)
      >>> w = 2 * jnp.cos(x)[:, None] * jnp.cos(x)[None, :]
      >>> bool(abs(js.problems.stream_function_of(w, (6.2831853, 6.2831853)) - w / 2).max() < 1e-5)
      True
    """
    if len(lengths) != 2:
        raise ValueError(f"stream_function_of is for two dimensions, got the lengths {lengths}; see vector_potential_of.")
    _check("stream_function_of: the vorticity", vorticity, lengths, None)
    n = vorticity.shape[-2:]
    return _to_grid(_to_modes(vorticity, 2) * _inverse_laplacian(n, lengths, vorticity.dtype), n)


def vector_potential_of(velocity: Float[Array, "*batch 3 nx ny nz"], lengths: Lengths) -> Float[Array, "*batch 3 nx ny nz"]:
    """A with curl A = u less its mean, div A = 0 and zero mean, of a periodic solenoidal velocity in three dimensions.

    Args:
      velocity: ``[*batch, 3, nx, ny, nz]``.
      lengths: of the box, three.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> z = jnp.linspace(0, 2 * jnp.pi, 8, endpoint=False) * jnp.ones((8, 8, 1))
      >>> beltrami = jnp.stack([jnp.sin(z), jnp.cos(z), 0 * z])  # its own curl, and its own potential
      >>> bool(abs(js.problems.vector_potential_of(beltrami, (6.2831853,) * 3) - beltrami).max() < 1e-5)
      True
    """
    if len(lengths) != 3:
        raise ValueError(f"vector_potential_of is for three dimensions, got the lengths {lengths}; see stream_function_of.")
    _check("vector_potential_of: the velocity", velocity, lengths, 3)
    n = velocity.shape[-3:]
    modes = _curl(_to_modes(velocity, 3), n, lengths)
    return _to_grid(modes * _inverse_laplacian(n, lengths, velocity.dtype), n)


def energy_spectrum(
    velocity: Float[Array, "..."], lengths: Lengths
) -> tuple[Float[np.ndarray, " shells"], Float[Array, "*batch shells"]]:
    """The kinetic energy by wavenumber: E_j is the share of <|u|^2> / 2 in the shell |k| = k_j +- dk / 2.

    dk = 2 pi / the longest side; the shells reach to the corners of the spectrum, so that E_0 + E_1 + ... is the mean of
    |u|^2 / 2 over the grid (Parseval), the mean flow in E_0. E / dk approximates the spectral density.

    Args:
      velocity: ``[*batch, components, *space]``: of a vorticity take `velocity_of` it first.
      lengths: of the box, one per axis.
    Returns:
      k ``[shells]`` and E ``[*batch, shells]``.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x = jnp.linspace(0, 2 * jnp.pi, 16, endpoint=False)
      >>> shear = jnp.stack([jnp.zeros((16, 16)), jnp.sin(3 * x)[:, None] * jnp.ones(16)])
      >>> k, energy = js.problems.energy_spectrum(shear, (6.2831853, 6.2831853))
      >>> int(energy.argmax()), round(float(energy.sum()), 4)
      (3, 0.25)
    """
    d = len(lengths)
    _check("energy_spectrum: the velocity", velocity, lengths, d)
    return energy_by_shell(velocity, lengths)


def energy_by_shell(
    fields: Float[Array, "..."], lengths: Lengths
) -> tuple[Float[np.ndarray, " shells"], Float[Array, "*batch shells"]]:
    """`energy_spectrum` of any fields ``[*batch, components, *space]`` on one axis or more: half their mean square, by shell.

    Shell j holds the modes with (j - 1/2) dk <= |k| < (j + 1/2) dk.
    """
    d, dk = len(lengths), 2 * np.pi / max(lengths)
    n = fields.shape[-d:]
    shell = np.floor(np.sqrt(sum(k**2 for k in _wavenumbers(n, lengths))) / dk + 0.5).astype(int)
    wave = np.arange(n[-1] // 2 + 1)
    alone = (wave == 0) | (2 * wave == n[-1])  # modes that stand for themselves and not for two
    modes = _to_modes(fields, d)
    weights = jnp.asarray(np.where(alone, 0.5, 1.0), modes.real.dtype)
    power = jnp.sum(modes.real**2 + modes.imag**2, axis=-d - 1) * weights
    flat = power.reshape(*power.shape[:-d], -1)
    energy = jnp.zeros((*flat.shape[:-1], shell.max() + 1), flat.dtype).at[..., shell.ravel()].add(flat)
    return dk * np.arange(shell.max() + 1), energy


def _check(what: str, field: Any, lengths: Lengths, components: int | None) -> None:
    d = len(lengths)
    if d not in (2, 3):
        raise ValueError(f"{what} lives on two or three axes; got the lengths {lengths}.")
    check_real(what, field)
    shape = jnp.shape(field)
    if components is not None and (len(shape) < d + 1 or shape[-d - 1] != components):
        raise ValueError(f"{what} must have shape [*batch, {components}, {', '.join('n' * d)}], got {shape}.")
    if len(shape) < d:
        raise ValueError(f"{what} must have shape [*batch, {', '.join('n' * d)}], got {shape}.")


def _to_modes(values: Any, d: int) -> Any:
    return jnp.fft.rfftn(values, axes=tuple(range(-d, 0)), norm="forward")


def _to_grid(modes: Any, n: tuple[int, ...]) -> Any:
    return jnp.fft.irfftn(modes, s=n, axes=tuple(range(-len(n), 0)), norm="forward")


def _wavenumbers(n: tuple[int, ...], lengths: Lengths) -> list[np.ndarray]:
    """2 pi (integers) / lengths along each axis, shaped to broadcast; Nyquist modes included."""
    out = []
    for i, (m, length) in enumerate(zip(n, lengths, strict=True)):
        k = np.arange(m // 2 + 1) if i == len(n) - 1 else np.fft.fftfreq(m, 1 / m)
        out.append((2 * np.pi / length * k).reshape([-1 if i == j else 1 for j in range(len(n))]))
    return out


def _derivatives(n: tuple[int, ...], lengths: Lengths, dtype: Any) -> list[Any]:
    """i k along each axis, zero at the Nyquist modes."""
    found = []
    for k, m, length in zip(_wavenumbers(n, lengths), n, lengths, strict=True):
        kept = np.where(np.isclose(np.abs(k), np.pi * m / length), 0.0, k)
        found.append(jnp.asarray(1j * kept, jnp.result_type(dtype, jnp.complex64)))
    return found


def _inverse_laplacian(n: tuple[int, ...], lengths: Lengths, dtype: Any) -> Any:
    """1 / |k|^2, of minus the Laplacian; zero for the mean."""
    squared = np.asarray(sum(k**2 for k in _wavenumbers(n, lengths)))
    return jnp.asarray(np.where(squared > 0, 1 / np.where(squared > 0, squared, 1.0), 0.0), dtype)


def _curl(modes: Any, n: tuple[int, ...], lengths: Lengths) -> Any:
    dx, dy, dz = _derivatives(n, lengths, jnp.zeros((), modes.dtype).real.dtype)
    u, v, w = jnp.moveaxis(modes, -4, 0)
    return jnp.stack([dy * w - dz * v, dz * u - dx * w, dx * v - dy * u], axis=-4)
