"""What was silently taken, or ended in an error of NumPy's: one line names the thing and the cure. And noise is no growth."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.metabolism.fba import _without_round_off, fba
from jaxsci.metabolism.moma import _inputs
from jaxsci.metabolism.optimum import numbers
from jaxsci.metabolism.variability import FluxRange

m = js.metabolism
N = 8


@pytest.fixture(scope="module")
def toy():
    """Two ways from food to growth, one of them wasteful."""
    return m.diauxic_growth().with_bounds({"EX_glc": (-10.0, 0.0)})


RANGES = FluxRange(np.zeros(N), np.ones(N), 0, 3)
LAWS = {"EX_glc": m.Uptake(10.0)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t.with_medium(["EX_glc"]), TypeError, r"a medium is a dictionary, \{'EX_glc__D_e': 10.0\} say; got list"),
        (lambda t: t.with_medium("EX_glc"), TypeError, "a medium is a dictionary.*got str 'EX_glc'"),
        (lambda t: t.with_bounds([("v1", 0, 1)]), TypeError, "bounds are a dictionary.*got list"),
        (lambda t: t.index(["v1"]), KeyError, r"a name is a text, got \['v1'\]"),
        (
            lambda t: fba(t, objective=1.0),
            ValueError,
            r"objective is \[..., 8 reactions\], the name of a reaction or .*got 1.0",
        ),
        (lambda t: fba(t, lower=-1000.0), ValueError, r"fba: lower is \[..., 8 reactions\], got -1000.0"),
        (lambda t: fba(t, upper=jax.numpy.float32(3)), ValueError, r"fba: upper is \[..., 8 reactions\], got"),
        (lambda t: fba(t, objective="v5"), KeyError, "reaction 'v5' does not exist"),
        (lambda t: fba(t, objective={"v1": np.nan}), ValueError, "the weight in the objective is not finite"),
        (
            lambda t: m.production_envelope(t, ["EX_ac", "EX_o2"]),
            TypeError,
            "reaction is the name of one, got .*once for each",
        ),
        (lambda t: m.robustness(t, 3), TypeError, "robustness: reaction is the name of one, got 3"),
        (lambda t: m.production_envelope(t, "EX_ac", points="many"), TypeError, "points is how many, or the fluxes"),
        (lambda t: m.production_envelope(t, "EX_ac", points=2.5), TypeError, "points is how many, or the fluxes"),
        (lambda t: m.summary(t, RANGES), TypeError, "got a FluxRange, which has none"),
        (lambda t: m.metabolite_summary(t, RANGES, "glc"), TypeError, "got a FluxRange, which has none"),
        (lambda t: m.escher_fluxes(t, "EX_ac"), TypeError, "fluxes are needed, .* got 'EX_ac', which has none"),
        (lambda t: m.moma(t, RANGES), TypeError, "moma: fluxes are needed, .* got a FluxRange, which has none"),
        (lambda t: m.room(t, "wild"), TypeError, "room: fluxes are needed, .* got 'wild', which has none"),
        (lambda t: m.moma(t, {"v1": 1.0}), ValueError, r"moma: reference is \[..., 8 reactions\], got the shape"),
        (
            lambda t: m.room(t, np.zeros(N), delta=-1),
            ValueError,
            "room: delta, a width of the neighbourhood, is >= 0, got -1",
        ),
        (lambda t: m.room(t, np.zeros(N), epsilon=-0.1), ValueError, "room: epsilon, a width"),
        (lambda t: m.room(t, np.zeros(N), delta=np.nan), ValueError, "room: delta, a width"),
        (lambda t: m.minimal_medium(t, -0.1), ValueError, "growth, which the objective must reach, .* >= 0, got -0.1"),
        (lambda t: m.minimal_medium(t, np.ones(2)), ValueError, "growth, which the objective must reach"),
        (lambda t: m.minimal_medium(t, float("nan")), ValueError, "growth, which the objective must reach"),
        (lambda t: m.minimal_medium(t, "much"), ValueError, "growth, which the objective must reach"),
    ],
)
def test_the_error_names_the_thing_and_the_cure(toy, call, error, message):
    with pytest.raises(error, match=message) as caught:
        call(toy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        fba,
        m.parsimonious_fba,
        m.flux_variability,
        m.one_sided_slopes,
        m.value_function,
        lambda x: m.moma(x, [1.0]),
        lambda x: m.room(x, [1.0]),
        m.single_deletion,
        m.double_deletion,
        m.envelope_corners,
        lambda x: m.robustness(x, "v1"),
        lambda x: m.minimal_medium(x, 0.1),
        lambda x: m.sample(x, key=jax.random.key(0)),
        lambda x: m.enzyme_capacity(x, {}, {}, 1.0),
        lambda x: m.direction_bounds(x, {}),
        lambda x: m.summary(x, [1.0]),
        lambda x: m.flux_loss(x),
        lambda x: m.dynamic_fba(x, LAWS, 0.1, {"EX_glc": 1.0}, np.arange(2.0)),
        lambda x: m.bioreactor(x, LAWS, 0.1, {"EX_glc": 1.0}, m.Reactor(), dt=0.1),
    ],
)
def test_a_name_is_no_model(call):
    call = (lambda x, f=call: f(x, "v1")) if call is m.envelope_corners else call
    with pytest.raises(
        TypeError, match=r"a StoichiometricModel, got 'e_coli_core': load it first, jaxsci\.metabolism\.load"
    ):
        call("e_coli_core")
    with pytest.raises(TypeError, match=r"a StoichiometricModel, got dict\."):
        call({})


def test_a_cobrapy_model_is_loaded_first():
    cobra = pytest.importorskip("cobra")
    with pytest.raises(TypeError, match=r"got Model: load it first, jaxsci\.metabolism\.load"):
        fba(cobra.Model("x"))


def test_other_units_are_refused_where_hours_and_grams_count(toy):
    import dataclasses

    slow = dataclasses.replace(toy, network=dataclasses.replace(toy.network, units="mmol/gDW/min"))
    assert slow.units == "mmol/gDW/min"
    with pytest.raises(ValueError, match="has fluxes in mmol/gDW/min, here they are in mmol/gDW/h: convert its bounds"):
        m.dynamic_fba(slow, LAWS, 0.1, {"EX_glc": 1.0}, np.arange(2.0))
    with pytest.raises(ValueError, match="has fluxes in mmol/gDW/min"):
        m.enzyme_capacity(slow, {}, {}, 1.0)


def test_an_objective_may_be_a_name(toy):
    """As in `with_objective`: a name, or weights by name; bounds that cross are fba's to judge, not the objective's."""
    unit = np.eye(N)[toy.index("EX_ac")]
    crossed = numbers(toy, toy.upper + 1, toy.upper, "EX_ac")
    np.testing.assert_array_equal(crossed[2], unit)
    by_weight = jax.jit(lambda weight: numbers(toy, None, None, {"EX_ac": weight, "v1": 0.5})[2])
    np.testing.assert_array_equal(by_weight(2.0), 2 * unit + 0.5 * np.eye(N)[0])


@pytest.mark.slow
def test_flux_balance_of_a_named_objective(toy):
    found = fba(toy, objective="EX_ac")
    np.testing.assert_allclose(found.objective, 10 / 19.23 * 12.12, rtol=1e-12)  # all glucose by v4
    np.testing.assert_allclose(found.fluxes[toy.index("EX_ac")], found.objective, rtol=1e-12)


def test_a_result_is_a_reference(toy):
    """What `parsimonious_fba` returns has fluxes, which are as good as the array."""
    fluxes = np.arange(N) / 4
    result = m.ParsimoniousFlux(1.0, 2.0, fluxes, 0, 3)
    for by_result, by_array in zip(
        _inputs("moma", toy, result, None, None), _inputs("moma", toy, fluxes, None, None), strict=True
    ):
        np.testing.assert_array_equal(by_result, by_array)


def test_what_does_not_grow_grows_0():
    """Of these five genes the simplex method had -1.4e-19 and the like, which were printed as -0.00%."""
    model = m.load("e_coli_core")
    genes = ["b1779", "b2926", "b2779", "b1136", "b0720"]
    deleted = m.single_deletion(model, ["b2415", *genes])
    assert deleted.growth[1:].tolist() == [0.0] * 5
    assert not np.signbit(deleted.growth[1:]).any()
    rows = [line.split() for line in deleted.table().splitlines()[1:]]
    assert rows[0] == ["b2415", "nan", "-", "infeasible"]
    assert {tuple(row[1:3]) for row in rows[1:]} == {("0", "0.00%")}


def test_round_off_is_no_objective_and_keeps_its_derivative():
    fluxes, weights = np.array([[60.0, -30.0], [60.0, -30.0], [60.0, -30.0], [0.0, 0.0]]), np.array([1.0, 2.0])
    values = np.array([-1.4e-16, 1e-10, np.nan, 0.0])

    def of(value):
        return _without_round_off(value, fluxes, weights)

    found = np.asarray(of(values))
    np.testing.assert_array_equal(found, [0.0, 1e-10, np.nan, 0.0])
    assert not np.signbit(found[0])
    np.testing.assert_array_equal(jax.jvp(of, (values,), (np.ones(4),))[1], 1.0)
