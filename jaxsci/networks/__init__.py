"""Networks, written in Flax and used as ``(parameters, apply)``.

Contract of this folder: it is the only one that imports Flax. A network is a frozen description with ``init(key, inputs,
outputs) -> parameters`` and ``apply(parameters, z) -> outputs`` for ONE input; it knows no equation and no optimiser. Inputs are
numbers in about [-1, 1].
"""

from jaxsci.networks.deeponet import DeepONet as DeepONet
from jaxsci.networks.embeddings import Embedding as Embedding
from jaxsci.networks.embeddings import FourierFeatures as FourierFeatures
from jaxsci.networks.embeddings import Harmonics as Harmonics
from jaxsci.networks.embeddings import PeriodicEmbedding as PeriodicEmbedding
from jaxsci.networks.factorised_fno import FactorisedFNO as FactorisedFNO
from jaxsci.networks.fno import FNO as FNO
from jaxsci.networks.functional import Network as Network
from jaxsci.networks.functional import Parameters as Parameters
from jaxsci.networks.functional import functional as functional
from jaxsci.networks.grid_deeponet import GridDeepONet as GridDeepONet
from jaxsci.networks.mixture import Mixture as Mixture
from jaxsci.networks.mlp import MLP as MLP
from jaxsci.networks.mlp import ModifiedMLP as ModifiedMLP
from jaxsci.networks.mlp import PirateNet as PirateNet
from jaxsci.networks.resnet import ResNet as ResNet
from jaxsci.networks.separable import SPINN as SPINN
from jaxsci.networks.siren import SIREN as SIREN
from jaxsci.networks.transolver import Transolver as Transolver
from jaxsci.networks.unet import UNet as UNet
