"""A world for Fleet without processes: a clock that jumps, forks that succeed, and a note of everything."""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Iterable

from prefork.master.actions import (
    Abandoned,
    Action,
    Baked,
    Exit,
    Fork,
    Opened,
    Resized,
    Say,
    Send,
    Settled,
    Signal,
)
from prefork.master.fleet import Failure, Fleet, Policy
from prefork.master.phases import Phase


class World:
    """Acts out what Fleet wants: forks at once unless `holds_forks`; keeps orders until they are taken."""

    def __init__(self, slots: int = 16, size: int = 4, *, start: bool = True, **policy: float) -> None:
        self.now = 1000.0
        self.fleet = Fleet(slots)
        self.holds_forks = False
        self.forks: list[tuple[float, int, int]] = []  # when, slot, generation
        self.pids = 100
        self.exits: list[int] = []
        self.notes: list[Action] = []  # everything but forks and orders to workers
        self.orders: list[Send | Signal] = []
        if start:
            self.do(self.fleet.start(Policy(size=size, **policy), self.now))

    # Acting out

    def do(self, actions: Iterable[Action]) -> None:
        queue = deque(actions)
        while queue:
            action = queue.popleft()
            match action:
                case Fork():
                    self.forks.append((self.now, action.slot, action.generation))
                    if not self.holds_forks:
                        self.pids += 1
                        queue.extend(self.fleet.forked(action.slot, self.pids, self.now))
                case Send() | Signal():
                    self.orders.append(action)
                case Exit():
                    self.exits.append(action.code)
                case _:
                    self.notes.append(action)

    # Looking

    def slots(self, *phases: Phase, generation: int = 0) -> list[int]:
        return [
            worker.slot
            for worker in self.fleet.workers
            if worker.phase in phases
            and (not generation or (worker.generation is not None and worker.generation.number == generation))
        ]

    @property
    def shape(self) -> str:
        """How many workers are in each phase, by generation: "1: 4 serving; 2: 1 booting"."""
        counts: dict[int, dict[str, int]] = {}
        for worker in self.fleet.workers:
            if worker.generation is not None:
                row = counts.setdefault(worker.generation.number, {})
                row[worker.phase.value] = row.get(worker.phase.value, 0) + 1
        return "; ".join(
            f"{number}: " + ", ".join(f"{count} {phase}" for phase, count in sorted(row.items()))
            for number, row in sorted(counts.items())
        )

    def taken(self) -> list[Send | Signal]:
        """The orders to workers since the last look."""
        orders, self.orders = self.orders, []
        return orders

    def said(self, level: int = logging.DEBUG) -> list[str]:
        return [note.text for note in self.notes if isinstance(note, Say) and note.level >= level]

    def noted(self, kind: type[Action]) -> list[Action]:
        return [note for note in self.notes if isinstance(note, kind)]

    # Making things happen

    def ready(self, *slots: int) -> None:
        """Those workers, or all that boot, say that they are ready."""
        for slot in slots or self.slots(Phase.BOOTING):
            self.do(self.fleet.ready(slot, self.now))

    def settle(self) -> None:
        """Whoever boots becomes ready and whoever is told to leave does, until nothing happens any more."""
        while True:
            if booting := self.slots(Phase.BOOTING, Phase.WAKING):
                self.ready(*booting)
            elif parking := self.slots(Phase.PARKING):
                self.do(self.fleet.parked(parking[0], self.now))
            elif leaving := self.slots(Phase.TOLD, Phase.DRAINING, Phase.QUITTING):
                self.die(leaving[0], clean=True)
            elif gone := self.slots(Phase.ABORTING, Phase.KILLED, Phase.MUTED):
                self.die(gone[0])
            else:
                return

    def settle_boots(self) -> None:
        """Whoever boots becomes ready, until nobody does any more."""
        while booting := self.slots(Phase.BOOTING):
            self.ready(*booting)

    def die(self, slot: int, *, clean: bool = False, text: str = "") -> None:
        text = text or ("exited with code 0" if clean else "was killed by SIGKILL")
        self.do(self.fleet.died(slot, clean, text, self.now))

    def fail(self, slot: int, cause: str = "no module", exit_code: int = 4) -> None:
        self.do(self.fleet.failed(slot, Failure(cause, "traceback", exit_code), self.now))

    def pass_time(self, seconds: float) -> None:
        """Let time pass; Fleet is woken when it wants to be."""
        end = self.now + seconds
        while self.fleet.wake <= end:
            self.now = max(self.now, self.fleet.wake)
            self.do(self.fleet.tick(self.now))
            assert self.fleet.wake > self.now, "it would spin"
        self.now = end

    def reload(self, size: int = 4, **policy: float) -> None:
        self.do(self.fleet.reload(Policy(size=size, **policy), self.now))


KILL = signal.SIGKILL
ABRT = signal.SIGABRT
TERM = signal.SIGTERM

__all__ = ["ABRT", "KILL", "TERM", "Abandoned", "Baked", "Opened", "Resized", "Settled", "World"]
