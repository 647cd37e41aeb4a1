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
# # A fishery with a tipping point
#
# A stock that falls below a threshold dies out by itself. How much may be caught, by somebody who knows the equation, by somebody
# who has forty years of data and no equation, and by a network trained through the model? One task serves all of them.
# The problem and its data are those of Boettiger, Mangel & Munch (2015).

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.scipy.stats import gamma

from jaxsci import control
from jaxsci.control import systems

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## The truth, on a grid
#
# What escapes the harvest grows by Allen's equation, times a lognormal noise of 5 %. On a grid of stocks and harvests that is a
# table, and policy iteration solves it exactly. The reward is what is landed; a year later it is worth 1 % less.

# %%
task = systems.fishery("allen", horizon=100, discount=0.99)
grid = jnp.linspace(0.0, 15.0, 101)


def escaped(stock, harvest):
    return jnp.maximum(stock - harvest, 0.0)


def next_stock(p, stock, harvest, x):
    """The probability that next year's stock is at most x."""
    return control.lognormal(x, systems.allen_growth(escaped(stock, harvest), **p.growth), p.noise)


truth = control.discretised(task, grid, grid, shares=control.binned(next_stock, grid))
best = control.policy_iteration(truth)
print(f"in {int(best.iterations)} improvements: leave {float(grid[-1] - grid[best.policy[-1]]):.2f},", end=" ")
print(f"a stock of 10 is worth {float(-truth.start @ best.values):.2f}")

# %% [markdown]
# ## Forty years of data, and no equation
#
# A Gaussian process learns growth from a stock that was never fished. Where it has seen nothing its prediction is wide, and
# dynamic programming weighs that: the worst may happen there. All kernels count, each with its posterior probability.

# %%
stock, stock_after = systems.fishery_training_data()


def log_prior(kernel):
    return gamma.logpdf(kernel.length, 10.0, scale=10.0) + gamma.logpdf(kernel.noise, 5.0, scale=0.2)


process = control.weighted(control.log_grid((0.5, 60.0), (0.02, 2.0), 20), stock, stock_after, log_prior)
learned = control.process_programming(task, process, grid, grid, escaped, absorbed=lambda x, h: x - h <= 0)
careful = control.policy_iteration(learned)

# Somebody who believes in Ricker's equation, which knows no threshold: log(x'/x) = r - (r/K) x is a straight line.
slope, r = np.polyfit(stock[1:], np.log(stock_after[1:] / stock[1:]), 1)
ricker = systems.fishery("ricker", {"r": r, "K": -r / slope})


def ricker_next(p, stock, harvest, x):
    return control.lognormal(x, systems.ricker_growth(escaped(stock, harvest), **p.growth), p.noise)


believed = control.policy_iteration(control.discretised(ricker, grid, grid, shares=control.binned(ricker_next, grid)))

# %% [markdown]
# ## A network, trained through the model
#
# The same task is differentiable: the gradient of the catch of a hundred years goes through growth, noise and policy. To fish all
# at once is a local optimum, worth 10; a start that leaves about half of the grid is on the right side of the threshold.

# %%
fleet = systems.fishery("allen", decision="escapement")
policy = control.NetworkPolicy(low=0.0, high=15.0, center=8.0, scale=3.0)
found = control.analytic_policy_gradient(
    fleet,
    policy,
    policy.init(jax.random.key(0), fleet),
    key=jax.random.key(1),
    iterations=300,
    batch=64,
    optimiser=optax.adam(optax.cosine_decay_schedule(2e-3, 300)),
)

# %% [markdown]
# ## All of them in the true world

# %%
table = control.GridPolicy(grid, grid)
managers = {
    "the truth": (task, table, best.policy),
    "Gaussian process": (task, table, careful.policy),
    "network": (fleet, policy, found.params),
    "Ricker": (task, table, believed.policy),
}
runs = {
    name: control.rollout(world, act, params, jax.random.key(2), batch=2000)
    for name, (world, act, params) in managers.items()
}
for name, run in runs.items():
    print(f"{name:17s} lands {float(-run.total.mean()):6.2f}, dies out in {float((run.final < 1).mean()):6.2%}")

# %% [markdown]
# The network does as well as dynamic programming in the true model. The process, which was told no equation, pays a twentieth for
# what it cannot know, and next to never loses the stock; the wrong equation fits the same data as well, and loses all of it.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
x = jnp.linspace(0.0, 12.0, 121)
mean, variance = process.predict(x)
left.fill_between(x, mean - 2 * jnp.sqrt(variance), mean + 2 * jnp.sqrt(variance), color="0.85")
left.plot(x, mean, "k", label="Gaussian process")
left.plot(x, systems.allen_growth(x), label="Allen, the truth")
left.plot(x, systems.ricker_growth(x, r, -r / slope), label="Ricker, fitted")
left.plot(stock, stock_after, "k.", markersize=4)
left.plot(x, x, "k:", linewidth=0.8)
left.axvline(5.0, color="red", linewidth=0.8)
left.set(xlabel="stock that escapes", ylabel="stock a year later", ylim=(-1, 13))
left.legend()
for name, run in runs.items():
    right.plot(run.states[:4, :30].T, color=f"C{list(runs).index(name)}", linewidth=0.8, label=[name, None, None, None])
right.axhline(5.0, color="red", linewidth=0.8)
right.set(xlabel="year", ylabel="stock")
right.legend(loc=(0.6, 0.08))
plt.show()

# %% [markdown]
# ## How close to the threshold?
#
# A constant escapement shows the cliff: a little less left in the water is worth a little more, until it is worth nothing.

# %%
targets = jnp.linspace(4.5, 7.5, 25)


@jax.jit
@jax.vmap
def constant(target):
    run = control.rollout(fleet, lambda target, stock: target, target, jax.random.key(3), batch=500)
    return -run.total.mean(), (run.final < 1).mean()


landed, lost = constant(targets)
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.plot(targets, landed, label="landed, discounted")
ax.plot(targets, 30 * lost, "r", label="stocks that die out (30: all)")
ax.set(xlabel="stock that is left every year")
ax.legend()
plt.show()
