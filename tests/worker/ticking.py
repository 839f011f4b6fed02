"""An application with greenlets that wait from the import on."""

from __future__ import annotations

import os

import gevent
from forks import application, wait_at_gate
from greenlet import getcurrent, greenlet
from testevents import say


def listen() -> None:
    wait_at_gate()
    say(f"rung in {os.getpid()}")


def rest() -> None:
    """Nobody has kept this greenlet: only what will wake it knows it."""
    timer = hub.loop.timer(100)
    timer.start(getcurrent().switch)
    try:
        hub.switch()
    finally:
        say(f"unwound in {os.getpid()}")


hub = gevent.get_hub()
listener = gevent.spawn(listen)
hub.loop.run_callback(greenlet(rest, hub).switch)
gevent.sleep(0.05)  # until they wait

__all__ = ["application"]
