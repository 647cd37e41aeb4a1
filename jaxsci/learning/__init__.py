"""Learning: networks and random features fitted to the residual of a problem's equation.

Contract of this folder: there is one objective, the residual of the equation, behind an ansatz that holds the conditions
exactly; methods differ in what they fit and how.  No problem has a loss of its own.
"""

from jaxsci.learning.conditions import HardConditions as HardConditions
from jaxsci.learning.least_squares import least_squares as least_squares
from jaxsci.learning.neural import Neural as Neural
from jaxsci.learning.optimisers import FirstOrder as FirstOrder
from jaxsci.learning.optimisers import LevenbergMarquardt as LevenbergMarquardt
from jaxsci.learning.optimisers import Optimiser as Optimiser
from jaxsci.learning.outputs import Ansatz as Ansatz
from jaxsci.learning.outputs import Conserved as Conserved
from jaxsci.learning.outputs import DivergenceFree as DivergenceFree
from jaxsci.learning.outputs import Positive as Positive
from jaxsci.learning.random_features import RandomFeatures as RandomFeatures
