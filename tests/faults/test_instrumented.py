"""Tools of a host that trace requests or show variables see no link and no token, and add no header to a request.

With the real packages: OpenTelemetry, Sentry and Datadog, each in a process of its own (tests/support/instrumented.py),
installed before the library is imported, afterwards, and removed again; Rich and pytest.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.traceback import Traceback

from aioframeio_upload import RetryPolicy, UploadError
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import PART, on_disk, some_bytes, uploader_on
from tests.support.instrumented import CONTROL

ROOT = Path(__file__).resolve().parents[2]


def credentials_in(text: str, fake: FakeFrameio) -> list[str]:
    """Return the surroundings of each link and token; no other value of these tests has 64 hexadecimal digits."""
    pattern = f"X-Amz-|[0-9a-f]{{64}}|{re.escape(fake.token)}"
    return [text[max(0, found.start() - 400) : found.end() + 100] for found in re.finditer(pattern, text)]


FAULTS = [
    Fault(name="denied", number=2, status=403, times=None, message="{link} {token}"),
    Fault(name="reset", do="reset", number=2, after=70_000, times=None),
    Fault(name="garbled", do="garbled", number=2, times=None),
    Fault(name="redirected", do="redirect", number=2),
    Fault(name="astray", do="redirect", number=2, times=None, location="http://[::1"),
    Fault(name="early", do="early", number=2, status=500, after=10_000, times=None, message="{link}"),
    Fault(on="create", name="unmade", status=403, times=None, message="{token}"),
    Fault(on="create", name="unanswered", do="reset", times=None),
    Fault(on="status", name="unconfirmed", status=500, times=None, message="{token}"),
    Fault(name="held", do="hold", times=None),
]

OURS = {
    *("Host", "User-Agent", "Accept", "Accept-Encoding", "Authorization"),
    *("Content-Type", "Content-Length", "x-amz-acl", "Expect"),
}
"""Every header that the library and aiohttp itself send."""

UPLOADED = ["fine: ok", "denied: PartRejected", "reset: PartExhausted", "garbled: PartExhausted", "redirected: ok"]


async def run(fake: FakeFrameio, tool: str, when: str, environment: dict[str, str]) -> dict[str, Any]:
    """Run the program to its end and return what it prints."""
    for fault in FAULTS:
        fake.add_fault(fault)
    arguments = [tool, when, fake.url, fake.account_id, fake.folder_id]
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tests.support.instrumented", *arguments),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "FRAMEIO_TOKEN": fake.token} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stdout, stderr = await running.communicate()
    assert running.returncode == 0, stderr.decode()[-3000:]
    found: dict[str, Any] = json.loads(stdout)
    return found


def check(fake: FakeFrameio, found: dict[str, Any], when: str) -> None:
    exported: str = found["exported"]
    assert found["ended"][:5] == UPLOADED
    assert sum(line.endswith(": ok") for line in found["ended"]) >= 4
    assert CONTROL in exported, "the tool was not at work"
    assert not credentials_in(exported, fake)
    ours = [
        seen for seen in fake.requests if seen.operation != "unknown" and "aioframeio" in seen.headers["User-Agent"]
    ]
    assert {seen.operation for seen in ours} >= {"part", "create", "status", "delete"}
    for seen in ours:
        assert set(seen.headers) <= OURS, seen.operation


@pytest.mark.needs_program
@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "when"),
    [
        ("opentelemetry", "before"),
        ("opentelemetry", "after"),
        ("opentelemetry", "removed"),
        ("sentry", "before"),
        ("sentry", "after"),
    ],
)
async def test_a_tool_that_traces_aiohttp_sees_no_credential_of_an_upload(
    fake: FakeFrameio, tool: str, when: str
) -> None:
    check(fake, await run(fake, tool, when, {}), when)


@pytest.mark.needs_program
@pytest.mark.slow
@pytest.mark.skipif(
    "DDTRACE_PATH" not in os.environ, reason="DDTRACE_PATH names no folder with ddtrace (nox -s ddtrace)"
)
@pytest.mark.parametrize("when", ["before", "after", "removed"])
async def test_datadog_sees_no_credential_of_an_upload(fake: FakeFrameio, when: str) -> None:
    place = f"{ROOT}{os.pathsep}{os.environ['DDTRACE_PATH']}"
    quiet = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "0", "DD_REMOTE_CONFIGURATION_ENABLED": "0"}
    check(fake, await run(fake, "ddtrace", when, {"PYTHONPATH": place, **quiet}), when)


@pytest.mark.parametrize("fault", [*FAULTS[:3], FAULTS[6]], ids=lambda fault: fault.name)
async def test_rich_shows_no_credential_among_the_variables_of_a_traceback(fake: FakeFrameio, fault: Fault) -> None:
    fake.add_fault(fault)
    async with uploader_on(fake, retry=RetryPolicy(attempts=2, base=0.01, cap=0.02)) as uploader:
        with pytest.raises(UploadError) as caught:
            await uploader.upload(some_bytes(3 * PART), name=str(fault.name), folder_id=fake.folder_id)
    text = on_disk(shown_by_rich, caught.value)
    assert "locals" in text
    assert not credentials_in(text, fake)


def shown_by_rich(error: BaseException) -> str:
    console = Console(record=True, width=400, file=io.StringIO())
    how: dict[str, Any] = {"show_locals": True, "locals_max_length": None, "locals_max_string": None}
    console.print(Traceback.from_exception(type(error), error, error.__traceback__, **how))
    return console.export_text()


FAILING = """
import os

from aioframeio_upload import Uploader


async def test_that_fails():
    account, url = os.environ["ACCOUNT"], os.environ["URL"]
    async with Uploader(os.environ["FRAMEIO_TOKEN"], account_id=account, base_url=url) as one:
        plan = await one.plan(b"x" * (3 << 20), name="denied", folder_id=os.environ["FOLDER"])
        await one.execute(plan, b"x" * (3 << 20))
"""


@pytest.mark.needs_program
async def test_pytest_shows_no_credential_among_the_variables_of_a_failed_test(
    fake: FakeFrameio, tmp_path: Path
) -> None:
    fake.add_fault(FAULTS[0])
    on_disk((tmp_path / "test_failing.py").write_text, FAILING)
    options = ["--showlocals", "-vv", "--tb=long", "-o", "anyio_mode=auto", "-p", "no:cacheprovider"]
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", *options, "test_failing.py"),
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "FRAMEIO_TOKEN": fake.token, "URL": fake.url}
        | {"ACCOUNT": fake.account_id, "FOLDER": fake.folder_id},
        stdout=subprocess.PIPE,
    )
    stdout, _ = await running.communicate()
    shown = stdout.decode()
    assert "PartRejected" in shown
    assert "plan       = Plan(" in shown
    assert not credentials_in(shown, fake)
