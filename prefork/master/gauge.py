"""What the workers have to do, measured: for Demand, which says how many are wanted. (--min-workers)

A worker's load is the largest of three, since the look before: how many of its places for requests were taken
on average, how many requests waited in it for their turn on average (both by the scoreboard), and how much of
one CPU its process took. Places say little of a gevent worker, which has a thousand of them and one CPU, of
threads, which share one interpreter, and of a fast application, which spends little of a busy worker's time.
CPU says little where other processes take it. Nothing is asked of the workers. A server without --min-workers
is never looked at.
"""

from __future__ import annotations

import math
import time

from ..net import channel
from .actions import Send
from .demand import Demand
from .phases import SERVES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..engine.scoreboard import Scoreboard
    from ..net.listener import Listener
    from .actions import Action
    from .fleet import Fleet
    from .phases import Worker


class Reading:
    """Of one worker at one moment. busy_ns: inside the application, all requests together; waited_ns: before
    that, those that are answered; cpu: seconds."""

    __slots__ = ("busy_ns", "cpu", "now_ns", "pid", "waited_ns")

    def __init__(
        self, pid: int, now_ns: int, *, busy_ns: int = 0, waited_ns: int = 0, cpu: float = 0.0
    ) -> None:
        self.pid = pid
        self.now_ns = now_ns
        self.busy_ns = busy_ns
        self.waited_ns = waited_ns
        self.cpu = cpu


def cpu_time(pid: int) -> float:
    """Seconds of CPU that the process has taken; 0.0 where the system does not tell."""
    try:
        # As clock_getcpuclockid(3) has it: CPUCLOCK_SCHED of a process.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


class Gauge:
    """listeners: the master's own list, filled later.  cpu_time: another one, for tests."""

    def __init__(
        self,
        fleet: Fleet,
        scoreboard: Scoreboard,
        listeners: Sequence[Listener],
        cpu_time: Callable[[int], float] = cpu_time,
    ) -> None:
        self._fleet = fleet
        self._scoreboard = scoreboard
        self._listeners = listeners
        self._cpu_time = cpu_time
        self._demand = Demand()
        self._before: dict[int, Reading] = {}
        self._elders: dict[int, int] = {}  # slot -> pid: who was there before others were asked for

    @property
    def wake(self) -> float:
        """When to look at the latest; inf: never."""
        return self._demand.wake if self._fleet.adapts else math.inf

    def look(self, now: float) -> list[Action]:
        fleet = self._fleet
        current = fleet.current
        assert current is not None
        loads = self._loads(int(now * 1e9))
        verdict = self._demand.look(loads, current, self._waiting, now, firm=fleet.next is None)
        actions: list[Action] = []
        if self._elders and len(loads) >= current.size:
            actions += self._spread(current.size)
        if verdict is not None:
            if verdict.size > current.size:
                self._elders = {slot: reading.pid for slot, reading in self._before.items()}
            actions += fleet.follow(verdict.size, verdict.why, now)
        return actions

    def _spread(self, size: int) -> list[Action]:
        """Those that were asked for are there: their elders leave them a share of the clients."""
        elders, self._elders = self._elders, {}
        word = b"%s %.2f" % (channel.SPREAD, max(0.0, 1 - len(elders) / size))
        return [Send(slot, word) for slot, pid in elders.items() if self._is_there(slot, pid)]

    def _is_there(self, slot: int, pid: int) -> bool:
        return slot in self._before and self._before[slot].pid == pid

    def _loads(self, now_ns: int) -> list[float]:
        """Of all that serve. Who has come since the last look has all its room."""
        readings = {
            worker.slot: self._read(worker, now_ns)
            for worker in self._fleet.workers
            if worker.phase in SERVES
        }
        before, self._before = self._before, readings
        places = self._scoreboard.requests_per_worker
        return [load(before.get(slot), reading, places) for slot, reading in readings.items()]

    def _read(self, worker: Worker, now_ns: int) -> Reading:
        board, slot = self._scoreboard, worker.slot
        return Reading(
            worker.pid,
            now_ns,
            busy_ns=board.busy_ns(slot, now_ns),
            waited_ns=board.worker(slot).queue_ns,
            cpu=self._cpu_time(worker.pid),
        )

    def _waiting(self) -> int:
        return sum(each.waiting() for each in self._listeners)


def load(before: Reading | None, after: Reading, places: int) -> float:
    """How much of the worker's room was taken between two readings, from 0 to 1."""
    if before is None or before.pid != after.pid or before.now_ns >= after.now_ns:
        return 0.0
    span = after.now_ns - before.now_ns
    taken = (after.busy_ns - before.busy_ns) / span / places
    waited = (after.waited_ns - before.waited_ns) / span
    # A request that ended in the middle of a look may be missing there.
    return min(1.0, max(0.0, taken, waited, (after.cpu - before.cpu) * 1e9 / span))
