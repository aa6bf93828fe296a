"""A display for the tests of the window, a viewer, and a small tomogram of three kinds of blob."""

import functools
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_cryoshift.core.types import Particles, Tomogram

_PACKAGES = (
    "xvfb libegl1 libgl1 libgl1-mesa-dri libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 "
    "libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libdbus-1-3"
)
_PROBE = """
from qtpy.QtGui import QOpenGLContext
from qtpy.QtWidgets import QApplication
application = QApplication([])
raise SystemExit(not QOpenGLContext().create())
"""


@functools.cache
def _window_trouble() -> str:
    """Return a sentence if no window can be opened here, else "".

    Tried in a process of its own: where a library is missing, Qt ends the process.
    """
    tried = subprocess.run(
        [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False
    )
    if tried.returncode == 0:
        return ""
    return (
        "No window can be opened here, so the tests of the window cannot run; install a virtual "
        f"display and what Qt needs: apt-get install {_PACKAGES}\n{tried.stderr.strip()[-500:]}"
    )


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> None:
    # Before a test module is imported: importing napari fails, too, where libraries are missing.
    trouble = _window_trouble()
    if trouble:
        raise parent.CollectError(trouble)


SHAPE = (40, 120, 120)
VOXEL_SIZE = 10.0
KINDS = ("ball", "rod", "ring")


def _templates() -> dict[str, np.ndarray]:
    z, y, x = np.mgrid[-9:10, -9:10, -9:10].astype(float)
    return {
        "ball": (z**2 + y**2 + x**2 < 7**2) * 1.0,
        "rod": ((y**2 + x**2 < 3.5**2) & (abs(z) < 9)) * 1.6,
        "ring": ((np.hypot(y, x) - 6) ** 2 + z**2 < 2.5**2) * 1.6,
    }


@pytest.fixture(scope="session")
def blobs() -> tuple[Tomogram, Particles]:
    """40×120×120 voxels of 10 Å with dark balls, rods and rings on a grid, and where they are."""
    rng = np.random.default_rng(0)
    volume = rng.normal(0, 0.35, SHAPE).astype(np.float32)
    positions, labels = [], []
    for i, (y, x) in enumerate((y, x) for y in range(15, 110, 22) for x in range(15, 110, 22)):
        kind = KINDS[i % 3]
        positions.append((20, y, x))
        labels.append(kind)
        volume[11:30, y - 9 : y + 10, x - 9 : x + 10] -= _templates()[kind]
    truth = Particles.at(positions, label=np.array(labels, dtype=object))
    return Tomogram(volume, voxel_size=VOXEL_SIZE, name="blobs"), truth


@pytest.fixture(scope="session", autouse=True)
def imported_is_no_garbage() -> Iterator[None]:
    """napari collects garbage whenever a layer goes: it need not look through torch each time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep scratch projects and caches of tests out of the person's own folders."""
    monkeypatch.setenv("CRYOSHIFT_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("CRYOSHIFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def tabs(make_napari_viewer):
    """All panels, docked in a window."""
    from napari_cryoshift.widgets.annotate import AnnotatePanels  # not where no window can open

    viewer = make_napari_viewer(show=True)
    made = AnnotatePanels(viewer)
    viewer.window.add_dock_widget(made, name="Annotate", area="right")
    return made


@pytest.fixture
def tabs_on_blobs(tabs, blobs):
    """The same with the blobs as candidates, of which nothing is computed."""
    tomogram, truth = blobs
    session = tabs.session
    session.embed = lambda: None
    session.open_tomogram(tomogram)
    session.set_picks(truth.replace(score=np.ones(len(truth))))
    session.set_threshold(0)
    session.set_diameter(160)
    return tabs


@pytest.fixture(scope="session")
def show() -> Callable[..., Any]:
    """Bring the panel of this title to the front."""

    def front(tabs, title: str):
        titles = [tabs.widget(index).title for index in range(tabs.count())]
        tabs.setCurrentIndex(titles.index(title))
        return tabs.currentWidget()

    return front


@pytest.fixture(scope="session")
def type_into() -> Callable[..., None]:
    """Type a text into the line of a panel that has this name."""
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QLineEdit

    def replace(panel, name: str, text: str) -> None:
        line = panel.findChild(QLineEdit, name)
        assert line.isVisible(), name
        line.setFocus()
        line.selectAll()
        QTest.keyClicks(line, text)

    return replace


@pytest.fixture
def idle(qtbot) -> Callable[..., None]:
    """Wait until the session of a viewer runs no job."""

    def wait(session, seconds: float = 30) -> None:
        qtbot.waitUntil(lambda: session.work.job is None, timeout=int(1000 * seconds))

    return wait
