"""A trained method as a file: weights by safetensors, everything else as JSON in its header."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from .files import replacing
from .methods import METHODS, Method, MethodParams

VERSION = 1
_KEY = "napari-cryoshift"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that is needed to use a trained method again.

    Attributes
    ----------
    method
        Its name in `METHODS`.
    params
        Of the method.
    classes
        Names of the classes it predicts; () for an embedding that serves any class.
    box, voxel_size
        Of the volumes it takes: voxels and Å. They are protein positive and standardised.
    weights
        Its ``state_dict``.
    card
        What it was trained on and how well it does, as JSON values.
    """

    method: str
    params: MethodParams
    classes: tuple[str, ...]
    box: int
    voxel_size: float
    weights: Mapping[str, Tensor]
    card: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, method: Method, voxel_size: float, card: Mapping[str, Any]) -> "Checkpoint":
        """Take a checkpoint of a method as it is now."""
        weights = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in method.state_dict().items()
        }
        return cls(
            method.name, method.params, method.classes, method.box, voxel_size, weights, dict(card)
        )

    def build(self) -> Method:
        """Make the method again, in evaluation mode on the CPU.

        Raises
        ------
        ValueError
            If the weights are those of another network.
        """
        method = METHODS[self.method](self.params, self.box, self.classes)
        try:
            method.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            raise ValueError(
                f"the weights of this {self.method!r} checkpoint do not fit its network; "
                "update napari-cryoshift or train anew"
            ) from error
        return method.eval()

    @property
    def encoder(self) -> dict[str, Tensor]:
        """Weights of its encoder, for a training that goes on from there (`TrainingData.start`)."""
        prefix = "encoder."
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.weights.items()
            if name.startswith(prefix)
        }

    @cached_property
    def digest(self) -> str:
        """A short name of these very weights, for caches."""
        content = hashlib.sha256(f"{self.method} {self.box} {self.voxel_size}".encode())
        for name in sorted(self.weights):
            content.update(name.encode())
            content.update(self.weights[name].contiguous().numpy().tobytes())
        return content.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises
        ------
        OSError
            If it cannot be written; an older file of that name is left as it was.
        """
        header = {
            "version": VERSION,
            "method": self.method,
            "params": self.params.model_dump(mode="json"),
            "classes": self.classes,
            "box": self.box,
            "voxel_size": self.voxel_size,
            "preprocessing": "protein positive, mean 0, standard deviation 1",
            "card": self.card,
        }
        content = safetensors.torch.save(dict(self.weights), {_KEY: json.dumps(header)})
        with replacing(path) as scratch:
            scratch.write_bytes(content)

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a file that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If `save` did not write it, it is damaged, or of another version.
        """
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}; check the name and the folder")
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"{path.name} is no whole safetensors file ({error}); copy it again or train anew"
            ) from error
        if _KEY not in metadata:
            raise ValueError(
                f"{path.name} holds weights but not how to use them; "
                "choose a checkpoint that napari-cryoshift wrote"
            )
        header = json.loads(metadata[_KEY])
        if header.get("version") != VERSION:
            raise ValueError(
                f"{path.name} is a checkpoint of version {header.get('version')} and this program "
                f"reads version {VERSION}; update napari-cryoshift or train anew"
            )
        if header["method"] not in METHODS:
            raise ValueError(
                f"{path.name} is of method {header['method']!r}, which is not one of "
                f"{', '.join(METHODS)}; update napari-cryoshift"
            )
        params_type = METHODS[header["method"]].params_type
        try:
            params = params_type.model_validate(header["params"])
        except ValidationError as error:
            raise ValueError(
                f"{path.name} has {error.error_count()} parameters that this program does not "
                "know; update napari-cryoshift or train anew"
            ) from error
        return cls(
            method=header["method"],
            params=params,
            classes=tuple(header["classes"]),
            box=header["box"],
            voxel_size=header["voxel_size"],
            weights=weights,
            card=header["card"],
        )
