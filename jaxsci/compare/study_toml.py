"""A study in a TOML file: a user's own equation, starts, candidates and grids, each named as in Python."""

from __future__ import annotations

import dataclasses
import inspect
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxsci import networks, surrogates
from jaxsci._checks import listed, unknown_name
from jaxsci._types import Key
from jaxsci.compare.shifts import Shifted
from jaxsci.compare.study import Study
from jaxsci.equations import Equation, function_of_text
from jaxsci.problems import CATALOGUE, Box, Dirichlet, Neumann, Periodic, Problem, random_fields
from jaxsci.solvers import Spectral

STARTS = ("random_fourier_series", "gaussian_random_field", "smooth_gaussian_field", "turbulent_vorticity")
NETWORKS = ("FNO", "FactorisedFNO", "UNet", "ResNet", "Transolver", "GridDeepONet")
BASELINES = ("Persistence", "Mean", "Ridge", "DMD", "ExtendedDMD", "POD", "CoarseSolver")
_SECTIONS = ("name", "problem", "starts", "study", "surrogates", "baselines", "shifts")
_ELSEWHERE = ("name", "family", "surrogates", "baselines", "shifts")  # arguments of Study that [study] does not hold
_SHIFT = ("coefficients", "box", "steps")


class StudyFileError(ValueError):
    """A study file that cannot be used; the message is one line for the user."""


