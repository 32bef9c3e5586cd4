"""Read the descriptions of the links, of the variants that are measured on them, and of the goals."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..wan.network import Way, goodput

LINKS = Path(__file__).with_name("links.toml")


@dataclass(frozen=True)
class Variant:
    """The settings of one client."""

    parts: str
    """A number of parts in flight, `auto`, or `sdk`."""
    congestion: str | None = None
    """`Limits.congestion`; None for its default."""

    @classmethod
    def read(cls, word: str) -> Variant:
        """Read `8`, `auto`, `auto:system`, `8:bbr` or `sdk`."""
        parts, _, congestion = word.partition(":")
        return cls(parts, congestion or None)

    @property
    def is_fixed(self) -> bool:
        """Whether it has a fixed number of parts in flight."""
        return self.parts.isdecimal()

    def __str__(self) -> str:
        return self.parts if self.congestion is None else f"{self.parts}:{self.congestion}"


@dataclass(frozen=True)
class Goal:
    """What a measure of a variant has to be."""

    of: str
    what: str
    least: float | None = None
    most: float | None = None
    to: str | None = None

    def holds(self, measured: float) -> bool:
        """Return whether the goal is reached."""
        return (self.least is None or measured >= self.least) and (self.most is None or measured <= self.most)

    def __str__(self) -> str:
        against = "" if self.to is None else f" ÷ that of {self.to}"
        bound = f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"
        return f"{self.what} of {self.of}{against} {bound}"


@dataclass(frozen=True)
class Link:
    """One link, with a service that may be slow or refuse, and what is measured on it. `links.toml` has the units."""

    name: str
    rate: float
    variants: tuple[Variant, ...]
    rtt: float = 0.04
    loss: float = 0.0
    queue: float = 0.05
    changes: tuple[tuple[float, float], ...] = ()
    beside: bool = False
    cap: float = 0.0
    slow_every: int = 0
    slow_cap: float = 0.0
    limit: int = 0
    size: int = 240_000_000
    part_size: int = 4_000_000
    cap_seconds: float = 60.0
    """Seconds after which a run is ended."""
    rounds: int = 2
    goals: tuple[Goal, ...] = ()
    without: str | None = None
    """The link that has everything but the trouble of this one; `auto without it` in a goal is `auto` there."""
    study: bool = False

    @classmethod
    def read(cls, words: dict[str, Any]) -> Link:
        """Read one table of `links.toml`."""
        more = {
            "variants": tuple(map(Variant.read, words["variants"])),
            "changes": tuple((at, rate) for at, rate in words.get("changes", ())),
            "goals": tuple(Goal(**one) for one in words.get("goals", ())),
        }
        return cls(**words | more)

    @property
    def way(self) -> Way:
        """The link between client and server."""
        return Way(rtt=self.rtt, loss=self.loss, rate=self.rate, queue=self.queue)

    def sink_options(self) -> list[str]:
        """Return the options of the C sink."""
        found = []
        if self.cap:
            found += ["--cap", f"{self.cap:.0f}"]
        if self.slow_every:
            found += ["--slow-every", str(self.slow_every), "--slow-cap", f"{self.slow_cap:.0f}"]
        if self.limit:
            found += ["--limit", str(self.limit)]
        return found


def read_links(path: Path = LINKS) -> list[Link]:
    """Read all links.

    Raises:
        ValueError: A name is used twice, or one that is referred to does not exist.
    """
    links = [Link.read(words) for words in tomllib.loads(path.read_text(encoding="utf-8"))["link"]]
    names = [link.name for link in links]
    if len(set(names)) != len(names):
        raise ValueError("two links have the same name")
    for link in links:
        known = {*map(str, link.variants), "best", *(["auto without it"] if link.without else [])}
        for goal in link.goals:
            if goal.of not in known or goal.to not in {None, *known}:
                raise ValueError(f"{link.name}: a goal is about a variant that is not measured: {goal}")
        if link.without not in {None, *names}:
            raise ValueError(f"{link.name}: there is no link {link.without!r}")
    return links


@dataclass(frozen=True)
class Rates:
    """The rate of a link over time."""

    steps: tuple[tuple[float, float], ...]
    """Instants and the bits per second from then on; the first instant is before every other."""

    def capacity(self, began: float, ended: float) -> float:
        """Return how many bytes of TCP payload the link could carry between two instants."""
        total = 0.0
        for number, (at, rate) in enumerate(self.steps):
            until = self.steps[number + 1][0] if number + 1 < len(self.steps) else ended
            total += max(0.0, min(until, ended) - max(at, began)) * goodput(rate)
        return total
