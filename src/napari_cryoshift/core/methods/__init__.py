"""The methods, by name. A new one is a file and a line here."""

from .autoencoder import Autoencoder
from .base import Method, MethodParams
from .center_loss import CenterLoss
from .coral import Coral
from .cryoshift import CryoShift
from .disca import Disca
from .fada import Fada
from .finetune import Finetune
from .fsft import Fsft
from .jdda import Jdda
from .mluda import Mluda
from .protonet import ProtoNet
from .protonet_ce import ProtoNetCE
from .softmax import Softmax
from .swd import Swd

METHODS: dict[str, type[Method]] = {
    "protonet": ProtoNet,
    "protonet_ce": ProtoNetCE,
    "cryoshift": CryoShift,
    "fsft": Fsft,
    "finetune": Finetune,
    "fada": Fada,
    "coral": Coral,
    "swd": Swd,
    "mluda": Mluda,
    "jdda": Jdda,
    "center_loss": CenterLoss,
    "softmax": Softmax,
    "disca": Disca,
    "autoencoder": Autoencoder,
}

__all__ = ["METHODS", "Method", "MethodParams"]
