"""Lists of ours in a project of copick, and lists of copick read here.

copick holds zarr at version 2, which napari cannot use, so it has an environment of its own:

    python -m venv copick && copick/bin/pip install copick
    PYTHONPATH=src copick/bin/python benchmarks/copick_project.py

prints how far positions and orientations move on the way from here to copick and back, and stops
with an error where that is more than 0.001 voxel or 0.001°.
"""

import json
import tempfile
from pathlib import Path

import copick
import numpy as np
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import (
    ListContext,
    read_particles,
    write_particles,
    written_files,
)
from napari_cryoshift.core.types import Particles

COUNT = 200
KNOWN = ListContext(voxel_size=7.5, shape=(61, 87, 75), tomogram="TS_01")
KINDS = ("80S ribosome", "a.b")


def main():
    rng = np.random.default_rng(0)
    before = Particles.at(
        rng.uniform(0, np.array(KNOWN.shape) - 1, (COUNT, 3)),
        predicted=rng.choice(KINDS, COUNT),
        score=rng.uniform(size=COUNT),
        orientations=Rotation.random(COUNT, random_state=0).as_matrix(),
    )
    with tempfile.TemporaryDirectory() as folder:
        picks, files = put_in_project(Path(folder), before)
        for name, own in picks.items():
            rows = before.take(before.predicted == name)
            xyz = own.full_positions() / KNOWN.voxel_size
            compare(f"copick reads {name}", rows, xyz, own.numpy()[1][:, :3, :3])
        for name, own in picks.items():
            rows = before.take(before.predicted == name)
            own.from_numpy(*own.numpy())
            files[name].unlink()
            own.store()
            after = read_particles(files[name], context=KNOWN)
            compare(f"copick wrote {name}", rows, after.positions[:, ::-1], after.orientations)


def put_in_project(folder, particles):
    """Write a list into a new project; return copick's picks, and their files, by class."""
    place = folder / "ExperimentRuns" / KNOWN.tomogram / "Picks"
    place.mkdir(parents=True)
    path = place / "list.json"
    write_particles(path, particles, "copick", context=KNOWN)
    objects, files = {}, {}
    for file, rows in written_files(path, particles, "copick", context=KNOWN).items():
        name = json.loads(file.read_text(encoding="utf-8"))["pickable_object_name"]
        kind = rows.predicted[0]
        objects[kind] = name
        files[kind] = file.rename(place / f"cryoshift_0_{name}.json")
    config = {
        "config_type": "filesystem",
        "name": "lists",
        "version": copick.__version__,
        "pickable_objects": [{"name": name, "is_particle": True} for name in objects.values()],
        "overlay_root": f"local://{folder}",
    }
    run = copick.from_string(json.dumps(config)).get_run(KNOWN.tomogram)
    picks = {}
    for kind, name in objects.items():
        (picks[kind],) = run.get_picks(name)
    return picks, files


def compare(what, particles, xyz, turns):
    """Print how far positions and orientations are from those of the particles."""
    moved = np.abs(xyz - particles.positions[:, ::-1]).max()
    turned = Rotation.from_matrix(turns) * Rotation.from_matrix(particles.orientations).inv()
    angle = np.degrees(turned.magnitude().max())
    print(f"{what:26}{len(xyz):5} particles, {moved:.1e} voxel, {angle:.1e}°")
    if moved > 1e-3 or angle > 1e-3:
        raise SystemExit(f"{what}: particles are elsewhere, or turned otherwise")


if __name__ == "__main__":
    main()
