"""The schema of the lines of `--json` has every line that a command prints, and no other."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from aioframeio_upload import Event
from aioframeio_upload._cli.line_display import JsonDisplay
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, some_bytes
from tests.core.test_events import EVENTS
from tests.support.commands import Program
from tests.support.json_lines import SCHEMA, read_line, type_of, validators
from tests.support.pages import ROOT

pytestmark = pytest.mark.needs_tree

COMMANDS = {"find", "verify", "status", "pending", "remote", "whoami"}
"""Those whose lines are records without an event."""


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_json_schema", ROOT / "docs" / "make_json_schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_schema_is_what_the_records_say(script: ModuleType) -> None:
    """`PYTHONPATH=. python docs/make_json_schema.py` writes it."""
    assert SCHEMA.read_text(encoding="utf-8") == script.page()
    Draft202012Validator.check_schema(json.loads(script.page()))


def test_the_schema_has_the_events_of_the_library_and_those_that_the_command_line_adds() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "aioframeio_upload" / "_cli").glob("*.py")]
    added = {name for text in sources for name in re.findall(r'"event": "(\w+)"', text)}
    events = {kind.__name__ for kind in get_args(Event)}
    assert set(validators()) == events | added | COMMANDS
    assert added - events == {"PatternUnmatched", "StdinProgress", "FolderMissing", "DryRunFile", "DryRunCompleted"}


def test_a_line_that_is_not_in_the_schema_is_noticed() -> None:
    known = {"source": None, "at": "2026-11-29T12:00:00+00:00", "event": "StdinProgress", "bytes_read": 1}
    assert type_of(known) == "StdinProgress"
    for wrong in ({"event": "Nothing"}, {"bytes_read": "1"}, {"more": 1}, {"source": 1}):
        with pytest.raises(AssertionError):
            type_of(known | wrong)
    with pytest.raises(AssertionError):
        type_of({name: value for name, value in known.items() if name != "at"})
    with pytest.raises(AssertionError):
        type_of({"depth": 1})


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@given(st.data())
@settings(max_examples=15)
def test_every_event_is_printed_as_the_schema_has_it(kind: type[Event], data: st.DataObject) -> None:
    view: Any = SimpleNamespace(source="take.mov", label="take.mov")
    (line,) = JsonDisplay()._lines(view, data.draw(EVENTS[kind]), None)
    assert type_of(read_line(line)) == kind.__name__


# -- what the program prints -------------------------------------------------------------------------------------------


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        yield fake


@pytest.fixture
def program(fake: FakeFrameio, tmp_path: Path) -> Program:
    return Program(fake, tmp_path)


def interrupted(fake: FakeFrameio, program: Program, *arguments: str) -> str:
    """Run an upload until both files lack their last part, stop it by Ctrl-C, and return what it has printed."""
    holds = [Fault(do="hold", number=2, name=name) for name in ("a.mov", "b.mov")]
    for hold in holds:
        fake.add_fault(hold)
    with program.start(*arguments) as running:
        fake.wait_until(lambda fake: all(fake.hits(hold) == 1 for hold in holds), timeout=40)
        assert running.stdout is not None
        said, completed = "", 0
        while completed < 2:
            said += (line := running.stdout.readline())
            completed += json.loads(line)["event"] == "PartCompleted"
        running.send_signal(signal.SIGINT)
        said += running.communicate(timeout=40)[0]
    fake.release()
    return said


@pytest.mark.needs_program
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_what_the_commands_print_is_in_the_schema_and_what_is_in_the_schema_is_printed(
    fake: FakeFrameio, program: Program
) -> None:
    for name in ("a.mov", "b.mov"):
        (program.folder / name).write_bytes(some_bytes(2 * PART))
    shoot = program.folder / "shoot"
    shoot.mkdir()
    for name, content in (("ok.mov", b"ok"), ("bad.mov", b"bad"), ("zero.mov", b""), (".hidden", b"")):
        (shoot / name).write_bytes(content)
    busy: dict[str, Any] = {"status": 503, "headers": {"Retry-After": "0"}}
    for fault in (
        Fault(on="create", name="ok.mov", **busy),
        Fault(name="a.mov", number=1, code="SlowDown", **busy),
        Fault(on="create", name="bad.mov", status=422, times=None),
    ):
        fake.add_fault(fault)
    to = ("--folder", fake.folder_id)
    said = [interrupted(fake, program, "upload", "a.mov", "b.mov", *to, "--json")]

    def run(*arguments: str) -> str:
        said.append(program.run(*arguments, "--json")[1])
        return said[-1]

    run("pending")
    (program.folder / "a.mov").write_bytes(some_bytes(2 * PART + 1))
    run("upload", "a.mov", "b.mov", "shoot", "nowhere.mov", *to, "--exclude", "*.x")
    run("upload", "shoot", "nowhere.mov", "--folder", "Fake project/new", "--make-folders", "--dry-run")
    with program.start("upload", "-", "--name", "in.mov", *to, "--json", stdin=subprocess.PIPE) as running:
        said.append(running.communicate("from stdin", timeout=50)[0])
    run("find")
    file = next(file for file in fake.files if file.name == "a.mov" and file.complete)
    run("verify", "a.mov", file.id)
    run("status", file.id)
    run("remote", "https://renders.example/r.mov", *to)
    run("whoami")
    printed = {type_of(json.loads(line)) for text in said for line in text.splitlines()}
    # A second attempt at a slow part takes many parts and seconds; `test_every_event_is_printed` has its line.
    assert set(validators()) - printed == {"PartRaced"}
