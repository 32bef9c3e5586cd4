"""Make the tables of the README and docs/benchmarks.md, and the plots, from the results."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..harness.record import RESULTS, ROOT
from ..harness.words import show_size
from ..links.costs import cost_table
from ..links.costs import goal_table as link_goals
from ..links.rows import read_links
from .answers import answers
from .goals import goals
from .plots import PLOTS, RECORDS, draw, way_words

BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
Record = dict[str, Any]
PEERS = ("ours, unchecked", "frameio SDK", "curl --parallel", "libcurl", "C floor", "MD5 alone")


def throughput_lines(record: Record) -> list[str]:
    """Return the table of speeds: a line for each cell, ours first, and the ratio of ours to each other client."""
    cells: dict[str, dict[str, Any]] = {}
    for row in record["rows"]:
        cells.setdefault(json.dumps(row["cell"]), {})[row["client"]] = row
    present = [peer for peer in PEERS if any(peer in found for found in cells.values())]
    lines = ["MiB/s (in brackets: ours ÷ it)", "", table_row(["", "ours", *present]), rule(2 + len(present))]
    for text, found in cells.items():
        cell = json.loads(text)
        check = ", a host that states MD5s alone, both cores" if cell["stated"] == "md5" else ""
        parts = f"{cell['in_flight']} × {show_size(cell['part_size'])}"  # noqa: RUF001  # the multiplication sign
        words = [f"{'TLS' if cell['tls'] else 'plain'}, {cell['cache']} cache, {parts}{check}"]
        words.append(f"**{found['ours']['summary']['mib_per_second']:.0f}**")
        for peer in present:
            other = found.get(peer)
            if other is None:
                words.append("–")  # noqa: RUF001  # an en dash for "none"
            else:
                words.append(f"{other['summary']['mib_per_second']:.0f} ({other['ours_to_it']['rate']:.2f})")
        lines.append(table_row(words))
    return [*lines, "", *cpu_lines(cells, present)]


def cpu_lines(cells: dict[str, dict[str, Any]], present: Sequence[str]) -> list[str]:
    """Return the table of CPU seconds, of the cells in which all clients are compared."""
    lines = ["CPU seconds a GiB (in brackets: ours ÷ it)", ""]
    lines += [table_row(["", "ours", *present]), rule(2 + len(present))]
    for text, found in cells.items():
        cell = json.loads(text)
        if cell["cache"] != "warm" or cell["in_flight"] != 5 or cell["stated"] == "md5":
            continue
        words = [f"{'TLS' if cell['tls'] else 'plain'}, parts of {show_size(cell['part_size'])}"]
        words.append(f"**{found['ours']['summary']['cpu_per_gib']:.2f}**")
        for peer in present:
            other = found.get(peer)
            shown = other and f"{other['summary']['cpu_per_gib']:.2f} ({other['ours_to_it']['cpu']:.2f})"
            words.append(shown or "–")  # noqa: RUF001  # an en dash for "none"
        lines.append(table_row(words))
    return lines


def memory_lines(record: Record) -> list[str]:
    """Return the table of memory peaks: a line for each client and number in flight."""
    sizes = sorted({row["cell"]["part_size"] for row in record["rows"]})
    peak = {(r["client"], r["cell"]["in_flight"], r["cell"]["part_size"]): r["summary"] for r in record["rows"]}
    lines = ["Peak memory of the whole process (VmHWM), MiB", ""]
    lines += [table_row(["", *(f"parts of {show_size(size)}" for size in sizes)]), rule(1 + len(sizes))]
    for client, number in dict.fromkeys((client, number) for client, number, _ in peak):
        found = [peak.get((client, number, size)) for size in sizes]
        cells = ["–" if one is None else f"{one['memory_mib']:.0f}" for one in found]  # noqa: RUF001  # an en dash for "none"
        lines.append(table_row([f"{client}, {number} in flight", *cells]))
    return lines


def lag_lines(record: Record) -> list[str]:
    """Return the table of the loop's lateness."""
    lines = ["How late a 5 ms ticker in the uploading loop wakes, ms", ""]
    lines += [table_row(["", "p50", "p99", "max"]), rule(4)]
    for row in record["rows"]:
        cell, one = row["cell"], row["summary"]
        name = f"{row['client']}, {'TLS' if cell['tls'] else 'plain'}, {cell['in_flight']} in flight"
        if not row["client"].startswith("idle"):
            lines.append(table_row([name, f"{one['p50']:.1f}", f"{one['p99']:.1f}", f"{one['max']:.1f}"]))
    return lines


def small_lines(record: Record) -> list[str]:
    """Return the table of small files, and of the cost of one part and of one event."""
    lines = ["Small files, and the cost of one", "", table_row(["", "", "ours ÷ it"]), rule(3)]
    for row in record["rows"]:
        cell, one = row["cell"], row["summary"]
        if cell["question"] == "files":
            name = f"{cell['files']} files of {show_size(cell['size'])}: {row['client']}"
            lines.append(table_row([name, f"{one['files_per_second']:.0f} files/s", f"{one['ours_to_it']:.2f}"]))
        else:
            lines.append(table_row([f"CPU, {cell['question']}: {row['client']}", f"{one['cpu_us']:.0f} µs", ""]))
    return lines


