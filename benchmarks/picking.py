"""Picking speed, memory and agreement: ours beside scikit-image and plain scipy.

    python benchmarks/picking.py --size small    # 200 × 400 × 400 voxels, the three pickers
    python benchmarks/picking.py --size full     # then ours alone on 500 × 1000 × 1000 (2 GB)

Noise with balls of 14 voxels diameter, one in each cell of 40³ voxels, as float32 in a
memory-mapped file. Each picker runs in a process of its own, with the Gaussians of a particle of
that diameter. Peak memory is the highest anonymous memory above that before the call: what the
picker allocates beside the mapped file. CPU is the processor time of all threads, which a busy
machine changes less than the time. Agreement is the share of a picker's candidates that ours
lists within one voxel.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import scipy
import skimage
from scipy.ndimage import gaussian_filter
from skimage.feature import blob_dog, peak_local_max

from napari_cryoshift.core.metrics import match_positions
from napari_cryoshift.core.pick import PickParams, pick
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import Tomogram

SIZES = {"small": (200, 400, 400), "full": (500, 1000, 1000)}
VOXEL = 20.0  # Å
DIAMETER = 280.0  # Å
SIGMA = DIAMETER / (2 * np.sqrt(3)) / VOXEL  # voxels
RATIO = 1.1
CELL = 40  # voxels
CONTRAST = 0.5  # of a ball, in standard deviations of the noise
CUT = 4.0  # in root mean squares of the difference of Gaussians
RESULTS = Path(__file__).parent / "results" / "picking.json"


def make_volume(path: Path, shape: tuple[int, int, int], seed: int = 0) -> npt.NDArray[np.float64]:
    """Write noise with balls to a .npy file and return the centres of the balls."""
    rng = np.random.default_rng(seed)
    volume = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    for plane in volume:
        rng.standard_normal(out=plane, dtype=np.float32)
    radius = DIAMETER / 2 / VOXEL
    reach = int(np.ceil(radius)) + 1
    centres = []
    for corner in product(*(range(0, n - CELL + 1, CELL) for n in shape)):
        centre = corner + rng.uniform(reach, CELL - reach, 3)
        first = np.floor(centre).astype(int) - reach
        box = tuple(slice(a, a + 2 * reach + 1) for a in first)
        offset = np.indices((2 * reach + 1,) * 3).T + first - centre
        distance = np.linalg.norm(offset, axis=-1).T
        volume[box] += CONTRAST * (distance <= radius)
        centres.append(centre)
    volume.flush()
    return np.array(centres)


def pick_ours(volume: npt.NDArray[np.float32], threshold: float) -> npt.NDArray[np.float64]:
    """Pick everything; the score, already in root mean squares, is cut afterwards."""
    tomogram = Tomogram(volume, VOXEL, "benchmark", dark=False)
    particles = finish(pick(tomogram, PickParams(diameter=DIAMETER, sigma_ratio=RATIO)))
    return particles.positions[particles.score >= CUT]


def pick_blob_dog(volume: npt.NDArray[np.float32], threshold: float) -> npt.NDArray[np.float64]:
    """Run scikit-image's picker with one pair of Gaussians; it divides by ratio − 1."""
    blobs = blob_dog(
        volume,
        min_sigma=SIGMA,
        max_sigma=SIGMA,
        sigma_ratio=RATIO,
        threshold=threshold / (RATIO - 1),
    )
    return blobs[:, :3]


def pick_scipy(volume: npt.NDArray[np.float32], threshold: float) -> npt.NDArray[np.float64]:
    """Run two scipy Gaussians and scikit-image's peaks at our least distance."""
    difference = gaussian_filter(volume, SIGMA) - gaussian_filter(volume, RATIO * SIGMA)
    distance = int(PickParams().min_distance * DIAMETER / VOXEL)
    return peak_local_max(
        difference, min_distance=distance, threshold_abs=threshold, exclude_border=False
    )


