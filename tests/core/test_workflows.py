import functools

import numpy as np
import pytest
import torch

from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.features import Block
from napari_cryoshift.core.methods.cryoshift import CryoShift
from napari_cryoshift.core.methods.cryoshift_params import CryoShiftParams
from napari_cryoshift.core.methods.protonet import ProtoNetParams
from napari_cryoshift.core.metrics import mean_interval
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.simulate.settings import ImagingParams
from napari_cryoshift.core.types import OTHER, Particles, Subtomograms, TrainingData
from napari_cryoshift.core.workflows import (
    SourceParams,
    classify,
    left_out,
    shipped_checkpoint,
    simulate_source,
    train,
)

SMALL = SourceParams(
    structures=("4v6x", "3j9i"),
    chimeras=1,
    assemblies=1,
    distractors=1,
    per_class=8,
    imaging=ImagingParams(box=8, voxel_size=48.0),
)


def embedded(n_each=20, seed=0):
    """Three well-separated clusters of embeddings, and a table of them."""
    generator = np.random.default_rng(seed)
    corners = 5 * np.eye(3, 64)
    names = np.repeat(np.array(["a", "b", OTHER], dtype=object), n_each)
    vectors = np.repeat(corners, n_each, 0) + 0.3 * generator.normal(size=(3 * n_each, 64))
    return vectors.astype(np.float32), Particles.at(np.zeros((3 * n_each, 3))), names


def with_labels(particles, names, rows):
    label = particles.label.copy()
    label[rows] = names[rows]
    return particles.replace(label=label)


def test_a_few_labels_classify_the_rest():
    vectors, particles, names = embedded()
    labelled = with_labels(particles, names, [0, 20, 40])
    said = classify(vectors, labelled)
    assert (said.predicted == names).all()
    assert said.classes == ("a", "b", OTHER)
    np.testing.assert_allclose(said.probabilities.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(said.confidence, said.probabilities.max(1))
    np.testing.assert_array_equal(said.label, labelled.label)


def test_one_class_and_others_are_enough():
    vectors, particles, names = embedded()
    rows = names != "b"
    said = classify(vectors[rows], with_labels(particles.take(rows), names[rows], [0, 1, 20, 21]))
    assert (said.predicted == names[rows]).all()


def test_the_picking_score_counts_where_looks_alone_do_not_tell():
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(80, 64)).astype(np.float32)  # all the same to look at
    names = np.repeat(np.array(["a", OTHER], dtype=object), 40)
    score = np.where(names == "a", 8.0, 2.0) + 0.5 * generator.normal(size=80)
    bare = with_labels(Particles.at(np.zeros((80, 3))), names, [*range(8), *range(40, 48)])
    rest = np.r_[8:40, 48:80]
    by_looks = (classify(vectors, bare).predicted == names)[rest].mean()
    by_both = (classify(vectors, bare.replace(score=score)).predicted == names)[rest].mean()
    assert by_looks < 0.75
    assert by_both > 0.95


def test_a_meaningless_picking_score_does_little_harm():
    vectors, particles, names = embedded()
    score = np.random.default_rng(4).normal(size=60)
    labelled = with_labels(particles.replace(score=score), names, [0, 1, 2, 20, 21, 22, 40, 41, 42])
    assert (classify(vectors, labelled).predicted == names).mean() > 0.9


def test_a_further_block_counts_where_looks_alone_do_not_tell():
    generator = np.random.default_rng(8)
    vectors = generator.normal(size=(120, 16)).astype(np.float32)  # all the same to look at
    names = np.repeat(np.array(["a", "b", OTHER], dtype=object), 40)
    own = np.eye(3)[np.repeat(np.arange(3), 40)] + 0.1 * generator.normal(size=(120, 3))
    rows = [*range(5), *range(40, 45), *range(80, 85)]
    labelled = with_labels(Particles.at(np.zeros((120, 3))), names, rows)
    rest = np.setdiff1d(np.arange(120), rows)
    without = (classify(vectors, labelled).predicted == names)[rest].mean()
    beside = classify(vectors, labelled, more=[Block.of(own)])
    assert without < 0.6
    assert (beside.predicted == names)[rest].mean() > 0.9


def test_a_meaningless_block_does_little_harm():
    vectors, particles, names = embedded()
    noise = Block.of(np.random.default_rng(9).normal(size=(60, 8)), 0.7)
    for rows in ([0, 20, 40], [0, 1, 2, 20, 21, 22, 40, 41, 42]):
        said = classify(vectors, with_labels(particles, names, rows), more=[noise])
        assert (said.predicted == names).mean() > 0.9


