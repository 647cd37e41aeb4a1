r"""Gene rules: which reactions are left when genes are gone.

A rule is a formula of genes with `and` (a complex needs every part) and `or` (isozymes: one is enough). With levels in [0, 1]
instead of truths, `and` is the smallest and `or` the largest of them; on {0, 1} that is the logic.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism.names import unknown

_TOKEN = re.compile(r"\(|\)|&+|\|+|[^\s()&|]+")
_WORDS = {"and": "and", "&": "and", "&&": "and", "or": "or", "|": "or", "||": "or"}

# A rule in Python: a gene's name, or ("and" | "or", frozenset of rules); None for no rule.
Tree = Any


def parse_rule(text: str) -> Tree:
    """The tree of one rule: None, a gene's name, or ("and" | "or", frozenset of trees). `and` binds closer than `or`.

    Raises:
      ValueError: brackets that do not match, an operator without a gene beside it, two genes with nothing between them.
    Example:
      >>> from jaxsci.metabolism.gene_rules import parse_rule
      >>> operator, parts = parse_rule("(b1 AND b2) or b3")
      >>> operator, len(parts)
      ('or', 2)
    """
    tokens = _TOKEN.findall(text)
    if not tokens:
        return None
    place = 0

    def peek() -> str | None:
        return tokens[place] if place < len(tokens) else None

    def fail(reason: str) -> ValueError:
        return ValueError(f"the gene rule {text!r} cannot be read: {reason}.")

    def series(operator, inner):
        nonlocal place
        parts = [inner()]
        while (token := peek()) is not None and _WORDS.get(token.lower()) == operator:
            place += 1
            parts.append(inner())
        return parts[0] if len(parts) == 1 else joined(operator, parts)

    def atom():
        nonlocal place
        token = peek()
        if token is None:
            raise fail("it ends where a gene is due")
        place += 1
        if token == "(":
            inside = either()
            if peek() != ")":
                raise fail("a bracket is not closed")
            place += 1
            return inside
        if token == ")" or token.lower() in _WORDS:
            raise fail(f"{token!r} stands where a gene is due")
        return token

    def both():
        return series("and", atom)

    def either():
        return series("or", both)

    tree = either()
    if peek() is not None:
        raise fail(f"{peek()!r} follows with no 'and' or 'or' before it")
    return tree


def joined(operator: str, parts: Iterable[Tree]) -> Tree:
    """The parts under one operator; what has the same operator is drawn in, repeats fall together."""
    flat: set[Tree] = set()
    for part in parts:
        flat |= part[1] if isinstance(part, tuple) and part[0] == operator else {part}
    return next(iter(flat)) if len(flat) == 1 else (operator, frozenset(flat))


def rule_text(tree: Tree) -> str:
    """A tree written down in one way, whatever the order and the brackets it was read from; "" for none."""
    if tree is None or isinstance(tree, str):
        return tree or ""
    operator, parts = tree
    inner = (rule_text(part) if isinstance(part, str) else f"({rule_text(part)})" for part in parts)
    return f" {operator} ".join(sorted(inner))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GeneRules:
    r"""The rules of all reactions, ready to be evaluated at once for any number of gene sets.

        level(and) = min over its parts,     level(or) = max over its parts,     level(no rule) = 1

    Formulas are evaluated by depth: every layer gathers the levels of its parts from the layers below, as one array.
    Equal subformulas are evaluated once.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.metabolism.gene_rules import GeneRules
      >>> rules = GeneRules.parse(["b1 and b2", "b1 or b3", ""])
      >>> rules.genes
      ('b1', 'b2', 'b3')
      >>> rules.reactions_active(jnp.array([False, True, True]))
      Array([False,  True,  True], dtype=bool)
      >>> rules.reactions_active(jnp.array([0.5, 1.0, 0.2]))
      Array([0.5, 0.5, 1. ], dtype=float32)
    """

    genes: tuple[str, ...]
    layers: tuple[tuple[str, np.ndarray], ...]  # ("and" | "or", indices [formulas, parts] into what is known so far)
    reaction: np.ndarray  # [reactions] index of its formula
    trees: tuple[Tree, ...]

    @classmethod
    def parse(cls, rules: Sequence[str], genes: Sequence[str] = (), reactions: Sequence[str] = ()) -> GeneRules:
        """Read one rule a reaction; genes that are only in rules follow the given ones in the order of their appearance.

        Raises:
          ValueError: a rule that cannot be read; the message names the reaction.
        """
        trees, named, texts = [], dict.fromkeys(genes), {}
        for j, text in enumerate(rules):
            if not isinstance(text, str):
                who = f"reaction {reactions[j]!r}" if reactions else f"reaction number {j}"
                raise ValueError(f"{who}: a gene rule is a text, got {text!r}.")
            if text not in texts:
                try:
                    texts[text] = parse_rule(text)
                except ValueError as error:
                    who = f"reaction {reactions[j]!r}" if reactions else f"reaction number {j}"
                    raise ValueError(f"{who}: {error}") from None
            trees.append(texts[text])
            for token in _TOKEN.findall(text):
                if token not in "()" and token.lower() not in _WORDS:
                    named.setdefault(token)
        names = tuple(named)
        # Places: the genes, then 0 and 1, then the formulas layer by layer.
        place: dict[Tree, int] = {name: k for k, name in enumerate(names)}
        zero, one = len(names), len(names) + 1
        place[None] = one
        depths: dict[Tree, int] = {}
        for tree in trees:
            _depth(tree, depths)
        layers = []
        for depth in range(1, max(depths.values(), default=0) + 1):
            for operator, padding in (("and", one), ("or", zero)):
                here = [tree for tree, d in depths.items() if d == depth and tree[0] == operator]
                if not here:
                    continue
                parts = [sorted(place[part] for part in tree[1]) for tree in here]
                table = np.full((len(here), max(map(len, parts))), padding)
                for row, part in zip(table, parts, strict=True):
                    row[: len(part)] = part
                layers.append((operator, table))
                # After one kind of a depth the other kind's places move, so they are given out as the layers are made.
                start = one + 1 + sum(len(t) for _, t in layers[:-1])
                place.update({tree: start + k for k, tree in enumerate(here)})
        return cls(names, tuple(layers), np.array([place[tree] for tree in trees], int), tuple(trees))

    def reactions_active(self, gene_present: Any) -> Any:
        """[..., genes] -> [..., reactions]: truths of truths, or levels in [0, 1] of levels. Pure: jit, vmap and grad go through.

        NumPy arrays are evaluated by NumPy. The derivative of `min` and `max` goes to the part that decides; between equal
        ones it is shared.
        """
        xp: Any = np if isinstance(gene_present, np.ndarray) else jnp
        levels = xp.asarray(gene_present)
        if levels.shape[-1:] != (len(self.genes),):
            raise ValueError(f"gene_present is [..., {len(self.genes)} genes], got shape {list(levels.shape)}.")
        ends = xp.broadcast_to(xp.asarray([0, 1], levels.dtype), (*levels.shape[:-1], 2))
        known = xp.concatenate([levels, ends], axis=-1)
        for operator, table in self.layers:
            parts = known[..., table]
            if levels.dtype == bool:
                value = parts.all(-1) if operator == "and" else parts.any(-1)
            else:
                value = parts.min(-1) if operator == "and" else parts.max(-1)
            known = xp.concatenate([known, value], axis=-1)
        return known[..., self.reaction]

    def without(self, genes: Iterable[str]) -> np.ndarray:
        """[reactions] of bool: what is left when these genes are gone, on the host."""
        return self.masks([tuple(genes)])[0]

    def masks(self, deletions: Iterable[str | Iterable[str]]) -> np.ndarray:
        """[deletions, reactions] of bool: what is left after each deletion, a gene or several that go together; on the host.

        Raises:
          KeyError: an unknown gene.
        Example:
          >>> from jaxsci.metabolism.gene_rules import GeneRules
          >>> GeneRules.parse(["b1 or b2", "b2"]).masks(["b1", "b2", ("b1", "b2")])
          array([[ True,  True],
                 [ True, False],
                 [False, False]])
        """
        sets = [(deletion,) if isinstance(deletion, str) else tuple(deletion) for deletion in deletions]
        place = {name: k for k, name in enumerate(self.genes)}
        present = np.ones((len(sets), len(self.genes)), bool)
        for row, names in zip(present, sets, strict=True):
            for name in names:
                if name not in place:
                    raise unknown("gene", name, self.genes)
                row[place[name]] = False
        return self.reactions_active(present)

    def genes_of(self, reaction: int) -> tuple[str, ...]:
        """The genes that a reaction's rule names."""
        found: set[str] = set()

        def visit(tree):
            if isinstance(tree, str):
                found.add(tree)
            elif tree is not None:
                for part in tree[1]:
                    visit(part)

        visit(self.trees[reaction])
        return tuple(name for name in self.genes if name in found)

    def __repr__(self) -> str:
        return f"GeneRules({len(self.reaction)} reactions, {len(self.genes)} genes, {len(self.layers)} layers)"


def _depth(tree: Tree, depths: dict[Tree, int]) -> int:
    if tree is None or isinstance(tree, str):
        return 0
    if tree not in depths:
        depths[tree] = 1 + max(_depth(part, depths) for part in tree[1])
    return depths[tree]
