"""Networks and models: identity, transformations, media, knock-outs, what is refused."""

import copy
import pickle
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.metabolism import Network, StoichiometricModel, from_equations

S = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])


@pytest.fixture(scope="module")
def core():
    return js.metabolism.load("e_coli_core")


@pytest.fixture
def toy():
    return from_equations(
        {"EX_a": "a <=>", "in": "-> b", "fast": "a -> c", "slow": "b -> c", "EX_c": "c ->"},
        "EX_c",
        bounds={"EX_a": (-10, 5), "in": (0, 2)},
        gene_rules={"fast": "g1 or g2", "slow": "g1 and g3"},
    )


# --- the network ------------------------------------------------------------------------------------------------------


def test_networks_are_equal_by_content():
    one = Network(S, ("in", "turn", "out"), ("a", "b"), gene_rules=("", "(g1 and (g2)) or g3", ""))
    same = Network(
        S.copy(), ["in", "turn", "out"], ["a", "b"], gene_rules=("", "g3 or g2 and g1", ""), genes=("g1", "g2", "g3")
    )
    assert one == same
    assert hash(one) == hash(same)
    assert pickle.loads(pickle.dumps(one)) == one == copy.deepcopy(one)
    for other in (
        Network(2 * S, ("in", "turn", "out"), ("a", "b"), gene_rules=one.gene_rules),
        Network(S, ("in", "turn", "end"), ("a", "b"), gene_rules=one.gene_rules),
        Network(S, ("in", "turn", "out"), ("a", "b"), gene_rules=("", "g1 and g2 or g4", "")),
        Network(S, ("in", "turn", "out"), ("a", "b"), gene_rules=one.gene_rules, details={"model": {"year": 2010}}),
    ):
        assert one != other


def test_hashing_costs_microseconds(core):
    start = time.perf_counter()
    for _ in range(1000):
        hash(core.network)
    assert (time.perf_counter() - start) / 1000 < 2e-5


def test_the_dense_matrix_is_shared_and_cannot_be_written_to(core):
    assert core.stoichiometry is core.network.dense
    assert core.stoichiometry.shape == (72, 95)
    with pytest.raises(ValueError, match="read-only"):
        core.stoichiometry[0, 0] = 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((S, ("in", "turn"), ("a", "b")), r"\[metabolites, reactions\] = \[2, 2\], got \[2, 3\]"),
        ((S, ("in", "turn", "in"), ("a", "b")), "in stands more than once"),
        ((S, ("in", "turn", ""), ("a", "b")), "identifiers of reactions are words, got ''"),
        ((S, ("in", "turn", "out"), ("a", "a")), "metabolites have one identifier each"),
        ((S * np.nan, ("in", "turn", "out"), ("a", "b")), "not finite"),
        ((S, ("in", "turn", "out"), ("a", "b"), (), ("g1",)), "one gene rule a reaction"),
        ((S, ("in", "turn", "out"), ("a", "b"), (), ("g1", "g1 g2", "")), "reaction 'turn'.*cannot be read"),
    ],
)
def test_networks_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Network(*arguments)


def test_exchanges_are_cobrapys(core):
    pytest.importorskip("cobra")
    model = js.metabolism.to_cobra(core)
    assert list(core.exchanges) == [r.id for r in core_order(model.exchanges, core)]
    assert set(core.network.boundary) == {r.id for r in model.boundary}
    assert core.medium == model.medium


def core_order(reactions, core):
    return sorted(reactions, key=lambda r: core.index(r.id))


def test_without_compartments_every_boundary_reaction_is_an_exchange(toy):
    assert toy.exchanges == ("EX_a", "in", "EX_c")
    assert toy.medium == {"EX_a": 10.0, "in": 2.0}


# --- a pytree ---------------------------------------------------------------------------------------------------------


def test_round_trip_and_one_trace(core):
    traces = []

    @jax.jit
    def total(model):
        traces.append(None)
        return (model.upper - model.lower) @ jnp.ones(95)

    leaves, structure = jax.tree.flatten(core)
    assert [leaf.shape for leaf in leaves] == [(95,)] * 3
    again = jax.tree.unflatten(structure, leaves)
    np.testing.assert_allclose(total(core), total(again))
    total(core.with_bounds({"PFK": (0.0, 1.0)}))
    total(core.with_medium({"EX_glc__D_e": 3.0}))
    assert len(traces) == 1


def test_vmap_over_bounds_and_objective_is_a_loop(core):
    lower = np.stack([core.lower, core.lower / 2])
    objective = np.stack([core.objective, 2 * core.objective])
    batch = StoichiometricModel(core.network, lower, np.stack([core.upper] * 2), objective)
    score = lambda m: (m.lower + m.objective).sum()
    np.testing.assert_allclose(jax.vmap(score)(batch), [score(jax.tree.map(lambda x, k=k: x[k], batch)) for k in range(2)])
    axes = StoichiometricModel(core.network, 0, None, None, core.nominal)
    single = StoichiometricModel(core.network, lower, core.upper, core.objective, core.nominal)
    np.testing.assert_allclose(jax.vmap(score, in_axes=(axes,))(single), lower.sum(1) + core.objective.sum())


