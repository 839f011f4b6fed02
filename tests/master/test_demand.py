"""Demand with a fake clock: when more workers are wanted, when less, and that a steady load settles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefork.master.demand import (
    BRISK_INTERVAL,
    CALM,
    FULL,
    HOLD,
    PATIENCE,
    PATIENCE_LIMIT,
    REGRET,
    SLOW_INTERVAL,
    Demand,
    Verdict,
)
from prefork.master.generation import Generation, Policy, Stage

Work = Callable[[float], float]  # how many workers' time there is to do, at that moment


class Shop:
    """Workers that share what there is to do evenly, and a Demand that looks when it wants to."""

    def __init__(self, least: int = 2, most: int = 8, size: int = 0, boot: float = 0.0) -> None:
        self.now = 1000.0
        self.demand = Demand()
        policy = Policy(size=most, least=least)
        self.staff = Generation(1, policy, Stage.LIVE, size or least, least=least, most=most)
        self.boot = boot  # seconds
        self.came: list[float] = [-math.inf] * self.staff.size
        self.missing = 0  # of those that are wanted
        self.firm = True
        self.looks = 0
        self.counts = 0  # of who waits
        self.verdicts: list[tuple[float, Verdict]] = []

    @property
    def sizes(self) -> list[int]:
        return [verdict.size for _, verdict in self.verdicts]

    def run(self, seconds: float, work: float | Work, waiting: int = 0) -> list[int]:
        """Return the numbers that were wanted in that time, one after the other."""
        until, begun = self.now + seconds, len(self.verdicts)
        while self.demand.wake <= until:
            self.now = max(self.now, self.demand.wake)
            self.look(work(self.now) if callable(work) else work, waiting)
            assert self.demand.wake > self.now, "it would spin"
        self.now = until
        return self.sizes[begun:]

    def look(self, work: float, waiting: int) -> None:
        serving = [came for came in self.came if came <= self.now][self.missing :]
        old = sum(came <= self.now - BRISK_INTERVAL for came in serving)
        loads = [min(1.0, work / old)] * old + [0.0] * (len(serving) - old) if old else [0.0] * len(serving)

        def count() -> int:
            self.counts += 1
            return waiting

        self.looks += 1
        verdict = self.demand.look(loads, self.staff, count, self.now, firm=self.firm)
        if verdict is None:
            return
        assert verdict.size != self.staff.size
        assert self.staff.least <= verdict.size <= self.staff.most
        if verdict.size > self.staff.size:
            self.came += [self.now + self.boot] * (verdict.size - self.staff.size)
        else:
            del self.came[verdict.size :]
        self.staff.size = verdict.size
        self.verdicts.append((self.now, verdict))


# More


def test_nothing_to_do_is_looked_at_once_a_second_and_changes_nothing() -> None:
    shop = Shop()
    assert shop.run(600, 0.0) == []
    assert shop.looks <= 600 / SLOW_INTERVAL + 2
    assert not shop.counts, "nobody has to be counted"


def test_one_more_when_all_are_busy_for_a_moment() -> None:
    shop = Shop(2, 8)
    shop.run(10, 1.0)
    began = shop.now
    assert shop.run(HOLD + BRISK_INTERVAL, 2.0) == [3]
    assert shop.verdicts[0][1].why == "all are busy"
    assert shop.verdicts[0][0] - began >= HOLD


def test_a_moment_is_not_enough_while_nobody_waits() -> None:
    shop = Shop()
    shop.run(10, 1.0)
    assert shop.run(HOLD / 2, 2.0) == []
    assert shop.run(60, 1.0) == []


def test_at_once_and_as_many_as_wait() -> None:
    shop = Shop(2, 16)
    shop.run(10, 1.0)
    assert shop.run(BRISK_INTERVAL, 2.0, waiting=9) == [4], "but not more than there are"
    assert shop.verdicts[0][1].why == "all are busy, 9 clients wait"
    assert shop.run(3, 99.0, waiting=7) == [8, 15, 16]


def test_what_was_not_enough_is_doubled() -> None:
    shop = Shop(2, 32)
    assert shop.run(10, 99.0) == [3, 5, 9, 17, 32]
    shop = Shop(2, 32)
    assert shop.run(10, 99.0, waiting=1) == [3, 5, 9, 17, 32]
    assert shop.verdicts[0][1].why == "all are busy, and somebody waits"


def test_after_a_while_it_begins_with_one_again() -> None:
    shop = Shop(2, 32)
    assert shop.run(5, lambda now: 4.0) == [3, 5, 9][: len(shop.sizes)]
    size = shop.staff.size
    shop.run(30, FULL * size * 0.7)
    assert shop.staff.size == size
    assert shop.run(HOLD + BRISK_INTERVAL, 99.0)[0] == size + 1


def test_who_boots_is_waited_for() -> None:
    shop = Shop(2, 32, boot=20.0)
    assert shop.run(15, 99.0) == [3]
    assert shop.run(15, 99.0) == [5], "the streak goes on"


def test_dead_workers_are_no_demand() -> None:
    shop = Shop(2, 8)
    shop.missing = 1
    assert shop.run(60, 99.0, waiting=50) == []
    assert not shop.counts
    shop.missing = 2
    assert shop.run(60, 99.0, waiting=50) == []


def test_the_most_are_the_most() -> None:
    shop = Shop(2, 3)
    assert shop.run(60, 99.0, waiting=50) == [3]


def test_the_first_look_and_one_behind_a_standstill_say_nothing() -> None:
    shop = Shop(2, 8)
    shop.look(2.0, waiting=5)
    assert shop.sizes == []
    shop.run(1, 1.0)
    shop.now += 100  # everything stood still
    shop.look(2.0, waiting=5)
    assert shop.sizes == []
    shop.now = shop.demand.wake
    shop.look(2.0, waiting=5)
    assert shop.sizes == [4]


# Less


def test_one_less_after_a_long_calm_and_then_the_next() -> None:
    shop = Shop(2, 8, size=5)
    assert shop.run(PATIENCE - 1, 0.0) == []
    assert shop.run(2 + 2 * SLOW_INTERVAL, 0.0) == [4]
    assert shop.verdicts[0][1].why == f"at most 0.0 were busy for {PATIENCE:.0f} s"
    assert shop.run(10 * PATIENCE, 0.0) == [3, 2]


def test_one_busy_moment_begins_the_calm_anew() -> None:
    shop = Shop(2, 8, size=4)
    busy = shop.now + PATIENCE - 2
    assert shop.run(PATIENCE + 2, lambda now: 3.0 if busy <= now < busy + 1.5 else 0.2) == []
    assert shop.run(PATIENCE, 0.2) == [3]


def test_nobody_is_let_go_during_a_reload() -> None:
    shop = Shop(2, 8, size=4)
    shop.firm = False
    assert shop.run(10 * PATIENCE, 0.0) == []
    shop.firm = True
    assert shop.run(PATIENCE - SLOW_INTERVAL, 0.0) == []
    assert shop.run(3 * SLOW_INTERVAL, 0.0) == [3]


def test_one_that_cannot_be_had_is_given_up_when_it_is_calm() -> None:
    shop = Shop(1, 8, size=3)
    shop.missing = 1
    assert shop.run(PATIENCE + 3, 0.1) == [2]


def test_patience_grows_when_it_was_too_short_and_comes_back() -> None:
    """A burst that comes now and then: first it costs a worker each time, then none is let go between."""
    shop = Shop(2, 8)
    every = 15.0

    def bursts(now: float) -> float:
        return 2.0 if (now - 1000) % every < 1.5 else 0.2

    shop.run(600, bursts)
    assert shop.sizes[-1] == 3, "it is kept"
    assert len(shop.sizes) <= 6
    assert shop.run(1000, bursts) == []
    assert shop.run(PATIENCE_LIMIT + 2, 0.2) == [2]
    shop.run(REGRET * PATIENCE_LIMIT + 1, 0.2)
    assert shop.run(3, 2.0) == [3]
    assert shop.run(PATIENCE + 2, 0.2) == [2], "it is as it was"


# Steady loads


@pytest.mark.parametrize("boot", [0.0, 0.1, 5.0])
@pytest.mark.parametrize("work", [each / 10 for each in range(0, 100, 7)])
def test_a_steady_load_settles(work: float, boot: float) -> None:
    for size in range(2, 9):
        shop = Shop(2, 8, size=size, boot=boot)
        first = shop.run(120, work)
        assert shop.run(600, work) == []
        assert first == sorted(first, reverse=bool(first) and first[0] < size), "to and fro"
        assert work <= FULL * shop.staff.size or shop.staff.size == 8


def waves(heights: list[float]) -> Iterator[float]:
    while True:
        yield from heights


@settings(max_examples=40, deadline=None)
@given(
    heights=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=40),
    least=st.integers(1, 4),
    more=st.integers(1, 8),
    boot=st.sampled_from((0.0, 0.4, 5.0)),
    waiting=st.integers(0, 20),
)
def test_a_load_that_repeats_itself_settles(
    heights: list[float], least: int, more: int, boot: float, waiting: int
) -> None:
    """Whatever comes and goes, as long as it comes again within the longest patience."""
    shop = Shop(least, least + more, boot=boot)
    each = waves(heights)
    shop.run(1800, lambda now: next(each), waiting)
    assert shop.run(1800, lambda now: next(each), waiting) == []


def test_the_documentation_has_the_numbers() -> None:
    text = (Path(__file__).parents[2] / "docs" / "processes.md").read_text()
    words = " ".join(text.partition("`--min-workers`\n\n")[2].partition("\n## ")[0].split())
    for said in (
        f"every {BRISK_INTERVAL:g} s, and once a second while",
        f"When {FULL:.0%} of the room of all".replace("%", " %"),
        f"is taken for {HOLD:g} s",
        f"at every look for {PATIENCE:g} s",
        f"within {REGRET} times that",
        f"up to {PATIENCE_LIMIT:g} s",
        "no more than half of the others",
    ):
        assert said in words
    assert (SLOW_INTERVAL, CALM) == (1.0, 0.5)
