"""The rules for the whole package: its names, its docstrings, where each module's tests are, and what is public."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import aioframeio_upload

TREE = Path(__file__).resolve().parents[2]
PACKAGE = Path(aioframeio_upload.__file__).resolve().parent
NAME = PACKAGE.name

VAGUE = {"manager", "handler", "helper", "util", "utils", "coordinator", "processor", "info", "data"}


def modules(folder: Path = PACKAGE) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


EVERY = modules()
OURS = [path for path in EVERY if "testing" not in path.relative_to(PACKAGE).parts]
TESTING = modules(PACKAGE / "testing")


def breaches(rule: Callable[[Path], object], paths: list[Path]) -> dict[str, object]:
    """Return the violations of a rule, by module."""
    return {module_of(path): found for path in paths if (found := rule(path))}


@pytest.mark.needs_tree
def test_nothing_is_printed() -> None:
    def prints(path: Path) -> bool:
        calls = [node.func for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
        return "print" in {call.id for call in calls if isinstance(call, ast.Name)}

    assert not breaches(prints, EVERY)


WRITES = re.compile(r"""sys\.(?:__)?std(?:out|err)|typer\.(?:secho|echo)|[^\w"]Console\(|\bos\.write\(""")


@pytest.mark.needs_tree
def test_only_one_module_writes_to_the_terminal() -> None:
    """It escapes control characters, and survives the loss of the terminal."""
    above = [path for path in OURS if module_of(path).startswith(("__main__", "_cli", "_demo"))]
    assert set(breaches(lambda path: WRITES.findall(path.read_text("utf-8")), above)) == {"_cli/output"}


