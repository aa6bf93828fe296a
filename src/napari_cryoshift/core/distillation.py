"""The matched filter as a teacher of an embedding.

How well a volume fits known structures, each in its likeliest orientation and place, tells much of
what it is, even of a class that is none of them. A network is slow to find that out by itself where
there is little signal; so it is worked out once for every simulated volume and learnt beside the
classes (distillation; Hinton et al. 2015).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .matching import MatchParams, matched_filter, standard_scores
from .progress import Job
from .structures import Structure, library
from .types import Subtomograms

TEACHING = MatchParams(
    rotation_step=30.0,
    shift=26.0,
    shift_step=16.0,
    resolution=40.0,
    missing_wedge=32.0,
    defocus=-4.0,
    cs=2.2,
    envelope=45.0,
)
"""One set of optics, in the middle of what volumes are simulated with."""

_LARGEST = 3.0
"""Standard deviations; a few volumes that fit far better than all others would outweigh them."""


def teachable(source: Subtomograms) -> list[Structure]:
    """Classes of a set that the library knows the structure of."""
    return [structure for structure in library().values() if structure.name in source.classes]


class Teacher(nn.Module):
    """How well volumes fit structures, and a layer that says so from an embedding.

    Parameters
    ----------
    structures
        k of them, at least one.
    count
        Volumes, n.
    width
        Length of the embedding.

    Attributes
    ----------
    fits
        (n, k) standardised over the volumes, once `study` is done.
    """

    fits: Tensor

    def __init__(self, structures: Sequence[Structure], count: int, width: int) -> None:
        super().__init__()
        self.structures = structures
        self.register_buffer("fits", torch.zeros(count, len(structures)))
        self.guess = nn.Linear(width, len(structures))

    def study(self, source: Subtomograms) -> Job[None]:
        """Work out the fits of all n volumes: some 500 a second and core at 24³ voxels."""
        fits = yield from matched_filter(source, self.structures, TEACHING)
        standard = torch.from_numpy(standard_scores(fits)).clamp(-_LARGEST, _LARGEST)
        self.fits.copy_(standard)

    def loss(self, embedded: Tensor, rows: Tensor) -> Tensor:
        """Mean squared error of the fits guessed from embeddings (b, width) of volumes (b,)."""
        return nn.functional.mse_loss(self.guess(embedded).float(), self.fits[rows])
