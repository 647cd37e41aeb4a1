"""The study of flux balance: growth of E. coli on random media, by the solver and by surrogates of it."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxsci import metabolism
from jaxsci.compare.function_fits import Fit
from jaxsci.compare.function_study import FunctionStudy
from jaxsci.networks.mlp import MLP
from jaxsci.surrogates.regression import NetworkRegression

SOURCES = (
    "EX_glc__D_e", "EX_fru_e", "EX_ac_e", "EX_etoh_e", "EX_lac__D_e", "EX_pyr_e", "EX_succ_e", "EX_glu__L_e", "EX_o2_e",
)  # fmt: skip


def random_media(seed: int, count: int, *, most: float = 10.0, oxygen: float = 20.0) -> np.ndarray:
    """Uptake bounds [count, sources], mmol/gDW/h: each carbon source is there with probability 1/2, and uniform up to `most`."""
    random = np.random.default_rng(seed)
    carbon = random.uniform(0, most, (count, len(SOURCES) - 1)) * (random.random((count, len(SOURCES) - 1)) < 0.5)
    return np.c_[carbon, random.uniform(0, oxygen, count)]


def e_coli_growth(scale: Literal["default", "quick"] = "default") -> FunctionStudy:
    """Growth of E. coli core on media of eight carbon sources and oxygen: flux balance against surrogates of it.

    Flux balance is a linear programme, and its value the least of affine functions of the bounds: surrogates of that form
    (planes, from the solver's prices or fitted to growth alone) stand beside networks that know nothing of it.
    """
    quick, double = scale == "quick", jnp.result_type(float) == jnp.float64
    model = metabolism.load("e_coli_core")

    def growth(uptakes: Any) -> Any:
        return metabolism.fba(metabolism.with_uptakes(model, SOURCES, uptakes)).objective

    def certified(uptakes: Any, _: Any, key: Any) -> Any:
        bounds = metabolism.with_uptakes(model, SOURCES, uptakes)
        function = metabolism.value_function(model, bounds.lower, bounds.upper)

        def value(function: Any, x: Any) -> Any:
            there = metabolism.with_uptakes(model, SOURCES, x)
            return function(there.lower, there.upper).upper

        return Partial(value, function)

    members = 2 if quick else 8
    return FunctionStudy(
        name="e_coli_growth",
        solvers={"flux balance": growth},
        training_inputs=random_media(1, 200 if quick else 1000),
        scored_inputs=random_media(2, 64 if quick else 200),
        surrogates={
            "planes from prices": Fit(
                lambda x, y, key: metabolism.growth_planes(model, SOURCES, x), told="growth and prices", solves=True
            ),
            "certified pool": Fit(certified, told="the model, and the bases and prices of the training media", solves=True),
            "planes from growth": Fit(
                lambda x, y, key: metabolism.fit_growth(x, y, members=members, seed=int(jax.random.bits(key))),
                told="growth alone",
            ),
            "network 64-64": NetworkRegression(MLP((64, 64), activation="silu"), steps=500 if quick else 10_000),
        },
        truth_error=1e-12 if double else 1e-5,  # of the order of the certified gap
        inputs=SOURCES,
        formula=r"g(u) = \max\{\, c \cdot v : S v = 0,\; l(u) \leq v \leq h \,\}",
        source="E. coli core, Orth, Fleming & Palsson (2010), EcoSal Plus 4",
        shifts={"twice the uptakes": random_media(3, 100, most=20.0, oxygen=40.0),
                "little oxygen": random_media(4, 100, oxygen=2.0)},
        seeds=1 if quick else 3,
        batches=(1, 64, 1024),
        gradients=double,
        quick=quick,
    )  # fmt: skip
