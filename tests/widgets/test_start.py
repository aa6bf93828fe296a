"""The window is never held up: by imports, by the model, by the disk."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from napari_cryoshift.core import pick as picking
from napari_cryoshift.core.methods.protonet import ProtoNet
from napari_cryoshift.core.project import Project
from napari_cryoshift.core.types import OTHER, Tomogram
from napari_cryoshift.widgets import open as opening
from napari_cryoshift.widgets import start
from napari_cryoshift.widgets.annotate import AnnotatePanels
from napari_cryoshift.widgets.session import session_of

QUICK = "import sys, napari_cryoshift.widgets.start; print(*sys.modules, sep='\\n')"


def test_the_entry_imports_nothing_that_takes_seconds():
    said = subprocess.run(
        [sys.executable, "-c", QUICK], capture_output=True, text=True, check=True, timeout=60
    )
    assert not set(start._LIBRARIES) & set(said.stdout.split())


def test_panels_come_when_their_libraries_are_read(
    make_napari_viewer, qtbot, tmp_path, monkeypatch
):
    (tmp_path / "slow_library.py").write_text("import threading\nTHREAD = threading.get_ident()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(start, "_LIBRARIES", ("slow_library",))
    viewer = make_napari_viewer()
    widget = start.Annotate(viewer)
    qtbot.addWidget(widget)
    assert widget.findChild(AnnotatePanels) is None
    qtbot.waitUntil(lambda: widget.findChild(AnnotatePanels) is not None, timeout=5000)
    assert threading.get_ident() != sys.modules.pop("slow_library").THREAD
    assert widget.session is session_of(viewer)


@pytest.fixture
def threads(monkeypatch):
    """Name of each function that takes long → the threads that it ran in."""
    ran = {}

    def watch(owner, name):
        original = getattr(owner, name)

        def watched(*args, **kwargs):
            ran.setdefault(name, set()).add(threading.current_thread())
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    watch(ProtoNet, "embed")
    watch(picking, "separate")
    watch(Project, "set_picks")
    watch(opening, "guess_dark")
    return ran


def test_what_takes_long_does_not_run_in_the_thread_of_the_window(
    make_napari_viewer, idle, threads, blobs, tmp_path
):
    tomogram, _ = blobs
    panels = AnnotatePanels(make_napari_viewer())
    session = panels.session
    panels.widget(0)._open(tomogram)
    idle(session)
    session.set_diameter(180)
    panels.widget(1)._show_tomogram()
    panels.widget(1).find()
    idle(session)
    session.add_class("ball")
    session.label(session.particles.id[:2].tolist(), "ball")
    session.label(session.particles.id[2:4].tolist(), OTHER)
    idle(session)
    assert (session.particles.predicted != "").any()
    assert set(threads) == {"embed", "separate", "set_picks", "guess_dark"}
    for name, ran in threads.items():
        assert threading.main_thread() not in ran, name
    panels.close()


def test_candidates_go_to_the_tomogram_that_was_picked(make_napari_viewer, idle, blobs):
    tomogram, _ = blobs
    panels = AnnotatePanels(make_napari_viewer())
    session = panels.session
    session.open_tomogram(tomogram)
    session.set_diameter(180)
    panels.widget(1)._show_tomogram()
    panels.widget(1).find()
    other = Tomogram(np.array(tomogram.data[::-1]), tomogram.voxel_size, name="other")
    session.open_tomogram(other)
    idle(session)
    assert len(session.particles) == 0
    assert len(session.project.particles("blobs")) > 0
    panels.close()
