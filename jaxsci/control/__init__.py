"""Decisions inside scientific dynamics: one task, and every algorithm takes it.

- `Task`: dynamics, cost, constraint, start: pure functions of any pytrees, with parameters as leaves.
- dynamics: `ode`, `actuated` and `pushed` (an equation of the catalogue with actuators), `mixed`.
- policies: any function ``(params, observation) -> action``; `NetworkPolicy`, `GaussianPolicy`, `CategoricalPolicy`, `sequence`.
- `rollout`, `objective`: many members at once, and the gradient with the memory that you choose.
- algorithms: `analytic_policy_gradient`.
"""

from jaxsci.control.dynamics import Actuated as Actuated
from jaxsci.control.dynamics import actuated as actuated
from jaxsci.control.dynamics import mixed as mixed
from jaxsci.control.dynamics import ode as ode
from jaxsci.control.dynamics import pushed as pushed
from jaxsci.control.guards import GradientReport as GradientReport
from jaxsci.control.guards import gradient_report as gradient_report
from jaxsci.control.lagrangian import AugmentedLagrangian as AugmentedLagrangian
from jaxsci.control.lagrangian import PIDLagrangian as PIDLagrangian
from jaxsci.control.model_comparison import ModelComparison as ModelComparison
from jaxsci.control.model_comparison import ModelRow as ModelRow
from jaxsci.control.model_comparison import compare as compare
from jaxsci.control.objective import Aux as Aux
from jaxsci.control.objective import objective as objective
from jaxsci.control.policies import CategoricalPolicy as CategoricalPolicy
from jaxsci.control.policies import GaussianPolicy as GaussianPolicy
from jaxsci.control.policies import NetworkPolicy as NetworkPolicy
from jaxsci.control.policies import StochasticPolicy as StochasticPolicy
from jaxsci.control.policies import sequence as sequence
from jaxsci.control.policy_gradient import PolicySearch as PolicySearch
from jaxsci.control.policy_gradient import analytic_policy_gradient as analytic_policy_gradient
from jaxsci.control.rollout import Rollout as Rollout
from jaxsci.control.rollout import rollout as rollout
from jaxsci.control.surrogate import Surrogate as Surrogate
from jaxsci.control.surrogate import SurrogateFit as SurrogateFit
from jaxsci.control.surrogate import fit_surrogate as fit_surrogate
from jaxsci.control.surrogate import with_surrogate as with_surrogate
from jaxsci.control.task import Task as Task
from jaxsci.control.through import bernoulli_through as bernoulli_through
from jaxsci.control.through import categorical_through as categorical_through
from jaxsci.control.through import round_through as round_through
from jaxsci.control.through import through as through
