"""Answers of a master, without a master."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from prefork.engine.scoreboard import Scoreboard, WorkerState
from prefork.operate import reading
from prefork.telemetry.metrics import exposition
from prefork.telemetry.status import snapshot

SECOND = 1_000_000_000


class Master:
    """What a master would say: its scoreboard is the test's to write. Asked by the pid that it has, it
    answers; by another one, nobody is there."""

    def __init__(self, workers: int = 2, at_once: int = 1) -> None:
        self.pid = 4_000_001  # more than any process has here (pid_max is 2 ** 22 at most, by default less)
        self.asked = 0
        self.board = Scoreboard(workers, at_once)
        self.facts: dict[str, Any] = {
            "version": "1.2.3",
            "pid": self.pid,
            "name": "shop",
            "addresses": ["http://127.0.0.1:8000"],
            "course": "serving",
            "generation": 1,
            "next": 0,
            "workers": workers,
            "serving": workers,
            "errorlog": "",
        }
        for slot in range(workers):
            self.hire(slot, 4_000_100 + slot)

    def hire(self, slot: int, pid: int, generation: int = 1) -> None:
        """Put a new worker into that slot."""
        self.board.clear(slot)
        state = WorkerState.SERVING
        self.board.set_worker(slot, pid=pid, generation=generation, state=state, booted_ns=SECOND)

    def serve(self, slot: int, times: int = 1, *, status: int = 200, latency_ns: int = 1_000_000) -> None:
        for _ in range(times):
            self.board.count(slot, status=status, latency_ns=latency_ns, queue_ns=10_000)

    def run(
        self, slot: int, target: bytes, *, seconds: float, request: int = 0, method: bytes = b"GET"
    ) -> None:
        """Let a request run for so long by `said`."""
        start_ns = 100 * SECOND - int(seconds * SECOND)
        self.board.begin_request(slot, request, method, target, start_ns=start_ns)
        self.board.set_load(slot, connections=1, running=len(self.board.requests(slot)))

    def said(self) -> dict[str, Any]:
        return {"server": dict(self.facts), **snapshot(self.board, now_ns=100 * SECOND)}

    def ask(self, pid: int, word: str, patience: float) -> Iterator[dict[str, Any]]:
        assert pid == self.pid and patience > 0
        self.asked += 1
        if word == "metrics":
            yield {"exposition": exposition(self.board, wanted=self.facts["workers"])}
        else:
            assert word == "status"
            yield self.said()


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Master:
    """The only server of a machine, as long as it lives."""
    master = Master()
    monkeypatch.setattr(reading.running, "find", lambda named, here: master.pid)
    monkeypatch.setattr(reading.control, "is_master", lambda pid: pid == master.pid)
    return master
