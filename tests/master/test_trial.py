"""--bake: when a new generation counts as worse than the one before."""

from __future__ import annotations

import math

import pytest

from prefork.engine.scoreboard import Scoreboard, WorkerState
from prefork.master.trial import LOOK_INTERVAL, Record, Trial, worse

VERDICTS = [
    # answers, 5xx, crashes: before; after; worse?
    ("nothing yet", (1000, 0, 0), (0, 0, 0), False),
    ("as good", (1000, 0, 0), (1000, 0, 0), False),
    ("four errors may be chance", (1000, 0, 0), (4, 4, 0), False),
    ("five of five", (1000, 0, 0), (5, 5, 0), True),
    ("one in a hundred", (1000, 0, 0), (1000, 10, 0), False),
    ("two in a hundred", (1000, 0, 0), (1000, 20, 0), True),
    ("as bad as before", (1000, 100, 0), (1000, 110, 0), False),
    ("twice as bad is not more than twice", (1000, 100, 0), (1000, 200, 0), False),
    ("three times as bad", (1000, 100, 0), (1000, 300, 0), True),
    ("better", (1000, 500, 0), (1000, 100, 0), False),
    ("no traffic before", (0, 0, 0), (20, 10, 0), True),
    ("one crash may be chance", (1000, 0, 0), (10, 0, 1), False),
    ("two crashes", (1000, 0, 0), (10, 0, 2), True),
    ("two crashes without one request", (1000, 0, 0), (0, 0, 2), True),
    ("crashes as often as before", (1000, 0, 10), (1000, 0, 11), False),
    ("crashes far more often", (1000, 0, 10), (100, 0, 3), True),
]


@pytest.mark.parametrize(
    ("before", "after", "expected"), [row[1:] for row in VERDICTS], ids=[r[0] for r in VERDICTS]
)
def test_worse(before: tuple[int, int, int], after: tuple[int, int, int], expected: bool) -> None:
    assert bool(worse(Record(*before), Record(*after))) is expected


def test_it_says_by_how_much() -> None:
    assert worse(Record(1000, 3, 0), Record(40, 20, 0)) == "20 of its 40 answers were 5xx (3 of 1000 before)"
    assert worse(Record(9, 0, 1), Record(4, 0, 2)) == "2 of its workers died in 4 requests (1 in 9 before)"


def test_counts_follow_generations_and_outlive_workers() -> None:
    board = Scoreboard(4, 1)
    trial = Trial(board)
    for slot, generation in ((0, 1), (1, 2), (2, 2)):
        board.set_worker(slot, pid=100 + slot, generation=generation, state=WorkerState.SERVING)
    for _ in range(10):
        board.count(0, status=200)
    for _ in range(3):
        board.count(1, status=503)
        board.count(2, status=500)
    trial.bury(1, crashed=True)
    board.clear(1)
    assert trial.look(1, 2, 50.0) == "6 of its 6 answers were 5xx (0 of 10 before)"
    assert trial.wake == 50.0 + LOOK_INTERVAL
    trial.forget(2)
    assert trial.look(1, 2, 51.0) == ""


def test_it_looks_only_while_there_is_a_trial() -> None:
    trial = Trial(Scoreboard(1, 1))
    trial.attend(False, 5.0)
    assert trial.wake == math.inf
    trial.attend(True, 5.0)
    trial.attend(True, 5.5)
    assert trial.wake == 5.0 + LOOK_INTERVAL
    trial.attend(False, 6.0)
    assert trial.wake == math.inf
