"""E. coli eats glucose, and then the acetate that it made meanwhile: dynamic flux balance (Varma & Palsson 1994).

python examples/diauxie.py [PICTURE]; some seconds of compiling. The picture needs the extra "plot".
"""

import sys

import jax
import numpy as np
from matplotlib.figure import Figure

import jaxsci as js
from jaxsci.metabolism.dynamic_programme import EXHAUSTED

jax.config.update("jax_enable_x64", True)
GLUCOSE, ACETATE = "EX_glc__D_e", "EX_ac_e"

# At most 15 mmol/gDW/h of oxygen and 10.5 of glucose, as measured; 5 of acetate. A batch of 10.8 mM glucose and 0.4 mM acetate.
model = js.metabolism.load("e_coli_core").with_bounds({"EX_o2_e": (-15.0, 1000.0)})
laws = {GLUCOSE: js.metabolism.Uptake(10.5), ACETATE: js.metabolism.Uptake(5.0)}
hours = np.linspace(0.0, 10.0, 1001)
run = js.metabolism.dynamic_fba(model, laws, 0.01, {GLUCOSE: 10.8, ACETATE: 0.4}, hours)
print(run.describe(model))

gone = (np.asarray(run.events.kinds) == EXHAUSTED) & (np.asarray(run.events.reactions) == model.index(GLUCOSE))
acetate = np.asarray(run.concentrations[ACETATE])  # NaN after the end: nothing is left that pays for maintenance
peak = np.nanargmax(acetate)
print(f"glucose is used up after {run.events.times[np.argmax(gone)]:.3f} h")
print(f"acetate is at its peak, {acetate[peak]:.2f} mM, after {hours[peak]:.2f} h; the cells starve after {run.end:.3f} h")

figure = Figure((6.0, 4.0), layout="constrained")
axes = figure.add_subplot(xlabel="h", ylabel="mM", xlim=(0.0, 9.0))
axes.plot(hours, run.concentrations[GLUCOSE], label="glucose")
axes.plot(hours, acetate, label="acetate")
axes.plot(hours, 10 * np.asarray(run.biomass), "k", label="biomass, 0.1 gDW/L")
axes.legend(frameon=False)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "diauxie.png", dpi=150)
