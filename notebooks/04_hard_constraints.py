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
# # A network that cannot violate its physics
#
# A penalty asks a network to respect a law; a projection layer leaves it no choice. Its output is the nearest point at which the
# law holds, trained through exactly. First a balance with bounds, then a partial differential equation.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxsci as js
from jaxsci.constraints import Polytope, pde_constraint, project
from jaxsci.networks import MLP

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## A balance with bounds
#
# Six flows through a network of pipes: what enters a junction leaves it, and no pipe carries less than nothing or more than one.
# The demand at the outlets varies; a network learns from noisy meters which flows belong to it. At a corner of the set the
# nearest point does not move, and nothing is learned there: a small price on the distance to the set keeps the network out of it.

# %%
A = jnp.array([[1.0, -1, -1, 0, 0, 0], [0, 1, 0, -1, -1, 0], [0, 0, 1, 1, 0, -1], [0, 0, 0, 0, 1, 1]])
network = MLP((24, 24))
parameters = network.init(jax.random.key(0), inputs=1, outputs=6)


def pipes(demand):
    return Polytope(A, jnp.stack([0 * demand, 0 * demand, 0 * demand, demand], -1), lower=0.0, upper=1.0)


def flows(parameters, demand, hard):
    raw = 0.4 + network.apply(parameters, demand[:, None])  # inside the bounds, where all flows can learn
    return (project(pipes(demand), raw)[0] if hard else raw), raw


demand = jax.random.uniform(jax.random.key(1), (64,), minval=0.1, maxval=0.9)
true, info = project(
    pipes(demand), jnp.stack([demand, 0.9 * demand, 0.1 + 0 * demand, 0.3 * demand, demand, 0 * demand], -1)
)
meters = true + 0.05 * jax.random.normal(jax.random.key(2), true.shape)
print("all of the truth found:", bool(info.converged.all()))


# %%
def trained(hard, steps=300):
    optimiser = optax.adam(1e-2)

    def misfit(parameters):
        found, raw = flows(parameters, demand, hard)
        return jnp.mean((found - meters) ** 2) + jnp.mean((found - raw) ** 2) / 10

    @jax.jit
    def step(parameters, state):
        change, state = optimiser.update(jax.grad(misfit)(parameters), state)
        return optax.apply_updates(parameters, change), state

    now, state = parameters, optimiser.init(parameters)
    for _ in range(steps):
        now, state = step(now, state)
    return now


unseen = jnp.linspace(0.05, 0.98, 200)
truth = project(pipes(unseen), jnp.stack([unseen, 0.9 * unseen, 0.1 + 0 * unseen, 0.3 * unseen, unseen, 0 * unseen], -1))[0]
for hard in (False, True):
    found, _ = flows(trained(hard), unseen, hard)
    error = float(jnp.sqrt(jnp.mean((found - truth) ** 2)))
    print(
        f"{'hard' if hard else 'free'}: error {error:.3f}, largest violation {float(pipes(unseen).violation(found).max()):.1e}"
    )

# %% [markdown]
# What is projected is differentiated exactly, in the point and in the data of the law: here in the demand.


# %%
def carried(demand):
    return project(pipes(demand), jnp.array([0.2, 0.7, 0.1, 0.4, 0.3, 0.5]))[0]


here = jnp.array(0.45)
exact = jax.jacobian(carried)(here)
difference = (carried(here + 1e-6) - carried(here - 1e-6)) / 2e-6
print("slope of the flows in the demand:", exact.round(3), f"difference {float(abs(exact - difference).max()):.0e}")

# %% [markdown]
# ## An equation
#
# Burgers' equation, from the catalogue. A network of space and time gives a hundred functions; the layer finds the combination
# for which the equation, its start and its walls hold at sampled points. The network below has not been trained at all.

# %%
problem = js.problems.burgers(viscosity=0.1)
random = np.random.default_rng(0)
slopes, offsets = jnp.asarray(random.normal(size=(2, 100)) * 2.5), jnp.asarray(random.uniform(-3, 3, 100))


def basis(t, x):
    return jnp.tanh(slopes[0] * t + slopes[1] * x + offsets)


points = {"t": jnp.asarray(random.uniform(0, 1, 1500)), "x": jnp.asarray(random.uniform(-1, 1, 1500))}


def solve(viscosity):
    constraint = pde_constraint(problem, basis, points, {"viscosity": viscosity}, weight=10.0)
    return project(constraint, jnp.zeros(100))


omega, info = solve(0.1)
print("converged:", bool(info.converged), "in", int(info.steps), "steps")

# %%
reference = problem.reference()
x, times = np.asarray(reference.grid["x"]), np.asarray(reference.ts)
field = jax.jit(jax.vmap(jax.vmap(lambda t, x: basis(t, x) @ omega, (None, 0)), (0, None)))(times, x)
truth = np.asarray(reference["u"])
print(f"relative error {np.linalg.norm(field - truth) / np.linalg.norm(truth):.1e}")
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for i in np.linspace(0, len(times) - 1, 4).astype(int):
    ax.plot(x, truth[i], "k--", linewidth=0.8)
    ax.plot(x, field[i], label=f"t = {times[i]:.2f}")
ax.set(xlabel="x", ylabel="u")
ax.legend()
plt.show()

# %% [markdown]
# The solution is a function of the coefficients of the equation, with derivatives: how does it change with the viscosity?

# %%
slope = jax.jvp(lambda nu: solve(nu)[0], (0.1,), (1.0,))[1]
nearby = (solve(0.1 + 1e-5)[0] - solve(0.1 - 1e-5)[0]) / 2e-5
print("derivative in the viscosity, and a difference:", float(basis(1.0, 0.5) @ slope), float(basis(1.0, 0.5) @ nearby))