def read_table(path: str | Path) -> dict[str, Any]:
    """The file as a dictionary.

    Raises:
      StudyFileError: it is not there, is no TOML, or has a section that nobody reads.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        raise StudyFileError(f"{path}: no such file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyFileError(f"{path}: not a TOML file ({error}).") from None
    except OSError as error:
        raise StudyFileError(f"{path}: cannot be read ({error.strerror or error}).") from None
    for name in table:
        if name not in _SECTIONS:
            raise StudyFileError(f"{path}: {unknown_name('section', name, _SECTIONS)}")
    for name in ("problem", "study"):
        if not isinstance(table.get(name), dict):
            raise StudyFileError(f"{path}: a section [{name}] is needed.")
    return table


def study_of_file(path: str | Path) -> Study:
    """The study that a file describes; its grammar stands in docs/compare.md.

    [study] has the arguments of `jaxsci.compare.Study` that are numbers or names, ``truth`` and ``data`` as those of
    `jaxsci.Spectral`; ``data`` and ``scored`` may be the paths of files with runs, from the folder of this one.

    Raises:
      StudyFileError: naming the section and the entry.
    Example:
      >>> import tempfile
      >>> from jaxsci.compare.study_toml import study_of_file
      >>> text = '''
      ... [problem]
      ... equation = "u.t + u * u.x = viscosity * u.xx"
      ... domain = {t = [0, 1], x = [0, 6.283185307179586]}
      ... coefficients = {viscosity = 0.1}
      ... [starts]
      ... u = {kind = "random_fourier_series", cutoff = 4, rms = 1.0}
      ... [study]
      ... truth = {n = 128, dt = 0.01}
      ... ladder = [12, 16, 24, 32, 48]
      ... n = 32
      ... dt = 0.1
      ... steps = 10
      ... [surrogates.FNO]
      ... network = "FNO"
      ... modes = [8]
      ... channels = 12
      ... training = {steps = 500}
      ... '''
      >>> with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
      ...     _ = file.write(text), file.flush()
      ...     study = study_of_file(file.name)
      >>> study.ladder, study.surrogates["FNO"].network.modes
      ((12, 16, 24, 32, 48), (8,))
    """
    path, table = Path(path), read_table(path)
    table.setdefault("name", path.stem)
    try:
        rest = dict(table["study"])
        if not table.get("surrogates"):
            raise StudyFileError(
                "there is no surrogate; add a section, as [surrogates.FNO] with network = 'FNO' and modes = [12]."
            )
        from_files = all(isinstance(rest.get(name), str) for name in ("data", "scored"))
        family = family_of(table, random=not from_files or bool(table.get("shifts")))
        solvers = {
            k: _made(Spectral, rest.pop(k), f"[study] {k}")
            for k in ("truth", "data")
            if k in rest and not (k == "data" and isinstance(rest[k], str))
        }
        solvers |= {k: str(path.parent / rest.pop(k)) for k in ("data", "scored") if isinstance(rest.get(k), str)}
        given = {"name": table["name"], "family": family, "surrogates": surrogates_of(table)}
        given |= {"baselines": baselines_of(table), "shifts": _shifts(table)} | solvers
        known = [field.name for field in dataclasses.fields(Study) if field.name not in _ELSEWHERE]
        _nothing_left("[study]", {k: v for k, v in rest.items() if k not in known}, known)
        _check_cutoffs(table, solvers.get("truth"))
        with _named("[study]"):
            return _made(Study, given | rest, "[study]")
    except StudyFileError as error:
        raise StudyFileError(f"{path}: {error}") from None


def _shifts(table: Mapping[str, Any]) -> tuple[Shifted, ...]:
    """Sections [shifts.NAME]: ``coefficients``, ``steps``, or ``box``, a whole number of times the box."""
    made = []
    for name, section in table.get("shifts", {}).items():
        where, rest = f"[shifts.{name}]", _table(f"[shifts.{name}]", section)
        _nothing_left(where, {k: v for k, v in rest.items() if k not in _SHIFT}, _SHIFT)
        if not rest:
            raise StudyFileError(f"{where}: nothing is shifted; give {', '.join(_SHIFT[:-1])} or {_SHIFT[-1]}.")
        coefficients, box = rest.pop("coefficients", {}), rest.pop("box", 1)
        family = None
        if coefficients or box != 1:
            problem = dict(table["problem"])
            problem["coefficients"] = dict(problem.get("coefficients", {})) | coefficients
            if box != 1:
                if "catalogue" in problem or not (isinstance(box, int) and box >= 1):
                    raise StudyFileError(
                        f"{where}: box is a whole number of times the box of an equation given in the file."
                    )
                problem["domain"] = {
                    axis: ends if axis == "t" else [ends[0], ends[0] + box * (ends[1] - ends[0])]
                    for axis, ends in problem["domain"].items()
                }
            try:
                family = family_of(dict(table) | {"problem": problem, "starts": _wider(table.get("starts", {}), box)})
            except StudyFileError as error:
                raise StudyFileError(f"{where}: {str(error).removeprefix('[problem]: ')}") from None
        own = {"family": family, "scale": box} | rest
        made.append(_made(Shifted, {"name": name} | own, where))
    return tuple(made)


def _wider(starts: Mapping[str, Any], box: int) -> dict[str, Any]:
    """The same random fields in a larger box: as many times the wavenumbers."""
    return {
        name: {k: box * v if k == "cutoff" and isinstance(v, int) else v for k, v in given.items()}
        for name, given in starts.items()
    }


def family_of(table: Mapping[str, Any], *, random: bool = True) -> Callable[[Key], Problem]:
    """``key -> Problem`` from the sections [problem] and [starts] of a file.

    [problem] is ``catalogue = "burgers"`` with ``coefficients``, or ``equation`` (a formula, or a list of them), ``unknowns``,
    ``domain`` (an interval for each coordinate), ``coefficients`` (numbers; a pair is an interval from which each run draws),
    ``initial`` (formulas) and ``boundary`` ("periodic", or ``{dirichlet = 0}``, ``{neumann = 0}``). [starts] has, for an unknown,
    a kind of random field and its options, ``u = {kind = "random_fourier_series", cutoff = 5}``, and ``mean``, which is added.

    Args:
      random: whether runs are drawn, so that they must differ; all those of a study may come from files.
    Raises:
      StudyFileError: naming the section and the entry.
    """
    section = dict(table["problem"])
    ranges, fixed = _coefficients(section.pop("coefficients", {}))
    middle = fixed | {name: (low + high) / 2 for name, (low, high) in ranges.items()}
    with _named("[problem]"):
        problem = _problem({"name": table.get("name", "equation")} | section, middle)
    starts = {name: _start(name, start, problem) for name, start in table.get("starts", {}).items()}
    if random and not starts and not ranges:
        raise StudyFileError(
            "[starts]: every run would be the same; give a random start, as u = {kind = 'random_fourier_series', cutoff = 5}, or "
            "an interval for a coefficient."
        )

    def family(key: Key) -> Problem:
        drawn = {
            name: jax.random.uniform(jax.random.fold_in(key, i), minval=low, maxval=high)
            for i, (name, (low, high)) in enumerate(sorted(ranges.items()))
        }
        made = problem.with_coefficients(**drawn) if drawn else problem
        fields = {name: start(jax.random.fold_in(key, 1000 + i)) for i, (name, start) in enumerate(sorted(starts.items()))}
        return made.with_initial(**fields) if fields else made

    return family


def _coefficients(given: Any) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Those that each run draws, and those that are fixed."""
    if not isinstance(given, dict):
        raise StudyFileError("[problem]: coefficients are numbers by name, as {viscosity = 0.02}.")
    ranges, fixed = {}, {}
    for name, value in given.items():
        pair = isinstance(value, list)
        if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in (value if pair else [value])):
            raise StudyFileError(f"[problem]: the coefficient {name} is a number, or a pair [low, high], got {value!r}.")
        if pair and not (len(value) == 2 and value[0] < value[1]):
            raise StudyFileError(
                f"[problem]: the coefficient {name} is drawn from [low, high] with low < high, got {value!r}."
            )
        if pair:
            ranges[name] = (float(value[0]), float(value[1]))
        else:
            fixed[name] = float(value)
    return ranges, fixed


