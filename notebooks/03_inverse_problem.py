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
# # An inverse problem from noisy data
#
# Two species are counted for a while, with errors and gaps. How fast do they grow, and how sure is that? The same call fits a
# learned field together with the coefficients, or solves the equation anew for every guess; both return coefficients, intervals
# and a solution.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxsci as js

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## The data
#
# Lotka and Volterra's equation, seen at forty times with an error of five per cent of each unknown's size. A third of the
# predators were never counted: NaN.


# %%
@js.equation("prey predator")
def lotka_volterra(prey, predator, birth, predation):
    return (
        prey.t - birth * prey + predation * prey * predator,
        predator.t - 0.1 * prey * predator + 0.4 * predator,
    )


def problem(birth, predation):
    coefficients = {"birth": birth, "predation": predation}
    return js.Problem(lotka_volterra, js.Box(t=(0, 10)), coefficients=coefficients, initial={"prey": 10.0, "predator": 10.0})


random = np.random.default_rng(0)
t = np.linspace(0.25, 10, 40)
clean = np.asarray(js.solve(problem(1.1, 0.4), js.Adaptive()).evaluate(t=t))
size = np.sqrt(np.mean(clean**2, axis=1, keepdims=True))
prey, predator = clean + 0.05 * size * random.normal(size=(2, 40))
predator[random.uniform(size=40) < 1 / 3] = np.nan
data = js.learning.Observations({"t": t}, {"prey": prey, "predator": predator})
data

# %% [markdown]
# ## The fit
#
# Two coefficients are unknown and positive; the guesses are wrong by a half. The noise is not told: it is estimated from the
# misfit.

# %%
names = ("birth", "predation")
learned = js.learning.fit(problem(0.6, 0.6), data, names, js.RandomFeatures(100, scale=5.0), positive=names)
print(learned.summary())
learned.noise, learned.settled

# %% [markdown]
# Through a numerical solver, by the same call, from a guess that is closer: where it converges it is the reference.

# %%
solved = js.learning.fit(problem(1.0, 0.45), data, names, js.Adaptive(rtol=1e-7), positive=names)
print(solved.summary())

# %% [markdown]
# The field has an uncertainty of its own, small where the equation and the data agree on it.

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
fine = np.linspace(0, 10, 300)
mean, spread = np.asarray(learned.solution.evaluate(t=fine)), np.asarray(learned.spread(t=fine))
for i, (name, values) in enumerate(data.values.items()):
    axes.plot(fine, mean[i], color=f"C{i}", label=name)
    axes.fill_between(fine, mean[i] - 2 * spread[i], mean[i] + 2 * spread[i], color=f"C{i}", alpha=0.3)
    axes.plot(t, values, ".", color=f"C{i}")
axes.set(xlabel="t", ylabel="number")
axes.legend()
plt.show()
