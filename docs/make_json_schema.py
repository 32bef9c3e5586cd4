"""Write `docs/json-lines.schema.json` from the records that the command line prints: `python docs/make_json_schema.py`.

Types and required fields come from the dataclasses, so that the schema cannot differ from the code; lines that no
dataclass describes are written here.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from aioframeio_upload import DryRunFile, Event, PendingUpload, UploadedFile, UploadError, UploadStatus, Verification
from aioframeio_upload._cli.browse import TreeRow
from aioframeio_upload._cli.dry_run import Totals
from aioframeio_upload._core import errors, events

PAGE = Path(__file__).resolve().with_name("json-lines.schema.json")

Schema = dict[str, Any]

TEXT, COUNT, FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
SIMPLE: dict[Any, Schema] = {
    str: TEXT,
    int: COUNT,
    float: {"type": "number"},
    bool: FLAG,
    NoneType: {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
}
"""JSON types of Python types. `bool` before `int` does not matter: they are looked up by identity."""

TEXT_OR_NULL = {"type": ["string", "null"]}
ERRORS = [one for module in (errors, events) for one in vars(module).values()]
ERROR_CLASSES = sorted({one for one in ERRORS if isinstance(one, type) and issubclass(one, UploadError)}, key=str)


class Definitions:
    """The definitions of records, collected while schemas refer to them."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}

    def of(self, kind: Any) -> Schema:
        """Return the schema of values of a Python type."""
        if kind in SIMPLE:
            return SIMPLE[kind]
        origin = get_origin(kind)
        if origin in (Union, UnionType):
            return {"anyOf": [self.of(one) for one in get_args(kind)]}
        if origin is Literal:
            return {"enum": list(get_args(kind))}
        if origin is tuple:
            return {"type": "array", "items": self.of(get_args(kind)[0])}
        if isinstance(kind, type) and issubclass(kind, UploadError):
            return {"$ref": "#/$defs/error"}
        if is_dataclass(kind):
            return {"$ref": f"#/$defs/{self.record(kind)}", "unevaluatedProperties": False}
        raise TypeError(f"no JSON type is known for {kind!r}")

    def record(self, kind: Any) -> str:
        """Define a dataclass, and return the name of its definition."""
        name = str(kind.__name__)
        if name not in self.found:
            self.found[name] = {}  # so that a record may refer to itself
            hints = get_type_hints(kind)
            properties = {field.name: self.of(hints[field.name]) for field in fields(kind)}
            if issubclass(kind, events.EventBase):
                properties = {"event": {"const": name}, **properties}
            self.found[name] = written(properties, kind.__doc__)
        return name

    def define(self, name: str, properties: Schema, text: str) -> str:
        """Define a record that no dataclass describes."""
        self.found[name] = written(properties, text)
        return name


def written(properties: Schema, text: str | None) -> Schema:
    """Return the schema of an object that has all of these properties."""
    first = " ".join((text or "").split("\n\n")[0].split())
    return {"description": first, "type": "object", "properties": properties, "required": list(properties)}


def line(name: str) -> Schema:
    """Return the schema of a line with a record, the path that it is about, and the time."""
    return {"allOf": [{"$ref": "#/$defs/line"}, {"$ref": f"#/$defs/{name}"}], "unevaluatedProperties": False}


def row(name: str) -> Schema:
    """Return the schema of a line that is a record alone."""
    return {"$ref": f"#/$defs/{name}", "unevaluatedProperties": False}


