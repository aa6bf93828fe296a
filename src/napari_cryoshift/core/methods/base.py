"""What every method is: parameters, what it needs, and fit, embed, predict."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
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
    follows_labels: ClassVar[bool] = False
    """New labels count at once, without `fit`; so its predictions start from those there are."""
    adapting: ClassVar[str] = ""
    """Phase of `fit` that adapts what was learnt to the target; it is reported with step 0 before
    anything has changed. "" if there is none."""
    builds_on_embedding: ClassVar[bool] = False
    """It goes on from an embedding: the one that comes with the package, unless one is given."""

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

    def embed_source(self, volumes: Tensor) -> Tensor:
        """The same of volumes of the source: many, and of all classes, at once.

        Another than `embed` only where a method treats source and target apart.
        """
        return self.embed(volumes)

    def views(self, volumes: Tensor) -> Mapping[str, Tensor]:
        """What it makes of volumes, to be looked at: name → (n, d, d, d) of the same grey values.

        Most methods make nothing that can be seen.
        """
        return {}
