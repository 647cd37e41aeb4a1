"""Every example in a docstring runs and prints what it says, as a user runs it: a fresh process, float32 by default."""

import os
import subprocess
import sys

import pytest
from conftest import compiler_flags

_RUN = r"""
import doctest, importlib, pkgutil, re, sys
import jaxsci

NUMBER = re.compile(r"(?<![A-Za-z_])[-+]?(?:[0-9]+[.]?[0-9]*|[.][0-9]+)(?:e[-+]?[0-9]+)?")


class Checker(doctest.OutputChecker):
    # The last digit of a rounded number in single precision depends on the processor: 7. on one is 7.0000005 on another.
    def check_output(self, want, got, flags):
        if super().check_output(want, got, flags):
            return True
        numbers = [[float(n) for n in NUMBER.findall(text)] for text in (want, got)]
        words = ["".join(NUMBER.sub("#", text).split()) for text in (want, got)]
        same = words[0] == words[1] and len(numbers[0]) == len(numbers[1])
        return same and all(abs(a - b) <= 1e-6 * max(abs(a), abs(b), 1e-3) for a, b in zip(*numbers))


runner = doctest.DocTestRunner(checker=Checker(), optionflags=doctest.ELLIPSIS)
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
    "surrogates": 10,
}  # fewest lines


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_examples_in_docstrings_run_and_print_what_they_say(folder):
    """A folder in one process, so that its examples share what is compiled."""
    # Compiling is what they take, and half of that without the compiler's optimisations.
    environment = os.environ | {"JAX_ENABLE_X64": "0", "XLA_FLAGS": compiler_flags()}
    run = subprocess.run([sys.executable, "-c", _RUN, folder], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    attempted = int(run.stdout.split()[-1])
    assert attempted >= FOLDERS[folder]  # fewer would mean that the finder looks past them
