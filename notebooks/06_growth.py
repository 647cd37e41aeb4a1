# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a medium to growth, with a differentiable model
#
# Flux balance says how fast a cell can grow on what it takes up. It does not say how fast it takes up what is in the medium: that
# has to be learned, from growth. Here the model is a layer with exact derivatives, and the learning goes through it.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxsci as js

jax.config.update("jax_enable_x64", True)
metabolism = js.metabolism

# %% [markdown]
# ## Growth, and what it is worth to have more of something
#
# The core of *E. coli*'s metabolism, 95 reactions. A medium is a dictionary; values may be arrays, and then so is the answer.

# %%
model = metabolism.load("e_coli_core")
names = ("EX_glc__D_e", "EX_fru_e", "EX_ac_e", "EX_succ_e", "EX_o2_e")
salts = {name: uptake for name, uptake in model.medium.items() if name not in names}


@jax.jit
def balance(uptakes):
    """Flux balance where the five uptakes are limited; [..., 5]."""
    uptakes = jnp.atleast_2d(uptakes)
    medium = {**salts, **{name: uptakes[:, i] for i, name in enumerate(names)}}
    return metabolism.fba(model.with_medium(medium))


random = np.random.default_rng(0)
levels = random.integers(0, 3, (200, 4))
levels[levels[:, :2].sum(1) == 0, 0] = 2  # some sugar
media = jnp.asarray(np.c_[5.0 * levels, np.full(200, 20.0)])
found = balance(media).check()
print(f"200 media: growth {float(found.objective.min()):.3f} to {float(found.objective.max()):.3f} per hour")
places = np.array([model.index(name) for name in names])
print("in the first one, an mmol/gDW/h more is worth:")
for name, price in zip(names, -found.reduced_costs[0, places], strict=True):
    print(f"  {name:12s} {float(price):.4f} / h")

# %% [markdown]
# ## Growth is a least of planes
#
# Each optimum comes with its prices, a plane that lies above growth everywhere and touches it there. A handful of planes is the
# whole function, exact where they reach, and takes microseconds.

# %%
closed = model.with_medium({**salts, **dict.fromkeys(names, 0.0)})
training = jnp.asarray(np.concatenate([media, media[:100] * random.uniform(0.5, 1.2, (100, 5))]))
planes = metabolism.growth_planes(closed, names, training)
new = jnp.asarray(random.uniform(5.0, 10.0, (200, 5)) * np.array([1, 1, 1, 1, 2.0]))
error = np.asarray(planes(new) - balance(new).objective)
print(f"{len(planes.offsets)} planes; 200 new media: {np.mean(np.abs(error) < 1e-9):.0%} exact, worst {error.max():.1e} / h")

# %%
glucose = jnp.linspace(1.0, 15.0, 141)
line = jnp.stack([glucose, *[0 * glucose] * 3, 0 * glucose + 20.0], -1)
figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
ax.plot(glucose, line @ planes.slopes.T + planes.offsets, "0.85")
ax.plot(glucose, planes(line), "k")
ax.set(xlabel="glucose uptake (mmol/gDW/h), oxygen at most 20", ylabel="growth (1/h)", ylim=(0, 1.5))
plt.show()

# %% [markdown]
# ## Learning the uptake
#
# Suppose cells share one capacity of uptake among the sources, and acetate slows all of it. We measure growth alone, in 60 media,
# with 3 % noise, and keep 140 others apart. `NeuralUptake` scales the nominal bounds by a network; `Hybrid` puts flux balance
# behind it. Training goes through the planes, which here are flux balance.


# %%
def truth(medium):
    some = medium[..., :4] > 0
    capacity = 0.9 / (1 + 0.25 * (some.sum(-1) - 1) + 0.3 * some[..., 2])
    return jnp.concatenate([medium[..., :4] * capacity[..., None], medium[..., 4:]], -1)


def q2(predicted, true):
    return float(1 - ((predicted - true) ** 2).sum() / ((true - true.mean()) ** 2).sum())


growth = planes(truth(media)) * (1 + 0.03 * jnp.asarray(random.normal(size=200)))
trained_on, unseen = slice(0, 60), slice(60, 200)
law = metabolism.NeuralUptake(js.networks.MLP((16,)), shared=True, largest=10.0, knowledge=planes)
hybrid = metabolism.Hybrid(closed, names, law)
params = law.init(jax.random.key(0), len(names))
optimiser = optax.adam(optax.cosine_decay_schedule(1e-2, 600))


def loss(params):
    error = planes(hybrid.uptakes(params, media[trained_on])) - growth[trained_on]
    return (error**2).mean() + 1e-5 * sum((leaf**2).sum() for leaf in jax.tree.leaves(params))


@jax.jit
def train(params):
    def step(carried, _):
        params, state = carried
        value, slope = jax.value_and_grad(loss)(params)
        change, state = optimiser.update(slope, state)
        return (optax.apply_updates(params, change), state), value

    (params, _), values = jax.lax.scan(step, (params, optimiser.init(params)), None, length=600)
    return params, values


trained, values = train(params)
for name, predicted in {
    "nominal bounds": planes(media[unseen]),
    "trained hybrid": planes(hybrid.uptakes(trained, media[unseen])),
}.items():
    print(f"{name}: Q2 in media not trained on {q2(predicted, planes(truth(media[unseen]))):6.2f}")

# %% [markdown]
# The hybrid's fluxes are those of flux balance at the learned uptakes: they conserve mass, which a network that was only asked to
# (`flux_loss`) does about as well as its loss is small.

# %%
fluxes = balance(hybrid.uptakes(trained, media)).check().fluxes
print(f"largest |S v|: {float(jnp.abs(fluxes @ model.stoichiometry.T).max()):.1e} mmol/gDW/h")
asked = metabolism.flux_loss(model, weights={"bounds": 0.0})
noisy = fluxes * (1 + 0.01 * random.normal(size=fluxes.shape))
print(f"flux_loss: {float(asked(fluxes).mean()):.0e}; of the same fluxes, each 1 % off: {float(asked(noisy).mean()):.0e}")

# %%
figure, ax = plt.subplots(figsize=(3.5, 3.5), layout="constrained")
predicted = planes(hybrid.uptakes(trained, media))
ax.plot(growth[unseen], predicted[unseen], "r.", label="not seen")
ax.plot(growth[trained_on], predicted[trained_on], "k.", label="trained on")
ax.axline((0.5, 0.5), slope=1, color="0.7", linewidth=0.8)
ax.set(xlabel="measured growth (1/h)", ylabel="hybrid")
ax.legend()
plt.show()

# %% [markdown]
# On real growth, *E. coli* in 110 media, `python benchmarks/metabolism.py --only learning` runs the cross-validation with its
# baselines. There a `GaussianProcessUptake` is in place of the network: with a hundred measurements its few hyperparameters,
# chosen by the evidence, do better, and what flux balance says of a medium makes the difference to a process without it.
