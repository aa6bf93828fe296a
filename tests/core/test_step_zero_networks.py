import pytest
import torch

from napari_cryoshift.core.networks.cb3d import CB3D
from napari_cryoshift.core.networks.densenet3d import DenseNet3D
from napari_cryoshift.core.networks.discriminators import (
    FeatureDiscriminators,
    VolumeDiscriminator,
)
from napari_cryoshift.core.networks.dsrf3d import DSRF3D
from napari_cryoshift.core.networks.fsda import FSDA
from napari_cryoshift.core.networks.resnet3d import ResNet3D
from napari_cryoshift.core.networks.step_zero import Strided

NETWORKS = {
    "strided": lambda box, classes: Strided(box, classes, width=16),
    "fsda": FSDA,
    "cb3d": CB3D,
    "dsrf3d": DSRF3D,
    "densenet3d": lambda box, classes: DenseNet3D(classes),
    "resnet3d": lambda box, classes: ResNet3D(classes),
}


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "parameters", "features"),
    [
        ("fsda", 74_180, 1024),
        ("cb3d", 72_240_516, 10_240),
        ("dsrf3d", 18_297_124, 16_000),
        ("densenet3d", 11_234_180, 1024),
        ("resnet3d", 85_196_868, 2048),
    ],
)
def test_parameters_are_those_of_the_paper(name, parameters, features):
    with torch.device("meta"):  # shapes without numbers
        network = NETWORKS[name](40, 4)
        assert count(network) == parameters
        assert network.width == features
        volumes = torch.empty(2, 40, 40, 40)
        assert network.features(volumes).shape == (2, features)
        assert network(volumes).shape == (2, 4)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("box", [16, 24, 32, 48])
def test_other_boxes_are_taken(name, box):
    with torch.device("meta"):
        network = NETWORKS[name](box, 3)
        assert network.features(torch.empty(2, box, box, box)).shape == (2, network.width)
        assert network(torch.empty(2, box, box, box)).shape == (2, 3)


@pytest.mark.parametrize("name", ["fsda", "cb3d", "dsrf3d", "densenet3d", "resnet3d"])
@pytest.mark.parametrize("box", [28, 35])
def test_boxes_that_cannot_be_halved_evenly_are_taken(name, box):
    with torch.device("meta"):
        assert NETWORKS[name](box, 3)(torch.empty(2, box, box, box)).shape == (2, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_takes_part_and_logits_are_those_of_the_features(name):
    torch.manual_seed(0)
    network = NETWORKS[name](16, 3).eval()
    volumes = torch.randn(4, 16, 16, 16)
    logits = network(volumes)
    torch.testing.assert_close(network.classifier(network.features(volumes)), logits)
    logits.square().sum().backward()
    for key, weight in network.named_parameters():
        assert weight.grad is not None, key
        assert torch.isfinite(weight.grad).all(), key
    assert next(network.parameters()).grad.abs().sum() > 0


def test_a_box_too_small_is_one_clear_sentence():
    with pytest.raises(ValueError, match="box 8 is too small for four poolings; give at least 16"):
        CB3D(8, 4)
    with pytest.raises(ValueError, match="box 7 is too small for three poolings; give at least 8"):
        DSRF3D(7, 4)


def test_discriminators_have_the_parameters_of_the_published_code():
    with torch.device("meta"):
        assert count(VolumeDiscriminator()) == 3_984_385
        one = FeatureDiscriminators(10_240, 1, deep=True)
        assert count(one) == (10_240 + 1) * 4096 + (4096 + 1) * 4096 + 4097
        assert count(FeatureDiscriminators(10_240, 4, deep=True)) == 4 * count(one)
        assert count(FeatureDiscriminators(1024, 4, deep=False)) == 4 * (1025 * 512 + 513)


@pytest.mark.parametrize("box", [16, 28, 40])
def test_the_volume_discriminator_takes_any_box(box):
    assert VolumeDiscriminator()(torch.randn(3, box, box, box)).shape == (3,)


def test_each_feature_discriminator_sees_its_own_features_only():
    torch.manual_seed(0)
    judges = FeatureDiscriminators(6, 3, deep=False)
    features = torch.randn(5, 3, 6, requires_grad=True)
    logits = judges(features)
    assert logits.shape == (5, 3)
    logits[:, 1].sum().backward()
    assert (features.grad[:, [0, 2]] == 0).all()
    assert (features.grad[:, 1] != 0).any(1).all()
