"""Which account a command uses: the named, the remembered, the only one, or the one that a person chooses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aioframeio_upload._cli.options import read_service
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk
from tests.support.commands import Program
from tests.support.pressed import Terminal

pytestmark = [pytest.mark.needs_program, pytest.mark.slow]


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        yield fake


@pytest.fixture
def program(fake: FakeFrameio, tmp_path: Path) -> Program:
    """The command line without an account."""
    (tmp_path / "take.mov").write_bytes(b"take")
    program = Program(fake, tmp_path)
    program.environment.pop("FRAMEIO_ACCOUNT_ID")
    return program


def upload(program: Program, fake: FakeFrameio, *more: str) -> tuple[int, str, str]:
    return program.run("upload", "take.mov", "--folder", fake.folder_id, "--conflict", "create", *more)


def test_the_only_account_is_used(fake: FakeFrameio, program: Program) -> None:
    assert upload(program, fake)[0] == 0
    assert len(fake.files) == 1
    status, _, complaint = program.run("status", fake.files[0].id)
    assert status == 0, complaint
    assert program.run("remote", "https://renders.example/a.mov", "--folder", fake.folder_id)[0] == 0


def test_several_are_listed_where_nobody_can_be_asked_and_the_named_one_is_remembered(
    fake: FakeFrameio, program: Program
) -> None:
    other = fake.add_account("Ads\x1b[2J \u202eco.")
    status, said, complaint = upload(program, fake)
    assert (status, said) == (2, "")
    assert complaint.startswith("error: there are 2 accounts: give --account ID, which is remembered, or set")
    assert f"{fake.account_id}  Fake account; {other}  Ads\\x1b[2J" in complaint
    assert complaint[:-1].isprintable()
    assert upload(program, fake, "--account", fake.account_id)[0] == 0
    assert upload(program, fake)[0] == 0
    assert len(fake.files) == 2
    (path,) = program.state.rglob("account.json")
    assert json.loads(path.read_text(encoding="utf-8")) == {fake.url: fake.account_id}
    # The one of the environment wins, and is not remembered.
    status, _, complaint = program.run(
        *("upload", "take.mov", "--folder", fake.folder_id), environment={"FRAMEIO_ACCOUNT_ID": other}
    )
    assert (status, "NotFound" in complaint) == (1, True)
    assert upload(program, fake)[0] == 0


@pytest.mark.parametrize("content", ["{", "[]", '{"URL": "an account of another user"}', '{"URL": 1}'])
def test_what_is_remembered_counts_only_if_the_token_can_read_it(
    fake: FakeFrameio, program: Program, content: str
) -> None:
    assert upload(program, fake, "--account", fake.account_id)[0] == 0
    (path,) = program.state.rglob("account.json")
    path.write_text(content.replace("URL", fake.url), encoding="utf-8")
    assert upload(program, fake)[0] == 0
    fake.add_account("Other")
    assert upload(program, fake)[0] == 2


def test_a_refused_list_is_an_error_and_no_upload_begins(fake: FakeFrameio, program: Program) -> None:
    fake.add_fault(Fault(on="accounts", status=403, message="locked"))
    status, _, complaint = upload(program, fake)
    assert (status, complaint.startswith("error: PermissionDenied: listing the accounts: 403: locked")) == (1, True)
    assert fake.files == ()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("typed", ["2\n", "9\nwhat\n2\n", "ID\n"])
def test_a_person_is_asked_once(fake: FakeFrameio, program: Program, typed: str) -> None:
    other = fake.add_account("Aardvark")
    arguments = ["-m", "aioframeio_upload", "status", "no-such-file"]
    with Terminal([sys.executable, *arguments], program.environment, program.folder) as terminal:
        terminal.wait_for("number:")
        assert "  2  " + other + "  Aardvark" in terminal.written
        os.write(terminal._leader, typed.replace("ID", other).encode())
        assert terminal.program.wait(40) == 1
        assert "NotFound" in terminal.written
    (path,) = program.state.rglob("account.json")
    assert json.loads(path.read_text(encoding="utf-8")) == {fake.url: other}
    asked = program.run("status", "no-such-file")
    assert (asked[0], "NotFound" in asked[2]) == (1, True)


async def test_an_uploader_of_a_command_that_did_not_ask_has_the_account_too(
    fake: FakeFrameio, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FRAMEIO_TOKEN", "FRAMEIO_BASE_URL", "XDG_STATE_HOME"):
        if name in program.environment:
            monkeypatch.setenv(name, program.environment[name])
    monkeypatch.delenv("FRAMEIO_ACCOUNT_ID", raising=False)
    service = on_disk(read_service, None, None, None)
    async with service.uploader() as uploader:
        file = await uploader.upload(b"take", name="take.mov", folder_id=fake.folder_id)
    assert file.account_id == fake.account_id
