"""Signals as bytes, and their parting at a fork."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator

import pytest

from prefork.net import signals
from prefork.net.signals import Signals


@pytest.fixture
def caught() -> Iterator[Signals]:
    found = Signals((signal.SIGUSR1, signal.SIGUSR2))
    yield found
    found.forget()


def test_numbers_arrive_in_order(caught: Signals) -> None:
    assert caught.take() == []
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR2)
    assert select.select([caught.fd], [], [], 5)[0]
    assert caught.take() == [signal.SIGUSR1, signal.SIGUSR2]
    assert caught.take() == []


def test_a_childs_signal_is_not_the_parents(caught: Signals) -> None:
    """Blocked from before the fork until the child has let go of the pipe, or both would write into it."""
    signals.block()
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGUSR1)  # pending: it is blocked
        caught.forget()
        signals.unblock()
        os._exit(1)  # not reached: USR1 has its default action again
    signals.unblock()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGUSR1
    assert caught.take() == []


def test_names() -> None:
    assert signals.name(signal.SIGTERM) == "TERM"
    assert signals.name(99) == "signal 99"
