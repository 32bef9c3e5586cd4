"""Send the parts of a file with `Uploader.send_parts`."""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic

from aioframeio_upload import Limits, Plan, Uploader

from .job import Job
from .meter import Meter


async def tick(period: float, lateness: list[float]) -> None:
    """Sleep repeatedly, and record how late each wake-up is."""
    while True:
        due = monotonic() + period
        await asyncio.sleep(period)
        lateness.append(monotonic() - due)


async def idle(job: Job) -> None:
    """Run the ticker for a second and send nothing: the lateness that the machine causes by itself."""
    lateness: list[float] = []
    meter = Meter()
    ticker = asyncio.create_task(tick(job.tick, lateness))
    await asyncio.sleep(1)
    ticker.cancel()
    meter.finish(**percentiles(lateness))


def percentiles(lateness: list[float]) -> dict[str, float]:
    """Return percentiles of the lateness, in milliseconds."""
    if not lateness:
        return {}
    ordered = sorted(lateness)
    found = {"p50": len(ordered) // 2, "p99": int(len(ordered) * 0.99), "max": len(ordered) - 1}
    return {name: round(ordered[index] * 1000, 3) for name, index in found.items()} | {"ticks": len(ordered)}


async def send(job: Job) -> None:
    """Send all parts once."""
    if not job.base:
        await idle(job)
        return
    context = ssl.create_default_context(cafile=job.ca) if job.ca else None
    plan = Plan.from_response(job.created())
    lateness: list[float] = []
    ticker = asyncio.create_task(tick(job.tick, lateness)) if job.tick else None
    meter = Meter()
    limits = Limits() if job.in_flight is None else Limits(parts=job.in_flight)
    async with Uploader("no-token", limits=limits, checksum=job.mode, ssl=context) as uploader:
        receipts = await uploader.send_parts(plan, job.file, range(1, len(plan.parts) + 1))
        retries = uploader.statistics().retries
    if ticker is not None:
        ticker.cancel()
    assert len(receipts) == len(plan.parts)
    # A measurement of what is not compared would show nothing.
    assert job.checksum == "off" or not job.stated or all(receipt.checked_by for receipt in receipts)
    meter.finish(retries=retries, **percentiles(lateness))


def main() -> None:
    """Run the job on the loop that it names."""
    job = Job.from_argument()
    if job.loop == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(send(job))
    else:
        asyncio.run(send(job))


if __name__ == "__main__":
    main()
