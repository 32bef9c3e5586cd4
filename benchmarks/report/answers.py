"""Answer what a reader wants to know from the records: does it fill my line, and what does it cost my server?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Record = dict[str, Any]
Answer = tuple[str, str, str]
"""A question, the number, and what it means."""


def answers(records: dict[str, Record]) -> Iterator[Answer]:
    """Yield an answer for each question of which there is a record, with the default settings first."""
    for name, find in FOUND.items():
        if name in records:
            yield from find(records[name]["rows"])


def _of_wan(rows: list[Record]) -> Iterator[Answer]:
    for row in rows:
        way, variant = row["way"], row["variant"]
        if variant["in_flight"] is None and not variant.get("lowat") and (way["rtt"], way["loss"]) == (0.04, 0.0):
            cost = row["summary"]["cost"]
            words = "of a line of 200 Mbit/s to a server 40 ms away, without loss: the time is"
            yield "Does it fill my line?", f"{1 / cost:.0%}", f"{words} {cost:.2f} times size ÷ rate"


def _of_links(rows: list[Record]) -> Iterator[Answer]:
    found = {(row["link"], row["variant"]): row["summary"]["rate"] for row in rows}
    for link in ("40 ms, 0.1 % loss", "150 ms, 0.1 % loss"):
        ways = (("auto", "auto:system", "the defaults"), ("8", "8:system", "8 parts"))
        known = [way for way in ways if found.get((link, way[0])) and found.get((link, way[1]))]
        sdk = found.get((link, "sdk"))
        if known and sdk:
            best, system, words = known[0]
            with_bbr, without = found[link, best], found[link, system]
            yield (
                f"And on a line with {link}?",
                f"{with_bbr / 1e6:.1f} MB/s",
                f"of 23 MB/s, with {words}; {without / 1e6:.1f} MB/s where the system does not allow BBR,"
                f" {sdk / 1e6:.1f} MB/s with Frame.io's SDK",
            )


def _of_throughput(rows: list[Record]) -> Iterator[Answer]:
    found = {
        row["client"]: row
        for row in rows
        if row["cell"]["tls"] and row["cell"]["cache"] == "warm" and row["cell"]["stated"] == "crc64nvme"
    }
    if not {"ours", "frameio SDK"} <= set(found):
        return
    ours, sdk = found["ours"]["summary"], found["frameio SDK"]["ours_to_it"]
    others = [
        f"{row['summary']['mib_per_second']:.0f} with {name}"
        for name in ("libcurl", "C floor")
        if (row := found.get(name)) is not None
    ]
    floor = ""
    if "C floor" in found:
        least = found["C floor"]["summary"]["cpu_per_gib"]
        floor = f"; a program in C that only reads and encrypts takes {least:.2f} s"
    words = f"over TLS to a server on the other core, {sdk['rate']:.2f} times Frame.io's SDK"
    yield "How fast can it be at all?", f"{ours['mib_per_second']:.0f} MiB/s", "; ".join([words, *others])
    yield (
        "How much CPU?",
        f"{ours['cpu_per_gib']:.2f} s",
        f"of a core for each GiB, {sdk['cpu']:.2f} times that of Frame.io's SDK{floor}",
    )


def _of_loop_lag(rows: list[Record]) -> Iterator[Answer]:
    for row in rows:
        if row["client"] == "ours, asyncio" and row["cell"]["tls"] and row["cell"]["in_flight"] == 5:
            one = row["summary"]
            words = (
                f"late, at full speed, is another task in the median, and less than {one['p99']:.1f} ms 99 times of 100"
            )
            yield "Does it hold up my event loop?", f"{one['p50']:.1f} ms", words


def _of_memory(rows: list[Record]) -> Iterator[Answer]:
    peaks = {(row["client"], row["cell"]["in_flight"], row["cell"]["part_size"]): row["summary"] for row in rows}
    ours, sdk = (peaks.get((client, 5, 512 << 20)) for client in ("ours", "frameio SDK"))
    if ours and sdk:
        words = f"for the whole process with 5 parts of any size in flight; Frame.io's SDK: {sdk['memory_mib']:.0f} MiB"
        yield "How much memory?", f"{ours['memory_mib']:.0f} MiB", f"{words} with parts of 512 MiB"


def _of_many_small(rows: list[Record]) -> Iterator[Answer]:
    for row in rows:
        if row["cell"]["question"] == "files" and row["client"] == "ours":
            words = "of 100 KiB against a fake without limits; Frame.io itself lets a user create 5 a second"
            yield "And many small files?", f"{row['summary']['files_per_second']:.0f} a second", words


def _of_journal(rows: list[Record]) -> Iterator[Answer]:
    for row in rows:
        cell, one = row["cell"], row["summary"]
        usual = row["client"] == "ours, journal" and cell["checksum"] == "auto"
        if usual and cell["parts"] > 1 and cell["part_size"] > 1024:
            words = f"longer at the full speed of loopback: {one['ms_a_part']:.2f} ms for each part of 20 MiB"
            yield "What does a journal cost?", f"{one['more_time']:.1%}", words


FOUND: dict[str, Callable[[list[Record]], Iterator[Answer]]] = {
    "wan": _of_wan,
    "links": _of_links,
    "memory": _of_memory,
    "loop_lag": _of_loop_lag,
    "throughput": _of_throughput,
    "many_small": _of_many_small,
    "journal": _of_journal,
}
