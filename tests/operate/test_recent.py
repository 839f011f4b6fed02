"""One answer for all who ask within a moment."""

from __future__ import annotations

import threading

import pytest

from prefork.errors import PreforkError
from prefork.operate.reading import Reader
from prefork.operate.site import FRESH, Recent

from .conftest import Master


def test_however_many_ask_the_master_is_asked_once(master: Master) -> None:
    moments = [0.0]
    recent = Recent(Reader(None, ask=master.ask).read, clock=lambda: moments[0])
    threads = [threading.Thread(target=recent) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert master.asked == 1
    moments[0] = FRESH / 2
    recent()
    assert master.asked == 1
    moments[0] = FRESH
    recent()
    assert master.asked == 2


def test_a_fault_is_as_recent_as_an_answer() -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise PreforkError("no")

    recent = Recent(fail, clock=lambda: 0.0)
    for _ in range(3):
        with pytest.raises(PreforkError, match=r"^no$"):
            recent()
    assert len(calls) == 1
