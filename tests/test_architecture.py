"""The house rules of docs/design.md, held: which folder may import which, how long a file is, what `import jaxsci` costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxsci

PACKAGE = Path(jaxsci.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Who may import whom: a part may import what stands in an earlier line, and itself. Parts of one line are strangers.
ORDER = (
    ("_checks", "_types", "_command"),
    ("_timing",),
    ("equations",),
    ("problems",),
    ("solvers", "networks"),
    ("constraints",),
    ("learning", "control", "metabolism"),
    ("surrogates",),
    ("compare",),
    ("doctor",),
    ("cli",),
)
LAYER = {part: layer for layer, parts in enumerate(ORDER) for part in parts}
EXEMPT = ("__init__", "__main__")  # the facade and the entry point of the package
EXTRAS = {"matplotlib", "h5py", "xarray", "netCDF4", "zarr", "cobra", "libsbml", "mctx"}


def part_of(path):
    """The folder of jaxsci, or the module beside them, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source, package=()):
    """(line, module, inside a function) for every import in a file of the given package, as far as the text tells."""
    found = []

    def visit(node, inside):
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.Import):
            found.extend((node.lineno, alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join(above + ([node.module] if node.module else []))
            names = [f"jaxsci.{alias.name}" for alias in node.names] if module == "jaxsci" else [module]
            found.extend((node.lineno, name, inside) for name in names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found.extend((node.lineno, a.value, inside) for a in node.args[:1] if isinstance(a, ast.Constant))
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), False)
    return found


def upward_imports(part, source, package=()):
    """The imports of jaxsci in a file of `part` that the order does not allow."""
    allowed = {part} | {other for other, layer in LAYER.items() if layer < LAYER[part]}
    wrong = []
    for line, module, _ in imports(source, package):
        head, *rest = module.split(".")
        if head == "jaxsci" and (not rest or rest[0] not in allowed):
            wrong.append(f"line {line}: {part} imports {module}")
    return wrong


def package_of(path):
    return ("jaxsci", *path.relative_to(PACKAGE).parent.parts)


def test_every_part_of_the_package_has_its_place_in_the_order():
    parts = {part_of(path) for path in FILES} - set(EXEMPT)
    assert parts == set(LAYER), "a new folder needs a line in ORDER, and docs/design.md section 3"


@pytest.mark.parametrize("part", LAYER)
def test_no_part_imports_upward_or_its_siblings(part):
    wrong = [
        f"{path.name}, {found}"
        for path in FILES
        if part_of(path) == part
        for found in upward_imports(part, path.read_text(), package_of(path))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("equations", "from jaxsci.problems import Problem"),
        ("equations", "import jaxsci"),
        ("equations", "import jaxsci as js"),
        ("problems", "def f():\n    from jaxsci.solvers.spectral import Spectral"),
        ("problems", "class A:\n    def f(self):\n        import jaxsci.learning"),
        ("problems", "if TYPE_CHECKING:\n    from jaxsci import compare"),
        ("problems", "from ..solvers import Spectral"),
        ("problems", "from .. import solvers"),
        ("problems", "import importlib\nimportlib.import_module('jaxsci.solvers')"),
        ("solvers", "from jaxsci.networks import MLP"),
        ("networks", "import numpy, jaxsci.solvers"),
        ("_checks", "from jaxsci._timing import Cost"),
    ],
)
def test_planted_upward_import_is_caught(part, source):
    assert len(upward_imports(part, source, ("jaxsci", part))) == 1


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("learning", "from jaxsci.networks import MLP\nfrom jaxsci._checks import listed\nimport jax"),
        ("learning", "from .objective import Objective\nfrom ..problems import Box\nfrom jaxsci import equations"),
    ],
)
def test_imports_downward_are_let_through(part, source):
    assert upward_imports(part, source, ("jaxsci", part)) == []


def test_no_file_is_longer_than_400_lines():
    assert {path.name: n for path in FILES if (n := len(path.read_text().splitlines())) > 400} == {}


def test_flax_stays_in_its_folder():
    users = {part_of(path) for path in FILES for _, name, _ in imports(path.read_text()) if name.split(".")[0] == "flax"}
    assert users == {"networks"}


def test_extras_are_imported_where_they_are_used():
    """Inside a function, so that a plain install runs everything that does not need them."""
    outside = [
        (path.name, line, name)
        for path in FILES
        for line, name, inside in imports(path.read_text())
        if name.split(".")[0] in EXTRAS and not inside
    ]
    assert outside == []


def test_the_library_changes_no_setting_of_jax():
    """Precision is the caller's. The command line is a caller: it may, in its functions."""
    for path in FILES:
        tree = ast.parse(path.read_text())
        calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert part_of(path) == "cli" or not any(call.endswith("config.update") for call in calls), path


# --- what loading costs -----------------------------------------------------------------------------------------------


def in_fresh_process(code):
    """The last line that the code prints in an interpreter of its own."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return run.stdout.splitlines()[-1]


def loaded_after(code):
    return set(in_fresh_process(f"{code}\nimport sys\nprint(*sys.modules)").split())


def test_import_jaxsci_loads_nothing_else():
    loaded = loaded_after("import jaxsci")
    assert {name for name in loaded if name.startswith("jaxsci")} == {"jaxsci"}
    assert not loaded & {"jax", "sympy", "diffrax", "flax", "optax", "numpy"}


def test_names_load_what_they_need():
    """A solver loads no network and no extra; nothing loads an extra."""
    assert not loaded_after("import jaxsci; jaxsci.Spectral") & {"flax", "optax", "jaxsci.networks", *EXTRAS}
    everything = loaded_after("import jaxsci; [getattr(jaxsci, name) for name in jaxsci.__all__]")
    assert not everything & EXTRAS
    assert "flax" in everything


def test_importing_costs_no_more_than_its_dependencies():
    """Processor time, not wall time; the best of three, taken in turn."""
    timed = "import time; start = time.process_time()\nimport {}\nprint(time.process_time() - start)"
    ours, theirs = [], []
    for _ in range(3):
        theirs.append(float(in_fresh_process(timed.format("jax, flax, optax, diffrax"))))
        ours.append(float(in_fresh_process(timed.format("jaxsci"))))
    assert min(ours) <= 1.3 * min(theirs)