PICKERS: dict[str, Callable[..., npt.NDArray[np.float64]]] = {
    "napari-cryoshift": pick_ours,
    "scikit-image blob_dog": pick_blob_dog,
    "scipy + peak_local_max": pick_scipy,
}


def anonymous_memory() -> int:
    """Memory of this process in bytes, without mapped files where the system tells them apart."""
    memory = psutil.Process().memory_info()
    return memory.rss - getattr(memory, "shared", 0)


def run_here(name: str, file: Path, threshold: float, repeats: int) -> None:
    """Run one picker in this process and print its figures; positions go beside the file."""
    volume = np.load(file, mmap_mode="r")
    done = threading.Event()
    peak = before = anonymous_memory()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, anonymous_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds, processor_seconds = [], []
    for _ in range(repeats):
        start, processor_start = time.perf_counter(), time.process_time()
        positions = PICKERS[name](volume, threshold)
        seconds.append(time.perf_counter() - start)
        processor_seconds.append(time.process_time() - processor_start)
    done.set()
    watcher.join()
    np.save(file.with_suffix(".positions.npy"), positions)
    figures = {
        "seconds": min(seconds),
        "processor_seconds": min(processor_seconds),
        "peak_mb": (peak - before) / 2**20,
    }
    print(json.dumps(figures))


def run_apart(
    name: str, file: Path, threshold: float, repeats: int
) -> tuple[dict[str, float], npt.NDArray[np.float64]]:
    """Run one picker in a process of its own."""
    command = [sys.executable, __file__, "--run", name, str(file), str(threshold), str(repeats)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output), np.load(file.with_suffix(".positions.npy"))


def compare(
    size: str, pickers: list[str], folder: Path, repeats: int
) -> list[dict[str, float | str]]:
    """Run pickers, ours first, on one volume and print a row of the table for each."""
    file = folder / f"{size}.npy"
    truth = make_volume(file, SIZES[size])
    threshold = 0.0
    if pickers[1:]:
        volume = np.load(file)
        difference = gaussian_filter(volume, SIGMA) - gaussian_filter(volume, RATIO * SIGMA)
        threshold = CUT * float(np.sqrt(np.mean(np.square(difference, dtype=np.float64))))
        del volume, difference
    rows: list[dict[str, float | str]] = []
    for name in pickers:
        figures, positions = run_apart(name, file, threshold, repeats)
        if not rows:
            ours, our_seconds = positions, figures["seconds"]
        row: dict[str, float | str] = {
            "volume": " × ".join(map(str, SIZES[size])),
            "picker": name,
            **figures,
            "times_ours": figures["seconds"] / our_seconds,
            "candidates": len(positions),
            "balls_found": float(
                np.mean(match_positions(truth, positions, DIAMETER / 4 / VOXEL) >= 0)
            ),
            "agreement": float(np.mean(match_positions(positions, ours, 1.0) >= 0)),
        }
        print(
            "{volume:18} {picker:24} {seconds:8.2f} {times_ours:8.1f} "
            "{processor_seconds:8.2f} {peak_mb:9.0f} "
            "{candidates:11} {balls_found:12.3f} {agreement:10.3f}".format(**row),
            flush=True,
        )
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--repeats", type=int, default=3, help="the best time counts")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        name, file, threshold, repeats = arguments.run
        run_here(name, Path(file), float(threshold), int(repeats))
        return

    print(
        f"{'volume':18} {'picker':24} {'time, s':>8} {'× ours':>8} {'CPU, s':>8} "
        f"{'peak, MB':>9} "
        f"{'candidates':>11} {'balls found':>12} {'agreement':>10}"
    )
    with tempfile.TemporaryDirectory() as folder:
        rows = compare("small", list(PICKERS), Path(folder), arguments.repeats)
        if arguments.size == "full":
            rows += compare("full", ["napari-cryoshift"], Path(folder), 1)
    machine = {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-image": skimage.__version__,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
