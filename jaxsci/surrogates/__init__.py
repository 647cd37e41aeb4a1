"""Surrogates: steppers that were learned from a solver's trajectories, and the plain baselines that they must beat.

Contract of this folder: a surrogate is fitted to `Trajectories` and is then a stepper with the solver's signature.
"""

from jaxsci.surrogates.baselines import Mean as Mean
from jaxsci.surrogates.baselines import Persistence as Persistence
from jaxsci.surrogates.coarse_solver import CoarseSolver as CoarseSolver
from jaxsci.surrogates.dynamic_modes import DMD as DMD
from jaxsci.surrogates.extended_dmd import ExtendedDMD as ExtendedDMD
from jaxsci.surrogates.galerkin import POD as POD
from jaxsci.surrogates.network_surrogate import NetworkSurrogate as NetworkSurrogate
from jaxsci.surrogates.network_surrogate import fit_seeds as fit_seeds
from jaxsci.surrogates.resample import resample as resample
from jaxsci.surrogates.ridge import Ridge as Ridge
from jaxsci.surrogates.simulate import simulate as simulate
from jaxsci.surrogates.stepper import FittedSurrogate as FittedSurrogate
from jaxsci.surrogates.stepper import Rule as Rule
from jaxsci.surrogates.stepper import SurrogateStepper as SurrogateStepper
from jaxsci.surrogates.training import Training as Training
from jaxsci.surrogates.trajectories import Trajectories as Trajectories
