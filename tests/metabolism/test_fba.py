"""Flux balance: published optima, HiGHS, certificates from their definitions, derivatives, members that have no optimum."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

import jaxsci as js
from jaxsci.metabolism import INFEASIBLE, MAX_STEPS, NOT_FINITE, OPTIMAL, UNBOUNDED, fba

B = 32
MODEL = js.metabolism.load("e_coli_core")
S = MODEL.stoichiometry
M, N = S.shape
OPEN = ("EX_glc__D_e", "EX_o2_e", "EX_nh4_e", "EX_pi_e")
GROWTH = 0.8739215069684279


@jax.jit
def everything(lower, upper, objective, of_objective, of_fluxes):
    """The balance of a batch, and the derivative of  of_objective . objective + of_fluxes . fluxes."""

    def solve(numbers):
        found = fba(MODEL, *numbers)
        good = found.status == OPTIMAL
        fluxes = jnp.where(good[:, None], found.fluxes, 0.0)
        return jnp.sum(of_objective * jnp.where(good, found.objective, 0.0)) + jnp.sum(of_fluxes * fluxes), found

    gradient, found = jax.grad(solve, has_aux=True)((lower, upper, objective))
    return found, gradient


def media(seed: int = 0):
    """Random uptakes, a third of them with other things changed, too; the last six have no optimum, each in its own way."""
    draw = np.random.default_rng(seed)
    lower, upper, objective = (np.tile(np.asarray(x, float), (B, 1)) for x in (MODEL.lower, MODEL.upper, MODEL.objective))
    for name, least, most in zip(OPEN, (3, 0, 2, 1), (20, 40, 20, 10), strict=True):
        lower[:, MODEL.index(name)] = -draw.uniform(least, most, B)
    for k in range(0, B - 6, 3):
        j = draw.choice(N, 2, replace=False)
        lower[k, j], upper[k, j] = np.minimum(lower[k, j], 0), np.maximum(upper[k, j] * 0.004, 0.0)
        objective[k] += 0.01 * draw.normal(size=N) * (draw.random(N) < 0.2)
    lower[-6, MODEL.index("EX_glc__D_e")] = 0.0  # nothing to live on
    upper[-5, MODEL.index("ATPM")] = 8.0  # below its own lower bound
    lower[-4, MODEL.index("EX_glc__D_e")], upper[-4, MODEL.index("EX_glc__D_e")] = np.nan, 0.0
    objective[-3, 3] = np.nan
    lower[-2] = np.where(lower[-2] <= -999.0, -np.inf, lower[-2])
    upper[-2] = np.where(upper[-2] >= 999.0, np.inf, upper[-2])
    objective[-2] = 0
    objective[-2, MODEL.index("FRD7")] = 1.0  # around the cycle with SUCDi
    upper[-1, MODEL.index("BIOMASS_Ecoli_core_w_GAM")], lower[-1, MODEL.index("BIOMASS_Ecoli_core_w_GAM")] = 5.0, 3.0
    return lower, upper, objective


single = jax.jit(fba)


@pytest.fixture(scope="module")
def case():
    numbers = media()
    draw = np.random.default_rng(1)
    weights = np.ones(B), draw.normal(size=(B, N))
    found, gradient = everything(*numbers, *weights)
    return numbers, weights, jax.tree.map(np.asarray, found), [np.asarray(g) for g in gradient]


@pytest.fixture(scope="module")
def one():
    """The model as it comes: one programme."""
    return jax.tree.map(np.asarray, single(MODEL))


def test_growth_of_the_core_model(one):
    assert one.status == OPTIMAL
    np.testing.assert_allclose(one.objective, GROWTH, rtol=1e-12)
    np.testing.assert_allclose(S @ one.fluxes, 0, atol=1e-11)
    # cobrapy's reduced cost is twice this (forward less reverse variable), its price of the metabolite the same.
    np.testing.assert_allclose(one.reduced_costs[MODEL.index("EX_glc__D_e")], -0.09166474637510469, atol=1e-12)
    np.testing.assert_allclose(
        one.shadow_prices[MODEL.network.metabolite_index["glc__D_e"]], -0.09166474637510469, atol=1e-12
    )


def test_media_against_highs(case):
    (lower, upper, objective), _, found, _ = case
    good = found.status == OPTIMAL
    assert good[:-6].all()
    for k in np.flatnonzero(good):
        peer = linprog(-objective[k], A_eq=S, b_eq=np.zeros(M), bounds=np.stack([lower[k], upper[k]], 1), method="highs")
        np.testing.assert_allclose(found.objective[k], -peer.fun, rtol=1e-9, atol=1e-9)


def test_fluxes_are_feasible_and_prices_certify_the_optimum(case):
    (lower, upper, objective), _, found, _ = case
    for k in np.flatnonzero(found.status == OPTIMAL):
        v, d = found.fluxes[k], found.reduced_costs[k]
        assert np.abs(S @ v).max() <= 1e-9
        assert (v >= lower[k] - 1e-9).all()
        assert (v <= upper[k] + 1e-9).all()
        np.testing.assert_allclose(objective[k] @ v, found.objective[k], atol=1e-10)
        np.testing.assert_allclose(d, objective[k] - S.T @ found.shadow_prices[k], atol=1e-9)
        np.testing.assert_allclose(np.maximum(d * lower[k], d * upper[k]).sum(), found.objective[k], atol=1e-8)
        assert 0 <= found.gap[k] <= 1e-8


def test_members_without_an_optimum_say_why_and_prove_it(case):
    (lower, upper, objective), _, found, _ = case
    assert found.status[-6:].tolist() == [INFEASIBLE, INFEASIBLE, NOT_FINITE, NOT_FINITE, UNBOUNDED, INFEASIBLE]
    assert np.isnan(found.objective[-6:]).all()
    assert np.isnan(found.fluxes[-6:]).all()
    for k in (-6, -1):  # S'y has a sign for every flux that the bounds allow, though y'S v must be 0
        slope = -S.T @ found.farkas_ray[k]
        slope = np.where(np.abs(slope) < 1e-11, 0, slope)
        assert np.maximum(slope * lower[k], slope * upper[k]).sum() < -1e-9
    w = found.unbounded_ray[-2]
    np.testing.assert_allclose(S @ w, 0, atol=1e-9)
    assert objective[-2] @ w > 0
    assert not (np.isfinite(upper[-2]) & (w > 1e-9)).any()
    assert not (np.isfinite(lower[-2]) & (w < -1e-9)).any()
    assert (found.farkas_ray[:-6] == 0).all()
    assert (found.unbounded_ray[:-6] == 0).all()


def test_members_without_an_optimum_disturb_nobody(case):
    numbers, weights, found, gradient = case
    healthy = [np.concatenate([x[:-6], x[:6]]) for x in numbers]
    again, slopes = everything(*healthy, *weights)
    np.testing.assert_allclose(again.objective[:-6], found.objective[:-6], rtol=0, atol=1e-12)
    np.testing.assert_allclose(again.fluxes[:-6], found.fluxes[:-6], atol=1e-9)
    for before, after in zip(gradient, slopes, strict=True):
        np.testing.assert_allclose(after[:-6], before[:-6], atol=1e-8)
        assert (before[-6:] == 0).all()
        assert np.isfinite(before).all()


def test_gradients_are_differences(case):
    """Growth's by uptakes and weights to 1e-8, fluxes' to 1e-6, along one random direction a member."""
    numbers, weights, found, _gradient = case
    draw = np.random.default_rng(2)
    ways = [np.zeros((B, N)) for _ in numbers]
    places = [MODEL.index(name) for name in OPEN]
    ways[0][:, places] = draw.normal(size=(B, 4))
    step = 1e-4
    good = found.status == OPTIMAL
    for of_objective, of_fluxes, atol in ((weights[0], 0 * weights[1], 1e-8), (0 * weights[0], weights[1], 1e-6)):
        _, slopes = everything(*numbers, of_objective, of_fluxes)
        ours = sum((np.nan_to_num(g) * w).sum(1) for g, w in zip(slopes, ways, strict=True))
        ends = []
        for sign in (1, -1):
            moved, _ = everything(
                *(x + sign * step * w for x, w in zip(numbers, ways, strict=True)), of_objective, of_fluxes
            )
            ends.append(np.asarray(of_objective * moved.objective + (of_fluxes * moved.fluxes).sum(1)))
        differences = (ends[0] - ends[1]) / (2 * step)
        same = good & np.isfinite(differences)
        assert same.sum() >= 24
        scale = np.maximum(1, np.abs(differences[same]))
        assert (np.abs(ours[same] - differences[same]) / scale).max() <= atol


def test_gradients_are_the_certificate(case):
    (lower, upper, objective), weights, found, _ = case
    _, (by_lower, by_upper, by_weight) = everything(lower, upper, objective, weights[0], 0 * weights[1])
    good = found.status == OPTIMAL
    # Where one reaction holds a bound, its derivative is its reduced cost; its weight's is its flux.
    np.testing.assert_allclose(by_weight[good], found.fluxes[good], atol=1e-9)
    np.testing.assert_allclose((by_lower + by_upper)[good], found.reduced_costs[good], atol=1e-9)
    # V is homogeneous of degree 1 in the bounds, and in the weights (Euler).
    finite = lambda x: np.where(np.isfinite(x), x, 0)
    total = (np.asarray(by_lower) * finite(lower)).sum(1) + (np.asarray(by_upper) * finite(upper)).sum(1)
    np.testing.assert_allclose(total[good], found.objective[good], atol=1e-8)


@pytest.mark.slow
def test_vmap_and_one_at_a_time_agree(case, one):
    (lower, upper, objective), _, found, _ = case
    model = js.metabolism.StoichiometricModel(MODEL.network, lower, upper, objective, MODEL.nominal)
    mapped = jax.jit(jax.vmap(fba))(model)
    np.testing.assert_array_equal(mapped.status, found.status)
    np.testing.assert_allclose(mapped.objective, found.objective, atol=1e-12)
    for k in (1, B - 6):
        alone = single(js.metabolism.StoichiometricModel(MODEL.network, lower[k], upper[k], objective[k], MODEL.nominal))
        assert alone.status == found.status[k]
        np.testing.assert_allclose(alone.objective, found.objective[k], atol=1e-12)


@pytest.mark.slow
def test_the_jacobian_of_fluxes_by_uptakes():
    """The fluxes are piecewise linear: S J = 0, and J times the change is the change while the vertex stays."""

    def fluxes(uptakes):
        return fba(MODEL, jnp.asarray(MODEL.lower).at[np.array([MODEL.index(n) for n in OPEN])].set(-uptakes)).fluxes

    at = jnp.array([10.0, 15.0, 20.0, 20.0])
    both = jax.jit(lambda u: (fluxes(u), jax.jacrev(fluxes)(u)))
    here, J = both(at)
    np.testing.assert_allclose(S @ np.asarray(J), 0, atol=1e-9)
    change = jnp.array([0.1, -0.05, 0.2, 0.1])
    there = both(at + change)[0]
    np.testing.assert_allclose(there - here, J @ change, atol=1e-9)
    assert float(jnp.abs(J[:, :2]).max()) > 0.1
    np.testing.assert_allclose(J[:, 2:], 0, atol=1e-9)  # ammonium and phosphate are there in plenty


@pytest.mark.slow
def test_float32():
    jax.clear_caches()  # JAX 0.10 gives a program the constants of an earlier one, 64 bits wide
    with jax.enable_x64(False):
        numbers = (jnp.asarray(x, jnp.float32) for x in (MODEL.lower, MODEL.upper, MODEL.objective))
        found = jax.jit(lambda *numbers: fba(MODEL, *numbers))(*numbers)
        assert found.fluxes.dtype == jnp.float32
        assert int(found.status) == OPTIMAL
        np.testing.assert_allclose(found.objective, GROWTH, rtol=1e-4)
        np.testing.assert_allclose(S @ np.asarray(found.fluxes, float), 0, atol=5e-3)


@pytest.mark.slow
def test_regularised_fluxes_are_unique_differentiable_and_tend_to_the_optimum(one):
    glucose = MODEL.index("EX_glc__D_e")

    def fluxes(uptake, strength):
        found = fba(MODEL, jnp.asarray(MODEL.lower).at[glucose].set(-uptake), regularisation=strength)
        return found.fluxes, found

    @jax.jit
    def both(uptake, strength):
        return jax.jacfwd(fluxes, has_aux=True)(uptake, strength)

    slope, found = both(9.0, 1e-3)
    assert found.status == OPTIMAL
    up, down = both(9.0 + 1e-4, 1e-3)[1].fluxes, both(9.0 - 1e-4, 1e-3)[1].fluxes
    np.testing.assert_allclose(slope, (up - down) / 2e-4, atol=1e-6)
    softer = [both(10.0, e)[1] for e in (1e-1, 1e-3, 1e-5)]
    values = [float(found.objective) for found in softer]
    assert values[0] < values[1] <= values[2] + 1e-9
    np.testing.assert_allclose(values[2], one.objective, atol=1e-6)
    # Optimal: c - e v lies in the normal cone. No feasible direction, here towards the vertex, improves.
    weighted = np.asarray(MODEL.objective) - 1e-3 * np.asarray(softer[1].fluxes)
    assert weighted @ (one.fluxes - np.asarray(softer[1].fluxes)) <= 1e-9


def test_check_names_the_member_and_the_cure(case):
    *_, found, _ = case
    result = js.metabolism.FluxBalance(*found)
    with pytest.raises(RuntimeError, match=r"member \(26,\) \(and 5 more\) is infeasible: no flux meets all bounds: open"):
        result.check()


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"lower is \[..., 95 reactions\], got shape \[94\]"):
        fba(MODEL, lower=np.zeros(94))
    with pytest.raises(ValueError, match="upper has an entry that is not a number"):
        fba(MODEL, upper=np.full(95, np.nan))
    with pytest.raises(ValueError, match="regularisation is a number > 0"):
        fba(MODEL, regularisation=0.0)


def _bundled(name: str):
    spec = find_spec("cobra")
    if spec is None or spec.origin is None:
        pytest.skip("cobra, whose package holds the model, is not installed")
    return Path(spec.origin).parent / "data" / name


def test_the_mini_model_is_infeasible_as_shipped_and_grows_with_less_maintenance():
    path = _bundled("mini.json.gz")
    path = path if path.exists() else path.with_suffix("")
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    assert "ATPM" in text
    model = js.metabolism.load(path)
    solve = jax.jit(fba)
    found = solve(model)
    assert int(found.status) == INFEASIBLE
    y = np.asarray(found.farkas_ray)
    slope = -model.stoichiometry.T @ y
    slope = np.where(np.abs(slope) < 1e-11, 0, slope)
    assert np.maximum(slope * model.lower, slope * model.upper).sum() < 0
    low, high, c = (np.asarray(x, float) for x in (model.lower, model.upper, model.objective))
    j = model.index("ATPM")
    low[j] = 0.0
    peer = linprog(-c, A_eq=model.stoichiometry, b_eq=np.zeros(len(y)), bounds=np.stack([low, high], 1), method="highs")
    assert peer.status == 0
    np.testing.assert_allclose(solve(model.with_bounds({"ATPM": (0.0, None)})).objective, -peer.fun, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "growth"), [("iJO1366", 0.9823718127269633), ("salmonella", 0.4884545868920533)])
def test_growth_of_genome_scale_models(name, growth):
    model = js.metabolism.load(_bundled(f"{name}.xml.gz"))
    found = fba(model)
    assert int(found.status) == OPTIMAL
    np.testing.assert_allclose(found.objective, growth, rtol=1e-9)
    np.testing.assert_allclose(model.network.matrix @ np.asarray(found.fluxes), 0, atol=1e-8)
    assert 0 <= float(found.gap) <= 1e-8


def test_a_regularisation_that_drowns_the_fluxes_in_rounding_is_told():
    found = fba(MODEL, regularisation=1e-12)
    assert int(found.status) == MAX_STEPS
    assert np.isnan(found.objective)
