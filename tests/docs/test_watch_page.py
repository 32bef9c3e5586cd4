"""The service definitions of docs/how-to/watch-folder.md are valid, and start a command that exists."""

from __future__ import annotations

import plistlib
import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import typer.main

from aioframeio_upload._cli.app import app
from aioframeio_upload._core.watching import is_temporary
from tests.support.pages import ROOT

pytestmark = pytest.mark.needs_tree

PAGE = ROOT / "docs" / "how-to" / "watch-folder.md"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return str(found)


def parsed(command: str) -> dict[str, Any]:
    """Return the parameters of a command line that begins with the program; raise if it would refuse them."""
    _, name, *arguments = shlex.split(command)
    group: Any = typer.main.get_command(app)
    context = group.commands[name].make_context(name, arguments)
    return {"command": name, **context.params}


def unit() -> ConfigParser:
    found = ConfigParser(interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]  # the way to keep the case of its keys
    found.read_string(block("ini"))
    return found


def test_the_unit_starts_a_command_that_exists() -> None:
    service = unit()["Service"]
    assert parsed(service["ExecStart"])["command"] == "watch"
    assert str(parsed(service["ExecStart"])["journal"]).startswith("/var/lib/" + service["StateDirectory"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.needs_program
@pytest.mark.parametrize("is_broken", [False, True])
def test_systemd_accepts_the_unit(tmp_path: Path, is_broken: bool) -> None:
    text = block("ini").replace(shlex.split(unit()["Service"]["ExecStart"])[0], "/bin/true")  # it has to be installed
    text = text.replace("User=frameio", "User=root")
    path = tmp_path / "frameio-watch.service"
    path.write_text(text.replace("TimeoutStopSec=10min", "TimeoutStopSec=ten minutes") if is_broken else text)
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, encoding="utf-8", timeout=50)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "frameio-watch" in line]
    assert bool(complaints) == is_broken, complaints


def test_the_launchd_job_is_a_property_list_that_starts_a_command_that_exists() -> None:
    job = plistlib.loads(block("xml").encode())
    *shell, script = job["ProgramArguments"]
    assert shell == ["/bin/sh", "-c"]
    assert parsed(script.partition("exec ")[2])["command"] == "watch"
    assert job["KeepAlive"] == {"SuccessfulExit": False}
    assert (job["RunAtLoad"], job["ExitTimeOut"]) == (True, 600)


def test_the_temporary_names_of_the_page_are_those_that_are_left_out() -> None:
    (row,) = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if "temporary name and renamed" in line)
    patterns = [pattern for pattern in re.findall(r"`([^`]+)`", row) if pattern.startswith(("*", "~"))]
    assert len(patterns) > 10
    for pattern in patterns:
        assert is_temporary(pattern.replace("????????-??????", "01234567-abcdef").replace("*", "name")), pattern
