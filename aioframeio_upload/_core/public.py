"""The decorator for public classes: it names the module from which users import them."""

from __future__ import annotations

import inspect
from dataclasses import Field, fields, is_dataclass
from typing import Any, TypeVar

C = TypeVar("C", bound=type)

PUBLIC_MODULE = __name__.partition(".")[0]


def public(kind: C) -> C:
    """Set the `__module__` of a class of `aioframeio_upload.__all__` to the package.

    Pickles and tracebacks then contain the public name, which stays when a class is moved to another module. Must
    be the outermost decorator, because `dataclass(slots=True)` makes a second class.
    """
    # `typing.get_type_hints` and pydantic evaluate annotations in the module that a class names, and the package does
    # not have all names that they use. So they are evaluated here; `locals`, because a class may refer to itself.
    annotations = inspect.get_annotations(kind, locals={kind.__name__: kind}, eval_str=True)
    kind.__annotations__ = annotations
    for field in _fields(kind):
        field.type = annotations.get(field.name, field.type)  # pydantic reads this one
    # Not in the class's body: there `dataclass` would read the package's variables instead of the module's. And CPython
    # 3.13 removes `__firstlineno__` on this assignment. Without it `inspect.getsource(kind)` raises OSError, as in 3.11
    # (and as for httpx's and trio's classes); with it, it would return lines of `__init__.py`. Methods are found.
    kind.__module__ = PUBLIC_MODULE
    return kind


def _fields(kind: type) -> tuple[Field[Any], ...]:
    return fields(kind) if is_dataclass(kind) else ()