def folder_lines(record: Record) -> list[str]:
    """Return the table of the memory and the tasks of a folder's upload."""
    lines = ["`upload_folder`: the peak of the whole process, and the most tasks at once", ""]
    lines += [table_row(["files", "VmHWM, MiB", "tasks", "files/s"]), rule(4)]
    for row in record["rows"]:
        one = row["summary"]
        numbers = [f"{one['memory_mib']:.0f}", str(one["tasks"]), f"{one['files_per_second']:.0f}"]
        lines.append(table_row([str(row["cell"]["files"]), *numbers]))
    return lines


def journal_lines(record: Record) -> list[str]:
    """Return the table of the journal's cost."""
    lines = ["What the journal costs", ""]
    lines += [table_row(["", "more time", "with 95 %", "ms a part", "of the loop"]), rule(5)]
    for row in record["rows"]:
        cell, one = row["cell"], row["summary"]
        if row["client"] != "ours":
            parts = f"{cell['parts']} x {show_size(cell['part_size'])}, {cell['in_flight']} in flight"
            name = f"{parts}{', unchecked' if cell['checksum'] == 'off' else ''}: {row['client']}"
            sure = f"{one['more_time_low']:+.1%} to {one['more_time_high']:+.1%}"
            a_part = [f"{one['ms_a_part']:+.2f}", f"{one['loop_ms_a_part']:+.2f}"]
            lines.append(table_row([name, f"{one['more_time']:+.1%}", sure, *a_part]))
    return lines


def wan_lines(record: Record) -> list[str]:
    """Return the table of costs over the WAN: a line for each way, a column for each number of parts in flight."""
    ways: dict[str, dict[str, str]] = {}
    for row in record["rows"]:
        number = row["variant"]["in_flight"]
        name = ("default" if number is None else str(number)) + (", lowat" if row["variant"].get("lowat") else "")
        words = way_words(row["way"])
        ways.setdefault(words, {})[name] = f"{row['summary']['cost']:.2f}"
    numbers = list(dict.fromkeys(number for found in ways.values() for number in found))
    lines = ["Simulated WAN: wall time ÷ (size ÷ rate), by parts in flight", "", table_row(["", *numbers])]
    lines.append(rule(1 + len(numbers)))
    return lines + [table_row([way, *(found.get(number, "") for number in numbers)]) for way, found in ways.items()]


def links_lines(record: Record) -> list[str]:
    """Return the table of the goals on links of many kinds, and below it what was measured on each."""
    rows = record["rows"]
    lines = ["Links of many kinds, by parts in flight (200 Mbit/s, a queue of 50 ms where nothing else is said)", ""]
    _, goals_found = link_goals(read_links(), rows)
    if goals_found:
        lines += [table_row(["link", "goal", "measured"]), rule(3)]
    for name, goal, measured, reached in goals_found:
        shown = f"**{measured}**" if reached == "yes" else str(measured or reached)
        lines.append(table_row([str(name), str(goal), shown]))
    return [*lines, *([""] if goals_found else []), *costs_lines(rows)]


def study_lines(record: Record) -> list[str]:
    """Return the table of what congestion control does to another flow and to retransmissions."""
    title = "Congestion control beside one CUBIC connection of another host, and on short queues"
    return [title, "", *costs_lines(record["rows"])]


def costs_lines(rows: list[Record]) -> list[str]:
    """Return a table with a line for each link and variant."""
    heads, lines = cost_table(rows)
    kept = [0, *(place for place in range(1, len(heads)) if any(line[place] for line in lines))]
    found = [table_row([heads[place] for place in kept]), rule(len(kept))]
    return found + [table_row([str(line[place]) for place in kept]) for line in lines]


def fleet_lines(record: Record) -> list[str]:
    """Return the table of the times with more hosts."""
    lines = ["One file by many hosts, each behind 100 Mbit/s", "", table_row(["hosts", "seconds", "÷ one"]), rule(3)]
    for row in record["rows"]:
        one = row["summary"]
        lines.append(table_row([str(row["cell"]["hosts"]), f"{one['seconds']:.1f}", f"{one['share']:.2f}"]))
    return lines


def processes_lines(record: Record) -> list[str]:
    """Return the table of processes that share the rate of one user."""
    lines = ["Uploads of 1 KiB by many processes of one user, against a service that keeps Frame.io's rates", ""]
    heads = ["processes x uploads", "time ÷ ideal", "failed", "refusals a creation", "slowest ÷ fastest process"]
    lines += [table_row(heads), rule(5)]
    for row in record["rows"]:
        cell, one = row["cell"], row["summary"]
        name = f"{cell['processes']} x {cell['files']}"
        name += ", and another client at half of the rate" if cell["foreign"] else ""
        numbers = [f"{one['to_ideal']:.2f}", f"{one['failed']:.0f}"]
        lines.append(table_row([name, *numbers, f"{one['refused_creations']:.2f}", f"{one['slowest_to_fastest']:.2f}"]))
    return lines


