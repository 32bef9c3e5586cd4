"""A fake of Frame.io and its S3 on loopback, for tests: it refuses what they refuse, and fails on request."""

from ._fake import FakeFrameio
from ._faults import Fault
from ._ims import FakeIms
from ._observe import SeenRequest
from ._store import FakeFile

__all__ = ["FakeFile", "FakeFrameio", "FakeIms", "Fault", "SeenRequest"]

# Pickles and tracebacks contain the public name, which stays when a class is moved to another module. The modules of
# these classes do without `from __future__ import annotations`, because `typing.get_type_hints` and pydantic would then
# look for an annotation's names here. (The fake imports nothing of the library, so `_core/public.py` is not used.)
for _kind in (FakeFile, FakeFrameio, FakeIms, Fault, SeenRequest):
    _kind.__module__ = __name__
