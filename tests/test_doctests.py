"""Every example in a docstring runs and prints what it says, as a user runs it: a fresh process, float32 by default."""

import os
import subprocess
import sys

import pytest

_RUN = """
import doctest, importlib, pkgutil, sys
import jaxsci

runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
folder = sys.argv[1]
names = ["jaxsci"] + [module.name for module in pkgutil.walk_packages(jaxsci.__path__, "jaxsci.")]
for name in names:
    if not name.endswith("__main__") and (name.split(".") + [""])[1] == folder:
        for test in doctest.DocTestFinder().find(importlib.import_module(name), name):
            runner.run(test)
result = runner.summarize(verbose=False)
print("attempted", result.attempted)
sys.exit(result.failed > 0)
"""


FOLDERS = {
    "compare": 10,
    "constraints": 30,
    "control": 100,
    "equations": 10,
    "learning": 30,
    "metabolism": 60,
    "networks": 10,
    "problems": 30,
    "solvers": 30,
}  # fewest lines


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_examples_in_docstrings_run_and_print_what_they_say(folder):
    """A folder in one process, so that its examples share what is compiled."""
    # Compiling is what they take, and half of that without the compiler's optimisations.
    environment = os.environ | {"JAX_ENABLE_X64": "0", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    run = subprocess.run([sys.executable, "-c", _RUN, folder], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    attempted = int(run.stdout.split()[-1])
    assert attempted >= FOLDERS[folder]  # fewer would mean that the finder looks past them
