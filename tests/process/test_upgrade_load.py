"""Upgrades and molds under load: no request fails in any way."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from launcher import Server, until
from procfs import session, state

from .conftest import Project, Start

# Last, so that an installed prefork is found before the source tree of it.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.traffic import Ask, Outcome, Swarm, Visitor

ASK = Ask("/")
VISITORS = [*[Visitor(lambda: ASK)] * 16, *[Visitor(lambda: ASK, keep_alive=False)] * 4]


def nothing_lost(swarm: Swarm) -> None:
    assert swarm.tally.counts[Outcome.OK] == swarm.tally.total, swarm.tally.describe()


@pytest.mark.parametrize("flags", [(), ("--threads", "4"), ("--preload",)], ids=["sync", "threads", "mold"])
def test_upgrades_good_and_broken(start: Start, project: Project, flags: tuple[str, ...]) -> None:
    server = start(*flags, "-p", "pid", workers=2)
    master = server.pid
    with Swarm(server.address, VISITORS) as swarm:
        assert swarm.wait_total(200)
        for turn in range(3):
            project.write("import nothing_of_that_name\n")
            mark = server.stderr.mark
            os.kill(master, signal.SIGUSR2)
            server.stderr.wait("upgrade failed, this master serves on", since=mark)
            project.mark(f"turn{turn}")
            os.kill(master, signal.SIGUSR2)
            (found,) = server.stderr.wait(r"upgrade: pid (\d+) has taken over", since=mark)
            old, master = master, int(found[1])
            until(lambda old=old: state(old) in "XZ", "the old master is gone")
            assert swarm.wait_more(200)
    nothing_lost(swarm)
    finish(server, master)


def test_molds_killed_and_reloaded(start: Start, project: Project) -> None:
    server = start("--preload", workers=2)
    with Swarm(server.address, VISITORS) as swarm:
        assert swarm.wait_total(200)
        for turn in range(2, 5):
            (mold,) = [pid for pid in session(server.pid) if b"mold" in cmdline(pid)]
            os.kill(mold, signal.SIGKILL)
            server.stderr.wait(rf"mold {mold} was killed by SIGKILL")
            project.mark(f"turn{turn}")
            server.send_signal(signal.SIGHUP)
            server.stderr.wait(rf"ready.*: generation {turn}\b")
            assert swarm.wait_more(200)
    nothing_lost(swarm)
    server.pardon()


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def finish(server: Server, master: int) -> None:
    server.pardon()
    os.kill(master, signal.SIGTERM)
    until(lambda: not session(server.pid), "nothing is left")
