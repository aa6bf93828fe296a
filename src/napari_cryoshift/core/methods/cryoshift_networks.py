"""The networks of Cryo-Shift by their parameters."""

from napari_cryoshift.core.networks.cb3d import CB3D
from napari_cryoshift.core.networks.densenet3d import DenseNet3D
from napari_cryoshift.core.networks.dsrf3d import DSRF3D
from napari_cryoshift.core.networks.fsda import FSDA
from napari_cryoshift.core.networks.resnet3d import ResNet3D
from napari_cryoshift.core.networks.step_zero import StepZero, Strided
from napari_cryoshift.core.networks.warp import WarpNetwork

from .cryoshift_params import StepZeroParams, WarpParams


def step_zero_network(params: StepZeroParams, box: int, classes: int) -> StepZero:
    """Make M; ValueError if the box does not suit it."""
    match params.network:
        case "strided":
            return Strided(box, classes, params.width)
        case "fsda":
            return FSDA(box, classes)
        case "cb3d":
            return CB3D(box, classes)
        case "dsrf3d":
            return DSRF3D(box, classes)
        case "densenet3d":
            return DenseNet3D(classes)
        case "resnet3d":
            return ResNet3D(classes)


def warp_network(params: WarpParams, box: int) -> WarpNetwork | None:
    """Make W, if there is to be one."""
    if not params.present:
        return None
    return WarpNetwork(box, params.filters, noise=params.noise, distortion=params.distortion)
