"""Flux sampling: bodies whose moments are known, a biased sampler that must fail, hopsy's means, flat bodies and small fluxes."""

import jax
import numpy as np
import pytest

from jaxsci.metabolism import sampling
from jaxsci.metabolism.files import load
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.network import Network
from jaxsci.metabolism.sampling import sample
from jaxsci.metabolism.sampling_diagnostics import effective_sample_size, potential_scale_reduction


def model_of(S, lower, upper):
    S = np.asarray(S, float)
    names = tuple(f"v{j}" for j in range(S.shape[1]))
    network = Network(S, names, tuple(f"m{i}" for i in range(S.shape[0])))
    return StoichiometricModel(network, np.asarray(lower, float), np.asarray(upper, float), np.zeros(S.shape[1]))


def furthest(draws, mean, square):
    """Of all fluxes, the largest error of the first two moments in standard errors."""
    v = np.asarray(draws.fluxes)
    worst = 0.0
    for values, exact in ((v, mean), (v**2, square)):
        errors = np.abs(values.mean((0, 1)) - exact) / (values.std((0, 1)) / np.sqrt(effective_sample_size(values)))
        worst = max(worst, np.nanmax(errors))
    return worst


# v0 = v1 + v2 + v3 <= 1 is a simplex: E v_i = 1/4, E v_i^2 = 2/20; of the sum 3/4 and 12/20.
SIMPLEX = model_of([[1, -1, -1, -1]], np.zeros(4), [1, 9, 9, 9]), [0.75, 0.25, 0.25, 0.25], [0.6, 0.1, 0.1, 0.1]
# Three fluxes between 0 and 1 with the sum 1.5: a regular hexagon, each with the variance 5/72.
HEXAGON = model_of([[1, -1, -1, -1]], [1.5, 0, 0, 0], [1.5, 1, 1, 1]), [1.5, *[0.5] * 3], [2.25, *[0.25 + 5 / 72] * 3]
# A box 1e-6 by 1 by 1000, every flux twice.
SIDES = np.array([1e-6, 1.0, 1e3])
BOX = (
    model_of(np.kron(np.eye(3), [[1, -1]]), np.zeros(6), np.repeat(SIDES, 2)),
    np.repeat(SIDES / 2, 2),
    np.repeat(SIDES**2 / 3, 2),
)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["chrr", "optgp"])
@pytest.mark.parametrize("body", ["simplex", "hexagon", "box"])
def test_moments_of_bodies_that_are_known(body, method):
    model, mean, square = {"simplex": SIMPLEX, "hexagon": HEXAGON, "box": BOX}[body]
    draws = sample(model, key=jax.random.key(3), samples=8000, thinning=12, method=method).check()
    assert furthest(draws, np.asarray(mean), np.asarray(square)) < 4.5
    assert draws.dimension == {"simplex": 3, "hexagon": 2, "box": 3}[body]
    if body == "hexagon":
        assert np.isnan(draws.ess[0])  # fixed


def test_a_biased_sampler_fails_the_same_test(monkeypatch):
    """Points of the chord that lean towards its lower end by as little as u^1.1."""
    uniform = jax.random.uniform
    monkeypatch.setattr(jax.random, "uniform", lambda *args, **kwargs: uniform(*args, **kwargs) ** 1.1)
    model, mean, square = SIMPLEX
    draws = sample(model, key=jax.random.key(3), samples=8000, thinning=13)
    assert furthest(draws, np.asarray(mean), np.asarray(square)) > 6
    monkeypatch.undo()
    sampling._walk_compiled.clear_cache()


def test_core_model_all_feasible_and_as_hopsy_has_it():
    core = load("e_coli_core")
    draws = sample(core, key=jax.random.key(0), samples=4000, thinning=100).check(rhat=1.03)
    v = np.asarray(draws.fluxes)
    assert v.shape == (20, 200, 95)
    assert np.abs(v @ core.stoichiometry.T).max() < 1e-9
    assert max((core.lower - v).max(), (v - core.upper).max()) < 1e-9
    assert draws.residual < 1e-9
    assert draws.dimension == 24
    # hopsy 1.7, coordinate hit-and-run, 4 chains of 10,000 at thinning 500: mean, standard deviation, effective sample size.
    for name, mean, deviation, size in (
        ("PGI", 2.99247, 5.7133, 37317),
        ("BIOMASS_Ecoli_core_w_GAM", 0.0392978, 0.0374013, 38268),
    ):
        k = core.index(name)
        error = deviation * np.sqrt(1 / size + 1 / draws.ess[k])
        assert abs(v[..., k].mean() - mean) < 4 * error, name
        np.testing.assert_allclose(v[..., k].std(), deviation, rtol=0.12)


