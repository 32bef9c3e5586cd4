"""The pages of the docs: their programs run and print what is promised, their commands and links exist."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import json
import os
import re
import shlex
import signal
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import aiohttp
import httpx
import pytest
import trustme
import typer.main
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from anyio.from_thread import start_blocking_portal
from blockbuster import BlockBuster
from yarl import URL

import aioframeio_upload
import aioframeio_upload.testing
from aioframeio_upload import (
    ApiError,
    AuthenticationError,
    ConfirmationError,
    IntegrityError,
    NotFound,
    PartCompleted,
    PartExhausted,
    PartRejected,
    RateLimited,
    SourceError,
    UploadCancelled,
    Uploader,
    UploadError,
)
from aioframeio_upload._cli.app import app as command_line
from aioframeio_upload._cli.report import ReportRow
from aioframeio_upload._core.checksums import CRC64NVME
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.io.test_session import proxy_to
from tests.support.pages import (
    AGENTS,
    DOCS,
    NEEDS_CLUSTER,
    README,
    ROOT,
    SITE,
    blocks,
    commands,
    fences,
    promise_of,
    run,
    text_of,
)

pytestmark = pytest.mark.needs_tree

TUTORIAL = ROOT / "docs" / "tutorial.md"
WEB = ROOT / "docs" / "how-to" / "web-application.md"
COMING = ROOT / "docs" / "coming-from-frameio-uploader.md"
"""This page has its own tests, which need the official SDK."""

BLOCKS = [
    pytest.param(page, *block.values, id=f"{page.stem}:{block.id}", marks=block.marks)
    for page in (README, AGENTS, *DOCS)
    if page not in (TUTORIAL, COMING)
    for block in blocks(page)
]


# -- the programs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake(fake_frameio: FakeFrameio) -> Iterator[FakeFrameio]:
    """A fake that asks for small parts; the plugin's own fake is for the block about testing."""
    with FakeFrameio(part_size=100_000).in_thread() as fake:
        yield fake