def schema() -> Schema:
    """Return the schema of one line."""
    found = Definitions()
    lines = [found.record(kind) for kind in get_args(Event)] + [
        found.define(
            "PatternUnmatched",
            {
                "event": {"const": "PatternUnmatched"},
                "option": {"enum": ["--include", "--exclude"]},
                "pattern": TEXT,
                "reason": TEXT,
            },
            "A pattern matched nothing in any folder of the command. Its `source` is null.",
        ),
        found.define(
            "StdinProgress",
            {"event": {"const": "StdinProgress"}, "bytes_read": COUNT},
            "So many bytes were read from stdin into a temporary file, before the upload begins.",
        ),
        found.define(
            "FolderMissing",
            {"event": {"const": "FolderMissing"}, "path": TEXT},
            "With --dry-run: a folder would be created. The `path` is relative to the source, whose own is `.`; of a"
            " folder that --make-folders would create, it is the path at Frame.io.",
        ),
        found.define("DryRunFile", _with_event(found, DryRunFile), f"With --dry-run: {DryRunFile.__doc__}"),
        found.define(
            "DryRunCompleted",
            _with_event(found, Totals, name="DryRunCompleted"),
            "With --dry-run, the last line: what the whole command would do. Its `source` is null.",
        ),
    ]
    rows = [
        found.define("find", _fields(found, TreeRow), "`find`: one line of the tree, which follows what it is in."),
        found.define(
            "verify",
            {"path": TEXT, "file_id": TEXT, **_fields(found, Verification), "is_sent": {"type": ["boolean", "null"]}},
            "`verify`: what a file was compared by. `is_sent`: whether its CRC64NVME is that of what a report says was"
            " sent; null if that is not known.",
        ),
        found.define("status", _fields(found, UploadStatus), "`status`: the state of a file."),
        found.define("pending", _fields(found, PendingUpload), "`pending`: an upload that is not finished."),
        found.define("remote", _fields(found, UploadedFile), "`remote`: a file that Frame.io fetches."),
        found.define("whoami", WHOAMI, "`whoami`: the user, the accounts, and how long the login holds."),
    ]
    found.define(
        "line",
        {"source": TEXT_OR_NULL, "at": SIMPLE[datetime]},
        "What a line has beside its event. `source` is the PATH as it was given, null if the line is about the whole"
        " command; `at` is the time, in UTC.",
    )
    found.found["error"] = error_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of --json",
        "description": "Every line that a command of aioframeio-upload prints with --json. Later versions may add lines"
        " and fields. Written by docs/make_json_schema.py.",
        "oneOf": [*map(line, lines), *map(row, rows)],
        "$defs": dict(sorted(found.found.items())),
    }


WHOAMI: Schema = {
    "user": written({"id": TEXT, "name": TEXT_OR_NULL, "email": TEXT_OR_NULL}, "The user."),
    "accounts": {
        "type": "array",
        "items": written(
            {
                "id": TEXT,
                "name": TEXT,
                "storage_usage": {"type": ["integer", "null"]},
                "storage_limit": {"type": ["integer", "null"]},
            },
            "An account.",
        ),
    },
    "login": written(
        {
            "by": TEXT_OR_NULL,
            "expires_at": {"anyOf": [SIMPLE[datetime], SIMPLE[NoneType]]},
            "renewable": {"type": ["boolean", "null"]},
            "kept_in": {"enum": ["environment", "keyring", "file"]},
        },
        "Where the token comes from.",
    ),
}


def _fields(found: Definitions, kind: Any) -> Schema:
    return {name: found.of(hint) for name, hint in get_type_hints(kind).items()}


def _with_event(found: Definitions, kind: Any, *, name: str | None = None) -> Schema:
    return {"event": {"const": name or kind.__name__}, **_fields(found, kind)}


def error_schema() -> Schema:
    """Return the schema of an error: its class, its text, and the fields that its class has."""
    names = sorted({name for one in ERROR_CLASSES for name in one.fields})
    known: Schema = {
        "result": {"$ref": "#/$defs/FolderResult", "unevaluatedProperties": False},
        **dict.fromkeys(("number", "attempts"), COUNT),
        "status": {"type": ["integer", "null"]},
        **dict.fromkeys(("failed", "is_away"), FLAG),
        "operation": TEXT,
    }
    return {
        "description": "An error: its class, its text, and the fields of that class.",
        "type": "object",
        "properties": {
            "type": {"enum": [one.__name__ for one in ERROR_CLASSES]},
            "message": TEXT,
            **{name: known.get(name, TEXT_OR_NULL) for name in names},
        },
        "required": ["type", "message"],
        "additionalProperties": False,
    }


def page() -> str:
    """Return the text of the file."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
