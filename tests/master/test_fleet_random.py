"""Random histories of a fleet keep its promises, whatever happens in whatever order.

PREFORK_TEST_HISTORIES sets how many; the default is for every day, CI runs 10,000.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefork.master.actions import Action, Send, Signal
from prefork.master.fleet import Course, Failure, Policy
from prefork.master.generation import Generation
from prefork.master.phases import COMING, IN_RESERVE, SERVES, Phase

from .world import World

HISTORIES = int(os.environ.get("PREFORK_TEST_HISTORIES", "300"))
SLOTS = 9

LIVE = (
    Phase.BOOTING,
    Phase.SERVING,
    Phase.RETIRING,
    Phase.PARKING,
    Phase.PARKED,
    Phase.WAKING,
    Phase.MUTED,
    Phase.TOLD,
    Phase.DRAINING,
    Phase.QUITTING,
    Phase.ABORTING,
)
# Who is about to say something, when all goes well: that it has done as ordered, or (by its end) has left.
ANSWERING = (Phase.BOOTING, Phase.WAKING, Phase.PARKING)
LEAVING = (Phase.TOLD, Phase.DRAINING, Phase.QUITTING, Phase.ABORTING, Phase.KILLED, Phase.MUTED)


class Historian(World):
    """A world that holds the fleet to its promises at every step."""

    def __init__(self, size: int, least: int) -> None:
        self.blame: dict[int, int] = {}  # generation -> early deaths in a row
        self.allowed: dict[int, float] = {}  # generation -> no fork before
        self.judged = 0
        super().__init__(SLOTS, size, start=False)
        self.sizes: dict[Generation, int] = {}
        self.step(lambda: self.fleet.start(Policy(size=size, least=least, boot_timeout=20), self.now))

    def step(self, event: Callable[[], list[Action]], *, resizes: bool = False) -> None:
        ended = self.fleet.course is Course.ENDED
        serving = set(self.slots(*SERVES))
        self.orders.clear()
        actions = event()
        assert not (ended and actions), "it acts after its end"
        self.do(actions)
        self.judge_forks()
        self.judge_floor(serving)
        self.judge_reserve()
        self.judge_sizes(resizes)
        assert len(self.exits) == (self.fleet.course is Course.ENDED)
        if self.fleet.course is Course.ENDED:
            assert not self.shape

    def judge_forks(self) -> None:
        for when, _, generation in self.forks[self.judged :]:
            assert when >= self.allowed.get(generation, 0.0) - 1e-9, "a fork faster than the back-off"
        self.judged = len(self.forks)

    def judge_floor(self, served: set[int]) -> None:
        """Who served and was let go was not needed."""
        if self.fleet.course is not Course.SERVING:
            return
        dismissed = {
            order.slot
            for order in self.orders
            if order.slot in served
            and (isinstance(order, Send) or (isinstance(order, Signal) and not order.reason))
        }
        if dismissed:
            assert len(self.slots(*SERVES)) >= self.fleet.size, "below the floor by its own doing"

    def judge_reserve(self) -> None:
        """Somebody is in reserve only for a generation that is kept, or on the way back to work."""
        for worker in self.fleet.workers:
            if worker.phase in IN_RESERVE and self.fleet.course is Course.SERVING:
                assert worker.generation is self.fleet.kept, "forgotten in reserve"

    def judge_sizes(self, resizes: bool) -> None:
        """Each generation wants as many as its range allows, and others only when somebody has said so."""
        fleet = self.fleet
        for generation in (fleet.current, fleet.next, fleet.kept):
            if generation is not None:
                assert generation.least <= generation.size <= generation.most <= SLOTS // 2
                assert generation.least or not generation.most, "it was emptied, or wants at least one"
                if not resizes:
                    assert self.sizes.get(generation, generation.size) == generation.size, "by itself"
                self.sizes[generation] = generation.size
        if fleet.current is not None and fleet.course is Course.SERVING:
            wanted = [worker for worker in fleet.workers if worker.generation is fleet.current]
            coming = sum(worker.phase in COMING for worker in wanted)
            retiring = sum(worker.phase is Phase.RETIRING for worker in wanted)
            assert coming <= fleet.current.most + retiring, "more to come than may ever be wanted"

    def note_death(self, slot: int) -> None:
        """Keep the books of early deaths apart from the fleet's own."""
        worker = self.fleet.workers[slot]
        if worker.generation is None or worker.generation not in (self.fleet.current, self.fleet.next):
            return
        number = worker.generation.number
        booted = worker.served_at < float("inf")
        if worker.phase in (Phase.SERVING, Phase.RETIRING, Phase.WAKING, Phase.MUTED) and booted:
            if self.now - worker.served_at >= max(1.0, worker.served_at - worker.forked_at):
                self.blame[number] = 0
                return
            apart = 0.25 + 2 * (worker.served_at - worker.forked_at)
            if self.now - self.allowed.get(number, -float("inf")) > apart:
                self.blame[number] = 0
            limit = 5.0
        elif worker.phase in (Phase.BOOTING, Phase.MUTED):
            limit = 30.0
        else:
            return
        self.blame[number] = count = self.blame.get(number, 0) + 1
        wait = min(limit, 0.1 * 2 ** (count - 2)) if count >= 2 else 0.0
        self.allowed[number] = max(self.allowed.get(number, 0.0), self.now + wait)

    def happen(self, what: str, which: int) -> None:
        fleet = self.fleet
        live = self.slots(*LIVE)
        slot = live[which % len(live)] if live else which % SLOTS
        match what:
            case "ready" if booting := self.slots(Phase.BOOTING, Phase.WAKING):
                self.step(lambda: fleet.ready(booting[which % len(booting)], self.now))
            case "die" | "kill":
                if living := self.slots(*LIVE, Phase.KILLED):
                    slot = living[which % len(living)]
                    self.note_death(slot)
                    self.step(lambda: fleet.died(slot, what == "die", "died", self.now))
            case "fail" if self.slots(Phase.BOOTING):
                slot = self.slots(Phase.BOOTING)[0]
                self.note_death(slot)
                self.fail_at(slot)
            case "recycle":
                self.step(lambda: fleet.recycle(slot, "old", self.now))
            case "leaving":
                self.step(lambda: fleet.leaving(slot, self.now))
            case "mute":
                self.step(lambda: fleet.mute(slot, self.now))
            case "hung":
                self.step(lambda: fleet.hung(slot, "slow", self.now))
            case "reload":
                policy = Policy(
                    size=1 + which % 5, least=which % 3, boot_timeout=20, bake=(0, 0, 2, 50)[which % 4]
                )
                self.step(lambda: fleet.reload(policy, self.now))
            case "follow":
                size, most = fleet.size, fleet.current.most if fleet.current is not None else 0
                self.step(lambda: fleet.follow(which % 6, "so it is", self.now), resizes=True)
                if size == fleet.size and fleet.adapts and fleet.current is not None:
                    bounds = (fleet.current.least, most)
                    assert size in (which % 6, *bounds), "it did not follow"
            case "parked" if parking := self.slots(Phase.PARKING):
                self.step(lambda: fleet.parked(parking[which % len(parking)], self.now))
            case "roll back":
                if (kept := fleet.kept) is not None:
                    self.blame[kept.number] = 0
                    self.allowed[kept.number] = 0.0
                self.step(lambda: fleet.roll_back("worse", self.now))
            case "grow":
                self.step(lambda: fleet.grow(self.now), resizes=True)
            case "shrink":
                self.step(lambda: fleet.shrink(self.now), resizes=True)
            case "empty":
                self.step(lambda: fleet.empty(self.now), resizes=True)
            case "stop":
                self.step(lambda: fleet.stop(self.now))
            case "quit":
                self.step(lambda: fleet.quit(self.now))
            case "stopped":
                fleet.stopped(slot, self.now) if slot in fleet.due(self.now) else None
            case "wait":
                self.wait((0.05, 0.3, 1.5, 40.0)[which % 4])

    def fail_at(self, slot: int) -> None:
        self.step(lambda: self.fleet.failed(slot, Failure("no"), self.now))

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.fleet.wake <= end:
            self.now = max(self.now, self.fleet.wake)
            for worker in self.fleet.workers:
                booting = worker.phase in (Phase.BOOTING, Phase.MUTED) and not worker.has_served
                if booting and worker.deadline <= self.now:
                    self.note_death(worker.slot)
            self.step(lambda: self.fleet.tick(self.now))
            assert self.fleet.wake > self.now, "it would spin"
        self.now = end

    def calm_down(self) -> None:
        """From here on everything goes well, for as long as it takes."""
        for _ in range(200):
            for slot in self.slots(Phase.BOOTING, Phase.WAKING):
                self.step(lambda slot=slot: self.fleet.ready(slot, self.now))
            for slot in self.slots(Phase.PARKING):
                self.step(lambda slot=slot: self.fleet.parked(slot, self.now))
            for slot in self.slots(*LEAVING):
                self.note_death(slot)
                self.step(lambda slot=slot: self.fleet.died(slot, True, "left", self.now))
            if self.fleet.wake == float("inf") and not self.slots(*ANSWERING, *LEAVING):
                break  # it waits for nothing, and nobody has anything to tell it: so it would stay
            self.wait(1.0)
        if self.fleet.course is Course.SERVING:
            assert self.fleet.current is not None
            assert self.fleet.next is None
            assert self.fleet.kept is None
            expected = f"{self.fleet.current.number}: {self.fleet.size} serving" if self.fleet.size else ""
            assert self.shape == expected, "two generations, or too few workers, after settling"
            assert self.fleet.wake == float("inf")


EVENTS = (
    *("ready",) * 8,
    *("wait",) * 4,
    *("die", "kill") * 3,
    *("reload",) * 2,
    *("follow",) * 2,
    *("parked", "roll back"),
    *("fail", "recycle", "leaving", "mute", "hung", "grow", "shrink"),
)
ENDINGS = ("none", "none", "none", "empty", "stop", "quit")


@settings(max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    size=st.integers(1, 4),
    least=st.integers(0, 4),
    history=st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 11)), max_size=60),
    ending=st.sampled_from(ENDINGS),
    after=st.lists(st.tuples(st.sampled_from((*EVENTS, "stop", "quit")), st.integers(0, 11)), max_size=8),
)
def test_promises_hold(
    size: int, least: int, history: list[tuple[str, int]], ending: str, after: list[tuple[str, int]]
) -> None:
    world = Historian(size, least)
    for what, which in history:
        world.happen(what, which)
    world.happen(ending, 0)
    for what, which in after:
        world.happen(what, which)
    stopping = world.fleet.course is Course.STOPPING
    world.calm_down()
    if stopping:
        assert len(world.exits) == 1
