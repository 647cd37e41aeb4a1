"""What each network claims: identity at the start, the spread of sines, separability, a partition of unity."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_parameters import random_parameters

from jaxsci.equations import partial_derivatives
from jaxsci.networks import MLP, SIREN, SPINN, DeepONet, FourierFeatures, Mixture, ModifiedMLP, PirateNet

KEY = jax.random.key(11)
Z = jnp.array([0.4, -0.9])

# --- gates ------------------------------------------------------------------------------------------------------------


def test_a_modified_network_is_its_formula():
    network = ModifiedMLP((3, 3))
    p = random_parameters(network, 2, 1)
    u, v = (np.tanh(Z @ p[f"gates/{g}/kernel"] + p[f"gates/{g}/bias"]) for g in "uv")
    h = np.asarray(Z)
    for k in range(2):
        g = np.tanh(h @ p[f"layers/{k}/kernel"] + p[f"layers/{k}/bias"])
        h = g * u + (1 - g) * v
    np.testing.assert_allclose(network.apply(p, Z), h @ p["layers/2/kernel"] + p["layers/2/bias"], rtol=1e-13)


def test_the_blocks_of_a_pirate_are_the_identity_at_the_start():
    embedding = FourierFeatures(count=4)
    network = PirateNet((7, 7, 7), embedding=embedding)
    p = random_parameters(network, 2, 3)
    p |= {name: p[name] * 0 for name in p if name.endswith("alpha")}  # as they start, see below
    apply = jax.jit(network.apply)
    x = embedding.module(2)(Z)
    linear = x @ p["last/kernel"] + p["last/bias"]
    np.testing.assert_allclose(apply(p, Z), linear, rtol=1e-14)
    # the blocks' own weights have no influence yet, but alpha learns
    gradient = jax.jit(jax.grad(lambda p: network.apply(p, Z)[0]))(p)
    assert not any(gradient[name].any() for name in p if name.startswith(("blocks/0/layers", "gates")))
    assert all(abs(float(gradient[f"blocks/{k}/alpha"])) > 1e-4 for k in range(3))
    moved = apply(p | {"blocks/1/alpha": jnp.asarray(0.5)}, Z)
    assert float(jnp.abs(moved - linear).max()) > 1e-2


def test_a_pirate_starts_with_alpha_zero():
    p = PirateNet((2, 2), embedding=None).init(KEY, 1, 1)
    assert [float(p[f"blocks/{k}/alpha"]) for k in range(2)] == [0, 0]
    assert all(v.any() for name, v in p.items() if name.endswith("kernel"))


# --- sines ------------------------------------------------------------------------------------------------------------


def pre_activations(parameters, z, omega, layers):
    """What enters each sine, ``[points, width]`` per layer."""
    out, h = [], np.asarray(z)
    for k in range(layers):
        out.append(omega * (h @ np.asarray(parameters[f"layers/{k}/kernel"]) + np.asarray(parameters[f"layers/{k}/bias"])))
        h = np.sin(out[-1])
    return out


def test_the_activations_of_a_siren_keep_their_spread_with_depth():
    omega = 20.0
    network = SIREN((400,) * 7, omega)
    z = np.random.default_rng(0).uniform(-1, 1, size=(256, 2))
    entering = pre_activations(network.init(KEY, 2, 1), z, omega, 7)
    assert np.sin(entering[0]).var() == pytest.approx(0.5, rel=0.05)
    assert entering[1].var() == pytest.approx(1.0, rel=0.1)
    fixed = 0.7968  # v = 1 - exp(-2 v): the variance of what leaves sin(N(0, v)), times 2
    assert entering[6].var() == pytest.approx(fixed, rel=0.1)
    kurtosis = ((entering[3] - entering[3].mean()) ** 4).mean() / entering[3].var() ** 2
    assert kurtosis == pytest.approx(3.0, abs=0.3), "normal"


def test_a_network_of_sines_with_weights_of_another_kind_loses_its_spread():
    """The negative control: Glorot's weights, without omega in them."""
    sizes = (2, *(400,) * 7)
    random = np.random.default_rng(1)
    p = {f"layers/{k}/kernel": random.normal(size=s) * np.sqrt(2 / sum(s)) for k, s in enumerate(itertools.pairwise(sizes))}
    p |= {f"layers/{k}/bias": np.zeros(400) for k in range(7)}
    z = np.random.default_rng(0).uniform(-1, 1, size=(256, 2))
    assert pre_activations(p, z, 30.0, 7)[6].var() > 100
    assert pre_activations(p, z, 1.0, 7)[6].var() < 0.2


# --- separable --------------------------------------------------------------------------------------------------------

