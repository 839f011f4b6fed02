"""The turn between threads: passed, stolen, seized, never doubled and never lost."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness import KEEP, LOST, PATIENCE, Rig, get

from prefork.engine.baton import Baton

Threads = list[threading.Thread]
LONG = 3600.0  # a threshold that no test reaches


@contextmanager
def running(
    baton: Baton, *targets: Callable[[], Any], monitor: bool = False
) -> Iterator[list[threading.Thread]]:
    """Threads that end with the baton; what one of them raises is raised here."""
    faults: list[BaseException] = []

    def guarded(target: Callable[[], Any]) -> None:
        try:
            target()
        except BaseException as fault:
            faults.append(fault)

    wanted: list[Callable[[], Any]] = [*targets, *([baton.monitor] if monitor else [])]
    threads = [threading.Thread(target=guarded, args=(target,), daemon=True) for target in wanted]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        baton.quit(len(threads))
        for thread in threads:
            thread.join(PATIENCE)
        assert not faults, faults
    assert not any(thread.is_alive() for thread in threads)


def until(done: Callable[[], object]) -> None:
    """Let the others run until done() is true."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, "never"
        give_way()


def give_way() -> None:
    """Let go of the GIL and the processor once; sched_yield() keeps the GIL."""
    time.sleep(0)


# --- by hand ---


def test_nobody_is_there_to_take_it() -> None:
    baton = Baton(LONG)
    assert baton.parked == 0
    assert baton.give() is False
    assert baton.passed == 0


def test_given_turn_is_taken() -> None:
    baton = Baton(LONG)
    led: list[bool] = []
    with running(baton, lambda: led.append(baton.take())):
        until(lambda: baton.parked)
        assert baton.give() is True
        until(lambda: led)
        assert led == [True]
        assert baton.passed == 1
        assert baton.parked == 0


@pytest.mark.parametrize("count", [1, 2, 8])
def test_quit_wakes_everybody(count: int) -> None:
    baton = Baton(LONG)
    led: list[bool] = []
    with running(baton, *([lambda: led.append(baton.take())] * count), monitor=True):
        until(lambda: baton.parked == count)
        assert led == []
    assert led == [False] * count
    assert baton.take() is False


def test_quit_before_the_monitor_begins() -> None:
    baton = Baton(0)
    baton.quit(0)
    baton.monitor()


def test_turn_is_seized_only_from_inside_the_application() -> None:
    baton = Baton(LONG)
    assert baton.seize() is False
    baton.enter()
    assert baton.seize() is True
    assert baton.seize() is False  # its new leader polls
    baton.leave()  # of the old one: changes nothing
    assert baton.seize() is False
    baton.enter()
    assert baton.leave() >= 0
    assert baton.seize() is False


def test_turn_is_seized_while_the_thread_it_was_given_to_is_on_its_way() -> None:
    """That one parks again, and takes the next turn that is given."""
    baton = Baton(LONG)
    led: list[bool] = []
    with running(baton, lambda: led.append(baton.take())):
        until(lambda: baton.parked)
        # Nobody else runs Python between the two calls unless the GIL is asked for, once in 5 ms.
        while not (baton.give() and baton.seize()):
            assert led == [], "the other thread was faster"
        until(lambda: baton.parked)
        assert led == []
        assert baton.give() is True
        until(lambda: led)
        assert led == [True]


def test_offered_turn_is_given_when_nobody_is_about_to_come_back() -> None:
    baton = Baton(80)
    assert baton.offer(0) is False  # nobody is free
    with running(baton, baton.take):
        until(lambda: baton.parked)
        assert baton.offer(0) is True


def test_offered_turn_is_left_to_those_who_come_back() -> None:
    baton = Baton(80)  # for ten seconds after a slow request the next one is expected to end
    with running(baton, baton.take):
        until(lambda: baton.parked)
        for _ in range(100):
            baton.judge(80)
            assert baton.offer(0) is False
        assert (baton.passed, baton.parked) == (0, 1)


@pytest.mark.parametrize(("waiting", "offers"), [(1, 4), (2, 2), (3, 2), (4, 1), (64, 1)])
def test_offered_turn_is_given_when_too_much_waits(waiting: int, offers: int) -> None:
    baton = Baton(80)
    with running(baton, baton.take):
        until(lambda: baton.parked)
        baton.judge(80)
        assert [baton.offer(waiting) for _ in range(offers)] == [False] * (offers - 1) + [True]


def test_what_is_slow() -> None:
    baton = Baton(0.01)
    assert not baton.slow
    for _ in range(3):
        baton.judge(0.02)
    assert baton.slow
    for _ in range(8):
        baton.judge(0.001)
    assert not baton.slow
    for _ in range(1000):
        baton.judge(0)
    for _ in range(3):
        baton.judge(0.01)
    assert baton.slow


# --- the monitor ---


def test_monitor_passes_the_turn_of_a_leader_that_is_held() -> None:
    baton = Baton(0.001)
    led: list[bool] = []
    with running(baton, lambda: led.append(baton.take()), monitor=True):
        baton.enter()
        until(lambda: led)
        held = baton.leave()
        assert led == [True]
        assert baton.passed == 1
        assert held >= 0.001


def test_monitor_leaves_short_requests_alone() -> None:
    baton = Baton(LONG)
    led: list[bool] = []
    with running(baton, lambda: led.append(baton.take()), monitor=True):
        until(lambda: baton.parked)
        for _ in range(20_000):
            baton.enter()
            baton.leave()
        assert (baton.passed, led) == (0, [])


