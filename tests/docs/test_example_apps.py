"""The examples that are applications, each started as its README says, against a fake whose files are compared."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import importlib.util
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
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import httpx
import pytest
from aiohttp.test_utils import TestServer
from frameio import Frameio

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


LIST = "0123456789abcdef" * 2


@contextmanager
def dropping(
    fake: FakeFrameio, state: Path, **environment: str
) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """Run the server with a folder in which it keeps its records."""
    with (
        serving("fastapi_app/app.py", fake, STATE=str(state), **environment) as (url, process),
        httpx.Client(base_url=url, timeout=PATIENT) as client,
    ):
        yield client, process


def about(size: int = len(BODY), modified: int = 1, name: str = "take 07.mov", folder: str = "") -> dict[str, Any]:
    return {"name": name, "folder": folder, "size": size, "modified": modified}


def announced(client: httpx.Client, *files: dict[str, Any]) -> list[str]:
    """Announce files as the page does, and return their keys."""
    answer = client.put(f"/lists/{LIST}", json=list(files or (about(),)))
    assert answer.status_code == 200, answer.text
    keys: list[str] = answer.json()
    return keys


def shown(client: httpx.Client) -> Iterator[dict[str, Any]]:
    """Yield each state of the list, by key, until the stream ends."""
    rows: dict[str, Any] = {}
    with client.stream("GET", f"/lists/{LIST}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                update = json.loads(line.removeprefix("data: "))
                rows |= {row["key"]: row for row in update["rows"]}
                for key in update["gone"]:
                    rows.pop(key, None)
                yield rows


def listened(client: httpx.Client, key: str, until: Callable[[Any], bool]) -> Any:
    """Listen like a browser until a row is as expected, and return it."""
    for rows in shown(client):
        if key in rows and until(rows[key]):
            return rows[key]
        assert key not in rows or rows[key]["state"] != "failed", rows[key]["error"]
    raise AssertionError("the server has ended the stream")


def is_now(state: str) -> Callable[[Any], bool]:
    return lambda row: bool(row["state"] == state)


def has_sent(size: int) -> Callable[[Any], bool]:
    return lambda row: bool(row["sent"] >= size)


def put(client: httpx.Client, key: str, body: Any, length: int = len(BODY)) -> Any:
    return client.put(f"/lists/{LIST}/{key}", content=body, headers={"Content-Length": str(length)})


def changed(client: httpx.Client, key: str, state: str) -> Any:
    answer = client.patch(f"/lists/{LIST}/{key}", json={"state": state})
    assert answer.status_code == 200, answer.text
    return answer.json()


def record_of(state: Path, key: str) -> Path:
    return state / str(UUID(LIST)) / f"{key}.upload"


def has_receipt(record: Path) -> bool:
    return record.exists() and '{"receipt": [1, 1000000, ' in record.read_text(encoding="utf-8")


def first_part_is_kept(record: Path) -> None:
    """Wait until the receipt of the first part is written, which is soon after its event."""
    while not has_receipt(record):
        pass


def put_what_is_missing(client: httpx.Client, key: str) -> tuple[httpx.Response, list[list[int]]]:
    missing = listened(client, key, is_now("waiting"))["missing"]
    body = b"".join(BODY[offset : offset + size] for offset, size in missing)
    return put(client, key, body, len(body)), missing


def leave_half_way(client: httpx.Client, key: str, record: Path) -> None:
    """Behave like a browser whose tab is closed after one part of three has arrived, and half of the second."""

    def broken() -> Iterator[bytes]:
        yield BODY[: len(BODY) // 2]
        first_part_is_kept(record)
        raise LookupError("the tab was closed")

    with pytest.raises(LookupError):
        put(client, key, broken())


def folders_of(fake: FakeFrameio) -> dict[str, str]:
    """Return the folders at Frame.io, with their paths."""
    found: dict[str, str] = {}

    def look(folder_id: str, path: str) -> None:
        for folder in client.folders.list(fake.account_id, folder_id):  # it retries a 429
            found[folder.id] = f"{path}{folder.name}"
            look(folder.id, f"{path}{folder.name}/")

    with httpx.Client() as http:
        client = Frameio(token=fake.token, base_url=fake.url, httpx_client=http)
        look(fake.folder_id, "")
    return found


def acknowledged(fake: FakeFrameio) -> Counter[int | None]:
    """Return how often S3 has acknowledged each part."""
    return Counter(seen.number for seen in fake.requests if seen.operation == "part" and seen.status == 200)


def kept_in(state: Path) -> list[str]:
    """Return the suffixes of what is kept, without the folders of lists."""
    return sorted(path.suffix for path in state.glob("*/*"))


def test_the_page_of_the_fastapi_app_is_served(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        for link in re.findall(r'(?:src|href)="(static/[^"]+)"', page.text):
            assert client.get(f"/{link}").status_code == 200
        assert client.get("/static/..%2fapp.py").status_code == 404
        (key,) = announced(client)
        assert listened(client, key, is_now("waiting"))["missing"] == [[0, len(BODY)]]
        other = put(client, key, BODY[1:], len(BODY) - 1)
        assert (other.status_code, other.json()["reason"]) == (
            409,
            "3000000 bytes are missing, and the body has 2999999",
        )
        assert client.put(f"/lists/{LIST}/{key}", content=iter([BODY])).status_code == 411
        assert put(client, LIST, BODY).status_code == 404
        assert client.put(f"/lists/{LIST}/..%5Ckey", content=BODY).status_code == 422
        (empty,) = announced(client, about(size=0))
        assert (put(client, empty, b"", 0).status_code, fake.files) == (400, ())
        assert (
            listened(client, empty, is_now("failed"))["error"]
            == "the source is empty, and Frame.io does not accept empty files; leave it out"
        )


def test_names_and_paths_that_lead_elsewhere_are_refused_by_the_fastapi_app(fake: FakeFrameio, tmp_path: Path) -> None:
    nameless = ["", "..", "/", "a\\..", "\u202e"]
    elsewhere = ["..", "a/../b", "/etc", "a//b", "a/", "./a", "a\\..", "\u202e/a", "."]
    files = [about(name=name) for name in nameless] + [about(folder=folder) for folder in elsewhere]
    errors = len(nameless) * ["the name is empty"]
    errors += len(elsewhere) * ["the name of a folder is empty or consists of dots"]
    with dropping(fake, tmp_path) as (client, _):
        keys = announced(client, *files)
        for key, error in zip(keys, errors, strict=True):
            assert put(client, key, BODY).status_code == 400
            assert listened(client, key, is_now("failed"))["error"] == error
    assert (fake.files, folders_of(fake)) == ((), {})


def test_files_of_a_folder_go_into_folders_that_are_made_once(fake: FakeFrameio, tmp_path: Path) -> None:
    """One of them is there before, and both servers find those that the first has made."""
    paths = ["day 1", "day 1/cam A", "day 1/cam A", "day 1/cam B", "day\u202e 1/\\x/cam B"]
    for _ in range(2):
        with dropping(fake, tmp_path) as (client, _process), ThreadPoolExecutor() as threads:
            for row in list(next(shown(client)).values()):
                assert client.delete(f"/lists/{LIST}/{row['key']}").status_code == 204
            files = [about(name=f"{n}.mov", folder=path, size=5) for n, path in enumerate(paths)]
            keys = announced(client, *files)
            answers = list(threads.map(lambda key: put(client, key, b"bytes", 5), keys))
            assert [answer.status_code for answer in answers] == [202] * 5
            for key in keys:
                listened(client, key, is_now("done"))
    made = folders_of(fake)
    assert sorted(made.values()) == ["day 1", "day 1/cam A", "day 1/cam B", "day 1/x", "day 1/x/cam B"]
    assert Counter((file.name, made[file.folder_id]) for file in fake.files) == {
        ("0.mov", "day 1"): 2,
        ("1.mov", "day 1/cam A"): 2,
        ("2.mov", "day 1/cam A"): 2,
        ("3.mov", "day 1/cam B"): 2,
        ("4.mov", "day 1/x/cam B"): 2,
    }


def test_the_fastapi_app_answers_to_its_own_names_only(fake: FakeFrameio, tmp_path: Path) -> None:
    requests = (("GET", "/"), ("PUT", f"/lists/{LIST}"), ("PUT", f"/lists/{LIST}/{LIST}"), ("GET", "/static/page.js"))
    with dropping(fake, tmp_path, HOSTS="127.0.0.1,upload.studio.example") as (client, _):
        for host in ("rebound.example", "127.0.0.1.rebound.example", ""):
            for method, path in requests:
                assert client.request(method, path, json=[about()], headers={"Host": host}).status_code == 400, host
        assert client.get("/", headers={"Host": "upload.studio.example:8443"}).status_code == 200
        assert next(shown(client)) == {}
    assert fake.files == ()


FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://other.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://127.0.0.1.other.example"},
    {"Origin": "http://other.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
]


def test_the_fastapi_app_refuses_what_another_site_sends(fake: FakeFrameio, tmp_path: Path) -> None:
    """Even a site that knows the keys: a key is in no link, but a site may have looked over a shoulder."""
    with dropping(fake, tmp_path) as (client, _):
        (key,) = announced(client)
        one = f"/lists/{LIST}/{key}"
        form = {"files": ("take 07.mov", BODY, "video/quicktime")}
        for headers in FOREIGN:
            attempts = [
                client.put(f"/lists/{LIST}", json=[about(name="theirs.mov")], headers=headers),
                client.put(one, content=BODY, headers=headers),
                client.patch(one, json={"state": "cancelled"}, headers=headers),
                client.delete(one, headers=headers),
                client.post(one, files=form, headers=headers),
                client.post(f"/lists/{LIST}", content="[]", headers=headers | {"Content-Type": "text/plain"}),
            ]
            assert [attempt.status_code for attempt in attempts] == [403] * 6, headers
            assert "access-control-allow-origin" not in client.options(one, headers=headers).headers
        # Without these headers it is a program of the user's own; but there is no form that it could send.
        assert client.post(one, files=form).status_code == 405
        assert list(next(shown(client))) == [key]
        own = {"Origin": str(client.base_url).rstrip("/")}
        for same in (own, own | {"Sec-Fetch-Site": "same-origin"}):
            assert client.patch(one, json={"state": "waiting"}, headers=same).status_code == 200
        assert put(client, key, BODY).status_code == 202
        listened(client, key, is_now("done"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}


def test_a_link_on_another_site_may_lead_to_the_fastapi_apps_page_but_its_events_are_no_link(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    with dropping(fake, tmp_path) as (client, _):
        assert client.get("/", headers=link).status_code == 200
        for mode in ("cors", "no-cors"):
            foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
            assert client.get(f"/lists/{LIST}/events", headers=foreign).status_code == 403


def test_the_page_of_the_fastapi_app_runs_its_own_script_only(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        page = client.get("/")
        everywhere = [page, client.get("/static/page.js"), client.get("/nowhere"), client.put("/lists/none")]
    assert [answer.status_code for answer in everywhere] == [200, 200, 404, 422]
    for answer in everywhere:
        policy = answer.headers["content-security-policy"]
        directives = dict(one.strip().split(" ", 1) for one in policy.split(";"))
        assert directives["default-src"] == "'none'"
        assert directives["connect-src"] == directives["script-src"] == directives["style-src"] == "'self'"
        assert directives["frame-ancestors"] == "'none'"
        assert directives["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert re.findall(rb"<script[^>]*>(.*?)</script>", page.content, re.DOTALL) == [b""], (
        "which the policy would forbid"
    )
    assert not re.search(rb"<style| style=| on[a-z]+=", page.content)


def test_the_fastapi_app_forwards_a_body_as_it_arrives_and_shows_it_after_a_reconnect(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    fake.add_fault(BUSY)
    again, held = Fault(do="hold", number=2), Fault(do="hold", number=3)
    fake.add_fault(again)
    fake.add_fault(held)
    rest = threading.Event()
    with dropping(fake, tmp_path) as (client, _), ThreadPoolExecutor() as threads:
        (key,) = announced(client)
        sending = threads.submit(put, client, key, in_halves(rest))
        try:
            # Before the second half is sent, so the application has not stored the whole body.
            fake.wait_until(first_part_is_there, timeout=50)
            row = listened(client, key, has_sent(1_000_000))
            assert (row["state"], row["received"] <= len(BODY) // 2) == ("receiving", True)
            second = put(client, key, BODY)
            assert (second.status_code, second.json()["reason"]) == (409, "another request sends it")
            rest.set()
            answer = sending.result()
            assert (answer.status_code, answer.json()["state"]) == (202, "sending")
            listened(client, key, lambda row: row["note"].startswith("part 2 again in "))
            assert listened(client, key, is_now("sending"))["received"] == len(BODY)
        finally:
            rest.set()
            fake.release(again)
            fake.release(held)
        row = listened(client, key, is_now("done"))
        assert listened(client, key, is_now("done")) == row, "also after the end"
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert row["link"].endswith(fake.files[0].id)
    assert (row["sent"], row["received"], row["missing"]) == (len(BODY), len(BODY), [])


TRACED = """
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

