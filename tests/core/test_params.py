"""Forms, flags and stored runs come from the fields of `Params`: each has to be complete."""

import importlib
import pkgutil

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError

from napari_cryoshift import core
from napari_cryoshift.core.params import Params


def all_params(base=Params):
    for found in pkgutil.walk_packages(core.__path__, f"{core.__name__}."):
        importlib.import_module(found.name)
    below = base.__subclasses__()
    return sorted({*below, *(p for b in below for p in all_params(b))}, key=lambda p: p.__name__)


@pytest.fixture(params=all_params(), ids=lambda params: params.__name__)
def params_type(request):
    return request.param


def test_every_field_has_a_default_a_title_and_a_description(params_type):
    params_type()
    for name, field in params_type.model_fields.items():
        assert field.title, name
        assert field.title[0].isupper(), name
        assert (field.description or "").rstrip().endswith("."), name


def test_every_number_has_a_bound(params_type):
    for name, field in params_type.model_fields.items():
        if field.annotation in (int, float):
            assert any(isinstance(bound, Ge | Gt | Le | Lt) for bound in field.metadata), name


def test_they_come_back_from_json_and_cannot_be_changed(params_type):
    params = params_type()
    assert params_type.model_validate_json(params.model_dump_json()) == params
    name = next(iter(params_type.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(params, name, getattr(params, name))


def test_a_field_that_does_not_exist_is_refused(params_type):
    with pytest.raises(ValidationError, match="learning_rat"):
        params_type(learning_rat=1)
