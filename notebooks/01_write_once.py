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
# # Write the physics once
#
# One definition of an equation is printed, solved, learned, differentiated and compared. This notebook runs in a minute on two
# cores. Its source is the file `01_write_once.py` beside it.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import jaxsci as js

jax.config.update("jax_enable_x64", True)  # residuals and least squares want float64

# %% [markdown]
# ## The equation
#
# A function of the unknown and of the coefficients. `u.t` is a partial derivative, and so is `(u * u).x`: the product rule is
# applied where it is needed, and the solver sees the conservative form.


# %%
@js.equation("u", symbols={"viscosity": r"\nu"})
def burgers(u, viscosity):
    return u.t + (u * u).x / 2 - viscosity * u.xx


burgers

# %% [markdown]
# Written the other way it is a different formula with the same solutions: its identity, which reports carry, is different too.

# %%
advective = js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx)
burgers.identity, advective.identity

# %% [markdown]
# ## The problem
#
# An equation, a box, conditions and coefficients. The coefficients are the leaves of a pytree.

# %%
problem = js.Problem(
    burgers,
    js.Box(t=(0, 1), x=(-1, 1)),
    coefficients={"viscosity": 0.02},
    initial={"u": lambda x: -js.sin(jnp.pi * x)},
    boundary={"x": js.Dirichlet(0)},
)
problem

# %% [markdown]
# ## Solve it
#
# A numerical method: sines in space, because both walls hold zero and the equation keeps the symmetry; an exponential integrator
# in time, whose step is reduced until two runs agree.

# %%
solution = js.solve(problem, js.Spectral(n=256))
solution

# %%
solution.stats, solution.cost

# %% [markdown]
# The solution is a field: it can be evaluated, and the *same* equation, as a pointwise residual, says how well it is satisfied.

# %%
points = jax.random.uniform(jax.random.key(0), (1000, 2), minval=jnp.array([0.1, -1.0]))
residual = js.residual(problem)(solution.field, problem.coefficients, points)
float(jnp.sqrt(jnp.mean(residual**2)))

# %% [markdown]
# ## Differentiate it
#
# How fast does the slope at the front change with the viscosity? By the gradient through the solver, and by a finite difference.

# %%
method = js.Spectral(n=128, dt=5e-3, estimate=False)


def energy(viscosity):
    fields = js.solve(problem.with_coefficients(viscosity=viscosity), method).fields
    return jnp.mean(fields[-1] ** 2)


gradient = jax.jit(jax.grad(energy))(0.02)
difference = (energy(0.02 + 1e-5) - energy(0.02 - 1e-5)) / 2e-5
float(gradient), float(difference)

# %% [markdown]
# Many viscosities at once are a `vmap`.

# %%
jax.vmap(energy)(jnp.array([0.01, 0.02, 0.04]))

# %% [markdown]
# ## Learn it
#
# A network whose initial and boundary values hold exactly, fitted to the residual; and random features, fitted by least squares.

# %%
methods = {
    "spectral": js.Spectral(n=256),
    "random features": js.RandomFeatures(150, tolerance=1e-4),
    "network": js.Neural(js.networks.MLP((12,) * 4), budget=20),
}
catalogued = js.problems.burgers(viscosity=0.02)  # the same problem from the catalogue, with an exact reference
report = js.compare(catalogued, methods)
print(report.table())

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
x = jnp.linspace(-1, 1, 400)
for name, fit in report.solutions.items():
    axes.plot(x, fit.evaluate(t=1.0, x=x), label=name)
axes.set(xlabel="x", ylabel="u(1, x)")
axes.legend()
plt.show()

# %% [markdown]
# `report.save("report/")` writes the page; `jaxsci compare burgers --out report/` does all of this from the command line.
