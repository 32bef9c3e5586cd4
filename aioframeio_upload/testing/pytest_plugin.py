"""The pytest fixture `fake_frameio`: a fake in a thread of its own, for every async plugin and for none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from . import FakeFrameio


@pytest.fixture
def fake_frameio() -> Iterator[FakeFrameio]:
    """Serve Frame.io and its S3 on loopback while the test runs."""
    from ._fake import FakeFrameio

    with FakeFrameio().in_thread() as fake:
        yield fake