AXES = (jnp.linspace(-1, 1, 4), jnp.linspace(-0.5, 1, 5), jnp.linspace(0, 1, 6))


@pytest.fixture(scope="module")
def spinn():
    network = SPINN(MLP((6,)), rank=4)
    return network, random_parameters(network, 3, 2)


def test_a_separable_network_on_a_grid_is_itself_at_every_point(spinn):
    network, p = spinn
    points = jnp.stack(jnp.meshgrid(*AXES, indexing="ij"), axis=-1).reshape(-1, 3)
    pointwise = jax.jit(jax.vmap(network.apply, (None, 0)))(p, points)
    np.testing.assert_allclose(network.on_grid(p, AXES).reshape(-1, 2), pointwise, rtol=1e-13, atol=1e-15)


def test_derivatives_along_an_axis_of_the_grid_are_those_at_points(spinn):
    network, p = spinn
    points = tuple(column.ravel() for column in np.meshgrid(*AXES, indexing="ij"))
    ones = jnp.ones(5)

    @jax.jit
    def both(p):
        along = lambda x: network.on_grid(p, (AXES[0], x, AXES[2]))
        slope = lambda x: jax.jvp(along, (x,), (ones,))[1]
        pointwise = partial_derivatives(lambda *z: network.apply(p, jnp.stack(z)), points, [(0, 2, 0)])[0, 2, 0]
        return jax.jvp(slope, (AXES[1],), (ones,))[1], pointwise

    got, expected = both(p)
    np.testing.assert_allclose(got.reshape(-1, 2), expected, rtol=1e-12, atol=1e-13)


def test_the_grid_costs_the_sum_of_its_axes_and_not_their_product():
    """Operations of u_xx on 32^3 points as the compiler counts them: factors run 3 x 32 times, and not 32^3."""
    network = SPINN(MLP((64, 64, 64)), rank=16)
    p = random_parameters(network, 3, 1)
    x = jnp.linspace(-1, 1, 32)

    def second(function, x):
        slope = lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1]
        return jax.jvp(slope, (x,), (jnp.ones_like(x),))[1]

    def on_grid(p):
        return second(lambda y: network.on_grid(p, (x, y, x)), x)

    def at_points(p):
        columns = [c.ravel() for c in jnp.meshgrid(x, x, x, indexing="ij")]
        batched = jax.vmap(lambda *z: network.apply(p, jnp.stack(z)))
        return second(lambda y: batched(columns[0], y, columns[2]), columns[1])

    cost = {f: jax.jit(f).lower(p).cost_analysis() for f in (on_grid, at_points)}
    assert cost[at_points]["transcendentals"] > 300 * cost[on_grid]["transcendentals"]
    assert cost[at_points]["flops"] > 30 * cost[on_grid]["flops"]


def test_groups_hold_inputs_together():
    network = SPINN(MLP((6,)), rank=4, groups=(1, 2))
    p = random_parameters(network, 3, 1)
    assert p["1/layers/0/kernel"].shape == (2, 6)
    angle = jnp.linspace(0, 6, 5)
    circle = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    grid = network.on_grid(p, (AXES[0], circle))
    np.testing.assert_allclose(grid[2, 3], network.apply(p, jnp.concatenate([AXES[0][2:3], circle[3]])), rtol=1e-13)


# --- operators --------------------------------------------------------------------------------------------------------


def test_a_deeponet_is_a_sum_of_products_of_branch_and_trunk():
    branch, trunk = MLP((3,)), MLP((4,))
    network = DeepONet(branch, trunk, sensors=3, rank=5)
    p = random_parameters(network, 5, 2)
    s, z = jnp.array([0.1, -0.4, 0.9]), Z
    of_branch, of_trunk = (
        {k.removeprefix(f"{part}/"): v for k, v in p.items() if part in k} for part in ("branch", "trunk")
    )
    weights, basis = branch.apply(of_branch, s).reshape(5, 2), trunk.apply(of_trunk, z).reshape(5, 2)
    np.testing.assert_allclose(
        network.apply(p, jnp.concatenate([s, z])), (weights * basis).sum(axis=0) + p["bias"], rtol=1e-13
    )


