"""The arguments of the command line, and the format of sizes and rates (pure)."""

from __future__ import annotations

import io
import os
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from aioframeio_upload import PendingUpload, Progress
from aioframeio_upload._cli.commands import choose_pending
from aioframeio_upload._cli.format import escape, format_size
from aioframeio_upload._cli.live_display import progress_table
from aioframeio_upload._cli.options import Target, UsageError, read_folder, read_proxy, read_rate, read_size
from tests.support.frames import shown_by

PROJECT = "0a514f42-0e86-4658-8233-051ad3445bbc"
FOLDER = "e086bd62-7cc6-4cb9-b339-b15a712c1744"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (FOLDER, Target(folder_id=FOLDER)),
        (f" {FOLDER}\n", Target(folder_id=FOLDER)),
        ("adobe:urn:aaid:1", Target(folder_id="adobe:urn:aaid:1")),
        (f"https://next.frame.io/project/{PROJECT}", Target(project_id=PROJECT)),
        (f"https://next.frame.io/project/{PROJECT}/", Target(project_id=PROJECT)),
        (f"https://next.frame.io/project/{PROJECT}/{FOLDER}", Target(folder_id=FOLDER)),
        (f"https://next.frame.io/project/{PROJECT}/{FOLDER}/?a=b#c", Target(folder_id=FOLDER)),
        (f"next.frame.io/project/{PROJECT}/{FOLDER}", Target(folder_id=FOLDER)),
        ("Feature Film", Target(path="Feature Film")),
        ("Commercial/Dailies", Target(path="Commercial/Dailies")),
        ("Commercial/", Target(path="Commercial/")),
        ("Commercial", Target(path="Commercial")),
    ],
)
def test_a_folder_is_an_id_a_link_or_a_path(text: str, target: Target) -> None:
    assert read_folder(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "../x",
        f"https://app.frame.io/project/{PROJECT}/{FOLDER}",
        f"http://next.frame.io/project/{PROJECT}",
        f"https://next.frame.io.evil.example/project/{PROJECT}",
        f"https://next.frame.io/project/{PROJECT}/view/{FOLDER}",
        f"https://next.frame.io/project/{PROJECT}/view",
        f"https://next.frame.io/project/{PROJECT}/{FOLDER}/x",
        "https://next.frame.io/project/..%2F..",
        "https://next.frame.io/share/1",
        "https://[",
    ],
)
def test_anything_else_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape("https://next.frame.io/project/<project>/<folder>")):
        read_folder(text)


def test_an_upload_is_discarded_by_its_id_link_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = os.path.abspath("a.mov")
    uploads = [
        PendingUpload(id, "x", None, path, 3, 0, None) for id, path in (("f1", here), ("f2", "/b"), ("f3", "/b"))
    ]
    for word in ("a.mov", "./a.mov", here, "f1"):
        assert choose_pending(word, uploads) == "f1"
    assert choose_pending(f"https://next.frame.io/project/{PROJECT}/view/f9", uploads) == "f9"
    for word, complaint in (
        ("/b", "give the ID of one: f2, f3"),
        ("./c.mov", "has no unfinished upload"),
        ("", "takes"),
    ):
        with pytest.raises(UsageError, match=complaint):
            choose_pending(word, uploads)


@given(st.text())
def test_any_text_is_a_folder_or_refused(text: str) -> None:
    try:
        target = read_folder(text)
    except UsageError:
        return
    assert [target.folder_id, target.project_id, target.path].count(None) == 2
    assert "/" not in f"{target.folder_id}{target.project_id}"


@pytest.mark.parametrize("text", [FOLDER, f"https://next.frame.io/project/{PROJECT}"])
def test_folders_are_made_for_a_path_only(text: str) -> None:
    assert read_folder("A/B", makes=True) == Target(path="A/B", makes=True)
    with pytest.raises(UsageError, match="--make-folders needs a path"):
        read_folder(text, makes=True)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50M", 50_000_000),
        ("800k", 800_000),
        ("1.5G", 1_500_000_000),
        ("2Mi", 2 << 20),
        ("4096", 4096),
        ("50MB/s", 50_000_000),
        ("50 mb", 50_000_000),
    ],
)
def test_a_rate_is_read_with_its_unit(text: str, rate: int) -> None:
    assert read_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "M", "-1M", "fast", "1e6", "50Mbit", "1.2.3k", "\N{ARABIC-INDIC DIGIT FIVE}M", "9" * 30]
)
def test_an_invalid_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="50M"):
        read_rate(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [(None, None), ("1", 1), ("30000000", 30_000_000), ("30M", 30_000_000), ("1.5Gi", 3 << 29), ("64 kib", 65536)],
)
def test_a_size_is_read_with_its_unit(text: str | None, size: int | None) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "M", "0.5", "1.0001k", "30MB/s", "1e6", "9" * 30])
def test_a_size_that_is_no_whole_number_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="30M"):
        read_size(text)


@given(st.text())
def test_escaped_text_cannot_control_a_terminal(text: str) -> None:
    seen = escape(text)
    hidden = {one for one in seen if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert hidden <= {"\u200c", "\u200d"}
    assert len(seen.splitlines()) <= 1
    assert escape(seen) == seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b]0;title\a.mov", r"\x1b]0;title\x07.mov"),
        ("a\nerror: b\r", r"a\nerror: b\r"),
        ("\x9b31m", r"\x9b31m"),
        ("vom.\u202egpj", r"vom.\u202egpj"),
        ("\u2066\u2069\u200f\u061c", r"\u2066\u2069\u200f\u061c"),
        ("a\u2028b\x85", r"a\u2028b\x85"),
        (os.fsdecode(b"caf\xe9.mov"), r"caf\xe9.mov"),
        ("\ud800", r"\ud800"),
        ("\x7f\ufeff\u200b", r"\x7f\ufeff\u200b"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, seen: str) -> None:
    assert escape(text) == seen


