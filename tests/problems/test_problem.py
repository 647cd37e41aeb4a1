"""Problems: what they check when they are made, that they are pytrees of their coefficients, what identifies them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

heat = js.Equation(lambda u, diffusivity: u.t - diffusivity * u.xx, "u", name="heat")
wave = js.Equation(lambda u, speed: u.tt - speed**2 * u.xx, "u", name="wave")
pair = js.Equation(lambda u, v: (u.t - v.xx, v.t - u.xx), "u v", name="pair")
box = js.Box(t=(0, 1), x=(0, 1))


def make(equation=heat, domain=box, **given):
    """The heat problem, with something changed."""
    usual = {
        "coefficients": {"diffusivity": 0.1},
        "initial": {"u": lambda x: js.sin(np.pi * x)},
        "boundary": {"x": js.Dirichlet(0)},
    }
    return js.Problem(equation, domain, **(usual | given))


problem = make()


def test_what_a_problem_knows_of_itself():
    assert repr(problem) == "heat: u_t - diffusivity*u_xx = 0 on Box(t=(0, 1), x=(0, 1)) with diffusivity=0.1"
    assert problem.unknowns == ("u",)
    assert problem.coordinates == ("t", "x")
    assert not problem.is_steady
    assert problem.time_order("u") == 1
    assert problem.walls("x") == (js.Dirichlet(0), js.Dirichlet(0))
    assert problem.boundary == {"x": (js.Dirichlet(0), js.Dirichlet(0))}
    assert problem.latex() == heat.latex()
    np.testing.assert_allclose(problem.times, np.arange(51) / 50, rtol=1e-15)
    assert make(times=(0.0, 0.1, 1.0)).times.tolist() == [0.0, 0.1, 1.0]


def test_axes_without_a_condition_are_periodic_and_walls_may_differ():
    assert make(boundary=None).boundary == {"x": js.Periodic()}
    assert make(boundary=None).walls("x") == ()
    mixed = make(boundary={"x": (js.Neumann(0), js.Dirichlet(lambda t: t))})
    assert [wall.kind for wall in mixed.walls("x")] == ["neumann", "dirichlet"]


def test_equation_of_second_order_in_time_needs_both_initial_values():
    given = {"coefficients": {"speed": 1.0}, "boundary": None}
    assert set(make(wave, initial={"u": 0, "u_t": 1}, **given).initial) == {"u", "u_t"}
    with pytest.raises(KeyError, match="initial value 'u_t' missing; got 'u'"):
        make(wave, initial={"u": 0}, **given)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"equation": "heat"}, TypeError, "give a js.Equation and a js.Box, got str and Box"),
        ({"domain": {"x": (0, 1)}}, TypeError, "give a js.Equation and a js.Box, got Equation and dict"),
        ({"coefficients": {}}, KeyError, "coefficient 'diffusivity' missing; got none"),
        ({"coefficients": {"diffusivty": 1.0}}, KeyError, "'diffusivty' does not exist.*Did you mean 'diffusivity'?"),
        ({"coefficients": {"diffusivity": np.ones(3)}}, ValueError, r"diffusivity must be a scalar.*\(3,\).*jax.vmap"),
        ({"coefficients": {"diffusivity": np.ones(3, int)}}, TypeError, "diffusivity must be real floating point.*int64"),
        ({"coefficients": {"diffusivity": 1j}}, TypeError, "diffusivity must be real floating point, got dtype complex"),
        ({"coefficients": {"diffusivity": "a"}}, TypeError, "diffusivity must be a real number or array, got 'a'"),
        ({"coefficients": {"diffusivity": [1.0]}}, TypeError, "diffusivity must be a real number or array"),
        ({"coefficients": {"diffusivity": jnp.sin}}, TypeError, "diffusivity must be a number, since the equation does"),
        ({"initial": {}}, KeyError, "initial value 'u' missing; got none"),
        ({"initial": {"u": 0, "v": 0}}, KeyError, "initial value 'v' does not exist; there is 'u'"),
        ({"initial": {"u": 0, "u_t": 0}}, KeyError, "initial value 'u_t' does not exist"),
        ({"initial": {"u": lambda t, x: t * x}}, ValueError, "initial value u depends on the coordinate 't'"),
        ({"initial": {"u": lambda y: jnp.sin(y)}}, ValueError, "initial value u depends on the coordinate 'y'"),
        ({"initial": {"u": lambda x, a: a * x}}, ValueError, "initial value u uses 'a', which is no coefficient"),
        ({"initial": {"u": np.ones(5)}}, TypeError, "condition is a number, an expression, or a function"),
        ({"boundary": {"y": js.Dirichlet(0)}}, KeyError, "boundary of coordinate 'y' does not exist; there is 'x'"),
        ({"boundary": {"t": js.Dirichlet(0)}}, KeyError, "boundary of coordinate 't' does not exist"),
        ({"boundary": {"x": 0}}, ValueError, r"boundary of x must be Periodic\(\), a wall condition, or a pair.*got 0"),
        ({"boundary": {"x": js.Dirichlet}}, ValueError, "boundary of x must be"),
        ({"boundary": {"x": (js.Periodic(), js.Dirichlet(0))}}, ValueError, "boundary of x must be"),
        ({"boundary": {"x": (js.Dirichlet(0),) * 3}}, ValueError, "boundary of x must be"),
        ({"boundary": {"x": js.Dirichlet(v=0)}}, KeyError, "unknown on the wall of x 'v' does not exist; there is 'u'"),
        ({"boundary": {"x": js.Dirichlet(lambda y: y)}}, ValueError, "value of u on the wall of x depends on .* 'y'"),
        ({"exact": {"v": 0}}, KeyError, "exact solution of 'v' does not exist; there is 'u'"),
        ({"exact": {"u": lambda t, x, a: a * x}}, ValueError, "exact solution u uses 'a'"),
        ({"times": (0.0, 5.0)}, ValueError, r"ts must increase and lie in \[0, 1\], got 0 to 5"),
        ({"domain": js.Box(t=(0, 1))}, ValueError, r"has the coordinate 'x', which Box\(t=\(0, 1\)\) lacks"),
        ({"domain": js.Box(x=(0, 1))}, ValueError, "has the coordinate 't', which"),
        ({"equation": js.Equation(lambda u: u.xx)}, ValueError, "box has a time t, but no time derivative occurs in u_xx"),
        ({"equation": js.Equation(lambda u: u.ttt - u.xx)}, ValueError, "above the second are not supported.*'u'"),
    ],
)
def test_wrong_problems_are_refused_by_name(change, error, match):
    with pytest.raises(error, match=match):
        make(**change)


def test_one_value_for_two_unknowns_is_ambiguous():
    with pytest.raises(ValueError, match=r"with the unknowns 'u', 'v' name them: Dirichlet\(u=\.\.\., v=\.\.\.\)"):
        js.Problem(pair, box, initial={"u": 0, "v": 0}, boundary={"x": js.Dirichlet(0)})
    held = js.Problem(pair, box, initial={"u": 0, "v": 0}, boundary={"x": js.Dirichlet(u=0)})  # v is free there
    assert set(held.walls("x")[0].for_unknowns(held.unknowns)) == {"u"}


def test_times_belong_to_problems_with_time():
    with pytest.raises(ValueError, match=r"times are given, but .* has no t"):
        js.Problem(js.Equation(lambda u: u.xx), js.Box(x=(0, 1)), times=(0, 1))


def test_other_coefficients_make_another_problem():
    other = problem.with_coefficients(diffusivity=0.5)
    assert other.coefficients == {"diffusivity": 0.5}
    assert problem.coefficients == {"diffusivity": 0.1}
    assert (other.equation, other.name, other.boundary) == (problem.equation, problem.name, problem.boundary)
    with pytest.raises(KeyError, match="coefficient 'speed' does not exist; there is 'diffusivity'"):
        problem.with_coefficients(speed=1.0)
    with pytest.raises(ValueError, match="diffusivity must be a scalar"):
        problem.with_coefficients(diffusivity=np.ones(2))


def test_references_that_do_not_exist_are_not_made_up():
    with pytest.raises(ValueError, match=r"heat has no reference: give exact=.*reference=.*two resolutions"):
        problem.reference()
    with pytest.raises(ValueError, match=r"heat has no exact solution in closed form; use its reference\(\)"):
        problem.exact_field(0.0, 0.0)


# --- pytree -----------------------------------------------------------------------------------------------------------


def test_leaves_are_the_coefficients_and_nothing_else():
    leaves, structure = jax.tree.flatten(problem)
    assert leaves == [0.1]
    back = jax.tree.unflatten(structure, leaves)
    assert repr(back) == repr(problem)
    assert back.identity == problem.identity
    assert jax.tree.structure(back) == structure
    assert jax.tree.structure(problem.with_coefficients(diffusivity=0.5)) == structure  # one trace for all of them


def test_two_makings_of_one_symbolic_problem_have_one_structure():
    """So that jit traces once although the lambdas of the conditions are made anew."""
    traces = []

    @jax.jit
    def run(p):
        traces.append(p)
        return p.coefficients["diffusivity"] * 2

    assert run(make()) == run(make()) == 0.2
    assert len(traces) == 1


def test_grad_and_vmap_go_through_a_problem():
    def loss(p):
        return jnp.sum(p.initial["u"]({"x": jnp.linspace(0, 1, 5)}, p.coefficients)) * p.coefficients["diffusivity"] ** 3

    scale = 1 + np.sqrt(2)  # sum of sin(pi x) over the five points
    assert float(jax.grad(loss)(problem).coefficients["diffusivity"]) == pytest.approx(3 * 0.01 * scale, rel=1e-12)
    many = jax.vmap(lambda k: loss(problem.with_coefficients(diffusivity=k)))(jnp.asarray([0.1, 0.2]))
    np.testing.assert_allclose(many, np.asarray([0.001, 0.008]) * scale, rtol=1e-12)
    batched = jax.tree.map(lambda _: jnp.asarray([0.1, 0.2]), problem)
    np.testing.assert_allclose(jax.vmap(loss)(batched), many, rtol=1e-12)


def test_function_coefficients_are_pytrees():
    """A plain function as a coefficient has no leaves; one with parameters has its parameters as leaves."""
    closed = js.Equation(lambda u, network: u.t - network(u), name="closed")
    ode = js.Box(t=(0, 1))
    plain = js.Problem(closed, ode, coefficients={"network": jnp.tanh}, initial={"u": 1.0})
    assert jax.tree.leaves(plain) == []
    learned = plain.with_coefficients(network=jax.tree_util.Partial(lambda w, u: w * u, jnp.asarray(2.0)))
    assert jax.tree.leaves(learned) == [2.0]
    gradient = jax.jit(jax.grad(lambda p: js.residual(p)(jnp.exp, None, jnp.ones((1, 1)))[0, 0]))(learned)
    assert float(jax.tree.leaves(gradient)[0]) == pytest.approx(-np.e)


# --- identity ---------------------------------------------------------------------------------------------------------


def test_different_problems_have_different_identities():
    closed = js.Equation(lambda u, network: u.t - network(u), name="closed")
    functions = (jnp.sin, jnp.cos, lambda u: u, lambda u: 2 * u)
    problems = [
        problem,
        problem.with_coefficients(diffusivity=0.01),
        problem.with_coefficients(diffusivity=0.01 / np.pi),
        problem.with_coefficients(diffusivity=np.nextafter(0.1, 1)),
        make(domain=js.Box(t=(0, 2), x=(0, 1))),
        make(domain=js.Box(t=(0, 1), x=(0, 1), y=(0, 1))),
        make(initial={"u": lambda x: js.sin(2 * np.pi * x)}),
        make(initial={"u": lambda x: jnp.where(x > 0.5, 1.0, 0.0)}),
        make(initial={"u": lambda x: jnp.where(x > 0.25, 1.0, 0.0)}),
        make(boundary=None),
        make(boundary={"x": js.Neumann(0)}),
        make(boundary={"x": (js.Neumann(0), js.Dirichlet(0))}),
        make(boundary={"x": (js.Dirichlet(0), js.Neumann(0))}),
        make(boundary={"x": js.Dirichlet(1)}),
        *(js.Problem(closed, js.Box(t=(0, 1)), coefficients={"network": f}, initial={"u": 1.0}) for f in functions),
    ]
    assert len({p.identity for p in problems}) == len(problems)


def test_same_problem_has_the_same_identity_however_it_is_written():
    @js.equation("u", symbols={"diffusivity": "k"})
    def renamed(u, diffusivity):
        return -diffusivity * u.xx + u.t

    assert make().identity == problem.identity
    assert make(renamed, name="other").identity == problem.identity
    assert make(boundary={"x": (js.Dirichlet(0), js.Dirichlet(u=0))}).identity == problem.identity
    assert make(coefficients={"diffusivity": np.float64(0.1)}).identity == problem.identity
    assert make(coefficients={"diffusivity": jnp.asarray(0.1)}).identity == problem.identity


def test_traced_coefficient_has_no_identity_yet():
    with pytest.raises(TypeError, match="coefficient diffusivity is traced and has no value"):
        jax.jit(lambda k: (problem.with_coefficients(diffusivity=k).identity, k)[1])(0.1)


# --- manufactured solutions -------------------------------------------------------------------------------------------


def test_manufactured_problem_has_its_solution_for_any_coefficients():
    equation = js.Equation(lambda u, speed, damping: u.tt + damping * u * u.t - speed**2 * u.xx, name="damped")
    made = js.manufactured(
        equation,
        js.Box(t=(0.5, 1), x=(0, 1)),
        coefficients={"speed": 2.0, "damping": 0.3},
        exact={"u": lambda t, x, damping: js.exp(-damping * t) * js.cos(2 * np.pi * x)},
    )
    points = np.random.default_rng(0).uniform(0, 1, size=(6, 2))
    for values in ({}, {"speed": 0.7, "damping": 1.1}):
        other = made.with_coefficients(**values)
        residual = js.residual(other)(other.exact_field, None, points)
        np.testing.assert_allclose(residual, np.zeros((6, 1)), atol=1e-12)  # terms up to 160
    # The initial values are those of the solution at the box's start, 0.5.
    x, coefficients = jnp.linspace(0, 1, 4), made.coefficients
    start = np.exp(-0.15) * np.cos(2 * np.pi * x)
    np.testing.assert_allclose(made.initial["u"]({"x": x}, coefficients), start, atol=1e-14)
    np.testing.assert_allclose(made.initial["u_t"]({"x": x}, coefficients), -0.3 * start, atol=1e-14)


def test_manufactured_needs_an_expression_for_every_unknown():
    with pytest.raises(ValueError, match=r"exact u must be an expression .*not an opaque function"):
        js.manufactured(heat, box, coefficients={"diffusivity": 1.0}, exact={"u": lambda t, x: jnp.where(x > 0, t, x)})
    with pytest.raises(KeyError, match="exact solution of 'v' missing; got 'u'"):
        js.manufactured(pair, box, coefficients={}, exact={"u": lambda t, x: t * x})
