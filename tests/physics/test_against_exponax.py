"""The same fields through exponax, an independent spectral library (Koehler et al. 2024), and through `js.stepper`.

Its KdV is left out: for dispersive equations its step is of first order (8e-3 off at dt = 5e-4, 1.7e-3 at 1e-4, where KdV's
own reference and this library agree to 5e-8), so it can confirm nothing.
"""

import functools

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.problems.burgers import burgers_equation

exponax = pytest.importorskip("exponax")


@functools.partial(jax.jit, static_argnums=1)
def ours_of(stepper, steps):
    start = stepper.initial()
    return stepper.decode(start)[:1], stepper.decode(jax.lax.fori_loop(0, steps, lambda _, s: stepper.step(s), start))[:1]


def difference(problem, theirs, n, dt, steps, sign=1.0):
    """Relative L2 difference of the first unknown after some steps; exponax gets the initial field times `sign`."""
    start, ours = map(np.asarray, ours_of(js.stepper(problem, js.Spectral(n, dt=dt)), steps))
    advance = jax.jit(lambda state: jax.lax.fori_loop(0, steps, lambda _, s: theirs(s), state))
    assert np.linalg.norm(ours - start) > 0.3 * np.linalg.norm(start)  # something has happened
    return np.linalg.norm(ours - sign * np.asarray(advance(sign * start))) / np.linalg.norm(ours)


def test_burgers_agrees_with_exponax():
    box, initial = js.Box(t=(0, 1), x=(0, 1)), {"u": lambda x: js.sin(2 * np.pi * x) + js.cos(4 * np.pi * x) / 2}
    problem = js.Problem(burgers_equation, box, coefficients={"viscosity": 0.02}, initial=initial)
    theirs = exponax.stepper.Burgers(1, 1.0, 192, 1e-3, diffusivity=0.02, conservative=True, order=4)
    assert difference(problem, theirs, 192, 1e-3, 300) < 1e-9  # measured 1.4e-10


def test_kuramoto_sivashinsky_agrees_with_exponax():
    problem = js.problems.kuramoto_sivashinsky()
    names = {"convection_scale": "advection", "second_order_scale": "antidiffusion", "fourth_order_scale": "hyperdiffusion"}
    scales = {theirs: problem.coefficients[ours] for theirs, ours in names.items()}
    theirs = exponax.stepper.KuramotoSivashinskyConservative(1, 2 * np.pi, 192, 2e-4, order=4, **scales)
    assert difference(problem, theirs, 192, 2e-4, 250) < 2e-10  # measured 2.1e-11


@pytest.mark.slow
def test_vorticity_agrees_with_exponax_up_to_its_sign():
    # Our vorticity is v_x - u_y; exponax has minus that.
    theirs = exponax.stepper.NavierStokesVorticity(2, 2 * np.pi, 64, 0.01, diffusivity=0.05, order=4)
    assert difference(js.problems.vortex_mixing(), theirs, 64, 0.01, 50, sign=-1.0) < 3e-7  # measured 3.0e-8
