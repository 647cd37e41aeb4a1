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
# # Is a surrogate worth it for Kolmogorov flow?
#
# A neural operator learns to step two-dimensional turbulence a quarter of a time unit at once; the spectral solver that made
# its data needs eight steps for that. Who wins, at equal error? The honest opponent is not that solver but the coarsest one
# with the network's error, which takes a single step too. This is a small study, of a minute on two cores;
# `jaxsci compare kolmogorov` is the full one.

# %%
import dataclasses

import matplotlib.pyplot as plt
import numpy as np

import jaxsci as js

# %% [markdown]
# ## The study
#
# A named study, cut down: fewer points, runs, seeds and iterations. `quick` allows that, and the report says so.

# %%
training = js.surrogates.Training(steps=200, batch=8)
fno = js.surrogates.NetworkSurrogate(js.networks.FNO(modes=(8, 8), channels=12, layers=2), training=training)
study = dataclasses.replace(
    js.compare.named_study("kolmogorov", "quick"),
    n=32, truth=js.Spectral(n=64, dt=1 / 32), data=js.Spectral(n=48, dt=1 / 32), ladder=(12, 16, 20, 24, 32), steps=8,
    training_runs=8, training_steps=16, starts=4, seeds=2, probes=1, batches=(64,), skip=4.0,
    surrogates={"FNO": fno}, tuning={}, baselines={}, shifts=(), chaotic=False, budget=None, quick=True,
)  # fmt: skip
report = js.compare(study)

# %% [markdown]
# ## The answer
#
# The first lines say it; the tables say why. The ladder is the solver on five grids, each at the largest step that costs it
# at most a tenth of its error.

# %%
print(report.table())

# %% [markdown]
# ## The picture
#
# Error against seconds per trajectory, in batches of 64. What lies to the left of the ladder is worth something.

# %%
solver = [m for m in report.measurements if m.family == "solver"]
others = [m for m in report.measurements if m.family != "solver"]
figure, axes = plt.subplots(figsize=(7, 4))
axes.loglog([m.seconds[64] for m in solver], [m.error for m in solver], "s-k", label=solver[0].name)
for m in solver:
    axes.annotate(f" {m.resolution}²", (m.seconds[64], m.error))
for m in others:
    axes.loglog(m.seconds[64], m.error, "o" if m.family == "surrogate" else "x", label=f"{m.name} {m.detail}")
axes.set(xlabel="seconds per trajectory", ylabel="error (mean nRMSE over the rollout)")
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## The fields
#
# One start at the end of the rollout. The network has the large vortices and blurs what is small; the coarse solver has the
# right spectrum up to its grid.

# %%
gallery = report.gallery
shown = {"truth": gallery.truth} | dict(gallery.fields)
figure, panels = plt.subplots(1, len(shown), figsize=(3 * len(shown), 3.2))
top = np.abs(gallery.truth[-1]).max()
for axes, (name, field) in zip(panels, shown.items(), strict=True):
    axes.imshow(field[-1].T, origin="lower", cmap="RdBu_r", vmin=-top, vmax=top)
    axes.set_title(name, fontsize=9)
    axes.axis("off")
plt.show()

# %% [markdown]
# ## When would it pay?
#
# The break-even number divides what data and training cost by what a run saves; where a run saves nothing it is *never*. On
# a CPU a coarse spectral solver on a periodic box is hard to beat. A surrogate has a chance where the solver must take many
# small steps for what changes slowly, where walls or stiff chemistry make a step dear, or where many small solves are bound
# by the launches of an accelerator. The same call decides it for your own equation: give `js.compare.Study` a family of
# problems.

# %%
for verdict in report.verdicts:
    n = verdict.break_even.value
    print(verdict.name, "batch", verdict.batch, "pays back after", "never" if np.isinf(n) else f"{n:,.0f} runs")
