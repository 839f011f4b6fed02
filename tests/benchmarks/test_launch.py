"""A server is started, known to answer, looked at and stopped: with a server from the standard library."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import manners, wrk
from benchmarks.callgrind import CannotCount, costliest, render, total
from benchmarks.cases import BY_NAME
from benchmarks.drill import Result, count, line, markdown
from benchmarks.exercises import EXERCISES, Site
from benchmarks.launch import Running, StartFailed, free_port, get
from benchmarks.machine import Cores, busy_seconds, choose_cores, pinned, versions
from benchmarks.servers import Job, Tools
from benchmarks.traffic import Ask, Outcome, Record, Swarm, Tally, Visitor
from benchmarks.traffic.response import Answer
from benchmarks.traffic.scenario import STEPS, script, walk

SERVE = """
import importlib, sys
from wsgiref.simple_server import WSGIRequestHandler, make_server
module, _, attribute = sys.argv[1].partition(":")
app = getattr(importlib.import_module(module), attribute)
class Quiet(WSGIRequestHandler):
    def log_message(self, *args): pass
make_server("127.0.0.1", int(sys.argv[2]), app, handler_class=Quiet).serve_forever()
"""
NOWHERE = Tools(Path("/nonexistent"), Path("/nonexistent"))


def wsgiref(job: Job, tools: Tools) -> list[str]:
    return [sys.executable, "-c", SERVE, job.target, str(job.port)]


def broken(job: Job, tools: Tools) -> list[str]:
    return [sys.executable, "-c", "import sys; sys.exit('the port is taken, say')"]


@pytest.fixture
def cores() -> Cores:
    return choose_cores(None, None)


def start(target: str, cores: Cores, scratch: Path) -> Running:
    return Running(wsgiref, Job(target, free_port()), NOWHERE, cores=cores, scratch=scratch)


def test_a_server_answers_and_leaves_nothing_behind(cores: Cores, tmp_path: Path) -> None:
    with start("plain:app", cores, tmp_path) as running:
        assert running.alive
        assert running.first_answer_s > 0
        assert get(running.job.port, "/").body == b"Hello, World!\n"
        assert os.sched_getaffinity(running.pid) == {cores.server}
        pid = running.pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_server_that_ends_says_why(cores: Cores, tmp_path: Path) -> None:
    with (
        pytest.raises(StartFailed, match="status 1: the port is taken, say"),
        Running(broken, Job("plain:app", free_port()), NOWHERE, cores=cores, scratch=tmp_path),
    ):
        pass


def test_manners_are_observed(cores: Cores, tmp_path: Path) -> None:
    """wsgiref speaks HTTP/1.0: it keeps nothing alive, and sends whatever length it is given."""
    with start("manners:app", cores, tmp_path) as running:
        found = manners.observe(running)
    assert set(found) == {check.name for check in manners.CHECKS}
    assert not found["keep-alive"]
    assert not found["framing"]
    assert found["sharing"] and found["streaming"] and found["close()"] and found["Date"]
    assert found["short body"]
    assert not found["long body"]


def test_the_mixed_site_is_what_the_scenario_expects(cores: Cores, tmp_path: Path) -> None:
    steps = iter([ask for _, ask in STEPS])
    pauses = iter([0.0] * (len(STEPS) - 1) + [3600.0])
    with (
        start("mixed:app", cores, tmp_path) as running,
        Swarm(running.address, [Visitor(steps.__next__, think=pauses.__next__)]) as swarm,
    ):
        assert swarm.wait_total(len(STEPS), timeout=20.0)
    assert swarm.tally.counts == {Outcome.OK: len(STEPS)}, swarm.tally.describe()
    assert set(swarm.tally.workers) == {str(running.pid)}


def test_a_walk_can_be_walked_again() -> None:
    def kinds(seed: int) -> list[str]:
        steps = walk(seed)
        return [next(steps).kind for _ in range(50)]

    assert kinds(7) == kinds(7) != kinds(8)
    assert script(7)().kind == kinds(7)[0]


def test_pinning_is_undone(cores: Cores) -> None:
    before = os.sched_getaffinity(0)
    with pinned(cores.server):
        assert os.sched_getaffinity(0) == {cores.server}
    assert os.sched_getaffinity(0) == before
    assert busy_seconds(cores.server) > 0


def test_versions_of_what_is_installed() -> None:
    assert "pytest" in versions(Path(sys.executable), ["pytest", "no-such-distribution"])
    assert versions(Path("/nonexistent/python"), ["pytest"]) == {}


# asks


@pytest.mark.parametrize(
    ("ask", "close", "wire"),
    [
        (Ask("/a"), False, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"),
        (
            Ask("/a", headers={"X": "1"}),
            True,
            b"GET /a HTTP/1.1\r\nHost: h\r\nX: 1\r\nConnection: close\r\n\r\n",
        ),
        (Ask("/", "POST", body=b"ab"), False, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"),
        (
            Ask("/", "POST", body=b"ab", chunked=True),
            False,
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ),
        (
            Ask("/", "POST", body=b"", chunked=True),
            False,
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ],
)
def test_wire(ask: Ask, close: bool, wire: bytes) -> None:
    assert ask.wire("h", close=close) == wire


def test_an_expected_5xx_is_right() -> None:
    answer = Answer()
    answer.feed(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    assert Ask("/", status=503).judge(answer)[0] is Outcome.OK
    assert Ask("/").judge(answer)[0] is Outcome.SERVER_ERROR


# drills


def test_a_site_changes_whole(tmp_path: Path) -> None:
    site = Site(tmp_path)
    first = (tmp_path / "mixed.py").stat().st_mtime
    site.write("2", import_seconds=1.5, broken="\n(\n")
    text = (tmp_path / "mixed.py").read_text()
    assert 'CODE = "2"' in text
    assert "IMPORT_SECONDS = 1.5" in text
    assert text.endswith("\n(\n")
    assert (tmp_path / "mixed.py").stat().st_mtime > first
    assert [path.name for path in tmp_path.iterdir()] == ["mixed.py"]


def tally(*outcomes: Outcome) -> Tally:
    made = Tally()
    for outcome in outcomes:
        made.add(Record(1.0, 0.1, "page", outcome, "why", False, ""))
    return made


def test_after_term_a_refusal_is_right() -> None:
    ended = tally(Outcome.OK, Outcome.REFUSED, Outcome.RESET_BEFORE)
    assert count("prefork", "term", ended, "").lost == 1
    assert count("prefork", "reload", ended, "").lost == 2


def test_drill_lines_and_tables() -> None:
    results = [
        count("prefork", "reload", tally(Outcome.OK), "5 reloads"),
        count("gunicorn-sync", "reload", tally(Outcome.OK, Outcome.TIMEOUT), "4 reloads"),
        Result("bjoern", "reload", {}, 0, "not run: no reload"),
    ]
    assert "lost 0 of 1" in line(results[0])
    assert "(1 timeout) 4 reloads" in line(results[1])
    assert "not run" in line(results[2])
    table = markdown(results)
    assert "| **prefork** | 1 | 0 |" in table
    assert "| bjoern | - |" in table
    assert json.dumps(results[1].counts) == '{"ok": 1, "timeout": 1}'


def test_every_exercise_says_what_it_does() -> None:
    assert all(exercise.__doc__ for exercise in EXERCISES.values())


# callgrind

DUMP = """\
positions: line
events: Ir
summary: 460

fn=outer
10 100
+2 50
cfn=inner
calls=3 20
10 300
-1 10

fn=inner
20 300
"""


def test_a_dump_is_read_without_what_was_called() -> None:
    assert total(DUMP) == 460
    lines = costliest(DUMP, 5, 10).splitlines()
    assert [line.split() for line in lines] == [["30", "inner"], ["16", "outer"]]


def test_a_dump_without_a_total_is_refused() -> None:
    with pytest.raises(CannotCount):
        total("events: Ir\n")


def test_todays_figure_stands_beside_the_kept_one() -> None:
    text = render("prefork", {"hello": 11000.0, "browser": 20000.0}, {"hello": 10000.0}, "a machine")
    assert "11,000   kept 10,000 (+10.0 %)" in text
    assert "nothing kept" in text
    assert "a machine" in text


def test_wrk_loads_for_less_than_a_second(
    cores: Cores, tmp_path: Path, outside_program: Callable[[str], str]
) -> None:
    outside_program("wrk")
    with start("plain:app", cores, tmp_path) as running:
        load = wrk.run(BY_NAME["close"], running.job.port, 0.3, core=cores.load, scratch=tmp_path)
    assert load.requests > 0
    assert 0.2 < load.seconds < 0.9
