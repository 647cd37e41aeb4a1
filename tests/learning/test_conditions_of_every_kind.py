"""Values, slopes and Robin conditions on walls and on shapes hold to round-off, whatever the network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import HardConditions
from jaxsci.problems.geometry import boundary_points

# The compiler takes all the time here, the programs none: let it optimise less.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
LAPLACE = js.Equation(lambda u, k: k * (u.xx + u.yy), name="laplace")
HEAT = js.Equation(lambda u, k: u.t - k * (u.xx + u.yy), name="heat")
PLATE = js.Equation(lambda w: w.xxxx + 2 * w.xxyy + w.yyyy, "w", name="plate")
FLOW = js.Equation(lambda u, v, p: (u.xx + u.yy - p.x, v.xx + v.yy - p.y, u.x + v.y), "u v p", name="stokes")
D, N, R = js.Dirichlet, js.Neumann, js.Robin
SQUARE = js.Box(x=(0, 2), y=(-1, 1))
f = lambda x, y: js.sin(x) * js.exp(y) + x * y  # its slopes, for data that agree in the corners
fx = lambda x, y: js.cos(x) * js.exp(y) + y
fy = lambda x, y: js.sin(x) * js.exp(y) + x
NOTCHED = js.Polygon([(0, -1), (2, -1), (2, 0), (1, 0), (1, 1), (0, 1)])


def laplace(boundary, solid=None, box=SQUARE):
    return js.Problem(LAPLACE, box, coefficients={"k": 0.7}, boundary=boundary, solid=solid)


PROBLEMS = {
    "a value and a slope": laplace({"x": (D(f), N(fx)), "y": (N(fy), D(f))}),
    "Robin": laplace({
        "x": (R(0.5, lambda x, y: 0.5 * f(x, y) - fx(x, y)), R(2, lambda x, y: 2 * f(x, y) + fx(x, y))),
        "y": (D(f), R(lambda k: k, lambda x, y, k: k * f(x, y) + fy(x, y))),
    }),
    "slopes without symmetry": laplace({"x": N(fx), "y": N(fy)}),
    "a wall where nothing holds": laplace({"x": (D(f), ()), "y": ((), N(fy))}),
    "a clamped plate": js.Problem(PLATE, SQUARE, boundary={
        "x": ((D(w=f), N(w=fx)), (D(w=f), N(w=fx))), "y": ((D(w=f), N(w=fy)), (D(w=f), N(w=fy))),
    }),
    "each unknown its own": js.Problem(FLOW, SQUARE, boundary={
        "x": (D(u=f, v=1), (N(u=fx, v=0), D(p=0))), "y": (D(u=f, v=1), (D(u=f), N(v=0))),
    }),
    "discs of every kind": laplace(
        {"x": (D(f), N(fx)), "y": D(f), "warm": D(lambda x: 2 + x), "cooled": R(0.3, 1)},
        {"warm": js.Disc((0.5, 0.4), 0.2), "cooled": js.Disc((1.4, 0.4), 0.3)},
    ),
    "a disc with a slope for a boundary": laplace(
        {"rim": N(lambda x, y: x * y), "hole": D(1)}, {"rim": ~js.Disc((0.9, 0), 0.8), "hole": js.Disc((0.9, 0.2), 0.2)}
    ),
    "an L with a value": laplace({"edge": D(f)}, {"edge": ~NOTCHED}),
    "an L with a slope and a hole": laplace(
        {"edge": N(lambda x: x), "hole": D(0)}, {"edge": ~NOTCHED, "hole": js.problems.rectangle((0.3, 0.6), (-0.8, -0.3))}
    ),
    "shapes combined": laplace(
        {"x": D(1), "y": D(1), "body": D(lambda y: y)},
        {"body": (js.Disc((1, 0), 0.5) | js.Disc((1.4, 0), 0.4)) - js.HalfPlane((0, -0.2), (0, 1))},
    ),
    "a clamped disc": js.Problem(PLATE, SQUARE, solid={"post": js.Disc((1, 0), 0.3)}, boundary={
        "x": D(w=0), "y": D(w=0), "post": (D(w=lambda x: x), N(w=lambda y: y)),
    }),
    "in time": js.Problem(
        HEAT, js.Box(t=(0, 1), x=(0, 2), y=(-1, 1)), coefficients={"k": 1.0}, initial={"u": 0},
        boundary={"x": (D(lambda t, y: t * js.cos(float(np.pi) * y)), N(lambda t: t)), "y": N(0), "hole": D(lambda t, x: t * x)},
        solid={"hole": js.Disc((1, 0), 0.3)},
    ),
}  # fmt: skip


def prescribed(wall, unknown, unknowns):
    """(kind, value, rate) for every condition of an unknown."""
    for part in wall.parts:
        if unknown in part.for_unknowns(unknowns):
            yield part.kind, part.for_unknowns(unknowns)[unknown], part.rates_for(unknowns).get(unknown)


def places(problem):
    """Where conditions hold: (name, wall, points by coordinate, normal out of the domain, how it is differentiated)."""
    random = np.random.default_rng(1)
    inside = {c: low + (high - low) * random.uniform(0.02, 0.98, 40) for c, (low, high) in problem.domain._intervals}
    space = problem.domain.space
    for i, axis in enumerate(space):
        for upper, wall in enumerate(problem.walls(axis)):
            normal = np.zeros((len(space), 40))
            normal[i] = 1 if upper else -1
            yield (
                f"{axis}{upper}",
                wall,
                inside | {axis: np.full(40, problem.domain[axis][upper])},
                normal,
                normal * normal[i],
            )
    for solid in problem.solids:
        place = boundary_points(solid.shape, [problem.domain[axis] for axis in space], 40)
        point = {c: v[: len(place[0])] for c, v in inside.items()} | dict(zip(space, place, strict=True))
        slopes = jax.vmap(jax.grad(solid.shape, argnums=tuple(range(len(space)))))(*map(jnp.asarray, place))
        yield solid.name, solid.wall, point, -np.stack(slopes), -np.stack(slopes)


def gaps(problem, seed):
    """The largest violation of each condition by the field of a random network, and the field inside."""
    conditions = HardConditions(problem)
    random = np.random.default_rng(seed)
    first, bias = random.normal(size=(conditions.input_size, 6)), random.normal(size=6)
    last = random.normal(size=(6, len(problem.unknowns)))
    real = lambda a: jnp.asarray(a, jnp.result_type(float))
    field = conditions.field(lambda z: jnp.tanh(z @ real(first) + real(bias)) @ real(last), problem.coefficients)
    found, columns = [], []
    for where, wall, point, normal, along in places(problem):
        free = np.ones(len(next(iter(point.values()))), bool)
        for solid in problem.solids:  # parts of a wall inside a solid are no boundary
            free &= (solid.name == where) | (np.asarray(solid.shape(*(point[a] for a in problem.domain.space))) > 1e-3)
        point = {c: real(v[free]) for c, v in point.items()}
        found.append((where, wall, point, real(normal[:, free]), real(along[:, free])))
        columns.append([point[c] for c in problem.coordinates])
    low, high = np.asarray([problem.domain[c] for c in problem.coordinates]).T
    columns.append(list(map(real, np.random.default_rng(0).uniform(low, high, (60, len(low))).T)))

    @jit
    def values_and_slopes(*columns):
        jacobian = jax.vmap(jax.jacfwd(field, argnums=tuple(range(len(columns)))))(*columns)
        return jax.vmap(field)(*columns), jnp.stack(jacobian[-len(problem.domain.space) :])

    ends = np.cumsum([len(column[0]) for column in columns])[:-1]
    values, slopes = values_and_slopes(*map(jnp.concatenate, zip(*columns, strict=True)))
    values, slopes = np.split(values, ends), np.split(slopes, ends, axis=1)
    out = {}
    for (where, wall, point, normal, along), value, slope in zip(found, values, slopes, strict=False):
        for k, name in enumerate(problem.unknowns):
            for kind, formula, rate in prescribed(wall, name, problem.unknowns):
                got = (
                    value[:, k]
                    if kind == "dirichlet"
                    else np.sum(slope[:, :, k] * (normal if kind == "robin" else along), 0)
                )
                if kind == "robin":
                    got = got + rate(point, problem.coefficients) * value[:, k]
                out[f"{name} {kind} {where}"] = float(np.max(np.abs(got - formula(point, problem.coefficients))))
    free = conditions.is_free(dict(zip(problem.coordinates, columns[-1], strict=True)), margin=0.1)
    return out, values[-1][np.asarray(free)]


SLOW = (
    "discs of every kind",
    "an L with a slope and a hole",
    "each unknown its own",
    "slopes without symmetry",
    "a value and a slope",
    "an L with a value",
    "shapes combined",
)
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in PROBLEMS]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_conditions_of_every_kind_hold_for_any_network(name):
    found, inside = gaps(PROBLEMS[name], 1)
    assert found
    assert max(found.values()) < 1e-12, found
    assert (inside.std(axis=0) > 1e-2).all()


@pytest.mark.slow
def test_conditions_of_every_kind_hold_in_float32():
    with jax.enable_x64(False):
        found, inside = gaps(PROBLEMS["a disc with a slope for a boundary"], 1)
    assert inside.dtype == np.float32
    assert max(found.values()) < 3e-5, found
