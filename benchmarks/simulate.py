"""Speed of the simulator beside plain numpy and scipy, and where its two routes differ.

The fast route against the algorithm of the papers' public simulator written in numpy (wedge, CTF
and noise as filters of one volume after the other), the full route against a plain projector and
back-projector that rotates the volume by scipy at every tilt. Every side rotates its particle.
Nothing is kept between volumes on the side of the peers, as in their original. One core each;
the last column is ours with a process a core.

    python benchmarks/simulate.py
"""

import argparse
import json
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.simulate.settings import PAPERS, ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.structures import library

STRUCTURES = ("4v6x", "3jb9", "3j9i", "4v8r", "1wcm")
VOXEL, SNR, DEFOCUS, CS, WEDGE, STEP = 12.0, 0.1, -5.0, 2.0, 30.0, 3.0
RESULTS = Path(__file__).parent / "results" / "simulate.json"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "routes.png"


# ------------------------------------------------------------------------------------ the peers


def rotated(density, box, generator):
    """A density of 8 Å a voxel, turned at random into a box of 12 Å a voxel."""
    matrix = Rotation.random(rng=generator).as_matrix() * (VOXEL / 8.0)
    offset = np.array(density.shape) // 2 - matrix @ np.full(3, box // 2)
    return ndimage.affine_transform(density, matrix, offset, (box,) * 3, order=1)


