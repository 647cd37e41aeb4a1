"""Surrogates: steppers that were learned from a solver's trajectories, and the plain baselines that they must beat.

Contract of this folder: a surrogate is fitted to `Trajectories` and is then a stepper with the solver's signature. One of a
function of numbers (`NetworkRegression`) is fitted to pairs and is then that function.
"""

from jaxsci.surrogates.baselines import Mean as Mean
from jaxsci.surrogates.baselines import Persistence as Persistence
from jaxsci.surrogates.batches import Batch as Batch
from jaxsci.surrogates.batches import stream_batches as stream_batches
from jaxsci.surrogates.coarse_solver import CoarseSolver as CoarseSolver
from jaxsci.surrogates.dataset import Dataset as Dataset
from jaxsci.surrogates.dataset import open_dataset as open_dataset
from jaxsci.surrogates.dynamic_modes import DMD as DMD
from jaxsci.surrogates.extended_dmd import ExtendedDMD as ExtendedDMD
from jaxsci.surrogates.galerkin import POD as POD
from jaxsci.surrogates.network_surrogate import NetworkSurrogate as NetworkSurrogate
from jaxsci.surrogates.network_surrogate import fit_seeds as fit_seeds
from jaxsci.surrogates.regression import FittedFunction as FittedFunction
from jaxsci.surrogates.regression import NetworkRegression as NetworkRegression
from jaxsci.surrogates.resample import resample as resample
from jaxsci.surrogates.ridge import Ridge as Ridge
from jaxsci.surrogates.simulate import Simulated as Simulated
from jaxsci.surrogates.simulate import simulate as simulate
from jaxsci.surrogates.stepper import FittedSurrogate as FittedSurrogate
from jaxsci.surrogates.stepper import Rule as Rule
from jaxsci.surrogates.stepper import SurrogateStepper as SurrogateStepper
from jaxsci.surrogates.training import Training as Training
from jaxsci.surrogates.trajectories import Trajectories as Trajectories
from jaxsci.surrogates.trajectory_files import provenance_of as provenance_of
from jaxsci.surrogates.trajectory_files import read_trajectories as read_trajectories
from jaxsci.surrogates.trajectory_files import write_trajectories as write_trajectories
