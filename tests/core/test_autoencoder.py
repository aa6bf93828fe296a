import dataclasses

import numpy as np
import pytest
import torch

from napari_cryoshift.core.label_volume import paint
from napari_cryoshift.core.methods.autoencoder import Autoencoder, AutoencoderParams
from napari_cryoshift.core.metrics import evaluate_clusters
from napari_cryoshift.core.networks.autoencoder3d import Autoencoder3D
from napari_cryoshift.core.networks.edss3d import EDSS3D
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import Subtomograms, TrainingData

BOX = 16
Z, Y, X = np.meshgrid(*[np.arange(BOX) - BOX / 2 + 0.5] * 3, indexing="ij")
BALL = Z**2 + Y**2 + X**2 < 5**2
ROD = (Z**2 + Y**2 < 6) & (np.abs(X) < 7)


def shapes(per_class=30, noise=0.5, seed=1):
    """Balls and rods in noise, standardised."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(2), per_class)
    noisy = np.array([BALL, ROD])[labels] + noise * generator.normal(
        size=(len(labels), BOX, BOX, BOX)
    )
    noisy -= noisy.mean((1, 2, 3), keepdims=True)
    noisy /= noisy.std((1, 2, 3), keepdims=True)
    return Subtomograms.from_memory(torch.from_numpy(noisy).float(), 12.0, labels, ("ball", "rod"))


def params(**changes):
    tiny = {"clusters": 2, "filters": 4, "passes": 12, "batch": 8, "learning_rate": 5e-3, "seed": 3}
    return AutoencoderParams(**(tiny | changes))


@pytest.fixture(scope="module")
def data():
    return TrainingData(target=shapes())


@pytest.fixture(scope="module")
def trained(data):
    method = Autoencoder(params(), BOX)
    finish(method.fit(data))
    return method


# --- the networks ---


def test_the_autoencoder_is_that_of_the_paper():
    with torch.device("meta"):
        network = Autoencoder3D(32)
        # 27·32 + 32, three of 27·32² + 32, 27·32 + 1; two linear layers between 32·8³ and 32
        convolutions = 896 + 3 * 27_680 + 865
        assert sum(p.numel() for p in network.parameters()) == convolutions + 524_320 + 540_672
        for box in (8, 24, 28, 32, 40):
            vectors, drawn = Autoencoder3D(box)(torch.empty(2, box, box, box))
            assert vectors.shape == (2, 32)
            assert drawn.shape == (2, box, box, box)
    with pytest.raises(ValueError, match="box 18 cannot be halved twice; give a multiple of 4"):
        Autoencoder3D(18)


def test_edss_gives_a_class_a_voxel():
    with torch.device("meta"):
        network = EDSS3D(4)
        assert sum(p.numel() for p in network.parameters()) == 896 + 4 * 27_680 + 4 * 32 + 4
        assert network(torch.empty(2, 24, 24, 24)).shape == (2, 4, 24, 24, 24)


def test_vectors_are_not_negative_and_volumes_may_be():
    torch.manual_seed(0)
    network = Autoencoder3D(16, 32, 4)
    torch.nn.init.constant_(network.decoder[-2].bias, -5)
    vectors, drawn = network(torch.randn(6, 16, 16, 16))
    assert vectors.min() == 0
    assert vectors.max() > 0
    assert drawn.max() < 0


# --- learning and grouping ---


def test_the_loss_is_the_squared_error_and_the_sum_of_features(data):
    """Recomputed from the untrained network for the first step."""
    fresh = Autoencoder(params(sparsity=0.3), BOX)
    generator = np.random.default_rng(3)
    learnt = generator.permutation(60)[6:]
    rows = learnt[generator.permutation(54)[:8]]
    volumes = data.target[rows]
    vectors = fresh.embed(volumes)
    error = (fresh.decode(vectors) - volumes).square().mean()
    report = next(r for r in Autoencoder(params(sparsity=0.3), BOX).fit(data) if r.metrics)
    assert report.metrics["error"] == pytest.approx(error.item(), rel=0.02)  # it is in bfloat16
    expected = (error + 0.3 * vectors.sum(1).mean()).item()
    assert report.metrics["loss"] == pytest.approx(expected, rel=0.02)


def test_groups_are_those_of_kmeans(trained, data):
    volumes = data.target[:]
    vectors = trained.embed(volumes)
    groups = trained.predict(volumes).argmax(1)
    assert torch.equal(torch.cdist(vectors, trained.centres).argmin(1), groups)
    for group in range(2):
        torch.testing.assert_close(trained.centres[group], vectors[groups == group].mean(0))
    spread = (vectors - trained.centres[groups]).square().mean()
    torch.testing.assert_close(trained.variance, spread)
    assert evaluate_clusters(data.target.labels, groups.numpy()).accuracy > 0.95


def test_the_typical_particle_of_a_group_looks_like_its_members(trained, data):
    groups = trained.predict(data.target[:]).argmax(1).numpy()
    typical = trained.typical()
    for group, volume in enumerate(typical):
        shape = [BALL, ROD][np.bincount(data.target.labels[groups == group]).argmax()]
        likeness = [np.corrcoef(volume.numpy().ravel(), s.ravel())[0, 1] for s in (shape, ~shape)]
        assert likeness[0] > 0.7


def test_volumes_can_be_looked_at_as_they_are_drawn_again(trained, data):
    volumes = data.target[:3]
    drawn = trained.views(volumes)["drawn again"]
    torch.testing.assert_close(drawn, trained.decode(trained.embed(volumes)))


def test_it_ends_when_no_epoch_is_better(data):
    """Without anything to learn from noise, what is held out gets no better for long."""
    noise = Subtomograms.from_memory(torch.randn(60, BOX, BOX, BOX), 12.0)
    method = Autoencoder(params(passes=40, patience=2), BOX)
    criteria = [
        r.metrics["criterion"]
        for r in method.fit(TrainingData(target=noise))
        if "criterion" in r.metrics
    ]
    assert len(criteria) < 40
    assert len(criteria) - 1 - int(np.argmin(criteria)) == 2


def test_a_resumed_run_is_to_the_bit_what_an_unbroken_one_is(data, resumed):
    tiny = params(passes=3)
    whole = Autoencoder(tiny, BOX)
    reports = list(whole.fit(data))
    for count in (1, 8, 12, len(reports) - 1):
        method = resumed(lambda: Autoencoder(tiny, BOX), data, count)
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, method.state_dict()[name]), (count, name)


def test_labels_are_not_looked_at(data):
    found = []
    for labels in (None, data.target.labels):
        method = Autoencoder(params(passes=1), BOX)
        finish(method.fit(TrainingData(target=dataclasses.replace(data.target, labels=labels))))
        found.append(method.centres)
    assert torch.equal(*found)


def test_what_cannot_be_done_is_one_clear_sentence(data):
    with pytest.raises(ValueError, match="60 particles are too few for 61 groups; pick more or"):
        finish(Autoencoder(params(clusters=61), BOX).fit(data))
    with pytest.raises(ValueError, match="0 groups are known; fit with picked particles first"):
        Autoencoder(params(), BOX).predict(data.target[:2])


# --- painting ---


def test_boxes_are_painted_where_their_particles_are():
    box = np.zeros((1, 4, 4, 4), dtype=np.int16)
    box[0, 2, 2, 2], box[0, 1, 2, 3] = 7, 9  # the centre, and one up in z and one on in x
    at = np.array([[5.0, 6.0, 7.0]])
    volume = np.zeros((10, 12, 14), dtype=np.int16)
    paint(volume, box, at, step=1.0)
    assert volume[5, 6, 7] == 7
    assert volume[4, 6, 8] == 9
    assert (volume != 0).sum() == 2
    coarse = np.zeros_like(volume)
    paint(coarse, box, at, step=3.0)
    assert (coarse == 7).sum() == 27
    assert (coarse[4:7, 5:8, 6:9] == 7).all()


def test_painting_stops_at_the_border_and_spares_what_is_there():
    boxes = np.full((2, 4, 4, 4), 1, dtype=np.int16)
    boxes[1] = 2
    volume = np.zeros((6, 6, 6), dtype=np.int16)
    paint(volume, boxes, np.array([[0.0, 0, 0], [1, 1, 1]]), step=1.0)
    assert (volume[:2, :2, :2] == 1).all()
    assert (volume == 1).sum() == 8
    assert (volume == 2).sum() == 27 - 8
    beyond = np.zeros_like(volume)
    paint(beyond, boxes, np.array([[-9.0, 0, 0], [0, 99, 0]]), step=1.0)
    assert not beyond.any()
