"""Datagrams to the service manager, by path and by abstract name."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from prefork.net.notify import Notify, from_environ


@pytest.mark.parametrize("abstract", [False, True])
def test_send(tmp_path: Path, abstract: bool) -> None:
    name = f"@prefork-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        notify = from_environ({"NOTIFY_SOCKET": name})
        notify.send(READY=1, STATUS="one\ntwo")
        assert manager.recv(1024) == b"READY=1\nSTATUS=one two\n"
        assert notify.heritage(7) == {"NOTIFY_SOCKET": name}
        notify.close()
        notify.send(READY=1)
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(1024)


def test_nobody_listens(tmp_path: Path) -> None:
    notify = Notify(str(tmp_path / "nothing"))
    notify.send(READY=1)
    notify.close()


ME = str(os.getpid())
WATCHDOGS = {
    "mine": ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": ME}, 3.0),
    "whoever's": ({"WATCHDOG_USEC": "500000"}, 0.5),
    "another's": ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
    "none": ({}, 0.0),
    "nonsense": ({"WATCHDOG_USEC": "soon", "WATCHDOG_PID": ME}, 0.0),
}


@pytest.mark.parametrize("name", WATCHDOGS)
def test_watchdog(name: str) -> None:
    environ, seconds = WATCHDOGS[name]
    environ = {"NOTIFY_SOCKET": "/run/notify", "OTHER": "stays", **environ}
    assert from_environ(environ).watchdog == seconds
    assert environ == {"OTHER": "stays"}


def test_heritage_is_what_from_environ_takes() -> None:
    notify = Notify("\0name", 2.5)
    again = from_environ(notify.heritage(os.getpid()))
    assert (again.address, again.watchdog) == ("\0name", 2.5)


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_no_manager(address: str) -> None:
    assert not from_environ({"NOTIFY_SOCKET": address})
