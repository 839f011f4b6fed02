"""A machine of one's own, in the time that a process takes: namespaces and a copy-on-write root.

Inside, ports 80 and 8000 are free, /etc may be written to, useradd and a2ensite do what they do, and
process 1 may be systemd; outside, nothing of it is seen, and it all ends with the machine. So the steps of
a README can be run as they stand (unshare(1), overlayfs).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import procfs
from places import REPOSITORY

SCRIPT = Path(__file__).with_name("machine.sh")
NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child")
ENTER = ("--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--root", "--wd")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASH = ("bash", "-euxo", "pipefail", "-c")
PRIVATE = ("SHARED", "LENT", "OPENED")  # of machine.sh
EMPTY = ("/run", "/srv")  # there


@cache
def why_not() -> str:
    """Why there can be no machine here; "" where there can."""
    if os.geteuid() != 0:
        return "needs root, for namespaces and a root file system of its own"
    missing = [name for name in ("unshare", "mount", "pivot_root", "ip", "nsenter") if _find(name) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    with Machine() as machine:
        tried = machine.run("true", deadline=20)
    if tried.returncode:
        return f"no namespaces or overlayfs here: {tried.stdout.strip().splitlines()[-1:]}"
    return ""


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{PATH}")


class Machine:
    """Machines with the same settings: each `run` is a new one, `boot` one that stays. A context manager."""

    def __init__(self, *, shared: Sequence[Path] = (), env: Mapping[str, str] | None = None) -> None:
        """shared: folders seen inside under their own names, written to by both sides."""
        self._stack = ExitStack()
        self._root = tempfile.mkdtemp(prefix="prefork-machine-")
        self._stack.callback(os.rmdir, self._root)
        read = {REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)}
        lent = [
            folder
            for folder in read
            if folder.stat().st_dev != Path("/").stat().st_dev or any(map(folder.is_relative_to, EMPTY))
        ]
        self.env = {
            "PATH": f"{Path(sys.prefix) / 'bin'}:{PATH}",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "SHARED": "\n".join(map(str, shared)),
            "LENT": "\n".join(map(str, lent)),
            "OPENED": "\n".join(map(str, _closed_parents())),
            **(env or {}),
        }

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def command(self, *words: str) -> list[str]:
        """The command that runs these words as process 1 of a new machine."""
        return ["unshare", *NAMESPACES, "sh", str(SCRIPT), self._root, *words]

    def run(self, script: str, *, deadline: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell script, tracing each line, in a new machine; it ends with the script."""
        return finish(piped(self.command(*BASH, script), self.env), deadline)

    def boot(self) -> Inside:
        """Start a machine in which nothing runs; it stays until the context ends."""
        # bash stays process 1 and so collects the orphans of the machine, as an init does.
        process = piped(self.command("bash", "-c", "echo up; sleep infinity & wait"), self.env)
        self._stack.callback(process.wait)
        self._stack.callback(kill_session, process.pid)
        assert process.stdout is not None
        self._stack.callback(process.stdout.close)
        first = process.stdout.readline()
        assert first == "up\n", first + process.stdout.read()
        return Inside(process.pid, self.env)


class Inside:
    """A machine that is up: what is run here is run there."""

    def __init__(self, outer: int, env: Mapping[str, str]) -> None:
        """outer: the process whose only child is the machine's process 1."""
        (self.pid,) = procfs.children(outer)
        self.env = {key: text for key, text in env.items() if key not in PRIVATE}

    def command(self, *words: str) -> list[str]:
        """The command that runs these words there."""
        return ["nsenter", "--target", str(self.pid), *ENTER, *words]

    def run(self, script: str, *, deadline: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell script, tracing each line, until it ends."""
        return finish(piped(self.command(*BASH, script), self.env), deadline)

    def ask(self, script: str, *, deadline: float = 60) -> str:
        """The same for a script that has to succeed; what it said."""
        done = self.run(script, deadline=deadline)
        assert done.returncode == 0, done.stdout
        return done.stdout


def piped(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """A process with one stream of text for what it says."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], deadline: float) -> subprocess.CompletedProcess[str]:
    """Read what it says until it ends; at the deadline end its whole session."""
    try:
        said, _ = process.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        kill_session(process.pid)
        said, _ = process.communicate()
        said += f"\n[ended after {deadline} s]\n"
    return subprocess.CompletedProcess(process.args, process.returncode, said)


def kill_session(leader: int) -> None:
    """End every process of a session that a test began; a pid namespace ends with its first one."""
    for pid in procfs.session(leader):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _closed_parents() -> list[Path]:
    """Folders on the way to the interpreter that are closed to other users (a home): opened inside, as the
    steps run servers as users of their own."""
    ways = (Path(sys.prefix), Path(sys.base_prefix), REPOSITORY)
    return sorted({each for way in ways for each in way.parents if not each.stat().st_mode & 0o001})
