"""Hard constraints: sets of points, exact differentiable projections on them, and layers that hold physics.

Contract of this folder: a constraint is a frozen dataclass and a pytree with `residual`, `penalty`, `project` and `check`
(`jaxsci.constraints.constraint`); projections are differentiated at their solution, never through their iterations.
"""

from jaxsci.constraints.bonds import Bonds as Bonds
from jaxsci.constraints.constraint import CONVERGED as CONVERGED
from jaxsci.constraints.constraint import Constraint as Constraint
from jaxsci.constraints.constraint import INFEASIBLE as INFEASIBLE
from jaxsci.constraints.constraint import MAX_STEPS as MAX_STEPS
from jaxsci.constraints.constraint import NOT_FINITE as NOT_FINITE
from jaxsci.constraints.constraint import ProjectionInfo as ProjectionInfo
from jaxsci.constraints.constraint import STATUS as STATUS
from jaxsci.constraints.constraint import prepare as prepare
from jaxsci.constraints.constraint import project as project
from jaxsci.constraints.internal_coordinates import from_internal as from_internal
from jaxsci.constraints.internal_coordinates import to_internal as to_internal
from jaxsci.constraints.nonlinear import Nonlinear as Nonlinear
from jaxsci.constraints.polytope import Polytope as Polytope