def test_gradients_through_every_method(core):
    def f(x):
        m = core.with_bounds({"PFK": (0.0, x), "PGI": (-x, None)}).with_medium({"EX_o2_e": 2 * x, "EX_glc__D_e": 1.0})
        m = m.with_objective({"PGK": 3 * x}).knock_out({"PYK": 0.5, "b2779": x / 10})
        return m.upper[m.index("PFK")] + m.lower.sum() + m.objective.sum() + m.upper[m.index("ENO")]

    # PFK 1, PGI's lower -1, oxygen's lower -2, objective 3, ENO (gene b2779 alone) 1000 / 10 and lower -1000 / 10
    value, slope = jax.jit(jax.value_and_grad(f))(2.0)
    np.testing.assert_allclose(slope, 1.0 - 1.0 - 2.0 + 3.0 + 100.0 - 100.0)
    np.testing.assert_allclose(value, f(2.0))


def test_numpy_stays_numpy_and_jax_keeps_its_dtype(core):
    assert isinstance(core.with_medium({"EX_o2_e": 1.0}).knock_out("b1779").lower, np.ndarray)
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), core)
    changed = single.with_bounds({"PFK": (0.0, np.float64(1.5))}).with_medium({"EX_o2_e": 1.0}).knock_out({"PGI": 0.5})
    assert {leaf.dtype for leaf in jax.tree.leaves(changed)} == {jnp.dtype(jnp.float32)}
    assert float(changed.upper[core.index("PFK")]) == 1.5


@pytest.mark.slow
def test_a_batch_of_values_makes_a_batch_of_models(core):
    batch = core.with_bounds({"PFK": (0.0, np.array([1.0, 2.0, 3.0])), "PGI": (-1.0, None)})
    assert [np.shape(leaf) for leaf in jax.tree.leaves(batch)] == [(3, 95)] * 3
    assert batch.upper[:, core.index("PFK")].tolist() == [1.0, 2.0, 3.0]
    assert "batch [3]" in repr(batch)
    again = batch.with_medium({"EX_o2_e": jnp.array([1.0, 2.0, 3.0])}).knock_out({"b1779": jnp.array([0.0, 0.5, 1.0])})
    np.testing.assert_allclose(again.lower[:, core.index("EX_o2_e")], [-1.0, -2.0, -3.0])
    np.testing.assert_allclose(again.upper[:, core.index("GAPD")], [0.0, 500.0, 1000.0])


# --- media, bounds, knock-outs ----------------------------------------------------------------------------------------


def test_with_medium_closes_the_others_as_cobrapy_does(core):
    pytest.importorskip("cobra")
    model = js.metabolism.to_cobra(core)
    medium = {"EX_fru_e": 7.0, "EX_o2_e": 3.5, "EX_nh4_e": 10.0, "EX_pi_e": 10.0, "EX_h_e": 10.0, "EX_h2o_e": 10.0}
    model.medium = medium
    ours = core.with_medium(medium)
    assert ours.lower.tolist() == [r.lower_bound for r in model.reactions]
    assert ours.upper.tolist() == [r.upper_bound for r in model.reactions]
    assert ours.medium == medium


def test_uptake_that_is_written_forward(toy):
    changed = toy.with_medium({"in": 7.0})
    assert changed.medium == {"in": 7.0}
    assert changed.lower[toy.index("EX_a")] == 0.0
    assert toy.with_medium({}).medium == {}


def test_an_exchange_that_must_secrete_goes_on(toy):
    forced = toy.with_bounds({"EX_c": (1.0, 9.0)}).with_medium({"EX_a": 2.0})
    assert forced.lower[toy.index("EX_c")] == 1.0


def test_knock_outs(toy):
    for names, closed in (
        ("g1", ["slow"]),
        (["g1", "g2"], ["fast", "slow"]),
        (["g3", "EX_c"], ["slow", "EX_c"]),
        ({"g1": 1.0, "slow": 0.0}, ["slow"]),
        ([], []),
    ):
        out = toy.knock_out(names)
        zero = [r for j, r in enumerate(toy.reactions) if out.lower[j] == out.upper[j] == 0]
        assert zero == closed, names
    half = toy.with_bounds({"fast": (-np.inf, np.inf)}).knock_out({"fast": 0.5, "EX_a": 0.5})
    assert (half.lower[2], half.upper[2], half.lower[0], half.upper[0]) == (-np.inf, np.inf, -5.0, 2.5)
    for level in (2.0, -1):
        with pytest.raises(ValueError, match="what is left of 'fast' is a level from 0 to 1"):
            toy.knock_out({"fast": level})
    gone = toy.with_bounds({"fast": (-np.inf, np.inf)}).knock_out("fast")
    assert (gone.lower[2], gone.upper[2]) == (0.0, 0.0)


