"""jaxsci: write the physics once; solve it, learn it, and find out which is worth it."""
from jaxsci import problems
from jaxsci.equations import *
from jaxsci.problems import *
from jaxsci.solvers import *
