"""Define the job of a client that sends one file: its argument, in JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any, Literal, cast


@dataclass(frozen=True)
class Job:
    """One transfer of all parts of a file."""

    base: str
    file: str
    size: int
    part_size: int
    in_flight: int | None
    """None for the default of `Limits.parts`."""
    ca: str | None = None
    checksum: str = "auto"
    stated: list[dict[str, str]] = field(default_factory=list)
    """What the sink states of each part: its "md5", its "crc64nvme"."""
    loop: str = "asyncio"
    tick: float = 0.0
    """Seconds between two wake-ups of a ticker in the same loop; 0 for no ticker."""

    @property
    def mode(self) -> Literal["auto", "md5", "off"]:
        """The Uploader's `checksum`."""
        return cast('Literal["auto", "md5", "off"]', self.checksum)

    @classmethod
    def from_argument(cls) -> Job:
        """Read the command line."""
        return cls(**json.loads(sys.argv[1]))

    def created(self) -> dict[str, Any]:
        """Return Frame.io's answer to `local_upload`, with links that point to the sink."""
        urls = []
        for number, offset in enumerate(range(0, self.size, self.part_size), 1):
            # In the path, because the library refuses an ETag that quotes the query of a link, where the secrets are.
            stated = self.stated[number - 1] if self.stated else {}
            asked = f"/md5={stated['md5']}" if "md5" in stated else ""
            if "crc64nvme" in stated:
                asked += f"/crc={stated['crc64nvme'].replace('+', '-').replace('/', '_')}"
            size = min(self.part_size, self.size - offset)
            urls.append({"size": size, "url": f"{self.base}/part/{number}{asked}"})
        return {
            "id": "file",
            "name": "source.mov",
            "file_size": self.size,
            "media_type": "application/octet-stream",
            "upload_urls": urls,
        }
