"""Write the pages of `docs/reference/` from the docstrings: `python docs/make_reference.py`.

They are plain Markdown, so that they can be read on a code host, where nothing runs. griffe reads the source, and
nothing is imported, so that the pages are the same on every Python and without the extras.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
PACKAGE = "aioframeio_upload"
LEFT_OUT = {"send", "throw", "close", "fields"}
"""asyncio calls the first three of an Upload, users do not; the last one is the errors' own."""
MADE = {"Uploader", "Journal", "AsyncFrameioUploader", "FakeFrameio", "Timeline", "Telemetry"}
"""Classes that a program makes itself, whose signature is therefore shown; those of records are their fields."""
WIDTH = 100
"""Characters of a signature on one line."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the reference."""

    title: str
    intro: str
    names: tuple[str, ...]
    """In the order of the page, without the name of the package."""
    inherited: bool = field(default=False, kw_only=True)
    """Whether a class shows what it has from its bases."""


PAGES = {
    "uploader": Page(
        "Uploader and uploads",
        "Everything here is imported from `aioframeio_upload`.",
        ("Uploader", "Upload", "FolderUpload", "FolderWatch", "Journal", "AsyncFrameioUploader", "__version__"),
        inherited=True,
    ),
    "records": Page(
        "Settings and records",
        "Everything here is imported from `aioframeio_upload`; all are frozen dataclasses.",
        (
            *("Limits", "Timeouts", "RetryPolicy", "UploadedFile", "UploadStatus", "Verification", "Plan", "Part"),
            *("Receipt", "PendingUpload", "FolderResult", "Statistics", "RemoteAccount", "RemoteWorkspace"),
            *("RemoteProject", "RemoteUser", "RemoteFolder", "DryRunFile", "DryRunFolder", "UnmatchedPattern"),
        ),
    ),
    "events": Page(
        "Events",
        "Everything here is imported from `aioframeio_upload`; all but the union are frozen dataclasses.\n"
        "`to_dict()` returns an event as JSON types: its name under `event`, an error as its own `to_dict()`, a record"
        " as a dict.",
        (
            *("Event", "UploadPlanned", "UploadResumed", "UploadReplanned", "PartStarted", "PartRaced", "PartRetrying"),
            *("PartCompleted", "ApiRetrying", "Progress", "UploadCompleted", "UploadFailed", "FolderPlanned"),
            *("FolderCreated", "FileLeftOut", "FileStarted", "FileCompleted", "FileSkipped", "FileFailed"),
            "FolderCompleted",
        ),
    ),
    "errors": Page(
        "Errors",
        "Everything here is imported from `aioframeio_upload`. A class also has the fields of its base classes.\n"
        "[Errors, and what to do](../errors.md) shows the tree, and [the table of failures](../faults.md) what is"
        " retried before an error is raised.",
        (
            *("UploadError", "SourceError", "SourceChanged", "PlanError", "LinksExpired", "ApiError"),
            *("AuthenticationError", "PermissionDenied", "NotFound", "RateLimited", "PartError", "PartRejected"),
            *("PartExhausted", "IntegrityError", "ConfirmationError", "JournalError", "UploadCancelled"),
            "FolderUploadError",
        ),
    ),
    "testing": Page(
        "The fake",
        "Everything here is imported from `aioframeio_upload.testing`; [The fake](../testing.md) says how to use it,"
        " and [The pytest plugin](../pytest-plugin.md) how to get one in a test.",
        ("testing.FakeFrameio", "testing.Fault", "testing.FakeFile", "testing.SeenRequest", "testing.FakeIms"),
    ),
    "dask": Page(
        "Dask",
        "With the extra `dask`, imported from `aioframeio_upload.dask`; [Send from many machines](../how-to/fleet.md)"
        " says when it is worth it.",
        ("dask.upload_file",),
    ),
    "plot": Page(
        "Timeline",
        "With the extra `plot`, imported from `aioframeio_upload.plot`; [Follow an upload](../how-to/follow.md) has an"
        " example.",
        ("plot.Timeline", "plot.SUFFIXES"),
    ),
    "opentelemetry": Page(
        "OpenTelemetry",
        "With the extra `otel`, imported from `aioframeio_upload.opentelemetry`;"
        " [Observability](../how-to/observability.md) lists the spans and metrics.",
        ("opentelemetry.Telemetry",),
    ),
}

PLACES = {name.rpartition(".")[2]: page for page, one in PAGES.items() for name in one.names}
"""The page of each public name."""


def pages() -> dict[str, str]:
    """Return the text of each page, by its name."""
    options: dict[str, Any] = {"warn_unknown_params": True}
    package = griffe.load(
        PACKAGE,
        search_paths=[ROOT],
        docstring_parser="google",
        docstring_options=options,
        allow_inspection=False,
    )
    return {name: write(Writer(package, name, page)) for name, page in PAGES.items()}


