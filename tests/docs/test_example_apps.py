"""The examples that are applications, each started as its README says, against a fake whose files are compared."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from aioframeio_upload.testing import FakeFrameio, Fault

pytestmark = [pytest.mark.needs_program, pytest.mark.needs_tree]

ROOT = Path(__file__).resolve().parents[2]
BODY = os.urandom(3_000_000)
PATIENT = httpx.Timeout(50)
BUSY = Fault(status=503, code="SlowDown", number=2)


@pytest.fixture
def fake() -> Iterator[FakeFrameio]:
    with FakeFrameio(part_size=1_000_000).in_thread() as fake:
        yield fake


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def arrived(fake: FakeFrameio) -> dict[str, str | None]:
    """Return the digests of all files by name; every file is complete."""
    assert all(file.complete for file in fake.files)
    return {file.name: file.sha256 for file in fake.files}


def service(fake: FakeFrameio) -> dict[str, str]:
    """Return the variables that tell an example where the service is."""
    return {
        "FRAMEIO_TOKEN": fake.token,
        "FRAMEIO_ACCOUNT_ID": fake.account_id,
        "FRAMEIO_FOLDER": fake.folder_id,
        "FRAMEIO_BASE_URL": fake.url,
    }


def begun(program: str, fake: FakeFrameio, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start an example against the fake."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / program), *map(str, arguments)],
        env={**os.environ, "PORT": "0", "PYTHONUNBUFFERED": "1", **service(fake), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a program's end, and return its exit status and its whole output."""
    try:
        said, _ = process.communicate(timeout=50)
    finally:
        process.kill()
        process.wait()
    return process.returncode, said


