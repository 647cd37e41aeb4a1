"""Metabolic flux: stoichiometric models, and what flows through them.

- `load`, `save`: models from SBML, BiGG JSON, cobrapy or by name; `from_equations` for small ones; `to_cobra`.
- `StoichiometricModel`: a `Network` with bounds and objective, a pytree; `GeneRules`: which reactions are left without genes.
"""

from jaxsci.metabolism.fba import FluxBalance as FluxBalance
from jaxsci.metabolism.fba import fba as fba
from jaxsci.metabolism.files import load as load
from jaxsci.metabolism.files import save as save
from jaxsci.metabolism.flux_map import escher_fluxes as escher_fluxes
from jaxsci.metabolism.flux_map import plot_fluxes as plot_fluxes
from jaxsci.metabolism.flux_map import save_escher as save_escher
from jaxsci.metabolism.gene_rules import GeneRules as GeneRules
from jaxsci.metabolism.linear_program import STATUS as STATUS
from jaxsci.metabolism.linear_program import LinearSolution as LinearSolution
from jaxsci.metabolism.linear_program import maximise as maximise
from jaxsci.metabolism.linear_program import starting_vertex as starting_vertex
from jaxsci.metabolism.model import StoichiometricModel as StoichiometricModel
from jaxsci.metabolism.network import Network as Network
from jaxsci.metabolism.reaction_text import from_equations as from_equations
from jaxsci.metabolism.sbml_file import to_cobra as to_cobra
from jaxsci.metabolism.simplex import INFEASIBLE as INFEASIBLE
from jaxsci.metabolism.simplex import MAX_STEPS as MAX_STEPS
from jaxsci.metabolism.simplex import NOT_FINITE as NOT_FINITE
from jaxsci.metabolism.simplex import OPTIMAL as OPTIMAL
from jaxsci.metabolism.simplex import UNBOUNDED as UNBOUNDED
from jaxsci.metabolism.summary import metabolite_summary as metabolite_summary
from jaxsci.metabolism.summary import summary as summary
