"""jaxsci: write the physics once; solve it, learn it, and find out which is worth it.

    Problem x Method -> Solution,     compare(problem, methods) -> Report

The tour, in the order of use:

- `problems`: the catalogue, ``js.problems.burgers(viscosity=0.01)``; or your own: `Equation` (or the decorator `equation`),
  `Box`, `Problem` with `Dirichlet`, `Neumann`, `Periodic`; `manufactured` solutions.
- `solve(problem, method)`: `Spectral`, `Staggered`, `FiniteVolume`, `Adaptive`, `Neural`, `RandomFeatures`, each returning a
  `Solution`.
- `compare(problem, {...})`: the same physics, the same points, the whole cost; `relative_l2`, `read_reference`.
- the pure core beneath: `residual(problem)(field, coefficients, points)`, `stepper(problem, method)`, `rollout` and,
  for long ones that go to a file, `stream` and `read_trajectory`.
- `networks`, `learning`: what `Neural` is put together from.
- `surrogates`: steppers learned from a solver's trajectories, and the plain baselines that they must beat.
- `constraints`: sets of points with exact, differentiable projections, ``js.constraints.project(constraint, y)``.
- `metabolism`: flux balance in batches and with gradients, ``js.metabolism.fba(model)``, its family, dynamics and kinetics.
- `control`: tasks and policies: rollouts through solvers, surrogates and agents, their gradients, and the algorithms on top.

Names load on first use, so that ``import jaxsci`` stays cheap.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see; the same names as _WHERE, which a test holds
    from jaxsci import constraints as constraints
    from jaxsci import control as control
    from jaxsci import equations as equations
    from jaxsci import learning as learning
    from jaxsci import metabolism as metabolism
    from jaxsci import networks as networks
    from jaxsci import problems as problems
    from jaxsci import solvers as solvers
    from jaxsci import surrogates as surrogates
    from jaxsci.compare import Report as Report
    from jaxsci.compare import compare as compare
    from jaxsci.compare import read_reference as read_reference
    from jaxsci.compare import relative_l2 as relative_l2
    from jaxsci.equations import Equation as Equation
    from jaxsci.equations import Expression as Expression
    from jaxsci.equations import absolute as absolute
    from jaxsci.equations import arctan as arctan
    from jaxsci.equations import cos as cos
    from jaxsci.equations import cosh as cosh
    from jaxsci.equations import equation as equation
    from jaxsci.equations import erf as erf
    from jaxsci.equations import exp as exp
    from jaxsci.equations import log as log
    from jaxsci.equations import residual as residual
    from jaxsci.equations import sin as sin
    from jaxsci.equations import sinh as sinh
    from jaxsci.equations import sqrt as sqrt
    from jaxsci.equations import tan as tan
    from jaxsci.equations import tanh as tanh
    from jaxsci.learning import Neural as Neural
    from jaxsci.learning import RandomFeatures as RandomFeatures
    from jaxsci.problems import Box as Box
    from jaxsci.problems import Dirichlet as Dirichlet
    from jaxsci.problems import Disc as Disc
    from jaxsci.problems import HalfPlane as HalfPlane
    from jaxsci.problems import Neumann as Neumann
    from jaxsci.problems import Outflow as Outflow
    from jaxsci.problems import Periodic as Periodic
    from jaxsci.problems import Polygon as Polygon
    from jaxsci.problems import Problem as Problem
    from jaxsci.problems import Robin as Robin
    from jaxsci.problems import Solution as Solution
    from jaxsci.problems import manufactured as manufactured
    from jaxsci.problems import solve as solve
    from jaxsci.problems import stepper as stepper
    from jaxsci.solvers import Adaptive as Adaptive
    from jaxsci.solvers import FiniteVolume as FiniteVolume
    from jaxsci.solvers import Spectral as Spectral
    from jaxsci.solvers import Staggered as Staggered
    from jaxsci.solvers import gradient_memory as gradient_memory
    from jaxsci.solvers import read_trajectory as read_trajectory
    from jaxsci.solvers import rollout as rollout
    from jaxsci.solvers import stream as stream

_FOLDERS = (
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
)  # compare can be called
_WHERE = {
    "jaxsci.compare": ("Report", "read_reference", "relative_l2"),
    "jaxsci.equations": (
        *("Equation", "Expression", "equation", "residual"),
        *("absolute", "arctan", "cos", "cosh", "erf", "exp", "log", "sin", "sinh", "sqrt", "tan", "tanh"),
    ),
    "jaxsci.learning": ("Neural", "RandomFeatures"),
    "jaxsci.problems": (
        *(
            "Box",
            "Dirichlet",
            "Disc",
            "HalfPlane",
            "Neumann",
            "Outflow",
            "Periodic",
            "Polygon",
            "Problem",
            "Robin",
            "Solution",
        ),
        *("manufactured", "solve", "stepper"),
    ),
    "jaxsci.solvers": (
        *("Adaptive", "FiniteVolume", "Spectral", "Staggered"),
        *("gradient_memory", "read_trajectory", "rollout", "stream"),
    ),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted([*_FOLDERS, *_MODULE_OF])

try:
    __version__ = version("jaxsci")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF and name not in _FOLDERS:
        from jaxsci._checks import unknown_name

        raise AttributeError(unknown_name("jaxsci: the name", name, __all__))
    importlib.import_module("jaxsci.solvers")  # enters the recipes of numerical references
    value = importlib.import_module(f"jaxsci.{name}") if name in _FOLDERS else None
    value = getattr(importlib.import_module(_MODULE_OF[name]), name) if value is None else value
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