def write(writer: Writer) -> str:
    """Return the text of a page, without lines that are empty twice."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(writer.lines())).rstrip("\n") + "\n"


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes one page."""

    package: Any
    name: str
    page: Page

    def lines(self) -> Iterator[str]:
        """Yield the lines of the page."""
        yield "<!-- Written by docs/make_reference.py from the docstrings: change them there. -->"
        yield from ("", f"# {self.page.title}", "", self.page.intro)
        for name in self.page.names:
            found = self.package[name]
            found = found.final_target if found.is_alias else found
            yield from ("", f"## `{name.rpartition('.')[2]}`", "")
            if found.is_class:
                yield from self.class_lines(found)
            elif found.is_function:
                yield from self.function_lines(found, found.name)
            else:
                yield from code(f"{found.name} = {found.value}")
                yield from self.text_lines(found)

    def class_lines(self, found: Any) -> Iterator[str]:
        """Yield the signature, the text, the attributes and the methods of a class."""
        members = found.all_members if self.page.inherited else found.members
        public = [self.target(one) for name, one in members.items() if name[0] != "_" and name not in LEFT_OUT]
        told = {one.name for part in sections(found) if part.kind.value == "attributes" for one in part.value}
        attributes = [one for one in public if one.is_attribute and one.name not in told]
        methods = [one for one in public if one.is_function and one.docstring]
        is_record = "dataclass" in found.labels or any("dataclass" in str(one.value) for one in found.decorators)
        init = found.members.get("__init__")
        if init is not None and not is_record and found.name in MADE:
            yield from code(signature(init, found.name))
        bases = [str(base) for base in found.bases if str(base) in PLACES]
        if bases:
            yield from (f"Derives from {' and '.join(self.link(base) for base in bases)}.", "")
        yield from self.text_lines(found)
        if init is not None and init.docstring and not is_record:
            yield from self.text_lines(init)
        for one in attributes:
            yield self.attribute_line(one)
        for one in methods:
            yield from ("", f"### `{found.name}.{one.name}()`", "")
            yield from self.function_lines(one, one.name)

    def target(self, one: Any) -> Any:
        """Return what an inherited member is."""
        return one.final_target if one.is_alias else one

    def attribute_line(self, one: Any) -> str:
        """Return the line of an attribute: its name, its type, its default, its text."""
        kind = f" (`{one.annotation}`" if one.annotation is not None else " ("
        value = str(one.value) if one.value is not None and "property" not in one.labels else ""
        shown = re.fullmatch(r"field\(default=([^,()]+|\(\)).*\)", value)
        value = shown[1] if shown else ("" if value.startswith("field(") else value)
        if value and "instance-attribute" in one.labels and "class-attribute" not in one.labels:
            value = ""  # assigned in __init__: not a default
        if value:
            kind += f", default `{value}`" if one.annotation is not None else f"default `{value}`"
        text = f": {self.flow(one.docstring.value)}" if one.docstring else ""
        return f"* **`{one.name}`**" + (f"{kind})" if kind != " (" else "") + text

    def function_lines(self, found: Any, name: str) -> Iterator[str]:
        """Yield the signature and the text of a function."""
        prefix = "await " if "async" in found.labels else ""
        yield from code(prefix + signature(found, name))
        yield from self.text_lines(found)

    def text_lines(self, found: Any) -> Iterator[str]:
        """Yield a docstring, section by section."""
        for section in sections(found):
            match section.kind.value:
                case "text":
                    yield from (doctests(self.links(section.value)), "")
                case "parameters" | "attributes":
                    yield from ("Arguments:" if section.kind.value == "parameters" else "Fields:", "")
                    for one in section.value:
                        yield f"* **`{one.name}`**: {self.flow(one.description)}"
                    yield ""
                case "returns" | "yields":
                    for one in section.value:
                        yield from (f"{section.kind.value.capitalize()} {self.flow(one.description)}", "")
                case "raises":
                    yield from ("Raises:", "")
                    for one in section.value:
                        yield f"* {self.link(str(one.annotation))}: {self.flow(one.description)}"
                    yield ""
                case "examples":
                    for kind, text in section.value:
                        yield from code(text) if kind.value == "examples" else (text, "")
                case other:
                    raise SystemExit(f"{found.path}: a section of the kind {other}, which no page shows")

    def flow(self, text: str) -> str:
        """Return a text as an item of a list: its lines are joined, its paragraphs indented."""
        paragraphs = re.split(r"\n\n+", self.links(text.strip()))
        return "\n\n    ".join(" ".join(line.strip() for line in one.splitlines()) for one in paragraphs)

    def link(self, name: str) -> str:
        """Return a public name as a link to where it is described."""
        page = PLACES.get(name)
        if page is None:
            return f"`{name}`"
        return f"[`{name}`]({'' if page == self.name else f'{page}.md'}#{name.lower()})"

    def links(self, text: str) -> str:
        """Return a text in which the links of docstrings lead from here, and the rest is as it was."""
        return re.sub(r"`(\w+)`", lambda found: self.link(found[1]) if found[1] in PLACES else found[0], text)


def sections(found: Any) -> list[Any]:
    """Return the sections of a docstring."""
    return list(found.docstring.parsed) if found.docstring else []


def doctests(text: str) -> str:
    """Return a text in which a session of the interpreter is a block of code."""
    return re.sub(r"^>>> (?:.|\n(?!\n|\Z))*", lambda found: f"```pycon\n{found[0]}\n```", text, flags=re.MULTILINE)


def code(text: str) -> Iterator[str]:
    """Yield a block of code."""
    yield from ("```py", text, "```", "")


def signature(found: Any, name: str) -> str:
    """Return the signature of a function, in one line or in one for each parameter."""
    words = []
    star = False
    for one in found.parameters:
        if one.name in ("self", "cls"):
            continue
        kind = one.kind.value
        if kind == "keyword-only" and not star:
            words.append("*")
            star = True
        star = star or kind == "variadic positional"
        prefix = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        default = f" = {one.default}" if one.default is not None and not prefix else ""
        annotation = f": {one.annotation}" if one.annotation is not None else ""
        words.append(f"{prefix}{one.name}{annotation}{default if annotation else default.replace(' ', '')}")
    returns = f" -> {found.returns}" if found.returns is not None and found.name != "__init__" else ""
    line = f"{name}({', '.join(words)}){returns}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {word}," for word in words), f"){returns}"])


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(PAGES)} pages\n")


if __name__ == "__main__":
    main()
