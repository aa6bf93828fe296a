import json

import mrcfile
import numpy as np
import pandas as pd
import pytest
import torch

from napari_cryoshift.core.formats import read_particles
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.sets import read_metadata, read_set
from napari_cryoshift.core.simulate import stored
from napari_cryoshift.core.simulate.acquisition import TiltSeriesParams
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.source import SourceParams, simulate_source
from napari_cryoshift.core.simulate.stored import (
    simulate_again,
    store_subtomograms,
    store_tomogram,
    truth_of,
)
from napari_cryoshift.core.simulate.tomogram import CrowdedParams, simulate_tomogram

SET = SourceParams(
    structures=("3j9i", "2fha"),
    chimeras=1,
    assemblies=1,
    distractors=1,
    per_class=4,
    seed=3,
    imaging=ImagingParams(
        box=16, voxel_size=20.0, snr=(0.1, 2.0), defocus=(-5.0, -3.0), neighbours=1.0
    ),
)


@pytest.mark.parametrize("route", ["fourier", "tilts"])
@pytest.mark.parametrize("name", ["set.zarr", "set.mrcs", "set"])
def test_a_stored_set_is_made_again_to_the_bit(tmp_path, name, route):
    imaging = SET.imaging.model_copy(update={"route": route, "missing_wedge": (25.0, 35.0)})
    params = SET.model_copy(update={"imaging": imaging})
    assert finish(store_subtomograms(tmp_path / name, params)) == 20
    (tmp_path / "again").mkdir()
    finish(simulate_again(tmp_path / name, tmp_path / "again" / name))
    first, second = (read_set(folder / name) for folder in (tmp_path, tmp_path / "again"))
    assert torch.equal(first[:], second[:])
    # Transforms round otherwise in other batches.
    torch.testing.assert_close(first[:], simulate_source(params)[:], atol=1e-5, rtol=0)
    assert first.labels.tolist() == second.labels.tolist() == np.repeat(range(5), 4).tolist()
    assert first.voxel_size == 20


def test_volumes_that_were_not_standardised_are_stored_as_they_are(tmp_path):
    imaging = SET.imaging.model_copy(update={"standardise": False})
    raw = SET.model_copy(update={"imaging": imaging})
    finish(store_subtomograms(tmp_path / "raw.zarr", raw))
    volumes = read_set(tmp_path / "raw.zarr")[:]
    assert torch.equal(volumes, simulate_source(raw)[:])
    assert volumes.std((1, 2, 3)).std() > 0.1 * volumes.std((1, 2, 3)).mean()
    assert "standard deviation" not in (tmp_path / "raw.zarr" / "zarr.json").read_text()


def test_a_stored_set_says_how_it_was_made(tmp_path):
    finish(store_subtomograms(tmp_path / "set.zarr", SET))
    record = read_metadata(tmp_path / "set.zarr")
    assert SourceParams.model_validate(record["params"]) == SET
    assert record["device"] == "cpu"
    assert set(record["made_of"]) >= {"3j9i", "2fha"}
    assert "variance of the signal over variance of the noise" in record["snr"]


def test_the_truth_beside_a_set_is_what_its_volumes_show(tmp_path):
    clear = SET.model_copy(
        update={
            "structures": ("3j9i",),
            "chimeras": 0,
            "assemblies": 0,
            "distractors": 0,
            "per_class": 12,
            "imaging": ImagingParams(
                box=24, voxel_size=16.0, snr=(20.0, 40.0), defocus=(-1.0, -1.0), shift=60.0
            ),
        }
    )
    finish(store_subtomograms(tmp_path / "set.zarr", clear))
    truth = pd.read_csv(truth_of(tmp_path / "set.zarr"))
    assert len(truth) == 12
    assert truth["snr_nominal"].between(20, 40).all()
    # At −1 µm most of the noise is above what the CTF passes of the signal.
    np.testing.assert_allclose(truth["snr_power"] / truth["snr_nominal"], 0.0586, rtol=0.01)
    turned = truth[[f"r{i}{j}" for i in range(3) for j in range(3)]].to_numpy().reshape(-1, 3, 3)
    identity = np.broadcast_to(np.eye(3), turned.shape)
    np.testing.assert_allclose(turned @ turned.transpose(0, 2, 1), identity, atol=1e-5)
    # A defocus of −1 µm leaves the particle bright where it is.
    volumes = read_set(tmp_path / "set.zarr")[:].double().clamp(min=1.5) - 1.5
    axis = (torch.arange(24) - 12) * 16.0
    mass = volumes.sum((1, 2, 3))
    for name, axes in (("shift_z", (2, 3)), ("shift_y", (1, 3)), ("shift_x", (1, 2))):
        centre = (volumes.sum(axes) @ axis.double() / mass).numpy()
        assert np.corrcoef(centre, truth[name])[0, 1] > 0.9


@pytest.fixture(scope="module")
def crowded():
    return CrowdedParams(
        shape=(24, 64, 64),
        voxel_size=20.0,
        classes=("3j9i", "2fha"),
        particles_per_class=3,
        membranes=0,
        beads=1,
        resolution=50.0,
        seed=2,
    )


