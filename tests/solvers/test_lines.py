"""From an equation to a system of ODEs: which discretisation, which parts, which unknowns, and what is refused."""

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.problems import CATALOGUE
from jaxsci.solvers.collocation import CollocationLines
from jaxsci.solvers.discretise import discretise, mirror_signs
from jaxsci.solvers.lines import FourierLines, structure


def problem_of(function, unknowns="u", *, walls=None, box=None, initial=None, **coefficients):
    equation = js.Equation(function, unknowns, name="mine")
    initial = dict.fromkeys(unknowns.split(), 0.0) if initial is None else initial
    boundary = {} if walls is None else {"x": walls}
    box = box or js.Box(t=(0, 1), x=(0, 1))
    return js.Problem(equation, box, coefficients=coefficients, initial=initial, boundary=boundary)


@jax.jit
def _one_step(stepper):
    state = stepper.initial()
    return stepper.decode(state), stepper.decode(stepper.step(state))


def one_step(stepper):
    """The fields at the start and after one step."""
    return tuple(map(np.asarray, _one_step(stepper)))


# --- which discretisation ----------------------------------------------------------------------------------------------

EXPECTED = {
    "burgers": ((-1,),),  # odd about both walls: sines
    "heat": ((-1,),),
    "wave": ((-1,),),
    "fisher_kpp": None,  # walls that move: Chebyshev
    "poisson": ((-1, -1),),
    "helmholtz": ((-1, -1),),
    "kdv": ((1,),),
    "navier_stokes_velocity": ((1, 1),) * 3,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_catalogued_problems_get_their_series(name):
    problem = CATALOGUE[name].build()
    assert mirror_signs(problem) == EXPECTED[name]
    assert isinstance(discretise(problem, 8), CollocationLines if EXPECTED[name] is None else FourierLines)


@pytest.mark.parametrize(
    ("function", "walls", "signs"),
    [
        (lambda u, x: u.t - u.xx - js.sin(np.pi * x), js.Dirichlet(0), ((-1,),)),  # a source that is odd at both walls
        (lambda u, x: u.t - u.xx - js.cos(np.pi * x), js.Dirichlet(0), None),  # one that is not
        (lambda u, x: u.t - u.xx - js.cos(np.pi * x), js.Neumann(0), ((1,),)),
        (lambda u: u.t + u * u.x - u.xx, js.Dirichlet(0), ((-1,),)),
        (lambda u: u.t + u * u.x - u.xx, js.Neumann(0), None),  # u u_x is odd where u is even
        (lambda u: u.t + u.x - u.xx, js.Dirichlet(0), None),
        (lambda u: u.t - u.xx - u**2, js.Dirichlet(0), None),
        (lambda u: u.t - u.xx - u**3, js.Dirichlet(0), ((-1,),)),
        (lambda u: u.t - u.xx, js.Dirichlet(1), None),
        (lambda u: u.t - u.xx, (js.Dirichlet(0), js.Neumann(0)), None),  # one of each has another period
    ],
)
def test_mirrors_are_taken_only_where_the_equation_keeps_the_symmetry(function, walls, signs):
    assert mirror_signs(problem_of(function, walls=walls)) == signs


def test_systems_are_mirrored_where_all_their_equations_agree():
    linear = lambda u, v: (u.t - u.xx + v, v.t - v.xx - u**3)
    assert mirror_signs(problem_of(linear, "u v", walls=js.Dirichlet(u=0, v=0))) == ((-1,), (-1,))
    autocatalysis = lambda u, v: (u.t - u.xx + u * v**2, v.t - v.xx - u * v**2)
    assert mirror_signs(problem_of(autocatalysis, "u v", walls=js.Neumann(u=0, v=0))) == ((1,), (1,))
    transport = lambda u, v: (u.t + v.x, v.t + u.x)
    assert mirror_signs(problem_of(transport, "u v", walls=js.Dirichlet(u=0, v=0))) is None
    assert mirror_signs(problem_of(linear, "u v", walls=js.Dirichlet(u=0))) is None  # v has no condition


def test_a_symmetric_burgers_keeps_its_symmetry_to_the_bit():
    problem = js.problems.burgers(viscosity=0.05)
    solution = js.solve(problem, js.Spectral(64, dt=0.01, estimate=False, rtol=1.0), ts=[0.0, 0.5, 1.0])
    u = np.asarray(solution["u"])
    assert np.abs(u + u[:, ::-1]).max() < 1e-15
    assert np.abs(u[:, [0, -1]]).max() < 1e-15


# --- the parts of an equation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "components", "algebraic", "diagonal"),
    [
        ("burgers", ("u",), (), True),
        ("wave", ("u", "u_t"), (), False),
        ("gray_scott", ("u", "v"), (), True),
        ("navier_stokes_vorticity", ("w",), ("psi",), True),
        ("navier_stokes_velocity", ("u", "v"), ("p",), True),  # one viscosity for both: the projection commutes with it
    ],
)
def test_structure_tells_evolved_from_algebraic_unknowns(name, components, algebraic, diagonal):
    problem = CATALOGUE[name].build()
    lines = discretise(problem, 8)
    assert lines.component_names == components
    assert tuple(u for u, _ in lines.parts.algebraic) == algebraic
    assert lines.kind == ("diagonal" if diagonal else "blocks")


