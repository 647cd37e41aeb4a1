"""The catalogue: every entry builds, is told apart from all others, says where it comes from and solves its own equation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.problems import CATALOGUE, Converged, Exact

PROBLEMS = {f"{name}-{label}": p for name, entry in CATALOGUE.items() for label, p in entry.problems().items()}
EXACT = sorted(key for key, problem in PROBLEMS.items() if problem.exact)
# What the first slice promises .
PROMISED = (
    *("burgers", "advection", "heat", "wave", "kdv", "kuramoto_sivashinsky", "allen_cahn", "fisher_kpp", "gray_scott"),
    *("poisson", "helmholtz", "navier_stokes_vorticity", "navier_stokes_velocity", "lorenz", "lotka_volterra", "robertson"),
)


FROM_FILES = ("laplace_four_discs", "flow_past_two_discs")  # scored against files of others


def test_the_promised_problems_are_there():
    assert set(PROMISED) <= set(CATALOGUE)
    for name in CATALOGUE:
        assert getattr(js.problems, name) is CATALOGUE[name].build


def test_no_two_problems_share_an_identity():
    identities = {key: problem.identity for key, problem in PROBLEMS.items()}
    assert len(set(identities.values())) == len(PROBLEMS)
    assert all(len(i) == 16 and set(i) <= set("0123456789abcdef") for i in identities.values())


def test_two_quoted_viscosities_of_burgers_are_two_problems():
    default, thick = CATALOGUE["burgers"].problems().values()
    assert default.coefficients == {"viscosity": 0.01 / np.pi}
    assert thick.coefficients == {"viscosity": 0.01}
    assert default.identity != thick.identity
    assert js.problems.burgers(viscosity=0.01).identity == thick.identity


@pytest.mark.parametrize("name", CATALOGUE)
def test_entry_names_its_source_and_prints(name):
    entry, problem = CATALOGUE[name], CATALOGUE[name].build()
    assert problem.name == name
    assert problem.source == entry.source
    assert any(character.isdigit() for character in entry.source) or entry.source.startswith("jaxsci:")  # a year
    assert entry.build.__doc__
    assert set(problem.coefficients) == set(entry.defaults)
    assert problem.latex().count("= 0") == len(problem.equation.residuals)
    assert problem.latex().count("{") == problem.latex().count("}")
    words = re.sub(r"\\mathrm\{[a-z\\_]+\}", "w", problem.latex())
    assert "}_{" not in words.replace(r"\right)}_{", "")  # two subscripts one after the other: an error in TeX
    assert name in repr(problem)


@pytest.mark.parametrize("name", CATALOGUE)
def test_entry_refuses_a_coefficient_that_it_does_not_have(name):
    with pytest.raises(KeyError, match=f"{name}: coefficient 'viscosty' does not exist"):
        CATALOGUE[name].build(viscosty=1.0)


def test_unknown_problem_is_answered_with_the_nearest():
    with pytest.raises(AttributeError, match=r"problem 'burger' does not exist.*Did you mean 'burgers'?"):
        js.problems.burger


@pytest.mark.parametrize("key", EXACT)
def test_exact_solution_satisfies_equation_start_and_walls(key):
    """At random points, with the coefficients moved away from their defaults: the conditions follow them too."""
    problem = PROBLEMS[key]
    problem = problem.with_coefficients(**{name: 1.1 * value for name, value in problem.coefficients.items()})
    domain, random = problem.domain, np.random.default_rng(0)
    points = jnp.asarray(np.stack([random.uniform(*domain[c], size=16) for c in problem.coordinates], axis=-1))
    r = js.residual(problem)

    @jax.jit
    def residual_and_terms(points):
        columns = tuple(points.T)
        terms = r.field_partials(problem.exact_field, columns)  # what the residual's round-off is measured against
        return r.from_partials(terms, columns, problem.coefficients), terms

    residual, terms = residual_and_terms(points)
    assert np.abs(residual).max() <= 2e-15 * sum(np.abs(term).max() for term in terms.values())

    def exact(at):
        return np.asarray(jax.vmap(problem.exact_field)(*at.T)).T

    for name, formula in problem.initial.items():
        unknown, order = name.split("_t")[0], name.count("_t")
        start = points.at[:, 0].set(domain["t"][0])
        field = lambda t, *x, u=unknown: problem.exact_field(t, *x)[problem.unknowns.index(u)]
        for _ in range(order):
            field = jax.grad(field)
        here = dict(zip(problem.coordinates[1:], start[:, 1:].T, strict=True))
        np.testing.assert_allclose(jax.vmap(field)(*start.T), formula(here, problem.coefficients), atol=1e-13, err_msg=name)
    for axis in domain.space:
        column = problem.coordinates.index(axis)
        ends = [points.at[:, column].set(end) for end in domain[axis]]
        walls = problem.walls(axis)
        if not walls:  # periodic
            np.testing.assert_allclose(exact(ends[0]), exact(ends[1]), atol=1e-12)
        for wall, end in zip(walls, ends, strict=bool(walls)):
            assert wall.kind in ("dirichlet", "outflow")  # that is all the exact solutions have; the latter holds no value
            here = dict(zip(problem.coordinates, end.T, strict=True))
            for unknown, formula in wall.for_unknowns(problem.unknowns).items():
                got = exact(end)[problem.unknowns.index(unknown)]
                np.testing.assert_allclose(got, formula(here, problem.coefficients), atol=1e-13)


@pytest.mark.parametrize("key", EXACT)
def test_exact_references_state_their_floor(key):
    problem = PROBLEMS[key]
    solution = problem.reference(ts=None if problem.is_steady else problem.times[[0, 10, 50]])
    assert isinstance(problem._reference, Exact)
    assert float(solution.error_estimate) <= 1e-12
    assert float(solution.error_estimate) >= jnp.finfo(float).eps
    times = () if problem.is_steady else (3,)
    assert solution.fields.shape == (
        *times,
        len(problem.unknowns),
        *(problem._reference.points + 1,) * len(problem.domain.space),
    )
    assert solution.cost.total_seconds == 0
    np.testing.assert_array_equal(solution.check().problem.identity, problem.identity)


def test_problems_without_an_exact_solution_have_a_convergence_study():
    without = {key.split("-")[0] for key in PROBLEMS if key not in EXACT}
    assert without == {
        "allen_cahn", "kdv", "kuramoto_sivashinsky", "vortex_mixing", "gray_scott_spot", "lorenz", "lotka_volterra", "robertson",
        "decaying_turbulence", "kolmogorov_flow", "taylor_green_3d",
        "lid_driven_cavity", "cylinder",
        "diffusion_sorption", "reaction_diffusion",
        "steady_regularised_cavity", "steady_lid_driven_cavity", *FROM_FILES,
    }  # fmt: skip
    for key, problem in PROBLEMS.items():
        if key not in EXACT and key.split("-")[0] not in FROM_FILES:
            assert isinstance(problem._reference, Converged), key
            options = dict(problem._reference.options)
            if problem._reference.recipe in ("staggered", "cavity"):  # second order, spectral: it says how accurate it is
                continue
            assert options["rtol"] <= 1e-8, key
            least = 20 if len(problem.domain.space) == 3 else 64 if "stiff" in options else 96  # Chebyshev nodes crowd
            assert options.get("n", 4096) >= least, key
    assert dict(PROBLEMS["allen_cahn-default"]._reference.options)["n"] >= 4096  # the kink at the ends resolved


def test_float32_reference_states_float32_round_off():
    with jax.enable_x64(False):
        solution = js.problems.burgers().reference()
        assert solution.fields.dtype == jnp.float32
        assert float(solution.error_estimate) >= jnp.finfo(jnp.float32).eps
    exact = js.problems.burgers().reference()
    error = np.linalg.norm(solution.fields - exact.fields) / np.linalg.norm(exact.fields)
    assert error < float(solution.error_estimate)
    assert error > 1e-9  # it is float32
