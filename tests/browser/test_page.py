"""The FastAPI example's page in a real browser: files are dropped, the bars fill, the links appear."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aioframeio_upload.testing import FakeFrameio, Fault
from tests.docs.test_example_apps import serving

playwright = pytest.importorskip("playwright.sync_api", reason="the session `browser` installs it")

pytestmark = [pytest.mark.needs_program, pytest.mark.needs_tree]

PATIENCE = 40_000
"""Milliseconds."""

TAKES = {"take-07.mov": 3_000_000, "take-08.mov": 30_000_000, "take-09.mov": 3_000_000}

DROPPED = """takes => {
    const dropped = new DataTransfer();
    for (const [name, size] of Object.entries(takes)) {
        const bytes = new Uint8Array(size);
        for (let at = 0; at < size; at++) bytes[at] = at % 251;
        dropped.items.add(new File([name, bytes], name));
    }
    return dropped;
}"""


def digest(name: str, size: int) -> str:
    """Of what DROPPED puts into a file: its name, and a pattern."""
    return hashlib.sha256(name.encode() + (bytes(range(251)) * (size // 251 + 1))[:size]).hexdigest()


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """In place of the suite's own: Playwright runs a loop of its own under this thread, which may block."""


@pytest.fixture
def page() -> Iterator[Any]:
    """An empty page of Debian's Chromium; Playwright's own download is not needed."""
    program = shutil.which("chromium")
    assert program is not None, "apt-get install chromium"
    with playwright.sync_playwright() as driver:
        # As root, in a container, there is no sandbox to be had.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        page = browser.new_page(viewport={"width": 800, "height": 560})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def test_dropped_files_are_uploaded_and_their_bars_fill(page: Any, tmp_path: Path) -> None:
    """The first is there, the second half-way and the third still waiting when the picture is taken."""
    # Of 41 parts eight are in flight when no more are acknowledged, and the browser is held back with them.
    held = Fault(name="take-08.mov", do="hold", first=15, times=None)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    with (
        FakeFrameio(part_size=750_000, faults=[held]).in_thread() as fake,
        serving("fastapi_app/app.py", fake, STATE=str(tmp_path)) as (url, _),
    ):
        page.goto(url)
        page.dispatch_event("label", "drop", {"dataTransfer": page.evaluate_handle(DROPPED, TAKES)})
        rows = page.locator("li")
        playwright.expect(rows).to_have_count(3)
        first, second, third = rows.all()
        playwright.expect(first.get_by_role("link")).to_be_visible(timeout=PATIENCE)
        fake.wait_until(lambda fake: fake.hits(held) == 8, timeout=20)
        # 14 and 8 of 41.
        playwright.expect(second.locator(".state")).to_contain_text("54 %", timeout=PATIENCE)
        playwright.expect(third.locator(".state")).to_have_text("waiting")
        page.screenshot(path=os.environ.get("PICTURE", str(tmp_path / "page.png")))
        fake.release(held)
        for row in (first, second, third):
            playwright.expect(row.get_by_role("link")).to_be_visible(timeout=PATIENCE)
            assert row.locator("progress").evaluate("bar => bar.value") == 1
        links = [str(row.get_by_role("link").get_attribute("href")) for row in rows.all()]
        ids = {file.name: file.id for file in fake.files}
        assert [link.rpartition("/")[2] for link in links] == [ids[name] for name in TAKES]
        assert {file.name: file.sha256 for file in fake.files} == {name: digest(name, TAKES[name]) for name in TAKES}
    assert errors == []


def test_a_bar_goes_on_after_the_server_was_stopped_and_started_anew(page: Any, tmp_path: Path) -> None:
    held = Fault(do="hold", first=15, times=None)
    take = {"take-08.mov": TAKES["take-08.mov"]}
    # The same address again, which another program would have to take just in between.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        here = {"PORT": str(free.getsockname()[1]), "STATE": str(tmp_path / "unfinished")}
    with FakeFrameio(part_size=750_000, faults=[held]).in_thread() as fake:
        with serving("fastapi_app/app.py", fake, GRACE="0", **here) as (url, _):
            page.goto(url)
            page.dispatch_event("label", "drop", {"dataTransfer": page.evaluate_handle(DROPPED, take)})
            row = page.locator("li")
            fake.wait_until(lambda fake: fake.hits(held) == 8, timeout=20)
            playwright.expect(row.locator(".state")).to_contain_text("54 %", timeout=PATIENCE)
        playwright.expect(row.locator(".note")).to_contain_text("the server does not answer", timeout=PATIENCE)
        bar = row.locator("progress")
        assert bar.evaluate("bar => bar.value") < 1
        fake.release(held)
        with serving("fastapi_app/app.py", fake, **here):
            playwright.expect(row.get_by_role("link")).to_be_visible(timeout=PATIENCE)
            assert bar.evaluate("bar => bar.value") == 1
        (file,) = fake.files
        assert file.sha256 == digest(*next(iter(take.items())))
        sent = [seen.number or 0 for seen in fake.requests if seen.operation == "part" and seen.status == 200]
        assert (sorted(sent), fake.deleted) == (list(range(1, 42)), ())


def test_what_s3_refuses_is_shown_and_can_be_dropped_again(page: Any, tmp_path: Path) -> None:
    take = {"take-07.mov": TAKES["take-07.mov"]}
    refused = Fault(number=4, code="AccessDenied")
    with (
        FakeFrameio(part_size=750_000, faults=[refused]).in_thread() as fake,
        serving("fastapi_app/app.py", fake, STATE=str(tmp_path)) as (url, _),
    ):
        page.goto(url)
        page.dispatch_event("label", "drop", {"dataTransfer": page.evaluate_handle(DROPPED, take)})
        first, second = page.locator("li").nth(0), page.locator("li").nth(1)
        playwright.expect(first.locator(".note")).to_contain_text("AccessDenied", timeout=PATIENCE)
        playwright.expect(first.locator(".state")).to_have_text("failed")
        page.dispatch_event("label", "drop", {"dataTransfer": page.evaluate_handle(DROPPED, take)})
        playwright.expect(second.get_by_role("link")).to_be_visible(timeout=PATIENCE)
        (file,) = fake.files
        assert file.sha256 == digest(*next(iter(take.items())))
        assert (len(fake.deleted), fake.hits(refused)) == (1, 1)