# --- mixtures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("windows", "trainable"), [(((5, 1),), True), (((1, 1), (2, 2), (4, 3)), False)])
def test_gates_are_a_partition_of_unity(windows, trainable):
    network = Mixture(MLP((3,)), windows, trainable=trainable)
    p = random_parameters(network, 2, 1)
    z = jax.random.uniform(KEY, (50, 2), minval=-1.2, maxval=1.2)
    gates = jax.jit(jax.vmap(network.gates, (None, 0)))(p, z)
    assert gates.shape == (50, sum(a * b for a, b in windows))
    assert (gates > 0).all()
    np.testing.assert_allclose(gates.sum(axis=1), 1.0, rtol=1e-14)
    # experts that agree are one network: a constant comes back exactly, and its derivatives vanish
    constant = {k: (np.zeros_like(v) if k.startswith("experts/") else v) for k, v in p.items()}
    constant["experts/layers/1/bias"] = constant["experts/layers/1/bias"] + 3.0
    value, slope = jax.jit(lambda p: jax.jvp(lambda z: network.apply(p, z), (Z,), (jnp.ones(2),)))(constant)
    np.testing.assert_allclose(value, 3.0, rtol=1e-14)
    np.testing.assert_allclose(slope, 0.0, atol=1e-13)


def test_an_expert_speaks_in_its_window_and_sees_its_own_coordinates():
    network = Mixture(MLP((3,)), ((4, 1),), overlap=0.25)
    p = random_parameters(network, 2, 1)
    centres = np.array([-0.75, -0.25, 0.25, 0.75])
    for j, centre in enumerate(centres):
        gates = network.gates(p, jnp.array([centre, 0.3]))
        assert int(jnp.argmax(gates)) == j
        assert float(gates[j]) > 0.99
        np.testing.assert_allclose(network.gates(p, jnp.array([centre, -0.9])), gates, rtol=1e-14)  # one window in x
    alone = {k.removeprefix("experts/"): v[2] for k, v in p.items()}
    expected = MLP((3,)).apply(alone, jnp.array([0.0, 0.3]))
    np.testing.assert_allclose(network.apply(p, jnp.array([0.25, 0.3])), expected, atol=0.03)


def test_levels_are_averaged():
    experts = MLP((3,))
    both = Mixture(experts, ((1, 1), (2, 1)))
    p = random_parameters(both, 2, 1)
    coarse, fine = Mixture(experts, ((1, 1),)), Mixture(experts, ((2, 1),))
    first, rest = ({k: v[part] for k, v in p.items()} for part in (slice(0, 1), slice(1, 3)))
    mean, one, two = jax.jit(lambda p, q, r: (both.apply(p, Z), coarse.apply(q, Z), fine.apply(r, Z)))(p, first, rest)
    np.testing.assert_allclose(mean, (one + two) / 2, rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SIREN((4,), omega=0.0), ValueError, r"SIREN: omega must be positive, got 0\.0"),
        (lambda: SIREN(4), ValueError, "SIREN: widths must be a tuple"),
        (lambda: SPINN((4, 4)), TypeError, r"SPINN: factor must be a network, as .* got \(4, 4\)"),
        (lambda: SPINN(MLP((4,)), rank=0), ValueError, "SPINN: rank must be a positive whole number, got 0"),
        (lambda: SPINN(MLP((4,)), groups=(1, 0)), ValueError, r"SPINN: groups must be .* got \(1, 0\)"),
        (
            lambda: SPINN(MLP((4,)), groups=(1, 2)).init(KEY, 2, 1),
            ValueError,
            r"the groups \(1, 2\) have 3 inputs together, but there are 2",
        ),
        (lambda: DeepONet("mlp", MLP((4,)), 1), TypeError, "DeepONet: branch must be a network, as .* got 'mlp'"),
        (lambda: DeepONet(MLP((4,)), MLP((4,)), sensors=0), ValueError, "DeepONet: sensors must be .* got 0"),
        (
            lambda: DeepONet(MLP((4,)), MLP((4,)), sensors=2).init(KEY, 2, 1),
            ValueError,
            "2 of the inputs go to the branch, which leaves none of 2 for the trunk",
        ),
        (lambda: Mixture("mlp", ((2,),)), TypeError, "Mixture: expert must be a network, as .* got 'mlp'"),
        (lambda: Mixture(MLP((4,)), (2, 2)), ValueError, r"Mixture: windows must be a tuple of levels.* got \(2, 2\)"),
        (lambda: Mixture(MLP((4,)), ((2, 2), (4,))), ValueError, r"windows must be .* got \(\(2, 2\), \(4,\)\)"),
        (lambda: Mixture(MLP((4,)), ((2,),), overlap=-1.0), ValueError, r"overlap must be positive, got -1\.0"),
        (lambda: Mixture(MLP((4,)), ((2,),)).init(KEY, 2, 1), ValueError, "windows are given for 1 inputs, but there are 2"),
    ],
)
def test_wrong_options_are_named_before_tracing(make, error, message):
    with pytest.raises(error, match=message):
        make()
