"""The methods, by name. A new one is a file and a line here."""

from .base import Method, MethodParams
from .protonet import ProtoNet

METHODS: dict[str, type[Method]] = {
    "protonet": ProtoNet,
}

__all__ = ["METHODS", "Method", "MethodParams"]
