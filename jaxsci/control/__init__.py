"""Decisions inside scientific dynamics: one task, and every algorithm takes it.

- `Task`: dynamics, cost, constraint, start: pure functions of any pytrees, with parameters as leaves; `systems`: named ones.
- dynamics: `ode`, `actuated` and `pushed` (an equation of the catalogue with actuators), `mixed`; learned ones: `Surrogate`,
  `Metamodel` (an equation with a network in it), Gaussian processes (`regress`, `process_dynamics`).
- policies: any function ``(params, observation) -> action``; `NetworkPolicy`, `GaussianPolicy`, `CategoricalPolicy`, `sequence`.
- `rollout`, `objective`: many members at once, and the gradient with the memory that you choose; `gradient_report`.
- learning: `analytic_policy_gradient`, `shac`, `ppo`, `evolution_strategy`, `pgpe`.
- planning: `ilqr` (differentiable), `mppi`, `cem`, `RecedingHorizon`, `tree_search`.
- tables and grids: `TabularMDP`, `policy_iteration`, `discretised`, `process_programming`, `constrained_policy`.
- from data: `behaviour_cloning`, `conservative_q`, `implicit_q`, `fit_guardian`, `guarded_policy`.
- beliefs: `stopping_values`, `stopping_task`, `linear_gaussian_information`, `greedy_design`.
- `compare`: the policy found on a surrogate, paid on the solver.
"""