def test_thread_that_parks_late_gets_the_turn_of_a_held_leader() -> None:
    """The monitor has given up waiting for one by then, and sleeps."""
    baton = Baton(0.0001)
    led: list[bool] = []
    with running(baton, monitor=True) as (monitor,):
        baton.enter()
        until(lambda: asleep(monitor))
        with running(baton, lambda: led.append(baton.take())):
            until(lambda: led)
            assert led == [True]


def asleep(thread: threading.Thread) -> bool:
    status = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "S"


def switches(thread: threading.Thread) -> int:
    """How often a thread has gone to sleep."""
    for line in Path(f"/proc/self/task/{thread.native_id}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            return int(line.split()[1])
    raise AssertionError("no such line")


@pytest.mark.parametrize(("held", "parked"), [(False, 0), (False, 1), (True, 0)])
def test_idle_monitor_does_not_wake_up(held: bool, parked: int) -> None:
    """Fifty thresholds without an event: nothing to look at, since nobody asks, or nobody is free."""
    baton = Baton(0.002)
    followers: list[Callable[[], Any]] = [baton.take] * parked
    with running(baton, *followers, monitor=True) as threads:
        monitor = threads[-1]
        until(lambda: baton.parked == parked)
        for _ in range(100):
            baton.enter()
            baton.leave()
        if held:
            baton.enter()
        nothing = os.eventfd(0)
        poll = select.poll()
        poll.register(nothing, select.POLLIN)
        assert poll.poll(20) == []  # the monitor comes to rest
        before = switches(monitor)
        assert poll.poll(100) == []
        assert switches(monitor) == before
        assert asleep(monitor)
        assert baton.passed == 0
        os.close(nothing)


# --- many of them ---


class Leading:
    """Sees to it that one thread leads at a time."""

    def __init__(self) -> None:
        self.who: int | None = None
        self.changes = 0

    def begin(self) -> None:
        assert self.who is None, "two threads lead"
        self.who = threading.get_ident()
        self.changes += 1

    def beyond(self, changes: int) -> bool:
        return self.changes > changes

    def end(self) -> None:
        assert self.who == threading.get_ident()
        self.who = None


@pytest.mark.parametrize("count", [2, 4])
def test_20_000_given_turns(count: int) -> None:
    baton = Baton(LONG)
    leading = Leading()
    over = threading.Event()
    total = 20_000 // (1 if count == 2 else 2)

    def follow() -> None:
        while baton.take():
            leading.begin()
            if leading.changes >= total:
                over.set()
                return
            before = leading.changes
            leading.end()
            until(baton.give)
            until(partial(leading.beyond, before))  # or it would take the turn again itself

    with running(baton, *[follow] * count, monitor=True):
        until(lambda: baton.parked == count)
        assert baton.give()
        assert over.wait(PATIENCE * 3), f"lost after {leading.changes}"
        assert baton.passed == leading.changes == total


@pytest.mark.parametrize("threshold", [0.0, 0.0001])
def test_5_000_stolen_turns(threshold: float) -> None:
    """Each leader is held inside the application until another one leads, so no turn may be lost."""
    baton = Baton(threshold)
    over = threading.Event()
    gates: list[threading.Semaphore] = []
    total = 5_000
    led = 0

    def follow() -> None:
        nonlocal led
        while baton.take():
            led += 1
            if gates:
                gates.pop().release()
            if led >= total:
                over.set()
                return
            mine = threading.Semaphore(0)
            gates.append(mine)
            baton.enter()
            assert mine.acquire(timeout=PATIENCE), f"nobody took turn {led}"
            # No leave(): it is for one thread, and does nothing for a leader that has lost the turn.

    with running(baton, *[follow] * 3, monitor=True):
        until(lambda: baton.parked == 3)
        assert baton.give()
        assert over.wait(PATIENCE * 3), f"lost after {led}"
        assert baton.passed == total


def test_10_000_seized_turns() -> None:
    """Two threads that never park take the turn from one another, whenever the other is inside."""
    baton = Baton(LONG)
    leading = Leading()
    over = threading.Event()

    def work(leads: bool) -> None:
        while leading.changes < 10_000:
            if not leads:
                leads = baton.seize()
                if not leads:
                    give_way()
                    continue
            leading.begin()
            leading.end()
            before = leading.changes
            baton.enter()
            while leading.changes == before and not over.is_set():
                give_way()
            leads = False
        over.set()

    with running(baton, lambda: work(True), lambda: work(False)) as threads:
        for thread in threads:
            thread.join(PATIENCE * 3)
        assert over.is_set()
        assert baton.passed == 0


# --- under a Station ---


def test_run_says_that_the_turn_was_lost() -> None:
    baton = Baton(0.0005)
    led: list[bool] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            until(lambda: led)
        start_response("200 OK", [])
        return [b"x"]

    with Rig(app) as rig:
        rig.station.share_turn(baton)
        with running(baton, lambda: led.append(baton.take()), monitor=True):
            fast, slow = rig.client().send(get()), rig.client().send(get("/slow"))
            assert slow.connection.turn(1) == KEEP | LOST
            assert (led, baton.passed) == ([True], 1)
            assert fast.connection.turn(1) == KEEP  # nobody else is parked
            for client in (fast, slow):
                assert client.take().endswith(b"x")
                assert client.state == "OPEN"


def test_run_apart_touches_no_turn() -> None:
    baton = Baton(0.0)
    led: list[bool] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        assert baton.seize() is False
        start_response("200 OK", [])
        return [b"x"]

    with Rig(app) as rig:
        rig.station.share_turn(baton)
        rig.station.hold = True
        with running(baton, lambda: led.append(baton.take()), monitor=True):
            client = rig.client()
            client.ask(get())
            until(lambda: baton.parked)
            assert client.connection.run(True) == KEEP
            assert client.take().endswith(b"x")
            assert (baton.passed, led) == (0, [])
