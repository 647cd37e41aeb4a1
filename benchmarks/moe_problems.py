"""The two problems of Chalapathi, Du & Krishnapriyan (2024) at a size for two cores: data, backbone, rows and residual.

A setting has N basis functions from a Fourier neural operator, b = basis(network, start), and four ways to combine them:

    soft       u = sum_i omega_i b_i, omega learned, the same for every start
    hard       omega(start) solves the equation by least squares on the whole domain                      (PI-HC)
    experts    omega_k(start), one for each of K windows, solved independently, u = b . omega_k in window k   (PI-HC-MoE)
    mixture    the same windows, blended: u = sum_k chi_k (b . omega_k), chi_k a partition of unity; solved together, and as
               smooth at the interfaces as chi

and three fronts with exact solutions, for partitions that are chosen from the error.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxsci as js
from jaxsci.constraints.basis_rows import smooth_floor
from jaxsci.networks import FNO
from jaxsci.problems.flow import vorticity_equation
from jaxsci.problems.porous import diffusion_sorption_equation


def difference_matrix(nodes: np.ndarray, order: int, width: int) -> np.ndarray:
    """Finite differences on any nodes, from the `width` nearest ones (one-sided at the ends): ``[nodes, nodes]``."""
    out = np.zeros((len(nodes), len(nodes)))
    for i, here in enumerate(nodes):
        first = min(max(i - width // 2, 0), len(nodes) - width)
        offsets = nodes[first : first + width] - here
        powers = offsets ** np.arange(width)[:, None]
        out[i, first : first + width] = np.linalg.solve(powers, np.eye(width)[order] * (1 if order < 2 else order))
    return out


def smooth_step(x: Any) -> Any:
    x = np.clip(x, 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


BACKBONE = FNO(modes=(8, 8), channels=24, layers=4)


@dataclasses.dataclass(frozen=True)
class Column:
    """Diffusion-sorption on 33 x 65 points, even in s = sqrt(t + age) and in x; 16 functions, 4 windows in x.

    The constants of PDEBench jump at both walls, which a grid of 65 points cannot show: here two layers of width 0.08 stand
    there at the start, those of a jump of age 10. Layers grow as s, and rows times dt / ds weigh alike at all times.
    """

    name: str = "column"
    functions: int = 16
    times: int = 33
    intervals: int = 64
    experts: int = 4
    overlap: float = 0.25
    network: FNO = BACKBONE
    floor: float = 1e-3
    layer: float = 0.08
    age: float = 10.0
    share: float = 0.1
    rate: float = 2e-3
    batch: int = 4
    coarser: tuple[int, ...] = (16, 32, 64, 128, 256)
    end: float = 500.0

    def family(self, key: Any) -> js.Problem:
        return js.problems.sorbing_column(key, layer=self.layer)

    @property
    def s(self) -> np.ndarray:
        return np.linspace(np.sqrt(self.age), np.sqrt(self.end + self.age), self.times)

    @property
    def x(self) -> np.ndarray:
        return np.linspace(0, 1, self.intervals + 1)

    def start(self, key: Any) -> Any:
        """The start on the grid, [x]."""
        problem = self.family(key)
        return problem.initial["u"]({"x": jnp.asarray(self.x)}, problem.coefficients)

    def truth(self, keys: Any, n: int = 512) -> np.ndarray:
        ts, x = self.s**2 - self.age, self.x
        solve = lambda key: js.solve(self.family(key), js.FiniteVolume(n=n, rtol=2.0 / n**2, estimate=False), ts=ts)
        return np.stack([np.asarray(solve(key).evaluate(t=ts[:, None], x=x[None])) for key in keys])

    @property
    def size(self) -> str:
        return f"{self.times} x {self.intervals + 1} points, N = {self.functions}, K = {self.experts}, m = all"

    def init(self, key: Any) -> Any:
        return self.network.init(key, inputs=3, outputs=self.functions)

    def basis(self, parameters: Any, start: Any) -> Any:
        """[N, s, x]; the network sees the start and the coordinates on a grid that is longer, as its Fourier series wrap."""
        shape = (self.times + 7, self.intervals + 16)
        s, x = (np.minimum(np.arange(n) / (m - 1), 1) for n, m in zip(shape, (self.times, self.intervals + 1), strict=True))
        begin = jnp.broadcast_to(5 * jnp.pad(start, (0, 15), mode="edge"), shape)
        grids = [begin, *map(jnp.asarray, np.meshgrid(s, x, indexing="ij"))]
        out = self.network.apply(parameters, jnp.stack(grids).astype(jnp.float32))
        return out[:, : self.times, : self.intervals + 1].astype(float)

    @property
    def scale(self) -> float:
        """Of the equation's rows: a retardation of 4, and times in units of the whole interval."""
        return self.share * (self.s[-1] - self.s[0]) / 4

    @functools.cached_property
    def matrices(self) -> tuple[np.ndarray, ...]:
        return difference_matrix(self.s, 1, 5), difference_matrix(self.x, 1, 5), difference_matrix(self.x, 2, 6)

    @functools.cached_property
    def windows(self) -> np.ndarray:
        """A partition of unity whose windows pass into each other all along x, [K, x]."""
        edges = np.arange(1, self.experts) / self.experts
        steps = smooth_step((self.x - edges[:, None]) / self.overlap + 0.5)
        return -np.diff(steps, axis=0, prepend=1.0, append=0.0)

    def blend(self, basis: Any) -> Any:
        return (self.windows[:, None, None, :] * basis).reshape(-1, *basis.shape[1:])

    def rows(self, basis: Any, start: Any, split: bool = False) -> tuple[Any, ...]:
        by_s, by_x, by_xx = self.matrices
        count = basis.shape[0]
        k = self.experts if split else 1

        def points(values: Any) -> Any:  # [N, s, x] -> [K, m, N]
            values = values[:, :, :-1].reshape(count, len(self.s), k, -1)
            return jnp.transpose(values, (2, 1, 3, 0)).reshape(k, -1, count)

        slope = jnp.einsum("ij,njx->nix", by_s, basis) / (2 * self.s)[:, None]
        partials = {("u", ""): basis, ("u", "t"): slope, ("u", "xx"): jnp.einsum("xy,nsy->nsx", by_xx, basis)}
        weight = np.repeat(self.scale * 2 * self.s, self.intervals // k)
        partials = {name: points(v) if split else points(v)[0] for name, v in partials.items()}
        equation = js.constraints.equation_rows(
            diffusion_sorption_equation, partials, {}, COLUMN, weight=weight, floor={"u": self.floor}
        )
        outflow = basis[:, 1:, -1] + 5e-4 * (basis @ by_x[-1])[:, 1:]
        held = (
            js.constraints.linear_rows(basis[:, 0].T, start),
            js.constraints.linear_rows(basis[:, 1:, 0].T, 1.0),
            js.constraints.linear_rows(outflow.T, 0.0),
            js.constraints.linear_rows(1e-4 * jnp.eye(count), 0.0),
        )
        return equation, *held

    def field(self, basis: Any, omega: Any, start: Any) -> Any:
        del start
        return jnp.tensordot(omega, basis, 1)

    def assemble(self, fields: Any) -> Any:
        """Window k of field k: [K, s, x] -> [s, x]."""
        return jnp.sum(fields * self.mask, axis=0)

    @property
    def mask(self) -> np.ndarray:
        member = np.minimum(np.arange(self.intervals + 1) * self.experts // self.intervals, self.experts - 1)
        return (member == np.arange(self.experts)[:, None]).astype(float)[:, None, :]

    def values(self, field: Any, start: Any) -> Any:
        """What is compared with the truth."""
        del start
        return field

    def jump(self, fields: Any, start: Any) -> Any:
        """Of neighbours' fields [K, s, x] where their windows meet; a single field [s, x] has one value there."""
        del start
        fields = jnp.broadcast_to(fields, (self.experts, self.times, self.intervals + 1))
        at = np.arange(1, self.experts) * self.intervals // self.experts
        sides = fields[:-1, :, at], fields[1:, :, at]
        pick = lambda v: jnp.stack([v[k, :, k] for k in range(self.experts - 1)])
        return jnp.max(jnp.abs(pick(sides[0]) - pick(sides[1]))) / jnp.sqrt(jnp.mean(fields**2))

    def draw(self, ax: Any, field: np.ndarray, truth: np.ndarray) -> None:
        for j, color in zip((0, 4, 12, 32), ("C0", "C1", "C2", "C3"), strict=True):
            ax.plot(self.x, truth[j], "k--", linewidth=0.8)
            ax.plot(self.x, field[j], color, label=f"t = {self.s[j] ** 2 - self.age:.0f}")
        ax.set(xlabel="x", ylim=(-0.1, 1.1))
        ax.legend(fontsize=7)

    def residual(self, u: Any, start: Any) -> tuple[Any, ...]:
        """Everything that should be zero, on the full grid; the first has the shape [s, x] of the output."""
        by_s, by_x, by_xx = self.matrices
        value = smooth_floor(u, self.floor)
        c = COLUMN
        retardation = 1 + (1 - c["porosity"]) / c["porosity"] * c["bulk_density"] * c["sorption"] * c[
            "exponent"
        ] * value ** (c["exponent"] - 1)
        equation = retardation * (by_s @ u) - 2 * self.s[:, None] * c["diffusivity"] * (u @ by_xx.T)
        return self.scale * equation, u[0] - start, u[1:, 0] - 1, u[1:, -1] + 5e-4 * (u @ by_x[-1])[1:]


COLUMN = {"diffusivity": 5e-4, "porosity": 0.29, "bulk_density": 2880.0, "sorption": 3.5e-4, "exponent": 0.874}


@functools.cache
def vortices_solver(setting: Vortices, n: int) -> Callable[[Any], Any]:
    """keys -> w of our solver on n x n points, at the points of the setting; compiled once."""
    method = js.Spectral(n=n, dt=0.1 * 64 / n, estimate=False)
    ts = np.concatenate([5 * setting.tau, [5.0]])

    def one(key: Any) -> Any:
        w = js.solve(setting.family(key), method, ts=ts)["w"]
        every = n // setting.n
        return w[:, ::every, ::every] if every else js.surrogates.resample(w, (False, False), setting.n)

    return jax.jit(jax.vmap(one))


@dataclasses.dataclass(frozen=True)
class Vortices:
    """Navier-Stokes in vorticity form on 32 x 32 points and 8 times; 4 fields for each of 4 powers of time, 4 x 4 windows.

    w = w_0 + sum_i omega_i (t/5)^j phi_i(x, y): the start holds exactly. The operator is one of the plane alone, and the time
    polynomials are given: a network over space and time would take minutes for what this does in seconds on two cores.
    """

    name: str = "vortices"
    fields: int = 4
    powers: int = 4
    n: int = 32
    times: int = 8
    sampled: int = 256
    amplitude: float = 0.2
    network: FNO = BACKBONE
    along: int = 4  # windows along each axis
    rate: float = 8e-3
    batch: int = 2
    coarser: tuple[int, ...] = (8, 12, 16, 24, 32)

    @property
    def experts(self) -> int:
        return self.along**2

    @property
    def functions(self) -> int:
        return self.fields * self.powers

    @property
    def tau(self) -> np.ndarray:
        """Gauss-Legendre times in (0, 1)."""
        return (np.polynomial.legendre.leggauss(self.times)[0] + 1) / 2

    def family(self, key: Any) -> js.Problem:
        problem = js.problems.stirred_vorticity(key)
        w = js.problems.smooth_gaussian_field(key, problem.domain).scaled(self.amplitude)
        return problem.with_initial(w=w)

    def start(self, key: Any) -> Any:
        domain = js.Box(t=(0, 5), x=(0, 1), y=(0, 1))
        return js.problems.smooth_gaussian_field(key, domain).scaled(self.amplitude).on_grid(self.n)

    @property
    def size(self) -> str:
        return (
            f"{self.n} x {self.n} points, {self.times} times, N = {self.functions}, K = {self.experts}, "
            f"m = {self.sampled * self.times}, amplitude {self.amplitude}"
        )

    @functools.cached_property
    def waves(self) -> tuple[np.ndarray, ...]:
        k = 2 * np.pi * np.fft.fftfreq(self.n, 1 / self.n)
        k, j = np.meshgrid(k, 2 * np.pi * np.arange(self.n // 2 + 1), indexing="ij")
        inside = (np.abs(k) < np.pi * self.n) & (j < np.pi * self.n)  # the Nyquist mode has no derivative
        square = k**2 + j**2
        inverse = np.where(square > 0, 1 / np.where(square > 0, square, 1), 0)
        return 1j * k * inside, 1j * j * inside, -square, inverse

    def partials(self, w: Any) -> dict[Any, Any]:
        """Spectral derivatives of periodic fields [..., n, n] and of their stream functions."""
        x, y, laplacian, inverse = self.waves
        hat = jnp.fft.rfft2(w)
        back = lambda symbol: jnp.fft.irfft2(symbol * hat, s=w.shape[-2:])
        return {
            ("w", "x"): back(x), ("w", "y"): back(y), ("w", "xx"): back(laplacian),
            ("psi", "x"): back(x * inverse), ("psi", "y"): back(y * inverse),
        }  # fmt: skip

    def truth(self, keys: Any, n: int = 64) -> np.ndarray:
        return np.asarray(vortices_solver(self, n)(keys))

    def init(self, key: Any) -> Any:
        """The operator's parameters, and a matrix that passes on four of what it is given, for each power of time."""
        passed = (
            np.eye(5)[[3, 4, 0, 1]][np.arange(self.functions) % 4] * (np.arange(self.functions) % self.fields < 4)[:, None]
        )
        return self.network.init(key, inputs=5, outputs=self.functions), jnp.asarray(passed, jnp.float32)

    def basis(self, parameters: Any, start: Any) -> Any:
        """[powers, fields, n, n], of mean zero: the operator's output, and a linear one of what it is given."""
        network, skip = parameters
        d = self.partials(start)
        rate = self.carried(d, d) + 1e-4 * d["w", "xx"]
        e = self.partials(rate)
        second = self.carried(e, d) + self.carried(d, e) + 1e-4 * e["w", "xx"]
        given = [start, 5 * d["psi", "y"], 5 * d["psi", "x"], 5 * rate, 12.5 * second]
        inputs = jnp.stack(given).astype(jnp.float32) / self.amplitude
        out = self.network.apply(network, inputs) + jnp.tensordot(skip, inputs, 1)
        out = out.astype(float)
        out = out - jnp.mean(out, axis=(-2, -1), keepdims=True)
        return self.amplitude * out.reshape(self.powers, self.fields, self.n, self.n)

    @staticmethod
    def carried(w: Any, by: Any) -> Any:
        """-u . grad w, from partial derivatives of a vorticity and of a stream function."""
        return by["psi", "x"] * w["w", "y"] - by["psi", "y"] * w["w", "x"]

    @functools.cached_property
    def windows(self) -> np.ndarray:
        """cos^2 of width 1 / `along` to both sides of evenly spaced places: smooth, periodic, of sum one; [K, n, n]."""
        places = np.arange(self.along)[:, None] / self.along
        apart = np.abs((np.arange(self.n) / self.n - places + 0.5) % 1 - 0.5) * self.along
        one = np.where(apart < 1, np.cos(np.pi * apart / 2) ** 2, 0)
        return (one[:, None, :, None] * one[None, :, None, :]).reshape(-1, self.n, self.n)

    def blend(self, basis: Any) -> Any:
        out = (self.windows[:, None] * basis[:, None]).reshape(self.powers, -1, self.n, self.n)
        return out - jnp.mean(out, axis=(-2, -1), keepdims=True)

    @functools.cached_property
    def sample(self) -> np.ndarray:
        """Sampled points of the plane by cell, [K, sampled / K], as flat indices."""
        random, cell = np.random.default_rng(0), self.n // self.along
        inside = [random.choice(cell * cell, self.sampled // self.experts, replace=False) for _ in range(self.experts)]
        corners = [(i * cell, j * cell) for i in range(self.along) for j in range(self.along)]
        return np.stack([(p // cell + i) * self.n + p % cell + j for p, (i, j) in zip(inside, corners, strict=True)])

    def rows(self, basis: Any, start: Any, split: bool = False) -> tuple[Any, ...]:
        at = self.sample if split else self.sample.reshape(1, -1)
        tau, j = self.tau[:, None], np.arange(1, self.powers + 1)
        power, rate = tau**j, j * tau ** (j - 1) / 5  # [times, powers]

        def points(fields: Any, of_time: Any) -> Any:  # [powers, F, n, n] -> [K, m, N]
            values = fields.reshape(*fields.shape[:2], -1)[:, :, at]  # [powers, F, K, points]
            out = jnp.einsum("tp,pfkx->ktxpf", of_time, values)
            out = out.reshape(len(at), -1, self.powers * fields.shape[1])
            return out if split else out[0]

        def still(field: Any) -> Any:
            values = jnp.tile(field.reshape(-1)[at][:, None], (1, self.times, 1)).reshape(len(at), -1)
            return values if split else values[0]

        partials = {name: points(v, power) for name, v in self.partials(basis).items()}
        partials |= {("w", "t"): points(basis, rate), ("w", "yy"): jnp.zeros_like(partials["w", "x"])}
        offset = {name: still(v) for name, v in self.partials(start).items()}
        equation = js.constraints.equation_rows(
            vorticity_equation, partials, {}, {"viscosity": 1e-4}, offset=offset, weight=5 / self.amplitude, equations=(0,)
        )
        ridge = js.constraints.linear_rows(1e-4 * jnp.eye(basis.shape[0] * basis.shape[1]), 0.0)
        return equation, ridge

    def field(self, basis: Any, omega: Any, start: Any) -> Any:
        """The coefficients of the powers of time, [powers, n, n]."""
        del start
        return jnp.einsum("pf,pfxy->pxy", omega.reshape(basis.shape[:2]), basis)

    def assemble(self, fields: Any) -> Any:
        return jnp.sum(fields * self.mask, axis=0)

    @property
    def mask(self) -> np.ndarray:
        cell = np.arange(self.n) * self.along // self.n
        member = self.along * cell[:, None] + cell
        return (member == np.arange(self.experts)[:, None, None]).astype(float)[:, None]

    def values(self, field: Any, start: Any) -> Any:
        """w at the Gauss times and at the end, [times + 1, ..., n, n]."""
        tau = np.append(self.tau, 1.0)
        return start + jnp.einsum("tp,p...->t...", tau[:, None] ** np.arange(1, self.powers + 1), field)

    def jump(self, fields: Any, start: Any) -> Any:
        """Of neighbours' fields [K, powers, n, n] on the lines between their cells; a single field has one value there."""
        fields = jnp.broadcast_to(fields, (self.experts, self.powers, self.n, self.n))
        w = self.values(fields.swapaxes(0, 1), start).reshape(-1, self.along, self.along, self.n, self.n)
        lines = np.arange(1, self.along) * (self.n // self.along)
        over_x = max(jnp.max(jnp.abs(w[:, k] - w[:, k + 1])[:, :, at]) for k, at in enumerate(lines))
        over_y = max(jnp.max(jnp.abs(w[:, :, k] - w[:, :, k + 1])[..., at]) for k, at in enumerate(lines))
        return jnp.maximum(over_x, over_y) / jnp.sqrt(jnp.mean(w**2))

    def draw(self, ax: Any, field: np.ndarray, truth: np.ndarray) -> None:
        most = np.abs(truth[-1]).max()
        ax.imshow(field[-1].T, origin="lower", extent=(0, 1, 0, 1), cmap="RdBu_r", vmin=-most, vmax=most)
        ax.set(xlabel="x", ylabel="y")

    def residual(self, field: Any, start: Any) -> tuple[Any, ...]:
        tau, j = self.tau[:, None], np.arange(1, self.powers + 1)
        w = self.values(field, start)[:-1]
        d = self.partials(w)
        rate = jnp.einsum("tp,pxy->txy", j * tau ** (j - 1) / 5, field)
        equation = rate - self.carried(d, d) - 1e-4 * d["w", "xx"]
        return (5 / self.amplitude * equation,)


Setting = Column | Vortices


class Front(NamedTuple):
    """A problem on the unit square of t and x, its exact solution u(t, x), and the degrees of each expert's polynomials."""

    name: str
    problem: js.Problem
    exact: Callable[[Any, Any], Any]
    degrees: dict[str, int]

    def experts(self, degrees: dict[str, int] | None = None) -> Any:
        degrees = degrees or self.degrees
        points = {c: n + 2 for c, n in degrees.items()}
        return js.constraints.BoxExperts(self.problem, js.constraints.legendre_basis(degrees), points, weight=10.0)

    def error(self, experts: Any, boxes: Any, omega: Any) -> tuple[np.ndarray, float]:
        """The difference from the exact solution on 101 x 401 points, and its relative L2 norm."""
        t, x = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 401), indexing="ij")
        truth = np.asarray(self.exact(t, x))
        difference = np.asarray(experts.field(boxes, omega, {"t": t, "x": x})["u"]) - truth
        return difference, float(np.linalg.norm(difference) / np.linalg.norm(truth))


def _between_exact_values(equation: js.Equation, exact: Callable[[Any, Any], Any], **coefficients: float) -> js.Problem:
    return js.Problem(
        equation,
        js.Box(t=(0, 1), x=(0, 1)),
        coefficients=coefficients,
        initial={"u": lambda x: exact(0.0, x)},
        boundary={"x": (js.Dirichlet(lambda t: exact(t, 0.0)), js.Dirichlet(lambda t: exact(t, 1.0)))},
    )


def fronts() -> tuple[Front, Front, Front]:
    """A step that is carried and smeared out, a shock of Burgers' equation that keeps its width, and a step across the domain."""

    def step(t: Any, x: Any) -> Any:
        return 0.5 * jax.scipy.special.erfc((x - 0.35 - 0.05 * t) / jnp.sqrt(4 * 2e-4 * (t + 0.1)))

    def shock(t: Any, x: Any) -> Any:
        return 0.1 - jnp.tanh((x - 0.25 - 0.1 * t) / 0.04)

    def crossing(t: Any, x: Any) -> Any:
        return 0.5 * jax.scipy.special.erfc((x - 0.2 - 0.5 * t) / jnp.sqrt(4 * 2e-3 * (t + 0.1)))

    carried = js.Equation(lambda u, speed, diffusivity: u.t + speed * u.x - diffusivity * u.xx, name="carried step")
    burgers = js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx, name="shock")
    return (
        Front("step", _between_exact_values(carried, step, speed=0.05, diffusivity=2e-4), step, {"t": 3, "x": 6}),
        Front("shock", _between_exact_values(burgers, shock, viscosity=0.02), shock, {"t": 3, "x": 6}),
        Front("crossing", _between_exact_values(carried, crossing, speed=0.5, diffusivity=2e-3), crossing, {"t": 3, "x": 6}),
    )
