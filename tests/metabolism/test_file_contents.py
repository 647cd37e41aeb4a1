"""What goes through a file beside names and rules: every digit, the direction of the objective, units; kinetic models do not."""

import sys

import numpy as np
import pytest
from scipy.optimize import linprog

import jaxsci as js
from jaxsci.metabolism.json_file import from_dictionary, to_dictionary
from jaxsci.metabolism.sbml_text import look


@pytest.fixture(scope="module")
def cobra():
    return pytest.importorskip("cobra")


def same(one, other):
    assert one.network == other.network
    for name in ("lower", "upper", "objective"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    return True


# --- digits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".json", ".xml"])
def test_every_number_comes_back_to_its_last_bit(tmp_path, ending):
    if ending == ".xml":
        pytest.importorskip("cobra")
    rng = np.random.default_rng(0)
    # A reaction of its own for each kind of number: shared bounds, infinite ones, 1/3, the least normal one, 40 at random.
    lower = np.r_[-1000.0, -np.inf, -1 / 3, -sys.float_info.min, 0.0, -rng.lognormal(0, 20, 40)]
    upper = np.r_[1000.0, np.inf, 0.1 + 0.2, 1e-300, 1 / 3, rng.lognormal(0, 20, 40)]
    count = len(lower)
    metabolites = [{"id": name, "compartment": "c"} for name in ("a_c", "b_c", "x.1[c]")]
    coefficients = zip(-rng.lognormal(0, 5, count), rng.lognormal(0, 5, count), rng.normal(size=count), strict=True)
    reactions = [
        {
            "id": f"R{j}.{j}",
            "metabolites": dict(zip(("b_c", "x.1[c]", "a_c"), (float(x) for x in column), strict=True)),
            "lower_bound": str(lower[j]),
            "upper_bound": str(upper[j]),
            "objective_coefficient": float(rng.normal()),
        }
        for j, column in enumerate(coefficients)
    ]
    model = from_dictionary({"id": "digits", "metabolites": metabolites, "reactions": reactions, "genes": []})
    again = js.metabolism.load(js.metabolism.save(model, tmp_path / f"m{ending}"))
    for name in ("lower", "upper", "objective", "stoichiometry"):
        assert getattr(again, name).tobytes() == getattr(model, name).tobytes(), name


# --- the direction of the objective -----------------------------------------------------------------------------------


def small_cobra_model(cobra):
    """Food is eaten, and must become at least 2 of waste; what it costs least, and most, differ."""
    model = cobra.Model("small")
    model.add_metabolites([cobra.Metabolite("a_e", compartment="e"), cobra.Metabolite("b_c", compartment="c")])
    for name, text, bounds in (
        ("EX_a", "a_e <=>", (-10, 10)),
        ("long", "2 a_e -> b_c", (0, 3)),
        ("short", "a_e -> b_c", (0, 1.5)),
        ("out", "b_c ->", (2, 9)),
    ):
        reaction = cobra.Reaction(name)
        model.add_reactions([reaction])
        reaction.build_reaction_from_string(text)
        reaction.bounds = bounds
    model.objective = "out"
    return model


@pytest.mark.parametrize("ending", [".json", ".xml"])
def test_a_minimised_objective_stays_a_minimum(cobra, tmp_path, ending):
    """Least food: 2.5, of which 1.5 by the short way; most would be 7.5."""
    model = small_cobra_model(cobra)
    model.objective = model.problem.Objective(-1.0 * model.reactions.EX_a.flux_expression, direction="min")
    ours = js.metabolism.load(model)
    again = js.metabolism.load(js.metabolism.save(ours, tmp_path / f"m{ending}"))
    assert same(again, ours)
    bounds = np.stack([again.lower, again.upper], 1)
    best = linprog(-again.objective, A_eq=again.stoichiometry, b_eq=np.zeros(2), bounds=bounds)
    assert -best.fun == pytest.approx(-2.5)
    theirs = model.optimize()
    assert theirs.objective_value == pytest.approx(2.5)
    np.testing.assert_allclose(best.x, theirs.fluxes.to_numpy(), atol=1e-9)
    for made in (js.metabolism.to_cobra(again), js.metabolism.to_cobra(ours)):
        assert made.objective_direction == "min"
        assert made.slim_optimize() == pytest.approx(2.5)
    # cobrapy itself reads the same programme out of the file; JSON of its kind knows maxima only.
    read = cobra.io.load_json_model if ending == ".json" else cobra.io.read_sbml_model
    found = read(str(tmp_path / f"m{ending}"))
    assert abs(found.slim_optimize()) == pytest.approx(2.5)
    assert found.objective_direction == ("max" if ending == ".json" else "min")
    back = js.metabolism.load(found)
    np.testing.assert_array_equal(back.objective, ours.objective)


def test_json_may_say_that_it_minimises():
    content = to_dictionary(js.metabolism.diauxic_growth())
    weights = js.metabolism.diauxic_growth().objective
    assert from_dictionary(content | {"objective_direction": "max"}).objective.tolist() == weights.tolist()
    turned = from_dictionary(content | {"objective_direction": "min"})
    assert turned.objective.tolist() == (-weights).tolist()
    assert same(from_dictionary(to_dictionary(turned)), turned)  # and is not turned twice


# --- units --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", ["mmol/gDW/h", "umol/g/min", "mol/L^2/(0.5 s)", "item/d", "kmol*mL/(2.5 metre)^3"])
@pytest.mark.parametrize("ending", [".json", ".xml"])
def test_units_go_with_the_model(cobra, tmp_path, units, ending):
    content = to_dictionary(js.metabolism.load(small_cobra_model(cobra))) | {"units": units}
    model = from_dictionary(content)
    assert model.units == units
    path = js.metabolism.save(model, tmp_path / f"m{ending}")
    assert same(js.metabolism.load(path), model)
    if ending == ".xml":
        import libsbml

        document = libsbml.readSBML(str(path))
        document.checkConsistency()
        severe = [document.getError(k) for k in range(document.getNumErrors())]
        assert not [e.getMessage() for e in severe if e.getSeverity() >= libsbml.LIBSBML_SEV_ERROR]
        (unit,) = document.getModel().getListOfUnitDefinitions()
        assert {p.getUnits() for p in document.getModel().getListOfParameters()} == {unit.getId()}


def test_units_that_sbml_declares(tmp_path):
    """Without cobrapy: what the file says of the parameters that are its bounds, in the ways that are met."""
    assert js.metabolism.load("e_coli_core").units == "mmol/gDW/h"
    parts = (
        '<unit kind="mole" scale="-3"/><unit kind="gram" exponent="-1"/><unit kind="second" exponent="-1" multiplier="{}"/>'
    )
    bounds = '<reaction id="R" f:lowerFluxBound="low" f:upperFluxBound="high"/>'
    for number in ("3600", ".00027777"):  # the second is how the COBRA Toolbox wrote hours
        units = f'<unitDefinition id="flux" name="mmol per g dry weight"><a>{parts.format(number)}</a></unitDefinition>'
        text = (
            f"<sbml xmlns:f='http://x/fbc/y'>{units}<parameter id='low' units='flux'/><parameter id='high'/>{bounds}</sbml>"
        )
        (tmp_path / "m.xml").write_text(text)
        assert look(tmp_path / "m.xml", "m")[:2] == (None, "mmol/gDW/h")
    (tmp_path / "m.xml").write_text(text.replace("<parameter id='high'/>", "<parameter id='high' units='item'/>"))
    with pytest.raises(ValueError, match="m: its flux bounds are in several units, item, mmol/gDW/h; convert them"):
        look(tmp_path / "m.xml", "m")


def test_units_that_cannot_be_written(cobra, tmp_path):
    with pytest.raises(ValueError, match="units are those of fluxes, a text like 'mmol/gDW/h', got 3"):
        from_dictionary(to_dictionary(js.metabolism.diauxic_growth()) | {"units": 3})
    odd = from_dictionary(to_dictionary(js.metabolism.load(small_cobra_model(cobra))) | {"units": "as it comes"})
    with pytest.raises(ValueError, match="the unit 'as it comes' cannot be read; write it as 'mmol/gDW/h'"):
        js.metabolism.save(odd, tmp_path / "m.xml")
    small = js.metabolism.diauxic_growth().with_bounds({"v1": (5e-324, 1.0)})
    with pytest.raises(ValueError, match="5e-324 cannot stand in SBML"):
        js.metabolism.save(small, tmp_path / "m.xml")
    assert not list(tmp_path.iterdir())


def test_a_model_that_was_written_down_goes_through_sbml(cobra, tmp_path):
    """It has no compartments, which SBML demands."""
    model = js.metabolism.diauxic_growth()
    again = js.metabolism.load(js.metabolism.save(model, tmp_path / "m.xml"))
    assert again.exchanges == model.exchanges
    assert again.medium == model.medium
    assert set(again.network.compartments) == {None}
    assert again.network.detail("metabolites", "glc", "charge") is None
    assert same(js.metabolism.load(js.metabolism.save(again, tmp_path / "n.json")), again)


# --- kinetic models ---------------------------------------------------------------------------------------------------


KINETIC = """<?xml version="1.0" encoding="UTF-8"?>
<sbml xmlns="http://www.sbml.org/sbml/level2/version4" level="2" version="4"><model id="m">
<listOfCompartments><compartment id="c" size="1"/></listOfCompartments>
<listOfSpecies><species id="S" compartment="c" initialConcentration="1"/></listOfSpecies>
<listOfReactions><reaction id="decay"><listOfReactants><speciesReference species="S"/></listOfReactants><kineticLaw>
<math xmlns="http://www.w3.org/1998/Math/MathML"><apply><times/><ci>LAW</ci><ci>S</ci></apply></math>
<listOfParameters><parameter id="LAW" value="2"/></listOfParameters></kineticLaw></reaction></listOfReactions></model></sbml>"""


def test_a_kinetic_model_is_no_flux_model(cobra, tmp_path):
    path = tmp_path / "k.xml"
    path.write_text(KINETIC)
    with pytest.raises(
        ValueError, match=r"k\.xml: this is a kinetic model \(reaction 'decay' has a rate law.*load_kinetics"
    ):
        js.metabolism.load(path)
    # Before there were flux balance constraints, bounds stood where the parameters of a rate law stand.
    path.write_text(KINETIC.replace("LAW", "LOWER_BOUND"))
    assert js.metabolism.load(path).lower.tolist() == [2.0]


def test_kinetic_files_of_others_are_refused(cobra, shared):
    for path in sorted((shared / "metabolic" / "kinetic_sbml").glob("*.xml")):
        with pytest.raises(ValueError, match=r"read it with jaxsci\.metabolism\.load_kinetics"):
            js.metabolism.load(path)
