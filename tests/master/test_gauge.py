"""What the workers have to do, as the scoreboard and the clock of their CPU time say it."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import pytest

from prefork.engine.scoreboard import Scoreboard
from prefork.master.actions import Send
from prefork.master.fleet import Policy
from prefork.master.gauge import Gauge, Reading, cpu_time, load
from prefork.master.phases import Phase

from .world import World

SECOND = 10**9


class Queue:
    """A listener: so many wait."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.asked = 0

    def waiting(self) -> int:
        self.asked += 1
        return self.number


class Shop(World):
    """Workers of a fleet, whose loads are what the test says."""

    def __init__(self, least: int = 2, most: int = 8, places: int = 1) -> None:
        super().__init__(24, start=False)
        self.do(self.fleet.start(Policy(size=most, least=least), self.now))
        self.settle()
        self.board = Scoreboard(24, places)
        self.places = places
        self.queue = Queue()
        self.cpu: dict[int, float] = {}
        self.gauge = Gauge(
            self.fleet,
            self.board,
            [self.queue],  # type: ignore[list-item]
            lambda pid: self.cpu.get(pid, 0.0),
        )
        self.busy = dict.fromkeys(range(24), 0)

    def run(
        self,
        seconds: float,
        *,
        busy: float = 0.0,
        cpu: float = 0.0,
        queue: float = 0.0,
        boots: bool = True,
    ) -> list[int]:
        """Let time pass; each worker has that share of its places and of a CPU taken, and so many wait."""
        until, sizes = self.now + seconds, [self.fleet.size]
        while self.gauge.wake <= until:
            span = max(0.0, self.gauge.wake - self.now) if math.isfinite(self.gauge.wake) else 0.0
            self.now += span
            for slot in self.slots(Phase.SERVING):
                self.busy[slot] += int(busy * span * SECOND * self.places)
                self.board.set_load(slot, connections=0, running=0, busy_ns=self.busy[slot])
                self.board.count(slot, status=200, queue_ns=int(queue * span * SECOND))
                pid = self.fleet.workers[slot].pid
                self.cpu[pid] = self.cpu.get(pid, 0.0) + cpu * span
            self.do(self.gauge.look(self.now))
            if boots:
                self.settle()
            if self.fleet.size != sizes[-1]:
                sizes.append(self.fleet.size)
        self.now = until
        return sizes


@pytest.mark.parametrize(
    ("places", "before", "after", "expected"),
    [
        (1, {}, {"busy_ns": SECOND // 2}, 0.5),
        (4, {}, {"busy_ns": SECOND // 2}, 0.125),
        (1, {}, {"busy_ns": 3 * SECOND}, 1.0),
        (1, {"busy_ns": SECOND}, {}, 0.0),
        (1, {"cpu": 2.0}, {"busy_ns": SECOND // 2, "cpu": 2.75}, 0.75),
        (1, {"cpu": 2.0}, {"busy_ns": SECOND // 2}, 0.5),  # the system does not tell any more
        (1000, {}, {"cpu": 3.5}, 1.0),  # threads of its own
        (1000, {}, {"cpu": 0.4, "waited_ns": SECOND // 2}, 0.5),
        (1000, {"waited_ns": 9 * SECOND}, {"waited_ns": 19 * SECOND}, 1.0),
    ],
)
def test_load(places: int, before: dict[str, Any], after: dict[str, Any], expected: float) -> None:
    assert load(Reading(7, 0, **before), Reading(7, SECOND, **after), places) == expected


def test_load_of_who_has_no_past_is_none() -> None:
    now = Reading(7, SECOND, busy_ns=SECOND, waited_ns=SECOND, cpu=1.0)
    assert load(None, now, 1) == 0.0
    assert load(Reading(8, 0), now, 1) == 0.0  # another worker
    assert load(Reading(7, SECOND), now, 1) == 0.0


def test_cpu_time_is_the_process_own() -> None:
    before = cpu_time(os.getpid())
    assert before <= time.process_time() <= cpu_time(os.getpid())
    child = os.fork()
    if child == 0:
        while time.process_time() < 0.05:
            pass
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert 0.05 <= cpu_time(child) < 10
    os.waitpid(child, 0)
    assert cpu_time(child) == 0.0


def test_a_server_without_a_range_is_never_looked_at() -> None:
    for least in (0, 8):
        shop = Shop(least, 8)
        assert shop.gauge.wake == math.inf


def test_nor_is_one_that_stops() -> None:
    shop = Shop()
    assert shop.gauge.wake < math.inf
    shop.do(shop.fleet.stop(shop.now))
    assert shop.gauge.wake == math.inf


@pytest.mark.parametrize("places", [1, 8])
def test_grows_when_all_places_are_taken_and_shrinks_later(places: int) -> None:
    shop = Shop(2, 4, places)
    assert shop.run(30, busy=0.7) == [2]
    assert not shop.queue.asked, "nobody has to be counted"
    assert shop.run(3, busy=1.0) == [2, 3, 4]
    assert shop.run(60, busy=0.01) == [4, 3, 2]


def test_grows_when_the_cpu_is_taken() -> None:
    shop = Shop(2, 4, 1000)
    assert shop.run(3, busy=0.01, cpu=0.95) == [2, 3, 4]


def test_grows_when_requests_wait_in_the_workers() -> None:
    """... as they do in gevent workers where other processes take the CPU."""
    shop = Shop(2, 4, 1000)
    assert shop.run(30, busy=0.01, cpu=0.4, queue=0.4) == [2]
    assert shop.run(3, busy=0.01, cpu=0.4, queue=7.0) == [2, 3, 4]


def test_who_waits_counts() -> None:
    shop = Shop(4, 24)
    shop.run(1, busy=0.5)
    shop.queue.number = 4
    assert shop.run(0.25, busy=1.0) == [4, 8]
    assert shop.queue.asked == 1


def test_who_was_there_before_leaves_its_share_to_those_that_come() -> None:
    shop = Shop(2, 4)
    shop.run(1, busy=0.5)
    elders = shop.slots(Phase.SERVING)
    shop.queue.number = 2
    shop.taken()
    assert shop.run(0.25, busy=1.0, boots=False) == [2, 4]
    assert shop.run(5, busy=1.0, boots=False) == [4]
    assert not shop.taken(), "nobody is there yet who could take them"
    shop.settle()
    shop.queue.number = 0
    shop.run(0.25, busy=0.5)
    assert shop.taken() == [Send(slot, b"spread 0.50") for slot in elders]
    shop.run(5, busy=0.5)
    assert not shop.taken()


def test_requests_that_do_not_end_are_load() -> None:
    shop = Shop(1, 4)
    shop.run(1)
    start_ns = int(shop.now * SECOND)
    shop.board.set_load(0, connections=1, running=1)
    shop.board.begin_request(0, 0, b"GET", b"/hang", start_ns=start_ns)
    for _ in range(8):
        shop.now = max(shop.now, shop.gauge.wake)
        shop.do(shop.gauge.look(shop.now))
        shop.settle()
    assert shop.fleet.size == 2, "the other one has room"


def test_a_new_worker_in_an_old_slot_begins_anew() -> None:
    shop = Shop(2, 4)
    shop.run(1, busy=0.5)
    shop.die(0)
    shop.board.clear(0)
    shop.busy[0] = 0
    shop.settle()
    assert shop.run(30, busy=0.7) == [2]
