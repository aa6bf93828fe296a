"""What every method is: parameters, what it needs, and fit, embed, predict."""

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from napari_cryoshift.core.params import Params
from napari_cryoshift.core.progress import Job
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.types import TrainingData


class MethodParams(Params):
    """Parameters that every method has."""

    seed: int = Field(0, ge=0, title="Seed", description="Same seed, same weights (on a CPU).")


class Method(nn.Module, ABC):
    """A method is a module: its ``state_dict`` is the model, learnt buffers included.

    Parameters
    ----------
    params
        Of the type `params_type`.
    box
        Side of the volumes, voxels.
    classes
        Names, in the order of the columns of `predict`; a method may learn them in `fit`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    """One plain sentence for the window: what it does, what it needs, how long it takes."""
    needs: ClassVar[frozenset[str]]
    """Of "source", "target", "support"."""
    params_type: ClassVar[type[MethodParams]]

    params: MethodParams
    box: int
    classes: tuple[str, ...]

    @abstractmethod
    def fit(self, data: TrainingData, bookmark: Bookmark | None = None) -> Job[None]:
        """Learn; may be closed after any yield, and leaves the grad mode as it was.

        With a bookmark, a run that was closed goes on where it was, to the same weights.
        """

    @abstractmethod
    def embed(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → (n, e), in evaluation mode and without gradients."""

    @abstractmethod
    def predict(self, volumes: Tensor) -> Tensor:
        """(n, d, d, d) → (n, k) probabilities of `classes`."""
