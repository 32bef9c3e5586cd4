"""What Sentry, rich or pytest show of an error: the local variables of every frame in its traceback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.pretty import pretty_repr

TESTS = str(Path(__file__).resolve().parents[1])


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error and every other that hangs on it, shown or hidden; of a folder, those of its files as well."""
    seen: list[BaseException | None] = [error]
    for one in seen:
        if one is None:
            continue
        yield one
        members: list[BaseException] = list(one.exceptions) if isinstance(one, BaseExceptionGroup) else []
        result = getattr(one, "result", None)
        members += [failure.error for failure in getattr(result, "failures", ())]
        seen += [other for other in (one.__cause__, one.__context__, *members) if other not in seen]


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """Every frame that hangs on an error, but those of the tests: they are the caller's, who knows the secrets."""
    for one in chain_of(error):
        entry = one.__traceback__
        while entry is not None:
            if not entry.tb_frame.f_code.co_filename.startswith(TESTS):
                yield entry.tb_frame
            entry = entry.tb_next


def renderings(value: Any, depth: int = 2) -> Iterator[str]:
    """A value as the trackers show it: its `repr`, and what is in a container or a record."""
    yield repr(value)
    yield pretty_repr(value, max_string=80, max_length=20)
    if depth == 0:
        return
    inner: Iterable[Any] = ()
    if isinstance(value, Mapping):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)[:20]
    elif is_dataclass(value) and not isinstance(value, type):
        inner = [getattr(value, field.name) for field in fields(value) if hasattr(value, field.name)]
    for one in inner:
        yield from renderings(one, depth - 1)


def shown_by(error: BaseException, *secrets: str) -> list[str]:
    """Where a secret can be seen: in a message, a note, or a variable of a frame."""
    found = []
    for one in chain_of(error):
        words = [str(one), repr(one), repr(vars(one)), *getattr(one, "__notes__", ())]
        found += [f"{one!r}" for text in words for secret in secrets if secret in text]
    for frame in frames_of(error):
        for name, value in frame.f_locals.items():
            if any(secret in text for text in renderings(value) for secret in secrets):
                found.append(f"{frame.f_code.co_qualname}: {name}")
    return sorted(set(found))