def wedge_mask(box):
    z, _, x = np.meshgrid(*[np.arange(box) - box // 2] * 3, indexing="ij")
    with np.errstate(divide="ignore", invalid="ignore"):
        return ~(np.degrees(np.arctan(np.abs(z / x))) > 90 - WEDGE)


def ctf(radius):
    wavelength = np.sqrt(150.4 / (300e3 * (1 + 300e3 / 1022000.0)))
    phase = (
        np.pi
        / 2
        * (CS * 1e7 * wavelength**3 * radius**4 - 2 * DEFOCUS * 1e4 * wavelength * radius**2)
    )
    return np.sin(phase) * np.exp(-((radius / (0.4 / (2 * VOXEL))) ** 2))


def band_pass(radius, highest, smooth):
    """``radius`` in Fourier pixels."""
    passed = np.where(radius <= highest, 1.0, np.exp(-(((radius - highest) / smooth) ** 2)))
    return np.where(passed < np.exp(-2), 0.0, passed)


def numpy_filters(density, box, generator):
    """The papers' public simulator, one volume."""

    def filtered(volume, mask):
        return np.fft.ifftn(np.fft.ifftshift(np.fft.fftshift(np.fft.fftn(volume)) * mask)).real

    volume = rotated(density, box, generator)
    grid = np.meshgrid(*[np.arange(box) - box // 2] * 3, indexing="ij")
    pixels = np.sqrt(sum(axis**2 for axis in grid))
    wedge = wedge_mask(box) & (pixels <= box / 2)
    transfer = ctf(pixels / (box * VOXEL))
    white = generator.standard_normal((box,) * 3)
    correction = white.var() / filtered(white, transfer * wedge).var()
    variance = filtered(volume, transfer * wedge).var() * correction
    sigma = np.sqrt(0.5 * variance / SNR)
    passed = band_pass(pixels, np.floor(box / 8 * 2 * VOXEL / 10), 2)
    noisy = filtered(volume, passed) + sigma * generator.standard_normal((box,) * 3)
    noisy = filtered(noisy, transfer)
    detector = band_pass(pixels, 1, 0.2 * box)
    noisy += filtered(sigma * generator.standard_normal((box,) * 3), detector)
    return filtered(filtered(noisy, passed), wedge)


def turned_about_y(volume, degrees):
    """Rotate (z, y, x) about y by linear interpolation."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    centre = np.array(volume.shape) // 2
    return ndimage.affine_transform(volume, matrix, centre - matrix @ centre, order=1)


def scipy_tilts(density, box, generator):
    """Project, image, ramp-filter and smear back in real space, one volume."""
    volume = rotated(density, box, generator)
    ky, kx = np.meshgrid(np.fft.fftfreq(box, VOXEL), np.fft.fftfreq(box, VOXEL), indexing="ij")
    radius = np.sqrt(ky**2 + kx**2)
    ramp = np.abs(kx)
    signal, noise = np.zeros_like(volume), np.zeros_like(volume)
    for degrees in np.arange(-60, 60 + STEP / 2, STEP):
        projection = turned_about_y(volume, degrees).sum(0)
        transfer = ctf(radius)
        image = np.fft.ifft2(np.fft.fft2(projection) * transfer * ramp).real
        before, after = generator.standard_normal((2, box, box))
        detector = np.exp(-((radius * 5 * VOXEL) ** 2))
        grain = np.fft.fft2(before) * transfer + np.fft.fft2(after) * detector
        grain = np.fft.ifft2(grain * ramp).real
        for images, total in ((image, signal), (grain, noise)):
            total += turned_about_y(np.broadcast_to(images, volume.shape), -degrees)
    return signal + noise * np.sqrt(signal.var() / (noise.var() * SNR))


# ---------------------------------------------------------------------------------- measurement


def settings(box, route):
    paper = PAPERS["practical-analysis"].model_dump()
    pixels = box * VOXEL // 40
    changes = {"box": box, "route": route, "resolution": (box * VOXEL / pixels,) * 2}
    return ImagingParams(**paper | changes | {"snr": (SNR, SNR), "tilt_step": STEP})


def of_peer(peer, box, count):
    """Volumes a second."""
    densities = [library().need(key).density.astype(np.float64) for key in STRUCTURES]
    generator = np.random.default_rng(0)
    started = time.perf_counter()
    for i in range(count):
        peer(densities[i % len(densities)], box, generator)
    return count / (time.perf_counter() - started)


def of_ours(params, count, batch, device="cpu"):
    """Volumes a second, read in batches."""
    structures = [library().need(key) for key in STRUCTURES]
    made = simulate_subtomograms(structures, params, per_class=count, seed=0, device=device)
    rows = np.random.default_rng(0).integers(0, len(made), count)
    made[rows[:batch]]  # plans of the transforms are made once
    started = time.perf_counter()
    for start in range(0, count, batch):
        made[rows[start : start + batch]]
    if device == "cuda":
        torch.cuda.synchronize()
    return count / (time.perf_counter() - started)


def of_all_cores(params, count, batch):
    """Volumes a second of a process a core, all at work at once."""
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        rates = [pool.submit(of_ours, params, count, batch) for _ in range(cores)]
        return sum(rate.result() for rate in rates)


def best(measure, repeats):
    return max(measure() for _ in range(repeats))


def speeds(repeats):
    rows = []
    for route, peer, counts, batch in (
        ("fourier", numpy_filters, (1024, 32), 64),
        ("tilts", scipy_tilts, (128, 8), 8),
    ):
        for box in (32, 40):
            params = settings(box, route)
            torch.set_num_threads(1)
            row = {
                "route": route,
                "box": box,
                "peer": peer.__name__,
                "peer_per_second": best(
                    lambda p=peer, b=box, n=counts[1]: of_peer(p, b, n), repeats
                ),
                "ours_per_second": best(
                    lambda p=params, n=counts[0], b=batch: of_ours(p, n, b), repeats
                ),
            }
            row["ours_all_cores"] = best(
                lambda p=params, n=counts[0], b=batch: of_all_cores(p, n, b), repeats
            )
            if torch.cuda.is_available():
                row["ours_cuda"] = best(
                    lambda p=params, n=counts[0], b=batch: of_ours(p, 16 * n, 16 * b, "cuda"),
                    repeats,
                )
            row["ratio"] = row["ours_per_second"] / row["peer_per_second"]
            rows.append(row)
            print(
                "{route:8} {box:4}³ {peer:14} {peer_per_second:8.1f} {ours_per_second:8.1f} "
                "× {ratio:6.1f} {ours_all_cores:8.1f}".format(**row)
                + (f" {row['ours_cuda']:10.1f}" if "ours_cuda" in row else ""),
                flush=True,
            )
    return rows


# -------------------------------------------------------------------------- where routes differ


def shells_of(volumes, seen):
    box = volumes.shape[-1]
    shells = imaging.radius((box,) * 3, 1 / box).round().long()
    return torch.fft.rfftn(volumes, dim=(1, 2, 3)) * seen, shells


def routes(count=50):
    """Per shell: correlation of both routes without noise, and the power of their noise."""
    box = 32
    seen = imaging.missing_wedge((box,) * 3, WEDGE)
    structures = [library().need(key) for key in STRUCTURES]
    spectra = {}
    for route in ("fourier", "tilts"):
        for name, snr in (("signal", 1e9), ("noise", 1e-9)):
            params = settings(box, route).model_copy(
                update={"snr": (snr, snr), "snr_convention": "power"}
            )
            made = simulate_subtomograms(structures, params, per_class=count // 5, seed=1)
            spectra[route, name], shells = shells_of(made[:], seen)
    correlation, power = [], {route: [] for route in ("fourier", "tilts")}
    for shell in range(1, box // 2):
        a, b = (spectra[route, "signal"][:, shells == shell] for route in ("fourier", "tilts"))
        correlation.append(float((a * b.conj()).real.sum() / (a.abs().norm() * b.abs().norm())))
        for route, values in power.items():
            of_shell = (shells == shell) & (seen > 0)
            values.append(float(spectra[route, "noise"][:, of_shell].abs().square().mean()))
    return {
        "fsc": correlation,
        "noise": {route: (np.array(v) / np.sum(v)).tolist() for route, v in power.items()},
    }


def plot(found, path):
    frequency = np.arange(1, 16) / (32 * VOXEL)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(frequency, found["fsc"], color="#0072b2")
    left.axhline(0.9, color="grey", lw=0.8, ls=":")
    left.axvline(0.5 / (2 * VOXEL), color="grey", lw=0.8, ls="--", label="half of Nyquist")
    left.set(xlabel="frequency, 1/Å", ylabel="FSC of both routes", ylim=(0, 1.02), title="signal")
    left.legend(frameon=False)
    for (route, values), colour in zip(found["noise"].items(), ("#0072b2", "#d55e00"), strict=True):
        right.plot(frequency, values, color=colour, label=route)
    right.set(xlabel="frequency, 1/Å", ylabel="share of the noise a voxel", title="noise")
    right.legend(frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="the best counts")
    repeats = parser.parse_args().repeats
    print("route     box  peer              peer/s   ours/s    ratio  all cores")
    rows = speeds(repeats)
    found = routes()
    plot(found, PICTURE)
    print("FSC of both routes by shell:", " ".join(f"{value:.3f}" for value in found["fsc"]))
    machine = {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    RESULTS.write_text(json.dumps({"machine": machine, "speed": rows, "routes": found}, indent=2))


if __name__ == "__main__":
    main()
