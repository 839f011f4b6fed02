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


def test_no_gap(clock: Clock) -> None:
    standstill = Standstill()
    for span in (0.0, 0.5, 10_000.0):
        assert standstill.sleeps(clock.now + span) == clock.now + span
        clock.after(span + LATE / 2)
        assert standstill.gap(False) == 0


def test_stopped_while_it_slept(clock: Clock) -> None:
    standstill = Standstill()
    standstill.sleeps(clock.now + 100)
    clock.after(30)
    assert standstill.gap(True) == 30


def test_stopped_before_it_slept(clock: Clock) -> None:
    standstill = Standstill()
    standstill.sleeps(clock.now + 100)
    assert standstill.gap(False) == 0
    clock.after(30)
    standstill.sleeps(clock.now + 100)
    assert standstill.gap(True) == 30


def test_frozen_without_a_signal(clock: Clock) -> None:
    standstill = Standstill()
    standstill.sleeps(clock.now + 1)
    clock.after(30)
    assert standstill.gap(False) == 30
    standstill.sleeps(clock.now + 1)
    assert standstill.gap(False) == 0


def test_continued_at_once(clock: Clock) -> None:
    """As systemd does behind TERM: whoever is busy with that has not been stopped."""
    standstill = Standstill()
    standstill.sleeps(clock.now + 100)
    clock.after(5)
    assert standstill.gap(False) == 0
    standstill.sleeps(clock.now + 100)
    clock.after(BRIEF / 2)
    assert standstill.gap(True) == 0
