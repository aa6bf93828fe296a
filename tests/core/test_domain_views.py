import dataclasses

import numpy as np
import pytest
import torch

from napari_cryoshift.core import domain_views
from napari_cryoshift.core.checkpoint import Checkpoint
from napari_cryoshift.core.domain_views import (
    called,
    examples,
    feature_maps,
    source_for,
    source_of,
)
from napari_cryoshift.core.feature_map import mixing
from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.methods.cryoshift_data import KNOWN_SOURCE
from napari_cryoshift.core.progress import finish
from napari_cryoshift.core.types import OTHER, Subtomograms
from napari_cryoshift.core.workflows import SourceParams

BOX = 8
CLASSES = ("ball", "rod", OTHER)
TINY = {"step_zero": {"width": 4}, "warp": {"filters": 2}}


def volumes(count, seed, labels=None):
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn((count, *(BOX,) * 3), generator=generator)
    return Subtomograms.from_memory(made, 12.0, labels, () if labels is None else CLASSES)


def cryoshift(seed=0, **changes):
    params = METHODS["cryoshift"].params_type.model_validate(TINY | changes | {"seed": seed})
    return Checkpoint.of(METHODS["cryoshift"](params, BOX, CLASSES), 12.0, {})


@pytest.fixture(scope="module")
def source():
    return volumes(90, 0, np.tile([2, 0, 1], 30))


@pytest.fixture(scope="module")
def target():
    return volumes(70, 1)


# --- examples ---


def test_examples_are_a_row_a_class_with_what_the_model_makes_of_it(source, target):
    checkpoint = cryoshift()
    shown = finish(examples(checkpoint, source, target))
    assert list(shown.columns) == ["simulated", "warped", "warped − simulated", "picked"]
    said = checkpoint.build().predict(target[:])
    kinds = [CLASSES.index(name) for name in shown.classes]
    assert kinds == sorted(set(said.argmax(1).tolist()))  # those that any particle is said to be
    for row, kind in enumerate(kinds):
        first = int(np.flatnonzero(source.labels == kind)[0])
        assert torch.equal(shown.columns["simulated"][row], source[[first]][0])
        likeliest = target[[int(said[:, kind].argmax())]][0]
        assert torch.equal(shown.columns["picked"][row], likeliest)
    warped = checkpoint.build().warp(shown.columns["simulated"])
    torch.testing.assert_close(shown.columns["warped"], warped)
    torch.testing.assert_close(
        shown.columns["warped − simulated"], warped - shown.columns["simulated"]
    )


def test_without_a_warp_network_there_is_nothing_between_simulated_and_picked(source, target):
    plain = cryoshift(warp={"noise": 0, "distortion": 0})
    assert list(finish(examples(plain, source, target)).columns) == ["simulated", "picked"]


def test_a_model_without_classes_of_its_own_is_shown_beside_any_particles(source, target):
    protonet = METHODS["protonet"](METHODS["protonet"].params_type(width=8), BOX)
    shown = finish(examples(Checkpoint.of(protonet, 12.0, {}), source, target.take([5, 6])))
    assert shown.classes == CLASSES[:2]  # as many as there are particles
    assert torch.equal(shown.columns["picked"], target[[5, 6]])


def test_no_particle_is_one_sentence(source):
    with pytest.raises(ValueError, match="there are 0 particles to look at; pick some first"):
        finish(examples(cryoshift(), source, volumes(0, 2)))


# --- maps ---


def test_a_map_a_model_with_all_classes_of_the_source_and_how_well_domains_mix(
    source, target, monkeypatch
):
    pytest.importorskip("openTSNE")
    monkeypatch.setattr(domain_views, "_MAPPED", 60)
    few = source.take(np.flatnonzero((source.labels != 1) | (np.arange(90) < 6)))
    models = {"before": cryoshift(0), "after": cryoshift(1)}
    maps = finish(feature_maps(models, few, target))
    assert list(maps.points) == list(maps.mixing) == ["before", "after"]
    names, counts = np.unique(maps.names.astype(str), return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {"ball": 29, "rod": 2, OTHER: 29}
    assert len(maps.target) == len(set(maps.target)) == 60
    assert {0, 69} < set(maps.target)
    simulated = domain_views._some(len(few), 60, few.labels)
    assert (np.array(CLASSES)[few.labels[simulated]] == maps.names).all()
    for name, checkpoint in models.items():
        assert maps.points[name].shape == (120, 2)
        method = checkpoint.build()
        of_source = method.embed_source(few[simulated])
        features = torch.cat([of_source, method.embed(target[maps.target])])
        assert maps.mixing[name] == pytest.approx(mixing(features, np.arange(120) >= 60), abs=1e-3)


# --- the source ---


def test_classes_of_one_name_become_one(source):
    names = {"ball": "globule", "rod": "tube", OTHER: "globule"}
    renamed = called(source, names)
    assert renamed.classes == ("globule", "tube")
    was = np.array(CLASSES, dtype=object)[source.labels]
    now = np.array(renamed.classes, dtype=object)[renamed.labels]
    assert [names[name] for name in was] == now.tolist()
    assert torch.equal(renamed[[3, 8]], source[[3, 8]])


def test_a_checkpoint_knows_what_it_was_trained_on():
    params = KNOWN_SOURCE.model_copy(
        update={"structures": ("2fha", "4v8r"), "per_class": 3, "assemblies": 2, "distractors": 2}
    )
    checkpoint = cryoshift()
    card = {"source": params.model_dump(mode="json")}
    again = source_of(dataclasses.replace(checkpoint, card=card))
    assert again.classes == source_for("cryoshift", params).classes
    assert again.classes[-1] == OTHER
    assert torch.equal(again[[4]], source_for("cryoshift", params)[[4]])
    assert len(source_for("protonet", SourceParams(**params.model_dump())).classes) == 6
    with pytest.raises(ValueError, match="not trained on simulated particles; choose one"):
        source_of(checkpoint)


@pytest.mark.parametrize("statistics", ["own", "joint"])
def test_each_domain_is_seen_by_the_statistics_that_it_was_trained_with(source, statistics):
    """Where each domain has its own, those of the target in the network do not count."""
    method = cryoshift(adaptation={"statistics": statistics}).build()
    for norm in method.network.modules():
        if isinstance(norm, torch.nn.BatchNorm3d | torch.nn.BatchNorm1d):
            norm.running_mean += 3  # of some other domain
    volumes = source[:40]
    alike = torch.allclose(method.embed_source(volumes), method.embed(volumes), atol=1e-4)
    assert alike == (statistics == "joint")
    if statistics == "own":
        before = method.embed(volumes[:4])
        features = method.embed_source(volumes)
        assert torch.equal(method.embed(volumes[:4]), before)  # its own statistics stay
        plain = cryoshift(adaptation={"statistics": statistics}).build()
        torch.testing.assert_close(plain.embed_source(volumes), features)
