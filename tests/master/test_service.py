"""What the service manager hears, with a fake clock and a notebook in place of its socket."""

from __future__ import annotations

import math

import pytest

from prefork.engine.scoreboard import Scoreboard
from prefork.master import service
from prefork.master.service import Service, progresses
from prefork.net.notify import Notify


class Notebook(Notify):
    """What would have been sent."""

    def __init__(self, watchdog: float = 0.0) -> None:
        super().__init__("/run/notify", watchdog)
        self.sent: list[str] = []

    def send(self, **fields: object) -> None:
        self.sent += [f"{key}={value}" for key, value in fields.items()]

    def taken(self) -> list[str]:
        sent, self.sent = self.sent, []
        return sent


def make(watchdog: float = 0.0, healthy: bool = True) -> tuple[Service, Notebook]:
    notebook = Notebook(watchdog)
    return Service(notebook, lambda now: healthy), notebook


def test_a_life() -> None:
    served, heard = make()
    served.starting(0.0)
    served.ready("4 workers", 1.0)
    assert heard.taken() == ["READY=1", "STATUS=4 workers"]
    served.reloading("reloading", 2.0)
    first, stamp, status = heard.taken()
    assert (first, status) == ("RELOADING=1", "STATUS=reloading")
    assert int(stamp.removeprefix("MONOTONIC_USEC=")) > 0
    served.ready("again", 3.0)
    served.stopping("draining", 4.0)
    served.stopping("stopping", 5.0)
    served.ready("never", 5.0)
    served.reloading("never", 5.0)
    assert heard.taken() == ["READY=1", "STATUS=again", "STOPPING=1", "STATUS=draining"]


def test_long_starts_and_drains_ask_for_more_time() -> None:
    served, heard = make()
    served.starting(0.0)
    assert served.wake == service.EXTEND_INTERVAL
    served.tick(4.9)
    assert heard.taken() == []
    served.tick(5.0)
    assert heard.taken() == ["EXTEND_TIMEOUT_USEC=15000000"]
    assert served.wake == 10.0
    served.ready("", 6.0)
    assert served.wake == math.inf
    served.stopping("", 7.0)
    assert served.wake == 12.0


def test_watchdog_is_fed_at_every_half_of_its_time() -> None:
    served, heard = make(watchdog=2.0)
    served.starting(0.0)
    assert served.wake == service.EXTEND_INTERVAL  # it begins with READY (sd_watchdog_enabled(3))
    served.ready("", 1.0)
    assert heard.taken() == ["READY=1", "STATUS=", "WATCHDOG=1"]
    assert served.wake == 2.0
    served.tick(2.0)
    assert heard.taken() == ["WATCHDOG=1"]
    assert served.wake == 3.0


def test_watchdog_starves_when_nothing_makes_progress() -> None:
    served, heard = make(watchdog=2.0, healthy=False)
    served.ready("", 1.0)
    served.tick(2.0)
    served.tick(3.0)
    assert "WATCHDOG=1" not in heard.taken()


def test_after_an_upgrade_the_old_master_is_silent() -> None:
    served, heard = make(watchdog=2.0)
    served.ready("", 1.0)
    heard.taken()
    served.succeeded(77)
    served.stopping("draining", 2.0)
    served.status("draining")
    assert heard.taken() == ["MAINPID=77"]
    assert served.wake == math.inf


def test_without_a_manager_the_loop_is_never_woken() -> None:
    served = Service(Notify(), lambda now: True)
    served.starting(0.0)
    served.ready("", 0.0)
    served.stopping("", 0.0)
    assert served.wake == math.inf


SECOND = 10**9
PROGRESS = {
    # running, seconds since the beat, (seconds since the start, seconds to the deadline or None)
    "idle, silent for long": (0, 1000, None, True),
    "busy, beating": (1, 1, (100, None), True),
    "one long request in time": (1, 100, (100, 20), True),
    "one long request past its deadline": (1, 100, (100, -1), False),
    "a request without deadline, young": (1, 100, (10, None), True),
    "a request without deadline, old": (1, 100, (100, None), False),
}


@pytest.mark.parametrize("name", PROGRESS)
def test_progress(name: str) -> None:
    running, silent, request, expected = PROGRESS[name]
    board = Scoreboard(1, 1)
    board.beat(0)
    beat = board.worker(0).beat_ns
    now_ns = beat + silent * SECOND
    board.set_load(0, connections=1, running=running)
    if request is not None:
        age, left = request
        deadline = 0 if left is None else now_ns + left * SECOND
        board.begin_request(0, 0, b"GET", b"/", start_ns=now_ns - age * SECOND, deadline_ns=deadline)
    assert progresses(board, 0, now_ns / 1e9) is expected
