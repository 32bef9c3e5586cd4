"""The README: its programs run, its tables tell what the code has, and nothing public is missing from it."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from aiohttp.test_utils import TestClient, TestServer
from blockbuster import BlockBuster
from pages import NEEDS_CLUSTER, ROOT, blocks, run
from yarl import URL

import aioframeio_upload
import aioframeio_upload.testing
from aioframeio_upload import Event, Limits, RetryPolicy, Timeouts, Uploader
from aioframeio_upload._core import errors
from aioframeio_upload.testing import FakeFrameio

pytestmark = pytest.mark.needs_tree

README = ROOT / "README.md"


@pytest.fixture
def fake(fake_frameio: FakeFrameio) -> Iterator[FakeFrameio]:
    """One that asks for small parts; the plugin's own is for the block that tests."""
    with FakeFrameio(part_size=100_000).in_thread() as fake:
        yield fake


@pytest.fixture
def names(fake: FakeFrameio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the README's blocks take as given: a token, ids, takes in the working folder, and a service to reach."""

    class Local(Uploader):
        def __init__(self, token: Any, *, base_url: str = fake.url, **settings: Any) -> None:
            super().__init__(token, base_url=base_url, **settings)

    monkeypatch.setattr(aioframeio_upload, "Uploader", Local)
    monkeypatch.setenv("FRAMEIO_TOKEN", fake.token)
    monkeypatch.setenv("FRAMEIO_ACCOUNT_ID", fake.account_id)
    monkeypatch.setenv("FRAMEIO_FOLDER", fake.folder_id)
    monkeypatch.chdir(tmp_path)
    for take in ("take-07.mov", "take-08.mov"):
        (tmp_path / take).write_bytes(take.encode() * 50_000)
    (tmp_path / "shoot" / "b").mkdir(parents=True)
    for path in ("a.mov", "b/c.mov", "b/d.tmp"):
        (tmp_path / "shoot" / path).write_bytes(path.encode())
    # Any address that answers with a length will do for a render to be passed on.
    return {
        "token": fake.token,
        "ACCOUNT": fake.account_id,
        "FOLDER": fake.folder_id,
        "render_url": f"{fake.url}/_fake/files",
    }


@pytest.fixture
def beside(block: str, names: dict[str, Any], tmp_path: Path, blockbuster: BlockBuster) -> Iterator[None]:
    """The cluster that a block takes as given, if it does."""
    if NEEDS_CLUSTER not in block:
        yield
        return
    pytest.importorskip("distributed")
    from cluster import cluster_of, may_block

    may_block(blockbuster)
    with cluster_of(1, tmp_path) as address:
        names["SCHEDULER"] = address
        yield


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("block", list(blocks(README)))
def test_each_python_block_runs(
    block: str,
    names: dict[str, Any],
    fake: FakeFrameio,
    fake_frameio: FakeFrameio,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(block, README, names, monkeypatch)
    for name, test in names.items():
        if name.startswith("test_"):
            test(fake_frameio)
    if "app" in names:
        asyncio.run(ask(names["app"]))
    if "take-99" in block:
        assert capsys.readouterr().out.startswith("nothing to send: take-99.mov: ")
        return
    arrived = [*fake.files, *fake_frameio.files]
    assert arrived
    fake.wait_until(lambda fake: all(file.complete for file in fake.files))


async def ask(app: Any) -> None:
    """Use the README's web application: one take that is there, one that is not."""
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/takes/take-07.mov")
        assert (answer.status, (await answer.json())["name"]) == (202, "take-07.mov")
        answer = await client.post(URL("/takes/%2Fetc%2Fpasswd", encoded=True))
        assert answer.status == 502
        assert "passwd: No such file" in (await answer.json())["message"]
        answer = await client.post("/takes/take-99.mov")
        assert (answer.status, (await answer.json())["type"]) == (502, "SourceError")


def test_the_first_program_is_the_first_block_and_short() -> None:
    first = next(blocks(README)).values[0].strip()
    assert first.endswith("asyncio.run(main())")
    assert len(first.splitlines()) < 15


def rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading, by its first cell."""
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in table}


def test_the_settings_are_those_of_the_code() -> None:
    """A row for each field, in the code's order, with its default."""
    told = [(name, row[0].strip("`")) for name, row in rows("Settings").items()]
    assert told == [
        (f"{kind.__name__}.{field.name}", repr(field.default))
        for kind in (Limits, Timeouts, RetryPolicy)
        for field in dataclasses.fields(kind)
    ]


def test_every_argument_of_the_uploader_is_told() -> None:
    section = README.read_text(encoding="utf-8").split("\n## Settings\n", 1)[1]
    call = section[section.index("`Uploader(") :].split("`.\n", 1)[0]
    assert re.findall(r"(\w+)=", call.replace("True", "")) == list(inspect.signature(Uploader).parameters)[1:]
    assert "check_etags=True" in call
    assert inspect.signature(Uploader).parameters["check_etags"].default is True


def test_the_events_are_those_of_the_code() -> None:
    told = {name: re.findall(r"`(\w+)`", row[0]) for name, row in rows("Watching an upload").items()}
    assert told == {kind.__name__: [field.name for field in dataclasses.fields(kind)] for kind in get_args(Event)}


def test_the_error_tree_is_the_one_in_the_code() -> None:
    """Of which the errors' own test holds that it is true."""
    tree = re.search(r"^```\n(UploadError\n.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert tree is not None
    assert tree[1] in inspect.cleandoc(errors.__doc__ or "").replace("\n    ", "\n").replace(
        "    UploadError", "UploadError"
    )


@pytest.mark.parametrize(
    "name", sorted({*aioframeio_upload.__all__, *aioframeio_upload.testing.__all__} - {"__version__"})
)
def test_every_public_name_is_mentioned(name: str) -> None:
    assert re.search(rf"\b{name}s?\b", README.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name",
    sorted(
        {f".{name}" for kind in (Uploader, aioframeio_upload.Upload) for name in vars(kind) if not name.startswith("_")}
        - {".send", ".throw", ".close", ".name"}
    ),
)
def test_every_public_method_is_mentioned(name: str) -> None:
    """But those that make an Upload a coroutine."""
    assert re.search(rf"\b{name[1:]}\b", README.read_text(encoding="utf-8"))


def test_every_runtime_package_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [re.split(r"[<>=~ ]", requirement)[0] for requirement in project["dependencies"]]
    assert required
    assert "It stands on " + ", ".join(required[:-1]) + " and " + required[-1] in README.read_text(encoding="utf-8")


def test_the_commands_exist() -> None:
    """Sessions of the noxfile, and modules that can be run."""
    text = README.read_text(encoding="utf-8")
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    sessions = set(re.findall(r"python3 run\.py (\w+)", text))
    assert sessions == {"demo", "tests"}
    for session in sessions:
        assert re.search(rf"^def {session}\(session", noxfile, re.MULTILINE)
    modules = set(re.findall(r"python -m (aioframeio_upload[.\w]*)", text))
    assert modules == {"aioframeio_upload", "aioframeio_upload.testing"}
    for module in modules:
        assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()


def test_the_links_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors
        else:
            assert (ROOT / target).exists(), target
