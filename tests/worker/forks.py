"""An application that forks. What its children do, and what they find of the worker."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import works
from testevents import say

Environ = dict[str, Any]
processes = multiprocessing.get_context("fork")


def application(environ: Environ, start_response: Any) -> Iterable[bytes]:
    work = WORKS.get(environ["PATH_INFO"])
    if work is None:
        return works.application(environ, start_response)
    body = work(environ["QUERY_STRING"]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


# --- requests ---


def fork(child: str) -> str:
    pid = os.fork()
    if not pid:
        CHILDREN[child]()
    return str(pid)


def fork_late(seconds: str) -> str:
    """The child has ended before the parent comes to anything."""
    os.register_at_fork(after_in_parent=lambda: burn(seconds))
    return fork_and_reap("end")


def fork_in_greenlet(child: str) -> str:
    import gevent

    return str(gevent.spawn(fork, child).get())


def fork_with_timeout(seconds: str) -> str:
    import gevent

    with gevent.Timeout(float(seconds), False):
        pid = os.fork()
        if not pid:
            time.sleep(20)
    if not pid:
        say("timed out")
        os._exit(0)
    return str(pid)


def process(seconds: str) -> str:
    child = processes.Process(target=time.sleep, args=(float(seconds),), daemon=True)
    child.start()
    return str(child.pid)


def terminate(count: str) -> str:
    """Start processes that would last, and end each at once."""
    codes = set()
    for _ in range(int(count)):
        child = processes.Process(target=time.sleep, args=(20,))
        child.start()
        child.terminate()
        child.join()
        codes.add(child.exitcode)
    return str(codes)


def fork_and_reap(child: str) -> str:
    return reap(fork(child))


def kill(pid: str) -> str:
    os.kill(int(pid), signal.SIGTERM)
    return reap(pid)


def reap(pid: str) -> str:
    return str(os.waitstatus_to_exitcode(os.waitpid(int(pid), 0)[1]))


def burn(seconds: str) -> str:
    """Under gevent nobody else has a turn."""
    since = time.monotonic()
    while time.monotonic() < since + float(seconds):
        pass
    return seconds


def hold_and_say(word: str) -> str:
    wait_at_gate()
    say(f"{word} in {os.getpid()}")
    return word


def run(word: str) -> str:
    """A program, started by way of Python code between fork and exec."""
    return subprocess.check_output(["/bin/echo", "-n", word], text=True, preexec_fn=os.getpid)


WORKS: dict[str, Callable[[str], str]] = {
    "/burn": burn,
    "/fork": fork,
    "/fork-and-reap": fork_and_reap,
    "/fork-in-greenlet": fork_in_greenlet,
    "/fork-late": fork_late,
    "/fork-with-timeout": fork_with_timeout,
    "/process": process,
    "/terminate": terminate,
    "/kill": kill,
    "/reap": reap,
    "/hold-and-say": hold_and_say,
    "/run": run,
}


# --- children ---


def wait_at_gate() -> None:
    with socket.create_connection(("127.0.0.1", int(os.environ["GATE"]))) as gate:
        gate.recv(1)


def hold() -> None:
    """Until the test opens the gate; others could do what they like meanwhile."""
    wait_at_gate()
    time.sleep(0.05)  # whoever else was woken has had time for it
    say("child done")
    os._exit(0)


def look() -> None:
    """What is here that can only be the worker's, but for what gevent makes anew when it is used."""
    time.sleep(0.001)
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(FileNotFoundError):  # the listing itself
            found.append(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115
    sockets = [name for name in found if name.startswith("socket:")]
    say(f"{len(sockets)} sockets, {found.count('anon_inode:[eventpoll]')} epoll instances")
    os._exit(0)


def labour() -> None:
    """What greenlets and threads do for a living."""
    done = []
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=lambda: done.append(ours.recv(3).decode()))
    thread.start()
    time.sleep(0.01)
    theirs.sendall(b"ear")
    thread.join()
    done.append(subprocess.check_output(["/bin/echo", "-n", "echo"], text=True))
    done.append(str(socket.getaddrinfo("127.0.0.1", 80, socket.AF_INET)[0][4][0]))
    say(" ".join(done))
    os._exit(0)


def daemon() -> None:
    """As the books make one: fork again, close everything, open something, which has the numbers by now."""
    if os.fork():
        os._exit(0)
    os.closerange(3, 256)
    ends = [os.pipe() for _ in range(16)]
    if os.fork() == 0:
        for _, end in ends:
            os.write(end, b".")
        os._exit(0)
    say(str(b"".join(os.read(end, 1) for end, _ in ends)))
    os._exit(0)


def end() -> None:
    os._exit(0)


def come_back() -> None:
    time.sleep(0.01)


def leave() -> None:
    time.sleep(0.01)
    sys.exit(7)


def wait_for_nothing() -> None:
    """Nobody is left who could ring this."""
    import gevent.event

    gevent.event.Event().wait()


CHILDREN: dict[str, Callable[[], None]] = {
    "hold": hold,
    "look": look,
    "labour": labour,
    "daemon": daemon,
    "end": end,
    "come-back": come_back,
    "leave": leave,
    "abort": os.abort,
    "wait-for-nothing": wait_for_nothing,
}
