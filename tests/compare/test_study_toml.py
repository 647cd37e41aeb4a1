"""A study from a TOML file is the study in Python, and every mistake in it is named with its section."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.compare import StudyFileError, study_of_file

OWN = """
name = "own waves"
[problem]
equation = "u.t + u * u.x = viscosity * u.xx"
domain = {t = [0, 1], x = [0, 6.283185307179586]}
coefficients = {viscosity = [0.05, 0.1]}
[starts]
u = {kind = "random_fourier_series", cutoff = 4, rms = 1.0}
[study]
truth = {n = 128, dt = 0.01}
ladder = [12, 16, 24, 32, 48]
n = 32
dt = 0.1
steps = 10
[surrogates.FNO]
network = "FNO"
modes = [8]
channels = 12
numbers = ["viscosity"]
training = {steps = 500, unroll = 2}
[surrogates.corrected]
network = "ResNet"
dimension = 1
channels = 8
corrects = {n = 16, dt = 0.05}
[baselines.coarse]
kind = "CoarseSolver"
n = 16
dt = 0.05
[shifts."viscosity 0.02"]
coefficients = {viscosity = 0.02}
[shifts."twice the box"]
box = 2
[shifts."twice the time"]
steps = 20
"""


@pytest.fixture
def study(tmp_path):
    def read(text=OWN):
        path = tmp_path / "own.toml"
        path.write_text(text)
        return study_of_file(path)

    return read


def test_the_file_is_the_study_in_python(study):
    found = study()
    assert found.name == "own waves"
    assert found.truth == js.Spectral(n=128, dt=0.01)
    training = js.surrogates.Training(steps=500, unroll=2)
    network = js.networks.FNO(modes=(8,), channels=12)
    assert found.surrogates["FNO"] == js.surrogates.NetworkSurrogate(network, numbers=("viscosity",), training=training)
    assert found.surrogates["corrected"].corrects == js.Spectral(n=16, dt=0.05)
    assert found.baselines == {"coarse": js.surrogates.CoarseSolver(n=16, dt=0.05)}
    assert [shift.name for shift in found.shifts] == ["viscosity 0.02", "twice the box", "twice the time"]


def test_its_family_draws_starts_and_coefficients(study):
    found = study()
    problems = [found.family(jax.random.key(i)) for i in range(3)]
    written = js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx)
    assert problems[0].equation.identity == written.identity
    viscosities = [float(p.coefficients["viscosity"]) for p in problems]
    assert len(set(viscosities)) == 3
    assert all(0.05 <= v <= 0.1 for v in viscosities)
    x = {"x": jnp.linspace(0, 6.28, 9)}
    starts = [p.initial["u"](x, p.coefficients) for p in problems[:2]]
    assert float(jnp.abs(starts[0] - starts[1]).max()) > 0.1
    assert float(found.shifts[0].family(jax.random.key(0)).coefficients["viscosity"]) == pytest.approx(0.02)
    wide = found.shifts[1].family(jax.random.key(0))
    assert wide.domain["x"][1] == pytest.approx(2 * 6.283185307179586)
    assert found.shifts[1].scale == 2


def test_a_start_may_have_a_mean(study):
    plain, raised = (study(OWN.replace("cutoff = 4", f"cutoff = 4{more}")) for more in ("", ", mean = 0.5"))
    key, x = jax.random.key(0), jnp.linspace(0, 6.28, 9)
    first, second = (p.initial["u"]({"x": x}, p.coefficients) for p in (found.family(key) for found in (plain, raised)))
    np.testing.assert_allclose(second, first + 0.5, rtol=1e-6)


def test_what_is_a_section_and_a_setting_too_may_be_set(study):
    found = study(OWN.replace("steps = 10\n", "steps = 10\nstarts = 20\n"))
    assert found.starts == 20


def test_a_problem_of_the_catalogue_with_a_range(study):
    text = OWN[OWN.index("[study]") :].split("[shifts")[0].replace('numbers = ["viscosity"]', "")
    head = '[problem]\ncatalogue = "kuramoto_sivashinsky"\n[starts]\nu = {kind = "random_fourier_series"}\n'
    assert study(head + text).family(jax.random.key(0)).name == "kuramoto_sivashinsky"


BAD = {
    "no TOML": ("[problem", "not a TOML file"),
    "no problem": ("[study]\nn = 1", r"a section \[problem\] is needed"),
    "unknown section": (OWN + "\n[grid]\n", "section 'grid' does not exist"),
    "a formula": (OWN.replace("u * u.x", "u ^ u.x"), r"\[problem\]: .*Powers are written"),
    "an unknown coefficient": (
        OWN.replace("{viscosity = [0.05, 0.1]}", "{nu = 1.0}"),
        r"\[problem\]: the equation has 'viscosity', and coefficients gives 'nu'",
    ),
    "an empty range": (OWN.replace("[0.05, 0.1]", "[0.1, 0.05]"), "low < high"),
    "an unknown kind of start": (
        OWN.replace("random_fourier_series", "random"),
        r"\[starts\] u: kind 'random' does not exist; there is 'random_fourier_series'",
    ),
    "a bad option of a start": (OWN.replace("cutoff = 4", "cutoff = 0"), r"\[starts\] u: .*cutoff"),
    "a misspelt option of a start": (OWN.replace("cutoff = 4", "cutof = 4"), r"\[starts\] u: entry 'cutof' .*mean 'cutoff'"),
    "a domain that is no interval": (OWN.replace("x = [0, 6.283185307179586]", "x = 10"), "domain of x is an interval"),
    "two equations": (OWN.replace("[problem]", '[problem]\ncatalogue = "burgers"'), "not both"),
    "a budget in words": (OWN.replace("steps = 10\n", 'steps = 10\nbudget = "5 min"\n'), "budget is seconds, a number"),
    "no surrogate": (OWN.split("[surrogates.FNO]")[0], r"no surrogate; add a section, as \[surrogates.FNO\]"),
    "waves beyond the truth": (
        OWN.replace("cutoff = 4", "cutoff = 64"),
        r"\[starts\] u: cutoff = 64 is beyond .*n / 2 = 64",
    ),
    "one batch": (
        OWN.replace("steps = 10\n", "steps = 10\nbatches = 1\n"),
        "batches must be a tuple, of one or more, got 1",
    ),
    "a rung twice": (OWN.replace("12, 16, 24", "16, 16, 24"), "different whole numbers"),
    "nothing shifted": (
        OWN.replace("box = 2", ""),
        r"\[shifts.twice the box\]: nothing is shifted; give coefficients, box or",
    ),
    "a misspelt shift": (OWN.replace("box = 2", "boxx = 2"), r"\[shifts.twice the box\]: entry 'boxx' .*mean 'box'"),
    "a truth in words": (OWN.replace("{n = 128, dt = 0.01}", '"fine"'), r"\[study\] truth: entries by name are needed"),
    "an unknown network": (OWN.replace('"FNO"', '"FNOO"'), r"\[surrogates.FNO\]: network 'FNOO' .*mean 'FNO'"),
    "a misspelt entry": (OWN.replace("channels = 12", "chanels = 12"), r"\[surrogates.FNO\]: entry 'chanels' .*'channels'"),
    "a bad value": (OWN.replace("modes = [8]", "modes = [0]"), r"\[surrogates.FNO\]: FNO: modes must be"),
    "a bad training": (OWN.replace("steps = 500", "steps = -1"), r"\[surrogates.FNO\] training: "),
    "a short ladder": (OWN.replace("[12, 16, 24, 32, 48]", "[12, 16]"), r"\[study\]: .*ladder needs 5 grids"),
    "a misspelt setting": (OWN.replace("steps = 10", "step = 10"), r"\[study\]: entry 'step' does not exist.*'steps'"),
    "a missing setting": (OWN.replace("steps = 10\n", ""), r"\[study\]: steps is missing"),
    "a mean that is no number": (OWN.replace("cutoff = 4", 'cutoff = 4, mean = "half"'), r"\[starts\] u: mean is a number"),
    "what is no setting": (OWN.replace("steps = 10", "steps = 10\nfamily = 1"), r"\[study\]: entry 'family' does not exist"),
    "no truth": (OWN.replace("truth = {n = 128, dt = 0.01}\n", ""), r"\[study\]: truth is missing"),
    "a step back": (OWN.replace("dt = 0.1\n", "dt = -0.1\n"), r"\[study\]: .*dt, the time between two saves, must be"),
    "no network": (OWN.replace('network = "FNO"\n', ""), r"\[surrogates.FNO\]: network is missing; there are FNO,"),
    "no kind": (OWN.replace('kind = "CoarseSolver"\n', ""), r"\[baselines.coarse\]: kind is missing"),
    "no kind of start": (OWN.replace('kind = "random_fourier_series", ', ""), r"\[starts\]: u needs a kind, one of random_"),
    "a shift in nothing": (OWN.replace("{viscosity = 0.02}", "{nu = 0.02}"), r"\[shifts.viscosity 0.02\]: .*nu"),
    "an unknown baseline": (OWN.replace('"CoarseSolver"', '"Coarse"'), r"\[baselines.coarse\]: kind 'Coarse' does not"),
    "half a box": (OWN.replace("box = 2", "box = 0.5"), r"\[shifts.twice the box\]: box is a whole number"),
    "nothing random": (
        OWN.replace("[0.05, 0.1]", "0.1").split("[starts]")[0] + OWN[OWN.index("[study]") :],
        "every run would",
    ),
    "a wrong boundary": (OWN.replace("[starts]", 'boundary = {x = "open"}\n[starts]'), "the boundary of x is 'periodic'"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_named_with_their_section(study, case):
    text, message = BAD[case]
    with pytest.raises(StudyFileError, match=message) as caught:
        study(text)
    assert "own.toml" in str(caught.value)


def test_without_a_name_the_file_and_its_equation_are_called_after_the_file(study):
    found = study(OWN.replace('name = "own waves"\n', ""))
    assert (found.name, found.family(jax.random.key(0)).name) == ("own", "own")


def test_where_all_runs_come_from_files_no_start_is_needed(study):
    alike = OWN.replace("[0.05, 0.1]", "0.1").split("[starts]")[0] + OWN[OWN.index("[study]") :].split("[shifts")[0]
    found = study(alike.replace("[study]\n", '[study]\ndata = "runs.h5"\nscored = "others.h5"\n'))
    assert found.data.endswith("runs.h5")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(StudyFileError, match="no such file"):
        study_of_file(tmp_path / "gone.toml")
