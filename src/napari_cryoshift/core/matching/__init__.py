"""Comparing volumes and tomograms with structures, in all orientations."""

from .correlate import Fit, MatchParams, align, matched_filter, standard_scores
from .fields import AngularStep, Diameter, Envelope, LargestShift, Resolution
from .grids import rotation_grid, shift_grid
from .optics import BandParams, OpticsParams
from .particles import PER_DETAIL, box_for, match_particles, moved
from .templates import Band, Template, computing_device
from .tomogram import TemplateMatchingParams, match_tomogram

__all__ = [
    "PER_DETAIL",
    "AngularStep",
    "Band",
    "BandParams",
    "Diameter",
    "Envelope",
    "Fit",
    "LargestShift",
    "MatchParams",
    "OpticsParams",
    "Resolution",
    "Template",
    "TemplateMatchingParams",
    "align",
    "box_for",
    "computing_device",
    "match_particles",
    "match_tomogram",
    "matched_filter",
    "moved",
    "rotation_grid",
    "shift_grid",
    "standard_scores",
]
