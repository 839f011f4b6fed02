"""Every request counted once, under its kind, with when it ended and how long it took."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass

from .outcome import LOST, Outcome

# A server that is down gives the same line 100,000 times; the counts stay exact, the details stop here.
KEPT_RECORDS = 1000


@dataclass(frozen=True, slots=True)
class Record:
    """A request that was not ok: enough to find it in the server's log."""

    at: float  # monotonic seconds when it ended
    took: float
    kind: str
    outcome: Outcome
    detail: str
    reused: bool  # not the first request on its connection
    worker: str  # X-Worker of this connection's last answer, "" when there was none


class Tally:
    """Counts, the latencies of what went well, and the first KEPT_RECORDS of what did not."""

    def __init__(self) -> None:
        self.counts: Counter[Outcome] = Counter()
        self.by_kind: Counter[tuple[str, Outcome]] = Counter()
        self.records: list[Record] = []
        self.connections = 0
        self.idle_closed = 0  # kept-alive connections that the server had closed before they were used again
        self.kept = 0  # connections that were alive and idle when the swarm ended
        self.unbegun = 0  # arrivals that found no free connection until the swarm stopped
        self.workers: Counter[str] = Counter()  # requests by X-Worker
        self._ended: dict[str, array[float]] = {}
        self._took: dict[str, array[float]] = {}

    def add(self, record: Record) -> None:
        self.counts[record.outcome] += 1
        self.by_kind[record.kind, record.outcome] += 1
        if record.worker:
            self.workers[record.worker] += 1
        if record.outcome is Outcome.OK:
            self._ended.setdefault(record.kind, array("d")).append(record.at)
            self._took.setdefault(record.kind, array("d")).append(record.took)
        elif len(self.records) < KEPT_RECORDS:
            self.records.append(record)

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def lost(self) -> int:
        """Requests that did not end well, of every kind."""
        return sum(self.counts[outcome] for outcome in LOST)

    def took(
        self, kind: str | None = None, *, since: float = 0.0, until: float = float("inf")
    ) -> list[float]:
        """Seconds each ok request took, sorted, of one kind or of all, that ended within [since, until)."""
        kinds = list(self._took) if kind is None else [kind]
        return sorted(
            took
            for name in kinds
            for at, took in zip(self._ended.get(name, ()), self._took.get(name, ()), strict=True)
            if since <= at < until
        )

    def describe(self) -> str:
        """One line of counts, then the first failures: what a failing test should print."""
        counts = ", ".join(f"{self.counts[o]} {o.value}" for o in Outcome if self.counts[o]) or "no requests"
        lines = [f"{counts}; {self.connections} connections, {self.idle_closed} closed while idle"]
        lines += [
            f"  {r.outcome.value}: {r.kind} after {r.took * 1000:.1f} ms"
            f"{', reused connection' if r.reused else ''}"
            f"{f', worker {r.worker}' if r.worker else ''}: {r.detail}"
            for r in self.records[:10]
        ]
        return "\n".join(lines)
