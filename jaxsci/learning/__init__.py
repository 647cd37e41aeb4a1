"""Learning: networks and random features fitted to the residual of a problem's equation.

Contract of this folder: there is one objective, the residual of the equation, behind an ansatz that holds the conditions
exactly; methods differ in what they fit and how.  No problem has a loss of its own.
"""

from jaxsci.learning.certificate import Certificate as Certificate
from jaxsci.learning.certificate import certify as certify
from jaxsci.learning.conditions import HardConditions as HardConditions
from jaxsci.learning.first_order import FirstOrder as FirstOrder
from jaxsci.learning.inverse import Inverse as Inverse
from jaxsci.learning.inverse import fit as fit
from jaxsci.learning.least_squares import least_squares as least_squares
from jaxsci.learning.levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from jaxsci.learning.neural import Neural as Neural
from jaxsci.learning.objective import Batch as Batch
from jaxsci.learning.objective import Objective as Objective
from jaxsci.learning.observations import Observations as Observations
from jaxsci.learning.optimiser import Optimiser as Optimiser
from jaxsci.learning.posterior import Posterior as Posterior
from jaxsci.learning.random_features import RandomFeatures as RandomFeatures
from jaxsci.learning.sampling import Even as Even
from jaxsci.learning.sampling import ResidualDensity as ResidualDensity
from jaxsci.learning.training import Scheme as Scheme
from jaxsci.learning.weighting import Equal as Equal
