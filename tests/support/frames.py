"""The local variables in every frame of an error's traceback, which Sentry, rich and pytest show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.pretty import pretty_repr

TESTS = str(Path(__file__).resolve().parents[1])


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Return an error and every error linked to it, shown or suppressed; for a folder, those of its files too."""
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
    """Return every frame linked to an error except those of the tests, which know the secrets."""
    for one in chain_of(error):
        entry = one.__traceback__
        while entry is not None:
            if not entry.tb_frame.f_code.co_filename.startswith(TESTS):
                yield entry.tb_frame
            entry = entry.tb_next


def renderings(value: Any, depth: int = 2) -> Iterator[str]:
    """Return a value as error trackers show it: its `repr`, and the content of a container or record."""
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
    """Return the places where a secret can be seen: a message, a note or a variable of a frame."""
    found = []
    for one in chain_of(error):
        words = [str(one), repr(one), repr(vars(one)), *getattr(one, "__notes__", ())]
        found += [f"{one!r}" for text in words for secret in secrets if secret in text]
    for frame in frames_of(error):
        for name, value in frame.f_locals.items():
            if any(secret in text for text in renderings(value) for secret in secrets):
                found.append(f"{frame.f_code.co_qualname}: {name}")
    return sorted(set(found))
