"""An application whose requests do not end by themselves: /KIND/WHEN.

WHEN is before or after the head is sent. Each says on the FIFO which process has it, then goes on for longer
than any test waits. "mutex" holds the GIL in a call that no signal ends; "stubborn" catches whatever is
raised in it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from testevents import say

Environ = dict[str, Any]


def loop() -> None:
    any(False for _ in iter(int, 1))  # hangs here: loop


def sleep() -> None:
    time.sleep(60)  # hangs here: sleep


def receive() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)  # hangs here: receive


def mutex() -> None:
    library, lock = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(lock)
    library.pthread_mutex_lock(lock)  # hangs here: mutex


def stubborn() -> None:
    while True:
        try:
            time.sleep(0.05)  # hangs here: stubborn
        except BaseException:
            continue


KINDS: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (loop, sleep, receive, mutex, stubborn)
}


def application(environ: Environ, start_response: Any) -> Iterable[bytes]:
    _, kind, *when = environ["PATH_INFO"].split("/")
    text = str(os.getpid()).encode()
    if kind == "pid":
        start_response("200 OK", [("Content-Length", str(len(text)))])
        return [text]
    say(f"{kind} {os.getpid()}")
    if when == ["after"]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return begun(kind)
    KINDS[kind]()
    raise AssertionError("it was to hang")


def begun(kind: str) -> Iterator[bytes]:
    yield b"begun"
    KINDS[kind]()
