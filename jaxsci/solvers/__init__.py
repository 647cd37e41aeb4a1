"""Numerical methods: a problem's equation on a grid, stepped in time.

Contract of this folder: every method is a frozen dataclass with ``solve(problem, ...) -> Solution``; the right-hand side of
every solver is derived from the equation's splitting, never written again.
"""

from jaxsci.solvers.adaptive import Adaptive as Adaptive
from jaxsci.solvers.finite_volume import FiniteVolume as FiniteVolume
from jaxsci.solvers.spectral import Spectral as Spectral
from jaxsci.solvers.stepper import State as State
from jaxsci.solvers.stepper import Stepper as Stepper
