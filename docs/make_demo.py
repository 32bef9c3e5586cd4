"""Record the demo as `docs/demo.svg`: `PYTHONPATH=. python docs/make_demo.py`; needs no network.

It shows what `python3 run.py demo` shows: the same upload to a fake Frame.io, the same two faults, drawn by the demo's
own display. The picture plays three times and stays at the end; without CSS animations, or where the reader asked for
less motion, it is its last frame.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import time
from dataclasses import dataclass
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group, RenderableType
from rich.text import Text

from aioframeio_upload import Limits, Progress, Uploader
from aioframeio_upload._cli.format import escape, format_size
from aioframeio_upload._demo.drawing import DemoDrawing
from aioframeio_upload._demo.report import digest_report, time_report
from aioframeio_upload._demo.state import Cell, DemoState
from aioframeio_upload.testing import FakeFrameio, Fault

PICTURE = Path(__file__).resolve().parent / "demo.svg"
WIDTH = 84
"""Columns: the longest line of the demo, with a request ID, fits."""
SIZE, PART_SIZE, RATE = 200_000_000, 5_000_000, 40_000_000
"""Those of the demo, and a bandwidth at which a frame is more than a flash."""
FRAMES = 24
"""Before the last one."""
SECONDS = 0.25
"""How long a frame is shown."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What was on the screen at one moment."""

    lines: tuple[str, ...]
    cells: tuple[Cell, ...]
    progress: Progress | None


async def record(state: DemoState) -> tuple[list[Frame], list[Text]]:
    """Upload a sample to a fake, as the demo does, and return what was shown meanwhile and the report at the end."""
    sample = b"".join(hashlib.shake_128(n.to_bytes(8)).digest(PART_SIZE) for n in range(SIZE // PART_SIZE))
    slow_down = {"Retry-After": "2"}
    faults = [
        Fault(do="reset", number=6, after=PART_SIZE // 2),
        Fault(do="answer", number=13, status=503, code="SlowDown", headers=slow_down),
    ]
    frames: list[Frame] = []
    lines = [f"Making a sample of {format_size(SIZE)} ..."]
    async with (
        FakeFrameio(part_size=PART_SIZE, faults=faults) as fake,
        Uploader(fake.token, account_id=fake.account_id, base_url=fake.url, limits=Limits(bandwidth=RATE)) as uploader,
        uploader.upload(sample, folder_id=fake.folder_id, name=state.label) as upload,
    ):
        async for event in upload:
            line, _ = state.update(event)
            if line is not None:
                lines.append(line)
            frames.append(Frame(tuple(lines), tuple(state.cells), state.progress))
        (file,) = fake.files
    return frames, [*time_report(state), *digest_report(hashlib.sha256(sample).hexdigest(), file.sha256)]


def choose(frames: list[Frame]) -> list[Frame]:
    """Return as many frames as are shown, evenly spread, and the end."""
    step = max(1, len(frames) // FRAMES)
    return [*frames[::step], frames[-1]]


def screen(frame: Frame, report: list[Text]) -> RenderableType:
    """Return the screen at one moment."""
    state = DemoState("sample.bin", time.monotonic)
    state.cells, state.progress = list(frame.cells), frame.progress
    command = Text.assemble(("$ ", "dim"), ("aioframeio-upload demo", "bold"))
    return Group(command, *(Text(escape(line)) for line in frame.lines), DemoDrawing(state), *report)


def draw(renderable: RenderableType, name: str, height: int) -> str:
    """Return one frame as SVG, without the web font that Rich's own format loads."""
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    rows = console.render_lines(renderable)
    console.print(renderable, soft_wrap=False)
    for _ in range(height - len(rows)):
        console.print()
    code = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="A fake Frame.io, in which two parts fail", unique_id=name, code_format=code)


def height_of(renderable: RenderableType) -> int:
    """Return the number of lines of a screen."""
    return len(Console(width=WIDTH, file=io.StringIO()).render_lines(renderable))


def join(pictures: list[str]) -> str:
    """Return one picture that shows the others after each other, and the last one for half as long as all of them."""
    *others, last = pictures
    whole = len(others) * 1.5
    rules = [f".frame {{animation: {whole * SECONDS:.1f}s step-end 3}}"]
    matrices = []
    for number, one in enumerate(others):
        found = re.search(r'<g class="(f\d+-matrix)">(.*?)</g>', one, re.DOTALL)
        assert found is not None
        body = re.sub(r"<text[^>]*>\n</text>| clip-path=\"[^\"]*\"", "", found[2])
        matrices.append(f'<g class="text frame n{number}">{body}</g>')
        rules += re.findall(r"\.f\d+-r\d+ \{[^}]*\}", one)
        rules.append(f".n{number} {{animation-name: n{number}; visibility: hidden}}")
        rules.append(f"@keyframes n{number} {{{shown(number / whole, (number + 1) / whole)}}}")
    ends = re.search(r'class="(f\d+-matrix)"', last)
    assert ends is not None
    rules.append(f"@keyframes end {{{shown(len(others) / whole, 1)}}} .end {{animation-name: end}}")
    rules.append("@media (prefers-reduced-motion) {.frame {animation: none}}")
    last = last.replace(f".{ends[1]} {{", ".text {", 1)
    last = last.replace(f'<g class="{ends[1]}">', "\n".join([*matrices, '<g class="text frame end">']), 1)
    return re.sub(r"[ \t]+$", "", last.replace("</style>", "\n".join([*rules, "</style>"]), 1), flags=re.MULTILINE)


def shown(begin: float, end: float) -> str:
    """Return keyframes between which something can be seen."""
    hidden = "{visibility: hidden}"
    before = f"0% {hidden} " if begin else ""
    after = f" {end:.2%} {hidden}" if end < 1 else ""
    return f"{before}{begin:.2%} {{visibility: visible}}{after}"


def main() -> None:
    """Write the picture."""
    state = DemoState("sample.bin", time.monotonic)
    frames, report = asyncio.run(record(state))
    chosen = choose(frames)
    height = height_of(screen(chosen[-1], report))
    pictures = [draw(screen(one, []), f"f{n}", height) for n, one in enumerate(chosen[:-1])]
    pictures.append(draw(screen(chosen[-1], report), f"f{len(chosen)}", height))
    PICTURE.write_text(join(pictures), encoding="utf-8")


if __name__ == "__main__":
    main()
