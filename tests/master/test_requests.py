"""Late requests, as the scoreboard shows them."""

from __future__ import annotations

import math

import pytest

from prefork.engine.scoreboard import Scoreboard
from prefork.master.requests import ASKS, Overdue, Verdict, running

SECOND = 10**9


@pytest.fixture
def board() -> Scoreboard:
    return Scoreboard(3, 2)


def begin(board: Scoreboard, slot: int, request: int = 0, *, start: int = 1, deadline: int = 0) -> None:
    target = f"/{slot}/{request}".encode()
    board.begin_request(slot, request, b"GET", target, start_ns=start * SECOND, deadline_ns=deadline * SECOND)


def test_nothing_runs(board: Scoreboard) -> None:
    assert Overdue(board).look(range(3), 5 * SECOND) == ([], math.inf)
    assert running(board, 0, 5 * SECOND) == ""


def test_what_runs_is_named(board: Scoreboard) -> None:
    begin(board, 1, 0, start=1)
    begin(board, 1, 1, start=3)
    assert running(board, 1, 5 * SECOND) == "GET /1/0 for 4.0 s, GET /1/1 for 2.0 s"


def test_requests_in_time_say_when_to_look(board: Scoreboard) -> None:
    begin(board, 0, deadline=31)
    begin(board, 1, deadline=12)
    begin(board, 2)  # without a deadline
    assert Overdue(board).look(range(3), 5 * SECOND) == ([], 12.0)


def test_late_request_is_asked_about_then_given_up(board: Scoreboard) -> None:
    overdue = Overdue(board)
    begin(board, 1, deadline=4)
    for look in range(5, 5 + ASKS):
        assert overdue.look(range(3), look * SECOND) == ([(1, Verdict.ASK, "")], look + 1)
        assert overdue.look(range(3), look * SECOND + SECOND // 2) == ([], look + 1)  # woken for another
    assert overdue.look(range(3), 10 * SECOND) == ([(1, Verdict.ABORT, "GET /1/0 for 9.0 s")], 11)


def test_a_request_that_yields_is_forgotten(board: Scoreboard) -> None:
    overdue = Overdue(board)
    for start in (10, 20):
        begin(board, 1, start=start, deadline=4)
        for look in range(start, start + ASKS):
            assert overdue.look(range(3), look * SECOND)[0] == [(1, Verdict.ASK, "")]
        board.end_request(1, 0)
        assert overdue.look(range(3), (start + ASKS) * SECOND) == ([], math.inf)


def test_a_worker_with_requests_in_time_is_replaced_first(board: Scoreboard) -> None:
    overdue = Overdue(board)
    begin(board, 1, 0, deadline=4)
    begin(board, 1, 1, deadline=90)
    for look in range(5, 5 + ASKS):
        overdue.look(range(3), look * SECOND)
    assert overdue.look(range(3), 10 * SECOND) == ([(1, Verdict.REPLACE, "GET /1/0 for 9.0 s")], 11)
    board.end_request(1, 1)
    assert overdue.look(range(3), 11 * SECOND)[0] == [(1, Verdict.ABORT, "GET /1/0 for 10.0 s")]


# Standing still


def test_requests_of_a_stopped_worker_have_their_time_again_when_it_goes_on(board: Scoreboard) -> None:
    overdue = Overdue(board)
    begin(board, 1, start=1, deadline=4)
    assert overdue.look(range(3), 5 * SECOND, lambda slot: True) == ([], 6.0)
    assert overdue.look(range(3), 60 * SECOND, lambda slot: True) == ([], 61.0)
    assert overdue.look(range(3), 61 * SECOND, lambda slot: False) == ([], 64.0)
    assert overdue.look(range(3), 63 * SECOND, lambda slot: False) == ([], 64.0)
    assert overdue.look(range(3), 64 * SECOND, lambda slot: False) == ([(1, Verdict.ASK, "")], 65.0)


def test_requests_are_put_off_by_a_standstill_of_all(board: Scoreboard) -> None:
    overdue = Overdue(board)
    begin(board, 1, start=1, deadline=4)
    begin(board, 2)  # without a deadline
    overdue.put_off(range(3), 100 * SECOND)
    assert overdue.look(range(3), 101 * SECOND) == ([], 104.0)
    begin(board, 0, start=101, deadline=103)  # began after it
    assert overdue.look(range(3), 103 * SECOND) == ([(0, Verdict.ASK, "")], 104.0)
    assert overdue.look(range(3), 104 * SECOND)[0] == [(0, Verdict.ASK, ""), (1, Verdict.ASK, "")]