def _problem(section: dict[str, Any], coefficients: dict[str, float]) -> Problem:
    name = section.pop("catalogue", None)
    if name is not None:
        section.pop("name")
        if "equation" in section:
            raise StudyFileError("[problem]: give an equation, or catalogue = 'burgers' for one of the catalogue, not both.")
        if name not in CATALOGUE:
            raise StudyFileError(f"[problem]: {unknown_name('problem', str(name), sorted(CATALOGUE))}")
        _nothing_left("[problem]", section, ("catalogue", "coefficients"))
        return CATALOGUE[name].build(**coefficients)
    entries = ("equation", "unknowns", "domain", "coefficients", "initial", "boundary", "name")
    _nothing_left("[problem]", {k: v for k, v in section.items() if k not in entries}, entries)
    for needed in ("equation", "domain"):
        if needed not in section:
            raise StudyFileError(f"[problem]: {needed} is missing; or give catalogue = 'burgers'.")
    name = str(section.get("name", "equation"))
    equation = Equation(function_of_text(section["equation"]), section.get("unknowns", "u"), name=name)
    if missing := [coefficient for coefficient in equation.coefficients if coefficient not in coefficients]:
        raise StudyFileError(
            f"[problem]: the equation has {listed(missing)}, and coefficients gives {listed(coefficients)}; give a number for "
            "each, and spell them alike."
        )
    components = [u + "_t" * k for u in equation.unknowns for k in range(equation.time_order(u))]
    initial = dict.fromkeys(components, 0) | {
        unknown: function_of_text(value) if isinstance(value, str) else value
        for unknown, value in section.get("initial", {}).items()
    }
    boundary = {axis: _boundary(axis, value) for axis, value in section.get("boundary", {}).items()}
    box = Box(**{axis: _ends(axis, ends) for axis, ends in _table("[problem] domain", section["domain"]).items()})
    return Problem(equation, box, coefficients=coefficients, initial=initial, boundary=boundary, name=name)


def _ends(axis: str, value: Any) -> tuple[float, float]:
    number = lambda v: isinstance(v, int | float) and not isinstance(v, bool)  # noqa: E731
    if not (isinstance(value, list) and len(value) == 2 and all(map(number, value))):
        raise StudyFileError(f"[problem]: the domain of {axis} is an interval, as {axis} = [0, 1], got {value!r}.")
    return value[0], value[1]


def _boundary(axis: str, value: Any) -> Any:
    if value == "periodic":
        return Periodic()
    kinds = {"dirichlet": Dirichlet, "neumann": Neumann}
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in kinds:
        raise StudyFileError(
            f"[problem]: the boundary of {axis} is 'periodic', {{dirichlet = 0}} or {{neumann = 0}}, got {value!r}."
        )
    kind, held = next(iter(value.items()))
    return kinds[kind](function_of_text(held) if isinstance(held, str) else held)


