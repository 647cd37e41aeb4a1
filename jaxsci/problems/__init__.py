"""Problems: an equation on a domain with conditions, coefficients and a certified reference.

Contract of this folder: a `Problem` says what is to be solved and nothing about how; a `Solution` is what every method
returns.  ``jaxsci.problems.NAME(**coefficients)`` builds a catalogued problem.
"""

from jaxsci._timing import Cost as Cost
from jaxsci.problems.burgers import burgers as burgers
from jaxsci.problems.catalogue import CATALOGUE as CATALOGUE
from jaxsci.problems.catalogue import Entry as Entry
from jaxsci.problems.catalogue import catalogued as catalogued
from jaxsci.problems.conditions import Dirichlet as Dirichlet
from jaxsci.problems.conditions import Mixed as Mixed
from jaxsci.problems.conditions import Neumann as Neumann
from jaxsci.problems.conditions import Outflow as Outflow
from jaxsci.problems.conditions import Periodic as Periodic
from jaxsci.problems.conditions import Robin as Robin
from jaxsci.problems.dispersive import kdv as kdv
from jaxsci.problems.dispersive import kuramoto_sivashinsky as kuramoto_sivashinsky
from jaxsci.problems.domain import Box as Box
from jaxsci.problems.elliptic import helmholtz as helmholtz
from jaxsci.problems.elliptic import poisson as poisson
from jaxsci.problems.families import sorbing_column as sorbing_column
from jaxsci.problems.families import stirred_vorticity as stirred_vorticity
from jaxsci.problems.flow import navier_stokes_velocity as navier_stokes_velocity
from jaxsci.problems.flow import navier_stokes_vorticity as navier_stokes_vorticity
from jaxsci.problems.flow import vortex_mixing as vortex_mixing
from jaxsci.problems.flow_fields import energy_spectrum as energy_spectrum
from jaxsci.problems.flow_fields import stream_function_of as stream_function_of
from jaxsci.problems.flow_fields import vector_potential_of as vector_potential_of
from jaxsci.problems.flow_fields import velocity_of as velocity_of
from jaxsci.problems.flow_fields import vorticity_of as vorticity_of
from jaxsci.problems.formula import Formula as Formula
from jaxsci.problems.fourier_series import FourierSeries as FourierSeries
from jaxsci.problems.geometry import Disc as Disc
from jaxsci.problems.geometry import HalfPlane as HalfPlane
from jaxsci.problems.geometry import Polygon as Polygon
from jaxsci.problems.geometry import Shape as Shape
from jaxsci.problems.geometry import rectangle as rectangle
from jaxsci.problems.manufactured import manufactured as manufactured
from jaxsci.problems.many_dimensions import screened_poisson as screened_poisson
from jaxsci.problems.ode import lorenz as lorenz
from jaxsci.problems.ode import lotka_volterra as lotka_volterra
from jaxsci.problems.ode import robertson as robertson
from jaxsci.problems.porous import diffusion_sorption as diffusion_sorption
from jaxsci.problems.problem import Problem as Problem
from jaxsci.problems.random_fields import gaussian_random_field as gaussian_random_field
from jaxsci.problems.random_fields import random_fourier_series as random_fourier_series
from jaxsci.problems.random_fields import random_velocity as random_velocity
from jaxsci.problems.random_fields import smooth_gaussian_field as smooth_gaussian_field
from jaxsci.problems.random_fields import turbulent_vorticity as turbulent_vorticity
from jaxsci.problems.reaction import allen_cahn as allen_cahn
from jaxsci.problems.reaction import fisher_kpp as fisher_kpp
from jaxsci.problems.reaction import gray_scott as gray_scott
from jaxsci.problems.reaction import gray_scott_spot as gray_scott_spot
from jaxsci.problems.reaction import reaction_diffusion as reaction_diffusion
from jaxsci.problems.reference import Converged as Converged
from jaxsci.problems.reference import Exact as Exact
from jaxsci.problems.shocks import burgers_shock as burgers_shock
from jaxsci.problems.shocks import sod as sod
from jaxsci.problems.solids import Solid as Solid
from jaxsci.problems.solution import Solution as Solution
from jaxsci.problems.solution import saved_times as saved_times
from jaxsci.problems.solve import Method as Method
from jaxsci.problems.solve import solve as solve
from jaxsci.problems.solve import stepper as stepper
from jaxsci.problems.steady_flow import flow_past_two_discs as flow_past_two_discs
from jaxsci.problems.steady_flow import laplace_four_discs as laplace_four_discs
from jaxsci.problems.steady_flow import steady_kovasznay as steady_kovasznay
from jaxsci.problems.steady_flow import steady_lid_driven_cavity as steady_lid_driven_cavity
from jaxsci.problems.steady_flow import steady_regularised_cavity as steady_regularised_cavity
from jaxsci.problems.transport import advection as advection
from jaxsci.problems.transport import heat as heat
from jaxsci.problems.transport import wave as wave
from jaxsci.problems.turbulence import abc_flow as abc_flow
from jaxsci.problems.turbulence import decaying_turbulence as decaying_turbulence
from jaxsci.problems.turbulence import kolmogorov_flow as kolmogorov_flow
from jaxsci.problems.turbulence import shear_decay as shear_decay
from jaxsci.problems.turbulence import taylor_green_3d as taylor_green_3d
from jaxsci.problems.wall_flow import channel as channel
from jaxsci.problems.wall_flow import cylinder as cylinder
from jaxsci.problems.wall_flow import kovasznay as kovasznay
from jaxsci.problems.wall_flow import lid_driven_cavity as lid_driven_cavity


def __getattr__(name: str):
    from jaxsci._checks import unknown_name

    raise AttributeError(unknown_name("problem", name, CATALOGUE))