def test_a_block_of_other_particles_is_refused():
    vectors, particles, names = embedded()
    with pytest.raises(ValueError, match="60 particles but 9 embeddings"):
        classify(vectors, with_labels(particles, names, [0, 20]), more=[Block.of(np.ones((9, 2)))])


@pytest.mark.parametrize("rows", [[], [0], [0, 1], [40, 41]])
def test_too_few_labels_are_one_clear_sentence(rows):
    vectors, particles, names = embedded()
    with pytest.raises(ValueError, match=r"labelled so far: .*label at least one"):
        classify(vectors, with_labels(particles, names, rows))


def test_embeddings_of_other_particles_are_refused():
    vectors, particles, names = embedded()
    with pytest.raises(ValueError, match="60 particles but 59 embeddings; embed them again"):
        classify(vectors[1:], with_labels(particles, names, [0, 20]))


def test_a_simulated_source_has_known_and_invented_classes():
    source = simulate_source(SMALL)
    assert len(source.classes) == 5
    assert len(source) == 40
    assert "ribosome" in source.classes[0].lower() or "80S" in source.classes[0]
    kinds = [name.split()[0] for name in source.classes[2:]]
    assert kinds == ["chimera", "assembly", "membrane"]


def test_a_family_that_is_held_out_is_not_in_it():
    source = simulate_source(SMALL.model_copy(update={"hold_out": ("ribosome",)}))
    assert not any("ribosome" in name.lower() for name in source.classes)
    with pytest.raises(ValueError, match=r"1 families .* \(nonsense\); choose from"):
        simulate_source(SMALL.model_copy(update={"hold_out": ("nonsense",)}))
    with pytest.raises(ValueError, match="0 structures are left; hold out fewer families"):
        simulate_source(
            SMALL.model_copy(update={"structures": ("4v6x",), "hold_out": ("ribosome",)})
        )


def test_training_gives_a_checkpoint_that_says_what_it_is():
    params = ProtoNetParams(ways=2, shots=1, queries=2, tasks=2, width=8)
    data = TrainingData(source=simulate_source(SMALL))
    checkpoint = finish(train("protonet", params, data, {"trained on": "a test"}))
    assert (checkpoint.method, checkpoint.box, checkpoint.voxel_size) == ("protonet", 8, 48.0)
    assert checkpoint.card["trained on"] == "a test"
    assert checkpoint.build().embed(torch.zeros(1, 8, 8, 8)).shape == (1, 8)


@pytest.mark.parametrize("pair", [("4v6x", "3j9i"), ("3jb9", "4v8r")])
def test_the_shipped_embedding_tells_unseen_classes_apart_in_noise(pair):
    """Families that it was not trained on, five labels each, at a power SNR of 0.25."""
    checkpoint = shipped_checkpoint()
    volumes = simulate_source(
        SourceParams(
            structures=pair,
            chimeras=0,
            assemblies=0,
            distractors=0,
            per_class=40,
            seed=7,
            imaging=ImagingParams(
                box=checkpoint.box,
                voxel_size=checkpoint.voxel_size,
                snr=(0.25, 0.25),
                snr_convention="power",
            ),
        )
    )
    vectors = checkpoint.build().embed(volumes[:]).numpy()
    names = np.array(volumes.classes, dtype=object)[volumes.labels]
    particles = Particles.at(np.zeros((80, 3)))
    right = []
    for draw in range(20):
        rows = np.random.default_rng(draw).permutation(40)[:5]
        said = classify(vectors, with_labels(particles, names, [*rows, *(rows + 40)]))
        better = said.probabilities[:, :2].argmax(1) == (names != said.classes[0])
        right.append(np.delete(better, [*rows, *(rows + 40)]).mean())
    mean, interval = mean_interval(right)
    assert mean - interval > 0.8


@pytest.mark.parametrize("informative", [True, False])
def test_the_picking_score_counts_where_the_labels_say_so(informative):
    """Looks that tell nothing, and a score that tells all or nothing."""
    generator = np.random.default_rng(0)
    names = np.repeat(np.array(["a", OTHER], dtype=object), 200)
    looks = generator.normal(size=(400, 16)).astype(np.float32)
    score = np.where(names == "a", 3.0, 0.0) + generator.normal(size=400)
    if not informative:
        looks[:, 0] += np.where(names == "a", 8, 0)
        score = generator.normal(size=400)
    particles = Particles.at(generator.uniform(0, 99, (400, 3)), score=score)
    rows = [*range(8), *range(200, 208)]
    said = classify(looks, with_labels(particles, names, rows))
    assert (said.predicted == names).mean() > 0.8


