"""The public names: one list, documented, lazily loaded, and with an answer for names that do not exist."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import jaxsci as js

# A change here is a change of the public interface: it belongs in CHANGELOG.md.
PUBLIC = """
    Adaptive Box Dirichlet Disc Equation Expression FiniteVolume HalfPlane Neumann Neural Outflow Periodic Polygon
    Problem RandomFeatures Report Robin Solution Spectral Staggered absolute arctan compare constraints control cos cosh equation
    equations erf exp gradient_memory learning log manufactured metabolism networks problems read_reference read_trajectory
    relative_l2 residual rollout sin sinh solve solvers sqrt stepper stream surrogates tan tanh
"""
FOLDERS = (
    "compare",
    "constraints",
    "control",
    "equations",
    "learning",
    "metabolism",
    "networks",
    "problems",
    "solvers",
    "surrogates",
)


def test_public_names_are_these():
    assert js.__all__ == PUBLIC.split()
    assert dir(js) == js.__all__


def test_type_checkers_see_the_names_that_users_get():
    """The TYPE_CHECKING block of the package against its table of lazy names: same names from the same modules."""
    tree = ast.parse(Path(js.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "X as X, which re-exports"
            seen[alias.name] = node.module
    lazy = {name: module for module, names in js._WHERE.items() for name in names}
    folders = {name: "jaxsci" for name in js._FOLDERS if name != "compare"}  # compare is called: the block has the function
    assert seen == lazy | folders | {"compare": "jaxsci.compare"}
    assert sorted(seen) == js.__all__


@pytest.mark.parametrize("name", PUBLIC.split())
def test_public_name_is_documented_with_an_example(name):
    value = getattr(js, name)
    if inspect.ismodule(value) and not callable(value):
        assert value.__doc__
        return
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__  # a class has its own, not its parent's
    if name == "compare":
        text = value.compare.__doc__
    assert text
    assert ">>> " in text, f"js.{name} has no example"


@pytest.mark.parametrize("folder", FOLDERS)
def test_exported_names_of_a_folder_are_documented(folder):
    module = importlib.import_module(f"jaxsci.{folder}")
    assert module.__doc__
    exported = {name: value for name, value in vars(module).items() if not name.startswith("_") and callable(value)}
    own = {name: v for name, v in exported.items() if (getattr(v, "__module__", "") or "").startswith("jaxsci")}
    assert own
    without = [
        name for name, v in own.items() if not (vars(v).get("__doc__") if inspect.isclass(v) else getattr(v, "__doc__", ""))
    ]
    assert without == []


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("Spectrall", "Spectral"), ("burgers", None), ("residuals", "residual"), ("read_referense", "read_reference")],
)
def test_unknown_name_is_answered_with_the_nearest(wrong, nearest):
    with pytest.raises(
        AttributeError, match=f"jaxsci: the name '{wrong}' does not exist; there is 'Adaptive', 'Box'"
    ) as error:
        getattr(js, wrong)
    if nearest:
        assert f"Did you mean '{nearest}'?" in str(error.value)


def test_lazy_names_are_kept_after_first_use():
    assert js.Box is vars(js)["Box"]
    assert js.problems is importlib.import_module("jaxsci.problems")
    assert hasattr(js, "__version__")
    assert not hasattr(js, "no_such_name")


def test_compare_is_a_folder_that_can_be_called():
    """js.compare(...) runs the comparison and js.compare.read_reference is its folder's."""
    assert callable(js.compare)
    assert js.compare.read_reference is js.read_reference
    assert js.compare.Report is js.Report