def test_objectives(core):
    by_name = core.with_objective("ATPM")
    assert np.flatnonzero(by_name.objective).tolist() == [core.index("ATPM")]
    weighed = core.with_objective({"ATPM": 2.0, "PFK": -1.0})
    assert weighed.objective.sum() == 1.0
    assert core.with_objective(by_name.objective).objective is by_name.objective


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.index("PFKK"), KeyError, r"e_coli_core: reaction 'PFKK' does not exist\. Did you mean 'PFK'"),
        (lambda m: m.with_bounds({"pgi": (0, 1)}), KeyError, "Did you mean 'PGI'"),
        (
            lambda m: m.with_bounds({"PFK": (2.0, 1.0)}),
            ValueError,
            "'PFK': the lower bound is above the upper one; bounds 2",
        ),
        (lambda m: m.with_bounds({"PFK": (float("nan"), 1.0)}), ValueError, "'PFK': a bound is not a number"),
        (lambda m: m.with_bounds({"PFK": (np.inf, np.inf)}), ValueError, "'PFK': no flux lies between the bounds"),
        (lambda m: m.with_bounds({"PFK": 3.0}), ValueError, r"a pair \(lower, upper\), got 3.0"),
        (lambda m: m.with_medium({"PFK": 1.0}), ValueError, "'PFK' is no exchange"),
        (
            lambda m: m.with_medium({"EX_glc__D_e": "ten"}),
            TypeError,
            "'EX_glc__D_e' is given a number or an array of numbers, got 'ten'",
        ),
        (lambda m: m.with_bounds({"PFK": ("a", None)}), TypeError, "'PFK' is given a number"),
        (lambda m: m.with_medium({"EX_o2": 1.0}), KeyError, "Did you mean 'EX_o2_e'"),
        (lambda m: m.with_medium({"EX_o2_e": -1.0}), ValueError, "the uptake of 'EX_o2_e' is a number >= 0"),
        (lambda m: m.with_medium({"EX_o2_e": float("nan")}), ValueError, "the uptake of 'EX_o2_e'"),
        (lambda m: m.with_objective({"PFK": float("inf")}), ValueError, "the weight in the objective is not finite"),
        (lambda m: m.with_objective(np.ones(3)), ValueError, r"objective is \[..., 95 reactions\], got shape \[3\]"),
        (lambda m: m.knock_out("b17799"), KeyError, "reaction or gene 'b17799' does not exist"),
        (lambda m: m.knock_out([3]), KeyError, "a name is a text, got 3"),
        (
            lambda m: StoichiometricModel(m.network, m.lower[:3], m.upper, m.objective),
            ValueError,
            r"lower is \[..., 95 reac",
        ),
        (lambda m: m.with_bounds({"PFK": (0.0, np.ones(2))}).medium, ValueError, "take one"),
        (lambda m: jax.jit(lambda x: x.medium)(m), TypeError, "no values inside jit"),
    ],
)
def test_what_is_refused(core, call, error, message):
    with pytest.raises(error, match=message):
        call(core)


def test_infinite_bounds_mean_none(core):
    assert core.with_bounds({"PFK": (-np.inf, np.inf)}).upper[core.index("PFK")] == np.inf


# --- models in words --------------------------------------------------------------------------------------------------


def test_equations_in_words():
    model = from_equations({"r1": "2 a + 0.5 b_c --> c[e]", "r2": "c[e] <=>", "r3": "<=> 1e-3 a"}, {"r1": 2.0})
    assert model.metabolites == ("a", "b_c", "c[e]")
    assert model.stoichiometry.tolist() == [[-2.0, 0.0, 1e-3], [-0.5, 0.0, 0.0], [1.0, -1.0, 0.0]]
    assert model.lower.tolist() == [0.0, -1000.0, -1000.0]
    assert model.objective.tolist() == [2.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (({"r": "a + b"},), ValueError, "reaction 'r': 'a \\+ b' is no equation"),
        (({"r": "a -> b -> c"},), ValueError, "is no equation"),
        (({"r": "2 3 a -> b"},), ValueError, "'2 3 a' is no"),
        (({"r": 3},), ValueError, "3 is no equation"),
        (({"r": "a -> b"}, "s"), KeyError, "reaction 's' does not exist"),
    ],
)
def test_equations_that_cannot_be_read(arguments, error, message):
    with pytest.raises(error, match=message):
        from_equations(*arguments)
    with pytest.raises(KeyError, match="gene rule 'x' does not exist"):
        from_equations({"r": "a ->"}, gene_rules={"x": "g"})
