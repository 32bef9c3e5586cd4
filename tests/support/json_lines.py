"""Check the lines of `--json` against their schema in the docs."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tests.support.pages import ROOT

SCHEMA = ROOT / "docs" / "json-lines.schema.json"


@cache
def validators() -> dict[str, Draft202012Validator]:
    """Return a validator for each type of line, by its name; none where the docs are not, beside the built wheel."""
    if not SCHEMA.is_file():
        return {}
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    found = {}
    for one in schema["oneOf"]:
        name = (one.get("$ref") or one["allOf"][1]["$ref"]).rpartition("/")[2]
        found[name] = Draft202012Validator({**one, "$defs": schema["$defs"]})
    return found


def read_line(line: str) -> dict[str, Any]:
    """Return a line's fields, after a check that it is of exactly one type, and as the schema has it."""
    fields: dict[str, Any] = json.loads(line)
    if validators():
        type_of(fields)
    return fields


def type_of(fields: dict[str, Any]) -> str:
    """Return the name of a line's type.

    Raises:
        AssertionError: No type has such a line, or several have.
    """
    name = fields.get("event")
    if name is not None:
        assert name in validators(), f"the schema has no event {name}"
        errors = [error.message for error in validators()[name].iter_errors(fields)]
        assert not errors, f"{fields}: {errors}"
        return str(name)
    fitting = [name for name, validator in validators().items() if validator.is_valid(fields)]
    assert len(fitting) == 1, f"{fields} is of the types {fitting}"
    return fitting[0]