def test_conservative_and_plain_forms_give_the_same_right_hand_side():
    box, start = js.Box(t=(0, 1), x=(0, 1)), {"u": lambda x: js.sin(2 * np.pi * x)}
    forms = (
        lambda u, nu: u.t + u * u.x - nu * u.xx,
        lambda u, nu: u.t + (u * u / 2).x - nu * u.xx,
        lambda u, nu: 2 * u.t + (u * u).x - 2 * nu * u.xx,
    )
    values = []
    for form in forms:
        problem = problem_of(form, box=box, initial=start, nu=0.1)
        values.append(one_step(js.stepper(problem, js.Spectral(32, dt=0.01)))[1])
    assert np.abs(values[0] - values[1]).max() < 1e-15
    assert np.abs(values[0] - values[2]).max() < 1e-14


def test_linear_coupling_is_stepped_exactly_whatever_the_step():
    # u_t = v, v_t = u_xx: a wave by another name; one step of any length is exact
    start = {"u": lambda x: js.sin(2 * np.pi * x), "v": 0.0}
    problem = problem_of(lambda u, v: (u.t - v, v.t - u.xx), "u v", initial=start)
    stepper = js.stepper(problem, js.Spectral(8, dt=3.7))
    u, v = one_step(stepper)[1]
    x, omega = stepper.grid["x"], 2 * np.pi
    assert np.abs(u - np.cos(omega * 3.7) * np.sin(omega * x)).max() < 1e-12
    assert np.abs(v + omega * np.sin(omega * 3.7) * np.sin(omega * x)).max() < 1e-11


def test_pressure_follows_from_the_velocity_alone():
    problem = js.problems.navier_stokes_velocity()
    stepper = js.stepper(problem, js.Spectral(12, dt=0.01))
    x, y = np.meshgrid(*stepper.grid.values(), indexing="ij")
    exact = np.stack([1 - np.cos(x) * np.sin(y), 0.5 + np.sin(x) * np.cos(y), -(np.cos(2 * x) + np.cos(2 * y)) / 4])
    found = np.asarray(jax.jit(lambda s, u: s.decode(s.encode(u)))(stepper, exact[:2]))
    assert np.abs(found - exact).max() < 1e-14
    assert abs(found[2].mean()) < 1e-16  # the gauge


@pytest.mark.parametrize(
    ("axes", "wall"), [("x", "cold"), ("xy", "periodic"), ("xy", "insulated"), ("xyz", "periodic"), ("xyz", "cold")]
)
def test_heat_decays_at_its_rate_in_every_dimension(axes, wall):
    # On a box with sides of different length and grids of different size, odd and even.
    sides, sizes = {"x": 1.0, "y": 1.5, "z": 2.0}, {"x": 6, "y": 5, "z": 8}
    box = js.Box(t=(0, 1), **{a: (0, sides[a]) for a in axes})
    laplacian = {
        1: lambda u, k: u.t - k * u.xx,
        2: lambda u, k: u.t - k * (u.xx + u.yy),
        3: lambda u, k: u.t - k * (u.xx + u.yy + u.zz),
    }
    wave = {"periodic": lambda a, q: js.cos(2 * np.pi * q / sides[a])}
    wave |= {"cold": lambda a, q: js.sin(np.pi * q / sides[a]), "insulated": lambda a, q: js.cos(np.pi * q / sides[a])}
    start = {
        1: lambda x: wave[wall]("x", x),
        2: lambda x, y: wave[wall]("x", x) * wave[wall]("y", y),
        3: lambda x, y, z: wave[wall]("x", x) * wave[wall]("y", y) * wave[wall]("z", z),
    }
    condition = {"periodic": js.Periodic(), "cold": js.Dirichlet(0), "insulated": js.Neumann(0)}[wall]
    problem = js.Problem(
        js.Equation(laplacian[len(axes)]),
        box,
        coefficients={"k": 0.05},
        initial={"u": start[len(axes)]},
        boundary=dict.fromkeys(axes, condition),
    )
    before, after = one_step(js.stepper(problem, js.Spectral(tuple(sizes[a] for a in axes), dt=0.4)))
    rate = 0.05 * sum((np.pi * (2 if wall == "periodic" else 1) / sides[a]) ** 2 for a in axes)
    assert np.abs(before).max() > 0.5
    assert np.abs(after - np.exp(-0.4 * rate) * before).max() < 1e-15


# --- refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "unknowns", "message"),
    [
        (lambda u, v: (u.t + v.x,), "u v", r"mine: 1 equations for the 2 unknowns 'u', 'v'"),
        (lambda u, v: (u.t + v.x, v.t + u.t), "u v", None),
        (lambda u: u.t**2 - u.xx, "u", "highest time derivative must stand alone"),
        (lambda u, v: (u.t + u * v.t, v.t - u.xx), "u v", "highest time derivative must stand alone"),
        (lambda u, v: (u.t + v.x, u.x * v - 1), "u v", r"constraint in row 2 must be linear"),
    ],
)
def test_systems_that_cannot_be_solved_for_their_rates_are_refused(function, unknowns, message):
    equation = js.Equation(function, unknowns, name="mine")
    if message is None:
        assert structure(equation).components == (("u", 0), ("v", 0))  # coupled rates are solved for
        return
    with pytest.raises(ValueError, match=message):
        structure(equation)
