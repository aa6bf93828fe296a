"""A crowded simulated tomogram beside real ones: grey values, power spectrum, local contrast.

    python benchmarks/realism.py FOLDER           # 200 × 192 × 192 voxels of 10 Å, half a minute
    python benchmarks/realism.py FOLDER --full    # 200 × 512 × 512, what the documentation shows

FOLDER holds empiar10499_TS01_wbp_20A.mrc (a whole Mycoplasma; weighted back-projection, no more)
and empiar11658_tomo171_31.36A.mrc.gz (a lamella of a cell; by its spectrum, its CTF was undone and
its noise filtered, so that the simulated one beside it is deconvolved by the usual Wiener filter,
and low-passed to 80 Å). The low-pass, the noise, the numbers of particles and the patches of the
cytosol were chosen in sight of the real tomograms.

The simulated tomogram is brought to the voxel size of each of them, and all three to the coarsest.
Measured is the middle 1,200 Å along z, without a tenth of the other sides at either end,
standardised by median and median absolute deviation:

- grey values: skewness and excess kurtosis of what lies within five deviations (beads and their
  streaks would drown the rest), and the share beyond;
- power spectrum, radial, over frequencies within 55° of the x axis towards z, which every tilt
  series here has seen: its logarithmic slopes from 1/600 to 1/200 Å, and from there to 80 % of
  Nyquist, and the share of the power below 1/200 Å;
- local contrast: variance of what is coarser than 100 Å in windows of 200 Å over the variance of
  what is finer; median over the windows, and its 10th and 90th percentile.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import matplotlib
import mrcfile
import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage, stats

from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate import imaging
from napari_cryoshift.core.simulate.tomogram import (
    CrowdedParams,
    CrowdedTomogram,
    simulate_tomogram,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
REAL = {
    "EMPIAR-10499": ("empiar10499_TS01_wbp_20A.mrc", 20.0),
    "EMPIAR-11658": ("empiar11658_tomo171_31.36A.mrc.gz", 31.36),
}
MIDDLE = 1200.0  # Å along z
MARGIN = 0.1  # of the sides in x and y, where real tomograms have lost tilts
LOW_PASS = 80.0  # Å, where it falls to 1/e
SPLIT = 200.0  # Å, between the two slopes
VIEW = 4000.0  # Å, side of the pictures
SLAB = 90.0  # Å, thickness of the pictures

Volume = npt.NDArray[np.float32]
Groups = dict[str, dict[str, tuple[Volume, float]]]


def cell(full: bool) -> CrowdedParams:
    """Return a cell: ribosomes and seven other complexes in crowded cytosol, 160 nm of ice."""
    shape, share = ((200, 512, 512), 1) if full else ((200, 192, 192), 7)
    copies = [300, 50, 70, 70, 70, 70, 70, 70]
    return CrowdedParams(
        shape=shape,
        voxel_size=10.0,
        particles_per_class=tuple(max(n // share, 1) for n in copies),
        crowding=0.15,
        membranes=4,
        membrane_forms=("sheet", "vesicle", "tube", "vesicle"),
        beads=5 if full else 1,
        ice={"thickness": 1600.0, "tilt": 3.0, "relief": 30.0},
        snr=1.0,
        defocus=-5.0,
        resolution=20.0,
        tilt_series={"dose": 120.0},
    )


def simulate(params: CrowdedParams) -> tuple[CrowdedTomogram, dict[str, float]]:
    """Simulate a cell, and say what it took."""
    start = time.perf_counter()
    simulated = finish(simulate_tomogram(params))
    return simulated, {
        "minutes": (time.perf_counter() - start) / 60,
        "of processor time": time.process_time() / 60,
        "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "particles": len(simulated.particles),
        "classes": len(simulated.names),
        "packing": simulated.packing,
    }


def resample(volume: Volume, voxel_size: float, new: float) -> Volume:
    """Crop the Fourier transform of a volume, so that its voxels get a new size."""
    if new <= voxel_size:
        return volume
    spectrum = np.fft.fftshift(np.fft.fftn(volume))
    sides = [round(n * voxel_size / new) for n in volume.shape]
    corner = [n // 2 - m // 2 for n, m in zip(volume.shape, sides, strict=True)]
    kept = spectrum[tuple(slice(a, a + m) for a, m in zip(corner, sides, strict=True))]
    cropped = np.fft.ifftn(np.fft.ifftshift(kept)).real * (np.prod(sides) / volume.size)
    return cropped.astype(np.float32)


def deconvolve(volume: Volume, voxel_size: float, params: CrowdedParams) -> Volume:
    """Undo the CTF at 0° by the Wiener filter of the field (tom_deconv), and low-pass."""
    k = imaging.radius(volume.shape, voxel_size)
    ctf = imaging.ctf(k, params.defocus)
    of_nyquist = 2 * voxel_size * k
    high_pass = (1 - torch.cos(torch.pi * (of_nyquist / 0.02).clamp(max=1))) / 2
    ratio = 1000 * torch.exp(-100 / voxel_size * of_nyquist) * high_pass
    wiener = ctf / (ctf**2 + 1 / ratio.clamp(min=1e-9)) * imaging.envelope(k, LOW_PASS)
    restored = torch.fft.irfftn(torch.fft.rfftn(torch.from_numpy(volume)) * wiener, s=volume.shape)
    return restored.numpy()


def middle(volume: Volume, voxel_size: float) -> Volume:
    """Cut the middle out, and standardise it by its median and median absolute deviation."""
    thick = min(round(MIDDLE / voxel_size), len(volume))
    start = (len(volume) - thick) // 2
    _, y, x = volume.shape
    inner = tuple(slice(round(MARGIN * n), round((1 - MARGIN) * n)) for n in (y, x))
    part = volume[(slice(start, start + thick), *inner)]
    centred = part - np.median(part)
    return centred / (1.4826 * np.median(np.abs(centred)))


def spectrum(volume: Volume, voxel_size: float) -> tuple[Volume, Volume]:
    """Radial power over the frequencies that a tilt series sees; 1/Å and power."""
    windows = np.meshgrid(*(np.hanning(n) for n in volume.shape), indexing="ij", sparse=True)
    windowed = volume * windows[0] * windows[1] * windows[2]
    power = np.abs(np.fft.rfftn(windowed)) ** 2
    z, y, x = volume.shape
    kz, ky, kx = np.meshgrid(
        np.fft.fftfreq(z, voxel_size),
        np.fft.fftfreq(y, voxel_size),
        np.fft.rfftfreq(x, voxel_size),
        indexing="ij",
        sparse=True,
    )
    radius = np.sqrt(kz**2 + ky**2 + kx**2)
    seen = np.abs(kz) <= np.tan(np.deg2rad(55)) * np.abs(kx)
    width = 1 / (min(y, x) * voxel_size)
    shell = np.rint(radius / width).astype(int)
    shells = min(y, x) // 2
    keep = seen & (shell < shells)
    count = np.bincount(shell[keep], minlength=shells)
    sums = np.bincount(shell[keep], power[keep], minlength=shells)
    filled = count > 0
    return (np.arange(shells) * width)[filled], (sums[filled] / count[filled])


def slope(k: Volume, power: Volume, low: float, high: float) -> float:
    """Exponent of the frequency that fits the power between two frequencies."""
    band = (k >= low) & (k <= high)
    return float(np.polyfit(np.log(k[band]), np.log(power[band]), 1)[0])


def local_contrast(volume: Volume, voxel_size: float) -> Volume:
    """Variance of what is coarse over variance of what is fine, a value a window."""
    coarse = ndimage.gaussian_filter(volume, 100 * 0.225 / voxel_size)
    fine = volume - coarse
    window = max(round(200 / voxel_size), 2)

    def variance(part: Volume) -> Volume:
        mean = ndimage.uniform_filter(part, window)
        return ndimage.uniform_filter(part**2, window) - mean**2

    ratio = variance(coarse) / variance(fine).clip(min=1e-12)
    half = window // 2
    return ratio[half::window, half::window, half::window].ravel()


def measure(volume: Volume, voxel_size: float) -> dict[str, float]:
    """Measure a volume that is standardised."""
    grey = volume[np.abs(volume) < 5]
    k, power = spectrum(volume, voxel_size)
    above = k > 0
    coarse = above & (k < 1 / SPLIT)
    weighted = power * k**2
    low, median, high = np.percentile(local_contrast(volume, voxel_size), [10, 50, 90])
    return {
        "skewness": float(stats.skew(grey)),
        "excess kurtosis": float(stats.kurtosis(grey)),
        "beyond 5 deviations, %": float(100 * np.mean(np.abs(volume) >= 5)),
        "slope to 1/200 Å": slope(k, power, 1 / 600, 1 / SPLIT),
        "slope beyond": slope(k, power, 1 / SPLIT, 0.4 / voxel_size),
        "power below 1/200 Å, %": float(100 * weighted[coarse].sum() / weighted[above].sum()),
        "local contrast": float(median),
        "its 10th percentile": float(low),
        "its 90th percentile": float(high),
    }


def picture(volumes: dict[str, tuple[Volume, float]], path: Path) -> None:
    """Draw central slabs, xy above xz, all with the same field of view and thickness."""
    fig, axes = plt.subplots(
        2, len(volumes), figsize=(4.2 * len(volumes), 6.6), height_ratios=(4, 3), squeeze=False
    )
    for column, (name, (volume, size)) in zip(axes.T, volumes.items(), strict=True):
        thick = max(round(SLAB / size), 1)
        views = []
        for axis in (0, 1):
            start = (volume.shape[axis] - thick) // 2
            views.append(volume.take(range(start, start + thick), axis=axis).mean(axis=axis))
        low, high = np.percentile(views[0], [0.3, 99.7])
        for panel, view, height in zip(column, views, (VIEW, 0.75 * VIEW), strict=True):
            across = np.array([view.shape[1], view.shape[0]]) * size / 2
            extent = [-across[0], across[0], -across[1], across[1]]
            panel.imshow(view, cmap="gray", vmin=low, vmax=high, extent=extent)
            panel.set(xlim=(-VIEW / 2, VIEW / 2), ylim=(-height / 2, height / 2))
            panel.set(xticks=[], yticks=[], facecolor="0.5")
        column[0].set_title(f"{name}, {size:g} Å")
    axes[0, 0].set_ylabel(f"xy, {VIEW / 10:.0f} nm wide, {SLAB / 10:.0f} nm thick")
    axes[1, 0].set_ylabel("xz")
    fig.tight_layout()
    fig.savefig(path, dpi=80)


def read_real(folder: Path) -> dict[str, Volume]:
    """Read the real tomograms."""
    volumes = {}
    for name, (file, _) in REAL.items():
        with mrcfile.open(folder / file, permissive=True) as mrc:
            volumes[name] = mrc.data.astype(np.float32)
    return volumes


def compare(simulated: CrowdedTomogram, folder: Path, params: CrowdedParams) -> Groups:
    """Bring the simulated tomogram to what each real one is, and all to the same voxel size."""
    (raw, raw_size), (filtered, coarse) = ((name, size) for name, (_, size) in REAL.items())
    real = read_real(folder)
    data, size = simulated.tomogram.data, simulated.tomogram.voxel_size
    at_coarse = resample(data, size, coarse)
    return {
        "weighted back-projection": {
            "simulated": (resample(data, size, raw_size), raw_size),
            raw: (real[raw], raw_size),
        },
        "filtered": {
            "simulated, filtered": (deconvolve(at_coarse, coarse, params), coarse),
            filtered: (real[filtered], coarse),
        },
        "as they are": {
            "simulated": (at_coarse, coarse),
            raw: (resample(real[raw], raw_size, coarse), coarse),
            filtered: (real[filtered], coarse),
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--picture", type=Path, default=HERE.parent / "docs/images/realism.png")
    parser.add_argument("--results", type=Path, default=HERE / "results/realism.json")
    arguments = parser.parse_args()

    params = cell(arguments.full)
    simulated, took = simulate(params)
    print("  ".join(f"{name} {value:.3g}" for name, value in took.items()))
    groups = compare(simulated, arguments.folder, params)
    figures = {}
    for title, volumes in groups.items():
        rows = {name: measure(middle(*volume), volume[1]) for name, volume in volumes.items()}
        figures[title] = rows
        size = next(iter(volumes.values()))[1]
        print(f"\n{f'{title}, {size:g} Å':36}" + "".join(f"{name:>24}" for name in rows))
        for quantity in next(iter(rows.values())):
            print(f"{quantity:36}" + "".join(f"{row[quantity]:24.3g}" for row in rows.values()))
    picture({**groups["weighted back-projection"], **groups["filtered"]}, arguments.picture)
    record = {"simulation": took, "params": params.model_dump(mode="json"), "figures": figures}
    arguments.results.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
