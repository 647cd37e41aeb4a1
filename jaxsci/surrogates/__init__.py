"""Surrogates: steppers that were learned from a solver's trajectories, and the plain baselines that they must beat.

Contract of this folder: a surrogate is fitted to `Trajectories` and is then a stepper with the solver's signature.
"""

from jaxsci.surrogates.stepper import FittedSurrogate as FittedSurrogate
from jaxsci.surrogates.stepper import Rule as Rule
from jaxsci.surrogates.stepper import SurrogateStepper as SurrogateStepper
from jaxsci.surrogates.trajectories import Trajectories as Trajectories
