"""The most that can be told of noisy volumes: the classes' own densities and all optics are known.

Maximum likelihood with known templates, CTF, noise spectrum and SNR; orientations and places are
unknown and summed over. No rule that learns the classes from a few noisy volumes can do better,
whatever it was trained on. Same volumes as `fewshot.py`, which shows these figures in its tables.

    python benchmarks/ceiling.py
"""

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from setups import SETUPS, SNRS, UNSEEN, simulate, unseen

from napari_cryoshift.core.matching import Band, BandParams, Template, rotation_grid
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.simulate import fourier, imaging
from napari_cryoshift.core.simulate.settings import Drawn, ImagingParams

RESULTS = Path(__file__).parent / "results"
GRID = ("rotation_step", "shift_step", "resolution")
_AT_ONCE = 512
"""Volumes times shifts that are compared at once."""


class Templates:
    """Spectra of the structures in all rotations, before any optics."""

    def __init__(self, structures, rotation_step, resolution):
        params = ImagingParams()
        self.band = Band.of(
            params.box,
            params.voxel_size,
            BandParams(resolution=resolution, missing_wedge=params.missing_wedge[0]),
        )
        rotations = rotation_grid(rotation_step)
        self.spectra, self.power = [], []
        for structure in structures:
            spectra = Template.of(structure, resolution).rotated(rotations, self.band)
            self.spectra.append(torch.view_as_real(spectra).flatten(1))
            self.power.append(self.band.radial_sum(spectra.abs() ** 2))


