"""An application with a greenlet that waits from the import on."""

from __future__ import annotations

import os

import gevent
from forks import application, wait_at_gate
from testevents import say


def listen() -> None:
    wait_at_gate()
    say(f"rung in {os.getpid()}")


listener = gevent.spawn(listen)
gevent.sleep(0.05)  # until it waits

__all__ = ["application"]
