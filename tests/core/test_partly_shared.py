"""The encoder that two domains share in part, and the discriminator of its pairs."""

import copy

import pytest
import torch

from napari_cryoshift.core.networks.fsda import FSDA
from napari_cryoshift.core.networks.pair_discriminator import PairDiscriminator
from napari_cryoshift.core.networks.partly_shared import Encoded, PartlyShared
from napari_cryoshift.core.networks.statistics import measuring
from napari_cryoshift.core.volumes import standardise


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def made(own, box=16, classes=3):
    torch.manual_seed(0)
    return PartlyShared(box, classes, own)


def test_numbers_of_parameters_are_those_of_the_published_code():
    """At 28³ voxels and 7 classes."""
    network = PartlyShared(28, 7, 2)
    front, back = network.blocks[:2], network.blocks[2:]
    assert count(front) == 2 * 7440
    assert count(back) == 62_640
    assert count(network.classifier) == 903
    discriminator = PairDiscriminator(128, of_maps=True)
    assert count(discriminator.of_maps) == 146_976
    assert count(discriminator.of_features) + count(discriminator.groups) == 29_124


def test_shared_whole_it_is_the_network_fsda():
    """For either domain, in training and after; one set of weights, two of statistics."""
    network, plain = made(own=0), FSDA(16, 3)
    blocks = [block for block in plain.extractor if isinstance(block, torch.nn.Sequential)]
    assert count(network) == count(plain)
    for ours, (convolution, norm, *_) in zip(network.blocks, blocks, strict=True):
        ours.convolution.load_state_dict(convolution.state_dict())
        torch.nn.init.uniform_(norm.weight, -1, 1)
        torch.nn.init.uniform_(norm.bias, -1, 1)
        ours.scale.data.copy_(norm.weight.data)
        ours.shift.data.copy_(norm.bias.data)
    network.classifier.load_state_dict(plain.classifier.state_dict())
    volumes, others = (
        standardise(torch.rand(4, 16, 16, 16) ** power) for power in (1, 5)
    )  # to which FSDA does nothing more
    other = copy.deepcopy(plain)
    for _ in range(2):
        torch.testing.assert_close(network(volumes, "source"), plain(volumes))
        torch.testing.assert_close(network(others, "target"), other(others))
    for part in (network, plain, other):
        part.eval()
    torch.testing.assert_close(network(volumes, "source"), plain(volumes))
    torch.testing.assert_close(network(volumes, "target"), other(volumes))


@pytest.mark.parametrize("own", [0, 1, 2, 4])
def test_the_target_begins_as_the_source_is(own):
    network = made(own)
    for _ in range(3):
        network.train()(torch.randn(4, 16, 16, 16), "source")
    for weight in network.parameters():
        weight.data.add_(0.1 * torch.randn_like(weight))
    network.eval()
    volumes = torch.randn(5, 16, 16, 16)
    assert not torch.equal(network(volumes, "source"), network(volumes, "target"))
    network.begin_target()
    assert torch.equal(network(volumes, "source"), network(volumes, "target"))


def test_a_domain_moves_what_is_shared_and_its_own_but_nothing_of_the_other():
    network = made(own=2).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.randn(4, 16, 16, 16), "target").square().sum().backward()
    optimiser.step()
    moved = {name for name, t in network.state_dict().items() if not torch.equal(t, before[name])}
    assert not {name for name in moved if ".source." in name}
    for block in ("0.each.target.0.weight", "1.each.target.1.running_mean", "2.convolution.weight"):
        assert f"blocks.{block}" in moved
    assert "blocks.3.each.target.running_var" in moved


def test_measuring_a_domain_leaves_the_other_as_it_is():
    network = made(own=2)
    volumes = torch.randn(6, 16, 16, 16)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.eval()
    with measuring(network.of("target")), torch.no_grad():
        for part in volumes.split(2):
            network.encode(part, "target")
    moved = {name for name, t in network.state_dict().items() if not torch.equal(t, before[name])}
    assert moved
    assert all(".target." in name and ("running" in name or "num" in name) for name in moved)
    with torch.no_grad():
        maps = network.blocks[0].each["target"][0](volumes.unsqueeze(1))
    torch.testing.assert_close(
        network.blocks[0].each["target"][1].running_mean, maps.mean((0, 2, 3, 4))
    )


@pytest.mark.parametrize(
    ("box", "side", "width"),
    [(24, 6, 128), (28, 7, 128), (32, 8, 1024), (35, 8, 1024), (40, 10, 1024)],
)
def test_boxes_of_the_papers_fit(box, side, width):
    network = PartlyShared(box, 3, 2)
    encoded = network.encode(torch.randn(2, box, box, box), "target")
    assert encoded.maps.shape == (2, 16, side, side, side)
    assert encoded.features.shape == (2, network.width) == (2, width)
    for of_maps in (True, False):
        groups = PairDiscriminator(width, of_maps=of_maps)(encoded, encoded)
        assert groups.shape == (2, 4)


def test_a_box_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="box 15 is too small for four poolings; give at least 16"):
        PartlyShared(15, 3, 2)


def test_without_its_3d_part_the_discriminator_sees_features_alone():
    """FC 64, 64, 4, as in FADA."""
    discriminator = PairDiscriminator(128, of_maps=False)
    shapes = [tuple(w.shape) for w in discriminator.parameters() if w.ndim == 2]
    assert shapes == [(64, 256), (64, 64), (4, 64)]
    features, maps = torch.randn(2, 3, 128), torch.randn(2, 3, 16, 7, 7, 7)
    one, other = (Encoded(m, f) for m, f in zip(maps, features, strict=True))
    again = Encoded(torch.zeros_like(maps[0]), features[0])
    assert torch.equal(discriminator(one, other), discriminator(again, other))
    full = PairDiscriminator(128, of_maps=True)
    assert not torch.equal(full(one, other), full(again, other))


def test_the_order_of_a_pair_matters_to_the_discriminator():
    discriminator = PairDiscriminator(128, of_maps=True).eval()
    maps, features = torch.randn(2, 3, 16, 7, 7, 7), torch.randn(2, 3, 128)
    one, other = (Encoded(m, f) for m, f in zip(maps, features, strict=True))
    assert not torch.allclose(discriminator(one, other), discriminator(other, one))
