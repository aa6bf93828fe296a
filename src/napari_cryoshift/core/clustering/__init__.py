"""Groups among vectors: k-means, Gaussian mixtures, and what DISCA does with their labels."""

from .indices import distortion_index, surprise
from .k_means import Groups, kmeans
from .learning import linear_discriminants, matching, smoothed
from .mixtures import Covariance, Mixture, fit_mixture, posterior, simplest
from .points import Floats, Labels, principal_axes

__all__ = [
    "Covariance",
    "Floats",
    "Groups",
    "Labels",
    "Mixture",
    "distortion_index",
    "fit_mixture",
    "kmeans",
    "linear_discriminants",
    "matching",
    "posterior",
    "principal_axes",
    "simplest",
    "smoothed",
    "surprise",
]
