"""The methods, by name. A new one is a file and a line here."""

from .base import Method, MethodParams
from .cryoshift import CryoShift
from .protonet import ProtoNet

METHODS: dict[str, type[Method]] = {
    "protonet": ProtoNet,
    "cryoshift": CryoShift,
}

__all__ = ["METHODS", "Method", "MethodParams"]
