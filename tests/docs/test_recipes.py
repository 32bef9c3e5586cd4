"""The recipes in examples/recipes, each used as its framework uses it, against a fake whose files are compared.

A recipe whose framework is not installed is skipped; `python3 run.py recipes` has them all.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp.test_utils import TestClient, TestServer

from aioframeio_upload.testing import FakeFrameio, Fault
from tests.support.pages import ROOT, text_of

RECIPES = ROOT / "examples" / "recipes"
PAGE = RECIPES / "README.md"

pytestmark = pytest.mark.needs_tree

TAKES = {"take-07.mov": b"take-07" * 30_000, "take-08.mov": b"take-08" * 30_000}
FORM = [("takes", (name, body)) for name, body in TAKES.items()]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeFrameio]:
    """Serve a fake to which the environment leads, with two files in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name, body in TAKES.items():
        (tmp_path / name).write_bytes(body)
    with FakeFrameio(part_size=100_000).in_thread() as fake:
        monkeypatch.setenv("FRAMEIO_BASE_URL", fake.url)
        monkeypatch.setenv("FRAMEIO_TOKEN", fake.token)
        monkeypatch.setenv("FRAMEIO_ACCOUNT_ID", fake.account_id)
        monkeypatch.setenv("FRAMEIO_FOLDER", fake.folder_id)
        yield fake


def recipe(name: str, *needed: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a recipe anew, as its server would."""
    for one in needed:
        pytest.importorskip(one)
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def arrived(fake: FakeFrameio, names: set[str] | None = None) -> None:
    """Check that exactly these files are there, with their bytes."""
    wanted = {name: hashlib.sha256(body).hexdigest() for name, body in TAKES.items() if names is None or name in names}
    fake.wait_until(lambda fake: len(fake.files) == len(wanted) and all(file.complete for file in fake.files))
    assert {file.name: file.sha256 for file in fake.files} == wanted


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run an ASGI application with its lifespan, and yield a client of it."""
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    running = asyncio.ensure_future(app(scope, messages.get, answers.put))
    await messages.put({"type": "lifespan.startup"})
    assert (await answers.get())["type"] == "lifespan.startup.complete"

    async def with_state(inner: Any, receive: Any, send: Any) -> None:
        await app({**inner, "state": dict(scope["state"])}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=with_state), base_url="http://app") as http:
        yield http
    await messages.put({"type": "lifespan.shutdown"})
    assert (await answers.get())["type"] == "lifespan.shutdown.complete"
    await running


async def post_forms(app: Any) -> None:
    """Post a form of files, which all arrive, and one whose file is empty, which is refused by its name."""
    async with served(app) as http:
        answer = await http.post("/takes", files=FORM)
        assert (answer.status_code, [one["name"] for one in answer.json()]) == (201, list(TAKES))
        empty = await http.post("/takes", files=[("takes", ("empty.mov", b""))])
        assert (empty.status_code, empty.json()) == (400, [{"name": "empty.mov", "status": 400}])