def log_likelihoods(volumes, templates, shift_step):
    """Logarithm of the likelihood of each structure, up to a constant a volume.

    A standardised volume of power ratio ρ is √(ρ/(1+ρ)) times its signal plus √(1/(1+ρ)) times
    noise of a known spectrum, both of variance 1. Its likelihood is that of the noise which is left
    when the template is taken away, averaged over a grid of rotations and one of shifts.

    Parameters
    ----------
    volumes
        Of `setups.simulate`.
    templates
        Of k candidates.
    shift_step
        Å.

    Returns
    -------
    Tensor
        (n, k).
    """
    band, box = templates.band, volumes.params.box
    passed, spread = _radial_filters(volumes, band)
    ratio = torch.tensor(volumes.truth["snr_power"], dtype=torch.float32)[:, None]
    # Of a volume's Fourier coefficients, noise has the mean power box³ · spread / (1 + ρ).
    weight = 2 * (1 + ratio) / (box**3 * spread)
    shifts = _shifts(volumes.params.shift, shift_step) / volumes.params.voxel_size
    factors = band.shifted(-shifts)
    found = torch.empty(len(volumes.noisy), len(templates.spectra))
    for rows in torch.arange(len(found)).split(max(1, _AT_ONCE // len(shifts))):
        filtered = band.spectra(volumes.noisy[rows.numpy()])
        filtered *= (weight * passed)[rows][:, band.radius]
        moved = torch.view_as_real(filtered[:, None] * factors).flatten(2)
        seen = passed[rows] ** 2
        for k, (spectra, power) in enumerate(zip(templates.spectra, templates.power, strict=True)):
            # Parseval: the frequencies of the band, and as many opposite ones, hold the signal.
            energy = 2 * (seen @ power.T) / box**6
            squared = ratio[rows] / (1 + ratio[rows]) / energy
            half = squared * ((seen * weight[rows]) @ power.T) / 2
            logs = squared.sqrt()[:, None] * (moved @ spectra.T) - half[:, None]
            found[rows, k] = logs.flatten(1).logsumexp(1)
    return found


def _radial_filters(volumes, band):
    """Amplitude of the signal and power of the noise, (n, u) each at the radii of the band.

    The power is such that its mean over all frequencies, those of the wedge among them, is 1.
    """
    columns = volumes.truth.rename(columns={"snr_nominal": "snr"})
    drawn = Drawn(
        **{
            name: torch.tensor(columns[name], dtype=torch.float32)[:, None, None, None]
            for name in Drawn.__dataclass_fields__
        }
    ).shared()
    filters = fourier.filters(volumes.params, drawn)
    counts = torch.bincount(band.radius)
    signal = band.radial_sum(filters.signal.flatten(1)[:, band.flat]) / counts
    noise = band.radial_sum(filters.noise.flatten(1)[:, band.flat] ** 2) / counts
    mean = imaging.spectrum_mean(filters.noise**2, volumes.params.box)
    shape = len(volumes.noisy), len(counts)
    return signal.expand(shape), (noise / mean[:, None]).expand(shape)


def _shifts(largest, step):
    """Middles (s, 3) of the cells that fill the cube of possible shifts, Å."""
    cells = max(1, round(2 * largest / step))
    axis = ((torch.arange(cells) + 0.5) / cells * 2 - 1) * largest
    return torch.cartesian_prod(axis, axis, axis)


def right_of(logs, labels, chosen):
    """Whether each volume of the chosen classes is given its own class when it is one of them."""
    chosen = np.array(chosen)
    rows = np.flatnonzero(np.isin(labels, chosen))
    return rows, chosen[logs[rows][:, chosen].argmax(1).numpy()] == labels[rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setup", nargs="*", choices=SETUPS, default=list(SETUPS))
    parser.add_argument("--per-class", type=int, default=150)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rotation-step", type=float, default=18.0, help="18° is 2546 of them")
    parser.add_argument("--shift-step", type=float, default=8.0, help="Å")
    parser.add_argument("--resolution", type=float, default=40.0, help="finest detail, Å")
    parser.add_argument("--snr", type=float, nargs="*", choices=SNRS, default=SNRS)
    args = parser.parse_args()
    templates = Templates(unseen(), args.rotation_step, args.resolution)
    k = len(UNSEEN)
    for setup in args.setup:
        found = {"2-way": [], "5-way": [], "pairs": {}, "certainty": []}
        for column in map(SNRS.index, args.snr):
            volumes = simulate(setup, column, per_class=args.per_class, seed=args.seed)
            logs = log_likelihoods(volumes, templates, args.shift_step)
            labels = volumes.noisy.labels
            mean_of_pairs = np.zeros(len(labels))
            for pair in combinations(range(k), 2):
                rows, right = right_of(logs, labels, pair)
                mean_of_pairs[rows] += right / (k - 1)
                name = " ".join(UNSEEN[i] for i in pair)
                found["pairs"].setdefault(name, []).append(float(right.mean()))
            found["2-way"].append(mean_interval(mean_of_pairs))
            found["5-way"].append(mean_interval(right_of(logs, labels, range(k))[1]))
            found["certainty"].append(float(logs.softmax(1).amax(1).mean()))
        show(setup, found, args)
        if tuple(args.snr) == SNRS:
            about = {name: getattr(args, name) for name in GRID} | {
                "snr": SNRS,
                "unseen": UNSEEN,
                "per_class": args.per_class,
                "seed": args.seed,
            }
            file = RESULTS / f"ceiling-{setup}.json"
            file.write_text(json.dumps({**about, **found}, indent=1))


def show(setup, found, args):
    """Print the table of a set-up."""
    print(f"\n{setup}: {SETUPS[setup].title}; {args.per_class} volumes a class, seed {args.seed}")
    print(f"{'nominal SNR':24}" + "".join(f"{snr:>15g}" for snr in args.snr))
    for name in ("2-way", "5-way"):
        print(f"{name:24}" + "".join(f"{m:>8.3f} ± {i:.3f}" for m, i in found[name]))
    # Where it equals the accuracy, the likelihood is that of the data, and the grid fine enough.
    print(f"{'5-way, its own certainty':24}" + "".join(f"{p:>15.3f}" for p in found["certainty"]))
    for name, values in found["pairs"].items():
        print(f"{name:24}" + "".join(f"{value:>15.3f}" for value in values), flush=True)


if __name__ == "__main__":
    main()
