"""The JSON Schema of the arguments says what the settings take."""

import json

import jsonschema
import pytest

from animatediff_ext.params import SETTINGS, Animation, from_api, to_api
from animatediff_ext.schema import schema
from animatediff_ext.setting import SettingsError

SCHEMA = schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def as_json(values: dict) -> dict:
    return json.loads(json.dumps(values))


def test_it_is_a_schema_with_every_argument_in_api_order():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert list(SCHEMA["properties"]) == list(SETTINGS)


def test_defaults_are_those_of_an_animation_and_valid():
    defaults = {name: known["default"] for name, known in SCHEMA["properties"].items()}
    assert defaults == as_json(to_api(Animation()))
    VALIDATOR.validate(defaults)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_argument_says_what_it_is(name):
    """``info`` of the setting or, where the page needs none, ``meaning``."""
    assert SCHEMA["properties"][name]["description"]


def beyond(name: str) -> list:
    """Values just outside of what the schema allows."""
    known = SCHEMA["properties"][name]
    values = ["no such choice"] if "enum" in known else []
    values += [["no such choice"], []] if "minItems" in known else []
    values += [known["minimum"] - 1] if "minimum" in known else []
    return values + ([known["maximum"] + 1] if "maximum" in known else [])


@pytest.mark.parametrize("name", [name for name in SETTINGS if beyond(name)])
def test_what_it_refuses_is_refused_and_its_limits_are_allowed(name):
    known = SCHEMA["properties"][name]
    for value in beyond(name):
        assert not VALIDATOR.is_valid({name: value})
        with pytest.raises(SettingsError):
            from_api({name: value})
    for limit in ("minimum", "maximum"):
        if limit in known:
            others = {"interp": "Off", "batch_size": 32, "motion_start": 0, "motion_end": 1}
            from_api({**others, name: known[limit]})


def test_units_stand_with_numbers_alone():
    for name, known in SCHEMA["properties"].items():
        assert "x-unit" not in known or known["type"] in ("number", "integer"), name
    assert SCHEMA["properties"]["fps"]["x-unit"] == "frames per second"