@pytest.mark.needs_tree
def test_no_comment_postpones_work() -> None:
    assert not breaches(lambda path: re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", path.read_text("utf-8")), EVERY)


@pytest.mark.needs_tree
def test_no_name_contains_a_vague_word() -> None:
    """Checked are the names of modules, classes and functions; parameters and JSON keys may come from elsewhere."""

    def vague(path: Path) -> set[str]:
        named = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        names = {path.stem, *(node.name for node in ast.walk(parse(path)) if isinstance(node, named))}
        return {name for name in names if VAGUE & {word.lower() for word in WORD.findall(name)}}

    assert not breaches(vague, EVERY)


WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


HOMES = {
    "_core/instrumentation": "engine/test_opentelemetry",
    "_cli/browse": "cli/test_app",
    "_cli/commands": "cli/test_app",
    "_cli/line_display": "cli/test_app",
    "_cli/dry_run": "cli/test_app",
    "_cli/exit_status": "cli/test_app",
    "_cli/ims": "cli/test_stored_login",
    "_cli/keyrings": "cli/test_login_store",
    "_cli/loopback": "cli/test_login",
    "_cli/loop": "cli/test_signals",
    "_cli/options": "cli/test_format",
    "_cli/runner": "cli/test_signals",
    "_cli/service": "cli/test_route",
    "_cli/typed_lines": "cli/test_login",
    "_cli/upload": "cli/test_app",
    "_cli/usage_error": "cli/test_app",
    "_cli/upload_view": "cli/test_app",
    "_core/api_schema": "core/test_listing",
    "_core/dry_run": "engine/test_dry_run",
    "_core/file_queue": "core/test_folder_state",
    "_core/words": "cli/test_words",
    "_core/progress": "core/test_part_state",
    "_core/receipts": "core/test_batches",
    "_core/remote_records": "engine/test_remote_tree",
    "_dask/sender": "dask/test_dask",
    "_dask/worker": "dask/test_dask",
    "_demo/drawing": "demo/test_demo",
    "_demo/report": "demo/test_state",
    "_engine/cleanup": "faults/test_cancel_everywhere",
    "_engine/confirm_batch": "engine/test_folder",
    "_engine/job": "engine/test_upload",
    "_engine/pending": "engine/test_resume",
    "_engine/remote_folders": "engine/test_folder",
    "_io/atomic_write": "cli/test_report",
    "_io/buffers": "io/test_part_payload",
    "_io/claims": "io/test_ownership",
    "_io/journal": "io/test_journal_sqlite",
    "_io/original": "engine/test_verify",
    "_io/proxies": "io/test_session",
    "_io/tree_path": "io/test_walk",
    "_plot/layout": "plot/test_model",
    "_plot/render": "plot/test_plot",
    "testing/_account": "fake/test_frameio",
    "testing/_exchange": "fake/test_faults",
    "testing/_json": "fake/test_frameio",
    "testing/_observe": "fake/test_fake",
    "testing/_routes": "fake/test_frameio",
    "testing/_server": "fake/test_fake",
    "testing/_spool": "fake/test_s3",
    "testing/_store": "fake/test_frameio",
    "testing/_wire": "fake/test_faults",
    "testing/pytest_plugin": "fake/test_fake",
}
"""The tests of each module without its own test file: it is tested together with the code that uses it."""

LAYERS = {"testing": "fake", "dask": "dask", "plot": "plot", "opentelemetry": "engine", "watch": "engine"}
"""The folder of a module's tests, if it is not the package's name without the underscore."""


@pytest.mark.needs_tree
def test_a_modules_tests_are_where_its_name_says_or_where_the_list_says() -> None:
    """`_io/walk.py` is tested in `tests/io/test_walk.py`; the modules in the root, in `tests/engine`."""

    def own(name: str) -> str:
        first, _, rest = name.rpartition("/")
        folder = LAYERS.get(first or rest, first.strip("_") or "engine")
        return f"{folder}/test_{rest.strip('_')}"

    tests = {path.relative_to(TREE / "tests").with_suffix("").as_posix() for path in modules(TREE / "tests")}
    named = {module_of(path) for path in EVERY if path.stem not in ("__init__", "__main__", "_version")}
    assert {name for name in named if own(name) not in tests} == set(HOMES), "a module without tests, or a stale row"
    assert set(HOMES.values()) <= tests


@pytest.mark.needs_tree
def test_every_module_begins_with_a_docstring() -> None:
    def unsaid(path: Path) -> bool:
        return not (ast.get_docstring(parse(path)) or "").split("\n")[0].endswith((".", ":"))

    assert not breaches(unsaid, EVERY)


@pytest.mark.needs_tree
def test_no_tracked_file_has_the_address_of_a_registry() -> None:
    """A lock file or a pip option of one machine would name its registry, mirror or proxy."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TREE, capture_output=True, check=True)
    files = [TREE / name for name in listed.stdout.decode().split("\0") if name]
    others = [path for path in files if path.is_file() and path != Path(__file__).resolve()]
    assert len(others) > 50
    assert not [path for path in others if REGISTRY.search(path.read_text(encoding="utf-8", errors="replace"))]


REGISTRY = re.compile(
    r"\b(extra-)?index-url|find-links|pypi\.org/simple|files\.pythonhosted|registry\.npmjs|/opt/pypi"
    r"|artifactory|devpi|proxy\.golang|PIP_(EXTRA_)?INDEX_URL|UV_(DEFAULT_)?INDEX",
    re.IGNORECASE,
)


# -- what is public --------------------------------------------------------------------------------------------------

PUBLIC = {name: getattr(aioframeio_upload, name) for name in aioframeio_upload.__all__}
CLASSES = {name: found for name, found in PUBLIC.items() if isinstance(found, type)}


def test_all_is_sorted_and_complete() -> None:
    assert aioframeio_upload.__all__ == sorted(set(aioframeio_upload.__all__))
    told = {alias.name for node in ast.walk(parse(PACKAGE / "__init__.py")) for alias in names_of_ours(node)}
    assert told == set(aioframeio_upload.__all__)
    assert set(aioframeio_upload.__all__) <= set(dir(aioframeio_upload))
    with pytest.raises(AttributeError, match="no attribute 'Uplaoder'"):
        _ = aioframeio_upload.Uplaoder  # type: ignore[attr-defined]


def names_of_ours(node: ast.AST) -> list[ast.alias]:
    """Return the names that type checkers see as imported from our modules; each is loaded on first use."""
    return node.names if isinstance(node, ast.ImportFrom) and node.level else []


@pytest.mark.needs_tree
def test_a_name_that_is_loaded_when_asked_for_is_the_one_that_type_checkers_see() -> None:
    seen = {
        alias.name: getattr(importlib.import_module(f"{NAME}.{node.module}"), alias.name)
        for node in ast.walk(parse(PACKAGE / "__init__.py"))
        for alias in names_of_ours(node)
        if isinstance(node, ast.ImportFrom)
    }
    assert seen == {name: getattr(aioframeio_upload, name) for name in aioframeio_upload.__all__}


def test_every_error_of_the_tree_and_every_event_is_public() -> None:
    from aioframeio_upload._core.errors import UploadError

    def tree(kind: type[UploadError]) -> Iterator[type[UploadError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from tree(child)

    ours = {kind.__name__ for kind in tree(UploadError) if kind.__module__ == NAME}
    events = {kind.__name__ for kind in typing.get_args(aioframeio_upload.Event)}
    assert ours | events <= set(PUBLIC)


def functions(kind: type) -> Iterator[tuple[str, FunctionType]]:
    """Yield the functions that a class has from our files, without those that `dataclass` generated."""
    for each in kind.__mro__:
        for name, value in vars(each).items():
            found = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if isinstance(found, FunctionType) and found.__code__.co_filename.startswith(str(PACKAGE)):
                yield f"{kind.__name__}.{name}", found


def test_every_public_class_and_method_has_a_docstring() -> None:
    bare = [name for name, kind in CLASSES.items() if not kind.__doc__ or kind.__doc__.startswith(f"{name}(")]
    for kind in CLASSES.values():
        public = {name: found for name, found in functions(kind) if not name.partition(".")[2].startswith("_")}
        bare += [name for name, found in public.items() if not found.__doc__]
    assert not bare


SECTION = re.compile(r"^(Args|Returns|Raises|Yields):$", re.MULTILINE)


def test_a_docstring_that_explains_arguments_explains_those_that_there_are() -> None:
    """Google style: each name under `Args:` is a parameter, and each parameter is there."""
    wrong = {}
    documented: list[tuple[str, Any]] = [*CLASSES.items()]
    for kind in CLASSES.values():
        documented += functions(kind)
    for name, found in documented:
        pieces = SECTION.split(inspect.getdoc(found) or "")
        if "Args" not in pieces:
            continue
        explained = re.findall(r"^    \**(\w+):", pieces[pieces.index("Args") + 1], re.MULTILINE)
        if explained != [one for one in inspect.signature(found).parameters if one not in ("self", "cls")]:
            wrong[name] = explained
    assert not wrong


def test_the_annotations_of_public_names_resolve_when_the_program_runs() -> None:
    """FastAPI, pydantic and others read them at run time, where a name imported under TYPE_CHECKING is missing."""
    without = {}
    for kind in CLASSES.values():
        typing.get_type_hints(kind)
        for name, found in functions(kind):
            named = {one for one in inspect.signature(found).parameters if one not in ("self", "cls")} | {"return"}
            if missing := named - set(typing.get_type_hints(found)):
                without[name] = missing
    assert not without


def test_the_examples_in_docstrings_run() -> None:
    failed = {}
    for path in OURS:
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        if module_of(path).startswith(("_cli", "_demo", "dask", "_dask", "plot", "_plot")):
            continue  # they need an extra
        failed[name] = doctest.testmod(importlib.import_module(name)).failed
    # In their modules doctest skips public classes, because their `__module__` is the package.
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder(exclude_empty=True)
    for name, kind in CLASSES.items():
        for test in finder.find(kind, name, module=False, globs=dict(PUBLIC)):
            failed[name] = runner.run(test).failed
    assert not any(failed.values()), failed
    assert set(CLASSES) <= set(failed)


SIDE_EFFECTS = """
import socket, sys, threading
before = set(sys.modules), threading.active_count()
def refuse(*args, **kwargs):
    raise AssertionError("a socket was made")
made = socket.socket.__init__
socket.socket.__init__ = refuse
import aioframeio_upload
early = {"aiohttp", "asyncio", "dataclasses", "logging"} & set(sys.modules)
early |= {name for name in sys.modules if name.startswith("aioframeio_upload.")} - {"aioframeio_upload._version"}
from aioframeio_upload import *
socket.socket.__init__ = made
assert not early, early
assert threading.active_count() == before[1] == 1, threading.enumerate()
import asyncio
try:
    asyncio.get_running_loop()
except RuntimeError:
    pass
else:
    raise AssertionError("a loop runs")
unwanted = {"aioframeio_upload.testing", "rich", "typer", "frameio", "pytest", "botocore", "uvloop"}
unwanted |= {"aioframeio_upload.plot", "aioframeio_upload.dask", "matplotlib", "numpy", "distributed"}
unwanted |= {"sqlite3", "filelock"}  # for a journal only
unwanted |= {"multiprocessing", "unittest", "doctest", "pdb", "httpx", "requests"}
print(*sorted(unwanted & set(sys.modules)))
"""


@pytest.mark.needs_program
@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("opentelemetry", "opentelemetry", "otel"), ("dask", "distributed", "dask"), ("plot", "matplotlib", "plot")],
)
def test_a_module_whose_package_is_missing_names_its_extra(
    module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"aioframeio_upload.{module}", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # which refuses a module that is None
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'aioframeio-upload\[{extra}\]'") as caught:
        importlib.import_module(f"aioframeio_upload.{module}")
    assert caught.value.name == package


def test_importing_the_package_starts_nothing_and_loads_no_extra() -> None:
    ran = subprocess.run([sys.executable, "-P", "-W", "error", "-c", SIDE_EFFECTS], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "", "")
