"""Sampling that keeps points, scales that undo units, coefficients that become harder, points over devices."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import Curriculum, Even, FirstOrder, LevenbergMarquardt, ResidualDensity, Retain, Scheme
from jaxsci.learning.frame import FRAME, Frame, first_window
from jaxsci.learning.objective import Objective
from jaxsci.learning.sampling import collocation, even_points, residual_size
from jaxsci.learning.scaling import with_frame

KEY = jax.random.key(3)


@functools.cache
def heat():
    problem = js.problems.heat()
    objective = Objective.of(problem, js.networks.MLP((4,)))
    return objective, objective.init(KEY, problem.coefficients), problem.coefficients


def draw(sampling, previous=None, draws=0, number=1):
    return sampling.draw(*heat(), jax.random.fold_in(KEY, number), 200, previous, draws)


def test_even_points_are_drawn_anew_or_kept():
    first = draw(Even())
    assert not (draw(Even(), first, 1, number=2) == first).any()
    assert draw(Even(keep=True), first, 1, number=2) is first


def test_retained_points_are_those_above_the_mean():
    before = draw(Retain())
    after = draw(Retain(), before, 1, number=2)
    objective, unknowns, coefficients = heat()
    size = np.asarray(jax.jit(lambda points: residual_size(objective, unknowns, coefficients, points))(before))
    kept = (np.asarray(after) == np.asarray(before)).all(axis=1)
    np.testing.assert_array_equal(kept, size > size.mean())
    assert 0.1 < kept.mean() < 0.9
    released = np.asarray(even_points(heat()[0], jax.random.fold_in(KEY, 2), 200))[~kept]
    np.testing.assert_allclose(np.asarray(after)[~kept], released, rtol=1e-14)


def test_points_are_refined_until_all_are_kept():
    sampling, points = ResidualDensity(kept=0.3), None
    for draws in range(5):
        new = draw(sampling, points, draws, number=draws)
        if points is not None:
            kept = (np.asarray(new) == np.asarray(points)).all(axis=1)
            assert kept.sum() == min(60 * draws, 200)
        points = new


def test_points_of_a_window_lie_in_it():
    objective, unknowns, coefficients = heat()
    window = first_window(unknowns["network"], 1.0, jnp.float64)._replace(start=jnp.asarray(0.25), end=jnp.asarray(0.5))
    framed = dict(coefficients) | {FRAME: Frame(jnp.ones(1), jnp.ones(1), window)}
    inside, everywhere = collocation(objective, framed, KEY, 300), even_points(objective, KEY, 300)
    end = objective.conditions.problem.domain["t"][1]
    np.testing.assert_allclose(inside[:, 0], end / 4 + everywhere[:, 0] / 4, rtol=1e-13)
    np.testing.assert_array_equal(inside[:, 1], everywhere[:, 1])


# --- units -------------------------------------------------------------------------------------------------------------------


def burgers_in_units(length, duration, size):
    """u_t + a u u_x = nu u_xx on [0, T] x [-L, L] in units in which L, T and u are these."""
    equation = js.Equation(lambda u, a, nu: u.t + a * u * u.x - nu * u.xx, name="burgers")
    box = js.Box(t=(0, duration), x=(-length, length))
    coefficients = {"a": length / (duration * size), "nu": 0.1 * length**2 / duration}
    initial = {"u": lambda x: -size * js.sin(np.pi * x / length)}
    return js.Problem(equation, box, coefficients=coefficients, initial=initial, boundary={"x": js.Dirichlet(0)})


UNITS = {"ones": (1.0, 1.0, 1.0), "others": (50.0, 100.0, 1e3)}


FIRST = FirstOrder(steps=60, points=100, resample=30)
SECOND = LevenbergMarquardt(points=100, steps=15, resample=20)


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", [FIRST, SECOND], ids=["first", "second"])
def test_the_same_problem_in_other_units_is_the_same_fit(optimiser):
    """On [0, 1] with u ~ 1 and on [0, 100] with u ~ 1e3."""
    method = js.Neural(
        js.networks.MLP((5,)), optimiser=optimiser, scheme=Scheme(Even()), budget=None, grid=8, estimate=False
    )
    plain, other = (js.solve(burgers_in_units(*UNITS[units]), method) for units in UNITS)
    np.testing.assert_allclose(other.fields / 1e3, plain.fields, atol=1e-9)
    assert plain.stats["residual"] < 1.3  # it was fitted: from 1.5
    assert other.stats["residual"] == pytest.approx(plain.stats["residual"] * 1e3 / 100, rel=1e-7)  # in its own units
    assert float(other.error_estimate) == pytest.approx(float(plain.error_estimate), rel=1e-7)


@pytest.mark.slow
def test_scales_follow_the_units_and_a_multiplied_equation():
    def scales(problem):
        objective = Objective.of(problem, js.networks.MLP((4,)))
        unknowns = objective.init(KEY, problem.coefficients)
        return with_frame(objective, unknowns, problem.coefficients)[FRAME]

    plain, other = (scales(burgers_in_units(*UNITS[units])) for units in UNITS)
    np.testing.assert_allclose(other.outputs, 1e3 * plain.outputs, rtol=1e-11)
    np.testing.assert_allclose(other.rows, 1e3 / 100 * plain.rows, rtol=1e-11)
    assert 0.3 < float(plain.outputs[0]) < 3

    source = lambda factor: js.Problem(
        js.Equation(lambda u, f: u.xx + f, name="bar"), js.Box(x=(0, 1)), coefficients={"f": factor},
        boundary={"x": js.Dirichlet(0)},
    )  # fmt: skip
    ratio = scales(source(1e6)).outputs / scales(source(1.0)).outputs
    np.testing.assert_allclose(ratio, 1e6, rtol=1e-11)  # the lift is zero: the source tells


# --- curriculum --------------------------------------------------------------------------------------------------------------


class Cubic:
    """A cubic of time: a network that compiles quickly."""

    def init(self, key, inputs, outputs):
        return {"c": jax.random.normal(key, (4, outputs))}

    def apply(self, parameters, z):
        return jnp.polyval(parameters["c"], z[0])


@pytest.mark.slow
def test_a_curriculum_ends_at_the_problem_and_starts_where_it_is_easy():
    decay = js.Equation(lambda u, rate: u.t + rate * u**3, name="decay")
    problem = js.Problem(decay, js.Box(t=(0, 1)), coefficients={"rate": 5.0}, initial={"u": 1.0})
    descent, lines = FirstOrder(steps=20, points=50), []
    curriculum = Scheme(curriculum=Curriculum(rate=(0.5, 2.0)))
    solution = js.solve(
        problem, js.Neural(Cubic(), optimiser=descent, scheme=curriculum, budget=None, estimate=False), progress=lines.append
    )
    assert [line.split(":")[0] for line in lines] == ["stage 1 of 2", "stage 2 of 2", "FirstOrder step 20"]
    assert solution.problem.coefficients == {"rate": 5.0}
    directly = js.solve(problem, js.Neural(Cubic(), optimiser=descent, budget=None, estimate=False))
    assert not np.allclose(directly.fields, solution.fields), "it went another way"


def test_a_curriculum_of_what_is_no_coefficient_is_refused():
    with pytest.raises(KeyError, match=r"Curriculum: coefficient 'viscocity' does not exist.*Did you mean 'viscosity'"):
        Curriculum(viscocity=(0.1,)).stages(js.problems.burgers())
    for values in ({}, {"a": ()}, {"a": (1,), "b": (1, 2)}):
        with pytest.raises(ValueError, match=r"give as many values for every coefficient, as in Curriculum\(viscosity"):
            Curriculum(**values)
    assert Curriculum(a=(1, 2)) == Curriculum(a=(1.0, 2.0)) != Curriculum(1e-3, a=(1, 2))
    assert hash(Curriculum(a=(1, 2))) == hash(Curriculum(a=(1.0, 2.0)))


# --- devices -----------------------------------------------------------------------------------------------------------------

_ON_EIGHT = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import jaxsci as js
from jax.sharding import PartitionSpec as P
from jaxsci.learning import Even, FirstOrder, Scheme
assert len(jax.devices()) == 8
from jax.sharding import AxisType, Mesh
mesh = jax.make_mesh((8,), ("points",))
problem, network = js.problems.heat(), js.networks.MLP((4,))
def fit(mesh):
    optimiser = FirstOrder(steps=40, points=64, resample=20)
    method = js.Neural(network, optimiser=optimiser, scheme=Scheme(Even(), mesh=mesh), budget=None)
    return js.solve(problem, method, ts=[0.0, 1.0])
one, eight = fit(None), fit(mesh)
np.testing.assert_allclose(eight.fields, one.fields, rtol=1e-11, atol=1e-13)
print("spread", len(eight.field.unknowns["network"]["layers/0/bias"].sharding.device_set))

# The control: a step per device on its own points, without averaging, lets the replicas drift apart.
objective = js.learning.Objective.of(problem, network)
unknowns = objective.init(jax.random.key(0), problem.coefficients)
points = js.learning.Even().draw(objective, unknowns, problem.coefficients, jax.random.key(1), 64)
def slope(points, average):
    batch = js.learning.Batch({"equation": points}, {"equation": jnp.full((len(points), 1), 1 / len(points))}, {})
    gradient = jax.grad(objective.loss)(unknowns, problem.coefficients, batch)["network"]["layers/0/bias"]
    return (jax.lax.pmean(gradient, "points") if average else gradient)[None]
def replicas(average):
    mapped = jax.shard_map(lambda p: slope(p, average), mesh=mesh, in_specs=P("points"), out_specs=P("points"), check_vma=False)
    return np.asarray(jax.jit(mapped)(points))
mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,))
apart, together = replicas(False), replicas(True)
assert np.ptp(apart, axis=0).max() > 0.01 * np.abs(together).max()
assert np.ptp(together, axis=0).max() == 0
np.testing.assert_allclose(together[0], slope(points, False)[0], rtol=1e-10)
"""


@pytest.mark.slow
def test_points_over_eight_devices_give_the_fit_of_one():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", _ON_EIGHT], env=os.environ | flags, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    assert "spread 8" in run.stdout
