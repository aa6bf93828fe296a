"""The package as it is found: what importing it costs, what it says of itself, what it links to."""

import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import napari_cryoshift
from napari_cryoshift import core
from napari_cryoshift.cli import COMMANDS
from napari_cryoshift.core.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
WINDOWS = {"napari", "qtpy", "superqt", "magicgui", "psygnal", "pyqtgraph", "PyQt6", "PySide6"}


def modules_after(code: str) -> set[str]:
    """Top-level modules that are loaded once a fresh interpreter has run the code."""
    show = "import sys, json; print(json.dumps([name.split('.')[0] for name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


# ---------------------------------------------------------------------------------------- import


@pytest.mark.parametrize("name", ["napari_cryoshift", "napari_cryoshift.core"])
def test_importing_the_package_loads_nothing_heavy(name):
    loaded = modules_after(f"import {name}")
    assert not loaded & (WINDOWS | {"torch", "numpy", "scipy", "pandas", "matplotlib"})


def test_the_whole_engine_loads_no_window():
    loaded = modules_after(
        "import importlib, pkgutil, napari_cryoshift.core as core\n"
        "for found in pkgutil.walk_packages(core.__path__, core.__name__ + '.'):\n"
        "    importlib.import_module(found.name)"
    )
    assert "torch" in loaded
    assert not loaded & WINDOWS


def test_the_public_names_are_there_and_explained():
    importlib.import_module("napari_cryoshift.core.workflows")
    assert len(core.__all__) <= 20
    for name in core.__all__:
        found = getattr(core, name)
        # Not a module of that name, which is what importing one would put here.
        assert isinstance(found, dict) or (callable(found) and found.__doc__), name
    with pytest.raises(AttributeError, match="no_such_name"):
        core.no_such_name  # noqa: B018


# ------------------------------------------------------------------------------------- what it says


def test_there_is_one_version():
    version = napari_cryoshift.__version__
    assert importlib.metadata.version("napari-cryoshift") == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_ci_runs_the_test_command_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    (command,) = (line for line in readme.splitlines() if line.endswith("pytest"))
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("page", ["README.md", "docs/command-line.md"])
def test_every_command_is_documented(page):
    text = (ROOT / page).read_text()
    for name in COMMANDS:
        assert f"`cryoshift {name}" in text, name


def test_every_method_is_documented():
    text = (ROOT / "docs" / "methods.md").read_text()
    for name, method in METHODS.items():
        assert f"`{name}`" in text
        assert method.title in text


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target