@pytest.fixture
def names(fake: FakeFrameio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Yield what the blocks use without defining it: a token, IDs, files in the working folder, a service."""

    class Local(Uploader):
        def __init__(self, token: Any, *, base_url: str = fake.url, **settings: Any) -> None:
            super().__init__(token, base_url=base_url, **settings)

    monkeypatch.setattr(aioframeio_upload, "Uploader", Local)
    monkeypatch.setenv("FRAMEIO_BASE_URL", fake.url)
    monkeypatch.setenv("FRAMEIO_TOKEN", fake.token)
    monkeypatch.setenv("FRAMEIO_ACCOUNT_ID", fake.account_id)
    monkeypatch.setenv("FRAMEIO_FOLDER", fake.folder_id)
    monkeypatch.setenv("FRAMEIO_CLIENT_ID", "no login is asked for")
    monkeypatch.setenv("FRAMEIO_CLIENT_SECRET", "nor sent")
    monkeypatch.chdir(tmp_path)
    for take in ("take-07.mov", "take-08.mov"):
        (tmp_path / take).write_bytes(take.encode() * 50_000)
    (tmp_path / "shoot" / "b").mkdir(parents=True)
    for path in ("a.mov", "b/c.mov", "b/d.tmp"):
        (tmp_path / "shoot" / path).write_bytes(path.encode())
    trustme.CA().cert_pem.write_to_path(tmp_path / "studio-ca.pem")
    # Any URL whose answer has a length can stand for the render that is forwarded.
    return {
        "token": fake.token,
        "ACCOUNT": fake.account_id,
        "FOLDER": fake.folder_id,
        "render_url": f"{fake.url}/_fake/files",
    }


@pytest.fixture
def beside(
    block: str,
    names: dict[str, Any],
    fake: FakeFrameio,
    tmp_path: Path,
    blockbuster: BlockBuster,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Provide what else a block needs: a cluster, a proxy, the leftovers of an earlier run, a SIGTERM at its end."""
    if "from fastapi import" in block:
        pytest.importorskip("fastapi")
    if "import uvicorn" in block:
        pytest.importorskip("uvicorn")
    if "from answers import" in block:
        monkeypatch.setitem(sys.modules, "answers", answers())
    if "UploadFile]" in block:
        pytest.importorskip("python_multipart")
    if NEEDS_CLUSTER in block:
        pytest.importorskip("distributed")
        from tests.support.cluster import cluster_of, may_block

        may_block(blockbuster)
        with cluster_of(1, tmp_path) as address:
            names["SCHEDULER"] = address
            yield
    elif "PROXY" in block:
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(proxy_to(fake)) as (names["PROXY"], lines),
        ):
            yield
        assert any(line.startswith("PUT http://") for line in lines)
    elif '"*.copy"' in block:
        left = tmp_path / "copies" / "left.copy"
        left.mkdir(parents=True)
        (left / "name").write_text("left.mov", encoding="utf-8")
        (left / "take").write_bytes(b"frames")
        yield
        # A copy is deleted when it has arrived; the third file is empty.
        assert sorted(file.name for file in fake.files) == ["a.mov", "b.mov", "left.mov"]
        assert [name.read_text(encoding="utf-8") for name in left.parent.glob("*/name")] == ["c.mov"]
    elif ".pending()" in block:
        asyncio.run(leave_pending(fake, tmp_path))
        yield
        assert ([file.name for file in fake.deleted], fake.files) == (["take-08.mov"], ())
    elif "resume_pending()" in block:
        asyncio.run(leave_pending(fake, tmp_path))
        yield
        assert [(file.name, file.complete) for file in fake.files] == [("take-08.mov", True)]
    elif "SIGTERM" in block:
        asyncio.run(leave_pending(fake, tmp_path))
        with stopped_once(fake, 2):
            yield
        assert [file.name for file in fake.files] == ["take-08.mov", "take-07.mov"]
    else:
        yield


def answers() -> ModuleType:
    """Return `answers.py`, a block of a page that others import."""
    (text,) = [found[2] for found in fences(text_of(WEB)) if "def status_of(" in found[2]]
    module = ModuleType("answers")
    exec(compile(text, "answers.py", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SourceError("the stream ended 1 byte early"), 400),
        (ValueError("no usable name"), 400),
        (SourceError("it has gone", away=True), 503),
        (UploadCancelled("stopped"), 503),
        (RateLimited("slow down", operation="create_local_upload", status=429), 503),
        (ApiError("no such size", operation="create_local_upload", status=422), 422),
        (ApiError("gone", operation="create_local_upload"), 504),
        (AuthenticationError("the token callable failed", operation="create_local_upload"), 502),
        (PartExhausted("S3 is overloaded", number=1, attempts=8, status=503), 503),
        (PartExhausted("the connection broke", number=1, attempts=8), 504),
        (PartRejected("a wrong signature", number=1, attempts=1, status=403), 502),
        (IntegrityError("other bytes", number=1, attempts=3), 502),
        (ConfirmationError("not in time", file_id="7"), 504),
        (ConfirmationError("it failed", file_id="7", failed=True), 502),
        (NotFound("no such folder", operation="create_local_upload", status=404), 502),
    ],
)
def test_a_web_handler_answers_what_the_page_says(error: UploadError | ValueError, status: int) -> None:
    assert answers().status_of(error) == status


def test_a_web_handler_answers_503_where_the_disk_for_the_parts_is_full() -> None:
    full = SourceError("cannot spool part 1: No space left on device")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert answers().status_of(full) == 503


