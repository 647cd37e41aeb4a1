"""Extended DMD: a nonlinear map in a dictionary that holds it, and none where the dynamics is linear."""

import jax
import numpy as np
import pytest
from solved_runs import check_transformations, normal_starts, relative_errors, rolled_out, solved_runs

import jaxsci as js
from jaxsci.surrogates.dynamic_modes import DMD
from jaxsci.surrogates.extended_dmd import ExtendedDMD


@pytest.fixture(scope="module")
def logistic():
    """u' = 2 u (1 - u), uniform in space, from below and above the fixed point."""
    equation = js.Equation(lambda u: u.t - 2 * u * (1 - u) - 0.1 * u.xx, "u", name="logistic")
    problem = js.Problem(equation, js.Box(t=(0, 2), x=(0, 1)), initial={"u": 0.5})
    make = lambda low, high, runs: solved_runs(
        problem, 8, 0.1, np.linspace(low, high, runs)[:, None, None] * np.ones(8), 16, substeps=2
    )
    return make(0.05, 1.5, 24), make(0.12, 1.3, 7)


def test_it_beats_dmd_on_logistic_growth(logistic):
    data, unseen = logistic
    plain = relative_errors(DMD().fit(data), unseen).mean()
    fitted = ExtendedDMD(waves=24).fit(data)
    extended = relative_errors(fitted, unseen).mean()
    assert fitted.stats["rank"] == 1
    assert plain > 0.05
    assert extended < plain / 20


@pytest.mark.parametrize("lifted", [True, False])
def test_either_picture_alone(logistic, lifted):
    data, unseen = logistic
    fitted = ExtendedDMD(rank=1, waves=24, penalty=1e-10, lifted=lifted).fit(data)
    plain = relative_errors(DMD(rank=1).fit(data), unseen).mean()
    assert relative_errors(fitted, unseen).mean() < plain / 3
    assert (fitted.stats["features"], fitted.stats["lifted"]) == (26, lifted)
    assert ("eigenvalues" in fitted.stats) == lifted


@pytest.mark.slow
def test_it_does_not_beat_dmd_where_the_dynamics_is_linear():
    """The negative control: heat, where DMD is exact."""
    data = solved_runs(js.problems.heat(), 8, 0.02, normal_starts(24, 1, 9), 4)
    unseen = solved_runs(js.problems.heat(), 8, 0.02, normal_starts(4, 1, 9, seed=2), 4)
    plain = relative_errors(DMD().fit(data), unseen).mean()
    extended = relative_errors(ExtendedDMD(products=3, waves=8).fit(data), unseen).mean()
    assert plain < 1e-9 < extended


def test_the_linear_part_alone_is_dmd(logistic):
    """No products, no waves: the same predictions, but for the penalty."""
    data, unseen = logistic
    bare = ExtendedDMD(rank=1, products=0, waves=0, penalty=0.0, lifted=True).fit(data)
    np.testing.assert_allclose(rolled_out(bare, unseen), rolled_out(DMD(rank=1).fit(data), unseen), atol=1e-8)


def test_the_same_key_gives_the_same_features(logistic):
    data, _ = logistic
    ask = ExtendedDMD(rank=1, waves=4, penalty=1e-8, lifted=False)
    one, two, other = (ask.fit(data, key=jax.random.key(i)).parameters["operator"] for i in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.allclose(one, other)


def test_a_rollout_far_outside_stays_finite(logistic):
    data, _ = logistic
    fitted = ExtendedDMD(rank=1, waves=4, penalty=1e-8, lifted=False).fit(data)
    s = js.stepper(data.problem, fitted)
    end = js.rollout(s, 200, state=s.encode(np.full((1, 8), 40.0))).fields[-1]
    assert np.abs(end).max() <= 2 * np.abs(data.fields).max() * 1.5


@pytest.mark.slow
def test_transformations(logistic):
    data, _ = logistic
    for lifted in (True, False):
        check_transformations(ExtendedDMD(rank=1, waves=4, penalty=1e-8, lifted=lifted).fit(data), data)


def test_bad_input(logistic):
    for wrong in ({"products": -1}, {"waves": 1.5}, {"rank": 0}, {"penalty": float("nan")}):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"ExtendedDMD: {name} must be"):
            ExtendedDMD(**wrong)
    with pytest.raises(ValueError, match="rank 5 is more than the 1 independent fields"):
        ExtendedDMD(rank=5).fit(logistic[0])
