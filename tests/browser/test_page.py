"""The FastAPI example in a real browser: what is dropped arrives, whatever happens to page, server and network."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload.testing import FakeFrameio, Fault
from tests.docs.test_example_apps import acknowledged, folders_of, serving

playwright = pytest.importorskip("playwright.sync_api", reason="the session `browser` installs it")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the session `browser` installs it")

pytestmark = [pytest.mark.needs_program, pytest.mark.needs_tree]

PATIENCE = 30_000
"""Milliseconds."""

PART = 750_000

TAKES = {"take-07.mov": 3_000_000, "take-08.mov": 30_000_000, "take-09.mov": 3_000_000}


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """In place of the suite's own: Playwright runs a loop of its own under this thread, which may block."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium; Playwright's own download is not needed."""
    program = shutil.which("chromium")
    assert program is not None, "apt-get install chromium"
    # For a test of DNS rebinding: a name that somebody else owns, and points at this machine.
    arguments = ["--host-resolver-rules=MAP *.example 127.0.0.1"]
    # As root, in a container, there is no sandbox to be had.
    arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page; an error of its script fails the test."""
    context = browser.new_context(viewport={"width": 800, "height": 640})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: dialog.accept())
    yield page
    context.close()
    assert errors == []


@contextmanager
def app(
    state: Path, *faults: Fault, part_size: int = PART, stitch_polls: int = 0
) -> Iterator[tuple[FakeFrameio, Callable[..., Any]]]:
    """Yield a fake Frame.io, and a context that runs the server, each time at the same address."""
    # Another program would have to take the port between two servers.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        here = {"PORT": str(free.getsockname()[1]), "STATE": str(state / "unfinished")}
    fake = FakeFrameio(part_size=part_size, faults=faults, stitch_polls=stitch_polls, rate_limits=False)
    with fake.in_thread():
        yield fake, lambda **environment: serving("fastapi_app/app.py", fake, **here, **environment)


@pytest.fixture
def takes(tmp_path: Path) -> dict[str, Path]:
    """Files on disk, by name."""
    return made(tmp_path / "takes", TAKES)


def made(folder: Path, sizes: dict[str, int]) -> dict[str, Path]:
    """Write files of random bytes into a folder, at their paths."""
    paths = {name: folder / name for name in sizes}
    for name, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(sizes[name]))
    return paths


def drop(page: Any, *paths: Path) -> None:
    """Drop files and folders on the page, as a file manager does: through the browser, not by an event of a script."""
    session = page.context.new_cdp_session(page)
    what = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 120, "data": what})


def row_of(page: Any, name: str) -> Any:
    return page.locator("li", has=page.get_by_text(name, exact=True))


def says(locator: Any, text: str, patience: int = PATIENCE) -> None:
    playwright.expect(locator).to_contain_text(text, timeout=patience)


def is_done(*rows: Any) -> None:
    for row in rows:
        playwright.expect(row.get_by_role("link")).to_be_visible(timeout=PATIENCE)
        assert row.locator("progress").evaluate("bar => bar.value") == 1


