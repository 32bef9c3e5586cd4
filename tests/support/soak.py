"""A soak test: random faults and hostile answers at small sizes, round after round in one process that must not grow.

`python3 run.py soak` runs it for an hour; `python -m tests.support.soak --seconds 120` for two minutes. One Uploader
lives as long as the process; each round has its own service on the same port, because a fake keeps all that it saw.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import random
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from statistics import median
from typing import Any, Literal

import yarl

from aioframeio_upload import (
    Event,
    FolderResult,
    FolderUpload,
    FolderUploadError,
    Limits,
    RetryPolicy,
    Timeouts,
    Upload,
    UploadCancelled,
    UploadedFile,
    Uploader,
    UploadError,
)
from aioframeio_upload.testing import FakeFrameio, Fault
from tests.conftest import OwnError, on_disk, open_descriptors, other_tasks, sha256
from tests.support.hostile import drawn_hostile

PART = 16_384
FILES = 8
"""Uploads in a round, all at once, with half as many part slots."""

TOKENS_LOST = 0.01
"""How often the token callable raises a CancelledError that does not come from a cancellation of the upload."""

Conflict = Literal["create", "skip", "version"]
CONFLICTS: tuple[Conflict, ...] = ("create", "create", "skip", "version")

KINDS = {
    "part": (
        *("answer", "early", "reset", "close", "lose_answer", "stall", "hold", "garbled", "expire", "redirect"),
        *("trickle", "wrong_etag", "no_etag", "odd_etag", "kms", "corrupt"),
    ),
    "create": ("answer", "reset", "close", "lose_answer", "garbled"),
    "status": ("answer", "reset", "close", "lose_answer", "garbled"),
    "delete": ("answer", "reset", "close", "lose_answer", "garbled"),
}
STATUSES = (204, 304, 400, 403, 408, 429, 500, 501, 503)
WAYS = ("await", "await", "watch", "pause", "cancel", "cancel its task", "leave its block")

WARM_UP = 20
"""Rounds after which the process should not grow any more: caches, threads and buffers are filled."""

MOST_GROWTH = 16 << 20
"""Bytes by which the resident set may grow from the first quarter to the last: the allocator's fragmentation."""

MOST_OBJECTS = 1_000
"""Objects of Python between the first quarter and the last: caches of the standard library, and what a round has
just let go. One that each upload left would be thousands within two minutes."""

TOLD_EVERY = 10.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Held:
    """The objects and descriptors that the process holds between two rounds."""

    tasks: int
    descriptors: int
    threads: int
    ours: int
    """Objects of the library's types."""
    objects: int
    resident: int
    """Bytes."""

    @classmethod
    def now(cls) -> Held:
        """Count after a garbage collection; clear the caches of urllib and yarl, which keep the last URLs."""
        urllib.parse.clear_cache()  # type: ignore[attr-defined]  # as test.support does; typeshed has it not
        yarl.cache_clear()
        gc.collect()
        objects = gc.get_objects()
        return cls(
            tasks=tasks(),
            descriptors=len(open_descriptors()),
            threads=threading.active_count(),
            ours=sum(_is_ours(type(one)) for one in objects),
            objects=len(objects),
            resident=on_disk(_resident),
        )


def tasks() -> int:
    """Return the number of tasks, 0 without a running loop."""
    with suppress(RuntimeError):
        return len(other_tasks())
    return 0


OF_CONNECTIONS = {f"aioframeio_upload.{name}" for name in ("_core.congestion", "_io.congestion", "_io.tcp_state")}
"""Modules with a record for each host and each connection. That of a closed connection is forgotten when the next part
begins. How many hosts are met and connections closed differs from round to round."""


def _is_ours(kind: type) -> bool:
    module = getattr(kind, "__module__", None)
    is_ours = isinstance(module, str) and module.startswith("aioframeio_upload.") and ".testing" not in module
    return is_ours and module not in OF_CONNECTIONS


def _resident() -> int:
    if sys.platform != "linux":
        return 0
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


