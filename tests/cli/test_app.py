"""The command line, as a separate program against a fake."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from aioframeio_upload._cli.app import app
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, sha256, some_bytes
from tests.support.commands import Program
from tests.support.journals import rows
from tests.support.pages import ROOT
from tests.support.seen import puts

pytestmark = [pytest.mark.needs_program, pytest.mark.slow]

HAS_SIGNALS = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(rate_limits=False, part_size=PART).in_thread() as fake:
        yield fake


@pytest.fixture
def program(fake: FakeFrameio, tmp_path: Path) -> Program:
    return Program(fake, tmp_path)


@pytest.fixture
def take(tmp_path: Path) -> Path:
    path = tmp_path / "take.mov"
    path.write_bytes(some_bytes(3 * PART + 5))
    return path


def link_of(fake: FakeFrameio, number: int = 0) -> str:
    return f"https://next.frame.io/project/{fake.project_id}/view/{fake.files[number].id}"


# -- upload ------------------------------------------------------------------------------------------------------------


def test_a_file_arrives_and_its_link_is_printed_last(fake: FakeFrameio, program: Program, take: Path) -> None:
    status, said, complaint = program.run("upload", "take.mov", "--folder", fake.folder_id)
    assert (status, complaint) == (0, "")
    assert [file.sha256 for file in fake.files] == [sha256(take)]
    lines = said.splitlines()
    assert lines[0] == "take.mov: 3.1 MB in 4 parts"
    assert lines[-1] == f"take.mov: uploaded, 3.1 MB  {link_of(fake)}"
    assert fake.token not in said
    assert "X-Amz" not in said


def test_the_same_command_again_sends_nothing(fake: FakeFrameio, program: Program, take: Path) -> None:
    for expected in ("uploaded", "there before"):
        status, said, _ = program.run("upload", "take.mov", "--folder", fake.folder_id)
        assert status == 0
        assert said.splitlines()[-1].startswith(f"take.mov: {expected}, ")
    assert len(fake.files) == 1


def test_files_and_folders_are_uploaded_together_and_the_report_has_each(
    fake: FakeFrameio, program: Program, take: Path, tmp_path: Path
) -> None:
    for path in ("shoot/a.mov", "shoot/b/c.mov", "shoot/b/d.tmp"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    status, said, complaint = program.run(
        *("upload", "take.mov", "nowhere.mov", "shoot", "--folder", fake.folder_id),
        *("--exclude", "*.tmp", "--report", "delivered.json"),
    )
    assert status == 1
    assert complaint == "error: nowhere.mov: SourceError: No such file or directory; check the path\n"
    assert re.search(r"shoot: 2 sent, 0 there before, 0 failed; 24 bytes in \d+:\d\d\n", said)
    rows = {row["source"]: row for row in json.loads((tmp_path / "delivered.json").read_text(encoding="utf-8"))}
    assert {source: row["outcome"] for source, row in rows.items()} == {
        "take.mov": "uploaded",
        "shoot/a.mov": "uploaded",
        "shoot/b/c.mov": "uploaded",
        "nowhere.mov": "failed",
    }
    sent = take.read_bytes()
    part = -(-len(sent) // 4)
    etags = [hashlib.md5(sent[at : at + part]).hexdigest() for at in range(0, len(sent), part)]
    row = rows["take.mov"]
    assert row["size"] == len(sent)
    assert (row["checked"], row["checked_by"]) == (True, "crc64nvme")
    assert (row["crc64nvme"], row["etags"]) == (
        next(file.crc64nvme for file in fake.files if file.name == "take.mov"),
        etags,
    )
    assert row["link"] in [link_of(fake, number) for number in range(3)]
    assert rows["nowhere.mov"]["error"].startswith("SourceError: ")
    assert {file.sha256 for file in fake.files} == {sha256(take), sha256(b"shoot/a.mov"), sha256(b"shoot/b/c.mov")}


def test_an_empty_file_of_a_folder_is_reported_and_fails_nothing(fake: FakeFrameio, program: Program) -> None:
    (program.folder / "shoot").mkdir()
    (program.folder / "shoot" / "a.mov").write_bytes(b"a")
    (program.folder / "shoot" / "zero.mov").touch()
    arguments = ("upload", "shoot", "--folder", fake.folder_id, "--report", "delivered.json")
    for sent, there in ((1, 0), (0, 1)):
        status, said, complaint = program.run(*arguments)
        assert (status, complaint) == (0, "")
        assert f"shoot: {sent} sent, {there} there before, 1 empty, 0 failed" in said
        assert "shoot: zero.mov: it is empty, and Frame.io does not accept empty files" in said
        rows = json.loads((program.folder / "delivered.json").read_text(encoding="utf-8"))
        (row,) = (row for row in rows if row["source"] == "shoot/zero.mov")
        assert (row["outcome"], row["error"]) == ("skipped", "it is empty, and Frame.io does not accept empty files")
    assert program.run("upload", "shoot/zero.mov", "--folder", fake.folder_id)[0] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="where a name may be any bytes")
def test_a_name_that_is_not_text_fails_its_own_path_only(fake: FakeFrameio, program: Program) -> None:
    name = os.fsdecode(b"caf\xe9.mov")
    for one in (name, "a.mov"):
        (program.folder / one).write_bytes(b"a")
    status, _, complaint = program.run("upload", name, "a.mov", "--folder", fake.folder_id)
    assert status == 1
    assert "its name is not valid UTF-8" in complaint
    assert [file.name for file in fake.files] == ["a.mov"]


def test_a_report_may_be_a_table_and_says_which_file_was_not_checked(take: Path, tmp_path: Path) -> None:
    with FakeFrameio(rate_limits=False, part_size=PART, checksum=None).in_thread() as fake:
        fake.add_fault(Fault(do="no_etag", number=2))
        status, _, _ = Program(fake, tmp_path).run(
            "upload", "take.mov", "--folder", fake.folder_id, "--report", "delivered.csv"
        )
    assert status == 0
    with (tmp_path / "delivered.csv").open(newline="", encoding="utf-8") as lines:
        (row,) = csv.DictReader(lines)
    assert (row["checked"], row["checked_by"]) == ("False", "md5")
    etags, md5s, crcs = (row[name].split() for name in ("etags", "md5s", "part_crc64nvmes"))
    assert [etags[0], "-", *etags[2:]] == etags
    # Which parts had an MD5 computed while they were sent, in vain for the second, depends on the order of the answers.
    assert [md5s[0], *md5s[2:]] == [etags[0], *etags[2:]]
    assert "-" not in crcs


def test_the_events_are_lines_of_json_if_asked_for(fake: FakeFrameio, program: Program, take: Path) -> None:
    fake.add_fault(Fault(do="answer", status=503, code="SlowDown", number=2, headers={"Retry-After": "0"}))
    status, said, complaint = program.run("upload", "take.mov", "--folder", fake.folder_id, "--json")
    assert (status, complaint) == (0, "")
    events = [json.loads(line) for line in said.splitlines()]
    assert {event["source"] for event in events} == {"take.mov"}
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("UploadPlanned", "UploadCompleted")
    assert names.count("PartRetrying") == 1
    assert events[-1]["file"]["view_url"] == link_of(fake)
    times = [datetime.fromisoformat(event["at"]) for event in events]
    assert times == sorted(times)
    assert times[0].tzinfo is not None


def test_a_file_gets_another_name_in_a_folder_that_is_made(fake: FakeFrameio, program: Program, take: Path) -> None:
    project = json.loads(program.run("find", "--json")[1].splitlines()[2])["name"]
    target = f"{project}/Dailies/Monday"
    missing = program.run("upload", "take.mov", "--folder", target)
    assert (missing[0], "there is no folder 'Dailies'" in missing[2]) == (1, True)
    assert missing[2].endswith("; check the path, or create the folder with --make-folders (upload, watch)\n")
    arguments = ("upload", "take.mov", "--folder", target, "--make-folders", "--name", "take 7.mov")
    assert program.run(*arguments)[0] == 0
    assert [file.name for file in fake.files] == ["take 7.mov"]
    assert fake.files[0].folder_id != fake.folder_id
    assert "take 7.mov: there before, " in program.run(*arguments)[1]
    status, _, complaint = program.run("upload", "take.mov", "no.mov", "--folder", target, "--name", "a")
    assert (status, complaint) == (2, "error: --name is for one file: give one PATH that is not a folder\n")


def test_the_contents_of_a_folder_go_without_it(fake: FakeFrameio, program: Program) -> None:
    (program.folder / "shoot").mkdir()
    (program.folder / "shoot" / "a.mov").write_bytes(b"a")
    assert program.run("upload", "shoot", "--folder", fake.folder_id, "--contents-only")[0] == 0
    assert [file.folder_id for file in fake.files] == [fake.folder_id]
    status, _, complaint = program.run("upload", "shoot/a.mov", "--folder", fake.folder_id, "--contents-only")
    assert (status, complaint) == (2, "error: --contents-only is for folders, and no PATH is one\n")


def test_quiet_prints_the_links_and_nothing_else(fake: FakeFrameio, program: Program, take: Path) -> None:
    assert program.run("upload", "take.mov", "--folder", fake.folder_id, "-q") == (0, link_of(fake) + "\n", "")


@pytest.mark.parametrize("tail", ["", "/{folder}"], ids=["project", "folder"])
def test_a_link_from_the_browser_names_the_folder(fake: FakeFrameio, program: Program, take: Path, tail: str) -> None:
    link = f"https://next.frame.io/project/{fake.project_id}" + tail.format(folder=fake.folder_id)
    status, _, _ = program.run("upload", "take.mov", "--folder", link)
    assert status == 0
    assert [file.folder_id for file in fake.files] == [fake.folder_id]


NOT_A_FOLDER = (
    "error: --folder takes a folder's id, its link (https://next.frame.io/project/<project>/<folder>),"
    " or a project's link (https://next.frame.io/project/<project>) for its root folder,"
    ' or a path that begins with a project ("Project/Folder")\n'
)
NOWHERE = "00000000-0000-4000-8000-000000000000"
NOT_A_BASE_URL = "error: FRAMEIO_BASE_URL must be http(s)://host, without user and password, query and fragment\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--folder", "https://app.frame.io/player/1"], {}, NOT_A_FOLDER),
        (["--folder", "f", "--bandwidth", "fast"], {}, "error: --bandwidth takes bytes per second"),
        (["--folder", "f", "--bandwidth", "1"], {}, "error: --bandwidth must be at least 1024"),
        (["--folder", "f", "--timeout", "0"], {}, "error: --timeout takes a number of seconds greater than 0"),
        (["--folder", "f", "--timeout", "inf"], {}, "error: --timeout takes a number of seconds greater than 0"),
        (["--folder", "f", "--report", "out.txt"], {}, "error: --report takes a file that ends in"),
        (["--folder", "f", "--report", "no/out.csv"], {}, "error: --report: there is no folder no"),
        (["--folder", "f", "--report", "folder.csv"], {}, "error: --report: folder.csv is a folder"),
        (["--folder", "f", "--timeline", "out.gif"], {}, "error: --timeline takes a file that ends in .svg or .png"),
        (["--folder", "f", "--timeline", "no/out.svg"], {}, "error: --timeline: there is no folder no"),
        (["--folder", "f", "--json", "--quiet"], {}, "error: --json and --quiet exclude each other"),
        (["--folder", "f", "--compare", "content", "--conflict", "create"], {}, "error: --compare content is for "),
        (["--folder", "f", "--journal", "x", "--no-journal"], {}, "error: --journal and --no-journal exclude"),
        (["--folder", "f", "--proxy", "socks5://u:secret@h:1"], {}, "error: the proxy "),
        (["--folder", "f", "--ca", "nowhere.pem"], {}, "error: nowhere.pem: no certificates"),
        (["--folder", "f"], {"FRAMEIO_TOKEN": None}, "error: no token: set FRAMEIO_TOKEN"),
        (["--folder", "f"], {"FRAMEIO_BASE_URL": "127.0.0.1:9"}, NOT_A_BASE_URL),
        (["--folder", "f"], {"FRAMEIO_BASE_URL": "http://127.0.0.1:port"}, NOT_A_BASE_URL),
        (["--folder", "f"], {"FRAMEIO_BASE_URL": "http://u:secret@127.0.0.1:9"}, NOT_A_BASE_URL),
        ([], {}, "Usage: "),
    ],
)
def test_an_impossible_request_is_a_usage_error(
    fake: FakeFrameio, program: Program, arguments: list[str], environment: dict[str, str | None], sentence: str
) -> None:
    (program.folder / "folder.csv").mkdir()
    status, said, complaint = program.run("upload", "take.mov", *arguments, environment=environment)
    assert (status, said) == (2, "")
    assert complaint.startswith(sentence)
    assert "secret" not in complaint
    assert fake.requests == []


def test_a_refused_token_is_reported_in_a_line_without_it(fake: FakeFrameio, program: Program, take: Path) -> None:
    refused = {"FRAMEIO_TOKEN": "of-somebody-else"}
    status, _, complaint = program.run("upload", "take.mov", "--folder", fake.folder_id, environment=refused)
    assert status == 1
    assert complaint.startswith("error: take.mov: AuthenticationError: ")
    expected = (
        "; FRAMEIO_TOKEN is wrong or has expired: set a new one; then run the same command again: what was sent is"
    )
    assert complaint.endswith(f"{expected} kept\n")
    assert len(complaint.splitlines()) == 1
    assert "of-somebody-else" not in complaint
    assert program.run("find", environment=refused)[2].endswith(
        "; FRAMEIO_TOKEN is wrong or has expired: set a new one\n"
    )


def test_a_missing_folder_is_named_with_its_account(fake: FakeFrameio, program: Program, take: Path) -> None:
    (program.folder / "shoot").mkdir()
    expected = f"; there is no folder {NOWHERE} in account {fake.account_id}, or this token cannot read it"
    for paths in (["take.mov", "shoot"], ["take.mov", "--conflict", "create"]):
        status, _, complaint = program.run("upload", *paths, "--folder", NOWHERE)
        lines = complaint.splitlines()
        assert (status, len(lines)) == (1, 2 if "shoot" in paths else 1)
        assert all(": NotFound: " in line and expected in line for line in lines)
    status, _, complaint = program.run("remote", "https://renders.example/a.mov", "--folder", NOWHERE)
    assert (status, complaint.startswith("error: NotFound: ")) == (1, True)
    assert expected in complaint


def test_what_is_there_is_compared_with_its_original(fake: FakeFrameio, program: Program, take: Path) -> None:
    how = ("upload", "take.mov", "--folder", fake.folder_id, "--compare", "content")
    program.run("upload", "take.mov", "--folder", fake.folder_id, "--no-journal")
    fake.add_fault(Fault(on="original", do="no_etag"))
    status, said, _ = program.run(*how, "--no-journal")
    assert status == 0
    assert ": uploaded, 3.1 MB, same name and size, content not compared: S3 states no checksum" in said
    status, said, _ = program.run(*how, "--json")
    file = json.loads(said)["file"]
    assert (file["outcome"], file["reason"]) == ("skipped", "same content")


# -- interrupted, and resumed ------------------------------------------------------------------------------------------


def interrupted(
    fake: FakeFrameio, program: Program, *more: str, by: signal.Signals = signal.SIGINT
) -> tuple[int, str, str]:
    """Upload until the last part hangs and the others are recorded, then send SIGINT or another signal."""
    fake.add_fault(hold := Fault(do="hold", number=4))
    with program.start("upload", "take.mov", "--folder", fake.folder_id, "--json", *more) as running:
        assert running.stdout is not None
        fake.wait_until(lambda fake: fake.hits(hold) == 1, timeout=40)
        completed = 0
        for line in running.stdout:
            completed += json.loads(line)["event"] == "PartCompleted"
            if completed == 3:
                break
        running.send_signal(by)
        said, complaint = running.communicate(timeout=40)
    fake.release()
    return running.returncode, said, complaint


KEPT = "2.4 MB of 3.1 MB are kept (whole parts only); run the same command again to send the rest"


@HAS_SIGNALS
@pytest.mark.parametrize("command", ["upload", "resume"])
def test_ctrl_c_ends_it_with_130_and_the_next_run_resumes(
    fake: FakeFrameio, program: Program, take: Path, command: str, tmp_path: Path
) -> None:
    status, _, complaint = interrupted(fake, program, "--report", "r.json")
    assert status == 130
    assert complaint == f"interrupted; {KEPT}\n"
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))[0]["error"] == "interrupted"
    (file,) = fake.files
    status, said, _ = program.run("pending")
    assert status == 0
    assert said.startswith(f"{file.id}  {take}: 2.4 MB of 3.1 MB sent, can be resumed until ")
    again = ["upload", "take.mov", "--folder", fake.folder_id] if command == "upload" else ["resume"]
    status, said, complaint = program.run(*again, "--report", "r.json")
    assert (status, complaint) == (0, "")
    assert "take.mov: resuming; 2.4 MB were sent before" in said
    source = "take.mov" if command == "upload" else str(take)
    lines = [line for line in said.splitlines() if not line.startswith("of a folder, only files that had begun")]
    assert lines[-1] == f"{source}: resumed, 3.1 MB  {link_of(fake)}"
    assert len(said.splitlines()) - len(lines) == (command == "resume")
    assert file.sha256 == sha256(take)
    assert [puts(fake)[number] for number in (1, 2, 3)] == [1, 1, 1]
    (row,) = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (row["source"], row["outcome"], row["checked"], len(row["etags"])) == (source, "resumed", True, 4)
    assert program.run("pending")[1] == "nothing is pending\n"


@HAS_SIGNALS
def test_a_sigterm_ends_it_as_a_ctrl_c_does_but_with_143(
    fake: FakeFrameio, program: Program, take: Path, tmp_path: Path
) -> None:
    status, _, complaint = interrupted(fake, program, "--report", "r.json", by=signal.SIGTERM)
    assert (status, complaint) == (143, f"terminated; {KEPT}\n")
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))[0]["error"] == "interrupted"
    (file,) = fake.files
    assert program.run("pending")[1].startswith(f"{file.id}  {take}: 2.4 MB of 3.1 MB sent, can be resumed until ")
    assert program.run("upload", "take.mov", "--folder", fake.folder_id)[0] == 0
    assert file.sha256 == sha256(take)
    assert [puts(fake)[number] for number in (1, 2, 3)] == [1, 1, 1]


@HAS_SIGNALS
def test_without_a_complete_part_ctrl_c_says_that_nothing_is_kept(
    fake: FakeFrameio, program: Program, take: Path
) -> None:
    fake.add_fault(hold := Fault(do="hold", times=4))
    with program.start("upload", "take.mov", "--folder", fake.folder_id) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "take.mov: 3.1 MB in 4 parts\n"
        fake.wait_until(lambda fake: fake.hits(hold) == 4, timeout=40)
        running.send_signal(signal.SIGINT)
        _, complaint = running.communicate(timeout=40)
    fake.release()
    assert running.returncode == 130
    assert complaint == f"interrupted; {KEPT.replace('2.4 MB', '0 bytes', 1)}\n"
    assert ": 0 bytes of 3.1 MB sent" in program.run("pending")[1]


HANGS = """
import asyncio, threading
from aioframeio_upload._cli.runner import finish

