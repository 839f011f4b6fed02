"""What the master hears of workers and molds, and of their deaths; Fleet is told.

Owns no state. A worker that a mold makes is known before it is born, so every word may be the first one of
its process, and a death may be heard of before the birth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..errors import PreforkError
from ..net import channel
from .fleet import Course
from .generation import Failure, failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..config import hooks
    from ..engine.scoreboard import Scoreboard
    from .actions import Action
    from .births import Births
    from .crash import Crashes
    from .crew import Child, Crew
    from .fleet import Fleet
    from .molds import Mold, Molds
    from .succession import Succession
    from .trial import Trial


class Hearing:
    """act: does what Fleet wants.  exited: called when a worker is reaped, with what hooks know of it."""

    def __init__(
        self,
        *,
        crew: Crew,
        molds: Molds,
        births: Births,
        fleet: Fleet,
        scoreboard: Scoreboard,
        crashes: Crashes,
        trial: Trial,
        succession: Succession,
        log: Any,
        act: Callable[[Iterable[Action]], None],
        exited: Callable[[hooks.Worker], None],
    ) -> None:
        self._crew = crew
        self._molds = molds
        self._births = births
        self._fleet = fleet
        self._scoreboard = scoreboard
        self._crashes = crashes
        self._trial = trial
        self._succession = succession
        self._log = log
        self._act = act
        self._exited = exited

    def hear(self, fd: int) -> bool:
        """Take what is said there; False: that is neither a worker's channel nor a mold's."""
        if child := self._crew.speaker(fd):
            self._worker(child)
        elif mold := self._molds.speaker(fd):
            self._mold(mold)
        else:
            return False
        return True

    def reap(self) -> None:
        """Collect who has ended: SIGCHLD."""
        for pid, status in self._crew.reap():
            if mold := self._molds.of(pid):
                self._mold_died(mold, status)
                continue
            if self._succession.reaped(pid, status):
                continue
            child = self._crew.dead(pid)
            if child is None:
                self._unborn()  # one that was born and died before we have heard of either
                child = self._crew.dead(pid)
            if child is None:
                continue  # a stranger
            self._worker(child)  # its last words came before its death
            text = self._crashes.describe(child.slot, status, time.monotonic())
            self._crew.bury(child)
            self._trial.bury(child.slot, crashed=child.facade.booted and status != 0)
            self._scoreboard.clear(child.slot)
            child.facade.alive = False
            self._exited(child.facade)
            self._act(self._fleet.died(child.slot, status == 0, text, time.monotonic()))

    # Workers

    def _worker(self, child: Child) -> None:
        fleet, slot = self._fleet, child.slot
        for message in self._crew.words(child):
            now = time.monotonic()
            word, _, rest = message.partition(b" ")
            match word:
                case b"" if not child.facade.pid:
                    self._never_born(child)
                case b"":
                    self._act(fleet.mute(slot, now))
                case channel.BORN:
                    self._crew.born(child, int(rest))
                    self._act(fleet.forked(slot, child.pid, now))
                case channel.READY:
                    child.facade.booted = True
                    self._act(fleet.ready(slot, now))
                case channel.WARMING:
                    fleet.warming(slot, rest.decode("utf-8", "replace"))
                case channel.PARKED:
                    self._act(fleet.parked(slot, now))
                case channel.DRAINING:
                    self._act(fleet.leaving(slot, now))
                case channel.RECYCLE:
                    self._act(fleet.recycle(slot, rest.decode("utf-8", "replace"), now))
                case channel.FAILED:
                    self._act(fleet.failed(slot, failure(rest), now))
                case _:
                    self._log.warning("worker %d says %r", child.facade.pid, message[:80])

    def _unborn(self) -> None:
        for child in self._crew.unborn():
            self._worker(child)

    def _never_born(self, child: Child) -> None:
        """Nobody holds the other end, and no word was said. If its mold is still at it, that will say why."""
        generation = self._fleet.workers[child.slot].generation
        if generation is None or not self._molds.making(generation.number, child.slot):
            self._unmade(child.slot, Failure("a worker ended at its birth, and could not say why"))

    def _unmade(self, slot: int, why: Failure) -> None:
        child = self._crew.children.get(slot)
        if child is not None and not child.facade.pid:
            self._crew.bury(child)
            self._scoreboard.clear(slot)
            self._act(self._fleet.unmade(slot, why, time.monotonic()))

    # Molds

    def _mold(self, mold: Mold) -> None:
        for slot, why in self._molds.hear(mold):
            self._unmade(slot, why)

    def _mold_died(self, mold: Mold, status: int) -> None:
        """Its workers serve on; another one is made, so that it is there when a worker is needed."""
        self._mold(mold)
        self._unborn()  # the last one may have been born
        for slot, why in self._molds.died(mold, status):
            self._unmade(slot, why)
        fleet = self._fleet
        wanted = [each.number for each in (fleet.current, fleet.next) if each is not None]
        if mold.imported and not mold.ending and fleet.course is Course.SERVING and mold.generation in wanted:
            try:
                self._births.mold(mold.generation)
            except (OSError, PreforkError) as error:
                self._log.error("no mold can be made now: %s", error)
