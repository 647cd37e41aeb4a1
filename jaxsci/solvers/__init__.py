"""Numerical methods: a problem's equation on a grid, stepped in time.

Contract of this folder: every method is a frozen dataclass with ``solve(problem, ...) -> Solution``; the right-hand side of
every solver is derived from the equation's splitting, never written again.
"""

from jaxsci.solvers.adaptive import Adaptive as Adaptive
from jaxsci.solvers.cavity import CavityFlow as CavityFlow
from jaxsci.solvers.cavity import steady_cavity as steady_cavity
from jaxsci.solvers.cavity_fields import cavity_lift as cavity_lift
from jaxsci.solvers.finite_volume import FiniteVolume as FiniteVolume
from jaxsci.solvers.gradients import gradient_memory as gradient_memory
from jaxsci.solvers.mac_grid import clustered as clustered
from jaxsci.solvers.mac_step import MacStepper as MacStepper
from jaxsci.solvers.spectral import Spectral as Spectral
from jaxsci.solvers.staggered import Staggered as Staggered
from jaxsci.solvers.staggered import force_on_solid as force_on_solid
from jaxsci.solvers.stepper import State as State
from jaxsci.solvers.stepper import Stepper as Stepper
from jaxsci.solvers.streaming import StoredField as StoredField
from jaxsci.solvers.streaming import StoredTrajectory as StoredTrajectory
from jaxsci.solvers.streaming import read_trajectory as read_trajectory
from jaxsci.solvers.streaming import stream as stream
from jaxsci.solvers.trajectory import Status as Status
from jaxsci.solvers.trajectory import Trajectory as Trajectory
from jaxsci.solvers.trajectory import rollout as rollout
