"""Particle lists of other programs, read and written again; and lists of a million particles.

    python benchmarks/lists.py FOLDER

prints how long a million particles take in every format (processor time, which other work on the
machine changes less than the time) and how much memory beyond that before, each in a process of its
own; then, for every file in FOLDER, what it was taken for, what is in it, and how far positions
move when it is written in the same format and read again. Voxels of 10 Å and a binning of 4 are
assumed where a list does not say; RELION 5 lists are read with the ``…tomograms.star`` beside them.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.formats import (
    FORMATS,
    ListContext,
    guess_format,
    read_particles,
    write_particles,
)
from napari_cryoshift.core.types import Particles

COUNT = 1_000_000
KINDS = ("80S ribosome", "proteasome", "ferritin")
KNOWN = ListContext(voxel_size=10.0, binning=4.0, unbinned_shape=(2000, 4000, 4000))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="lists of other programs")
    parser.add_argument("--count", type=int, default=COUNT, help="rows of the long lists")
    parser.add_argument("--one", choices=FORMATS, help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=("write", "read"), help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.step, args.into, args.count)))
        return
    figures = {"rows": args.count, "formats": long_lists(args.count)}
    if args.folder:
        figures["files"] = real_lists(args.folder)
    file = Path(__file__).parent / "results" / "lists.json"
    file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def real_lists(folder):
    print(f"{'file':46}{'format':12}{'rows':>7}  {'x, y, z in voxels':42}{'moved by':>10}")
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            row = there_and_back(path)
        except ValueError as error:
            said = str(error).replace(f"{path.parent}/", "")
            found.append({"file": path.name, "refused": said})
            print(f"{path.name[:45]:46}refused: {said}")
            continue
        found.append({"file": path.name, **row})
        ranges = ", ".join(f"{low:g} – {high:g}" for low, high in row["ranges"].values())
        print(
            f"{path.name[:45]:46}{row['format']:12}{row['rows']:7}  {ranges:42}"
            f"{row['moved by, voxels']:10.1e}"
        )
    return found


def there_and_back(path):
    """Read a list, write it in its format and read that; return what is in it."""
    tomograms = next((file for file in path.parent.glob("*tomograms.star") if file != path), None)
    name = guess_format(path)
    known = KNOWN
    if name == "relion5" and tomograms:
        known = ListContext(voxel_size=10.0, tomograms_star=tomograms)
    before = read_particles(path, context=known)
    with tempfile.TemporaryDirectory() as folder:
        suffix = FORMATS[name].suffix
        said = write_particles(Path(folder) / f"again{suffix}", before, name, context=known)
        again = Path(folder) / f"again{suffix}"
        files = [again] if again.exists() else sorted(Path(folder).glob(f"again_*{suffix}"))
        after = [read_particles(file, name, context=known) for file in files]
    places = np.concatenate([one.positions for one in after])
    assert len(places) == len(before), (path, len(places), len(before))
    # In any order: some formats sort particles by class.
    far = max(
        cKDTree(places).query(before.positions)[0].max(),
        cKDTree(before.positions).query(places)[0].max(),
    )
    low, high = before.positions.min(axis=0), before.positions.max(axis=0)
    return {
        "format": name,
        "rows": len(before),
        "tomograms": len(set(before.tomogram)),
        "classes": sorted(set(before.predicted) - {""}),
        "scored": bool(np.isfinite(before.score).any()),
        "oriented": before.orientations is not None,
        "ranges": {
            axis: [round(float(low[k]), 1), round(float(high[k]), 1)]
            for axis, k in zip("xyz", (2, 1, 0), strict=True)
        },
        "moved by, voxels": float(far),
        "said": said,
    }


def long_lists(count):
    print(f"{count:,} particles")
    print(f"{'format':14}{'MB':>7}{'write, s':>10}{'read, s':>10}{'write, GB':>11}{'read, GB':>10}")
    table = {}
    for name in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            write, read = (apart(name, step, folder, count) for step in ("write", "read"))
            size = (Path(folder) / f"long{FORMATS[name].suffix}").stat().st_size
        table[name] = {"MB": round(size / 1e6), "write": write, "read": read}
        print(
            f"{name:14}{size / 1e6:7.0f}{write['cpu, s']:10.1f}{read['cpu, s']:10.1f}"
            f"{write['GB']:11.2f}{read['GB']:10.2f}",
            flush=True,
        )
    return table


def apart(name, step, folder, count):
    """Run `measure` in a process of its own, whose memory nothing was in before."""
    words = ["--one", name, "--step", step, "--into", folder, "--count", str(count)]
    return json.loads(subprocess.check_output([sys.executable, __file__, *words], text=True))


def measure(name, step, folder, count):
    """Write or read one long list; return seconds, and the peak of memory above that before."""
    path = folder / f"long{FORMATS[name].suffix}"
    shape = (500, 1000, 1000)
    tomograms = tuple(f"TS_{k:02}" for k in range(1, 21))
    known = ListContext(
        voxel_size=10.0, shape=shape, binning=4.0, tomograms=tomograms, diameter=200.0
    )
    if step == "write":
        particles = many(count, shape, tomograms, name)
        # Loads what the format loads when it is used first.
        write_particles(path, particles.take(np.arange(10)), name, context=known)
    before = psutil.Process().memory_info().rss
    began = time.process_time()
    if step == "write":
        write_particles(path, particles, name, context=known)
    else:
        found = read_particles(path, name, context=known)
        assert len(found) == count
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"cpu, s": round(seconds, 1), "GB": round((peak - before) / 1e9, 2)}


def many(count, shape, tomograms, name):
    """Make particles that the format writes as one file."""
    rng = np.random.default_rng(0)
    holds = FORMATS[name].holds if name != "copick" else {}
    return Particles.at(
        rng.uniform(0, np.array(shape) - 1, (count, 3)),
        id=np.arange(count) + 1,
        predicted=rng.choice(KINDS, count) if "class" in holds else KINDS[0],
        score=rng.integers(1, 1000, count),
        tomogram=rng.choice(tomograms, count) if "tomogram" in holds else tomograms[0],
        orientations=Rotation.random(count, random_state=0).as_matrix(),
    )


if __name__ == "__main__":
    main()