def _start(unknown: str, given: Any, problem: Problem) -> Callable[[Key], Any]:
    options = dict(given) if isinstance(given, dict) else {}
    kind = options.pop("kind", None)
    if kind is None:
        raise StudyFileError(f"[starts]: {unknown} needs a kind, one of {', '.join(STARTS)}.")
    if kind not in STARTS:
        raise StudyFileError(f"[starts] {unknown}: {unknown_name('kind', str(kind), STARTS)}")
    known = [name for name in inspect.signature(getattr(random_fields, kind)).parameters if name not in ("key", "box")]
    _nothing_left(f"[starts] {unknown}", {k: v for k, v in options.items() if k not in (*known, "mean")}, (*known, "mean"))
    mean = options.pop("mean", 0.0)
    if not isinstance(mean, int | float) or isinstance(mean, bool):
        raise StudyFileError(f"[starts] {unknown}: mean is a number, got {mean!r}.")
    draw = lambda key: getattr(random_fields, kind)(key, problem.domain, **options).plus(mean)  # noqa: E731
    with _named(f"[starts] {unknown}"):
        problem.with_initial(**{unknown: draw(jax.random.key(0))})
    return draw


def _check_cutoffs(table: Mapping[str, Any], truth: Any) -> None:
    """The truth's grid holds the waves of the starts."""
    for unknown, given in table.get("starts", {}).items():
        cutoff = given.get("cutoff")
        if isinstance(truth, Spectral) and isinstance(cutoff, int) and isinstance(truth.n, int) and 2 * cutoff >= truth.n:
            raise StudyFileError(
                f"[starts] {unknown}: cutoff = {cutoff} is beyond what the truth resolves, n / 2 = {truth.n // 2}; give fewer "
                "waves, or a finer truth."
            )


def surrogates_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """The candidates of the sections [surrogates.NAME], by name.

    Each has ``network`` (FNO, FactorisedFNO, UNet, ResNet, Transolver, GridDeepONet) with the network's own arguments, and may
    have ``training`` (arguments of `jaxsci.surrogates.Training`), ``numbers``, ``bundle``, ``increment``, and ``corrects``
    (arguments of `jaxsci.Spectral`).
    """
    made = {}
    for name, section in table.get("surrogates", {}).items():
        where = f"[surrogates.{name}]"
        rest = _table(where, section)
        training = _made(surrogates.Training, rest.pop("training", {}), f"{where} training")
        own = {k: rest.pop(k) for k in ("numbers", "bundle", "increment") if k in rest}
        if "corrects" in rest:
            own["corrects"] = _made(Spectral, rest.pop("corrects"), f"{where} corrects")
        kind = rest.pop("network", None)
        if kind is None:
            raise StudyFileError(f"{where}: network is missing; there are {', '.join(NETWORKS)}.")
        if kind not in NETWORKS:
            raise StudyFileError(f"{where}: {unknown_name('network', str(kind), NETWORKS)}")
        network = _made(getattr(networks, kind), rest, where)
        made[name] = _made(surrogates.NetworkSurrogate, own | {"network": network, "training": training}, where)
    return made


def baselines_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """The baselines of the sections [baselines.NAME], by name: ``kind`` and its arguments; the plain ones are always there."""
    made = {}
    for name, section in table.get("baselines", {}).items():
        rest = _table(f"[baselines.{name}]", section)
        kind = rest.pop("kind", None)
        if kind is None:
            raise StudyFileError(f"[baselines.{name}]: kind is missing; there are {', '.join(BASELINES)}.")
        if kind not in BASELINES:
            raise StudyFileError(f"[baselines.{name}]: {unknown_name('kind', str(kind), BASELINES)}")
        made[name] = _made(getattr(surrogates, kind), rest, f"[baselines.{name}]")
    return made


def _table(where: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise StudyFileError(f"{where}: entries by name are needed, as {{name = value}}, got {given!r}.")
    return dict(given)


def _made(kind: Any, given: Any, where: str) -> Any:
    """A frozen dataclass from a table of its arguments."""
    given = _table(where, given)
    known = [field.name for field in dataclasses.fields(kind)]
    _nothing_left(where, {k: v for k, v in given.items() if k not in known}, known)
    needed = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [name for name in needed if name not in given]:
        raise StudyFileError(f"{where}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.")
    with _named(where):
        return kind(**{name: _static(value) for name, value in given.items()})


def _static(value: Any) -> Any:
    return tuple(_static(v) for v in value) if isinstance(value, list) else value


def _nothing_left(where: str, left: Mapping[str, Any], known: Any) -> None:
    for name in left:
        raise StudyFileError(f"{where}: {unknown_name('entry', name, known)}")


class _named:
    """What a constructor says against its arguments, with the place in the file in front."""

    def __init__(self, where: str):
        self.where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ValueError | TypeError | KeyError) and not isinstance(error, StudyFileError):
            raise StudyFileError(f"{self.where}: {error}") from None