async def work():
    print("begun", flush=True)
    await asyncio.to_thread(threading.Event().wait)

finish(work)
"""


@HAS_SIGNALS
def test_a_second_sigterm_kills_what_the_first_cannot_end() -> None:
    """Its end waits for a thread, as it would for one that writes into a pipe that nobody reads."""
    with subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            for _ in range(100):
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.3)
                    break
        finally:
            process.kill()
    assert process.returncode == -signal.SIGTERM


@HAS_SIGNALS
def test_without_a_journal_a_sigterm_leaves_nothing(fake: FakeFrameio, program: Program, take: Path) -> None:
    status, _, complaint = interrupted(fake, program, "--no-journal", by=signal.SIGTERM)
    assert status == 143
    assert complaint.startswith("terminated; the same command starts unfinished files again")
    assert not fake.files


@HAS_SIGNALS
def test_without_a_journal_ctrl_c_leaves_nothing(fake: FakeFrameio, program: Program, take: Path) -> None:
    status, _, complaint = interrupted(fake, program, "--no-journal")
    assert status == 130
    assert complaint.startswith("interrupted; the same command starts unfinished files again")
    assert not fake.files
    assert [seen.operation for seen in fake.requests].count("delete") == 1
    assert not program.state.exists()


@HAS_SIGNALS
def test_what_is_pending_can_be_discarded(fake: FakeFrameio, program: Program, take: Path) -> None:
    interrupted(fake, program, "--journal", "own.sqlite3")
    (file,) = fake.files
    journal = ("--journal", "own.sqlite3")
    told = json.loads(program.run("pending", "--json", *journal)[1])
    assert (told["file_id"], told["path"]) == (file.id, str(take))
    assert program.run("discard", "take.mov", *journal) == (0, f"{file.id}: discarded\n", "")
    assert file.deleted
    assert program.run("pending", *journal) == (0, "nothing is pending\n", "")
    status, _, complaint = program.run("discard", file.id, *journal)
    assert status == 1
    assert complaint.startswith("error: JournalError: ")


@HAS_SIGNALS
def test_a_file_that_is_not_pending_does_not_keep_others_from_being_discarded(
    fake: FakeFrameio, program: Program, take: Path
) -> None:
    interrupted(fake, program)
    (file,) = fake.files
    status, said, complaint = program.run("discard", "other.mov", "take.mov")
    assert (status, said) == (1, f"{file.id}: discarded\n")
    assert "holds no upload of file other.mov" in complaint


@pytest.mark.parametrize("option", [["--conflict", "overwrite"], ["--compare", "size"]])
def test_a_wrong_choice_is_refused_in_plain_words(program: Program, option: list[str]) -> None:
    status, _, complaint = program.run("upload", "take.mov", "--folder", "f", *option)
    assert status == 2
    assert f"'{option[1]}' is not one of" in complaint
    assert "Value error" not in complaint


def test_resume_with_nothing_pending_is_no_error(program: Program) -> None:
    assert program.run("resume") == (0, "nothing is pending\n", "")
    assert program.run("resume", "--json") == program.run("resume", "--quiet") == (0, "", "")


@pytest.mark.parametrize("journal", [[], ["--journal", "new/uploads.sqlite3"]])
def test_looking_for_what_is_pending_makes_no_journal(program: Program, journal: list[str], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert program.run("pending", *journal) == (0, "nothing is pending\n", "")
    assert program.run("pending", "--json", *journal) == (0, "", "")
    assert program.run("resume", *journal) == (0, "nothing is pending\n", "")
    status, said, complaint = program.run("discard", "f1", *journal)
    assert (status, said) == (1, "")
    assert complaint.endswith(
        "uploads.sqlite3: there is no journal, and so nothing to discard; check the path, if --journal was given\n"
    )
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("journal", [":memory:", "file:uploads.sqlite3?mode=memory"])
def test_a_journal_that_is_not_a_file_is_refused_with_a_message(program: Program, take: Path, journal: str) -> None:
    for command in (["pending"], ["resume"], ["discard", "f"], ["upload", "take.mov", "--folder", "f"]):
        status, _, complaint = program.run(*command, "--journal", journal)
        assert (status, len(complaint.splitlines())) == (2, 1)
        assert complaint.startswith(f"error: --journal: '{journal}' is not the path of a file")


@HAS_SIGNALS
def test_a_resume_that_starts_again_says_why(fake: FakeFrameio, program: Program, take: Path) -> None:
    interrupted(fake, program)
    os.utime(take)
    status, said, complaint = program.run("resume")
    assert (status, complaint) == (0, "")
    assert f"{take}: begins anew: the source has changed since" in said.splitlines()
    assert "goes on" not in said


@HAS_SIGNALS
def test_a_damaged_upload_is_shown_and_stops_no_other(
    fake: FakeFrameio, program: Program, take: Path, tmp_path: Path
) -> None:
    interrupted(fake, program, "--journal", "own.sqlite3")
    (file,) = fake.files
    journal = ("--journal", "own.sqlite3")
    rows(tmp_path / "own.sqlite3", "UPDATE uploads SET plan = substr(plan, 1, length(plan) - 9)")
    status, said, complaint = program.run("pending", *journal)
    assert (status, len(complaint.splitlines())) == (0, 1)
    assert said == f"{file.id}  {take}: damaged, can only be discarded: its plan cannot be read\n"
    status, said, complaint = program.run("resume", *journal)
    assert (status, said) == (1, "")
    assert f"discard('{file.id}') removes it" in complaint
    assert program.run("discard", file.id, *journal)[:2] == (0, f"{file.id}: discarded\n")
    assert file.deleted


# -- drawn -------------------------------------------------------------------------------------------------------------

DRAWS = pytest.mark.timeout(120)
"""Seconds; on its first import, matplotlib reads the fonts of the machine."""


@DRAWS
def test_a_timeline_shows_each_path_and_its_retries(
    fake: FakeFrameio, program: Program, take: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "shoot").mkdir()
    (tmp_path / "shoot" / "a.mov").write_bytes(b"a")
    fake.add_fault(Fault(do="answer", status=503, code="SlowDown", number=2, headers={"Retry-After": "0"}))
    paths = ("take.mov", "shoot", "nowhere.mov")
    status, _, complaint = program.run("upload", *paths, "--folder", fake.folder_id, "--timeline", "out.svg")
    assert (status, len(complaint.splitlines())) == (1, 1)  # for nowhere.mov; the timeline exists all the same
    picture = (tmp_path / "out.svg").read_text(encoding="utf-8")
    for words in ("take.mov: 3.1 MB in 4 parts", "shoot: 1 B in 1 file", "nowhere.mov: failed: SourceError"):
        assert words in picture
    assert "tried again once: 503 SlowDown (1)" in picture
    assert fake.token not in picture
    assert "X-Amz" not in picture


@DRAWS
@HAS_SIGNALS
def test_a_timeline_is_drawn_after_ctrl_c_and_of_the_resumed_upload(
    fake: FakeFrameio, program: Program, take: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    status, _, complaint = interrupted(fake, program, "--timeline", "out.svg")
    assert (status, complaint) == (130, f"interrupted; {KEPT}\n")
    picture = (tmp_path / "out.svg").read_text(encoding="utf-8")
    assert "take.mov: 3.1 MB in 4 parts, not ended" in picture
    assert program.run("resume", "--timeline", "out.svg")[0] == 0
    assert "take.mov: 3.1 MB in 4 parts, 2.4 MB sent before" in (tmp_path / "out.svg").read_text(encoding="utf-8")


def test_without_matplotlib_a_timeline_is_refused_with_the_extra_to_install(
    fake: FakeFrameio, program: Program, take: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n", encoding="utf-8")
    found = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    status, said, complaint = program.run(
        *("upload", "take.mov", "--folder", fake.folder_id, "--timeline", "out.svg"),
        environment={"PYTHONPATH": found},
    )
    assert (status, said) == (2, "")
    assert complaint == "error: --timeline: a timeline needs matplotlib: pip install 'aioframeio-upload[plot]'\n"
    assert fake.requests == []


# -- the other commands ------------------------------------------------------------------------------------------------


def test_remote_names_the_file_by_its_url_and_status_reports_its_arrival(fake: FakeFrameio, program: Program) -> None:
    status, said, _ = program.run("remote", "https://renders.example/a%20b.mov?secret=1", "--folder", fake.folder_id)
    (file,) = fake.files
    assert (status, file.name) == (0, "a b.mov")
    assert said.splitlines() == [
        f"a b.mov: Frame.io fetches it; aioframeio-upload status {file.id}",
        link_of(fake),
    ]
    assert program.run("status", file.id)[:2] == (0, "not complete yet\n")
    assert "0 while it is not complete yet" in " ".join(program.run("status", "--help")[1].split())
    status, said, _ = program.run("status", file.id)
    assert said.startswith("complete since ")
    assert json.loads(program.run("status", file.id, "--json")[1])["complete"] is True


def test_status_of_a_file_that_failed_there_or_is_not_there_is_1(
    fake: FakeFrameio, program: Program, take: Path
) -> None:
    status, said, complaint = program.run("status", "nothing")
    assert (status, said) == (1, "")
    assert complaint.startswith("error: NotFound: ")
    fake.add_fault(Fault(on="create", do="answer", status=403, message="locked"))
    status, _, complaint = program.run("upload", "take.mov", "--folder", fake.folder_id)
    assert (status, "PermissionDenied" in complaint) == (1, True)


@pytest.mark.parametrize("url", ["ftp://x/a.mov", "https://x/", "nonsense"])
def test_remote_refuses_an_invalid_url_and_one_without_a_name(fake: FakeFrameio, program: Program, url: str) -> None:
    status, _, complaint = program.run("remote", url, "--folder", fake.folder_id)
    assert (status, len(complaint.splitlines()), fake.requests) == (2, 1, [])


def test_find_shows_the_tree_with_the_ids(fake: FakeFrameio, program: Program, tmp_path: Path) -> None:
    (tmp_path / "shoot" / "b").mkdir(parents=True)
    (tmp_path / "shoot" / "b" / "c.mov").write_bytes(b"c")
    assert program.run("upload", "shoot", "--folder", fake.folder_id)[0] == 0
    status, said, _ = program.run("find", "--depth", "2", environment={"FRAMEIO_ACCOUNT_ID": None})
    assert status == 0
    kinds = [line.split()[0] for line in said.splitlines()]
    assert kinds == ["account", "workspace", "project", "folder", "folder", "folder"]
    rows = [json.loads(line) for line in program.run("find", "--json")[1].splitlines()]
    assert [(row["kind"], row["id"]) for row in rows[:4]] == [
        ("account", fake.account_id),
        ("workspace", rows[1]["id"]),
        ("project", fake.project_id),
        ("folder", fake.folder_id),
    ]
    assert [row["name"] for row in rows[4:]] == ["shoot"]  # one level by default
    assert rows[4]["id"] in said


def test_find_retries_a_busy_service_and_reports_a_refusal(fake: FakeFrameio, program: Program) -> None:
    fake.add_fault(Fault(on="accounts", do="answer", status=429))
    assert program.run("find", f"https://next.frame.io/project/{fake.project_id}")[0] == 0
    assert [seen.status for seen in fake.requests if seen.operation == "accounts"] == [429, 200]
    project = json.loads(program.run("find", "--json")[1].splitlines()[2])
    assert project["id"] in program.run("find", project["name"][1:4].upper())[1]
    status, _, complaint = program.run("find", "No such project")
    assert (status, complaint) == (
        1,
        "error: no project has the ID 'No such project' or a name that contains it, in upper or lower case;"
        f" this token can read: {project['name']!r}\n",
    )
    status, _, complaint = program.run("find", "https://example.com/project/1")
    assert (status, "PROJECT takes an id, a name, or a link" in complaint) == (2, True), complaint
    fake.add_fault(Fault(on="workspaces", do="answer", status=403, message="not yours"))
    status, _, complaint = program.run("find")
    refused = r"error: PermissionDenied: listing the workspaces: 403: not yours \(request \w+\); ask for a role .*\n"
    assert (status, bool(re.fullmatch(refused, complaint))) == (1, True), complaint


@pytest.mark.needs_tree
def test_the_page_has_every_command() -> None:
    section = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8").split("\n## Commands\n", 1)[1]
    told = re.findall(r"^\| `(\w+)", section.split("\n## ", 1)[0], re.MULTILINE)
    assert told == [command.callback.__name__ for command in app.registered_commands if command.callback is not None]


@pytest.mark.parametrize("command", [[], ["upload"], ["find"]], ids=["all", "upload", "find"])
def test_help_loads_nothing_that_uploads(program: Program, command: list[str]) -> None:
    """A person notices half a second, and imports take most of the time of a start."""
    status, said, loaded = program.run(*command, "--help", environment={"PYTHONPROFILEIMPORTTIME": "1"})
    assert (status, said.startswith("Usage: ")) == (0, True)
    found = {line.rpartition("|")[2].strip() for line in loaded.splitlines()}
    assert "typer" in found
    assert not {"aiohttp", "asyncio", "anyio", "rich.live", "sqlite3", "frameio", "httpx", "ssl", "matplotlib"} & found


# -- --dry-run ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_the_upload_does_and_creates_nothing(
    fake: FakeFrameio, program: Program, take: Path
) -> None:
    for name, content in (("a.mov", b"a"), ("b.tmp", b"b"), ("zero.mov", b"")):
        (program.folder / "shoot").mkdir(exist_ok=True)
        (program.folder / "shoot" / name).write_bytes(content)
    arguments = ("upload", "take.mov", "shoot", "nowhere.mov", "--folder", fake.folder_id, "--exclude", "*.tmp")
    status, said, complaint = program.run(*arguments, "--dry-run")
    assert (status, complaint) == (1, "error: nowhere.mov: SourceError: No such file or directory; check the path\n")
    assert said.splitlines() == [
        "take.mov: would be sent, 3.1 MB",
        "shoot: would be created",
        "shoot/a.mov: would be sent, 1 byte",
        "shoot/zero.mov: would be skipped, 0 bytes: it is empty, and Frame.io does not accept empty files",
        "dry run, nothing was sent: 2 files to send (3.1 MB), 0 there before, 1 empty, 1 would fail,"
        " 1 folder to create; 1 left out (-v lists them)",
    ]
    assert {seen.method for seen in fake.requests} == {"GET"}
    assert not program.state.exists()
    assert program.run(*arguments)[0] == 1
    assert sorted(file.name for file in fake.files) == ["a.mov", "take.mov"]
    status, said, _ = program.run(*arguments[:3], "--folder", fake.folder_id, "--exclude", "*.tmp", "-n", "--json")
    lines = [json.loads(line) for line in said.splitlines()]
    assert [(line["source"], line["event"], line.get("action")) for line in lines] == [
        ("take.mov", "DryRunFile", "skip"),
        ("shoot", "FileLeftOut", None),
        ("shoot", "DryRunFile", "skip"),
        ("shoot", "DryRunFile", "skip"),
        (None, "DryRunCompleted", None),
    ]
    assert (lines[0]["reason"], lines[2]["path"]) == ("unchanged since it was sent", "a.mov")
    assert {name: lines[-1][name] for name in ("files_to_send", "bytes_to_send", "files_there", "files_empty")} == {
        "files_to_send": 0,
        "bytes_to_send": 0,
        "files_there": 2,
        "files_empty": 1,
    }


def test_a_dry_run_tells_which_folders_of_the_target_would_be_created(
    fake: FakeFrameio, program: Program, take: Path
) -> None:
    project = json.loads(program.run("find", "--json")[1].splitlines()[2])["name"]
    arguments = ("upload", "take.mov", "--folder", f"{project}/Dailies/Monday", "--make-folders")
    status, said, complaint = program.run(*arguments, "-n", "--account", fake.account_id)
    assert (status, complaint) == (0, "")
    assert said.splitlines() == [
        f"{project}/Dailies: would be created",
        f"{project}/Dailies/Monday: would be created",
        "take.mov: would be sent, 3.1 MB",
        "dry run, nothing was sent: 1 file to send (3.1 MB), 0 there before, 0 would fail, 2 folders to create",
    ]
    assert not program.state.exists()
    assert program.run(*arguments)[0] == 0
    assert program.run(*arguments, "-n")[1].startswith("take.mov: would be skipped, 3.1 MB: unchanged")
    assert program.run(*arguments, "-nq") == (0, "", "")
    status, _, complaint = program.run(*arguments, "-n", "--report", "x.csv")
    assert (status, complaint) == (2, "error: --report is about an upload, and --dry-run makes none\n")


# -- patterns that match nothing, and what is left out -----------------------------------------------------------------


@pytest.fixture
def shoots(program: Program) -> Program:
    for path in ("one/a.mov", "one/.hidden", "one/b.tmp", "two/c.wav"):
        (program.folder / path).parent.mkdir(exist_ok=True)
        (program.folder / path).write_bytes(path.encode())
    return program


def test_a_pattern_that_matches_nothing_is_a_warning_and_a_line_of_json(fake: FakeFrameio, shoots: Program) -> None:
    arguments = ("upload", "one", "two", "--folder", fake.folder_id)
    patterns = ("--include", "*.mov", "--include", "*.WAV", "--include", ".hidden", "--exclude", "*.bak")
    warnings = [
        "warning: --include '*.WAV' matches nothing; upper and lower case differ: 'c.wav'",
        "warning: --include '.hidden': it matches only what is never uploaded",
        "warning: --exclude '*.bak' matches nothing",
    ]
    for how in (("--dry-run", "--json"), ("--json",)):
        status, said, complaint = shoots.run(*arguments, *patterns, *how)
        assert (status, complaint.splitlines()) == (0, warnings)
        lines = [json.loads(line) for line in said.splitlines()]
        found = [line for line in lines if line["event"] == "PatternUnmatched"]
        assert [(line["source"], line["option"], line["pattern"]) for line in found] == [
            (None, "--include", "*.WAV"),
            (None, "--include", ".hidden"),
            (None, "--exclude", "*.bak"),
        ]
        left_out = {(line["source"], line["path"]) for line in lines if line["event"] == "FileLeftOut"}
        assert left_out == {("one", ".hidden"), ("one", "b.tmp"), ("two", "c.wav")}
    assert [file.name for file in fake.files] == ["a.mov"]


def test_patterns_that_leave_nothing_are_a_failure_and_those_without_a_folder_are_not(
    fake: FakeFrameio, shoots: Program
) -> None:
    for how in ((), ("-n",)):
        status, _, complaint = shoots.run("upload", "one", "--folder", fake.folder_id, "--exclude", "*", *how)
        assert (status, complaint) == (1, "error: --include and --exclude leave nothing to upload\n")
    for how in (("-nq",), ()):
        status, _, complaint = shoots.run("upload", "one/a.mov", "--folder", fake.folder_id, "--include", "*.x", *how)
        assert status == 0
        assert complaint == "warning: --include '*.x': it is for the files of folders, and no PATH is one\n"
    assert [file.name for file in fake.files] == ["a.mov"]


def test_a_list_of_what_was_left_out_comes_with_verbose(fake: FakeFrameio, shoots: Program) -> None:
    arguments = ("upload", "one", "--folder", fake.folder_id, "--exclude", "*.tmp")
    said = shoots.run(*arguments, "-n")[1]
    assert said.splitlines()[-1].endswith("; 2 left out (-v lists them)")
    for how in (("-vn",), ("-v",)):
        status, said, _ = shoots.run(*arguments, *how)
        assert status == 0
        lines = [line.replace("one: ", "one/") for line in said.splitlines() if ": left out: " in line]
        assert lines == [
            "one/.hidden: left out: its name begins with a dot",
            "one/b.tmp: left out: excluded by '*.tmp'",
        ]
