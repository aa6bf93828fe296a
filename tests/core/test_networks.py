import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from napari_cryoshift.core.networks.convolution import Conv3d
from napari_cryoshift.core.networks.protonet3d import ProtoNet3D, StridedEncoder


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_protonet3d_is_that_of_the_paper():
    network = ProtoNet3D(32).eval()
    assert count(network) == 334_272  # (27·64 + 64) + 3·(27·64·64 + 64), and 2·64 a batch norm
    assert network.width == 512
    assert network(torch.randn(2, 32, 32, 32)).shape == (2, 512)


@pytest.mark.parametrize(("box", "width"), [(16, 64), (24, 64), (40, 512)])
def test_protonet3d_takes_other_boxes(box, width):
    network = ProtoNet3D(box).eval()
    assert network.width == width
    assert network(torch.randn(1, box, box, box)).shape == (1, width)


@pytest.mark.parametrize("box", [8, 24, 32])
def test_the_strided_encoder_embeds_any_box_of_eight(box):
    network = StridedEncoder(box, width=40, filters=4).eval()
    assert network.width == 40
    assert network(torch.randn(3, box, box, box)).shape == (3, 40)


def test_every_weight_takes_part():
    for network in (ProtoNet3D(16, filters=4), StridedEncoder(16, width=8, filters=4)):
        network(torch.randn(4, 16, 16, 16)).square().sum().backward()
        for name, weight in network.named_parameters():
            assert weight.grad is not None, name
            assert torch.isfinite(weight.grad).all(), name


def test_the_strided_encoder_has_less_to_compute():
    flops = {}
    for network in (ProtoNet3D(32), StridedEncoder(32)):
        counter = FlopCounterMode(display=False)
        with counter:
            network.eval()(torch.randn(1, 32, 32, 32))
        flops[type(network)] = counter.get_total_flops()
    assert flops[StridedEncoder] < flops[ProtoNet3D] / 3


def test_a_box_that_does_not_fit_is_one_clear_sentence():
    with pytest.raises(ValueError, match="box 12 is too small for four poolings; give at least 16"):
        ProtoNet3D(12)
    with pytest.raises(ValueError, match="box 20 cannot be halved three times; give a multiple of"):
        StridedEncoder(20)


@pytest.mark.parametrize(("side", "stride"), [(1, 2), (2, 1), (2, 2), (3, 1), (4, 2)])
def test_gradients_in_half_precision_are_right_at_every_size_of_the_map(side, stride):
    torch.manual_seed(0)
    convolution = Conv3d(32, 64, 3, stride=stride, padding=1, bias=False)
    for _ in range(5):  # memory that was never written differs from time to time
        volumes = torch.randn(8, 32, side, side, side)
        spoiled = [torch.full((2**n,), torch.nan) for n in range(10, 22)]
        del spoiled
        gradients = []
        for half in (False, True):
            convolution.weight.grad = None
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                result = convolution(volumes)
            result.float().sum().backward()
            gradients.append(convolution.weight.grad.clone())
        single, half = gradients
        assert float((half - single).norm() / single.norm()) < 0.02
