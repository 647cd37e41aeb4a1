"""Gene rules: against a rule evaluated by Python, against cobrapy, as levels with derivatives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.metabolism.gene_rules import GeneRules, parse_rule, rule_text


@pytest.fixture(scope="module")
def core():
    return js.metabolism.load("e_coli_core")


def random_rule(rng, genes, depth):
    """A rule in words with needless brackets and mixed case, and the same rule as a function of a set of genes."""
    if depth == 0 or rng.random() < 0.2:
        gene = genes[rng.integers(len(genes))]
        return (f"({gene})" if rng.random() < 0.2 else gene), lambda present: gene in present
    word = ("and", "or")[rng.integers(2)]
    parts = [random_rule(rng, genes, depth - 1) for _ in range(rng.integers(2, 4))]
    written = rng.choice([word, word.upper(), {"and": "&", "or": "|"}[word]])
    text = "(" + f" {written} ".join(part for part, _ in parts) + ")"
    combine = all if word == "and" else any
    return text, lambda present: combine(function(present) for _, function in parts)


def test_random_rules_agree_with_python_for_every_set_of_genes():
    rng, genes = np.random.default_rng(0), [f"b{k}" for k in range(6)]
    made = [random_rule(rng, genes, 4) for _ in range(60)]
    rules = GeneRules.parse([text for text, _ in made], genes)
    sets = np.array(list(itertools.product([False, True], repeat=6)))
    expected = [[function({g for g, p in zip(genes, row, strict=True) if p}) for _, function in made] for row in sets]
    np.testing.assert_array_equal(rules.reactions_active(sets), expected)
    np.testing.assert_array_equal(jax.jit(jax.vmap(rules.reactions_active))(jnp.asarray(sets)), expected)
    assert np.mean(expected) not in (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("  ", None),
        ("b1", "b1"),
        ("((b1))", "b1"),
        ("b1 or b2 and b3", ("or", {"b1", ("and", frozenset({"b2", "b3"}))})),
        ("(b1 or b2) and b3", ("and", {"b3", ("or", frozenset({"b1", "b2"}))})),
        ("b1 Or(b2 OR b1)", ("or", {"b1", "b2"})),
        ("orA and andB.1", ("and", {"orA", "andB.1"})),  # names that begin as the words do
        ("HGNC:1 and x-y_z", ("and", {"HGNC:1", "x-y_z"})),
    ],
)
def test_what_a_rule_means(text, expected):
    tree = parse_rule(text)
    assert tree == (expected if not isinstance(expected, tuple) else (expected[0], frozenset(expected[1])))
    assert parse_rule(rule_text(tree)) == tree


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(b1 and b2", "a bracket is not closed"),
        ("b1 and", "it ends where a gene is due"),
        ("and b1", "'and' stands where a gene is due"),
        ("b1 b2", "'b2' follows with no 'and' or 'or' before it"),
        ("b1 or )", r"'\)' stands where a gene is due"),
        ("b1)", r"'\)' follows"),
    ],
)
def test_a_rule_that_cannot_be_read_names_the_reaction(text, reason):
    with pytest.raises(ValueError, match=f"reaction 'R2'.*{reason}"):
        GeneRules.parse(["b1", text], reactions=["R1", "R2"])


def test_isozymes_stop_only_together_and_a_complex_at_once():
    rules = GeneRules.parse(["b1 or b2", "b1 and b2", "", "b1 or b2 and b3"])
    masks = rules.masks(["b1", ("b1", "b2"), ("b1", "b3"), ()])
    assert masks.tolist() == [
        [True, False, True, True],
        [False, False, True, False],
        [True, False, True, False],
        [True, True, True, True],
    ]
    np.testing.assert_array_equal(rules.without(["b2", "b1"]), masks[1])
    with pytest.raises(KeyError, match="gene 'b4' does not exist"):
        rules.masks([("b1", "b4")])


@pytest.mark.slow
def test_levels_are_the_scarcest_part_and_the_best_isozyme():
    rules = GeneRules.parse(["(b1 and b2) or b3", "b2 or b3", ""], ["b1", "b2", "b3"])
    levels = jnp.array([0.7, 0.4, 0.3])
    np.testing.assert_allclose(rules.reactions_active(levels), [0.4, 0.4, 1.0])
    slopes = jax.jit(jax.jacrev(rules.reactions_active))
    np.testing.assert_array_equal(slopes(levels), [[0, 1, 0], [0, 1, 0], [0, 0, 0]])
    tied = slopes(jnp.full(3, 0.5))  # b1 and b2 against b3: every one of a tie gets its share
    np.testing.assert_allclose(tied.sum(1), [1.0, 1.0, 0.0])
    single = rules.reactions_active(jnp.asarray([0.7, 0.4, 0.3], jnp.float32))
    assert single.dtype == jnp.float32


def test_wrong_number_of_genes():
    with pytest.raises(ValueError, match=r"\[\.\.\., 2 genes\], got shape \[3\]"):
        GeneRules.parse(["b1 or b2"]).reactions_active(np.ones(3, bool))


def test_no_genes_at_all():
    rules = GeneRules.parse(["", ""])
    assert rules.reactions_active(np.ones((4, 0), bool)).tolist() == [[True, True]] * 4


def test_single_and_double_deletions_of_the_core_are_cobrapys(core):
    """Both copies of an isozyme gone (cobrapy's issue 1102) among them."""
    pytest.importorskip("cobra")
    model = js.metabolism.to_cobra(core)
    rng = np.random.default_rng(1)
    pairs = [tuple(rng.choice(core.genes, 2, replace=False)) for _ in range(60)]
    isozymes = [("b1723", "b3916"), ("b1676", "b1854"), ("b1818", "b2415"), ("b0116", "b0726")]
    deletions = [*((gene,) for gene in core.genes), *pairs, *isozymes]
    ours = core.network.rules.masks(deletions)
    for mask, names in zip(ours, deletions, strict=True):
        knocked = {r.id for r in model.reactions if not r.gpr.eval(set(names))}
        assert {core.reactions[j] for j in np.flatnonzero(~mask)} == knocked
    assert not ours[len(core.genes) + 60][core.index("PFK")]
    assert ours[core.network.gene_index["b1723"]][core.index("PFK")]


def test_genes_of_a_reaction(core):
    assert core.network.rules.genes_of(core.index("PFK")) == tuple(g for g in core.genes if g in ("b1723", "b3916"))
    assert core.network.rules.genes_of(core.index("ATPM")) == ()
