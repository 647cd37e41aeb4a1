"""Tables of fluxes against cobrapy's, and what is refused."""

import math

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.metabolism.summary import atoms, equation


@pytest.fixture(scope="module")
def core():
    return js.metabolism.load("e_coli_core")


@pytest.fixture(scope="module")
def solved(core):
    """cobrapy's model and its optimum."""
    pytest.importorskip("cobra")
    model = js.metabolism.to_cobra(core)
    return model, model.optimize()


def test_uptake_and_secretion_are_cobrapys(core, solved):
    model, solution = solved
    ours = js.metabolism.summary(core, dict(solution.fluxes))
    theirs = model.summary(solution)
    assert ours.value == pytest.approx(0.8739215069684279, rel=1e-9)
    assert ours.objective == (("BIOMASS_Ecoli_core_w_GAM", 1.0),)
    for rows, table in ((ours.uptake, theirs.uptake_flux), (ours.secretion, theirs.secretion_flux)):
        table = table[table.flux.abs() > 1e-6]
        assert {r.reaction: (r.metabolite, pytest.approx(r.flux)) for r in rows} == {
            t.reaction: (t.metabolite, t.flux) for t in table.itertuples()
        }
        assert [abs(r.flux) for r in rows] == sorted((abs(r.flux) for r in rows), reverse=True)
    glucose = next(r for r in ours.uptake if r.metabolite == "glc__D_e")
    assert (glucose.carbon, glucose.carbon_share) == (6.0, 1.0)
    carbon_in, carbon_out = (sum(r.flux * r.carbon for r in side) for side in (ours.uptake, ours.secretion))
    assert carbon_in == pytest.approx(60.0)
    assert -60.0 < carbon_out < -20.0  # the rest is biomass


def test_the_text_is_a_table(core, solved):
    text = str(js.metabolism.summary(core, dict(solved[1].fluxes)))
    assert "1 BIOMASS_Ecoli_core_w_GAM = 0.873921507\n" in text
    lines = text.splitlines()
    head = lines[lines.index("Uptake") + 2]
    row = next(line for line in lines if "EX_glc__D_e" in line)
    assert row.split() == ["glc__D_e", "EX_glc__D_e", "10", "6", "100.00%"]
    assert row.index("EX_glc__D_e") + len("EX_glc__D_e") == head.index("Reaction") + len("Reaction")
    co2 = next(line for line in lines if "EX_co2_e" in line)
    assert co2.split() == ["co2_e", "EX_co2_e", "-22.81", "1", "100.00%"]


@pytest.mark.parametrize("metabolite", ["atp_c", "h_e", "pyr_c", "glc__D_e"])
def test_who_makes_and_uses_a_metabolite_is_cobrapys(core, solved, metabolite):
    model, solution = solved
    ours = js.metabolism.metabolite_summary(core, dict(solution.fluxes), metabolite)
    theirs = model.metabolites.get_by_id(metabolite).summary(solution)
    for rows, table in ((ours.producing, theirs.producing_flux), (ours.consuming, theirs.consuming_flux)):
        table = table[table.flux.abs() > 1e-6]
        assert {r.reaction: (pytest.approx(r.flux), pytest.approx(r.share)) for r in rows} == {
            t.reaction: (t.flux, t.percent) for t in table.itertuples()
        }
    assert sum(r.flux for r in (*ours.producing, *ours.consuming)) == pytest.approx(0.0, abs=1e-8)
    text = str(ours)
    assert text.startswith(f"{metabolite}\n{'=' * len(metabolite)}\n")
    assert "Producing reactions" in text


def test_equations(core, solved):
    model, _ = solved
    assert equation(core, "PFK") == "atp_c + f6p_c --> adp_c + fdp_c + h_c"
    assert equation(core, "EX_o2_e") == "o2_e <=>"
    assert equation(core, "FORt") == "for_e <-- for_c"
    for reaction in ("PGI", "CYTBD", "GLUSy", "ATPS4r"):
        theirs = model.reactions.get_by_id(reaction).reaction.replace(".0 ", " ")
        arrow = "<=>" if "<=>" in theirs else "-->"
        sides = [
            [set(side.strip().split(" + ")) for side in text.split(arrow)] for text in (equation(core, reaction), theirs)
        ]
        assert sides[0] == sides[1]
        assert len(sides[0]) == 2


def test_atoms():
    assert atoms("C10H12N5O13P3") == {"C": 10, "H": 12, "N": 5, "O": 13, "P": 3}
    assert atoms("CO2")["C"] == 1
    assert atoms("Cl")["Cl"] == 1
    assert "C" not in atoms("Cl")
    assert atoms("C1.5H2C2")["C"] == 3.5
    for unknown in ("", None, "C6H12(O6)n", "?"):
        assert math.isnan(atoms(unknown)["C"])


@pytest.mark.slow
def test_a_solution_of_ours(core):
    """The fluxes of `fba` go straight in."""
    found = js.metabolism.fba(core)
    assert js.metabolism.summary(core, found).value == pytest.approx(0.8739215069684279, rel=1e-9)


def test_what_is_refused(core):
    fluxes = np.zeros(95)
    for call, error, message in (
        (lambda: js.metabolism.summary(core, np.zeros((2, 95))), ValueError, r"got shape \[2, 95\]; take one of the batch"),
        (lambda: js.metabolism.summary(core, np.zeros(3)), ValueError, r"\[95\], are needed, got shape \[3\]"),
        (lambda: js.metabolism.summary(core, {"PFKK": 1.0}), KeyError, "reaction 'PFKK' does not exist"),
        (lambda: js.metabolism.summary(core, np.full(95, np.nan)), ValueError, "they are not finite"),
        (
            lambda: js.metabolism.metabolite_summary(core, fluxes, "atp"),
            KeyError,
            "metabolite 'atp' does not exist",
        ),
        (lambda: jax.jit(lambda v: js.metabolism.summary(core, v))(fluxes), TypeError, "outside jit"),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.slow
def test_an_infeasible_programme_says_so(core):
    found = js.metabolism.fba(core.with_medium({}))
    with pytest.raises(ValueError, match="there are no fluxes to show: they are not finite \\(status: infeasible\\)"):
        js.metabolism.summary(core, found)
