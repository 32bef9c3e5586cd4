"""The command line as a child process with its own environment, against a fake in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from aioframeio_upload.testing import FakeFrameio
from tests.support.json_lines import read_line

OTHERS = ("FRAMEIO_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that may be set on this machine, but on which no test may depend."""


class Program:
    """The command line, run in its own folder, which also holds its state."""

    def __init__(self, fake: FakeFrameio, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        usual = {name: value for name, value in os.environ.items() if not name.upper().startswith(OTHERS)}
        self.environment = usual | {
            "FRAMEIO_TOKEN": fake.token,
            "FRAMEIO_ACCOUNT_ID": fake.account_id,
            "FRAMEIO_BASE_URL": fake.url,
            "PYTHONUTF8": "1",
            # From these, platformdirs derives the state folder on Linux, Windows and macOS.
            **dict.fromkeys(("XDG_STATE_HOME", "LOCALAPPDATA", "WIN_PD_OVERRIDE_LOCAL_APPDATA"), str(self.state)),
        }

    def start(
        self,
        *arguments: str,
        environment: Mapping[str, str | None] | None = None,
        before: tuple[str, ...] = (),
        **how: int,
    ) -> subprocess.Popen[str]:
        """Start a command, optionally through a program `before` it; variables that are None are removed."""
        changed = self.environment | dict(environment or {})
        given = {name: value for name, value in changed.items() if value is not None}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
        command = [*before, sys.executable, "-m", "aioframeio_upload", *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=given, encoding="utf-8", **pipes)  # type: ignore[call-overload,no-any-return]

    def run(self, *arguments: str, environment: Mapping[str, str | None] | None = None) -> tuple[int, str, str]:
        """Run a command to its end; return its exit status, stdout and stderr. Lines of JSON fit their schema."""
        with self.start(*arguments, environment=environment) as running:
            stdout, stderr = running.communicate(timeout=50)
        if "--json" in arguments:
            for line in stdout.splitlines():
                read_line(line)
        return running.returncode, stdout, stderr
