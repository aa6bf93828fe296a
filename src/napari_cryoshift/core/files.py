"""Files that are either the old one or the new one, never a half of the new one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Write a file beside ``path`` and put it in its place when all of it is on the disk.

    Parameters
    ----------
    path
        The file to make or to replace; its folder must exist.

    Yields
    ------
    Path
        Where to write. It ends like ``path`` does, for writers that go by the suffix.

    Raises
    ------
    OSError
        If the disk is full, or the folder is missing or may not be written to. A file that was
        there before is unchanged.
    """
    path = Path(path)
    scratch = path.with_name(f".{uuid4().hex[:8]}-{path.name}")
    try:
        yield scratch
        # Blocks may be handed out late: only fsync tells of a disk that is full.
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        left = "the file that was there is unchanged" if path.exists() else "nothing was written"
        raise OSError(
            f"could not write {path} ({error.strerror or error}), {left}; "
            "free some space or choose another folder"
        ) from error
    finally:
        scratch.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all, with the line ends that ``text`` has.

    Raises
    ------
    OSError
        As `replacing` does.
    """
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="")


def file_stem(name: str) -> str:
    """Make a name that a person or a list gave fit to be a file's: no folders, nothing hidden.

    "../../80S ribosome" becomes "80S_ribosome"; what has no fit character at all "unnamed".
    """
    return re.sub(r"[^\w.+-]+", "_", name).strip("._")[:100] or "unnamed"
