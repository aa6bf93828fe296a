"""What napari finds: every command, widget, reader pattern and menu of the manifest works."""

import importlib

import npe2
import pytest
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtWidgets import QWidget

from napari_cryoshift.core.formats import FORMATS
from napari_cryoshift.core.tomograms import SUFFIXES
from napari_cryoshift.widgets.session import session_of

MANIFEST = npe2.PluginManifest.from_distribution("napari-cryoshift")
WIDGETS = [widget.display_name for widget in MANIFEST.contributions.widgets]


def test_every_command_can_be_imported():
    for command in MANIFEST.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_every_suffix_of_a_tomogram_or_a_list_has_a_reader():
    (reader,) = MANIFEST.contributions.readers
    volumes = {f"*{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz")}
    lists = {f"*{entry.suffix}" for entry in FORMATS.values()}
    assert set(reader.filename_patterns) == volumes | lists


def test_every_suffix_of_a_list_has_a_writer():
    points, labels = MANIFEST.contributions.writers
    assert set(points.filename_extensions) == {entry.suffix for entry in FORMATS.values()}
    assert labels.filename_extensions == [".mrc", ".mrc.gz"]


@pytest.mark.parametrize("name", WIDGETS)
def test_every_widget_opens_from_the_menu(make_napari_viewer, name):
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-cryoshift", name)
    assert isinstance(widget, QWidget)


def test_two_widgets_from_the_menu_share_a_session(make_napari_viewer):
    viewer = make_napari_viewer()
    _, one = viewer.window.add_plugin_dock_widget("napari-cryoshift", "Pick")
    _, two = viewer.window.add_plugin_dock_widget("napari-cryoshift", "Label")
    assert one.session is two.session is session_of(PublicOnlyProxy(viewer))


def test_the_menus_are_those_for_annotation_data_and_classification():
    assert set(MANIFEST.contributions.menus) == {
        "napari/layers/annotate",
        "napari/layers/data",
        "napari/layers/classify",
    }