# -- one upload --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One upload, drawn before anything runs, so that its course does not depend on the order of events."""

    content: bytes
    kind: str
    way: str
    after: int
    """The number of events to wait for before acting."""
    conflict: Conflict = "create"

    @classmethod
    def drawn(cls, chance: random.Random) -> Job:
        """Draw a job."""
        content = chance.randbytes(chance.randint(1, 5 * PART))
        return cls(
            content,
            chance.choice(("path", "bytes", "stream")),
            chance.choice(WAYS),
            chance.randint(0, 12),
            chance.choice(CONFLICTS),
        )

    def source(self, path: Path) -> Any:
        """Return the source; if it is a path, write the file."""
        if self.kind == "path":
            on_disk(path.write_bytes, self.content)
            return path
        return self.content if self.kind == "bytes" else self._stream()

    async def _stream(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.content), PART // 3):
            yield self.content[at : at + PART // 3]

    async def run(self, upload: Upload | FolderUpload) -> UploadedFile | FolderResult | str:
        """Return the file or the folder's result, or the name of the error."""
        try:
            match self.way:
                case "await":
                    return await upload
                case "watch":
                    async for _ in upload:
                        pass
                    return upload.result
                case "leave its block":
                    async with upload:
                        await self._some_events(upload)
                        raise OwnError
                case "cancel its task":
                    coroutine: Coroutine[Any, Any, UploadedFile | FolderResult] = upload
                    task = asyncio.create_task(coroutine)
                    await self._some_events(upload)
                    task.cancel()
                    return await task
                case "cancel":
                    await self._some_events(upload)
                    upload.cancel()
                    return await upload
                case _:
                    await self._some_events(upload)
                    upload.pause()
                    resuming = asyncio.get_running_loop().call_later(0.02, upload.resume)
                    try:
                        return await upload
                    finally:
                        resuming.cancel()
        except FolderUploadError as error:
            return error.result
        except (UploadError, OwnError) as error:
            return type(error).__name__
        except asyncio.CancelledError:
            if self.way != "cancel its task":
                raise
            return UploadCancelled.__name__

    async def _some_events(self, upload: Upload | FolderUpload) -> list[Event]:
        seen: list[Event] = []
        async for event in upload:
            seen.append(event)
            if len(seen) > self.after:
                break
        return seen


# -- one round ---------------------------------------------------------------------------------------------------------


def drawn_fault(chance: random.Random) -> Fault:
    """Draw a fault, in most cases one of a part."""
    on = chance.choice(("part", "part", "part", "create", "status", "delete"))
    return Fault(
        on=on,
        do=chance.choice(KINDS[on]),  # type: ignore[arg-type]
        number=chance.choice((None, 1, 2, 3)) if on == "part" else None,
        first=chance.randint(1, 6),
        times=chance.choice((1, 1, 2, 3)),
        after=chance.choice((0, 1, PART // 2, PART)),
        # A 204 to a delete that deletes nothing is not a fault that a client could detect.
        status=chance.choice(STATUSES[1:] if on == "delete" else STATUSES),
        linger=chance.choice((0.0, 0.01)),
        rate=20 * PART,
        headers={"Retry-After": "0.01"},  # an API 429 without one waits for a second at least
    )


def brief(faults: list[Fault]) -> list[tuple[Any, ...]]:
    """Return a line for each fault, enough to tell those of a round apart."""
    return [(one.on, one.do, one.number, one.first, one.times, one.status, (one.body or "")[:80]) for one in faults]


class Soak:
    """A process that uploads in rounds."""

    def __init__(self, seed: int, directory: Path, tell: Callable[[str], object] = str) -> None:
        self.outcomes: Counter[str] = Counter()
        self.rounds = 0
        self.held: list[Held] = []
        """After each round."""
        self.idle = Held.now()
        """Before the first."""
        self._tell = tell
        self.fake: FakeFrameio | None = None
        self._chance = random.Random(seed)
        self._chance_of_tokens = random.Random(seed)
        """A separate generator, because the number of draws depends on timing."""
        self._is_hostile = False
        """False during the first upload, which proves that ETags are MD5s."""
        self._directory = directory
        self._warnings = Warnings()

    async def run(self, seconds: float = inf, most: float = inf) -> None:
        """Run rounds for a time, or a number of them.

        Raises:
            AssertionError: An upload ended in neither its bytes nor an error of ours, or left something behind.
        """
        log = logging.getLogger("aioframeio_upload")
        log.addHandler(self._warnings)
        log.propagate = False
        self.idle = Held.now()
        asyncio.get_running_loop().slow_callback_duration = 60  # inspecting all objects takes long
        began = told = time.monotonic()
        try:
            async with FakeFrameio(rate_limits=False, part_size=PART) as self.fake:
                uploader, port = self._uploader(self.fake), int(self.fake.url.rpartition(":")[2])
                await uploader.__aenter__()
                # A good upload first, after which the ETags of this host are known to be MD5s.
                folder_id, account_id = self.fake.folder_id, self.fake.account_id
                await uploader.upload(b"first", name="first", folder_id=folder_id, account_id=account_id)
                self._is_hostile = True
            try:
                while (now := time.monotonic()) - began < seconds and self.rounds < most:
                    await self._round(uploader, port)
                    await self._nothing_is_left(uploader)
                    found = Held.now()
                    # Without this list itself, which grows by one object in each round.
                    self.held.append(replace(found, objects=found.objects - len(self.held)))
                    if now - told > TOLD_EVERY:
                        told = now
                        self._tell(f"{now - began:6.0f} s, round {self.rounds}: {self.held[-1]}")
            finally:
                await uploader.__aexit__(None, None, None)
        finally:
            log.propagate = True
            log.removeHandler(self._warnings)

    async def _nothing_is_left(self, uploader: Uploader) -> None:
        """Wait for what has ended to be released: callbacks that are due, connections that the peer closed."""
        assert (uploader.uploads, uploader.statistics().in_flight) == ((), 0)
        gc.collect()
        with suppress(TimeoutError):  # then the counts show what is left
            async with asyncio.timeout(10):
                while tasks() > self.idle.tasks or len(open_descriptors()) > self.idle.descriptors:  # noqa: ASYNC110  # callbacks that are due have no event to wait for
                    await asyncio.sleep(0)

    def _uploader(self, fake: FakeFrameio) -> Uploader:
        return Uploader(
            self._token,
            base_url=fake.url,
            limits=Limits(parts=FILES // 2, files=FILES // 2, api_pacing=False),
            retry=RetryPolicy(attempts=4, base=0.005, cap=0.02),
            timeouts=Timeouts(stall=0.5, answer=0.5, confirm=3),
            spool_dir=self._directory,
        )

    async def _token(self) -> str:
        assert self.fake is not None
        if self._is_hostile and self._chance_of_tokens.random() < TOKENS_LOST:
            # A token refresh that several callers share and that one of them has cancelled.
            shared = asyncio.get_running_loop().create_future()
            shared.cancel()
            await shared
        return self.fake.token

    async def _round(self, uploader: Uploader, port: int) -> None:
        """Upload some files through some faults, and check each result."""
        self.rounds += 1
        chance, warned = self._chance, self._warnings.count
        jobs = [Job.drawn(chance) for _ in range(FILES)]
        folder = {name: chance.randbytes(chance.choice((0, 1, PART, 2 * PART))) for name in self._names}
        beside = Job(b"", "folder", chance.choice(WAYS), chance.randint(0, 30), chance.choice(CONFLICTS))
        faults = [drawn_fault(chance) for _ in range(chance.randint(0, 8))]
        for _ in range(chance.randint(0, 4)):
            faults += drawn_hostile(chance)
        chance.shuffle(faults)
        async with FakeFrameio(rate_limits=False, part_size=PART, faults=faults, port=port) as self.fake:
            fake = self.fake
            *ends, end_of_folder = await asyncio.gather(
                *(self._upload(uploader, fake, number, job) for number, job in enumerate(jobs)),
                self._upload_folder(uploader, fake, beside, folder),
            )
            for job, end in zip(jobs, ends, strict=True):
                self.outcomes[end if isinstance(end, str) else "uploaded"] += 1
                if isinstance(end, UploadedFile):
                    self._check(fake, end, job.content, faults)
            if isinstance(end_of_folder, FolderResult):
                self._check_folder(fake, end_of_folder, folder, faults)
            self.outcomes[f"folder: {end_of_folder if isinstance(end_of_folder, str) else 'ended'}"] += 1
            # A file whose upload was cancelled after its last part is kept, and may still be stitched.
            unfinished = [file.name for file in fake.files if not file.complete and not file.has_every_part()]
            assert len(unfinished) <= self._warnings.count - warned, (self.rounds, brief(faults), unfinished)
            assert not self._warnings.secret, (self.rounds, brief(faults))
            assert fake.max_writes_of_a_part <= 1, (self.rounds, brief(faults))
            assert fake.max_parts_in_flight <= FILES // 2, (self.rounds, brief(faults))

    def _check(self, fake: FakeFrameio, end: UploadedFile, content: bytes, faults: list[Fault]) -> None:
        (file,) = (file for file in fake.files if file.id == end.id)
        assert file.complete, (self.rounds, brief(faults))
        if end.outcome != "skipped":
            assert file.sha256 == sha256(content), (self.rounds, brief(faults))

    def _check_folder(
        self, fake: FakeFrameio, result: FolderResult, folder: dict[str, bytes], faults: list[Fault]
    ) -> None:
        """Check that every file is in exactly one list of the result, and that those reported as uploaded are there."""
        # A folder that has only empty files and cannot be created is a failure as well.
        failed = [one.path for one in result.failures if one.path in folder]
        skipped = [one.path for one in result.skipped]
        assert len(result.files) + len(failed) + len(skipped) == len(folder), (self.rounds, brief(faults))
        assert len({*failed, *skipped}) == len(failed) + len(skipped), (self.rounds, brief(faults))
        unforeseen = [str(one.error) for one in result.failures if str(one.error).startswith("unexpected")]
        assert not unforeseen, (self.rounds, brief(faults))
        contents = {name.rpartition("/")[2]: content for name, content in folder.items()}
        for file in result.files:
            self._check(fake, file, contents[file.name], faults)
        self.outcomes.update(f"of a folder: {type(one.error).__name__}" for one in result.failures)
        self.outcomes["of a folder: uploaded"] += len(result.files)
        self.outcomes["of a folder: skipped"] += len(skipped)

    async def _upload(
        self, uploader: Uploader, fake: FakeFrameio, number: int, job: Job
    ) -> UploadedFile | FolderResult | str:
        upload = uploader.upload(
            job.source(self._directory / f"{number}.mov"),
            name=f"{number % 5}.mov",
            size=len(job.content),
            folder_id=fake.folder_id,
            account_id=fake.account_id,
            conflict=job.conflict,
        )
        async with asyncio.timeout(60):
            return await job.run(upload)

    _names = ("a.mov", "b.mov", "in/c.mov", "in/d.mov", "in/deep/e.mov")

    async def _upload_folder(
        self, uploader: Uploader, fake: FakeFrameio, job: Job, folder: dict[str, bytes]
    ) -> UploadedFile | FolderResult | str:
        for name, content in folder.items():
            path = self._directory / "shoot" / name
            on_disk(path.parent.mkdir, parents=True, exist_ok=True)
            on_disk(path.write_bytes, content)
        upload = uploader.upload_folder(
            self._directory / "shoot", folder_id=fake.folder_id, account_id=fake.account_id, conflict=job.conflict
        )
        async with asyncio.timeout(60):
            return await job.run(upload)


class Warnings(logging.Handler):
    """A log handler that counts the warnings of placeholders left behind (no other may be) and searches for secrets."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0
        self.secret: list[str] = []
        """Records that contained a part's link or forged a line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record."""
        self.count += 1
        text = record.getMessage()
        if "X-Amz-Signature=" in text or not text.replace("\n  ", "").isprintable():
            self.secret.append(ascii(text))


# -- flat, or not ------------------------------------------------------------------------------------------------------


def growth(idle: Held, held: list[Held]) -> list[str]:
    """Return what the process holds too much of: beside a running round, or at the end compared with the beginning."""
    said = [
        f"{name}: {getattr(one, name)} after a round, {getattr(idle, name)} before the first"
        for one in held
        for name in ("tasks", "descriptors")
        if getattr(one, name) > getattr(idle, name)
    ]
    warm = held[WARM_UP:]
    quarter = max(1, len(warm) // 4)
    for name, slack in (("threads", FILES), ("ours", 0), ("objects", MOST_OBJECTS), ("resident", MOST_GROWTH)):
        first, last = (median(getattr(one, name) for one in part) for part in (warm[:quarter], warm[-quarter:]))
        if last > first + slack:
            said.append(f"{name}: {first:,.0f} at first, {last:,.0f} at last")
    return list(dict.fromkeys(said))


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_SECONDS", "3600")))
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory() as name:
        soak = Soak(arguments.seed, Path(name), tell=partial(print, flush=True))
        asyncio.run(soak.run(arguments.seconds))
    if len(soak.held) < WARM_UP + 8:
        print(f"{len(soak.held)} rounds are too few to tell")
        return 2
    print(soak.rounds, "rounds:", dict(soak.outcomes.most_common()))
    print(f"at first {soak.held[WARM_UP]}\nat last  {soak.held[-1]}")
    said = growth(soak.idle, soak.held)
    print("\n".join(said) or "flat")
    return len(said) > 0


if __name__ == "__main__":
    sys.exit(main())
