"""The README and the tables that began there: they agree with the code. test_pages runs their programs."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from typing import get_args

import pytest

import aioframeio_upload
import aioframeio_upload.testing
from aioframeio_upload import Event, Limits, RetryPolicy, Timeouts, Uploader
from aioframeio_upload._core import errors
from tests.support.pages import DOCS, ROOT, blocks, text_of

pytestmark = pytest.mark.needs_tree

README = ROOT / "README.md"
PROSE = "\n".join(text_of(page) for page in DOCS if page.parent.name != "reference")


def test_the_first_program_is_the_first_block_and_short() -> None:
    first = next(blocks(README)).values[0].strip()
    assert first.endswith("asyncio.run(main())")
    assert len(first.splitlines()) < 15


def test_the_readme_fits_two_screens() -> None:
    """A wide screen has about 60 lines; what does not fit has a page of its own."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130


def rows(page: str) -> dict[str, list[str]]:
    """Return the rows of a page that begin with code, by their first cell."""
    lines = text_of(ROOT / "docs" / page).splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in table}


def test_the_settings_are_those_of_the_code() -> None:
    """There is a row for each field, in the order of the code, with its default."""
    told = [(name, row[0].strip("`")) for name, row in rows("settings.md").items()]
    assert told == [
        (f"{kind.__name__}.{field.name}", repr(field.default))
        for kind in (Limits, Timeouts, RetryPolicy)
        for field in dataclasses.fields(kind)
    ]


def test_every_argument_of_the_uploader_is_mentioned() -> None:
    section = text_of(ROOT / "docs" / "settings.md")
    call = section[section.index("`Uploader(") :].split("`.\n", 1)[0]
    assert re.findall(r"(\w+)=", call.replace("True", "")) == list(inspect.signature(Uploader).parameters)[1:]
    assert 'checksum="auto"' in call
    assert inspect.signature(Uploader).parameters["checksum"].default == "auto"


def test_the_events_are_those_of_the_code() -> None:
    told = {name: re.findall(r"`(\w+)`", row[0]) for name, row in rows("how-to/follow.md").items()}
    assert told == {kind.__name__: [field.name for field in dataclasses.fields(kind)] for kind in get_args(Event)}


def test_the_error_tree_is_the_one_in_the_code() -> None:
    """That the tree in the code is right is tested with the errors."""
    tree = re.search(r"^```\n(UploadError\n.*?)^```$", text_of(ROOT / "docs" / "errors.md"), re.MULTILINE | re.DOTALL)
    assert tree is not None
    assert tree[1] in inspect.cleandoc(errors.__doc__ or "").replace("\n    ", "\n").replace(
        "    UploadError", "UploadError"
    )


@pytest.mark.parametrize(
    "name", sorted({*aioframeio_upload.__all__, *aioframeio_upload.testing.__all__} - {"__version__"})
)
def test_every_public_name_is_in_a_page_beside_the_reference(name: str) -> None:
    assert re.search(rf"\b{name}s?\b", PROSE)


@pytest.mark.parametrize(
    "name",
    sorted(
        {f".{name}" for kind in (Uploader, aioframeio_upload.Upload) for name in vars(kind) if not name.startswith("_")}
        - {".send", ".throw", ".close", ".name"}
    ),
)
def test_every_public_method_is_mentioned(name: str) -> None:
    """Those that make an Upload a coroutine are not."""
    assert re.search(rf"\b{name[1:]}\b", PROSE)


def test_every_runtime_package_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [re.split(r"[<>=~ ]", requirement)[0] for requirement in project["dependencies"]]
    assert required
    assert "It uses " + ", ".join(required[:-1]) + " and " + required[-1] in README.read_text(encoding="utf-8")
