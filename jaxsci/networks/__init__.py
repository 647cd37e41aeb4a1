"""Networks, written in Flax and used as ``(parameters, apply)``.

Contract of this folder: it is the only one that imports Flax. A network is a frozen description with ``init(key, inputs,
outputs) -> parameters`` and ``apply(parameters, z) -> outputs`` for ONE input; it knows no equation and no optimiser.
"""

from jaxsci.networks.functional import Network as Network
from jaxsci.networks.functional import Parameters as Parameters
from jaxsci.networks.functional import functional as functional
from jaxsci.networks.mlp import MLP as MLP