@pytest.mark.parametrize(
    "text",
    [
        "Screenshot 11.48.07\u202fAM.png",
        "テイク\u300007.mov",
        "AC\\DC.mov",
        "👩\u200d🎤.mov",
        "می\u200cکن",
        "\uf029",
    ],
)
def test_a_name_that_is_only_unusual_is_shown_as_it_is(text: str) -> None:
    assert escape(text) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_sizes_have_the_units_that_people_use(count: float, text: str) -> None:
    assert format_size(count) == text


def lines_of(rows: list[tuple[str, Progress]], width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    with console.capture() as drawing:
        console.print(progress_table(rows, width))
    return drawing.get().splitlines()


def far(uploaded: int, total: int, rate: float, left: float | None) -> Progress:
    return Progress(
        bytes_uploaded=uploaded,
        bytes_confirmed=0,
        total_bytes=total,
        parts_completed=0,
        total_parts=9,
        bytes_per_second=rate,
        seconds_left=left,
    )


@pytest.mark.parametrize(
    ("width", "bar", "bytes_told"),
    [(60, 8, "167.3 MB"), (80, 9, "167.3 MB of 200.0 MB"), (120, 22, "167.3 MB of 200.0 MB")],
)
def test_the_bar_shrinks_with_the_terminal_and_not_the_time_left(width: int, bar: int, bytes_told: str) -> None:
    (line,) = lines_of([("take-08.mov", far(167_300_000, 200_000_000, 20e6, 2))], width)
    assert re.fullmatch(rf"take-08.mov +━+[━╸ ]*  84% {bytes_told}  20\.0 MB/s  0:02 left *", line)
    (line,) = lines_of([("take-08.mov", far(200_000_000, 200_000_000, 20e6, None))], width)
    assert line.count("━") == bar


@given(
    rows=st.lists(
        st.tuples(
            st.text(min_size=1, max_size=90),
            st.builds(
                far,
                st.integers(0, 10**15),
                st.just(10**15),
                st.floats(0, 1e12),
                st.none() | st.floats(0, 599 * 60),
            ),
        ),
        min_size=1,
        max_size=4,
    ),
    width=st.integers(60, 200),
)
def test_from_60_columns_on_percent_rate_and_time_left_are_seen(rows: list[tuple[str, Progress]], width: int) -> None:
    lines = lines_of(rows, width)
    assert len(lines) == len(rows)
    for line, (_, progress) in zip(lines, rows, strict=True):
        assert cell_len(line) <= width
        assert f"{progress.bytes_uploaded / progress.total_bytes:4.0%} " in line
        assert f"  {format_size(progress.bytes_per_second)}/s" in line
        if progress.seconds_left is not None:
            assert line.rstrip().endswith(" left")


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def test_the_option_is_preferred_to_the_environment(proxies: pytest.MonkeyPatch) -> None:
    api = "https://api.frame.io"
    proxies.setenv("https_proxy", "inspector.studio:3128")
    assert read_proxy(None, api)(api) == "http://inspector.studio:3128"
    assert read_proxy("http://other:1", api)(api) == "http://other:1"
    proxies.setenv("no_proxy", "frame.io")
    assert read_proxy(None, api)(api) is None
    assert read_proxy("http://other:1", api)(api) == "http://other:1"


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("", set()),
        ("amazonaws.com", {"https://bucket.s3.amazonaws.com"}),
        (".frame.io, ims.example", {"https://api.frame.io", "https://ims.example"}),
        ("api.frame.io:444", {"https://api.frame.io:444"}),
        ("*", {"https://api.frame.io", "https://bucket.s3.amazonaws.com"}),
    ],
)
def test_no_proxy_may_name_the_api_s3_or_the_login_alone(
    proxies: pytest.MonkeyPatch, no_proxy: str, direct: set[str]
) -> None:
    proxies.setenv("https_proxy", "http://inspector:3128")
    proxies.setenv("no_proxy", no_proxy)
    choose = read_proxy(None, "https://api.frame.io")
    hosts = {"https://api.frame.io", "https://bucket.s3.amazonaws.com", "https://ims.example"} | direct
    if no_proxy != "*":
        assert {host for host in hosts if choose(host) is None} == direct
    else:
        assert {choose(host) for host in hosts} == {None}


def test_a_proxy_for_everything_is_the_last_choice(proxies: pytest.MonkeyPatch) -> None:
    api = "https://api.frame.io"
    proxies.setenv("all_proxy", "http://last:1")
    assert read_proxy(None, api)(api) == "http://last:1"
    proxies.setenv("https_proxy", "http://first:1")
    assert read_proxy(None, api)(api) == "http://first:1"
    assert read_proxy(None, api)("http://plain.example") == "http://last:1"


@pytest.mark.parametrize("proxy", ["socks5://user:secret@host:1", "ftp://user:secret@host", "http://user:secret@:1"])
def test_a_proxy_that_is_not_http_is_refused_without_its_password(proxies: pytest.MonkeyPatch, proxy: str) -> None:
    for option in (proxy, None):
        proxies.setenv("https_proxy", proxy)
        with pytest.raises(UsageError, match="proxy") as caught:
            read_proxy(option, "https://api.frame.io")
        assert not shown_by(caught.value, "secret")
    assert ("SOCKS is not supported" in str(caught.value)) == proxy.startswith("socks")
