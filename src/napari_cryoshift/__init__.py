"""Interactive annotation of cryo-electron tomograms in napari."""

__version__ = "0.1.0"
