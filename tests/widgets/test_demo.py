"""`cryoshift demo --window`: the result in napari, where a person can go on with it."""

import napari
import pytest

from napari_cryoshift.cli import main
from napari_cryoshift.core.project import Project
from napari_cryoshift.widgets.session import session_of


@pytest.fixture
def viewer(make_napari_viewer, monkeypatch):
    """The viewer that the command opens, which does not wait for a person to close it."""
    viewer = make_napari_viewer()
    monkeypatch.setattr(napari, "Viewer", lambda: viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    return viewer


@pytest.mark.usefixtures("small_sample")
def test_the_demo_opens_with_its_labels_and_classifies_again(viewer, idle, tmp_path):
    assert main(["demo", "--out", str(tmp_path), "--window", "--quiet"]) == 0
    session = session_of(viewer)
    idle(session)
    assert session.tomogram.name == "sample"
    assert len(viewer.layers) == 2
    labels = session.particles.label.tolist()
    assert labels.count("ferritin") == labels.count("TRiC/CCT chaperonin") == 5
    assert labels.count("other") == 10
    assert (session.particles.predicted != "").all()
    with Project.open(tmp_path / "project") as project:
        assert len(project.particles("sample")) == len(labels)
