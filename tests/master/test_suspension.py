"""Gaps in the master's own time."""

from __future__ import annotations

import pytest

from prefork.master import suspension
from prefork.master.suspension import BRIEF, LATE, Standstill


class Clock:
    """time.monotonic() by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def after(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(suspension, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("spans", "continued", "gap"),
    [
        ((0, 10_000, 10_000), False, 0),  # as it wanted
        ((0, 3, 100), False, 0),  # woken by an event
        ((0, 1 + LATE / 2, 1), False, 0),  # late, as on a busy machine
        ((0, 30, 100), True, 30),  # stopped while it slept
        ((30, 0, 100), True, 30),  # stopped before it slept
        ((0, 30, 1), False, 30),  # frozen, without a signal
        ((0, BRIEF / 2, 100), True, 0),  # continued at once, as by systemd behind TERM: it was not stopped
    ],
)
def test_gap(clock: Clock, spans: tuple[float, float, float], continued: bool, gap: float) -> None:
    """Seconds between the last look and its sleep, of its sleep, and for which it wanted to sleep."""
    busy, asleep, wanted = spans
    standstill = Standstill()
    for _ in range(2):  # and none is counted twice
        clock.after(busy)
        assert standstill.sleeps(clock.now + wanted) == clock.now + wanted
        clock.after(asleep)
        assert standstill.gap(continued) == pytest.approx(gap)
