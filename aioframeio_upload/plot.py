"""Draw uploads as a timeline: a bar for each attempt at a part, and the throughput below (extra `plot`)."""

from __future__ import annotations

import asyncio
import os
import time
from importlib.util import find_spec
from pathlib import Path

from ._core.events import Event
from ._io.atomic_write import write_atomically
from ._plot.layout import compose
from ._plot.model import UploadHistory
from ._upload import FolderUpload, Upload

__all__ = ["SUFFIXES", "Timeline"]

SUFFIXES = (".svg", ".png")
"""The file name extensions of a picture."""

if find_spec("matplotlib") is None:
    # Checked on import, so that a program fails at its start, not after hours of uploading. It is loaded for drawing.
    raise ModuleNotFoundError("a timeline needs matplotlib: pip install 'aioframeio-upload[plot]'", name="matplotlib")


class Timeline:
    """A timeline of uploads, recorded from their events. It can be drawn at any time.

    Each attempt at a part is a bar from its start to its end, coloured by its outcome. A folder's upload has no events
    about parts, so each file is a bar. Below is the throughput, without the bytes that were sent again.

    If there are many parts, they share rows; if there are very many uploads, they share one block, so that the picture
    fits on a page. The first 20,000 attempts are recorded, and the picture states how many more there were. It contains
    names and times, but no links and no token.

    >>> async def main(uploader, folder):
    ...     timeline = Timeline()
    ...     async with uploader.upload("take-07.mov", folder_id=folder) as upload:
    ...         await timeline.watch(upload)
    ...     await timeline.draw("take-07.svg")
    """

    def __init__(self) -> None:
        self._history = UploadHistory()

    def add(self, event: Event, source: str = "", *, at: float | None = None) -> None:
        """Record one event, for programs that listen to the upload already.

        Args:
            event: The event. Pass each event once.
            source: The name of its upload in the picture. Not needed if there is only one upload.
            at: Time of the event, in seconds of any monotonic clock; by default now.
        """
        self._history.add(event, source, source, time.monotonic() if at is None else at)

    async def watch(self, upload: Upload | FolderUpload, source: str | None = None) -> None:
        """Record all events of an upload until it ends. Starts the upload, as any listener does; never raises its
        error.

        Args:
            upload: The upload to record. Its earlier events are drawn as if they happened now.
            source: The name of the upload in the picture; by default its own name.
        """
        name, key = upload.name if source is None else source, object()
        async for event in upload:
            self._history.add(event, key, name, time.monotonic())

    async def draw(self, path: str | os.PathLike[str]) -> None:
        """Draw the events recorded so far, in a thread. The file is written completely or not at all.

        Attempts that are still running end at the last event. The same events give the same file.

        Args:
            path: Path of the picture, which ends in .svg or .png. The background is transparent, and the colours suit
                light and dark pages.

        Raises:
            ValueError: The path ends in something else.
            OSError: The file cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() not in SUFFIXES:
            raise ValueError(f"a timeline is drawn into a file that ends in {' or '.join(SUFFIXES)}")
        history = self._history.copy()
        await asyncio.to_thread(_draw, history, target)


def _draw(history: UploadHistory, path: Path) -> None:
    from ._plot.render import draw  # importing matplotlib takes half a second, so not before it is needed

    content = draw(history, compose(history), path.suffix.lower().removeprefix("."))
    write_atomically(path, content)
