"""The studies with names: what they promise, without running them."""

import jax
import pytest

from jaxsci.compare.studies import STUDIES, named_study
from jaxsci.problems import CATALOGUE


@pytest.mark.parametrize("name", list(STUDIES))
@pytest.mark.parametrize("scale", ["default", "quick"])
def test_every_study_is_one_that_a_verdict_can_be_drawn_from(name, scale):
    study = named_study(name, scale)
    assert study.name == name
    assert len(study.ladder) >= 5
    assert study.starts >= 16
    assert study.seeds >= 3
    assert study.batches == (1, 64)
    assert study.budget <= 900
    for step in (study.truth.dt, (study.data or study.truth).dt):
        assert (study.dt / step) == pytest.approx(round(study.dt / step))
        assert (study.skip / step) == pytest.approx(round(study.skip / step))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STUDIES))
def test_starts_differ_and_the_equation_does_not(name):
    study = named_study(name)
    a, b = (study.family(key) for key in jax.random.split(jax.random.key(0)))
    assert a.identity != b.identity
    assert a.equation == b.equation
    for shift in study.shifts:
        if shift.family is not None:
            other = shift.family(jax.random.key(0))
            assert other.equation == a.equation
            assert other.coefficients["viscosity"] != a.coefficients["viscosity"] or shift.scale > 1
            assert (other.domain == a.domain) == (shift.scale == 1)


def test_names_do_not_hide_problems_of_the_catalogue():
    assert not set(STUDIES) & set(CATALOGUE)


def test_an_unknown_study_or_scale_is_named():
    with pytest.raises(ValueError, match="Did you mean 'kolmogorov'"):
        named_study("kolmogorof")
    with pytest.raises(ValueError, match="'default' or 'quick'"):
        named_study("kolmogorov", "huge")