def test_fastapi_sends_the_files_of_a_form(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    app = recipe("fastapi_form", "fastapi", "python_multipart", monkeypatch=monkeypatch).app

    asyncio.run(post_forms(app))
    arrived(fake)


def test_aiohttp_sends_the_files_of_a_form_while_they_arrive(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_app = recipe("aiohttp_form", monkeypatch=monkeypatch).make_app

    async def post() -> None:
        async with TestClient(TestServer(make_app())) as client:
            form = aiohttp.FormData({"sizes": json.dumps([len(body) for body in TAKES.values()])})
            for name, body in TAKES.items():
                form.add_field("takes", body, filename=name)
            answer = await client.post("/takes", data=form)
            assert (answer.status, [one["name"] for one in await answer.json()]) == (201, list(TAKES))
            form = aiohttp.FormData()
            form.add_field("takes", b"frames", filename="no-size.mov")
            assert (await client.post("/takes", data=form)).status == 400

    asyncio.run(post())
    arrived(fake)


def test_starlette_forwards_a_body(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    app = recipe("starlette_put", "starlette", monkeypatch=monkeypatch).app

    async def chunked() -> AsyncIterator[bytes]:
        yield b"frames"

    async def put() -> None:
        async with served(app) as http:
            answers = [await http.put(f"/takes/{name}", content=body) for name, body in TAKES.items()]
            assert [(one.status_code, one.json()["name"]) for one in answers] == [(201, name) for name in TAKES]
            assert (await http.put("/takes/empty.mov", content=b"")).status_code == 400
            assert (await http.put("/takes/%0A", content=b"frames")).status_code == 400
            assert (await http.put("/takes/no-size.mov", content=chunked())).status_code == 411

    asyncio.run(put())
    arrived(fake)


KEY = "/uploads/6f1c3b54-9d52-4a58-8c3e-0b6a2f6f4a10"


def rows_of(stream: str) -> list[dict[str, Any]]:
    """Return the rows of a stream of server-sent events."""
    return [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line]


@asynccontextmanager
async def half_sent(http: httpx.AsyncClient) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """Yield the request of a PUT of which the server awaits the second half, until the block is left."""
    rest, body, is_read = asyncio.Event(), TAKES["take-07.mov"], asyncio.Event()

    async def halves() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        is_read.set()
        await rest.wait()
        yield body[len(body) // 2 :]

    headers = {"Content-Length": str(len(body))}
    task = asyncio.create_task(http.put(f"{KEY}/take-07.mov", content=halves(), headers=headers))
    await is_read.wait()
    yield task
    rest.set()
    await task


def test_fastapi_shows_the_progress_of_a_put_until_its_end_was_heard(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = recipe("fastapi_progress", "fastapi", "uvicorn", monkeypatch=monkeypatch)
    monkeypatch.setattr(module, "EVERY", 0.0)

    async def put() -> None:
        async with served(module.app) as http:
            async with half_sent(http) as sending:
                stream = asyncio.create_task(http.get(f"{KEY}/events"))
                assert (await http.put(f"{KEY}/take-07.mov", content=b"frames")).status_code == 409
            answer = sending.result()
            assert (answer.status_code, answer.json()["state"], answer.json()["sent"]) == (201, "done", 210_000)
            rows = rows_of((await stream).text)
            assert rows[0]["state"] == "sending"
            assert {"id": KEY.rpartition("/")[2], **rows[-1]} == answer.json()
            assert (await http.get(f"{KEY}/events")).status_code == 404
            assert (await http.delete(KEY)).status_code == 404

    asyncio.run(put())
    arrived(fake, {"take-07.mov"})


def test_fastapi_cancels_a_put(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    module = recipe("fastapi_progress", "fastapi", "uvicorn", monkeypatch=monkeypatch)

    async def put() -> None:
        async with served(module.app) as http:
            async with half_sent(http) as sending:
                row = (await http.delete(KEY)).json()
                assert (row["state"], row["status"]) == ("cancelled", 409)
                assert (await sending).status_code == 409
            assert rows_of((await http.get(f"{KEY}/events")).text)[-1] == row

    asyncio.run(put())
    assert fake.files == ()


def test_fastapi_logs_a_failed_put_and_forgets_it_after_a_while(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = recipe("fastapi_progress", "fastapi", "uvicorn", monkeypatch=monkeypatch)
    monkeypatch.setattr(module, "KEPT", 0.0)

    async def put() -> None:
        async with served(module.app) as http:
            answer = await http.put(f"{KEY}/take.mov", content=b"frames", headers={"Content-Length": "7"})
            assert (answer.status_code, answer.json()["state"]) == (400, "failed")
            while (await http.delete(KEY)).status_code != 404:  # noqa: ASYNC110  # a timer of the loop drops it
                await asyncio.sleep(0)
            assert (await http.put(f"{KEY}/%0A", content=b"frames")).status_code == 400

    asyncio.run(put())
    assert "take.mov: the stream ended 1 byte early" in caplog.text
    assert fake.files == ()


def test_fastapi_ends_streams_of_progress_when_the_server_stops(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = recipe("fastapi_progress", "fastapi", "uvicorn", monkeypatch=monkeypatch)
    monkeypatch.setattr(module, "GRACE", 0.0)

    async def put() -> None:
        config = pytest.importorskip("uvicorn").Config(module.app, port=0, log_config=None)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = module.Server(config)
            serving = asyncio.create_task(server.serve([listening]))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as http:
                async with half_sent(http) as sending:
                    get = http.build_request("GET", f"{KEY}/events")
                    while (stream := await http.send(get, stream=True)).status_code == 404:
                        await stream.aclose()  # the head of the PUT is still under way
                    server.should_exit = True
                    rows = rows_of((await stream.aread()).decode())
                assert (rows[-1]["state"], sending.result().status_code) == ("stopped", 503)
            await serving

    asyncio.run(put())
    assert fake.files == ()


def test_litestar_sends_the_file_of_a_form(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    app = recipe("litestar_form", "litestar", monkeypatch=monkeypatch).app

    async def post() -> None:
        async with served(app) as http:
            answer = await http.post("/takes", files={"data": ("take-07.mov", TAKES["take-07.mov"])})
            assert (answer.status_code, answer.json()["name"]) == (201, "take-07.mov")

    asyncio.run(post())
    arrived(fake, {"take-07.mov"})


def test_django_sends_the_files_of_a_form(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    app = recipe("django_view", "django", monkeypatch=monkeypatch).app

    asyncio.run(post_forms(app))
    arrived(fake)


def test_an_arq_worker_uploads_in_a_job(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its functions are called as a worker calls them; a real one needs Redis."""
    jobs = recipe("arq_worker", "arq", monkeypatch=monkeypatch)

    async def work() -> list[str]:
        settings = pytest.importorskip("arq.worker").get_kwargs(jobs.WorkerSettings)
        ctx: dict[str, Any] = {}
        await settings["on_startup"](ctx)
        (deliver,) = settings["functions"]
        links = await asyncio.gather(*(deliver(ctx, name) for name in TAKES))
        await settings["on_shutdown"](ctx)
        return links

    assert all(asyncio.run(work()))
    arrived(fake)


def test_a_celery_worker_uploads_in_its_tasks(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = recipe("celery_worker", "celery", monkeypatch=monkeypatch)
    start_worker = pytest.importorskip("celery.contrib.testing.worker").start_worker
    jobs.app.conf.update(result_backend="cache+memory://", broker_connection_retry_on_startup=False)
    # `start_worker` sends no signal of a worker's program.
    jobs.loop.open()
    with start_worker(jobs.app, pool="threads", concurrency=2, perform_ping_check=False):
        results = [jobs.deliver.delay(name) for name in TAKES]
        assert all(result.get(timeout=30) for result in results)
    jobs.loop.close()
    with pytest.raises(RuntimeError, match="has not started"):
        jobs.deliver("take-07.mov")
    arrived(fake)


@pytest.mark.needs_program
def test_a_prefect_flow_uploads_in_a_task(fake: FakeFrameio, tmp_path: Path) -> None:
    """In a process of its own, because Prefect starts a server, and blocks its event loop."""
    pytest.importorskip("prefect")
    private = {"PREFECT_HOME": str(tmp_path / "prefect"), "DO_NOT_TRACK": "1"}
    ended = subprocess.run(
        [sys.executable, RECIPES / "prefect_flow.py", *TAKES],
        env=os.environ | private,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    arrived(fake)
    assert set(ended.stdout.split()) == {file.id for file in fake.files}


def test_bars_in_a_notebook_reach_the_end(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded = recipe("jupyter_bars", "rich", monkeypatch=monkeypatch).uploaded
    from rich.console import Console

    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    files = asyncio.run(uploaded(*TAKES, console=console))
    assert [file.name for file in files] == list(TAKES)
    assert isinstance(console.file, io.StringIO)
    assert "210.0/210.0 kB" in console.file.getvalue()
    arrived(fake)


def test_a_bar_of_tqdm_reaches_the_end(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uploaded = recipe("tqdm_bar", "tqdm", monkeypatch=monkeypatch).uploaded
    files = asyncio.run(uploaded(*TAKES))
    assert [file.name for file in files] == list(TAKES)
    assert "100%" in capsys.readouterr().err
    arrived(fake)


def test_a_task_group_uploads_what_is_rendered(fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = recipe("task_group", monkeypatch=monkeypatch).publish
    files = asyncio.run(publish(*TAKES))
    assert [file.name for file in files] == ["take-07.rendered", "take-08.rendered"]
    assert all(file.complete for file in fake.files)


def test_a_producer_waits_for_files_that_are_not_delivered(
    fake: FakeFrameio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a file is made, at most one of the earlier ones is neither confirmed nor failed."""
    module = recipe("bounded_producer", monkeypatch=monkeypatch)
    bodies = {f"{number}.mov": bytes([number]) * 150_000 for number in range(1, 6)}
    lost = "3.mov"

    async def make(source: str) -> Path:
        number = int(source.partition(".")[0]) - 1
        settled = sum(file.complete for file in fake.files) + (number > 2)
        assert settled >= number - 1
        if source == lost:
            raise FileNotFoundError("no such take")
        await asyncio.to_thread((tmp_path / source).write_bytes, bodies[source])
        return tmp_path / source

    delivery = asyncio.run(module.deliver(list(bodies), asyncio.Event(), make, at_once=2))
    assert {source: str(error) for source, error in delivery.failures.items()} == {lost: "no such take"}
    assert (sorted(delivery.files), delivery.cut_off, delivery.left) == (sorted(bodies.keys() - {lost}), [], [])
    assert {file.name: file.sha256 for file in fake.files} == {
        name: hashlib.sha256(body).hexdigest() for name, body in bodies.items() if name != lost
    }
    assert not any((tmp_path / name).exists() for name in bodies)


def test_what_is_rendered_is_delivered_and_removed(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = recipe("bounded_producer", monkeypatch=monkeypatch)
    assert module.main([*TAKES, "nope.mov"]) == 1
    shown = capsys.readouterr()
    assert [line.partition(":")[0] for line in sorted(shown.out.splitlines())] == list(TAKES)
    assert shown.err == "nope.mov: failed: [Errno 2] No such file or directory: 'nope.mov'\n"
    assert list(Path().glob("*.rendered")) == []
    assert sorted(file.name for file in fake.files if file.complete) == ["take-07.rendered", "take-08.rendered"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM from another process")
def test_a_sigterm_begins_nothing_new_and_the_next_run_continues_what_was_cut_off(
    fake: FakeFrameio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRACE", "0.05")
    module = recipe("bounded_producer", monkeypatch=monkeypatch)
    sources = [f"{number}.mov" for number in range(5)]
    for source in sources:
        Path(source).write_bytes(source.encode() * 10_000)
    fake.add_fault(hold := Fault(do="hold", times=None))

    def stop() -> None:
        fake.wait_until(lambda fake: sum(seen.operation == "part" for seen in fake.requests) == 4)
        os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as thread:
        stopping = thread.submit(stop)
        status = module.main(sources)
        stopping.result()
    assert status == 128 + signal.SIGTERM
    shown = capsys.readouterr()
    assert (shown.out, sorted(shown.err.splitlines())) == (
        "",
        [f"{source}: cut off; the same command continues it" for source in sources[:4]]
        + [f"{source}: not begun" for source in sources[4:]],
    )
    begun = {file.id for file in fake.files}
    fake.release(hold)
    assert module.main(sources) == 0
    assert [line.partition(":")[0] for line in sorted(capsys.readouterr().out.splitlines())] == sources
    assert (len(fake.files), begun <= {file.id for file in fake.files if file.complete}) == (5, True)


def test_the_recipe_reports_a_file_that_was_made_after_the_signal(
    fake: FakeFrameio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = recipe("bounded_producer", monkeypatch=monkeypatch)

    async def deliver() -> Any:
        stop = asyncio.Event()

        async def make(source: str) -> Path:
            stop.set()
            return tmp_path / source

        return await module.deliver(list(TAKES), stop, make, at_once=1)

    delivery = asyncio.run(deliver())
    assert (delivery.cut_off, delivery.left, delivery.failures) == (["take-07.mov"], ["take-08.mov"], {})
    assert fake.files == ()


def test_the_page_names_every_recipe() -> None:
    assert sorted(path.name for path in RECIPES.glob("*.py")) == sorted(
        line.split("](")[1].split(")")[0] for line in text_of(PAGE).splitlines() if line.startswith("| [")
    )
