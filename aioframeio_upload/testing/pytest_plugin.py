"""The pytest fixture `fake_frameio`: a fake in a separate thread, for tests with any async plugin or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from . import FakeFrameio


@pytest.fixture
def fake_frameio() -> Iterator[FakeFrameio]:
    """Serve Frame.io and its S3 on loopback while the test runs."""
    # Imported here, because pytest loads this plugin in every project that has the package installed.
    from ._fake import FakeFrameio

    with FakeFrameio().in_thread() as fake:
        yield fake
