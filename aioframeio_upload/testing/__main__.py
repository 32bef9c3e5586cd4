"""Run the fake as a process: print its address as one line of JSON, and serve until stdin is closed."""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import signal
import sys
import threading

from . import FakeFrameio, Fault


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m aioframeio_upload.testing", description=__doc__)
    parser.add_argument(
        "--faults", default="[]", metavar="JSON", help="a list of objects, each with the fields of a Fault"
    )
    parser.add_argument("--part-size", type=int, metavar="BYTES", help="maximum size of a part")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on (default: any free port)")
    parser.add_argument("--no-rate-limits", action="store_true", help="never answer 429")
    parser.add_argument("--no-store", action="store_true", help="discard the bytes, for benchmarks")
    parser.add_argument("--no-checksum", action="store_true", help="state no CRC64NVME in S3's answers")
    options = parser.parse_args()
    try:
        asyncio.run(_serve(options))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        parser.exit(2, f"error: port {options.port} is in use\n")


async def _serve(options: argparse.Namespace) -> None:
    """Serve until a signal arrives or the parent process closes the pipe to stdin, which it also does by dying."""
    fake = FakeFrameio(
        faults=[Fault(**fields) for fields in json.loads(options.faults)],
        rate_limits=not options.no_rate_limits,
        part_size=options.part_size,
        store=not options.no_store,
        checksum=None if options.no_checksum else "crc64nvme",
        port=options.port,
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not loop.add_signal_handler: it raises NotImplementedError on Windows.
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))
    threading.Thread(target=_await_end_of_stdin, args=(loop, stopped), daemon=True).start()
    async with fake:
        where = {
            "url": fake.url,
            "token": fake.token,
            "account_id": fake.account_id,
            "folder_id": fake.folder_id,
        }
        sys.stdout.write(json.dumps(where) + "\n")
        sys.stdout.flush()
        await stopped.wait()


def _await_end_of_stdin(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    # Not sys.stdin: a daemon thread that holds its lock aborts the interpreter at exit.
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(stopped.set)


if __name__ == "__main__":
    main()
