"""Parameters that several comparisons have: bounds and words once, a default each."""

from typing import Annotated

from pydantic import Field

Diameter = Annotated[float, Field(gt=0, le=10_000, title="Particle diameter", description="Å.")]
AngularStep = Annotated[
    float,
    Field(
        ge=8, le=90, title="Angular step", description="Between the orientations tried, degrees."
    ),
]
LargestShift = Annotated[
    float,
    Field(
        ge=0,
        le=200,
        title="Largest shift",
        description="How far from the centre of its volume a particle may lie, Å.",
    ),
]
Envelope = Annotated[
    float,
    Field(
        ge=0,
        le=500,
        title="Envelope",
        description="Å at which the contrast transfer has fallen to 1/e; 0 for none.",
    ),
]
Resolution = Annotated[
    float,
    Field(gt=0, le=500, title="Resolution", description="Finest detail that is compared, Å."),
]
