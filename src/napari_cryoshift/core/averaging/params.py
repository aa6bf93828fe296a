"""How particles are aligned to their mean."""

from pydantic import Field

from napari_cryoshift.core.matching import AngularStep, Diameter, LargestShift, OpticsParams


class AveragingParams(OpticsParams):
    """How particles are aligned to their mean.

    The optics are those that a structure is seen through which is given to begin with.
    """

    diameter: Diameter = 250.0
    rotation_step: AngularStep = Field(
        15.0, description="Between the orientations tried in the last round, degrees."
    )
    shift: LargestShift = 30.0
    rounds: int = Field(
        3,
        ge=0,
        le=20,
        title="Rounds",
        description="How often all are aligned; 0 averages in the orientations given.",
    )
    first_resolution: float = Field(
        60.0,
        gt=0,
        le=500,
        title="First resolution",
        description="Half sets are shown a structure, or turned onto each other, at no finer "
        "detail, Å; they may agree up to there for that alone.",
    )