def test_what_cannot_be_trained_is_one_clear_sentence():
    with pytest.raises(ValueError, match=r"there is no method 'telepathy'; choose from .*protonet"):
        finish(train("telepathy", ProtoNetParams(), TrainingData()))
    with pytest.raises(ValueError, match="0 volumes to learn from; give a source"):
        finish(train("protonet", ProtoNetParams(), TrainingData()))


def test_sets_that_differ_in_size_are_not_learnt_from_together():
    def volumes(box, voxel_size):
        return Subtomograms.from_memory(
            torch.randn(4, box, box, box), voxel_size, np.array([0, 0, 1, 1]), ("a", "b")
        )

    for support in (volumes(16, 10.0), volumes(8, 12.0)):
        data = TrainingData(source=volumes(8, 10.0), support=support)
        with pytest.raises(
            ValueError, match="source set has boxes of 8 voxels of 10 Å but the sup"
        ):
            finish(train("protonet", ProtoNetParams(), data))


def test_a_method_is_kept_as_it_was_before_it_adapted(tmp_path):
    generator = torch.Generator().manual_seed(0)
    source, target = (
        Subtomograms.from_memory(
            torch.randn(12, 16, 16, 16, generator=generator), 12.0, labels, names
        )
        for labels, names in ((np.arange(12) % 2, ("a", "b")), (None, ()))
    )
    params = CryoShiftParams(
        step_zero={"width": 4, "epochs": 1, "batch": 4},
        warp={"filters": 2},
        discriminator={"pretraining": 2},
        iterations=2,
        epochs=1,
        batch=4,
    )
    before = tmp_path / "before.safetensors"
    data = TrainingData(source=source, target=target)
    job = train("cryoshift", params, data, {"of": "a test"}, before=before)
    phases = []

    def follow(progress):
        if not phases or phases[-1] != progress.phase:
            phases.append(progress.phase)
            # Not there while the source is learnt, and there once anything is adapted.
            assert before.exists() == (progress.phase == CryoShift.adapting)

    after = finish(job, follow)
    unadapted = Checkpoint.load(before)
    assert phases[-1] == CryoShift.adapting
    assert unadapted.card == {"of": "a test", "stage": "before adapting to the target"}
    assert "criterion before" in after.card["figures"]
    # Stage one alone, from the same seed, ends with the very same classifier.
    alone = params.model_copy(
        update={
            "warp": params.warp.model_copy(update={"noise": 0.0, "distortion": 0.0}),
            "adaptation": params.adaptation.model_copy(
                update={"weighting": "none", "information": 0.0}
            ),
        }
    )
    plain = finish(train("cryoshift", alone, data))
    same = [name for name in plain.weights if name.startswith("network.")]
    assert same
    assert any(not torch.equal(unadapted.weights[n], after.weights[n]) for n in same)
    trained = [name for name in same if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(unadapted.weights[name], plain.weights[name]) for name in trained)


def test_a_label_left_out_is_predicted_from_the_others():
    generator = np.random.default_rng(0)
    kinds = np.array(["a", "b"] * 20, dtype=object)
    vectors = np.where(kinds == "a", -3.0, 3.0)[:, None] + generator.normal(0, 0.3, (40, 4))
    label = np.where(np.arange(40) < 8, kinds, "").astype(object)
    label[0], label[9] = "b", "c"  # wrong; and the only one of its kind
    vectors[9] = 0, 9, 0, -9
    table = Particles.at(generator.uniform(0, 50, (40, 3)), label=label)
    rule = functools.partial(classify, vectors.astype(np.float32))
    found = finish(left_out(table, rule))
    assert found.id.tolist() == list(range(8))
    assert found.label.tolist() == label[:8].tolist()
    assert found.predicted.tolist() == kinds[:8].tolist()
    for row in range(8):
        without = label.copy()
        without[row] = ""
        alone = rule(table.replace(label=without))
        assert found.confidence[row] == alone.confidence[row]
        np.testing.assert_array_equal(found.probabilities[row], alone.probabilities[row])


def test_without_two_labels_of_a_kind_none_can_be_left_out():
    table = Particles.at(np.zeros((3, 3)), label=np.array(["a", "b", ""], dtype=object))
    assert len(finish(left_out(table, lambda _: pytest.fail("nothing to predict")))) == 0
