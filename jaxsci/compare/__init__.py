"""Comparison: solver and network on the same physics, at the same points, with their whole cost.

`compare` sets methods against each other on one problem; a `Study` sets surrogates against a ladder of the solver on a family,
a `FunctionStudy` against what evaluates a function.
Contract of this folder: it scores any `Solution`, from whatever method; references come from the problem or from a file.
"""

import sys
import types
from typing import Any

from jaxsci.compare.calibration import PIT as PIT
from jaxsci.compare.calibration import coverage as coverage
from jaxsci.compare.calibration import crps as crps
from jaxsci.compare.calibration import ensemble_pit as ensemble_pit
from jaxsci.compare.calibration import expected_calibration_error as expected_calibration_error
from jaxsci.compare.calibration import gaussian_crps as gaussian_crps
from jaxsci.compare.calibration import gaussian_pit as gaussian_pit
from jaxsci.compare.calibration import pit_histogram as pit_histogram
from jaxsci.compare.calibration import spread_skill as spread_skill
from jaxsci.compare.comparison import Report as Report
from jaxsci.compare.comparison import Row as Row
from jaxsci.compare.comparison import compare as compare
from jaxsci.compare.conservation import conservation_drift as conservation_drift
from jaxsci.compare.conservation import invariants as invariants
from jaxsci.compare.conservation import physics_residual as physics_residual
from jaxsci.compare.field_errors import boundary_rmse as boundary_rmse
from jaxsci.compare.field_errors import conserved_rmse as conserved_rmse
from jaxsci.compare.field_errors import mae as mae
from jaxsci.compare.field_errors import maximum_error as maximum_error
from jaxsci.compare.field_errors import nrmse as nrmse
from jaxsci.compare.field_errors import rmse as rmse
from jaxsci.compare.field_errors import scaled_l2 as scaled_l2
from jaxsci.compare.field_errors import vrmse as vrmse
from jaxsci.compare.function_fits import Fit as Fit
from jaxsci.compare.function_study import FunctionStudy as FunctionStudy
from jaxsci.compare.function_study import run_function_study as run_function_study
from jaxsci.compare.gradient_error import GradientError as GradientError
from jaxsci.compare.gradient_error import gradient_error as gradient_error
from jaxsci.compare.metrics import Samples as Samples
from jaxsci.compare.metrics import correlation as correlation
from jaxsci.compare.metrics import relative_l2 as relative_l2
from jaxsci.compare.predictability import LyapunovExponent as LyapunovExponent
from jaxsci.compare.predictability import correlation_curve as correlation_curve
from jaxsci.compare.predictability import correlation_time as correlation_time
from jaxsci.compare.predictability import lyapunov_exponent as lyapunov_exponent
from jaxsci.compare.predictability import valid_prediction_time as valid_prediction_time
from jaxsci.compare.reference_file import ReferenceFileError as ReferenceFileError
from jaxsci.compare.reference_file import read_reference as read_reference
from jaxsci.compare.shifts import Shifted as Shifted
from jaxsci.compare.spectra import EnergySpectrum as EnergySpectrum
from jaxsci.compare.spectra import energy_spectrum as energy_spectrum
from jaxsci.compare.spectra import fourier_bands as fourier_bands
from jaxsci.compare.spectra import spectrum_error as spectrum_error
from jaxsci.compare.studies import FUNCTION_STUDIES as FUNCTION_STUDIES
from jaxsci.compare.studies import STUDIES as STUDIES
from jaxsci.compare.studies import named_study as named_study
from jaxsci.compare.study import Study as Study
from jaxsci.compare.study import run_study as run_study
from jaxsci.compare.study_files import read_study as read_study
from jaxsci.compare.study_files import save_study as save_study
from jaxsci.compare.study_report import Measurement as Measurement
from jaxsci.compare.study_report import StudyReport as StudyReport
from jaxsci.compare.study_report import Verdict as Verdict
from jaxsci.compare.study_text import study_text as study_text
from jaxsci.compare.study_toml import StudyFileError as StudyFileError
from jaxsci.compare.study_toml import study_of_file as study_of_file
from jaxsci.compare.sweep import Swept as Swept
from jaxsci.compare.sweep import sweep as sweep


class _Callable(types.ModuleType):
    """``jaxsci.compare`` is both this folder and its one verb: ``js.compare(problem, methods)``, ``js.compare(study)``.

    A study is a `Study` of trajectories or a `FunctionStudy`; see `run_study` and `run_function_study` for the options.
    """

    def __call__(self, what: Any, *arguments: Any, **options: Any) -> Report | StudyReport:
        if isinstance(what, Study):
            return run_study(what, *arguments, **options)
        if isinstance(what, FunctionStudy):
            return run_function_study(what, *arguments, **options)
        return compare(what, *arguments, **options)


sys.modules[__name__].__class__ = _Callable
