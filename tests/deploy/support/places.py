"""Where things are, addresses nobody else has, and programs in the foreground."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import procfs
from launcher import DEADLINE, Lines

HERE = Path(__file__).parent.parent
REPOSITORY = HERE.parent.parent
DEPLOY = REPOSITORY / "deploy"
APPS = HERE / "apps"

_numbers = itertools.count(1)


def free_address() -> tuple[str, int]:
    """A loopback address that only this call has, and a port that is free there.

    The port is closed again, because the program that is to listen binds by itself. Nobody takes it
    meanwhile: all of 127.0.0.0/8 is this machine (RFC 1122 3.2.1.3), and the address is made of our pid.
    """
    pid = os.getpid()
    host = f"127.{pid >> 8 & 0x7F | 0x80}.{pid & 0xFF}.{next(_numbers) % 250 + 2}"
    with socket.socket() as taken:
        taken.bind((host, 0))
        return host, taken.getsockname()[1]


def adapted(text: str, changes: Mapping[str, str]) -> str:
    """The text of a file with its documented defaults replaced. Each has to be there: a test of what is not
    in the file would prove nothing."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the file any more"
        text = text.replace(old, new)
    return text


class Program:
    """An outside program in the foreground, in a session of its own; what it says is one stream of lines."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.said = Lines(self.process.stdout, Path(command[0]).name)

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end; kill what is left of its session."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                pass
        for pid in procfs.session(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        self.said.wait_end()

    def wait_listening(self, address: tuple[str, int] | str) -> None:
        """Until it takes connections. A refused connect is an answer at once: the pause between two is on the
        program's own stream, so its end is seen."""
        until = time.monotonic() + DEADLINE
        while True:
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            with socket.socket(family) as probe:
                probe.settimeout(1)
                try:
                    probe.connect(address)
                    return
                except OSError:
                    pass
            if self.said.ended or time.monotonic() > until:
                self.end()
                text = "\n".join(self.said.lines)
                raise AssertionError(f"{' '.join(self.command)} does not listen on {address}:\n{text}")
            try:
                self.said.wait_end(0.02)
            except AssertionError:
                continue
