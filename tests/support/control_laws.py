"""Laws that the control of the parts in flight was compared with: `python -m tests.support.control_laws`."""

from __future__ import annotations

from collections.abc import Callable

from aioframeio_upload._core.concurrency import Concurrency, Sample

from .link_model import Law, Link, Seen, simulate

LIMIT = 64
MB = 10**6


class Searching(Law):
    """The library's. Until `awaits_until`, another congestion control may be the cure for losses."""

    def __init__(self, limit: int = LIMIT, awaits_until: float = 0.0, bandwidth: int | None = None) -> None:
        self.control = Concurrency(limit, bandwidth=bandwidth)
        self.awaits_until = awaits_until
        super().__init__(self.control.slots)

    def observe(self, seen: Seen) -> int:
        """Return the number of slots from now on."""
        trip = seen.round_trip or 0.0
        counts = seen.now, seen.moved, seen.in_flight, seen.waiting, seen.part_size
        sample = Sample(*counts, trip, seen.queue, seen.resent, seen.now < self.awaits_until)
        self.slots = self.control.observe(sample)
        for _ in seen.completed:
            self.control.completed()
        return self.slots

    def refused(self, now: float, begun_at: float, in_flight: int) -> int:
        """Note that the service refused a part."""
        self.slots = self.control.refused(now, begun_at, in_flight)
        return self.slots


class Gradient(Law):
    """Netflix's concurrency-limits, `Gradient2Limit`: the long-term mean of the latency divided by the present one.

    Latency is that of a megabyte of a part in flight, so that parts need not be complete.
    """

    def __init__(self) -> None:
        super().__init__(2)
        self._estimate, self._long = 2.0, 0.0
        self._before: tuple[float, int] | None = None

    def observe(self, seen: Seen) -> int:
        """Return the number of slots from now on."""
        if self._before is None or seen.now - self._before[0] >= 0.5:
            if self._before is not None and seen.moved > self._before[1]:
                latency = (seen.now - self._before[0]) * seen.in_flight / (seen.moved - self._before[1])
                self._long = latency if not self._long else self._long + (latency - self._long) / 100
                gradient = max(0.5, min(1.0, 1.5 * self._long / latency))
                wanted = self._estimate * gradient + 4
                self._estimate = max(1.0, min(LIMIT, 0.8 * self._estimate + 0.2 * wanted))
                self.slots = int(self._estimate)
            self._before = seen.now, seen.moved
        return self.slots

    def refused(self, now: float, begun_at: float, in_flight: int) -> int:
        """Note that the service refused a part."""
        self._estimate = max(1.0, self._estimate * 0.9)
        self.slots = int(self._estimate)
        return self.slots


class Regression(Law):
    """xet-core's: a part is a success if it is no slower than a weighted regression of earlier ones predicts."""

    def __init__(self) -> None:
        super().__init__(2)
        self._score, self._changed_at, self._bytes = 0.5, 0.0, 0
        self._n = self._x = self._y = self._xx = self._xy = 0.0

    def observe(self, seen: Seen) -> int:
        """Return the number of slots from now on."""
        for seconds, size, in_flight in seen.completed:
            load = size * in_flight / MB
            predicted = self._predict(load)
            self._score += 0.1 * ((seconds <= predicted * 1.1) - self._score)
            self._bytes += int(size)
            weights = (1.0, load, seconds, load * load, load * seconds)
            sums = (self._n, self._x, self._y, self._xx, self._xy)
            self._n, self._x, self._y, self._xx, self._xy = (
                0.95 * total + one for total, one in zip(sums, weights, strict=True)
            )
        if seen.now - self._changed_at >= 0.5 and self._bytes >= 20 * MB:
            step = 1 if self._score > 0.8 else -1 if self._score < 0.5 else 0
            if step:
                self.slots = max(1, min(LIMIT, self.slots + step))
                self._changed_at, self._bytes = seen.now, 0
        return self.slots

    def _predict(self, load: float) -> float:
        spread = self._n * self._xx - self._x * self._x
        if self._n < 3 or spread <= 1e-9:
            return float("inf")
        slope = (self._n * self._xy - self._x * self._y) / spread
        return (self._y - slope * self._x) / self._n + slope * load

    def refused(self, now: float, begun_at: float, in_flight: int) -> int:
        """Note that the service refused a part."""
        self._score *= 0.9
        return self.slots


class Additive(Law):
    """AIMD, as TCP Reno: one more each second, half where a part is refused."""

    def __init__(self) -> None:
        super().__init__(2)
        self._changed_at = self._halved_at = 0.0

    def observe(self, seen: Seen) -> int:
        """Return the number of slots from now on."""
        if seen.now - self._changed_at >= 1.0 and seen.waiting:
            self.slots, self._changed_at = min(LIMIT, self.slots + 1), seen.now
        return self.slots

    def refused(self, now: float, begun_at: float, in_flight: int) -> int:
        """Note that the service refused a part."""
        if begun_at >= self._halved_at:
            self.slots, self._halved_at, self._changed_at = max(1, self.slots // 2), now, now
        return self.slots


LAWS: dict[str, Callable[[], Law]] = {
    "search": Searching,
    "gradient": Gradient,
    "regression": Regression,
    "AIMD": Additive,
    "8": lambda: Law(8),
    "32": lambda: Law(32),
}
CASES: dict[str, tuple[Link, int, int]] = {
    "40 ms": (Link(), 20 * MB, 100),
    "40 ms, 0.1 %": (Link(loss=0.001), 20 * MB, 100),
    "150 ms": (Link(round_trip=0.15), 20 * MB, 100),
    "150 ms, 0.1 %": (Link(round_trip=0.15, loss=0.001), 20 * MB, 100),
    "150 ms, 0.1 %, 1.9 GB": (Link(round_trip=0.15, loss=0.001), 1900 * MB, 16),
    "12 Mbit/s": (Link(rate=1.5e6, round_trip=0.01), 20 * MB, 20),
    "12 Mbit/s, 1.9 GB": (Link(rate=1.5e6, round_trip=0.01), 1900 * MB, 5),
    "1.5 MB/s each": (Link(rate=125e6, per_connection=1.5e6), 20 * MB, 100),
    "refuses more than 6": (Link(most=6), 20 * MB, 100),
    "beside one": (Link(others=1), 20 * MB, 100),
    "no link": (Link(rate=1e9, round_trip=0.0002, answer=0.001, step=0.01), 32 * MB, 300),
}


def main() -> None:
    """Print a table: seconds, the most in flight in the second half, bytes in vain, and the share of the others."""
    print("| link | " + " | ".join(LAWS) + " |")
    for name, (link, size, count) in CASES.items():
        cells = []
        for make in LAWS.values():
            run = simulate(link, make(), [size] * count)
            most = max(run.in_flight(run.seconds / 2))
            other = f" ({run.of_others / run.seconds / link.rate:.0%})" if link.others else ""
            vain = f" {run.refused} refused" if run.refused else ""
            cells.append(f"{run.seconds:.0f} s, {most}{vain}{other}")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
