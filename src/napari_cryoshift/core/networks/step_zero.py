"""What the step-zero networks of Cryo-Shift have in common, and the smallest of them."""

from torch import Tensor, nn

from .protonet3d import StridedEncoder


class StepZero(nn.Module):
    """A classifier in two parts (Bandyopadhyay et al. 2022, section 2.1).

    It sees each volume with mean 0 and standard deviation 1, whatever grey values it is given.

    Parameters
    ----------
    extractor
        F_e, the convolutional blocks: (b, d, d, d) → (b, width).
    classifier
        C, the linear layers: (b, width) → (b, classes) logits.
    width
        Number of features, on which the feature discriminators work.
    """

    def __init__(self, extractor: nn.Module, classifier: nn.Module, width: int) -> None:
        super().__init__()
        self.extractor, self.classifier, self.width = extractor, classifier, width

    def features(self, volumes: Tensor) -> Tensor:
        """(b, d, d, d) → (b, width)."""
        standard = nn.functional.layer_norm(volumes.float(), volumes.shape[1:], eps=1e-12)
        features: Tensor = self.extractor(standard)
        return features

    def forward(self, volumes: Tensor) -> Tensor:
        """(b, d, d, d) → (b, classes) logits."""
        logits: Tensor = self.classifier(self.features(volumes))
        return logits


class Strided(StepZero):
    """The strided encoder and one linear layer: small enough to be trained on a CPU.

    Parameters
    ----------
    box
        Side of the volumes, voxels; a multiple of 8.
    classes
        How many.
    width
        Number of features.
    """

    def __init__(self, box: int, classes: int, width: int = 128) -> None:
        encoder = StridedEncoder(box, width)
        super().__init__(encoder, nn.Sequential(nn.ReLU(), nn.Linear(width, classes)), width)


def fully_connected(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Two hidden layers with ReLU and dropout, as CB3D, DSRF3D and their discriminators end."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )
