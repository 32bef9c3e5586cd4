"""Public classes name the module that users import them from, so that pickles and tracebacks survive moves."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pickle
import subprocess
import sys
import traceback
import typing
from types import ModuleType
from typing import Any

import pytest
from pydantic import TypeAdapter

import aioframeio_upload
import aioframeio_upload.testing

MODULES = [aioframeio_upload, aioframeio_upload.testing]
KINDS: list[Any] = [
    pytest.param(module, name, id=f"{module.__name__.partition('.')[2]}{'.' * (module is not aioframeio_upload)}{name}")
    for module in MODULES
    for name in module.__all__
    if isinstance(getattr(module, name), type)
]


@pytest.mark.parametrize(("module", "name"), KINDS)
def test_a_public_class_names_the_module_it_is_imported_from(module: ModuleType, name: str) -> None:
    kind = getattr(module, name)
    assert (kind.__module__, kind.__qualname__) == (module.__name__, name)


@pytest.mark.parametrize("extra", ["dask", "plot"])
def test_what_an_extra_adds_names_its_module_too(extra: str) -> None:
    pytest.importorskip("distributed" if extra == "dask" else "matplotlib")
    module = importlib.import_module(f"aioframeio_upload.{extra}")
    found = [getattr(module, name) for name in module.__all__]
    assert {one.__module__ for one in found if callable(one)} == {module.__name__}


def test_a_traceback_shows_the_public_name() -> None:
    error = aioframeio_upload.SourceError("empty", path="take.mov")
    assert traceback.format_exception_only(error) == ["aioframeio_upload.SourceError: take.mov: empty\n"]


@pytest.mark.parametrize(("module", "name"), KINDS)
def test_the_annotations_of_a_public_class_resolve(module: ModuleType, name: str) -> None:
    """They are evaluated where the class is defined, because the module that it names does not have their names."""
    kind = getattr(module, name)
    hints = typing.get_type_hints(kind)
    assert hints == typing.get_type_hints(kind, vars(importlib.import_module(home_of(kind))))
    own = inspect.get_annotations(kind, eval_str=True)
    assert not [hint for hint in own.values() if isinstance(hint, str | typing.ForwardRef)]
    if dataclasses.is_dataclass(kind):
        assert {field.name for field in dataclasses.fields(kind)} <= set(hints)
        typing.get_type_hints(vars(kind)["__init__"])


def home_of(kind: type) -> str:
    """Return the module that defines a class: its methods still have that module's variables."""
    written = [found for found in vars(kind).values() if inspect.isfunction(found)]
    return str(written[0].__globals__["__name__"]) if written else kind.__module__


def test_the_source_of_a_public_class_is_not_other_lines() -> None:
    """CPython looks for it in the file of the module that the class names. That it finds none is true of httpx too."""
    for kind in (aioframeio_upload.Uploader, aioframeio_upload.Plan):
        with pytest.raises(OSError, match=r"could not find class definition|source code not available"):
            inspect.getsource(kind)
    source = inspect.getsource(aioframeio_upload.Uploader.upload)
    assert source.lstrip().startswith("def upload(")


def test_pydantic_reads_the_records() -> None:
    """As FastAPI does where a route returns one."""
    plan = aioframeio_upload.Plan("f1", None, "take.mov", 3, (aioframeio_upload.Part(1, 0, 3, "https://s3/1"),))
    kind: TypeAdapter[aioframeio_upload.Plan] = TypeAdapter(aioframeio_upload.Plan)
    assert kind.validate_python(json.loads(kind.dump_json(plan))) == plan


PRIVATE_FIRST = """
import pickle, sys
from aioframeio_upload._core import errors, events, journal, model, remote_records, settings
from aioframeio_upload._io.journal import Journal

file = model.UploadedFile("f1", "take.mov", 3, "a1", "d1", None, None, "uploaded")
failed = errors.PartExhausted("no", number=1, attempts=2)
failed.__cause__ = errors.PartError("busy", number=1, attempts=1)
folder = events.FolderResult((file,), (), (events.FileFailed("a", failed),), ())
values = [
    file, folder, failed, events.UploadCompleted(file), events.FileFailed("a", failed), events.FolderCompleted(folder),
    events.FolderUploadError(folder), events.PartRetrying(1, 1, 0.5, failed), events.UploadFailed(failed),
    errors.ApiError("no", operation="show", status=500), errors.SourceChanged("changed", path="take.mov"),
    journal.PendingUpload("f1", "take.mov", None, "/take.mov", 3, 0, None), settings.Limits(), settings.Timeouts(),
    remote_records.RemoteFolder("d1", "a", None, (remote_records.RemoteFolder("d2", "b"),)), Journal("uploads.sqlite3"),
]
assert "aioframeio_upload._uploader" not in sys.modules
for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    for value in values:
        pickled = pickle.dumps(value, protocol)
        assert b"aioframeio_upload._" not in pickled and b"aioframeio_upload\\n_" not in pickled, (protocol, pickled)
        again = pickle.loads(pickled)
        assert type(again) is type(value), (protocol, value)
        assert str(again) == str(value), (protocol, value)
        if not isinstance(value, errors.UploadError):
            continue
        assert again.to_dict() == value.to_dict() and str(again.__cause__) == str(value.__cause__), (protocol, value)
import aioframeio_upload
assert aioframeio_upload.UploadedFile is model.UploadedFile
sys.stdout.buffer.write(pickle.dumps(values))
"""


def test_pickles_hold_public_names_even_if_a_private_module_was_imported_first() -> None:
    """Every record, event and error; of those that were made here as of those that another process reads."""
    made = subprocess.run([sys.executable, "-c", PRIVATE_FIRST], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr.decode()
    file, *_, journal = pickle.loads(made.stdout)
    assert file == aioframeio_upload.UploadedFile("f1", "take.mov", 3, "a1", "d1", None, None, "uploaded")
    assert journal == aioframeio_upload.Journal("uploads.sqlite3")


@pytest.mark.parametrize("name", [name for name in aioframeio_upload.__all__ if name != "__version__"])
def test_every_public_class_is_pickled_by_its_public_name(name: str) -> None:
    kind = getattr(aioframeio_upload, name)
    if not isinstance(kind, type):
        kind = typing.get_args(kind)  # `Event`
    pickled = pickle.dumps(kind)
    assert pickle.loads(pickled) == kind
    assert b"aioframeio_upload._" not in pickled
