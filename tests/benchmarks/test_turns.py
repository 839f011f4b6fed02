"""Rounds and turns: who comes when, what becomes of those that fail, and an end in time."""

from __future__ import annotations

import re
import threading

import pytest

from benchmarks import turns
from benchmarks.cases import BY_NAME, Case
from benchmarks.launch import StartFailed
from benchmarks.probes import Reading
from benchmarks.servers import SERVERS, CannotRun, Server
from benchmarks.turns import Results, Turn


def test_every_server_has_a_turn_in_every_round() -> None:
    hello = BY_NAME["hello"]
    servers = [server for server in SERVERS if server.name in ("limit", "prefork", "bjoern")]
    order = [(n, server.name) for n, _, server in turns.plan([hello], servers, 2)]
    assert order == [(1, "limit"), (1, "prefork"), (1, "bjoern"), (2, "limit"), (2, "prefork"), (2, "bjoern")]


def test_servers_only_get_cases_they_are_for() -> None:
    taking = {server.name for _, _, server in turns.plan([BY_NAME["sleep1000"]], SERVERS, 1)}
    assert taking == {"prefork-gevent", "gunicorn-gevent", "gevent-pywsgi"}


def test_a_server_that_cannot_run_is_asked_once_and_its_reason_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measure(bench: object, server: object, case: object) -> Reading:
        name: str = server.name  # type: ignore[attr-defined]
        asked.append(name)
        if name == "bjoern":
            raise CannotRun("not installed")
        if name == "granian":
            raise StartFailed("silent")
        return Reading({"cpu_us": 1.0})

    monkeypatch.setattr(turns, "measure", measure)
    servers = [server for server in SERVERS if server.name in ("prefork", "bjoern", "granian")]
    made, told = Results(), []
    turns.play(None, turns.plan([BY_NAME["hello"]], servers, 2), made, lambda place, what: told.append(place))  # type: ignore[arg-type]
    assert asked == ["prefork", "granian", "bjoern", "prefork"]
    assert made.reasons == {("hello", "bjoern"): "not installed", ("hello", "granian"): "failed: silent"}
    assert made.values("hello", "prefork", "cpu_us") == {1: 1.0, 2: 1.0}


def test_what_hardly_varies_has_one_round_when_time_is_short() -> None:
    cases = [BY_NAME["hello"], BY_NAME["memory"]]
    servers = [server for server in SERVERS if server.name == "prefork"]
    order = [(n, case.name) for n, case, _ in turns.plan(cases, servers, 3, steady_once=True)]
    assert order == [(1, "hello"), (1, "memory"), (2, "hello"), (3, "hello")]


class Clock:
    """A monotonic clock that turns move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("benchmarks.turns.time.monotonic", lambda: self.now)

    def measure(self, bench: object, server: object, case: Case) -> Reading:
        self.now += {"hello": 1.0, "close": 5.0}[case.name]
        return Reading({"cpu_us": 1.0})


@pytest.mark.parametrize(
    ("seconds", "rounds"),
    [
        (0.5, {"hello": 1, "close": 0}),  # a turn that has begun ends
        (12.0, {"hello": 1, "close": 1}),
        (15.0, {"hello": 2, "close": 1}),
        (30.0, {"hello": 4, "close": 2}),  # close would not be over with a third, hello is with a fourth
        (1000.0, {"hello": 4, "close": 4}),
    ],
)
def test_no_round_begins_that_would_not_be_over_in_time(
    monkeypatch: pytest.MonkeyPatch, seconds: float, rounds: dict[str, int]
) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(turns, "measure", clock.measure)
    servers = [server for server in SERVERS if server.name in ("prefork", "bjoern")]
    made = Results()
    order = turns.plan([BY_NAME["hello"], BY_NAME["close"]], servers, 4)
    turns.play(None, order, made, lambda place, what: None, until=clock.now + seconds)  # type: ignore[arg-type]
    assert {name: made.rounds(name) for name in rounds} == rounds
    for name in rounds if seconds > 1 else ():
        assert len(made.values(name, "prefork", "cpu_us")) == len(made.values(name, "bjoern", "cpu_us"))


def test_whatever_goes_wrong_in_a_turn_the_others_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(bench: object, server: Server, case: object) -> Reading:
        if server.name == "bjoern":
            raise ZeroDivisionError("of ours")
        if server.name == "granian":
            threading.Event().wait(30.0)  # hangs; a signal ends it
        return Reading({"cpu_us": 1.0})

    monkeypatch.setattr(turns, "measure", measure)
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.1)
    servers = [server for server in SERVERS if server.name in ("limit", "bjoern", "granian", "waitress")]
    made = Results()
    turns.play(None, turns.plan([BY_NAME["hello"]], servers, 1), made, lambda place, what: None)  # type: ignore[arg-type]
    assert made.servers("hello") == ["limit", "waitress"]
    assert made.reasons["hello", "bjoern"] == "failed: ZeroDivisionError: of ours"
    assert made.reasons["hello", "granian"].startswith("failed: not over after")


def test_progress_says_what_is_left() -> None:
    said: list[str] = []
    progress = turns.Progress(4, said.append, rewrite=False, headline={"hello": "cpu_us"})
    progress(1, Turn(1, "hello", "prefork", Reading({"cpu_us": 5.04}, {"read": 2})))
    progress(2, "bjoern hello: not installed")
    assert re.fullmatch(r"\[1/4, \d+ s left\] round 1 hello prefork: cpu_us 5.0 \(read 2\)\n", said[0])
    assert "not installed" in said[1]
