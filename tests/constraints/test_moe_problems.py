"""The settings of benchmarks/constraints_moe.py: their data solve the equations, their windows add up, their training trains."""

import dataclasses
import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.networks import FNO

FOLDER = str(Path(__file__).parents[2] / "benchmarks")


def load(name):
    sys.path.insert(0, FOLDER)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(FOLDER)


problems, benchmark = load("moe_problems"), load("constraints_moe")
SMALL = FNO(modes=(3, 3), channels=6, layers=2)
COLUMN = problems.Column(functions=4, times=13, intervals=24, network=SMALL, rate=1e-2)
VORTICES = problems.Vortices(fields=2, powers=3, n=18, times=5, sampled=64, along=2, network=SMALL, rate=1e-2)


def size(values):
    return float(jnp.sqrt(jnp.mean(values**2)))


@pytest.mark.slow
def test_the_columns_data_solve_its_equations_to_the_grids_accuracy():
    keys = jax.random.split(jax.random.key(0), 1)
    found = {}
    for times, intervals in ((17, 32), (33, 64)):
        setting = problems.Column(times=times, intervals=intervals)
        truth, start = setting.truth(keys, 256)[0], setting.start(keys[0])
        equation, begin, inflow, outflow = setting.residual(jnp.asarray(truth), start)
        assert max(size(begin), size(inflow), size(outflow)) < 2e-4
        found[times] = size(equation)
        wrong = setting.residual(jnp.asarray(truth) * (1 + 0.5 * setting.s[:, None] / setting.s[-1]), start)[0]
        assert size(wrong) > 5 * found[times]
    assert found[33] < 0.5 * found[17]
    assert found[33] < 5e-3


@pytest.mark.slow
def test_the_vortices_data_solve_the_equation_to_the_polynomials_accuracy():
    setting = problems.Vortices(powers=6)
    keys = jax.random.split(jax.random.key(0), 1)
    truth, start = setting.truth(keys)[0], setting.start(keys[0])
    times = np.append(setting.tau, 1.0)[:, None] ** np.arange(1, 7)
    field = np.linalg.lstsq(times, (truth - start).reshape(9, -1), rcond=None)[0].reshape(6, 32, 32)
    (equation,) = setting.residual(jnp.asarray(field), start)
    (still,) = setting.residual(jnp.zeros_like(field), start)
    assert size(equation) < 0.05 * size(still)


@pytest.mark.slow
@pytest.mark.parametrize("setting", [COLUMN, VORTICES], ids=lambda s: s.name)
def test_windows_add_up_and_reproduce_the_single_solve(setting):
    np.testing.assert_allclose(setting.windows.sum(axis=0), 1.0, atol=1e-14)
    np.testing.assert_allclose(setting.mask.sum(axis=0), 1.0)
    start = setting.start(jax.random.key(1))
    random = np.random.default_rng(0)
    shape = (4, 13, 25) if setting is COLUMN else (3, 2, 18, 18)
    basis = random.normal(size=shape)
    basis = jnp.asarray(basis - basis.mean(axis=(-2, -1), keepdims=True) * (setting is VORTICES))
    omega = random.normal(size=setting.functions)
    blended = setting.blend(basis)
    by_power = omega.reshape(1, 1, 4) if setting is COLUMN else omega.reshape(3, 1, 2)
    repeated = np.tile(by_power, (1, 4, 1)).ravel()
    single = setting.field(basis, jnp.asarray(omega), start)
    np.testing.assert_allclose(setting.field(blended, jnp.asarray(repeated), start), single, atol=1e-12)
    copies = jnp.broadcast_to(single, (setting.experts, *single.shape))
    np.testing.assert_allclose(setting.assemble(copies), single, atol=1e-12)
    assert float(setting.jump(single, start)) == 0
    assert float(setting.jump(copies * jnp.arange(1.0, 5.0).reshape(-1, *(1,) * single.ndim), start)) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("setting", [COLUMN, VORTICES], ids=lambda s: s.name)
def test_the_rows_are_the_residual_of_the_field(setting):
    """Two ways to one number: rows by the catalogued equation, and the setting's own residual on the grid."""
    start = setting.start(jax.random.key(2))
    shape = (4, 13, 25) if setting is COLUMN else (3, 2, 18, 18)
    basis = setting.basis(setting.init(jax.random.key(0)), start)
    assert basis.shape == shape
    omega = jnp.asarray(np.random.default_rng(1).normal(size=setting.functions))
    row = setting.rows(basis, start)[0]
    found = row.values(omega)[0] * np.sqrt(row.weight.shape[-1])
    equation = setting.residual(setting.field(basis, omega, start), start)[0]
    if setting is COLUMN:
        expected = equation[:, :-1].ravel()
    else:
        expected = equation.reshape(len(equation), -1)[:, setting.sample.ravel()].ravel()
    np.testing.assert_allclose(found, expected, atol=1e-9 * float(jnp.abs(expected).max()))
    parts = js.constraints.PDEConstraint(setting.rows(basis, start, split=True)[:1])
    each = parts.residual(jnp.broadcast_to(omega, (setting.experts, len(omega))))
    assert each.shape[0] == setting.experts
    np.testing.assert_allclose(np.sort(each.ravel()) * np.sqrt(each.shape[1]), np.sort(found), atol=1e-9 * size(found))


@pytest.mark.parametrize("setting", [COLUMN, pytest.param(VORTICES, marks=pytest.mark.slow)], ids=lambda s: s.name)
def test_training_lowers_the_loss(setting):
    _, losses = benchmark.train(setting, "soft", 40, 0, batch=2)
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:5])  # means: a loss is that of two members drawn anew


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hard", "experts", "mixture"])
def test_training_through_the_solve_lowers_the_loss(kind):
    setting = dataclasses.replace(COLUMN, rate=3e-3)
    _, losses = benchmark.train(setting, kind, 20, 0, batch=2)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.6 * losses[0]


@pytest.mark.slow
def test_a_hard_column_holds_its_equation_better_than_its_network_knows():
    """The mixture's span contains that of the single solve: its least squares cannot be larger."""
    start, costs = COLUMN.start(jax.random.key(3)), {}
    network = COLUMN.init(jax.random.key(0))
    basis = COLUMN.basis(network, start)
    for kind, functions in {"hard": basis, "mixture": COLUMN.blend(basis)}.items():
        rows = COLUMN.rows(functions, start)[:-1]  # without the ridge
        constraint = js.constraints.PDEConstraint(rows)
        omega, info = js.constraints.project(constraint, jnp.zeros(rows[0].size))
        assert info.converged
        costs[kind] = float(constraint.penalty(omega))
    assert costs["mixture"] < costs["hard"]
