"""Forms made from parameters: every value comes back, and what does not fit is said."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLabel, QToolButton

from napari_cryoshift.core.methods import METHODS
from napari_cryoshift.core.params import Params
from napari_cryoshift.core.simulate.tomogram import CrowdedParams
from napari_cryoshift.core.workflows import PickParams, SourceParams
from napari_cryoshift.widgets.form import Form
from napari_cryoshift.widgets.panel import Folded


class Inner(Params):
    depth: int = Field(3, ge=1, le=9, title="Depth", description="Layers.")


Count = Annotated[int, Field(ge=0)]


class Everything(Params):
    count: int = Field(7, ge=0, le=100, title="Count", description="How many.")
    rate: float = Field(1e-3, gt=0, le=1, title="Rate", description="Of learning.")
    size: float = Field(12.0, gt=0, title="Size", description="Of a voxel, Å.")
    fast: bool = Field(True, title="Fast", description="Or exact.")
    kind: Literal["plain", "fancy_one"] = Field("plain", title="Kind", description="Which.")
    name: str = Field("ribosome", title="Name", description="Of it.")
    span: tuple[float, float] = Field((-6.0, -2.0), title="Span", description="µm.")
    most: float | None = Field(None, gt=0, title="Most", description="None for no limit.")
    curve: Path | None = Field(None, title="Curve", description="A file.")
    forms: tuple[Literal["disc", "ring"], ...] = Field(
        ("disc", "ring"), title="Forms", description="In turn."
    )
    copies: Count | tuple[Count, ...] = Field(40, title="Copies", description="Or one each.")
    amounts: float | tuple[float, ...] | None = Field(None, title="Amounts", description="µM.")
    inner: Inner = Field(Inner(), title="Inside", description="More of it.")


OTHERS = Everything(
    count=42,
    rate=2.5e-7,
    size=13.48,
    fast=False,
    kind="fancy_one",
    name="ring",
    span=(0.125, 1e-5),
    most=4.0,
    curve=Path("detector.star"),
    forms=("ring", "ring", "disc"),
    copies=(3, 0, 12),
    amounts=0.125,
    inner=Inner(depth=8),
)


@pytest.fixture
def form(qtbot):
    made = Form(Everything)
    qtbot.addWidget(made)
    return made


def test_defaults_are_shown(form):
    assert form.params() == Everything()


def test_values_come_back_as_they_went_in(form):
    form.set_params(OTHERS)
    assert form.params() == OTHERS


@pytest.mark.parametrize(
    "params_type",
    [PickParams, SourceParams, CrowdedParams, *(m.params_type for m in METHODS.values())],
)
def test_every_piece_of_work_has_a_form(qtbot, params_type):
    made = Form(params_type)
    qtbot.addWidget(made)
    assert made.params() == params_type()


def test_fields_that_are_not_shown_are_kept(qtbot):
    made = Form(SourceParams, ["seed", "imaging"])
    qtbot.addWidget(made)
    made.set_params(SourceParams(structures=("6qzp",), seed=4))
    assert made.params() == SourceParams(structures=("6qzp",), seed=4)


def test_fields_that_are_not_shown_can_be_given(qtbot):
    made = Form(SourceParams, ["seed"])
    qtbot.addWidget(made)
    assert made.params(structures=("6qzp",)) == SourceParams(structures=("6qzp",))


def test_folded_fields_are_in_the_form_and_come_back(qtbot):
    made = Form(Everything, ["count"], folded=["rate", "inner"])
    qtbot.addWidget(made)
    made.show()
    assert made.editor("count").isVisible()
    assert not made.editor("rate").isVisible()
    made.findChild(Folded).toggle()
    assert made.editor("rate").isVisible()
    made.set_params(OTHERS)
    assert made.params() == OTHERS


def test_one_value_stands_for_itself_and_several_for_a_list(form):
    for text, copies in (("7", 7), ("7, 8", (7, 8)), (" 7 ,8, ", (7, 8))):
        form.editor("copies").setText(text)
        assert form.params().copies == copies
    form.editor("forms").setText("disc")
    assert form.params().forms == ("disc",)
    form.editor("amounts").setText("")
    assert form.params().amounts is None


@pytest.mark.parametrize(
    ("field", "text", "sentence"),
    [("copies", "many", "Copies: .*many"), ("forms", "disc, cube", "Forms: .*'ring'.*cube")],
)
def test_a_list_of_what_does_not_fit_is_said(form, field, text, sentence):
    form.editor(field).setText(text)
    with pytest.raises(ValueError, match=sentence):
        form.params()


def test_a_file_can_be_chosen(qtbot, form, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("/data/k3.star", ""))
    with qtbot.waitSignal(form.changed):
        form.editor("curve").findChild(QToolButton).click()
    assert form.params().curve == Path("/data/k3.star")


def test_a_small_number_typed_keeps_its_digits(qtbot, form):
    line = form.editor("rate")
    line.clear()
    with qtbot.waitSignal(form.changed):
        qtbot.keyClicks(line, "0.00031")
        qtbot.keyClick(line, Qt.Key.Key_Return)
    assert form.params().rate == 3.1e-4


def test_digits_that_are_not_shown_are_kept(form):
    third = Everything(size=100 / 3, span=(-1 / 3, 1 / 3))
    form.set_params(third)
    assert form.editor("size").text() == "33.33333333"
    assert form.params() == third


def test_setting_values_is_silent(qtbot, form):
    with qtbot.assertNotEmitted(form.changed):
        form.set_params(OTHERS)


def test_out_of_bounds_is_said_with_the_title(form):
    form.editor("size").setText("0")
    with pytest.raises(ValueError, match=r"^Size: .*greater than 0 \(it is 0\.0\)$"):
        form.params()


def test_back_to_default(qtbot, form):
    form.set_params(OTHERS)
    reset = form._resets["rate"]
    assert reset.isEnabled()
    with qtbot.waitSignal(form.changed):
        reset.click()
    assert form.params().rate == 1e-3
    assert not reset.isEnabled()


def test_parts_have_the_defaults_of_the_whole(qtbot):
    made = Form(SourceParams, ["imaging"])
    qtbot.addWidget(made)
    imaging = made.editor("imaging")
    assert imaging.params() == SourceParams().imaging
    assert not any(reset.isEnabled() for reset in imaging._resets.values())


def test_tooltips_and_units_come_from_the_description(form):
    assert form.editor("size").toolTip() == "Of a voxel, Å."
    assert "Å" in [label.text() for label in form.findChildren(QLabel)]
