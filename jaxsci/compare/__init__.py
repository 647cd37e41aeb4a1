"""Comparison: solver and network on the same physics, at the same points, with their whole cost.

Contract of this folder: it scores any `Solution`, from whatever method; references come from the problem or from a file.
"""

import sys
import types
from typing import Any

from jaxsci.compare.comparison import Report as Report
from jaxsci.compare.comparison import Row as Row
from jaxsci.compare.comparison import compare as compare
from jaxsci.compare.metrics import Samples as Samples
from jaxsci.compare.metrics import correlation as correlation
from jaxsci.compare.metrics import relative_l2 as relative_l2
from jaxsci.compare.reference_file import ReferenceFileError as ReferenceFileError
from jaxsci.compare.reference_file import read_reference as read_reference
from jaxsci.compare.sweep import Swept as Swept
from jaxsci.compare.sweep import sweep as sweep


class _Callable(types.ModuleType):
    """``jaxsci.compare`` is both this folder and its one verb: ``js.compare(problem, methods)`` works either way."""

    def __call__(self, *arguments: Any, **options: Any) -> Report:
        return compare(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
