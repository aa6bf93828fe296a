"""A project: a folder around one SQLite file that holds everything a person did.

Every action is one transaction, on disk before the call returns, so that undo, history, crash
recovery and two windows on one project all come from the database:

- ``project``: `Project`, which is what the rest of the package uses;
- ``scratch``: where work lies that has no name yet;
- ``tomogram_table``, ``class_table``, ``particle_table``: what a person has and works on;
- ``clusters``: groups of particles that were found, merged, split and named;
- ``action_log``: history, undo and redo;
- ``schema``: the tables, and the triggers that log how to take back every change;
- ``database``: one connection, its lock, its transactions, and what can go wrong in plain words.
"""

from napari_cryoshift.core.project.action_log import Action
from napari_cryoshift.core.project.class_table import ParticleClass
from napari_cryoshift.core.project.clusters import Cluster
from napari_cryoshift.core.project.database import ProjectError
from napari_cryoshift.core.project.project import Project
from napari_cryoshift.core.project.tomogram_table import TomogramRecord

__all__ = ["Action", "Cluster", "ParticleClass", "Project", "ProjectError", "TomogramRecord"]
