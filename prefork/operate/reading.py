"""One server, looked at again and again: what it does now, and what has happened between two looks.

The server is found anew when it has ended, so a restart or an upgrade is followed. Counters are compared only
within one master's life: another one begins with counters of its own.
"""

from __future__ import annotations

import time
from collections import deque

from ..errors import OlderError, PreforkError
from ..net import control
from ..telemetry.histogram import dense, quantile
from . import running
from .usage import Usage, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Ask = Callable[[int, str, float], Iterable[dict[str, Any]]]

PATIENCE = 2.0  # seconds; who watches wants to hear soon that a master says nothing
_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


class Look:
    """What a server said at one moment (monotonic seconds), and what its processes took by then."""

    __slots__ = ("moment", "said", "usages")

    def __init__(self, said: dict[str, Any], moment: float, usages: dict[int, Usage]) -> None:
        self.said = said
        self.moment = moment
        self.usages = usages

    @property
    def pid(self) -> int:
        return int(self.said["server"]["pid"])


class Reader:
    """named: as running.find has it; here: the folder in which a server without a name is looked for.
    apart: two looks that are compared lie at least so many seconds apart, where there are such."""

    def __init__(
        self,
        named: str | None,
        *,
        here: str = "",
        apart: float = 0.0,
        ask: Ask = control.ask,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.named = named
        self._here = here
        self._apart = apart
        self._ask = ask
        self._clock = clock
        self._pid = 0
        self._looks: deque[Look] = deque()  # the newest last; all but the first are too near to compare with

    def read(self) -> dict[str, Any]:
        """Look once more: `figures` of this look and one before. Raises PreforkError."""
        look = self._look()
        while self._looks and self._looks[0].pid != look.pid:
            self._looks.popleft()
        while len(self._looks) > 1 and look.moment - self._looks[1].moment >= self._apart:
            self._looks.popleft()
        before = self._looks[0] if self._looks else None
        self._looks.append(look)
        return figures(look, before)

    def answer(self, word: str) -> dict[str, Any]:
        """The server's answer to a question. Raises PreforkError."""
        said = self._answer(self.pid(), word)
        if said.get("state") == "refused":
            raise OlderError(f"{_older(self._pid)}: it cannot tell its {word}; prefork upgrade renews it")
        return said

    def pid(self) -> int:
        """The master's. The one that was found stays it for its life, whatever else is started. Raises
        PreforkError."""
        if self.named is not None or not (self._pid and control.is_master(self._pid)):
            self._pid = running.find(self.named, self._here)
            if self.named is None:  # of several, its successor is the one that runs where it did
                self._here = running.folder(self._pid)
        return self._pid

    def _look(self) -> Look:
        said = self.answer("status")
        if "histograms" not in said:
            raise OlderError(f"{_older(self._pid)}: prefork status shows it, prefork upgrade renews it")
        pids = [said["server"]["pid"], *(worker["pid"] for worker in said["workers"])]
        found = {pid: each for pid in pids if (each := usage(pid)) is not None}
        return Look(said, self._clock(), found)

    def _answer(self, pid: int, word: str) -> dict[str, Any]:
        for said in self._ask(pid, word, PATIENCE):
            return said
        raise PreforkError(f"the server (pid {pid}) has ended")


def _older(pid: int) -> str:
    return f"pid {pid} runs an older prefork"


def figures(look: Look, before: Look | None) -> dict[str, Any]:
    """What `prefork status --json` says, and more. `now`: requests a second, spans and so on since the look
    before; None where there is none to compare with, or was nothing to measure. In each worker:
    requests_per_second, cpu (1.0 is one processor, busy all the time) and memory (resident bytes); None where
    nobody can tell."""
    said = look.said
    span = max(look.moment - before.moment, 1e-6) if before is not None else 0.0
    return {**said, "now": _now(look, before, span), "workers": _workers(look, before, span)}


def _now(look: Look, before: Look | None, span: float) -> dict[str, Any]:
    said, totals = look.said, look.said["totals"]
    master = look.usages.get(look.pid)
    serving = sum(worker["state"] == "serving" for worker in said["workers"])
    running_now = sum(worker["running"] for worker in said["workers"])
    at_once = serving * said["requests_per_worker"]
    found: dict[str, Any] = {
        "interval": None,
        "up": master.age if master is not None else None,
        "running": running_now,
        "at_once": at_once,
        "busy": min(1.0, running_now / at_once) if at_once else None,
        "connections": totals["connections"],
        "requests_per_second": None,
        "statuses_per_second": None,
        "latency": None,
        "queue": None,
    }
    if before is not None:
        old = before.said["totals"]
        found["interval"] = span
        found["requests_per_second"] = max(0, totals["requests"] - old["requests"]) / span
        found["statuses_per_second"] = {
            name: max(0, count - old["statuses"].get(name, 0)) / span
            for name, count in totals["statuses"].items()
        }
        for kind in ("latency", "queue"):
            found[kind] = _spans(said["histograms"][kind], before.said["histograms"][kind])
    return found


def _spans(after: dict[str, int], before: dict[str, int]) -> dict[str, float] | None:
    """Quantiles of what was counted in between, in seconds; None where nothing was."""
    counts: Sequence[int] = [max(0, new - old) for new, old in zip(dense(after), dense(before), strict=True)]
    return {name: quantile(counts, share) for name, share in _SHARES.items()} if any(counts) else None


def _workers(look: Look, before: Look | None, span: float) -> list[dict[str, Any]]:
    """A slot whose worker is another one by now has counted from nothing."""
    old = {} if before is None else {worker["pid"]: worker for worker in before.said["workers"]}
    found = []
    for worker in look.said["workers"]:
        pid = worker["pid"]
        taken = look.usages.get(pid)
        more: dict[str, Any] = {
            "requests_per_second": None,
            "cpu": None,
            "memory": taken.memory if taken is not None else None,
        }
        if before is not None:
            counted = old[pid]["requests"] if pid in old else 0
            more["requests_per_second"] = max(0, worker["requests"] - counted) / span
            taken_before = before.usages.get(pid)
            if taken is not None:
                if taken_before is not None:
                    more["cpu"] = max(0.0, taken.processor - taken_before.processor) / span
                else:
                    more["cpu"] = taken.processor / max(taken.age, 0.01)
        found.append({**worker, **more})
    return found