from jaxsci.control import systems as systems
from jaxsci.control.behaviour_cloning import behaviour_cloning as behaviour_cloning
from jaxsci.control.conservative_q import ActionValue as ActionValue
from jaxsci.control.conservative_q import conservative_q as conservative_q
from jaxsci.control.constrained_tables import ConstrainedPolicy as ConstrainedPolicy
from jaxsci.control.constrained_tables import constrained_policy as constrained_policy
from jaxsci.control.constrained_tables import lagrangian_policy as lagrangian_policy
from jaxsci.control.critic import Critic as Critic
from jaxsci.control.datasets import Transitions as Transitions
from jaxsci.control.datasets import cost_to_go as cost_to_go
from jaxsci.control.datasets import records as records
from jaxsci.control.datasets import split_by_episode as split_by_episode
from jaxsci.control.datasets import transitions as transitions
from jaxsci.control.dynamics import Actuated as Actuated
from jaxsci.control.dynamics import actuated as actuated
from jaxsci.control.dynamics import mixed as mixed
from jaxsci.control.dynamics import ode as ode
from jaxsci.control.dynamics import pushed as pushed
from jaxsci.control.evolution import evolution_strategy as evolution_strategy
from jaxsci.control.evolution import pgpe as pgpe
from jaxsci.control.gaussian_process import ProcessPosterior as ProcessPosterior
from jaxsci.control.gaussian_process import Regression as Regression
from jaxsci.control.gaussian_process import Samples as Samples
from jaxsci.control.gaussian_process import SquaredExponential as SquaredExponential
from jaxsci.control.gaussian_process import log_grid as log_grid
from jaxsci.control.gaussian_process import metropolis as metropolis
from jaxsci.control.gaussian_process import process_dynamics as process_dynamics
from jaxsci.control.gaussian_process import regress as regress
from jaxsci.control.gaussian_process import sampled as sampled
from jaxsci.control.gaussian_process import weighted as weighted
from jaxsci.control.gp_programming import process_programming as process_programming
from jaxsci.control.gp_programming import process_shares as process_shares
from jaxsci.control.grid_programming import GridPolicy as GridPolicy
from jaxsci.control.grid_programming import binned as binned
from jaxsci.control.grid_programming import discretised as discretised
from jaxsci.control.grid_programming import gauss_hermite as gauss_hermite
from jaxsci.control.grid_programming import interpolated as interpolated
from jaxsci.control.grid_programming import lognormal as lognormal
from jaxsci.control.grid_programming import normal as normal
from jaxsci.control.grid_programming import points as points
from jaxsci.control.guardian import Guardian as Guardian
from jaxsci.control.guardian import fit_guardian as fit_guardian
from jaxsci.control.guardian import guarded as guarded
from jaxsci.control.guardian import outside_share as outside_share
from jaxsci.control.guards import GradientReport as GradientReport
from jaxsci.control.guards import gradient_report as gradient_report
from jaxsci.control.ilqr import PLAN_STATUS as PLAN_STATUS
from jaxsci.control.ilqr import Plan as Plan
from jaxsci.control.ilqr import ilqr as ilqr
from jaxsci.control.ilqr import track as track
from jaxsci.control.implicit_q import ImplicitValues as ImplicitValues
from jaxsci.control.implicit_q import implicit_q as implicit_q
from jaxsci.control.information import GreedyDesign as GreedyDesign
from jaxsci.control.information import InformationEstimate as InformationEstimate
from jaxsci.control.information import greedy_design as greedy_design
from jaxsci.control.information import linear_gaussian_information as linear_gaussian_information
from jaxsci.control.information import linear_gaussian_posterior as linear_gaussian_posterior
from jaxsci.control.information import nested_information as nested_information
from jaxsci.control.lagrangian import AugmentedLagrangian as AugmentedLagrangian
from jaxsci.control.lagrangian import PIDLagrangian as PIDLagrangian
from jaxsci.control.metamodel import Metamodel as Metamodel
from jaxsci.control.metamodel import MetamodelFit as MetamodelFit
from jaxsci.control.metamodel import fit_metamodel as fit_metamodel
from jaxsci.control.metamodel import metamodel as metamodel
from jaxsci.control.metamodel import metamodel_dynamics as metamodel_dynamics
from jaxsci.control.metamodel import steady_state as steady_state
from jaxsci.control.model_comparison import ModelComparison as ModelComparison
from jaxsci.control.model_comparison import ModelRow as ModelRow
from jaxsci.control.model_comparison import compare as compare
from jaxsci.control.objective import Aux as Aux
from jaxsci.control.objective import objective as objective
from jaxsci.control.offline_models import DynamicsEnsemble as DynamicsEnsemble
from jaxsci.control.offline_models import GuardedSearch as GuardedSearch
from jaxsci.control.offline_models import fit_dynamics as fit_dynamics
from jaxsci.control.offline_models import guarded_policy as guarded_policy
from jaxsci.control.offline_models import model_task as model_task
from jaxsci.control.policies import CategoricalPolicy as CategoricalPolicy
from jaxsci.control.policies import GaussianPolicy as GaussianPolicy
from jaxsci.control.policies import NetworkPolicy as NetworkPolicy
from jaxsci.control.policies import StochasticPolicy as StochasticPolicy
from jaxsci.control.policies import sequence as sequence
from jaxsci.control.policy_gradient import PolicySearch as PolicySearch
from jaxsci.control.policy_gradient import analytic_policy_gradient as analytic_policy_gradient
from jaxsci.control.ppo import ppo as ppo
from jaxsci.control.receding_horizon import RecedingHorizon as RecedingHorizon
from jaxsci.control.receding_horizon import sequence_of_one as sequence_of_one
from jaxsci.control.returns import advantages as advantages
from jaxsci.control.returns import lambda_returns as lambda_returns
from jaxsci.control.returns import n_step_returns as n_step_returns
from jaxsci.control.rollout import Rollout as Rollout
from jaxsci.control.rollout import rollout as rollout
from jaxsci.control.sampling_planners import cem as cem
from jaxsci.control.sampling_planners import mppi as mppi
from jaxsci.control.shac import shac as shac
from jaxsci.control.stopping import SequentialTest as SequentialTest
from jaxsci.control.stopping import StoppingValues as StoppingValues
from jaxsci.control.stopping import bernoulli_test as bernoulli_test
from jaxsci.control.stopping import stopping_values as stopping_values
from jaxsci.control.stopping import wald_cost as wald_cost
from jaxsci.control.stopping import wald_threshold as wald_threshold
from jaxsci.control.stopping_task import ConfidenceThreshold as ConfidenceThreshold
from jaxsci.control.stopping_task import query_task as query_task
from jaxsci.control.stopping_task import stopping_task as stopping_task
from jaxsci.control.surrogate import Surrogate as Surrogate
from jaxsci.control.surrogate import SurrogateFit as SurrogateFit
from jaxsci.control.surrogate import fit_surrogate as fit_surrogate
from jaxsci.control.surrogate import with_surrogate as with_surrogate
from jaxsci.control.tables import FiniteHorizonSolution as FiniteHorizonSolution
from jaxsci.control.tables import TabularMDP as TabularMDP
from jaxsci.control.tables import TabularSolution as TabularSolution
from jaxsci.control.tables import finite_horizon as finite_horizon
from jaxsci.control.tables import occupancy as occupancy
from jaxsci.control.tables import policy_evaluation as policy_evaluation
from jaxsci.control.tables import policy_iteration as policy_iteration
from jaxsci.control.tables import value_iteration as value_iteration
from jaxsci.control.task import Task as Task
from jaxsci.control.through import bernoulli_through as bernoulli_through
from jaxsci.control.through import categorical_through as categorical_through
from jaxsci.control.through import round_through as round_through
from jaxsci.control.through import through as through
from jaxsci.control.tree_search import Search as Search
from jaxsci.control.tree_search import tree_search as tree_search
