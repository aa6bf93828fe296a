"""How all plots of the window look: quiet axes, no menus, no dragging."""

from __future__ import annotations

import pyqtgraph as pg

pg.setConfigOptions(antialias=True)

_INK = "#8c8c8c"
"""Readable on the dark and on the light theme of napari."""


def plain_plot(plot: pg.PlotWidget, below: str, left: str) -> None:
    """Dress a plot and name its axes."""
    item = plot.getPlotItem()
    item.setMenuEnabled(False)
    item.hideButtons()
    item.setMouseEnabled(x=False, y=False)
    for side, text in (("bottom", below), ("left", left)):
        axis = item.getAxis(side)
        axis.setLabel(text)
        axis.setTextPen(_INK)
        axis.setPen(_INK)
        axis.enableAutoSIPrefix(False)
