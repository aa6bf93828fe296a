"""Subtomogram averaging, quick: particles of one kind are turned onto their mean.

Each particle is compared with the mean of its half set in all orientations, turned onto it, and
summed in Fourier space, where each frequency is divided by how many particles have seen it; a few
rounds with finer and finer steps. Half sets are aligned apart from the start, so that what they
have in common was not put there (Scheres & Chen, "Prevention of overfitting in cryo-EM structure
determination", Nat. Methods 9, 853 (2012)).
"""

from .half_sets import average, average_particles
from .params import AveragingParams
from .result import Average, save_average

__all__ = ["Average", "AveragingParams", "average", "average_particles", "save_average"]
