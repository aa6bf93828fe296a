"""Parameters: declared once, shown as a form, a command-line flag and a line of a stored run."""

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """Frozen, validated parameters of one piece of work.

    Every field has a default, bounds, a title for the form and a description with its unit; the
    form of the window and the flags of the command line are made from the fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
