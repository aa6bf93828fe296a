import numpy as np
import pytest
import torch

from napari_cryoshift.core.distillation import Teacher, teachable
from napari_cryoshift.core.methods.protonet import ProtoNet, ProtoNetParams
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.resume import Bookmark
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.simulate.subtomograms import simulate_subtomograms
from napari_cryoshift.core.structures import library
from napari_cryoshift.core.types import Subtomograms, TrainingData

KNOWN = ("3cf3", "1bxn", "1ek9")
PER_CLASS = 8


@pytest.fixture(scope="module")
def source():
    """p97, RuBisCO and TolC, seen well."""
    params = ImagingParams(
        box=16, voxel_size=16.0, snr=(10.0, 10.0), defocus=(-4.0, -4.0), shift=10.0
    )
    simulated = simulate_subtomograms(
        [library()[key] for key in KNOWN], params, per_class=PER_CLASS, seed=0
    )
    return Subtomograms.from_memory(simulated[:], 16.0, simulated.labels, simulated.classes)


@pytest.fixture(scope="module")
def taught(source):
    teacher = Teacher(teachable(source), len(source), width=4)
    finish(teacher.study(source))
    return teacher


def test_volumes_fit_the_structure_that_they_are_of_better_than_other_volumes_do(source, taught):
    names = [structure.name for structure in taught.structures]
    assert sorted(names) == sorted(source.classes)
    for column, name in enumerate(names):
        own = source.labels == source.classes.index(name)
        fits = taught.fits[:, column].numpy()
        assert fits[own].mean() > 0.5 > 0 > fits[~own].mean()


def test_the_loss_is_the_mean_squared_error_of_a_linear_guess(taught):
    generator = np.random.default_rng(0)
    rows = np.array([3, 17, 20])
    embedded = generator.normal(size=(3, 4)).astype(np.float32)
    weight, bias = taught.guess.weight.detach().numpy(), taught.guess.bias.detach().numpy()
    expected = np.square(embedded @ weight.T + bias - taught.fits[rows].numpy()).mean()
    found = taught.loss(torch.from_numpy(embedded), torch.from_numpy(rows))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def params(**changes):
    settings = {"ways": 3, "shots": 2, "queries": 3, "tasks": 6, "width": 8} | changes
    return ProtoNetParams(**settings)


def test_what_the_matched_filter_says_reaches_the_encoder(source):
    weights = []
    for distillation in (0.0, 2.0):
        method = ProtoNet(params(distillation=distillation), 16)
        reports = list(method.fit(TrainingData(source=source)))
        assert ("fits" in reports[-1].metrics) == (distillation > 0)
        weights.append(method.encoder.head.weight.detach())
    assert not torch.allclose(*weights)


def test_a_training_with_a_teacher_goes_on_to_the_same_weights_without_asking_it_again(
    source, tmp_path
):
    whole = ProtoNet(params(), 16)
    finish(whole.fit(TrainingData(source=source)))

    path = tmp_path / "run"
    begun = ProtoNet(params(), 16)
    bookmark = Bookmark(path, begun)
    job = bookmark.keep(begun.fit(TrainingData(source=source), bookmark))
    while next(job).phase != "learning the embedding":
        pass
    next(job)
    job.close()

    resumed = ProtoNet(params(), 16)
    bookmark = Bookmark(path, resumed)
    phases = [p.phase for p in bookmark.keep(resumed.fit(TrainingData(source=source), bookmark))]
    assert set(phases) == {"learning the embedding"}
    for name, tensor in whole.encoder.state_dict().items():
        assert torch.equal(tensor, resumed.encoder.state_dict()[name]), name


def test_classes_that_no_library_knows_are_learnt_without_a_teacher():
    volumes = torch.randn(30, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    own = Subtomograms.from_memory(volumes, 16.0, np.repeat(np.arange(3), 10), ("a", "b", "c"))
    method = ProtoNet(params(), 16)
    reports = list(method.fit(TrainingData(source=own)))
    assert {report.phase for report in reports} == {"learning the embedding"}
    assert "fits" not in reports[-1].metrics