spans = open({path!r}, "w", encoding="utf-8", buffering=1)
exporter = ConsoleSpanExporter(out=spans, formatter=lambda span: span.to_json(indent=None) + chr(10))
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
FastAPIInstrumentor().instrument()
"""


def test_the_request_to_the_fastapi_app_is_the_parent_of_its_upload(fake: FakeFrameio, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.instrumentation.fastapi")
    path, site = tmp_path / "spans", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(TRACED.format(path=str(path)), encoding="utf-8")
    python_path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    with dropping(fake, tmp_path / "state", PYTHONPATH=python_path) as (client, _):
        (key,) = announced(client)
        assert put(client, key, BODY).status_code == 202
        listened(client, key, is_now("done"))
    spans = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    (upload,) = (span for span in spans if span["name"] == "frameio.upload")
    (request,) = (span for span in spans if span["context"]["span_id"] == upload["parent_id"])
    assert (request["kind"], request["name"].split()[0]) == ("SpanKind.SERVER", "PUT")
    below = [span for span in spans if span["parent_id"] == upload["context"]["span_id"]]
    assert {span["name"] for span in below} >= {"frameio.api", "frameio.part"}


def test_the_fastapi_app_resumes_an_upload_whose_browser_left(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        (key,) = announced(client)
        leave_half_way(client, key, record_of(tmp_path, key))
        assert announced(client) == [key], "the same file, chosen again"
        answer, missing = put_what_is_missing(client, key)
        assert (answer.status_code, missing) == (202, [[1_000_000, 2_000_000]])
        listened(client, key, is_now("done"))
        assert announced(client) == [key], "it is there already"
        assert put(client, key, BODY).status_code == 409
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert (acknowledged(fake), fake.deleted) == ({1: 1, 2: 1, 3: 1}, ())


def test_a_receipt_that_a_full_disk_has_cut_costs_its_own_part_only(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        (key,) = announced(client)
        leave_half_way(client, key, record_of(tmp_path, key))
    with record_of(tmp_path, key).open("a", encoding="utf-8") as file:
        file.write('\n{"receipt": [2, 1000000, "5d41')
    with dropping(fake, tmp_path) as (client, _):
        answer, missing = put_what_is_missing(client, key)
        assert (answer.status_code, missing) == (202, [[1_000_000, 2_000_000]])
        listened(client, key, is_now("done"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert (acknowledged(fake), fake.deleted) == ({1: 1, 2: 1, 3: 1}, ())


def test_a_body_that_the_fastapi_app_has_received_arrives_although_it_is_stopped(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    held = Fault(do="hold", number=3)
    fake.add_fault(held)
    with dropping(fake, tmp_path) as (client, process):
        (key,) = announced(client)
        assert put(client, key, BODY).status_code == 202
        fake.wait_until(lambda fake: fake.hits(held) == 1, timeout=50)
        process.send_signal(signal.SIGTERM)
        fake.release(held)
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}


@pytest.mark.skipif(sys.platform == "win32", reason="where a process can only be killed")
@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"], ids=["stopped", "killed"])
def test_a_body_that_the_fastapi_app_has_received_needs_no_browser_after_it_was(
    fake: FakeFrameio, tmp_path: Path, end: str
) -> None:
    """The parts that are not at Frame.io are on the server's disk."""
    state, held = tmp_path / "unfinished", Fault(do="hold", first=2, times=None)
    fake.add_fault(held)
    with dropping(fake, state, GRACE="0") as (client, process):
        (key,) = announced(client)
        assert put(client, key, BODY).status_code == 202
        first_part_is_kept(record_of(state, key))
        process.send_signal(getattr(signal, end))
        process.wait(50)
    parts = record_of(state, key).with_suffix(".parts")
    # A kill may come between the receipt of the first part and its deletion.
    assert sorted(path.name for path in parts.iterdir())[-2:] == ["00002", "00003"]
    assert {path.stat().st_mode & 0o777 for path in parts.iterdir()} == {0o600}
    fake.release(held)
    with dropping(fake, state) as (client, _):
        listened(client, key, is_now("done"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert acknowledged(fake)[1] == 1
    assert kept_in(state) == [".upload"], "the parts are gone"


@pytest.mark.skipif(sys.platform == "win32", reason="where a process can only be killed")
@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"], ids=["stopped", "killed"])
def test_an_upload_resumes_after_the_fastapi_app_was(fake: FakeFrameio, tmp_path: Path, end: str) -> None:
    """The service outlives three servers, and at the end has one file, of which no part was acknowledged twice."""
    state, rest = tmp_path / "unfinished", threading.Event()
    with ThreadPoolExecutor() as threads:
        with dropping(fake, state, GRACE="0") as (client, process):
            (key,) = announced(client)
            kept = record_of(state, key)
            sending = threads.submit(put, client, key, in_halves(rest))
            try:
                first_part_is_kept(kept)  # a server that is stopped waits for this, a killed one does not
                process.send_signal(getattr(signal, end))
                process.wait(50)
            finally:
                rest.set()
            assert sending.exception() is not None or sending.result().status_code == 503
        assert (state.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o700, 0o700)
        assert kept.stat().st_mode & 0o777 == 0o600
        assert "X-Amz" in kept.read_text(encoding="utf-8")
        assert len(fake.files) == 1
        with dropping(fake, state) as (client, _):
            answer, missing = put_what_is_missing(client, key)
            assert (answer.status_code, missing) == (202, [[1_000_000, 2_000_000]])
            row = listened(client, key, is_now("done"))
        with dropping(fake, state) as (client, _):
            assert listened(client, key, is_now("done")) == row, "for a page that has missed the end"
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert (acknowledged(fake), fake.deleted) == ({1: 1, 2: 1, 3: 1}, ())
    assert kept_in(state) == [".upload"]
    assert "X-Amz" not in kept.read_text(encoding="utf-8"), "the links are gone"


def test_a_paused_upload_sends_nothing_until_it_is_resumed_by_the_next_server(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    """It ends the browser's request, and what was received goes on without the browser."""
    held = Fault(do="hold", first=2, times=None)
    fake.add_fault(held)
    with dropping(fake, tmp_path) as (client, _):
        (key,) = announced(client)
        assert put(client, key, BODY).status_code == 202
        first_part_is_kept(record_of(tmp_path, key))
        assert changed(client, key, "paused")["state"] == "paused"
        assert put(client, key, b"", 0).status_code == 409
    requests = len(fake.requests)
    fake.release(held)
    with dropping(fake, tmp_path) as (client, _):
        assert next(shown(client))[key]["state"] == "paused"
        assert len(fake.requests) == requests
        assert changed(client, key, "waiting")["state"] == "sending"
        listened(client, key, is_now("done"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert acknowledged(fake)[1] == 1


def test_a_pause_in_the_middle_of_a_body_ends_the_request(fake: FakeFrameio, tmp_path: Path) -> None:
    rest = threading.Event()
    with dropping(fake, tmp_path) as (client, _), ThreadPoolExecutor() as threads:
        (key,) = announced(client)
        sending = threads.submit(put, client, key, in_halves(rest))
        try:
            first_part_is_kept(record_of(tmp_path, key))
            assert changed(client, key, "paused")["state"] == "paused"
        finally:
            rest.set()
        assert sending.exception() is not None or sending.result().status_code == 409
        row = changed(client, key, "waiting")
        assert (row["state"], row["missing"]) == ("waiting", [[1_000_000, 2_000_000]])
        assert put_what_is_missing(client, key)[0].status_code == 202
        listened(client, key, is_now("done"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert (acknowledged(fake), fake.deleted) == ({1: 1, 2: 1, 3: 1}, ())


@contextmanager
def half_sent(client: httpx.Client, key: str, record: Path) -> Iterator[http.client.HTTPConnection]:
    """Send half of a body, and yield the connection, from which an early answer can be read; httpx sends all first."""
    with closing(http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=50)) as connection:
        connection.putrequest("PUT", f"/lists/{LIST}/{key}")
        connection.putheader("Content-Length", str(len(BODY)))
        connection.endheaders(BODY[: len(BODY) // 2])
        first_part_is_kept(record)
        yield connection


def said_by(connection: http.client.HTTPConnection) -> tuple[int, str, str]:
    with connection.getresponse() as answer:
        row = json.load(answer)
        return answer.status, row.get("state", ""), row.get("reason") or row["detail"]


def test_a_request_that_ends_early_says_why(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path, GRACE="0") as (client, process):
        paused, cancelled, removed, stopped = announced(client, *(about(modified=n) for n in range(4)))
        with half_sent(client, paused, record_of(tmp_path, paused)) as connection:
            changed(client, paused, "paused")
            assert said_by(connection) == (409, "paused", "it is paused")
        with half_sent(client, cancelled, record_of(tmp_path, cancelled)) as connection:
            changed(client, cancelled, "cancelled")
            assert said_by(connection) == (409, "cancelled", "it was cancelled")
        with half_sent(client, removed, record_of(tmp_path, removed)) as connection:
            assert client.delete(f"/lists/{LIST}/{removed}").status_code == 204
            assert said_by(connection) == (410, "", "it was removed")
        if sys.platform == "win32":
            return  # where a process can only be killed
        with half_sent(client, stopped, record_of(tmp_path, stopped)) as connection:
            process.terminate()
            reason = "the server is being stopped: send what is missing to the next one"
            assert said_by(connection) == (503, "waiting", reason)


def test_a_page_that_was_loaded_again_goes_on_although_the_server_still_waits_for_the_first(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    """A connection that is not read, because Frame.io is the slower side, does not tell that its browser has gone."""
    rest = threading.Event()
    with dropping(fake, tmp_path) as (client, _), ThreadPoolExecutor() as threads:
        (key,) = announced(client)
        first = threads.submit(put, client, key, in_halves(rest))
        try:
            first_part_is_kept(record_of(tmp_path, key))
            assert changed(client, key, "waiting")["state"] == "waiting"
            assert put_what_is_missing(client, key)[0].status_code == 202
        finally:
            rest.set()
        assert first.exception() is not None or first.result().status_code == 503
        listened(client, key, is_now("done"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert (acknowledged(fake), fake.deleted) == ({1: 1, 2: 1, 3: 1}, ())


@pytest.mark.parametrize("verb", ["cancel", "remove"])
def test_a_cancelled_upload_leaves_nothing_and_can_be_sent_again(fake: FakeFrameio, tmp_path: Path, verb: str) -> None:
    held = Fault(do="hold", first=2, times=None)
    fake.add_fault(held)
    with dropping(fake, tmp_path) as (client, _):
        (key,) = announced(client)
        assert put(client, key, BODY).status_code == 202
        first_part_is_kept(record_of(tmp_path, key))
        if verb == "cancel":
            row = changed(client, key, "cancelled")
            assert (row["state"], row["received"], row["sent"]) == ("cancelled", 0, 0)
            assert kept_in(tmp_path) == [".upload"]
        else:
            assert client.delete(f"/lists/{LIST}/{key}").status_code == 204
            assert next(shown(client)) == {}
            assert kept_in(tmp_path) == []
        assert (fake.files, len(fake.deleted)) == ((), 1)
        fake.release(held)
        (again,) = announced(client)
        assert (again == key) == (verb == "cancel")
        assert put(client, again, BODY).status_code == 202
        listened(client, again, is_now("done"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}


def test_two_files_of_one_drop_that_look_the_same_are_two(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        first, second = announced(client, about(), about())
        assert announced(client, about(), about(), about(modified=2))[:2] == [first, second]
        for key, body in ((first, BODY), (second, BODY[::-1])):
            assert put(client, key, body).status_code == 202
            listened(client, key, is_now("done"))
    assert {file.sha256 for file in fake.files} == {sha256(BODY), sha256(BODY[::-1])}


def test_a_file_that_changed_meanwhile_is_another_file(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        (key,) = announced(client)
        leave_half_way(client, key, record_of(tmp_path, key))
        (other,) = announced(client, about(modified=2))
        assert other != key
        assert put(client, other, BODY[::-1]).status_code == 202
        listened(client, other, is_now("done"))
        assert client.delete(f"/lists/{LIST}/{key}").status_code == 204
    assert arrived(fake) == {"take 07.mov": sha256(BODY[::-1])}
    assert len(fake.deleted) == 1


def test_the_fastapi_app_forgets_what_nobody_has_continued_for_a_day(fake: FakeFrameio, tmp_path: Path) -> None:
    others = tmp_path / "notes.txt", tmp_path / str(UUID(LIST)) / "notes.upload"
    with dropping(fake, tmp_path) as (client, _):
        done, left, fresh = announced(client, about(modified=1), about(modified=2), about(modified=3))
        put(client, done, BODY)
        listened(client, done, is_now("done"))
        leave_half_way(client, left, record_of(tmp_path, left))
    for path in others:
        path.touch()
    for path in (*others, record_of(tmp_path, done), record_of(tmp_path, left)):
        os.utime(path, (1, 1))
    with dropping(fake, tmp_path) as (client, _):
        fake.wait_until(lambda fake: len(fake.deleted) == 1, timeout=50)
        assert list(next(rows for rows in shown(client) if len(rows) == 1)) == [fresh]
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert kept_in(tmp_path) == [".upload", ".upload"]
    assert all(path.exists() for path in (*others, record_of(tmp_path, fresh)))


def test_the_fastapi_app_keeps_nothing_of_an_upload_that_cannot_resume(fake: FakeFrameio, tmp_path: Path) -> None:
    fake.add_fault(Fault(number=2, code="AccessDenied"))
    with dropping(fake, tmp_path) as (client, _):
        (key,) = announced(client)
        answer = put(client, key, BODY)
        if answer.status_code != 202:  # the body may be received before S3 refuses
            assert (answer.status_code, answer.json()["state"]) == (502, "failed")
        row = listened(client, key, is_now("failed"))
        assert "AccessDenied" in row["error"]
        assert (row["missing"], row["received"]) == ([[0, len(BODY)]], 0)
        assert (fake.files, len(fake.deleted)) == ((), 1)
        assert kept_in(tmp_path) == [".upload"]
        assert "X-Amz" not in record_of(tmp_path, key).read_text(encoding="utf-8")
    with dropping(fake, tmp_path) as (client, _):
        assert next(shown(client))[key] == row, "after a restart too"
        assert changed(client, key, "waiting")["error"] is None
        assert put(client, key, BODY).status_code == 202
        listened(client, key, is_now("done"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}


def test_a_file_that_s3_has_corrupted_is_deleted_and_can_be_sent_again(tmp_path: Path) -> None:
    """This is after the 202, when every part was acknowledged: the first correct ETag shows that another was wrong."""
    with FakeFrameio(part_size=1_000_000, checksum=None).in_thread() as fake:
        fake.add_fault(Fault(do="corrupt", number=1, times=2))
        rest = Fault(do="hold", times=2)
        fake.add_fault(rest)
        with dropping(fake, tmp_path) as (client, _):
            (key,) = announced(client)
            assert put(client, key, BODY).status_code == 202
            first_part_is_kept(record_of(tmp_path, key))
            fake.release(rest)
            listened(client, key, is_now("failed"))
            assert (fake.files, len(fake.deleted), kept_in(tmp_path)) == ((), 1, [".upload"])
            assert announced(client) == [key], "dropped again"
            assert put(client, key, BODY).status_code == 202
            listened(client, key, is_now("done"))
        assert arrived(fake) == {"take 07.mov": sha256(BODY)}


def test_an_upload_that_fails_after_its_last_part_needs_no_byte_when_it_is_retried(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    fake.add_fault(Fault(on="status", status=403))
    with dropping(fake, tmp_path) as (client, _):
        (key,) = announced(client)
        assert put(client, key, BODY).status_code in (202, 502)
        assert listened(client, key, is_now("failed"))["missing"] == []
        assert changed(client, key, "waiting")["state"] == "sending"
        listened(client, key, is_now("done"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert acknowledged(fake) == {1: 1, 2: 1, 3: 1}


def test_a_folder_that_was_deleted_at_frameio_is_made_again_on_a_retry(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        first, second = announced(client, about(folder="day 1", modified=1), about(folder="day 1", modified=2))
        assert put(client, first, BODY).status_code == 202
        listened(client, first, is_now("done"))
        (made,) = folders_of(fake)
        with httpx.Client() as http:
            Frameio(token=fake.token, base_url=fake.url, httpx_client=http).folders.delete(fake.account_id, made)
        assert put(client, second, BODY).status_code == 502
        changed(client, second, "waiting")
        assert put(client, second, BODY).status_code == 202
        listened(client, second, is_now("done"))
    (again,) = folders_of(fake)
    assert again != made
    assert [file.sha256 for file in fake.files if file.folder_id == again] == [sha256(BODY)]


def test_an_upload_of_which_nothing_can_be_kept_leaves_no_file(fake: FakeFrameio, tmp_path: Path) -> None:
    with dropping(fake, tmp_path) as (client, _):
        bad, good = announced(client, about(modified=1), about(modified=2))
        record_of(tmp_path, bad).unlink()
        record_of(tmp_path, bad).mkdir()
        assert put(client, bad, BODY).status_code == 507
        assert put(client, good, BODY).status_code == 202
        listened(client, good, is_now("done"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert len(fake.deleted) == 1


def test_an_upload_whose_record_cannot_be_removed_ends_no_other(fake: FakeFrameio, tmp_path: Path) -> None:
    """It is refused while another upload waits for its second half, and in place of its record there is a folder."""
    second, others_second = threading.Event(), threading.Event()
    with dropping(fake, tmp_path) as (client, _), ThreadPoolExecutor() as threads:
        key, others = announced(client, about(modified=1), about(modified=2))
        record = record_of(tmp_path, key)
        try:
            other = threads.submit(put, client, others, in_halves(others_second))
            first_part_is_kept(record_of(tmp_path, others))
            fake.add_fault(Fault(number=2, code="AccessDenied"))
            fake.add_fault(held := Fault(do="hold", number=3))
            threads.submit(put, client, key, in_halves(second))
            first_part_is_kept(record)
            record.unlink()
            record.mkdir()
            second.set()
            listened(client, key, is_now("failed"))
            fake.release(held)
            others_second.set()
            assert other.result().status_code == 202
        finally:
            second.set()
            others_second.set()
        listened(client, others, is_now("done"))
    assert arrived(fake) == {"take 07.mov": sha256(BODY)}
    assert len(fake.deleted) == 1


def test_what_frameio_refuses_is_the_fastapi_apps_502(fake: FakeFrameio, tmp_path: Path) -> None:
    fake.tokens.clear()
    with dropping(fake, tmp_path) as (client, _):
        for folder in ("", "day 1"):
            (key,) = announced(client, about(folder=folder))
            assert put(client, key, BODY).status_code == 502
            row = listened(client, key, is_now("failed"))
            assert (row["missing"], "401" in row["error"]) == ([[0, len(BODY)]], True)


def test_a_list_of_the_fastapi_app_shows_nothing_of_another(fake: FakeFrameio, tmp_path: Path) -> None:
    other = LIST[::-1]
    with dropping(fake, tmp_path) as (client, _):
        (key,) = announced(client)
        with client.stream("GET", f"/lists/{other}/events") as answer:
            data = next(line for line in answer.iter_lines() if line.startswith("data: "))
        assert json.loads(data.removeprefix("data: ")) == {"rows": [], "gone": []}
        assert client.put(f"/lists/{other}/{key}", content=BODY).status_code == 404
        assert client.patch(f"/lists/{other}/{key}", json={"state": "cancelled"}).status_code == 404
        assert client.delete(f"/lists/{other}/{key}").status_code == 204
        assert next(shown(client))[key]["state"] == "waiting"


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
        assert (empty.status_code, empty.json()) == (400, {"message": "Bad Request"})
        fake.tokens.clear()
        refused = client.put("/takes/a.mov", content=b"frames")
        assert (refused.status_code, refused.json()) == (502, {"message": "Bad Gateway"})
    assert fake.files == ()


def test_the_aiohttp_app_answers_503_when_it_is_stopped_in_the_middle_of_a_body(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in service(fake).items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("proxy", ROOT / "examples" / "aiohttp_app" / "proxy.py")
    assert spec is not None
    assert spec.loader is not None
    proxy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(proxy)
    monkeypatch.setattr(proxy, "GRACE", 0.0)

    async def put() -> None:
        server = TestServer(proxy.app)
        await server.start_server(lingering_time=0)  # by default, aiohttp waits ten seconds for the rest of the body
        stopping = asyncio.Event()

        async def half() -> AsyncIterator[bytes]:
            yield BODY[: len(BODY) // 2]
            await stopping.wait()

        async with aiohttp.ClientSession() as session:
            headers = {"Content-Length": str(len(BODY))}
            sending = asyncio.ensure_future(session.put(server.make_url("/takes/a.mov"), data=half(), headers=headers))
            await asyncio.to_thread(fake.wait_until, first_part_is_there)
            await asyncio.gather(server.close(), answered(sending))
            stopping.set()

    async def answered(sending: asyncio.Future[aiohttp.ClientResponse]) -> None:
        async with await sending as answer:
            assert answer.status == 503

    asyncio.run(put())
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


def test_the_same_job_again_joins_the_upload_that_is_resumed_or_finds_the_file(
    fake: FakeFrameio, two: list[Path], tmp_path: Path
) -> None:
    held = Fault(do="hold", number=2)
    fake.add_fault(held)
    journal = str(tmp_path / "uploads.sqlite3")
    killed = begun("worker/jobs.py", fake, two[0], JOURNAL=journal)
    fake.wait_until(lambda fake: fake.hits(held) == 1, timeout=50)
    killed.kill()
    ended(killed)
    for _ in range(2):
        status, said = ended(begun("worker/jobs.py", fake, two[0], JOURNAL=journal))
        assert status == 0, said
        assert re.search(rf"^{re.escape(str(two[0]))}: https://\S+{fake.files[0].id}$", said, re.MULTILINE)
    assert arrived(fake) == {two[0].name: sha256(two[0].read_bytes())}


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
    assert (status, said.splitlines()[0]) == (1, "nowhere.mov: nowhere.mov: No such file or directory; check the path")
    assert "Traceback" not in said
    assert arrived(fake) == {path.name: sha256(path.read_bytes()) for path in two}