def test_flat_bodies_fixed_points_and_fluxes_that_are_small():
    """Three irreversible fluxes into nothing stand still though no bound says so; a flux of 1e-6 does not."""
    S = [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, -1, -1]]
    model = model_of(S, np.zeros(6), [9, 9, 9, 10, 10, 1.96e-6])
    draws = sample(model, key=jax.random.key(1), samples=400, thinning=10)
    assert draws.dimension == 2
    np.testing.assert_array_equal(np.asarray(draws.fluxes)[..., :3], 0)
    assert np.isnan(draws.ess[:3]).all()
    np.testing.assert_allclose(np.asarray(draws.fluxes)[..., 5].mean(), 0.98e-6, rtol=0.1)
    point = sample(model_of([[1, -1]], [2, 0], [2, 5]), key=jax.random.key(0), samples=40).check()
    assert point.dimension == 0
    np.testing.assert_array_equal(point.fluxes, 2)


def test_diagnostics_of_autoregressive_chains_and_as_arviz_has_them():
    random = np.random.default_rng(0)
    noise, rho = random.normal(size=(4, 500, 3)), np.array([0.9, 0.0, -0.5])
    x = noise.copy()
    for t in range(1, 500):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * noise[:, t]
    x[0, :, 1] += 0.3
    # arviz 0.23.4 on the same numbers; the tails of the sum of correlations are cut a little differently.
    np.testing.assert_allclose(effective_sample_size(x), [107.97006, 1917.53572, 6389.27283], rtol=0.01)
    np.testing.assert_allclose(
        potential_scale_reduction(x), [1.064537207646339, 1.0147534391706803, 1.0017542878036223], rtol=1e-12
    )
    long = np.zeros((8, 5000))
    noise = random.normal(size=long.shape)
    for t in range(1, 5000):
        long[:, t] = 0.8 * long[:, t - 1] + 0.6 * noise[:, t]
    np.testing.assert_allclose(effective_sample_size(long), 40000 * 0.2 / 1.8, rtol=0.1)
    assert np.isnan(effective_sample_size(np.ones((2, 10))))
    assert np.isnan(potential_scale_reduction(np.ones((2, 10))))
    with pytest.raises(ValueError, match=r"at least 4 draws a chain, got the shape \[3, 2\]"):
        effective_sample_size(np.zeros((3, 2)))


def test_too_few_draws_do_not_pass_as_enough():
    model, _, _ = SIMPLEX
    draws = sample(model, key=jax.random.key(0), samples=80, thinning=1, chains=4)
    with pytest.raises(ValueError, match=r"sample: not mixed: 'v\d' has an effective sample size of \d+ \(asked: 100\)"):
        draws.check()
    with pytest.raises(ValueError, match=r"draws violate S v = 0 or a bound by 0\.1"):
        draws._replace(residual=0.1).check()


def test_bad_input():
    key = jax.random.key(0)
    model, _, _ = SIMPLEX
    with pytest.raises(ValueError, match="no flux satisfies"):
        sample(model_of([[1, -1, -1]], [2, 0, 0], [3, 1, 0.5]), key=key)
    with pytest.raises(ValueError, match="the flux of 'v0' has no limit"):
        sample(model_of([[1, -1, -1]], np.zeros(3), [np.inf, 1, np.inf]), key=key)
    with pytest.raises(ValueError, match="1000 samples do not divide over 7 chains"):
        sample(model, key=key, chains=7)
    with pytest.raises(ValueError, match=r"'chr' does not exist.*Did you mean 'chrr'"):
        sample(model, key=key, method="chr")
    with pytest.raises(ValueError, match="thinning is a whole number >= 1, got 0"):
        sample(model, key=key, thinning=0)
    with pytest.raises(ValueError, match="one model at a time"):
        sample(StoichiometricModel(model.network, np.zeros((2, 4)), np.ones((2, 4)), np.zeros(4)), key=key)
    with pytest.raises(TypeError, match="outside of jit"):
        jax.jit(lambda upper: sample(StoichiometricModel(model.network, model.lower, upper, upper), key=key))(model.upper)
