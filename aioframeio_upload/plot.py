"""What happened to uploads, as a picture: a bar an attempt over time, and the throughput below (extra `plot`)."""

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
"""What a picture's name may end in."""

if find_spec("matplotlib") is None:
    # Here, where a program begins, and not after an upload of hours; it is loaded when there is something to draw.
    raise ModuleNotFoundError("a timeline needs matplotlib: pip install 'aioframeio-upload[plot]'", name="matplotlib")


class Timeline:
    """What uploads do, as their events tell it, to be drawn at any time.

    Each attempt at a part is a bar from its begin to its end, by what became of it; of a folder's upload, whose parts
    are not told, each file is one. Below is the throughput, in which bytes that are sent again do not count.

    Many parts share rows, and very many uploads one block, so that a picture fits on a page. The first 20,000 attempts
    are remembered; the picture says how many more there were. It holds names and times, no link and no token.

    >>> async def main(uploader, folder):
    ...     timeline = Timeline()
    ...     async with uploader.upload("take-07.mov", folder_id=folder) as upload:
    ...         await timeline.watch(upload)
    ...     await timeline.draw("take-07.svg")
    """

    def __init__(self) -> None:
        self._course = UploadHistory()

    def add(self, event: Event, source: str = "", *, at: float | None = None) -> None:
        """Take in an event, for those who listen to the upload anyway.

        Args:
            event: What was told; each event once.
            source: Which upload it is about, as it is to be named. Where there is only one, it has a name already.
            at: When, in seconds of any clock that does not go back; by default now.
        """
        self._course.take(event, source, source, time.monotonic() if at is None else at)

    async def watch(self, upload: Upload | FolderUpload, source: str | None = None) -> None:
        """Take in all that an upload tells, until its end. As any listener it starts it, and raises no error of it.

        Args:
            upload: Whose. What it told before is drawn as if it were told now.
            source: What it is to be called; by default its name.
        """
        name, key = upload.name if source is None else source, object()
        async for event in upload:
            self._course.take(event, key, name, time.monotonic())

    async def draw(self, path: str | os.PathLike[str]) -> None:
        """Draw what was told until now, in a thread, and write it as a whole or not at all.

        What is still under way ends where the last event was told. The same events make the same file.

        Args:
            path: Ends in .svg or .png; it may be on light or dark ground, for it has none of its own.

        Raises:
            ValueError: It ends in something else.
            OSError: It cannot be written there.
        """
        target = Path(path)
        if target.suffix.lower() not in SUFFIXES:
            raise ValueError(f"a timeline is drawn into a file that ends in {' or '.join(SUFFIXES)}")
        course = self._course.copy()
        await asyncio.to_thread(_draw, course, target)


def _draw(course: UploadHistory, path: Path) -> None:
    from ._plot.render import draw  # matplotlib takes half a second, and nobody needs it before

    content = draw(course, compose(course), path.suffix.lower().removeprefix("."))
    write_atomically(path, content)
