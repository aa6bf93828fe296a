"""The engine: everything but windows and the command line.

The public names below are loaded when they are first used, so importing this package costs
nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import Checkpoint as Checkpoint
    from .formats import read_particles as read_particles
    from .formats import write_particles as write_particles
    from .methods import METHODS as METHODS
    from .progress import Progress as Progress
    from .progress import finish as finish
    from .project import Project as Project
    from .structures import library as library
    from .tomograms import open_tomogram as open_tomogram
    from .types import Particles as Particles
    from .types import Subtomograms as Subtomograms
    from .types import Tomogram as Tomogram
    from .types import TrainingData as TrainingData
    from .workflows import classify as classify
    from .workflows import embed as embed
    from .workflows import train as train

_HOME = {
    "METHODS": "methods",
    "Checkpoint": "checkpoint",
    "Particles": "types",
    "Progress": "progress",
    "Project": "project",
    "Subtomograms": "types",
    "Tomogram": "types",
    "TrainingData": "types",
    "classify": "workflows",
    "embed": "workflows",
    "finish": "progress",
    "library": "structures",
    "open_tomogram": "tomograms",
    "read_particles": "formats",
    "train": "workflows",
    "write_particles": "formats",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
