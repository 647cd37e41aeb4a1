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
# # Turbulence, and what its gradient remembers
#
# A random start stirs itself; then the gradient of what came out, back to that start, with the memory that fits. This notebook
# runs in a minute on two cores. Its source is the file `02_turbulence.py` beside it.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import jaxsci as js

# %% [markdown]
# ## A start that knows no grid
#
# Kolmogorov flow: 2-D Navier-Stokes, a force $\sin 4y$ along $x$ and a weak drag. The start is a random Fourier series, the same
# function at every resolution.

# %%
flow = js.problems.kolmogorov_flow(viscosity=1e-3)
start = js.problems.turbulent_vorticity(jax.random.key(1), flow.domain, cutoff=12)
stepper = js.stepper(flow, js.Spectral(n=128, dt=1 / 96))
state = stepper.encode({"w": start.on_grid(128)})
trajectory = jax.jit(lambda state: js.rollout(stepper, 960, state=state, save_every=240))(state)
trajectory.status

# %% [markdown]
# No step was bad, and the largest Courant number is below the limit of the scheme, about 1.35.

# %%
figure, axes = plt.subplots(1, 5, figsize=(13, 2.8), layout="constrained")
for axis, t, w in zip(axes, trajectory.ts, trajectory.fields[:, 0], strict=True):
    axis.imshow(w.T, origin="lower", cmap="RdBu_r", vmin=-8, vmax=8)
    axis.set(title=f"t = {float(t):.3g}", xticks=[], yticks=[])

# %% [markdown]
# The energy spectrum tells whether the grid resolves it: the tail has to fall.

# %%
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
for i in (0, 1, 4):
    velocity = js.problems.velocity_of(trajectory.fields[i, 0], flow.domain.lengths)
    k, energy = js.problems.energy_spectrum(velocity, flow.domain.lengths)
    axis.loglog(k[1:43], energy[1:43], label=f"t = {float(trajectory.ts[i]):g}")
axis.set(xlabel="wavenumber", ylabel="energy", ylim=(1e-9, 1))
axis.legend()
# %% [markdown]
# ## The memory of a gradient, told before it is spent
#
# Everything that every step computed ("tape"), the states alone ("step"), two levels of checkpoints ("sqrt"), more levels
# ("recursive"), or nothing, forward mode alone. In MiB:

# %%
for steps in (100, 1000, 10_000):
    told = js.gradient_memory(stepper.step, state, steps)
    print(f"{steps:6d} steps:", ", ".join(f"{policy} {size / 2**20:.4g}" for policy, size in told.items()))

# %% [markdown]
# What the compiler reports for a hundred steps, and the largest difference of the gradients, relative: round-off.


# %%
def enstrophy(w, policy):
    """Mean square vorticity after a hundred steps from w."""
    end = js.rollout(stepper, 100, state=stepper.encode({"w": w}), gradient=policy)
    return jnp.mean(end.fields[-1, 0] ** 2)


gradients = {}
for policy in ("tape", "sqrt", "recursive"):
    program = jax.jit(jax.grad(enstrophy), static_argnums=1).lower(start.on_grid(128), policy).compile()
    gradients[policy] = program(start.on_grid(128))
    print(f"{policy:9s} {program.memory_analysis().temp_size_in_bytes / 2**20:6.1f} MiB")
{p: float(np.abs(g - gradients["tape"]).max() / np.abs(g).max()) for p, g in gradients.items()}

# %% [markdown]
# ## Back to the start
#
# From the flow at the end to its beginning. The unknown is the start's Fourier series, a pytree; its gradient goes through the
# solver.

# %%
truth = js.problems.turbulent_vorticity(jax.random.key(1), flow.domain, cutoff=4)
coarse = js.stepper(flow.with_coefficients(viscosity=0.01), js.Spectral(n=48, dt=1 / 64))


def end_of(series):
    """The vorticity after one time unit."""
    return js.rollout(coarse, 64, state=coarse.encode({"w": series.on_grid(48)}), gradient="sqrt").fields[-1, 0]


observed = end_of(truth)


def misfit(series):
    return jnp.mean((end_of(series) - observed) ** 2)


optimiser = optax.lbfgs(memory_size=20)
value_and_grad = optax.value_and_grad_from_state(misfit)


@jax.jit
def improve(series, memory):
    value, gradient = value_and_grad(series, state=memory)
    updates, memory = optimiser.update(gradient, memory, series, value=value, grad=gradient, value_fn=misfit)
    return optax.apply_updates(series, updates), memory, value


guess = jax.tree.map(jnp.zeros_like, truth)
memory = optimiser.init(guess)
for _ in range(60):
    guess, memory, value = improve(guess, memory)
fields = {"true start": truth.on_grid(48), "found": guess.on_grid(48), "observed end": observed}
print(f"misfit {float(value):.1e}; correlation with the true start: ", end="")
print(f"found {float(js.compare.correlation(fields['found'], fields['true start'])):.4f}, ", end="")
print(f"the observed end itself {float(js.compare.correlation(observed, fields['true start'])):.4f}")

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
for axis, (title, w) in zip(axes, fields.items(), strict=True):
    axis.imshow(w.T, origin="lower", cmap="RdBu_r", vmin=-6, vmax=6)
    axis.set(title=title, xticks=[], yticks=[])
