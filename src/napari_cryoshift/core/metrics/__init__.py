"""How good a list of particles is: positions, classes and clusters against the true ones."""

from .classes import ClassReport, evaluate_classes
from .clusters import ClusterReport, evaluate_clusters
from .confusion import ClassTable, class_table
from .detections import DetectionReport, evaluate_detections, precision_recall
from .intervals import mean_interval
from .positions import match_positions

__all__ = [
    "ClassReport",
    "ClassTable",
    "ClusterReport",
    "DetectionReport",
    "class_table",
    "evaluate_classes",
    "evaluate_clusters",
    "evaluate_detections",
    "match_positions",
    "mean_interval",
    "precision_recall",
]
