"""Where projects lie that have no name yet, so that nothing is lost before there is one."""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from napari_cryoshift.core.project.database import FILE_NAME, ProjectError


def root() -> Path:
    """Return the folder of all scratch projects; CRYOSHIFT_SCRATCH overrides it."""
    default = Path(platformdirs.user_data_dir("napari-cryoshift", appauthor=False), "scratch")
    return Path(os.environ.get("CRYOSHIFT_SCRATCH", default)).absolute()


def new_folder() -> Path:
    """Make an empty folder for a scratch project."""
    root().mkdir(parents=True, exist_ok=True)
    prefix = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-")
    return Path(tempfile.mkdtemp(prefix=prefix, dir=root()))


def folders() -> list[Path]:
    """Return the folders of scratch projects, the one last written to first."""
    found = [file.parent for file in root().glob(f"*/{FILE_NAME}")]
    return sorted(found, key=_last_written, reverse=True)


def is_in_use(folder: Path) -> bool:
    """Return whether another window works in a project that this one has just closed.

    The last connection to a database removes its write-ahead log when it closes.
    """
    return _write_ahead_log(folder).exists()


def copy_rest(folder: Path, to: Path) -> None:
    """Copy what a scratch project holds beside its database, e.g. embeddings.

    Raises
    ------
    ProjectError
        If it cannot be written.
    """
    if folder.parent == root():
        beside = shutil.ignore_patterns(f"{FILE_NAME}*")
        try:
            shutil.copytree(folder, to, ignore=beside, dirs_exist_ok=True)
        except OSError as error:
            raise ProjectError(
                f"{to} could not be written ({error.strerror or error}) and the project stays in "
                f"{folder}; make room or choose another folder"
            ) from error


def discard(folder: Path) -> None:
    """Remove a scratch project, unless another window works in it."""
    if folder.parent == root() and not is_in_use(folder):
        # A file that some scanner holds open may stay behind: it does no harm.
        shutil.rmtree(folder, ignore_errors=True)


def _write_ahead_log(folder: Path) -> Path:
    return folder / f"{FILE_NAME}-wal"


def _last_written(folder: Path) -> int:
    files = (folder / FILE_NAME, _write_ahead_log(folder))
    return max(file.stat().st_mtime_ns for file in files if file.exists())
