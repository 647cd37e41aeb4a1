"""The surrogate of flux balance: exact where its planes reach, and a regression that finds planes from growth alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxsci.metabolism.files import load
from jaxsci.metabolism.growth_surrogate import GrowthSurrogate, fit_growth, growth_planes, with_uptakes
from jaxsci.metabolism.reaction_text import from_equations

TOY = from_equations({"sugar": "-> a", "growth": "a ->"}, "growth", bounds={"growth": (1, 1000)})
NAMES = ("EX_glc__D_e", "EX_o2_e", "EX_ac_e", "EX_fru_e")


@pytest.fixture(scope="module")
def core():
    return load("e_coli_core")


@pytest.fixture(scope="module")
def media():
    random = np.random.default_rng(0)
    return random.uniform([5, 5, 0, 0], [15, 40, 10, 10], (120, 4))


@pytest.fixture(scope="module")
def planes(core, media):
    return growth_planes(core, NAMES, media[:80])


def highs(core, uptakes):
    """Growth by another solver."""
    places = [core.index(name) for name in NAMES]
    lower = np.array(core.lower)
    lower[places] = -uptakes
    bounds = np.stack([lower, core.upper], -1)
    found = scipy.optimize.linprog(-np.asarray(core.objective), A_eq=core.stoichiometry, b_eq=np.zeros(72), bounds=bounds)
    return -found.fun


@pytest.mark.slow
def test_the_planes_are_exact_at_their_media_and_never_too_low(core, media, planes):
    exact = np.array([highs(core, u) for u in media])
    found = np.asarray(planes(media))
    np.testing.assert_allclose(found[:80], exact[:80], rtol=1e-9)
    assert (found > exact - 1e-9).all()
    new = found[80:] - exact[80:]
    assert 1 - (new @ new) / np.square(exact[80:] - exact[80:].mean()).sum() > 0.999
    assert len(planes.offsets) < 40, "media that use the same plane share it"


@pytest.mark.slow
def test_the_gradient_is_the_price_of_the_uptake(core, media, planes):
    u = media[3]
    h = 1e-4
    by_hand = [(highs(core, u + h * e) - highs(core, u - h * e)) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(jax.grad(planes)(jnp.asarray(u)), by_hand, atol=1e-7)


def test_jit_vmap_and_single_precision(media, planes):
    values = planes(media)
    np.testing.assert_allclose(jax.jit(lambda g, u: g(u))(planes, media), values, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(planes)(jnp.asarray(media)), values, rtol=1e-12)
    single = GrowthSurrogate(planes.slopes.astype(jnp.float32), planes.offsets.astype(jnp.float32))
    assert single(media.astype(np.float32)).dtype == jnp.float32
    np.testing.assert_allclose(single(media.astype(np.float32)), values, rtol=1e-5)


def test_regression_finds_the_planes_of_noiseless_growth():
    random = np.random.default_rng(1)
    slopes, offsets = random.uniform(0, 1, (4, 3)), random.uniform(0, 0.3, 4)
    u = random.uniform(0, 1, (500, 3))
    truth = (u @ slopes.T + offsets).min(1)
    found = fit_growth(u[:400], truth[:400], pieces=5, members=5)
    error = np.asarray(found(u[400:])) - truth[400:]
    assert 1 - error @ error / np.square(truth[400:] - truth[400:].mean()).sum() > 0.999
    one = fit_growth(u[:400], truth[:400], pieces=1, members=1)
    line = np.linalg.lstsq(np.c_[np.ones(400), u[:400]], truth[:400], rcond=None)[0]
    np.testing.assert_allclose(one.slopes[0, 0], line[1:], rtol=1e-8)
    again = fit_growth(u[:400], truth[:400], pieces=5, members=5)
    np.testing.assert_array_equal(found.slopes, again.slopes)


def test_regression_does_not_do_what_is_not_concave():
    """A negative control: the least of planes cannot be convex."""
    u = np.linspace(-1, 1, 200)[:, None]
    found = fit_growth(u, u[:, 0] ** 2, pieces=6, members=2)
    error = np.asarray(found(u)) - u[:, 0] ** 2
    assert 1 - error @ error / np.square(u[:, 0] ** 2 - np.mean(u**2)).sum() < 0.2


def test_members_vote_by_their_median():
    members = GrowthSurrogate(jnp.zeros((3, 2, 1)), jnp.array([[1.0, 2.0], [5.0, 3.0], [9.0, 9.0]]))
    assert float(members(jnp.zeros(1))) == 3.0
    assert members(jnp.zeros((4, 7, 1))).shape == (4, 7)


def test_growth_of_amns_media_to_four_nines(core, shared):
    """Solutions alone: 800 growth rates, no price and no stoichiometry. Faulon et al. (2023) reach 0.97 with 1,000."""
    data = np.load(shared / "metabolic" / "e_coli_core_fba_1000_media.npz", allow_pickle=True)
    uptakes = data["X"][:, 7:]
    growth = data["Y"][:, [str(name).startswith("BIOMASS") for name in data["measure"]]][:, 0]
    found = fit_growth(uptakes[:800], growth[:800], pieces=8, members=3)
    error = np.asarray(found(uptakes[800:])) - growth[800:]
    assert 1 - error @ error / np.square(growth[800:] - growth[800:].mean()).sum() > 0.9995


def test_bounds_of_a_batch_of_media(core):
    changed = with_uptakes(core, NAMES, np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]))
    assert changed.lower.shape == (2, 95)
    assert float(changed.lower[1, core.index("EX_ac_e")]) == -7.0
    assert float(changed.lower[1, core.index("EX_nh4_e")]) == -1000.0


@pytest.mark.slow
def test_bad_input_is_refused_with_a_cure(core):
    with pytest.raises(ValueError, match="'PFK' is no exchange"):
        with_uptakes(core, ("PFK",), np.ones(1))
    with pytest.raises(ValueError, match=r"\[\.\.\., 4 exchanges\], got shape \[3\]"):
        with_uptakes(core, NAMES, np.ones(3))
    with pytest.raises(RuntimeError, match="infeasible"):
        growth_planes(TOY, ("sugar",), np.array([[10.0], [0.0]]))
    with pytest.raises(ValueError, match="must be finite"):
        fit_growth(np.ones((3, 1)), np.array([1.0, np.nan, 2.0]))
    with pytest.raises(ValueError, match="pieces is a whole number"):
        fit_growth(np.ones((3, 1)), np.ones(3), pieces=0)
    with pytest.raises(ValueError, match=r"growth \[media\]"):
        fit_growth(np.ones((3, 1)), np.ones(4))
    with pytest.raises(ValueError, match="slopes are"):
        GrowthSurrogate(jnp.ones((2, 3)), jnp.ones(3))
    with pytest.raises(ValueError, match=r"\[\.\.\., 3\]"):
        GrowthSurrogate(jnp.ones((2, 3)), jnp.ones(2))(jnp.ones(2))