def test_a_stored_tomogram_has_its_truth_beside_it_and_is_made_again(tmp_path, crowded):
    made = finish(store_tomogram(tmp_path / "t.mrc", crowded))
    with mrcfile.open(tmp_path / "t.mrc") as file:
        assert file.data.shape == crowded.shape
        assert float(file.voxel_size.x) == pytest.approx(20)
        volume = np.array(file.data)
    particles = read_particles(tmp_path / "t.csv", as_label=True)
    np.testing.assert_allclose(particles.orientations, made.particles.orientations, atol=1e-6)
    np.testing.assert_allclose(particles.positions, made.particles.positions, atol=1e-3)
    assert (particles.label == made.particles.label).all()
    classes = mrcfile.read(tmp_path / "t_classes.mrc")
    occupancy = mrcfile.read(tmp_path / "t_occupancy.mrc")
    assert ((classes > 0) == (occupancy > 0)).all()
    assert set(np.unique(occupancy)) == set(range(7))
    for row, (z, y, x) in enumerate(np.rint(particles.positions).astype(int)):
        z0, y0, x0 = max(z - 3, 0), max(y - 3, 0), max(x - 3, 0)
        assert row + 1 in occupancy[z0 : z + 4, y0 : y + 4, x0 : x + 4]
    finish(simulate_again(tmp_path / "t.mrc", tmp_path / "again.mrc"))
    np.testing.assert_array_equal(mrcfile.read(tmp_path / "again.mrc"), volume)


def test_another_library_is_noticed(tmp_path, crowded):
    finish(store_tomogram(tmp_path / "t.mrc", crowded))
    record = json.loads((tmp_path / "t.json").read_text())
    record["made_of"]["3j9i"] = "0123456789ab"
    (tmp_path / "t.json").write_text(json.dumps(record))
    with pytest.raises(
        ValueError, match=r"^1 of the structures .* have changed, 3j9i for one; put"
    ):
        finish(simulate_again(tmp_path / "t.json", tmp_path / "again.mrc"))


def test_what_was_not_simulated_cannot_be_made_again(tmp_path):
    (tmp_path / "t.json").write_text('{"kind": "cake"}')
    with pytest.raises(ValueError, match=r"t.json does not say how it was simulated; choose"):
        finish(simulate_again(tmp_path / "t.json", tmp_path / "again.mrc"))
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(ValueError, match=r"t.json is damaged .*; copy it again"):
        finish(simulate_again(tmp_path / "t.json", tmp_path / "again.mrc"))
    with pytest.raises(FileNotFoundError):
        finish(simulate_again(tmp_path / "nothing.zarr", tmp_path / "again.zarr"))


def test_another_curve_of_the_detector_is_noticed(tmp_path, crowded):
    def curve(last):
        (tmp_path / "mtf.star").write_text(
            f"data_\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n0 1\n0.25 0.6\n0.5 {last}\n"
        )

    curve(0.3)
    tilts = {"mtf": tmp_path / "mtf.star", "mtf_pixel_size": 5.0, "dose_weighting": True}
    params = crowded.model_copy(
        update={"tilt_series": TiltSeriesParams(**tilts), "resolution": 40.0}
    )
    finish(store_tomogram(tmp_path / "t.mrc", params))
    plain = finish(simulate_tomogram(crowded.model_copy(update={"resolution": 40.0})))
    assert not np.allclose(mrcfile.read(tmp_path / "t.mrc"), plain.tomogram.data, rtol=0.1)
    finish(simulate_again(tmp_path / "t.mrc", tmp_path / "again.mrc"))
    curve(0.2)
    with pytest.raises(ValueError, match=r"have changed, mtf.star for one; put back what was"):
        finish(simulate_again(tmp_path / "t.mrc", tmp_path / "third.mrc"))
    (tmp_path / "mtf.star").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*mtf.star; check the name"):
        next(store_tomogram(tmp_path / "third.mrc", params))


def test_what_is_there_is_not_overwritten(tmp_path, crowded):
    (tmp_path / "t.csv").write_text("picks of an afternoon")
    with pytest.raises(ValueError, match=r"t.csv is there already; choose another name"):
        finish(store_tomogram(tmp_path / "t.mrc", crowded))
    (tmp_path / "set_truth.csv").write_text("another")
    with pytest.raises(ValueError, match=r"set_truth.csv is there already; choose another name"):
        finish(store_subtomograms(tmp_path / "set.zarr", SET))
    with pytest.raises(ValueError, match=r"t.rec does not end in .mrc; name it so"):
        finish(store_tomogram(tmp_path / "t.rec", crowded))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["set_truth.csv", "t.csv"]


def test_a_tomogram_is_written_whole_or_not_at_all(tmp_path, crowded, monkeypatch):
    def full(path, *_):
        raise OSError(f"could not write {path.name}")

    # What is written first is there by then.
    monkeypatch.setattr(stored, "save_volume", full)
    with pytest.raises(OSError, match="could not write"):
        finish(store_tomogram(tmp_path / "t.mrc", crowded))
    assert list(tmp_path.iterdir()) == []


def test_a_set_of_another_kind_of_device_is_not_made_again_on_this(tmp_path, monkeypatch):
    finish(store_subtomograms(tmp_path / "set.mrcs", SET))
    record = read_metadata(tmp_path / "set.mrcs") | {"device": "cuda"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(stored, "read_metadata", lambda _: record)
    with pytest.raises(ValueError, match=r"^no cuda device was found; go where there is one"):
        finish(simulate_again(tmp_path / "set.mrcs", tmp_path / "again.mrcs"))


def test_data_are_made_again_with_as_many_threads_as_before(tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        finish(store_subtomograms(tmp_path / "set.mrcs", SET))
        torch.set_num_threads(1)
        (tmp_path / "again").mkdir()
        finish(simulate_again(tmp_path / "set.mrcs", tmp_path / "again" / "set.mrcs"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    first, second = (read_set(folder / "set.mrcs")[:] for folder in (tmp_path, tmp_path / "again"))
    assert torch.equal(first, second)
