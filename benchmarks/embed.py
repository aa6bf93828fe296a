"""Volumes a second: the shipped embedding, the published network and the matched filter.

The published network is ProtoNet3D with 64 filters a block on 32³ voxels in plain float32; the
shipped embedding and the matched filter (36 structures, 550 rotations, 19 shifts) look at the same
384 Å in 24³ voxels. The best of some repeats, with one and two threads, and on a GPU if there is
one.

    python benchmarks/embed.py
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch

from napari_cryoshift.core.matching import MatchParams, matched_filter, rotation_grid, shift_grid
from napari_cryoshift.core.networks.protonet3d import ProtoNet3D
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Subtomograms
from napari_cryoshift.core.workflows import shipped_checkpoint

BATCH = 64
STRUCTURES = 36


def seconds(work, repeats, device):
    """Time the fastest of some repeats, after one that warms up."""
    times = []
    for _ in range(1 + repeats):
        wait_for(device)
        began = time.perf_counter()
        work()
        wait_for(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def wait_for(device):
    if device == "cuda":
        torch.cuda.synchronize()


def of_network(network, box, device, repeats):
    """Volumes a second, a batch at a time, as the program does it."""
    count = BATCH if device == "cpu" else 64 * BATCH
    volumes = noise(count, box).to(device)
    taken = seconds(lambda: [network(part) for part in volumes.split(BATCH)], repeats, device)
    return count / taken


def of_matched_filter(structures, device, repeats):
    """Volumes a second once the templates are made, and the seconds until the first are done."""
    count = 512 if device == "cpu" else 8192
    volumes = Subtomograms.from_memory(noise(count, 24), 16.0)
    rates, waits = [], []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        done = [
            (progress.step, time.perf_counter())
            for progress in matched_filter(volumes, structures, device=device)
            if progress.phase == "comparing with the structures"
        ]
        (first, earlier), (last, later) = done[0], done[-1]
        rates.append((last - first) / (later - earlier))
        waits.append(earlier - began)
    return max(rates[1:]), min(waits[1:])


def noise(count, box):
    return torch.randn(count, box, box, box, generator=torch.Generator().manual_seed(0))


def measure(device, threads, repeats):
    """Volumes a second of all three."""
    torch.set_num_threads(threads)
    checkpoint = shipped_checkpoint()
    shipped = checkpoint.build().to(device)
    published = ProtoNet3D(32).eval().to(device)
    narrow = (entry.id for entry in library().entries.values() if entry.diameter <= 24 * 16.0)
    structures = [library()[key] for key, _ in zip(narrow, range(STRUCTURES), strict=False)]
    with torch.inference_mode():
        of_published = of_network(published, 32, device, repeats)
    of_shipped = of_network(shipped.embed, checkpoint.box, device, repeats)
    matched, first = of_matched_filter(structures, device, repeats)
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": threads,
        "shipped": of_shipped,
        "protonet3d": of_published,
        "ratio": of_shipped / of_published,
        "matched_filter": matched,
        "first_after_seconds": first,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="the best counts")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    args = parser.parse_args()
    params = MatchParams()
    rotations = len(rotation_grid(params.rotation_step))
    shifts = len(shift_grid(params.shift, params.shift_step))
    print(f"matched filter: {STRUCTURES} structures, {rotations} rotations, {shifts} shifts")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("device   threads   shipped   ProtoNet3D   ratio   matched filter   first after, s")
    rows = []
    settings = [("cpu", threads) for threads in args.threads]
    if torch.cuda.is_available():
        settings.append(("cuda", args.threads[0]))
    for device, threads in settings:
        rows.append(measure(device, threads, args.repeats))
        print(
            "{device:8} {threads:7} {shipped:9.0f} {protonet3d:12.1f} {ratio:7.1f} "
            "{matched_filter:16.0f} {first_after_seconds:16.1f}".format(**rows[-1]),
            flush=True,
        )
    file = Path(__file__).parent / "results" / "embed.json"
    about = {"torch": torch.__version__, "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    file.write_text(json.dumps({**about, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
