"""The words of a crash report, and the OOM kills of a cgroup, from files of the test."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from prefork.engine.scoreboard import Scoreboard
from prefork.master.crash import Crashes
from prefork.master.oom import OomKills

NOW = 1000.0
SECOND = 10**9
EXIT_7 = 7 << 8
SEGV, KILL = int(signal.SIGSEGV), int(signal.SIGKILL)


class Cgroup:
    """A root folder with what proc(5) and sysfs(5) would say."""

    def __init__(self, root: Path, cgroup: str, counter: str, text: str = "oom_kill {}\n") -> None:
        self.root = root
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text(cgroup)
        self._path = root / "sys/fs/cgroup" / counter
        self._path.parent.mkdir(parents=True)
        self._text = text
        self.count(2)

    def count(self, number: int) -> None:
        self._path.write_text(self._text.format(number))


V2 = "low 0\nhigh 0\nmax 9\noom 4\noom_kill {}\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
LAYOUTS = {
    "v2": ("0::/system.slice/web.service\n", "system.slice/web.service/memory.events", V2),
    "v2 in a container": ("0::/\n", "memory.events", V2),
    "v2, the host's path": ("0::/kubepods/pod1/abc\n", "memory.events", V2),
    "v1": ("4:memory:/web\n1:name=systemd:/web\n", "memory/web/memory.oom_control", V1),
    "v1 in a container": ("4:memory:/docker/abc\n", "memory/memory.oom_control", V1),
    "hybrid": ("4:cpu,memory:/web\n0::/web\n", "memory/web/memory.oom_control", V1),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_oom_kills(tmp_path: Path, name: str) -> None:
    cgroup = Cgroup(tmp_path, *LAYOUTS[name])
    kills = OomKills(str(tmp_path))
    assert kills.claim(NOW) == 0  # those of before say nothing
    cgroup.count(4)
    assert kills.claim(NOW) == 4
    assert kills.claim(NOW + 0.1) == 4  # two were killed at once
    assert kills.claim(NOW + 0.2) == 0
    cgroup.count(6)
    assert kills.claim(NOW + 1) == 6
    assert kills.claim(NOW + 60) == 0  # the other was somebody else


@pytest.mark.parametrize("cgroup", ["", "0::/x\n", "nonsense\n", "3:memory:/x\n"])
def test_no_counter(tmp_path: Path, cgroup: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    if "nonsense" not in cgroup:
        (tmp_path / "proc/self/cgroup").write_text(cgroup)
    assert OomKills(str(tmp_path)).claim(NOW) == 0


def make(tmp_path: Path, requests: int = 1) -> tuple[Crashes, Scoreboard, Cgroup]:
    cgroup = Cgroup(tmp_path, *LAYOUTS["v2"])
    board = Scoreboard(2, requests)
    return Crashes(board, OomKills(str(tmp_path))), board, cgroup


def begin(board: Scoreboard, target: bytes, *, request: int = 0, ago: float = 0.5) -> None:
    board.begin_request(0, request, b"GET", target, start_ns=int((NOW - ago) * SECOND))


def test_running_request_is_named(tmp_path: Path) -> None:
    crashes, board, _ = make(tmp_path)
    begin(board, b"/a?b=c")
    assert crashes.describe(0, SEGV, NOW) == "was killed by SIGSEGV, running GET /a?b=c for 0.5 s"


def test_exit_code_and_the_last_request(tmp_path: Path) -> None:
    crashes, board, _ = make(tmp_path)
    begin(board, b"/a")
    board.end_request(0, 0)
    said = crashes.describe(0, EXIT_7, NOW)
    assert said == "exited with code 7; the last request it has answered was GET /a"


def test_several_last_requests_have_no_order(tmp_path: Path) -> None:
    crashes, board, _ = make(tmp_path, requests=5)
    for number in range(5):
        begin(board, b"/%d" % number, request=number)
        board.end_request(0, number)
    said = crashes.describe(0, EXIT_7, NOW)
    assert said.endswith("; among the last requests it has answered were GET /0, GET /1, GET /2")


def test_clean_end_is_no_crash(tmp_path: Path) -> None:
    crashes, board, _ = make(tmp_path)
    begin(board, b"/a")
    # It may have been told to leave in the middle of it, or the request has called os._exit(0).
    assert crashes.describe(0, 0, NOW) == "exited with code 0, running GET /a for 0.5 s"
    assert crashes.describe(0, 0, NOW) == "exited with code 0, running GET /a for 0.5 s"


def test_how_often_the_same_path(tmp_path: Path) -> None:
    crashes, board, _ = make(tmp_path)
    begin(board, b"/other")
    crashes.describe(0, SEGV, NOW)
    begin(board, b"/a?1")
    assert "deaths" not in crashes.describe(0, SEGV, NOW)
    begin(board, b"/a?2")
    assert crashes.describe(0, SEGV, NOW + 1).endswith("; GET /a was running in 2 deaths of the last 10 min")
    assert crashes.describe(0, SEGV, NOW + 599).endswith("GET /a was running in 3 deaths of the last 10 min")
    assert crashes.describe(0, SEGV, NOW + 700).endswith("GET /a was running in 2 deaths of the last 10 min")


def test_oom_kill_is_said_where_it_is_known(tmp_path: Path) -> None:
    crashes, _, cgroup = make(tmp_path)
    assert crashes.describe(0, KILL, NOW) == "was killed by SIGKILL"
    cgroup.count(3)
    assert crashes.describe(0, SEGV, NOW) == "was killed by SIGSEGV"  # no OOM kill looks like that
    said = crashes.describe(0, KILL, NOW)
    assert said == "was killed by SIGKILL (the kernel's OOM killer: oom_kill of its cgroup is 3 now)"
