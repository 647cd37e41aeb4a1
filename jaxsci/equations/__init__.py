"""What physics says: expressions, equations, and the pointwise residual that follows from them.

Contract of this folder: an `Equation` is immutable and hashable and holds no numbers; the values of its coefficients are
arguments of everything that evaluates it.  Nothing here knows a domain, a grid or a network.
"""

from jaxsci.equations.equation import Equation as Equation
from jaxsci.equations.equation import equation as equation
from jaxsci.equations.expression import Expression as Expression
from jaxsci.equations.expression import absolute as absolute
from jaxsci.equations.expression import arctan as arctan
from jaxsci.equations.expression import coefficient as coefficient
from jaxsci.equations.expression import coordinate as coordinate
from jaxsci.equations.expression import cos as cos
from jaxsci.equations.expression import cosh as cosh
from jaxsci.equations.expression import erf as erf
from jaxsci.equations.expression import exp as exp
from jaxsci.equations.expression import log as log
from jaxsci.equations.expression import sin as sin
from jaxsci.equations.expression import sinh as sinh
from jaxsci.equations.expression import sqrt as sqrt
from jaxsci.equations.expression import tan as tan
from jaxsci.equations.expression import tanh as tanh
from jaxsci.equations.expression import unknown as unknown
from jaxsci.equations.partials import partial_derivatives as partial_derivatives
from jaxsci.equations.residual import residual as residual
from jaxsci.equations.text import function_of_text as function_of_text
