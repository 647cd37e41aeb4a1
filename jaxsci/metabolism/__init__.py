"""Metabolic flux: stoichiometric models, and what flows through them.

- Models: `load`, `save` (SBML, BiGG JSON, cobrapy, by name), `from_equations`; `StoichiometricModel`, a `Network` with bounds and
  objective; `GeneRules`; `summary`, `plot_fluxes`, `save_escher`.
- Flux balance: `fba`, its family (`parsimonious_fba`, `flux_variability`, `moma`, `room`, `single_deletion`, `double_deletion`,
  `production_envelope`, `enzyme_capacity`, `direction_bounds`, `minimal_medium`, `sample`), `one_sided_slopes`, `value_function`;
  beneath, `maximise`: linear programmes in batches.
- Dynamics: `dynamic_fba`, `bioreactor`; kinetic SBML: `load_kinetics`, `simulate_kinetics`, `fit_kinetics`.
- Learning: `flux_loss`, `Hybrid`, `fit_growth`.

Contract of this folder: a model's three vectors are leaves and may be batches; a result has a `status` for every member, NaN
where there is no optimum, and a derivative that is the optimum's and not that of a search.
"""

from jaxsci.metabolism.bioreactor import Bioreactor as Bioreactor
from jaxsci.metabolism.bioreactor import bioreactor as bioreactor
from jaxsci.metabolism.deletions import Deletions as Deletions
from jaxsci.metabolism.deletions import KnockOutPool as KnockOutPool
from jaxsci.metabolism.deletions import double_deletion as double_deletion
from jaxsci.metabolism.deletions import single_deletion as single_deletion
from jaxsci.metabolism.dynamic import DynamicFluxBalance as DynamicFluxBalance
from jaxsci.metabolism.dynamic import Events as Events
from jaxsci.metabolism.dynamic import dynamic_fba as dynamic_fba
from jaxsci.metabolism.envelopes import Envelope as Envelope
from jaxsci.metabolism.envelopes import Robustness as Robustness
from jaxsci.metabolism.envelopes import envelope_corners as envelope_corners
from jaxsci.metabolism.envelopes import production_envelope as production_envelope
from jaxsci.metabolism.envelopes import robustness as robustness
from jaxsci.metabolism.enzymes import EnzymeBalance as EnzymeBalance
from jaxsci.metabolism.enzymes import enzyme_capacity as enzyme_capacity
from jaxsci.metabolism.fba import FluxBalance as FluxBalance
from jaxsci.metabolism.fba import fba as fba
from jaxsci.metabolism.files import load as load
from jaxsci.metabolism.files import save as save
from jaxsci.metabolism.flux_loss import FluxResiduals as FluxResiduals
from jaxsci.metabolism.flux_loss import flux_loss as flux_loss
from jaxsci.metabolism.flux_loss import flux_residuals as flux_residuals
from jaxsci.metabolism.flux_map import escher_fluxes as escher_fluxes
from jaxsci.metabolism.flux_map import plot_fluxes as plot_fluxes
from jaxsci.metabolism.flux_map import save_escher as save_escher
from jaxsci.metabolism.gene_rules import GeneRules as GeneRules
from jaxsci.metabolism.growth_surrogate import GrowthSurrogate as GrowthSurrogate
from jaxsci.metabolism.growth_surrogate import fit_growth as fit_growth
from jaxsci.metabolism.growth_surrogate import growth_planes as growth_planes
from jaxsci.metabolism.growth_surrogate import with_uptakes as with_uptakes
from jaxsci.metabolism.hybrid import Hybrid as Hybrid
from jaxsci.metabolism.hybrid import NeuralUptake as NeuralUptake
from jaxsci.metabolism.kinetic_fit import KineticData as KineticData
from jaxsci.metabolism.kinetic_fit import KineticFit as KineticFit
from jaxsci.metabolism.kinetic_fit import fit_kinetics as fit_kinetics
from jaxsci.metabolism.kinetic_model import KineticModel as KineticModel
from jaxsci.metabolism.kinetic_sbml import load_kinetics as load_kinetics
from jaxsci.metabolism.kinetic_simulation import Trajectory as Trajectory
from jaxsci.metabolism.kinetic_simulation import simulate_kinetics as simulate_kinetics
from jaxsci.metabolism.linear_program import STATUS as STATUS
from jaxsci.metabolism.linear_program import LinearSolution as LinearSolution
from jaxsci.metabolism.linear_program import maximise as maximise
from jaxsci.metabolism.linear_program import starting_vertex as starting_vertex
from jaxsci.metabolism.loopless import is_loopless as is_loopless
from jaxsci.metabolism.loopless import remove_loops as remove_loops
from jaxsci.metabolism.minimal_medium import minimal_medium as minimal_medium
from jaxsci.metabolism.model import StoichiometricModel as StoichiometricModel
from jaxsci.metabolism.moma import Adjustment as Adjustment
from jaxsci.metabolism.moma import moma as moma
from jaxsci.metabolism.moma import room as room
from jaxsci.metabolism.network import Network as Network
from jaxsci.metabolism.parsimonious import ParsimoniousFlux as ParsimoniousFlux
from jaxsci.metabolism.parsimonious import parsimonious_fba as parsimonious_fba
from jaxsci.metabolism.presolve import Presolved as Presolved
from jaxsci.metabolism.presolve import presolve as presolve
from jaxsci.metabolism.reaction_text import from_equations as from_equations
from jaxsci.metabolism.reactor import Reactor as Reactor
from jaxsci.metabolism.reactor import Uptake as Uptake
from jaxsci.metabolism.sampling import FluxSamples as FluxSamples
from jaxsci.metabolism.sampling import sample as sample
from jaxsci.metabolism.sampling_diagnostics import effective_sample_size as effective_sample_size
from jaxsci.metabolism.sampling_diagnostics import potential_scale_reduction as potential_scale_reduction
from jaxsci.metabolism.sbml_file import to_cobra as to_cobra
from jaxsci.metabolism.simplex import INFEASIBLE as INFEASIBLE
from jaxsci.metabolism.simplex import MAX_STEPS as MAX_STEPS
from jaxsci.metabolism.simplex import NOT_FINITE as NOT_FINITE
from jaxsci.metabolism.simplex import OPTIMAL as OPTIMAL
from jaxsci.metabolism.simplex import UNBOUNDED as UNBOUNDED
from jaxsci.metabolism.slopes import Slopes as Slopes
from jaxsci.metabolism.slopes import one_sided_slopes as one_sided_slopes
from jaxsci.metabolism.small_models import diauxic_growth as diauxic_growth
from jaxsci.metabolism.summary import metabolite_summary as metabolite_summary
from jaxsci.metabolism.summary import summary as summary
from jaxsci.metabolism.thermodynamics import EnergyRange as EnergyRange
from jaxsci.metabolism.thermodynamics import direction_bounds as direction_bounds
from jaxsci.metabolism.thermodynamics import energy_ranges as energy_ranges
from jaxsci.metabolism.uptake_process import GaussianProcessUptake as GaussianProcessUptake
from jaxsci.metabolism.uptake_process import UptakeProcess as UptakeProcess
from jaxsci.metabolism.value_function import CertifiedValue as CertifiedValue
from jaxsci.metabolism.value_function import ValueFunction as ValueFunction
from jaxsci.metabolism.value_function import value_function as value_function
from jaxsci.metabolism.variability import FluxRange as FluxRange
from jaxsci.metabolism.variability import flux_variability as flux_variability
