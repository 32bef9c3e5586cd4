"""A fake of Frame.io and its S3 on loopback, for tests: it refuses what they refuse, and fails on request."""

from ._fake import FakeFrameio
from ._faults import Fault
from ._observe import SeenRequest
from ._store import FakeFile

__all__ = ["FakeFile", "FakeFrameio", "Fault", "SeenRequest"]