def digests(paths: dict[str, Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths.values()}


def arrived(fake: FakeFrameio) -> dict[str, str | None]:
    assert all(file.complete for file in fake.files)
    return {file.name: file.sha256 for file in fake.files}


def picture(page: Any, name: str, otherwise: Path) -> None:
    """Save a picture for the documentation; into the test's folder unless PICTURES names another."""
    page.screenshot(full_page=True, path=str(Path(os.environ.get("PICTURES", otherwise)) / name))


def serious(page: Any) -> list[str]:
    """Return what axe-core finds, but for what it calls minor or moderate."""
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def test_dropped_files_are_uploaded_and_their_bars_fill(page: Any, takes: dict[str, Path], tmp_path: Path) -> None:
    """Two are there, one is half-way, one is paused and one has failed when the pictures are taken."""
    # Of 40 parts eight are in flight when no more are acknowledged, and the browser is held back with them.
    held = Fault(name="take-08.mov", do="hold", first=15, times=None)
    paused = Fault(name="take-10.mov", do="hold", first=2, times=None)
    refused = Fault(name="take-11.mov", number=2, code="AccessDenied")
    takes |= made(tmp_path / "takes", {"take-10.mov": 4_000_000, "take-11.mov": 1_500_000})
    with app(tmp_path, held, paused, refused) as (fake, server), server() as (url, _):
        page.goto(url)
        assert serious(page) == []
        drop(page, *takes.values())
        playwright.expect(page.locator("li")).to_have_count(5)
        assert [row.locator(".name").text_content() for row in page.locator("li").all()] == sorted(takes)
        fake.wait_until(lambda fake: fake.hits(paused) > 0, timeout=20)
        row_of(page, "take-10.mov").get_by_role("button", name="Pause").click()
        says(row_of(page, "take-10.mov"), "paused")
        fake.wait_until(lambda fake: fake.hits(held) >= 2, timeout=20)
        is_done(row_of(page, "take-07.mov"), row_of(page, "take-09.mov"))
        says(row_of(page, "take-11.mov"), "AccessDenied")
        half = row_of(page, "take-08.mov")
        says(half.locator(".state"), "55")
        assert half.locator("progress").evaluate("bar => bar.value") == pytest.approx(22 / 40)
        playwright.expect(page.locator("#summary")).to_contain_text("2 of 5 files at Frame.io")
        # Behind its bar, of what Frame.io has, the paused one shows what the server has.
        bar = row_of(page, "take-10.mov").locator(".bar")
        here = bar.evaluate("bar => parseFloat(getComputedStyle(bar, '::before').width) / bar.clientWidth")
        assert bar.locator("progress").evaluate("bar => bar.value") < here
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert serious(page) == [], scheme
            picture(page, "page.png" if scheme == "light" else "page-dark.png", tmp_path)
        fake.release(held)
        fake.release(paused)
        row_of(page, "take-10.mov").get_by_role("button", name="Resume").click()
        row_of(page, "take-11.mov").get_by_role("button", name="Retry").click()
        is_done(*(row_of(page, name) for name in takes))
        links = {name: row_of(page, name).get_by_role("link").get_attribute("href") for name in takes}
        assert {file.name: links[file.name].rpartition("/")[2] for file in fake.files} == {
            file.name: file.id for file in fake.files
        }
        assert arrived(fake) == digests(takes)
        page.get_by_role("button", name="Remove finished").click()
        playwright.expect(page.locator("li")).to_have_count(0)


@pytest.mark.timeout(240)
def test_a_folder_of_folders_and_three_hundred_files_arrives(page: Any, tmp_path: Path) -> None:
    """The browser lists a hundred at a time, and the library keeps to the documented rates of the API: a minute."""
    names = {f"shoot/day {n % 3}/cam {n % 2}/frame-{n:03}.dpx": 1000 + n for n in range(300)}
    paths = made(tmp_path, names)
    made(tmp_path, {"shoot/.DS_Store": 10, "shoot/day 1/Thumbs.db": 10, "shoot/day 1/empty.dpx": 0})
    with app(tmp_path) as (fake, server), server() as (url, _):
        page.goto(url)
        drop(page, tmp_path / "shoot")
        says(page.locator("#summary"), "300 of 300 files at Frame.io", 4 * PATIENCE)
        says(page.locator("#notice"), "Left out, because they are empty: empty.dpx.")
        says(page.locator("#notice"), "Hidden and system files that were left out: 2.")
        assert serious(page) == []
        folders = folders_of(fake)
        where = {f"{folders[file.folder_id or '']}/{file.name}": file.sha256 for file in fake.files}
        assert where == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
        assert len(folders) == len(set(folders.values())) == 10
        # Dropped again: all are there already.
        drop(page, tmp_path / "shoot")
        says(page.locator("#notice"), "At Frame.io already: 300 of 300.")
    assert len(fake.files) == 300


def test_a_folder_is_chosen_without_a_mouse(page: Any, tmp_path: Path) -> None:
    paths = made(tmp_path, {"shoot/a.mov": 1000, "shoot/sub/b.mov": 1000})
    made(tmp_path, {"shoot/sub/.hidden": 10})
    with app(tmp_path) as (fake, server), server() as (url, _):
        page.goto(url)
        page.get_by_label("choose a folder").set_input_files(tmp_path / "shoot")
        is_done(row_of(page, "shoot/a.mov"), row_of(page, "shoot/sub/b.mov"))
        assert sorted(folders_of(fake).values()) == ["shoot", "shoot/sub"]
        assert arrived(fake) == digests(paths)


@pytest.mark.skipif(sys.platform == "win32", reason="where a process can only be killed")
@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"], ids=["stopped", "killed"])
def test_a_bar_goes_on_after_the_server_was(page: Any, takes: dict[str, Path], tmp_path: Path, end: str) -> None:
    held = Fault(do="hold", first=15, times=None)
    take = takes["take-08.mov"]
    with app(tmp_path, held) as (fake, server):
        with server(GRACE="0") as (url, process):
            page.goto(url)
            drop(page, take)
            row = page.locator("li")
            fake.wait_until(lambda fake: fake.hits(held) >= 2, timeout=20)
            process.send_signal(getattr(signal, end))
            process.wait(50)
        playwright.expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible(timeout=PATIENCE)
        assert row.locator("progress").evaluate("bar => bar.value") < 1
        assert serious(page) == []
        fake.release(held)
        with server():
            is_done(row)
            playwright.expect(page.locator("#offline")).to_be_hidden()
        assert arrived(fake) == {"take-08.mov": digests(takes)["take-08.mov"]}
        twice = [number for number, times in acknowledged(fake).items() if times > 1]
        # A part that S3 has acknowledged in the very moment of the kill may have left no receipt.
        assert (len(twice) <= 8, set(acknowledged(fake)), fake.deleted) == (True, set(range(1, 41)), ())


def test_a_reload_in_the_middle_keeps_the_list_and_what_was_sent(
    page: Any, takes: dict[str, Path], tmp_path: Path
) -> None:
    """What the server has arrives by itself; the rest is chosen again, and is the same upload."""
    held = Fault(name="take-08.mov", do="hold", first=15, times=None)
    with app(tmp_path, held) as (fake, server), server() as (url, _):
        page.goto(url)
        drop(page, *takes.values())
        is_done(row_of(page, "take-07.mov"), row_of(page, "take-09.mov"))
        fake.wait_until(lambda fake: fake.hits(held) >= 2, timeout=20)
        page.reload()
        playwright.expect(page.locator("li")).to_have_count(3)
        is_done(row_of(page, "take-07.mov"), row_of(page, "take-09.mov"))
        row = row_of(page, "take-08.mov")
        says(row.locator(".note"), "choose or drop it again")
        assert serious(page) == []
        sent, under_way = acknowledged(fake), fake.hits(held)
        fake.release(held)
        with page.expect_file_chooser() as chooser:
            row.get_by_role("button", name="Choose again").click()
        chooser.value.set_files(takes["take-08.mov"])
        is_done(row)
        playwright.expect(page.locator("li")).to_have_count(3)
        assert arrived(fake) == digests(takes)
        again = acknowledged(fake) - sent
        assert sum(again.values()) <= 40 + 2 * under_way - sum(sent.values()), "no acknowledged part goes again"
        assert fake.deleted == ()


def test_what_the_server_has_received_needs_neither_the_page_nor_that_server(
    page: Any, takes: dict[str, Path], tmp_path: Path
) -> None:
    held = Fault(do="hold", first=2, times=None)
    take = takes["take-07.mov"]
    with app(tmp_path, held) as (fake, server):
        with server(GRACE="0") as (url, process):
            page.goto(url)
            drop(page, take)
            says(page.locator("li .note"), "needs this page no more")
            page.goto("about:blank")
            process.kill()
            process.wait(50)
        fake.release(held)
        with server() as (url, _):
            fake.wait_until(lambda fake: all(file.complete for file in fake.files), timeout=50)
            page.goto(url)
            is_done(page.locator("li"))
        assert arrived(fake) == {"take-07.mov": digests(takes)["take-07.mov"]}


def test_a_paused_upload_lets_others_go_first_and_goes_on_after_a_reload(
    page: Any, takes: dict[str, Path], tmp_path: Path
) -> None:
    """Four files are paused at once, which is more than are sent at once; the fifth goes through."""
    big = made(tmp_path / "big", {f"big-{n}.mov": 12_000_000 for n in range(4)})
    held = Fault(do="hold", first=2, times=None)
    with app(tmp_path, held) as (fake, server), server() as (url, _):
        page.goto(url)
        drop(page, *big.values())
        playwright.expect(page.locator("li")).to_have_count(4)
        fake.wait_until(lambda fake: fake.hits(held) > 3, timeout=20)
        page.get_by_role("button", name="Pause all").click()
        for name in big:
            says(row_of(page, name), "paused")
        fake.release(held)
        drop(page, takes["take-07.mov"])
        is_done(row_of(page, "take-07.mov"))
        assert {file.name for file in fake.files if file.complete} == {"take-07.mov"}
        page.reload()
        says(row_of(page, "big-0.mov"), "paused")
        drop(page, *big.values())
        page.get_by_role("button", name="Resume all").click()
        is_done(*(row_of(page, name) for name in big))
        assert arrived(fake) == digests(big | {"take-07.mov": takes["take-07.mov"]})
        assert fake.deleted == ()


def test_a_cancelled_upload_is_deleted_and_can_be_sent_again(page: Any, takes: dict[str, Path], tmp_path: Path) -> None:
    held = Fault(do="hold", first=15, times=None)
    with app(tmp_path, held) as (fake, server), server() as (url, _):
        page.goto(url)
        drop(page, takes["take-08.mov"])
        fake.wait_until(lambda fake: fake.hits(held) >= 2, timeout=20)
        row = page.locator("li")
        row.get_by_role("button", name="Cancel").click()
        says(row, "cancelled")
        fake.wait_until(lambda fake: len(fake.deleted) == 1, timeout=20)
        assert fake.files == ()
        fake.release(held)
        row.get_by_role("button", name="Retry").click()
        is_done(row)
        assert arrived(fake) == {"take-08.mov": digests(takes)["take-08.mov"]}
        row.get_by_role("button", name="Remove").click()
        playwright.expect(row).to_have_count(0)


def test_a_file_that_changed_after_it_was_dropped_is_named(page: Any, takes: dict[str, Path], tmp_path: Path) -> None:
    """It waits behind others meanwhile; what was not sent as it was is not sent at all."""
    held = Fault(do="hold", times=None)
    big = made(tmp_path / "big", {f"big-{n}.mov": 40_000_000 for n in range(3)})
    with app(tmp_path, held) as (fake, server), server() as (url, _):
        page.goto(url)
        drop(page, *big.values(), takes["take-07.mov"])
        fake.wait_until(lambda fake: fake.hits(held) > 3, timeout=20)
        takes["take-07.mov"].write_bytes(b"another take")
        fake.release(held)
        says(row_of(page, "take-07.mov").locator(".note"), "it has changed since it was chosen")
        is_done(*(row_of(page, name) for name in big))
        assert arrived(fake) == digests(big)


HOSTILE = (
    "<img src=x onerror=alert(1)>.mov",
    "<script>document.title='pwned'<\\script>.mov",
    "\u202evom.exe",
    "'\"; DROP TABLE takes; --.mov",
    "{{7*7}}${7*7}.mov",
    "%2e%2e%2fetc%2fpasswd",
    "a\\..\\b.mov",
    "line\nbreak.mov",
    "javascript:alert(1)",
    "é" * 100 + ".mov",
)


def test_script_and_path_tricks_in_names_are_only_names(page: Any, tmp_path: Path) -> None:
    """On disk under exactly these names, in folders that are called like them."""
    tricks = {f"<b onclick=alert(1)>folder/{name}": 1000 + n for n, name in enumerate(HOSTILE)}
    paths = made(tmp_path, tricks)
    with app(tmp_path) as (fake, server), server() as (url, _):
        page.goto(url)
        drop(page, tmp_path / "<b onclick=alert(1)>folder")
        says(page.locator("#summary"), f"{len(HOSTILE)} of {len(HOSTILE)} files at Frame.io")
        assert page.locator("li img, li script, li b").count() == 0
        assert page.evaluate("document.title") == "To Frame.io"
        assert serious(page) == []
        names = {file.name for file in fake.files}
        assert {
            "<img src=x onerror=alert(1)>.mov",
            "vom.exe",
            "b.mov",
            "linebreak.mov",
            "%2e%2e%2fetc%2fpasswd",
        } <= names
        assert not any(char in name for name in names for char in "/\\\n\u202e")
        assert sorted(file.sha256 or "" for file in fake.files) == sorted(digests(paths).values())
        assert list(folders_of(fake).values()) == ["<b onclick=alert(1)>folder"]
        shown = page.locator("#list").text_content()
        assert "\u202e" not in shown
        picture(page, "hostile-names.png", tmp_path)


ATTACKS = """async ([url, list, key]) => {
    const done = [];
    const attempt = async (what, request) => {
        const answer = await request().catch(error => error);
        done.push(what, answer instanceof Response ? answer.type + answer.status : answer.name);
    };
    const form = new FormData();
    form.append("files", new File(["theirs"], "theirs.mov"));
    const one = `${url}/lists/${list}/${key}`;
    for (const mode of ["cors", "no-cors"]) {
        for (const address of [`${url}/lists/${list}`, one]) {
            await attempt(`form ${mode}`, () => fetch(address, {method: "POST", mode, body: form}));
            await attempt(`text ${mode}`, () => fetch(address, {method: "POST", mode, body: "[]"}));
        }
    }
    for (const method of ["PUT", "PATCH", "DELETE"]) await attempt(method, () => fetch(one, {method, body: "{}"}));
    await attempt("events", () => fetch(`${url}/lists/${list}/events`));
    const opened = new Promise(resolve => {
        const source = new EventSource(`${url}/lists/${list}/events`);
        source.onopen = () => resolve("open");
        source.onerror = () => resolve("closed");
    });
    const script = new Promise(resolve => {
        const element = Object.assign(document.createElement("script"), {src: `${url}/static/page.js`});
        element.onload = () => resolve("loaded");
        element.onerror = () => resolve("refused");
        document.head.append(element);
    });
    return [done, await opened, await script];
}"""

FORM = """<!doctype html><title>Win a camera</title><form method="post" enctype="multipart/form-data"
action="{url}/lists/{list}/{key}"><input name="files" value="theirs"></form><iframe src="{url}/"></iframe>"""


@contextmanager
def another_site(body: str) -> Iterator[str]:
    """Serve a page on another port, which is another site's."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        try:
            yield str(site.server_port)
        finally:
            site.shutdown()
            thread.join()


@pytest.mark.parametrize("host", ["http://evil.example", "http://127.0.0.1", "http://localhost"])
def test_another_site_cannot_drive_the_page(page: Any, takes: dict[str, Path], tmp_path: Path, host: str) -> None:
    """Not even one that knows the list and the key of an upload; of a site on this machine it is another port."""
    held = Fault(do="hold", first=15, times=None)
    with app(tmp_path, held) as (fake, server), server() as (url, _):
        page.goto(url)
        drop(page, takes["take-08.mov"])
        fake.wait_until(lambda fake: fake.hits(held) >= 2, timeout=20)
        (record,) = (tmp_path / "unfinished").glob("*/*.upload")
        target = {"url": url, "list": record.parent.name, "key": record.stem}
        other = page.context.new_page()
        with another_site(FORM.format(**target)) as port:
            other.goto(f"{host}:{port}/")
            done, events, script = other.evaluate(ATTACKS, list(target.values()))
            assert (events, script) == ("closed", "refused")
            assert set(done[1::2]) <= {"TypeError", "opaque0"}, done
            assert other.frame_locator("iframe").get_by_text("Drop files").count() == 0, "it is in no frame"
            with other.expect_navigation() as navigation:
                other.evaluate("document.forms[0].submit()")
            assert navigation.value.status == 403
        other.close()
        says(page.locator("li .note"), "keep this page open")
        fake.release(held)
        is_done(page.locator("li"))
        assert arrived(fake) == {"take-08.mov": digests(takes)["take-08.mov"]}


def test_a_name_that_was_pointed_at_this_machine_gets_no_page(page: Any, tmp_path: Path) -> None:
    """DNS rebinding: for the browser it is that name's own site, so only the server can tell."""
    with app(tmp_path) as (fake, server), server() as (url, _):
        port = url.rpartition(":")[2]
        assert page.goto(f"http://rebound.example:{port}/").status == 400
        statuses = page.evaluate(
            """async () => {
                const one = `/lists/${"0".repeat(32)}`, statuses = [];
                for (const method of ["GET", "PUT", "POST", "PATCH", "DELETE"])
                    for (const path of [one, `${one}/${"0".repeat(32)}`, "/static/page.js"])
                        statuses.push((await fetch(path, {method})).status);
                return statuses;
            }"""
        )
        assert set(statuses) == {400}
        assert page.goto(f"http://localhost:{port}/").status == 200
    assert fake.files == ()


def test_the_keyboard_alone_pauses_resumes_cancels_and_removes(
    page: Any, takes: dict[str, Path], tmp_path: Path
) -> None:
    """The focus is always somewhere, also when what had it is gone."""
    held = Fault(do="hold", first=15, times=None)

    def focused() -> str:
        return str(page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"))

    def tab_to(label: str) -> None:
        for _ in range(20):
            if focused() == label:
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{label} is not reached: {focused()}")

    with app(tmp_path, held) as (fake, server), server() as (url, _):
        page.goto(url)
        page.keyboard.press("Tab")
        assert focused() == "files"
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Space")
        chooser.value.set_files(takes["take-08.mov"])
        row = page.locator("li")
        fake.wait_until(lambda fake: fake.hits(held) >= 2, timeout=20)
        tab_to("Pause take-08.mov")
        page.keyboard.press("Enter")
        says(row, "paused")
        says(page.get_by_role("status"), "take-08.mov is paused")
        assert focused() == "Resume take-08.mov"
        fake.release(held)
        page.keyboard.press("Space")
        is_done(row)
        says(page.get_by_role("status"), "1 of 1 files at Frame.io")
        assert focused() == "Remove take-08.mov"
        page.keyboard.press("Enter")
        playwright.expect(row).to_have_count(0)
        assert focused() == "files"
        assert arrived(fake) == {"take-08.mov": digests(takes)["take-08.mov"]}


def test_the_page_is_whole_on_a_small_screen_and_at_twice_the_size(
    page: Any, takes: dict[str, Path], tmp_path: Path
) -> None:
    long = made(tmp_path / "long", {f"{'a-very-long-name-' * 12}.mov": 1000})
    with app(tmp_path) as (_, server), server() as (url, _process):
        page.set_viewport_size({"width": 320, "height": 640})
        page.goto(url)
        drop(page, takes["take-07.mov"], *long.values())
        is_done(*page.locator("li").all())
        playwright.expect(page.locator("li")).to_have_count(2)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, "WCAG 1.4.10: no scrolling sideways"
        assert serious(page) == []
        picture(page, "page-small.png", tmp_path)