async def leave_pending(fake: FakeFrameio, folder: Path) -> None:
    """Stop an upload before its last part, as if its worker was killed."""
    held = Fault(do="hold", number=6)
    fake.add_fault(held)
    async with aioframeio_upload.Uploader(
        fake.token, account_id=fake.account_id, journal=folder / "state" / "uploads.sqlite3"
    ) as uploader:
        there = 0
        async for event in uploader.upload(folder / "take-08.mov", folder_id=fake.folder_id):
            there += isinstance(event, PartCompleted)
            if there == 5:
                break
        await uploader.shutdown(0)


@contextmanager
def stopped_once(fake: FakeFrameio, files: int) -> Iterator[None]:
    """Send this process a SIGTERM once this many files are complete; the block's loop handles it by then."""

    def stop() -> None:
        fake.wait_until(lambda fake: sum(file.complete for file in fake.files) == files, timeout=50)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = Thread(target=stop)
    thread.start()
    yield
    thread.join()


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_each_python_block_runs(
    page: Path,
    block: str,
    names: dict[str, Any],
    fake: FakeFrameio,
    fake_frameio: FakeFrameio,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    run(block, page, names, monkeypatch)
    printed, promise = capsys.readouterr().out, promise_of(page, block)
    assert promise is None or re.fullmatch(promise, printed, re.DOTALL), printed
    for name, test in names.items():
        if name.startswith("test_"):
            test(fake_frameio)
    if "app" in names:
        asyncio.run(ask(names["app"], page, block))
    if "take-99" in block and promise is None:
        assert printed.startswith("nothing to send: take-99.mov: ")
        return
    if "awscrt.checksums" in block:
        digest = CRC64NVME.begin()
        digest.update(Path("take-07.mov").read_bytes())
        assert printed == f"{digest.value()}\n"
        return
    if "with FakeFrameio(" in block:
        return  # it has its own fake, and checks the result itself
    if "upload" not in re.sub(r"aioframeio_upload|[Uu]ploader", "", block):
        return  # it only reads or makes something
    assert [*fake.files, *fake.deleted, *fake_frameio.files]
    fake.wait_until(lambda fake: all(file.complete for file in fake.files))


async def ask(app: Any, page: Path, block: str) -> None:
    """Use a page's web application."""
    if page.name == "web-forms.md":
        await post_a_form(app)
        return
    if "planned()" not in block:
        await put_a_body(app)
        return
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/takes/take-07.mov")
        assert (answer.status, (await answer.json())["name"]) == (202, "take-07.mov")
        answer = await client.post(URL("/takes/%2Fetc%2Fpasswd", encoded=True))
        assert (answer.status, "passwd" in await answer.text()) == (404, False)
        assert (await client.post("/takes/take-99.mov")).status == 404


async def put_a_body(app: Any) -> None:
    """Send bodies through an application: one with a length, an empty one, and one without a length."""

    async def chunked() -> AsyncIterator[bytes]:
        yield b"frames"

    if isinstance(app, web.Application):
        async with TestClient(TestServer(app)) as client:
            answers = [await client.put("/takes/take.mov", data=body) for body in (b"frames", b"", chunked())]
            answers.append(await client.put(URL("/takes/%0A", encoded=True), data=b"frames"))
            told, statuses = await answers[0].json(), [answer.status for answer in answers]
    else:
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://app") as http,
        ):
            replies = [await http.put("/takes/take.mov", content=body) for body in (b"frames", b"", chunked())]
            replies.append(await http.put("/takes/%0A", content=b"frames"))
            told, statuses = replies[0].json(), [reply.status_code for reply in replies]
    assert (told["size"], statuses) == (6, [201, 400, 411, 400])


