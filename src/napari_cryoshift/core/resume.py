"""A training run that was stopped goes on where it was: safetensors and JSON, never pickle."""

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import safetensors
import safetensors.torch
from torch import Tensor

from .files import replacing
from .progress import Job

VERSION = 1
_KEY = "napari-cryoshift run"

T = TypeVar("T")


class Stateful(Protocol):
    """What can hand out its state and take it back: modules, optimisers, schedules."""

    def state_dict(self) -> Any:
        """Tensors and JSON values, nested."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Be as when `state_dict` was called."""


class Bookmark:
    """How far a training run has come, and all that it needs to go on from there.

    A run is a sequence of stages, each a number of steps. A resumed run is the same program, begun
    anew: it passes over the stages that were finished, and in the one that was interrupted the
    state is put back. Batches are drawn again, not stored; so what is drawn must depend on the
    seed and the number of the step alone.

    Parameters
    ----------
    path
        The file; if it is there already, the run goes on from it. None: nothing is kept.
    model
        What is trained; its state belongs to every stage.
    about
        What makes this run the same as that of the file: method, parameters, data; JSON values.
    every
        Seconds from one writing of the file to the next.

    Attributes
    ----------
    step
        Steps of this stage that are done.

    Raises
    ------
    ValueError
        If the file is damaged, is no such file, or is of a run with other settings.
    """

    def __init__(
        self,
        path: Path | None = None,
        model: Stateful | None = None,
        about: Mapping[str, Any] | None = None,
        every: float = 600.0,
    ) -> None:
        self.path, self.every = path, every
        self.about = json.loads(json.dumps(dict(about or {})))
        self.step = 0
        self._stage = -1
        self._parts: dict[str, Stateful] = {} if model is None else {"model": model}
        self._found: tuple[dict[str, Any], dict[str, Tensor]] | None = None
        if path is not None and path.exists():
            self._found = _read(path, self.about)

    def begin(self, **parts: Stateful) -> bool:
        """Begin the next stage, or be put back to where it was interrupted.

        Parameters
        ----------
        **parts
            What the stage changes besides the model: other modules, the optimiser. They stay parts
            of all later stages, until another of the same name takes their place.

        Returns
        -------
        bool
            False if the stage was finished before the interruption, and is to be passed over.
        """
        self._stage += 1
        self.step = 0
        self._parts.update(parts)
        if self._found is None:
            return True
        header, tensors = self._found
        if self._stage < header["stage"]:
            return False
        self.step = header["step"]
        for name, state in header["state"].items():
            self._parts[name].load_state_dict(_unpacked(state, tensors))
        self._found = None
        return True

    def save(self) -> None:
        """Write the file, whole or not at all.

        Nothing is written without a path, before the first stage, and while finished stages are
        passed over.

        Raises
        ------
        OSError
            If it cannot be written; an older file of that name is left as it was.
        """
        if self.path is None or self._stage < 0 or self._found is not None:
            return
        tensors: dict[str, Tensor] = {}
        header = {
            "version": VERSION,
            "about": self.about,
            "stage": self._stage,
            "step": self.step,
            "state": {name: _packed(p.state_dict(), tensors) for name, p in self._parts.items()},
        }
        with replacing(self.path) as scratch:
            safetensors.torch.save_file(tensors, scratch, {_KEY: json.dumps(header)})

    def keep(self, job: Job[T]) -> Job[T]:
        """Run a job; write the file every so often, and when the job is closed.

        A job that fails leaves the file as it was: the last good state.
        """
        written = time.monotonic()
        with contextlib.closing(job):
            while True:
                try:
                    progress = next(job)
                except StopIteration as end:
                    result: T = end.value
                    return result
                try:
                    yield progress
                except GeneratorExit:
                    self.save()
                    raise
                if time.monotonic() - written > self.every:
                    self.save()
                    written = time.monotonic()


def _packed(state: Any, tensors: dict[str, Tensor]) -> Any:
    """Nested state as JSON, its tensors moved to ``tensors``; keys keep their type."""
    if isinstance(state, Tensor):
        name = str(len(tensors))
        tensors[name] = state.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(state, Mapping):
        return {"items": [[key, _packed(value, tensors)] for key, value in state.items()]}
    if isinstance(state, list | tuple):
        return [_packed(value, tensors) for value in state]
    return state


def _unpacked(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo `_packed`; tuples have become lists."""
    if isinstance(packed, list):
        return [_unpacked(value, tensors) for value in packed]
    if isinstance(packed, dict) and "tensor" in packed:
        return tensors[packed["tensor"]]
    if isinstance(packed, dict):
        return {key: _unpacked(value, tensors) for key, value in packed["items"]}
    return packed


def _read(path: Path, about: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path.name} is no whole safetensors file ({error}); copy it again or train anew"
        ) from error
    if _KEY not in metadata:
        raise ValueError(
            f"{path.name} is not of an interrupted training; choose the file that it wrote"
        )
    header: dict[str, Any] = json.loads(metadata[_KEY])
    if header["version"] != VERSION:
        raise ValueError(
            f"{path.name} is of version {header['version']} and this program goes on from version "
            f"{VERSION}; train anew"
        )
    was = header["about"]
    for name in sorted(was.keys() | about.keys()):
        if was.get(name) != about.get(name):
            raise ValueError(
                f"{path.name} is of a training with {name} {was.get(name)!r}, not "
                f"{about.get(name)!r}; go on with the same settings or train anew"
            )
    return header, tensors