def import_lines(record: Record) -> list[str]:
    """Return the table of import times."""
    lines = ["Imports, in a process each", "", table_row(["", "ms", "÷ `import aiohttp`"]), rule(3)]
    for row in record["rows"]:
        one = row["summary"]
        lines.append(table_row([f"`{row['client']}`", f"{one['ms']:.0f}", f"{one['to_aiohttp']:.2f}"]))
    return lines


SECTIONS = {
    "throughput": throughput_lines,
    "memory": memory_lines,
    "loop_lag": lag_lines,
    "many_small": small_lines,
    "many_small_folder": folder_lines,
    "journal": journal_lines,
    "wan": wan_lines,
    "links": links_lines,
    "links_study": study_lines,
    "fleet": fleet_lines,
    "processes": processes_lines,
    "import_time": import_lines,
}


def table_row(cells: Sequence[str]) -> str:
    """Return a row in Markdown."""
    return "| " + " | ".join(cells) + " |"


def rule(columns: int) -> str:
    """Return the line below the head of a table, which aligns the first column to the left and others to the right."""
    return "| --- " + "| ---: " * (columns - 1) + "|"


def provenance(record: Record) -> str:
    """Return the origin of the numbers: command, day, commit, machine, versions, and the noise of the machine."""
    machine, versions = record["machine"], record["versions"]
    busy = [row["summary"]["noise"] for row in record["rows"] if "noise" in row["summary"]]
    noise = f"; up to {max(busy):.1f} cores were busy with something else" if busy and max(busy) > 0.15 else ""
    changed = " with changes" if record["changed"] else ""
    return (
        f"`{record['command']}`, {record['measured_at'][:10]}, commit {record['commit'][:9]}{changed}, "
        f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, Python {versions['python']}, "
        f"aiohttp {versions['aiohttp']}, {versions['openssl']}{noise}."
    )


def make_section(records: dict[str, Record]) -> str:
    """Return the section of docs/benchmarks.md: every table, with the origin of its numbers."""
    blocks = ["Medians of interleaved runs."]
    for name, make in SECTIONS.items():
        if name in records:
            blocks += ["", *make(records[name]), "", provenance(records[name])]
            for plot in PLOTS:
                if RECORDS.get(plot, plot) == name:
                    blocks += ["", f"![{plot.replace('_', ' ')}, drawn]({plot}.svg)"]
    return "\n".join(blocks)


def answer_table(records: dict[str, Record]) -> list[str]:
    """Return the table of questions and answers, and the origin of its numbers."""
    machine = next(iter(records.values()))["machine"]
    return [
        table_row(["", "measured", "what it says"]),
        "| --- | ---: | --- |",
        *(table_row(answer) for answer in answers(records)),
        "",
        f"Medians of interleaved runs on {machine['cores']} cores of {machine['cpu']}, client on one and server on the"
        " other, over loopback or a simulated line.",
    ]


def make_short(records: dict[str, Record]) -> str:
    """Return the section of the README."""
    more = "[How fast it is](docs/benchmarks.md) has the goals, the commands that measure it again, and what bounds it."
    return "\n".join(["## How fast it is", "", *answer_table(records), more])


def make_page(records: dict[str, Record]) -> str:
    """Return the section of docs/benchmarks.md: the answers, the goals, and the tables behind a fold."""
    return "\n".join(
        [
            *answer_table(records),
            "",
            "## Goals",
            "",
            "A bold number reaches its goal; [below](#what-bounds-a-transfer) is why some are out of reach here.",
            "",
            table_row(["", "measured", "goal"]),
            rule(3),
            *(table_row(goal.cells()) for goal in goals(records)),
            "",
            "## The measurements",
            "",
            "`python3 run.py bench` makes all of them anew, in an hour; below each table is the command for it alone.",
            "",
            '<details markdown="1">',
            "<summary>Every table and every plot</summary>",
            "",
            make_section(records),
            "",
            "</details>",
        ]
    )


def insert(text: str, section: str) -> str:
    """Return the text with the section between the markers; a missing second marker is added."""
    if BEGIN not in text:
        raise SystemExit(f"the page has no line {BEGIN}, which marks the place of the tables")
    if END not in text:
        text = text.replace(BEGIN, f"{BEGIN}\n{END}", 1)
    return re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n\n{section}\n\n{END}", text, count=1, flags=re.DOTALL)


def main() -> None:
    """Write the tables and the plots."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--results", type=Path, default=RESULTS)
    options.add_argument("--readme", type=Path, default=ROOT / "README.md")
    options.add_argument("--docs", type=Path, default=ROOT / "docs")
    options.add_argument("--print", action="store_true", help="show the table and change nothing")
    given = options.parse_args()
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(given.results.glob("*.json"))}
    if not records:
        sys.exit("there are no results: run a benchmark first")
    if given.print:
        print(make_short(records), make_section(records), sep="\n\n")
        return
    for page, made in ((given.readme, make_short(records)), (given.docs / "benchmarks.md", make_page(records))):
        page.write_text(insert(page.read_text(encoding="utf-8"), made), encoding="utf-8")
    for path in draw(records, given.docs):
        print(path.name)


if __name__ == "__main__":
    main()
