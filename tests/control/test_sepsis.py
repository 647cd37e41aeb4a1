"""The sepsis table: files in the published layout, files that are broken, and the synthetic one."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.control.constrained_tables import constrained_policy, lagrangian_policy
from jaxsci.control.systems.sepsis import read_sepsis, synthetic_sepsis
from jaxsci.control.tables import TabularMDP

SMALL = {"states": 9, "actions": 4}


@pytest.fixture(scope="module")
def tables():
    """A table of the published layout: rewards of transitions into survival, 6 states of patients, 2 x 2 levels."""
    table = synthetic_sepsis(3, severities=6, levels=2)
    rewards = np.zeros((9, 4, 9))
    rewards[:6, :, 7] = 1.0
    return table, {
        "tx_mat": np.asarray(table.mdp.transitions),
        "r_mat": rewards,
        "d_0": np.asarray(table.mdp.start),
        "expert_policy": np.where(
            np.arange(9)[:, None] < 6, np.asarray(table.behaviour), 0.0
        ),  # zeros at the ends, as published
    }


def written(folder, arrays):
    for name, array in arrays.items():
        np.savetxt(folder / f"{name}.csv", array.reshape(-1, array.shape[-1]), delimiter=",", fmt="%.17g")
    return folder


def test_both_layouts_are_read_to_the_same_table(tables, tmp_path):
    table, arrays = tables
    np.savez(tmp_path / "dynamics.npz", **arrays)
    for source in (tmp_path / "dynamics.npz", written(tmp_path, arrays)):
        found = read_sepsis(source, **SMALL)
        np.testing.assert_allclose(found.mdp.transitions, table.mdp.transitions, atol=1e-15)
        np.testing.assert_allclose(found.mdp.costs, table.mdp.costs, atol=1e-15)
        np.testing.assert_allclose(found.mdp.start, table.mdp.start, atol=1e-15)
        np.testing.assert_allclose(found.behaviour[:6], table.behaviour[:6], atol=1e-15)
        np.testing.assert_allclose(found.behaviour[6:], 0.25, atol=1e-15)
        np.testing.assert_array_equal(found.vasopressors[0], [0, 1, 0, 1])  # number = levels * fluids + vasopressors
        np.testing.assert_array_equal(found.vasopressors[6:], 0)
        assert found.mdp.discount == 1
        found.mdp.check()


def test_the_published_archive_of_csv_files_is_read_to_the_same_table(tables, tmp_path):
    """Its names, its rows (state x actions + action), and its reward as one row: that of the state that is entered."""
    table, arrays = tables
    rewards = np.eye(9)[7:8]
    named = {
        "transitionFunction": arrays["tx_mat"],
        "rewardFunction": rewards,
        "initialStateDistribution": arrays["d_0"][None],
        "expertPolicy": arrays["expert_policy"],
    }
    found = read_sepsis(written(tmp_path, named), **SMALL)
    np.testing.assert_allclose(found.mdp.transitions, table.mdp.transitions, atol=1e-15)
    np.testing.assert_allclose(found.mdp.costs, table.mdp.costs, atol=1e-15)
    np.testing.assert_allclose(found.mdp.start, table.mdp.start, atol=1e-15)
    np.testing.assert_allclose(found.behaviour[:6], table.behaviour[:6], atol=1e-15)
    (tmp_path / "rewardFunction.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no 'rewardFunction\.csv'"):
        read_sepsis(tmp_path, **SMALL)


def test_the_folder_of_the_package_is_read_by_its_npz(tables, tmp_path):
    table, arrays = tables
    (tmp_path / "admissible_actions.txt").write_text("4 4\n")
    (tmp_path / "metadata.json").write_text("{}")
    np.savez_compressed(
        tmp_path / "dynamics.npz", **arrays, sofa_scores=np.zeros(9), state_cluster_centers=np.zeros((9, 47))
    )
    np.testing.assert_allclose(read_sepsis(tmp_path, **SMALL).mdp.costs, table.mdp.costs, atol=1e-15)


def test_zeros_before_the_end_are_no_policy(tables, tmp_path):
    _, arrays = tables
    hole = arrays["expert_policy"].copy()
    hole[2] = 0
    np.savez(tmp_path / "hole.npz", **arrays | {"expert_policy": hole})
    with pytest.raises(ValueError, match=r"expert_policy .* must hold probabilities: .* sum at \(2,\) is 0"):
        read_sepsis(tmp_path / "hole.npz", **SMALL)


def test_without_a_policy_of_clinicians_there_is_none(tables, tmp_path):
    _, arrays = tables
    np.savez(tmp_path / "a.npz", **{name: array for name, array in arrays.items() if name != "expert_policy"})
    assert read_sepsis(tmp_path / "a.npz", **SMALL).behaviour is None


def test_files_that_are_refused(tables, tmp_path):
    _, arrays = tables

    def refused(error, message, **changes):
        arrays_now = {name: array for name, array in (arrays | changes).items() if array is not None}
        np.savez(tmp_path / "bad.npz", **arrays_now)
        with pytest.raises(error, match=message):
            read_sepsis(tmp_path / "bad.npz", **SMALL)

    tx = arrays["tx_mat"]
    refused(FileNotFoundError, "has no 'r_mat'", r_mat=None)
    refused(ValueError, r"tx_mat .* has shape \(9, 4, 8\); wanted is \(9, 4, 9\)", tx_mat=tx[..., :8])
    hole = tx.copy()
    hole[0, 0, 5] = np.nan
    refused(ValueError, "has 1 numbers that are not finite", tx_mat=hole)
    refused(ValueError, "must hold probabilities: .* the sum at", tx_mat=tx * 0.9)
    refused(ValueError, "must hold probabilities", d_0=arrays["d_0"] * 2)
    refused(ValueError, "must have numbers", d_0=np.array(["a"] * 9))
    negative = tx.copy()
    negative[0, 0, :2] += -1, 1
    refused(ValueError, "must hold probabilities: least -", tx_mat=negative)


def test_half_a_file_is_no_table(tables, tmp_path):
    _, arrays = tables
    np.savez(tmp_path / "whole.npz", **arrays)
    whole = (tmp_path / "whole.npz").read_bytes()
    for share in (0.02, 0.5, 0.95):
        (tmp_path / "half.npz").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="can be read to its end"):
            read_sepsis(tmp_path / "half.npz", **SMALL)
    folder = written(tmp_path, arrays)
    text = (folder / "tx_mat.csv").read_text().splitlines()
    (folder / "tx_mat.csv").write_text("\n".join(text[:-1]))
    with pytest.raises(ValueError, match=r"tx_mat .* has shape \(35, 9\)"):
        read_sepsis(folder, **SMALL)
    (folder / "tx_mat.csv").write_text("\n".join([*text[:-1], text[-1][:8]]))
    with pytest.raises(ValueError, match="is no table of numbers"):
        read_sepsis(folder, **SMALL)
    (folder / "tx_mat.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no 'tx_mat\.csv'"):
        read_sepsis(folder, **SMALL)
    with pytest.raises(FileNotFoundError, match="there is no"):
        read_sepsis(tmp_path / "nothing.npz")
    with pytest.raises(ValueError, match="no square of levels"):
        read_sepsis(folder, states=9, actions=5)


def test_the_synthetic_table():
    table, again, other = synthetic_sepsis(0), synthetic_sepsis(0), synthetic_sepsis(1)
    np.testing.assert_array_equal(table.mdp.transitions, again.mdp.transitions)
    assert np.abs(table.mdp.transitions - other.mdp.transitions).max() > 0.05
    table.mdp.check()
    # Undiscounted, a value is a probability of survival: what clinicians do is better than chance, the optimum than both.
    none = np.zeros((0, *table.mdp.costs.shape))
    best = -constrained_policy(table.mdp, none, np.zeros(0)).value
    survival = [
        survives(table.mdp, policy) for policy in (np.full(table.mdp.costs.shape, 1 / 9), np.asarray(table.behaviour))
    ]
    assert 0.2 < survival[0] < survival[1] < best < 1
    with pytest.raises(ValueError, match="severities >= 4"):
        synthetic_sepsis(severities=2)


def survives(mdp: TabularMDP, policy):
    """By walking 2000 steps of the distribution: nothing in common with the solvers."""
    state, total = np.asarray(mdp.start), 0.0
    flow, gain = np.einsum("sa,sat->st", policy, mdp.transitions), -np.sum(policy * np.asarray(mdp.costs), axis=1)
    for _ in range(2000):
        state, total = state @ flow, total + state @ gain
    return total


def test_fewer_vasopressors_cost_survival_and_no_more_than_they_must():
    table = synthetic_sepsis(0)
    free = constrained_policy(table.mdp, table.vasopressors, 100.0)
    values = []
    for share in (0.8, 0.5, 0.2):
        limit = share * free.spent[0]
        truth, found = (solve(table.mdp, table.vasopressors, limit) for solve in (constrained_policy, lagrangian_policy))
        assert abs(found.value - truth.value) <= 0.005 * abs(truth.value)
        assert found.violations.max() <= 1e-3
        assert found.multipliers[0] > 0
        np.testing.assert_allclose(-survives(table.mdp, found.policy), found.value, rtol=1e-9)
        values.append(found.value)
    assert free.value < values[0] < values[1] < values[2]
    assert jnp.all(table.vasopressors >= 0)
