"""Learning: networks and random features fitted to the residual of a problem's equation.

Contract of this folder: there is one objective, the residual of the equation, behind an ansatz that holds the conditions
exactly; methods differ in what they fit and how.  No problem has a loss of its own.
"""

from jaxsci.learning.attention import ResidualAttention as ResidualAttention
from jaxsci.learning.attention import SelfAdaptive as SelfAdaptive
from jaxsci.learning.balancing import GradientBalance as GradientBalance
from jaxsci.learning.balancing import KernelBalance as KernelBalance
from jaxsci.learning.balancing import RelativeBalance as RelativeBalance
from jaxsci.learning.broyden import SelfScaledBroyden as SelfScaledBroyden
from jaxsci.learning.budget import Budget as Budget
from jaxsci.learning.causal import Causal as Causal
from jaxsci.learning.certificate import Certificate as Certificate
from jaxsci.learning.certificate import certify as certify
from jaxsci.learning.conditions import HardConditions as HardConditions
from jaxsci.learning.curriculum import Curriculum as Curriculum
from jaxsci.learning.dual_norm import DualNorm as DualNorm
from jaxsci.learning.first_order import FirstOrder as FirstOrder
from jaxsci.learning.inverse import Inverse as Inverse
from jaxsci.learning.inverse import fit as fit
from jaxsci.learning.least_squares import least_squares as least_squares
from jaxsci.learning.levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from jaxsci.learning.logs import CsvLog as CsvLog
from jaxsci.learning.logs import JsonLog as JsonLog
from jaxsci.learning.logs import TensorBoardLog as TensorBoardLog
from jaxsci.learning.logs import Together as Together
from jaxsci.learning.many import fit_many as fit_many
from jaxsci.learning.natural_gradient import NaturalGradient as NaturalGradient
from jaxsci.learning.neural import Neural as Neural
from jaxsci.learning.objective import Batch as Batch
from jaxsci.learning.objective import Objective as Objective
from jaxsci.learning.observations import Observations as Observations
from jaxsci.learning.operators import PhysicsInformedOperator as PhysicsInformedOperator
from jaxsci.learning.operators import TrainedOperator as TrainedOperator
from jaxsci.learning.optimiser import Optimiser as Optimiser
from jaxsci.learning.outputs import Ansatz as Ansatz
from jaxsci.learning.outputs import Conserved as Conserved
from jaxsci.learning.outputs import DivergenceFree as DivergenceFree
from jaxsci.learning.outputs import Positive as Positive
from jaxsci.learning.posterior import Posterior as Posterior
from jaxsci.learning.progress import Event as Event
from jaxsci.learning.progress import ProgressBar as ProgressBar
from jaxsci.learning.random_features import RandomFeatures as RandomFeatures
from jaxsci.learning.sampling import Even as Even
from jaxsci.learning.sampling import ResidualDensity as ResidualDensity
from jaxsci.learning.sampling import Retain as Retain
from jaxsci.learning.scheme import Scheme as Scheme
from jaxsci.learning.single_precision import SinglePrecision as SinglePrecision
from jaxsci.learning.sketched import SketchedGaussNewton as SketchedGaussNewton
from jaxsci.learning.soap import soap as soap
from jaxsci.learning.stretched import Stretched as Stretched
from jaxsci.learning.variable_projection import VariableProjection as VariableProjection
from jaxsci.learning.weighting import Equal as Equal
from jaxsci.learning.windows import Windows as Windows