@contextmanager
def serving(program: str, fake: FakeFrameio, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run an example that is a server, and yield its URL; SIGTERM then ends it without an error."""
    process = begun(program, fake, **environment)
    assert process.stdout is not None
    try:
        url = next(found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        yield url, process
    finally:
        process.terminate()
        _, said = ended(process)
    assert "Traceback" not in said, said


def in_halves(second: threading.Event) -> Iterator[bytes]:
    """Yield the body in two halves, the second one when it is released."""
    half = len(BODY) // 2
    yield BODY[:half]
    assert second.wait(50)
    yield BODY[half:]


def first_part_is_there(fake: FakeFrameio) -> bool:
    return any(seen.number == 1 and seen.status == 200 for seen in fake.requests)


# -- fastapi_app -------------------------------------------------------------------------------------------------------


KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


@contextmanager
def dropping(
    fake: FakeFrameio, state: Path, **environment: str
) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """Run the server with a folder in which it keeps unfinished uploads."""
    with (
        serving("fastapi_app/app.py", fake, STATE=str(state), **environment) as (url, process),
        httpx.Client(base_url=url, timeout=PATIENT) as client,
    ):
        yield client, process


def about(size: int = len(BODY), modified: int = 1) -> dict[str, str | int]:
    return {"name": "take 07.mov", "size": size, "modified": modified}


def asked(client: httpx.Client, modified: int = 1) -> Iterator[Any]:
    """Return the events until their stream ends."""
    with client.stream("GET", f"/uploads/{KEY}/events", params=about(modified=modified)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def listened(client: httpx.Client, until: Callable[[Any], bool], modified: int = 1) -> list[Any]:
    """Listen like a browser, which reconnects when the stream has ended, until the expected event."""
    while True:
        told = []
        for event in asked(client, modified):
            told.append(event)
            if until(event):
                return told


def is_missing(told: Any) -> bool:
    return isinstance(told, list)


def is_called(name: str) -> Callable[[Any], bool]:
    return lambda told: not is_missing(told) and told["event"] == name


def put(
    client: httpx.Client, body: Any, length: int = len(BODY), size: int = len(BODY), modified: int = 1, key: str = KEY
) -> Any:
    headers = {"Content-Length": str(length)}
    return client.put(f"/uploads/{key}", params=about(size, modified), content=body, headers=headers)


def first_part_is_kept(record: Path) -> None:
    """Wait until the receipt of the first part is written, which is soon after its event."""
    while not (record.exists() and "\n[1, 1000000, " in record.read_text(encoding="utf-8")):
        pass


def put_what_is_missing(client: httpx.Client) -> tuple[httpx.Response, list[list[int]]]:
    missing = listened(client, is_missing)[-1]
    body = b"".join(BODY[offset : offset + size] for offset, size in missing)
    return put(client, body, len(body)), missing


def leave_half_way(client: httpx.Client) -> None:
    """Behave like a browser whose tab is closed after one part of three."""

    def broken() -> Iterator[bytes]:
        yield BODY[: len(BODY) // 2]
        listened(client, is_called("PartCompleted"))
        raise LookupError("the tab was closed")

    with pytest.raises(LookupError):
        put(client, broken())


def acknowledged(fake: FakeFrameio) -> Counter[int | None]:
    """Return how often S3 has acknowledged each part."""
    return Counter(seen.number for seen in fake.requests if seen.operation == "part" and seen.status == 200)


def test_the_page_of_the_fastapi_app_is_served(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "EventSource" in page.text
        assert listened(client, is_missing)[-1] == [[0, len(BODY)]]
        assert put(client, BODY[1:], len(BODY) - 1).status_code == 409
        assert client.put(f"/uploads/{KEY}", params=about(), content=iter([BODY])).status_code == 411
        assert put(client, b"", 0, size=0).json()["type"] == "SourceError"
        assert client.put("/uploads/..%5Ckey", params=about(), content=BODY).status_code == 422
        for name in ("", "..", "/"):
            nameless = client.put(f"/uploads/{KEY}", params={**about(), "name": name}, content=BODY)
            assert (nameless.status_code, nameless.json()) == (422, {"detail": "the name is empty"})
    assert fake.files == ()


def test_the_fastapi_app_answers_to_its_own_names_only(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path, HOSTS="127.0.0.1,upload.studio.example") as (client, _):
        for host in ("rebound.example", "127.0.0.1.rebound.example", ""):
            for method, path in (("GET", "/"), ("PUT", f"/uploads/{KEY}"), ("GET", f"/uploads/{KEY}/events")):
                answer = client.request(method, path, params=about(), headers={"Host": host})
                assert answer.status_code == 400, host
        assert client.get("/", headers={"Host": "upload.studio.example:8443"}).status_code == 200
    assert fake.files == ()


def test_the_page_of_the_fastapi_app_runs_its_own_script_only(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        page = client.get("/")
        preflight = {"Origin": "https://other.example", "Access-Control-Request-Method": "PUT"}
        asked_first = client.options(f"/uploads/{KEY}", params=about(), headers=preflight)
    policy = page.headers["content-security-policy"]
    directives = dict(one.strip().split(" ", 1) for one in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["connect-src"] == "'self'"
    assert directives["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page.content, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
        assert directives[f"{tag}-src"] == f"'sha256-{digest}'"
    assert b" style=" not in page.content, "which the policy would forbid"
    assert not re.search(rb" on[a-z]+=", page.content)
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in asked_first.headers


def test_the_fastapi_app_forwards_a_body_as_it_arrives_and_sends_progress_after_a_reconnect(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    fake.add_fault(BUSY)
    held = Fault(do="hold", number=3)
    fake.add_fault(held)
    rest = threading.Event()
    with dropping(fake, tmp_path) as (client, _), ThreadPoolExecutor() as threads:
        sending = threads.submit(put, client, in_halves(rest))
        try:
            # Before the second half is sent, so the application has not stored the whole body.
            fake.wait_until(first_part_is_there, timeout=50)
            planned = listened(client, is_called("UploadPlanned"))[-1]
            assert put(client, BODY).status_code == 409
            rest.set()
            answer = sending.result()
            assert (answer.status_code, answer.json()) == (202, planned)
            assert listened(client, is_called("PartRetrying"))[0] == planned
            listening = threads.submit(listened, client, is_called("UploadCompleted"))
        finally:
            rest.set()
            fake.release(held)
        told = listening.result()
        assert listened(client, is_called("UploadCompleted"))[-1] == told[-1], "also after the end"
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert told[-1]["file"]["id"] == fake.files[0].id


def test_the_fastapi_app_resumes_an_upload_whose_browser_left(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        leave_half_way(client)
        answer, missing = put_what_is_missing(client)
        assert (answer.status_code, missing) == (202, [[1_000_000, 1_000_000], [2_000_000, 1_000_000]])
        told = listened(client, is_called("UploadCompleted"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert told[-1]["file"]["outcome"] == "resumed"
    assert (acknowledged(fake), fake.deleted) == ({1: 1, 2: 1, 3: 1}, ())


def test_a_receipt_that_a_full_disk_has_cut_costs_its_own_part_only(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        leave_half_way(client)
        (record,) = tmp_path.iterdir()
        first_part_is_kept(record)
        with record.open("a", encoding="utf-8") as file:
            file.write('\n[2, 1000000, "5d41')
        answer, missing = put_what_is_missing(client)
        assert (answer.status_code, missing) == (202, [[1_000_000, 1_000_000], [2_000_000, 1_000_000]])
        listened(client, is_called("UploadCompleted"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert (acknowledged(fake), fake.deleted) == ({1: 1, 2: 1, 3: 1}, ())


def test_a_body_that_the_fastapi_app_has_received_arrives_although_it_is_stopped(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    held = Fault(do="hold", number=3)
    fake.add_fault(held)
    with dropping(fake, tmp_path) as (client, process):
        assert put(client, BODY).status_code == 202
        fake.wait_until(lambda fake: fake.hits(held) == 1, timeout=50)
        process.send_signal(signal.SIGTERM)
        fake.release(held)
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}


@pytest.mark.skipif(sys.platform == "win32", reason="where a process can only be killed")
@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"], ids=["stopped", "killed"])
def test_an_upload_resumes_after_the_fastapi_app_was(fake: FakeFrameio, tmp_path: Path, end: str) -> None:
    """The service outlives three servers, and at the end has one file, of which no part was acknowledged twice."""
    state, rest = tmp_path / "unfinished", threading.Event()
    with ThreadPoolExecutor() as threads:
        with dropping(fake, state, GRACE="0") as (client, process):
            sending = threads.submit(put, client, in_halves(rest))
            try:
                listened(client, is_called("PartCompleted"))
                (kept,) = state.iterdir()
                first_part_is_kept(kept)  # a server that is stopped waits for this, a killed one does not
                process.send_signal(getattr(signal, end))
                process.wait(50)
            finally:
                rest.set()
            assert sending.exception() is not None or sending.result().status_code == 503
        assert (state.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o700, 0o600)
        assert len(fake.files) == 1
        with dropping(fake, state) as (client, _):
            answer, missing = put_what_is_missing(client)
            assert (answer.status_code, missing) == (202, [[1_000_000, 1_000_000], [2_000_000, 1_000_000]])
            told = listened(client, is_called("UploadCompleted"))
        with dropping(fake, state) as (client, _):
            assert listened(client, is_called("UploadCompleted")) == told[-1:], "for a page that has missed the end"
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert (acknowledged(fake), fake.deleted) == ({1: 1, 2: 1, 3: 1}, ())
    (left,) = state.iterdir()
    assert (left.suffix, left.stat().st_mode & 0o777) == (".upload-end", 0o600), "the links are gone"


def test_a_file_that_changed_meanwhile_starts_again_and_the_unfinished_one_is_deleted(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    with dropping(fake, tmp_path) as (client, _):
        leave_half_way(client)
        listened(client, is_missing)
        assert listened(client, is_missing, modified=2)[-1] == [[0, len(BODY)]]
        assert put(client, BODY[::-1], modified=2).status_code == 202
        listened(client, is_called("UploadCompleted"), modified=2)
    assert arrived(fake) == {"take 07.mov": sha256(BODY[::-1])}
    assert len(fake.deleted) == 1


def test_the_fastapi_app_keeps_nothing_of_an_upload_that_cannot_resume(fake: FakeFrameio, tmp_path: Path) -> None:
    fake.add_fault(Fault(number=2, code="AccessDenied"))
    old, others = tmp_path / f"{KEY}.upload", tmp_path / "notes.txt"
    for path in (old, others):
        path.touch()
        os.utime(path, (1, 1))
    with dropping(fake, tmp_path) as (client, _):
        answer = put(client, BODY)
        if answer.status_code == 202:  # the body may be received before S3 refuses
            assert listened(client, is_called("UploadFailed"))[-1]["error"]["type"] == "PartRejected"
        else:
            assert (answer.status_code, answer.json()["type"]) == (502, "PartRejected")
        assert listened(client, is_missing) == [[[0, len(BODY)]]]
    assert (fake.files, len(fake.deleted)) == ((), 1)
    assert list(tmp_path.iterdir()) == [others]


def test_another_file_of_a_finished_ones_name_is_missing(fake: FakeFrameio, tmp_path: Path) -> None:
    """Also while the other upload is in progress: of neither file more is sent than that this one is missing."""
    held = Fault(do="hold", number=3)
    fake.add_fault(held)
    with dropping(fake, tmp_path) as (client, _):
        assert put(client, BODY).status_code == 202
        assert list(asked(client, modified=2)) == []
        assert put(client, BODY[::-1], modified=2).status_code == 409
        fake.release(held)
        listened(client, is_called("UploadCompleted"))
        assert listened(client, is_missing, modified=2) == [[[0, len(BODY)]]]
        assert put(client, BODY[::-1], modified=2).status_code == 202
        told = listened(client, is_called("UploadCompleted"), modified=2)
        assert listened(client, is_missing) == [[[0, len(BODY)]]]
    assert [file.sha256 for file in fake.files] == [sha256(BODY), sha256(BODY[::-1])]
    assert told[-1]["file"]["id"] == fake.files[1].id


def test_a_file_that_s3_has_corrupted_is_deleted_and_reported_once(tmp_path: Path) -> None:
    """This is after the 202, when every part was acknowledged: the first correct ETag shows that another was wrong."""
    with FakeFrameio(part_size=1_000_000, checksum=None).in_thread() as fake:
        fake.add_fault(Fault(do="corrupt", number=1, times=2))
        rest = Fault(do="hold", times=2)
        fake.add_fault(rest)
        with dropping(fake, tmp_path) as (client, _):
            assert put(client, BODY).status_code == 202
            listened(client, is_called("PartCompleted"))
            fake.release(rest)
            told = listened(client, is_called("UploadFailed"))
            assert [event["error"]["type"] for event in told] == ["IntegrityError"]
            assert list(asked(client)) == [[[0, len(BODY)]]], "so that it can be tried again"
            assert acknowledged(fake) == {1: 2, 2: 1, 3: 1}
            assert (fake.files, len(fake.deleted), list(tmp_path.iterdir())) == ((), 1, [])
            assert put(client, BODY).status_code == 202
            listened(client, is_called("UploadCompleted"))
        assert arrived(fake) == {"take 07.mov": sha256(BODY)}


def test_an_upload_that_fails_after_its_last_part_resumes_when_dropped_again(fake: FakeFrameio, tmp_path: Path) -> None:
    fake.add_fault(Fault(on="status", status=403))
    with dropping(fake, tmp_path) as (client, _):
        assert put(client, BODY).status_code == 202
        assert listened(client, is_called("UploadFailed"))[-1]["error"]["type"] == "PermissionDenied"
        assert list(asked(client)) == [[]], "nothing is missing"
        assert put(client, b"", 0).status_code == 202
        listened(client, is_called("UploadCompleted"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert acknowledged(fake) == {1: 1, 2: 1, 3: 1}


def test_an_upload_of_which_nothing_can_be_kept_leaves_no_file(fake: FakeFrameio, tmp_path: Path) -> None:
    (tmp_path / f"{UUID(KEY)}.upload").mkdir()
    with dropping(fake, tmp_path) as (client, _):
        assert put(client, BODY).status_code == 507
        assert put(client, BODY, key=OTHER).status_code == 202
        fake.wait_until(lambda fake: all(file.complete for file in fake.files), timeout=50)
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert len(fake.deleted) == 1


def test_an_upload_whose_record_cannot_be_removed_ends_no_other(fake: FakeFrameio, tmp_path: Path) -> None:
    """It is refused while another upload waits for its second half, and in place of its record there is a folder."""
    record, second, others_second = tmp_path / f"{UUID(KEY)}.upload", threading.Event(), threading.Event()
    with dropping(fake, tmp_path) as (client, _), ThreadPoolExecutor() as threads:
        try:
            other = threads.submit(put, client, in_halves(others_second), key=OTHER)
            first_part_is_kept(tmp_path / f"{UUID(OTHER)}.upload")
            fake.add_fault(Fault(number=2, code="AccessDenied"))
            fake.add_fault(held := Fault(do="hold", number=3))
            threads.submit(put, client, in_halves(second))
            first_part_is_kept(record)
            record.unlink()
            record.mkdir()
            second.set()
            listened(client, is_missing)
            fake.release(held)
            others_second.set()
            assert other.result().status_code == 202
        finally:
            second.set()
            others_second.set()
        fake.wait_until(lambda fake: all(file.complete for file in fake.files), timeout=50)
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert len(fake.deleted) == 1


def test_what_frameio_refuses_is_the_fastapi_apps_502(fake: FakeFrameio, tmp_path: Path) -> None:
    fake.tokens.clear()
    with dropping(fake, tmp_path) as (client, _):
        answer = put(client, BODY)
        assert (answer.status_code, answer.json()["type"]) == (502, "AuthenticationError")
        assert listened(client, is_missing)[-1] == [[0, len(BODY)]]


# -- aiohttp_app -------------------------------------------------------------------------------------------------------


def test_the_aiohttp_app_forwards_a_body_as_it_arrives(fake: FakeFrameio) -> None:
    fake.add_fault(BUSY)
    rest = threading.Event()
    with (
        serving("aiohttp_app/proxy.py", fake) as (url, _),
        httpx.Client(base_url=url, timeout=PATIENT) as client,
        ThreadPoolExecutor() as threads,
    ):
        headers = {"Content-Length": str(len(BODY))}
        sending = threads.submit(client.put, "/takes/take-07.mov", content=in_halves(rest), headers=headers)
        try:
            fake.wait_until(first_part_is_there, timeout=50)
        finally:
            rest.set()
        answer = sending.result()
    assert arrived(fake) == {"take-07.mov": sha256(BODY)}
    assert (answer.status_code, answer.json()["id"]) == (201, fake.files[0].id)


def test_the_aiohttp_app_distinguishes_its_clients_errors_from_the_services(fake: FakeFrameio) -> None:
    with serving("aiohttp_app/proxy.py", fake) as (url, _), httpx.Client(base_url=url, timeout=PATIENT) as client:
        assert client.put("/takes/a.mov", content=iter([b"of no length"])).status_code == 411
        empty = client.put("/takes/a.mov", content=b"")
        assert (empty.status_code, empty.json()["type"]) == (400, "SourceError")
        fake.tokens.clear()
        refused = client.put("/takes/a.mov", content=b"frames")
        assert (refused.status_code, refused.json()["type"]) == (502, "AuthenticationError")
    assert fake.files == ()


# -- etl_pipeline ------------------------------------------------------------------------------------------------------


@pytest.fixture
def takes(tmp_path: Path) -> dict[Path, bytes]:
    """More files than all the queues and workers of the pipeline hold."""
    found = {tmp_path / "takes" / f"day {n % 3}" / f"take-{n:02}.mov": os.urandom(10_000 + n) for n in range(24)}
    for path, body in found.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return found


def recorded(database: Path) -> dict[str, str]:
    """Return the IDs of the files at Frame.io, by digest."""
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT sha256, file FROM takes"))


def without_ffmpeg(tmp_path: Path) -> str:
    """A PATH without any program."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    return str(tmp_path / "bin")


def test_the_pipeline_uploads_and_records_every_take(
    fake: FakeFrameio, takes: dict[Path, bytes], tmp_path: Path
) -> None:
    fake.add_fault(Fault(name="take-07.mov", status=503))
    command = ("etl_pipeline/pipeline.py", fake, tmp_path / "takes", tmp_path / "takes.sqlite3")
    for _ in range(2):  # the second time there is nothing left to do
        status, said = ended(begun(*command, PATH=without_ffmpeg(tmp_path)))
        assert status == 0, said
        assert arrived(fake) == {path.name: sha256(body) for path, body in takes.items()}
        assert len(fake.files) == len(takes)
    assert recorded(tmp_path / "takes.sqlite3") == {file.sha256: file.id for file in fake.files}


def test_the_pipeline_waits_for_the_next_stage_and_resumes_after_ctrl_c(
    fake: FakeFrameio, takes: dict[Path, bytes], tmp_path: Path
) -> None:
    """Four uploads at a time, so no more files are created while they are held; none of them is left behind."""
    held = Fault(do="hold", times=4, first=11)
    fake.add_fault(held)
    command = ("etl_pipeline/pipeline.py", fake, tmp_path / "takes", tmp_path / "takes.sqlite3")
    process = begun(*command, PATH=without_ffmpeg(tmp_path))
    try:
        fake.wait_until(lambda fake: fake.hits(held) == 4, timeout=50)
    finally:
        process.send_signal(signal.SIGINT)
        status, said = ended(process)
    assert (status, "Traceback" in said) == (1, False), said
    assert said.endswith("the same command goes on with what is not recorded\n")
    assert len(fake.files) + len(fake.deleted) == 14
    # Best effort within half a second; what is left is reported.
    left = {file.id for file in fake.files if not file.complete}
    assert all(file_id in said for file_id in left)
    done = recorded(tmp_path / "takes.sqlite3")
    assert done.items() <= {file.sha256: file.id for file in fake.files}.items()
    fake.release(held)
    status, said = ended(begun(*command, PATH=without_ffmpeg(tmp_path)))
    assert status == 0, said
    there = {file.name: file.sha256 for file in fake.files if file.id not in left}
    assert there == {path.name: sha256(body) for path, body in takes.items()}
    assert set(recorded(tmp_path / "takes.sqlite3")) == set(there.values())


def test_a_file_that_fails_delays_no_other(fake: FakeFrameio, takes: dict[Path, bytes], tmp_path: Path) -> None:
    fake.add_fault(Fault(name="take-07.mov", status=403, code="AccessDenied"))
    command = ("etl_pipeline/pipeline.py", fake, tmp_path / "takes", tmp_path / "takes.sqlite3")
    status, said = ended(begun(*command, PATH=without_ffmpeg(tmp_path)))
    assert status == 1
    assert re.search(r"^take-07\.mov: .*AccessDenied", said, re.MULTILINE)
    assert arrived(fake) == {path.name: sha256(body) for path, body in takes.items() if path.name != "take-07.mov"}
    assert len(recorded(tmp_path / "takes.sqlite3")) == len(takes) - 1


FFMPEG = """#!{python}
import pathlib, sys
source, target = sys.argv[sys.argv.index("-i") + 1], sys.argv[-1]
if source.endswith("-07.mov"):
    sys.exit("Invalid data found when processing input")
pathlib.Path(target).write_bytes(b"proxy of " + pathlib.Path(source).read_bytes())
"""


def test_the_pipeline_uploads_what_ffmpeg_made_of_a_take(
    fake: FakeFrameio, takes: dict[Path, bytes], tmp_path: Path
) -> None:
    """The program is a substitute for ffmpeg, and fails for one of the files."""
    program = Path(without_ffmpeg(tmp_path)) / "ffmpeg"
    program.write_text(FFMPEG.format(python=sys.executable))
    program.chmod(0o700)
    command = ("etl_pipeline/pipeline.py", fake, tmp_path / "takes", tmp_path / "takes.sqlite3")
    status, said = ended(begun(*command, PATH=str(program.parent)))
    assert status == 0, said
    proxies = {path.with_suffix(".mp4").name: sha256(b"proxy of " + body) for path, body in takes.items()}
    proxies["take-07.mov"] = sha256(next(body for path, body in takes.items() if path.name == "take-07.mov"))
    del proxies["take-07.mp4"]
    assert arrived(fake) == proxies
    assert set(recorded(tmp_path / "takes.sqlite3")) == {sha256(body) for body in takes.values()}


# -- worker and progress_bar -------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two files."""
    for name in ("take-07.mov", "take-08.mov"):
        (tmp_path / name).write_bytes(name.encode() + BODY)
    return [tmp_path / "take-07.mov", tmp_path / "take-08.mov"]


def test_the_workers_jobs_upload_and_report_progress(fake: FakeFrameio, two: list[Path]) -> None:
    held = Fault(do="hold", number=2, times=None)
    fake.add_fault(held)
    process = begun("worker/jobs.py", fake, *two)
    assert process.stdout is not None
    try:
        told = next(line for line in process.stdout if "%" in line)
        fake.release(held)
    finally:
        status, said = ended(process)
    assert status == 0, said
    assert re.fullmatch(r"\S+take-0[78]\.mov: \d+%\n", told)
    assert arrived(fake) == {path.name: sha256(path.read_bytes()) for path in two}
    for file, path in zip(sorted(fake.files, key=lambda file: file.name), two, strict=True):
        assert re.search(rf"^{re.escape(str(path))}: https://\S+{file.id}$", said, re.MULTILINE)


def test_a_job_that_fails_is_reported_and_delays_no_other(fake: FakeFrameio, two: list[Path]) -> None:
    status, said = ended(begun("worker/jobs.py", fake, "nowhere.mov", *two))
    assert status == 1
    assert "nowhere.mov: No such file or directory" in said
    assert arrived(fake) == {path.name: sha256(path.read_bytes()) for path in two}


def test_the_next_worker_resumes_the_job_of_a_killed_one(fake: FakeFrameio, two: list[Path], tmp_path: Path) -> None:
    first, second = two
    held = Fault(do="hold", number=2)
    fake.add_fault(held)
    journal = str(tmp_path / "uploads.sqlite3")
    killed = begun("worker/jobs.py", fake, first, JOURNAL=journal)
    fake.wait_until(lambda fake: fake.hits(held) == 1, timeout=50)
    killed.kill()
    ended(killed)
    status, said = ended(begun("worker/jobs.py", fake, second, JOURNAL=journal))
    assert status == 0, said
    assert f"{first.name} goes on" in said
    assert arrived(fake) == {path.name: sha256(path.read_bytes()) for path in two}
    assert fake.deleted == ()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis server started for these tests, on a socket in the file system."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("the session `redis` installs redis-server")
    socket = tmp_path / "redis.sock"
    server = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert server.stdout is not None
    try:
        assert any("ready to accept connections" in line for line in server.stdout)
        yield f"unix://{socket}"
    finally:
        server.terminate()
        ended(server)


def test_jobs_go_through_redis_to_a_separate_worker(fake: FakeFrameio, two: list[Path], redis: str) -> None:
    """The program that submits them knows no account: it could not upload anything itself."""
    program = [sys.executable, "-m", "taskiq", "worker", "jobs:broker", "--workers", "1"]
    environment = {**os.environ, **service(fake), "REDIS_URL": redis}
    worker = subprocess.Popen(
        program,
        cwd=ROOT / "examples" / "worker",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    try:
        handing_in = begun("worker/jobs.py", fake, *two, REDIS_URL=redis, FRAMEIO_ACCOUNT_ID="", FRAMEIO_TOKEN="")
        status, said = ended(handing_in)
    finally:
        worker.terminate()
        _, told = ended(worker)
    assert status == 0, said + told
    assert arrived(fake) == {path.name: sha256(path.read_bytes()) for path in two}
    assert all(file.id in said for file in fake.files)


@pytest.mark.parametrize("many", [False, True])
def test_the_bars_are_full_at_the_end(fake: FakeFrameio, two: list[Path], many: bool) -> None:
    fake.add_fault(BUSY)
    paths = two if many else two[:1]
    status, said = ended(begun("progress_bar/bars.py", fake, *paths, COLUMNS="120"))
    assert status == 0, said
    assert arrived(fake) == {path.name: sha256(path.read_bytes()) for path in paths}
    assert "part 2 again in" in said
    bars = [line for line in said.splitlines() if "━" in line]
    assert [line.split()[0] for line in bars] == (["all"] if many else []) + [path.name for path in paths]
    assert ["6.0/6.0 MB" if many and "all" in line else "3.0/3.0 MB" for line in bars] == [
        found[0] for line in bars if (found := re.search(r"[\d.]+/[\d.]+ MB", line))
    ]


def test_the_bars_report_a_failure_in_one_line(fake: FakeFrameio, two: list[Path]) -> None:
    status, said = ended(begun("progress_bar/bars.py", fake, "nowhere.mov", *two, COLUMNS="120"))
    assert (status, said.splitlines()[0]) == (1, "nowhere.mov: nowhere.mov: No such file or directory")
    assert "Traceback" not in said
    assert arrived(fake) == {path.name: sha256(path.read_bytes()) for path in two}