async def post_a_form(app: Any) -> None:
    """Send a form of three files through an application, of which one is empty."""
    takes = {"a.mov": b"frames", "b.mov": bytes(300_000), "c.mov": b""}
    told: list[dict[str, Any]] = []
    if isinstance(app, web.Application):
        async with TestClient(TestServer(app)) as client:
            for some, status in ((list(takes)[:2], 201), (list(takes), 400)):
                form = aiohttp.FormData({"sizes": json.dumps([len(takes[name]) for name in some])})
                for name in some:
                    form.add_field("takes", takes[name], filename=name)
                answer = await client.post("/takes", data=form)
                assert answer.status == status
                if status == 201:
                    told = await answer.json()
    else:
        transport = httpx.ASGITransport(app=app)
        files = [("takes", (name, body)) for name, body in takes.items()]
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://app") as http,
        ):
            reply = await http.post("/takes", files=files)
            told = reply.json()
            if reply.status_code == 202:
                while len(await asyncio.to_thread(os.listdir, "copies")) > 1:
                    pass
                return
        assert (reply.status_code, told.pop()) == (400, {"name": "c.mov", "status": 400})
    assert [(one["name"], one["size"]) for one in told] == [("a.mov", 6), ("b.mov", 300_000)]


def test_the_tutorial_works_from_top_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of its programs is complete, and finds what the programs above it have made."""
    monkeypatch.chdir(tmp_path)
    promises = []
    for block in blocks(TUTORIAL):
        run(block.values[0], TUTORIAL, {}, monkeypatch)
        printed, promise = capsys.readouterr().out, promise_of(TUTORIAL, block.values[0])
        assert re.fullmatch(promise or "", printed, re.DOTALL), printed
        promises.append(promise)
    assert len([promise for promise in promises if promise]) == 4


def test_every_promise_of_output_is_kept_by_a_test() -> None:
    for page in DOCS:
        found = [block for block in blocks(page) if promise_of(page, block.values[0]) is not None]
        assert len(found) == text_of(page).count("\nIt prints"), page
        assert len(found) == sum(fence[1] == "text" for fence in fences(text_of(page))), page


# -- the commands ------------------------------------------------------------------------------------------------------


def said(start: str) -> list[str]:
    """Return every command in the pages that begins with this word."""
    return sorted({line for page in SITE for line in commands(page) if line.startswith(start)})


@pytest.mark.parametrize("line", said("aioframeio-upload "))
def test_the_command_line_accepts_each_use_of_it(line: str) -> None:
    """They are only parsed: the command, its options and their values, and that no required one is missing."""
    _, name, *arguments = shlex.split(re.sub(r" > \S+$", "", line))
    commands: Any = typer.main.get_command(command_line)
    commands.commands[name].make_context(name, arguments)


def test_each_other_command_exists() -> None:
    text = "\n".join(map(text_of, SITE))
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    told = " ".join(re.findall(r"python3 run\.py((?: (?!--)[\w.-]+)+)", text))
    named = {re.sub(r"-3\.\d+$", "", name) for name in told.split()}
    assert len(named) > 10
    assert [name for name in named if not re.search(rf"^def {name}\(session", noxfile, re.MULTILINE)] == []
    modules = set(re.findall(r"python -m (aioframeio_upload[.\w]*)", text))
    assert modules == {"aioframeio_upload", "aioframeio_upload.testing"}
    modules |= set(re.findall(r"python -m (benchmarks\.\w+)", text))
    assert len(modules) > 8
    places = [ROOT / module.replace(".", "/") for module in modules]
    assert [one for one in places if not (one.with_suffix(".py").is_file() or (one / "__main__.py").is_file())] == []
    programs = set(re.findall(r"python ((?:examples|docs)/[\w/]+\.py)", text))
    assert [program for program in programs if not (ROOT / program).is_file()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(",".join(re.findall(r"'(?:\.|aioframeio-upload)\[([\w,]+)\]'", text)).split(","))
    assert {"cli", "sdk", "dask"} <= extras <= set(project["optional-dependencies"])


# -- the site ----------------------------------------------------------------------------------------------------------


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, at GitHub and on the site."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", SITE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_links_of_a_page_have_targets(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        path, _, anchor = target.partition("#")
        if not re.match(r"\w+:", target):
            found = (page.parent / path).resolve() if path else page
            assert found.exists(), target
            assert found.is_relative_to(ROOT), target
            assert not anchor or anchor in anchors_of(found), target


def test_the_pages_that_llms_txt_lists_exist() -> None:
    """The format is that of llmstxt.org: a title, a summary as a quotation, and lists of links."""
    text = text_of(ROOT / "llms.txt")
    assert re.match(r"# aioframeio-upload\n\n> .+\n", text)
    listed = re.findall(r"\]\(([^)]+)\)", text)
    assert len(listed) == len(set(listed)) > 30
    assert [one for one in listed if not (ROOT / one).is_file()] == []


@pytest.mark.parametrize("page", [AGENTS, ROOT / "llms.txt"], ids=lambda page: page.name)
def test_the_names_that_a_page_for_tools_mentions_exist(page: Path) -> None:
    """Words in code that begin like a class are public names, and the attributes after them are theirs."""
    known = {
        **vars(aioframeio_upload.testing),
        **{name: getattr(aioframeio_upload, name) for name in aioframeio_upload.__all__},
    }
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    mentioned = {
        found for code in re.findall(r"`([^`]+)`", prose) for found in re.findall(r"\b[A-Z][a-z]\w+(?:\.\w+)?", code)
    }
    ours = {
        name for name in mentioned if name.partition(".")[0] not in {"ClientError", "Path", "TypeError", "ValueError"}
    }
    assert len(ours) >= 5
    for name in ours:
        kind, _, attribute = name.partition(".")
        assert kind in known, name
        assert not attribute or hasattr(known[kind], attribute), name


def test_the_table_of_contents_links_to_every_page() -> None:
    contents = ROOT / "docs" / "README.md"
    linked = {(contents.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", text_of(contents))}
    assert [page for page in DOCS if page not in linked and page != contents] == []


def test_the_site_names_every_page_once_and_the_readme_first() -> None:
    named = re.findall(r"^ +- [^:]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert named[0] == "README.md"
    assert sorted(named) == sorted(page.relative_to(ROOT).as_posix() for page in SITE)


def test_the_reference_is_what_the_docstrings_say() -> None:
    """`python docs/make_reference.py` writes it."""
    made = script("make_reference").pages()
    folder = ROOT / "docs" / "reference"
    assert {page.stem: text_of(page) for page in folder.glob("*.md")} == made


def test_the_reference_has_every_public_name_once_and_no_other() -> None:
    told = [name for page in script("make_reference").PAGES.values() for name in page.names]
    dask = "upload_file"  # not imported here: its extra may be missing
    assert f'__all__ = ["{dask}"]' in (ROOT / "aioframeio_upload" / "dask.py").read_text(encoding="utf-8")
    fakes = [f"testing.{name}" for name in aioframeio_upload.testing.__all__]
    assert sorted(told) == sorted(
        [
            *aioframeio_upload.__all__,
            *fakes,
            f"dask.{dask}",
            "opentelemetry.Telemetry",
            "plot.SUFFIXES",
            "plot.Timeline",
        ]
    )


def test_the_picture_of_the_modules_matches_their_imports() -> None:
    """`python docs/make_architecture.py` draws it."""
    drawn = script("make_architecture").picture()
    assert (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8") == drawn
    assert drawn.count("<path ") > 200


def script(name: str) -> ModuleType:
    """Load a program that makes a page."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


# -- what pages tell that the code has ---------------------------------------------------------------------------------


def test_the_columns_of_the_report_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", text_of(ROOT / "docs" / "how-to" / "delivery-report.md"), re.M)
    assert [name for row in rows for name in re.findall(r"\w+", row)] == [field.name for field in fields(ReportRow)]


def test_the_faults_that_the_page_on_testing_shows_exist() -> None:
    shown = re.findall(r"`(Fault\([^`]+\))`", text_of(ROOT / "docs" / "testing.md"))
    assert len(shown) > 5
    assert all(isinstance(eval(one, {"Fault": Fault}), Fault) for one in shown)
