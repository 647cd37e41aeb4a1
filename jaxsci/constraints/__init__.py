"""Hard constraints: sets of points, exact differentiable projections on them, and layers that hold physics.

Contract of this folder: a constraint is a frozen dataclass and a pytree with `residual`, `penalty`, `project` and `check`
(`jaxsci.constraints.constraint`); projections are differentiated at their solution, never through their iterations.
"""

from jaxsci.constraints.basis_partials import at_places as at_places
from jaxsci.constraints.basis_partials import basis_partials as basis_partials
from jaxsci.constraints.basis_partials import grid_derivative as grid_derivative
from jaxsci.constraints.basis_partials import grid_partials as grid_partials
from jaxsci.constraints.basis_rows import Rows as Rows
from jaxsci.constraints.basis_rows import equation_rows as equation_rows
from jaxsci.constraints.basis_rows import linear_rows as linear_rows
from jaxsci.constraints.bonds import Bonds as Bonds
from jaxsci.constraints.boundary import hold_boundary as hold_boundary
from jaxsci.constraints.boundary import hold_periodic as hold_periodic
from jaxsci.constraints.check_gradient import GradientCheck as GradientCheck
from jaxsci.constraints.check_gradient import check_gradient as check_gradient
from jaxsci.constraints.compose import Intersection as Intersection
from jaxsci.constraints.compose import On as On
from jaxsci.constraints.compose import Parts as Parts
from jaxsci.constraints.condition_rows import condition_rows as condition_rows
from jaxsci.constraints.condition_rows import pde_constraint as pde_constraint
from jaxsci.constraints.cones import PositiveSemidefinite as PositiveSemidefinite
from jaxsci.constraints.cones import SecondOrderCone as SecondOrderCone
from jaxsci.constraints.constraint import CONVERGED as CONVERGED
from jaxsci.constraints.constraint import INFEASIBLE as INFEASIBLE
from jaxsci.constraints.constraint import MAX_STEPS as MAX_STEPS
from jaxsci.constraints.constraint import NOT_FINITE as NOT_FINITE
from jaxsci.constraints.constraint import SADDLE as SADDLE
from jaxsci.constraints.constraint import STATUS as STATUS
from jaxsci.constraints.constraint import Constraint as Constraint
from jaxsci.constraints.constraint import ProjectionInfo as ProjectionInfo
from jaxsci.constraints.constraint import prepare as prepare
from jaxsci.constraints.constraint import project as project
from jaxsci.constraints.curl import divergence_free as divergence_free
from jaxsci.constraints.divergence import DivergenceFreeDiscrete as DivergenceFreeDiscrete
from jaxsci.constraints.divergence import DivergenceFreeSpectral as DivergenceFreeSpectral
from jaxsci.constraints.divergence import flux_divergence as flux_divergence
from jaxsci.constraints.experts import Remembered as Remembered
from jaxsci.constraints.experts import solve_experts as solve_experts
from jaxsci.constraints.integrals import Integral as Integral
from jaxsci.constraints.integrals import hold_integral as hold_integral
from jaxsci.constraints.interfaces import Interfaces as Interfaces
from jaxsci.constraints.internal_coordinates import from_internal as from_internal
from jaxsci.constraints.internal_coordinates import to_internal as to_internal
from jaxsci.constraints.layer import Layer as Layer
from jaxsci.constraints.layer import harden as harden
from jaxsci.constraints.moments import TiltedMoments as TiltedMoments
from jaxsci.constraints.moments import moment_polytope as moment_polytope
from jaxsci.constraints.nonlinear import Nonlinear as Nonlinear
from jaxsci.constraints.pde_layer import PDEConstraint as PDEConstraint
from jaxsci.constraints.polytope import Polytope as Polytope
from jaxsci.constraints.sets import Ball as Ball
from jaxsci.constraints.sets import HalfSpace as HalfSpace
from jaxsci.constraints.sets import Simplex as Simplex
from jaxsci.constraints.shape import Convex as Convex
from jaxsci.constraints.shape import Monotone as Monotone
from jaxsci.constraints.subdomains import join_grid as join_grid
from jaxsci.constraints.subdomains import neighbours as neighbours
from jaxsci.constraints.subdomains import partition_of_unity as partition_of_unity
from jaxsci.constraints.subdomains import rebalanced as rebalanced
from jaxsci.constraints.subdomains import split_grid as split_grid
from jaxsci.constraints.symmetry import Group as Group
from jaxsci.constraints.symmetry import Symmetric as Symmetric
from jaxsci.constraints.symmetry import cyclic_shifts as cyclic_shifts
from jaxsci.constraints.symmetry import quarter_turns as quarter_turns
from jaxsci.constraints.symmetry import reflections as reflections
