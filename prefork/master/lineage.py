"""The generations of a fleet and how they follow one another.

One serves (`current`), one may be being built (`next`), and one may be in reserve (`kept`) while the current
one is watched. All others are over: their workers drain. What is decided is added to `out`.
"""

from __future__ import annotations

import math

from ..telemetry.lines import ERROR, INFO
from .actions import Abandoned, Action, Baked, Forget, Resized, Say, Settled
from .generation import Generation, Policy, Stage
from .phases import ACCEPTS, COMING, IN_RESERVE, SERVES, Event, Phase, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .roster import Roster


class Lineage:
    """Generations by what is wanted of them."""

    def __init__(self, roster: Roster, out: list[Action]) -> None:
        self.current: Generation | None = None
        self.next: Generation | None = None
        self.kept: Generation | None = None
        self._roster = roster
        self._out = out
        self._number = 0
        self._known: set[int] = set()  # not yet forgotten

    def make(self, policy: Policy, stage: Stage, size: int, *, least: int = 0, most: int = 0) -> Generation:
        """A new generation; who calls says whether it is the current or the next one."""
        self._number += 1
        self._known.add(self._number)
        return Generation(self._number, policy, stage, size, least=least, most=most)

    def wanted(self) -> list[Generation]:
        """Those that are to have workers that serve."""
        return [each for each in (self.current, self.next) if each is not None]

    def advance(self, now: float) -> None:
        """A canary that serves lets the others follow; a generation that serves takes over."""
        current, following = self.current, self.next
        assert current is not None
        if following is not None and following.stage is Stage.CANARY and self.serves(following, 1):
            following.stage = Stage.FILLING
            if following.size > 1:
                self._say(INFO, f"generation {following.number}: its first worker serves, now the others")
        if (
            following is not None
            and following.stage is Stage.FILLING
            and self.serves(following, following.size)
        ):
            self._succeed(current, following, now)
            current = following
        if not current.settled and self._rules(current):
            current.settled = True
            self._out.append(Settled(current.number))

    def roll_back(self, cause: str, now: float) -> None:
        """From the current generation to the one that is kept, if there is one."""
        worse, kept = self.current, self.kept
        if worse is None or kept is None:
            return
        self._say(ERROR, f"generation {worse.number} is taken back, {kept.number} serves again: {cause}")
        self.current, self.kept = kept, None
        kept.restore()
        self.over(worse, now)
        for worker in self._roster.of(kept, IN_RESERVE):
            self._roster.tell(worker, Event.WAKE, now)
        if kept.size != worse.size:
            self._out.append(Resized(kept.size, worse.size))
        self._out.append(Abandoned(worse.number, f"taken back: {cause}"))

    def _succeed(self, before: Generation, following: Generation, now: float) -> None:
        """The following generation serves; the one before is kept, unless it is still being watched."""
        self.current, self.next = following, None
        following.stage = Stage.LIVE
        if following.size != before.size:
            self._out.append(Resized(following.size, before.size))
        if not following.policy.bake:
            self._say(INFO, f"generation {following.number} serves, {before.number} drains")
            self._release(now)
            self.over(before, now)
            return
        following.bake_deadline = now + following.policy.bake
        if self.kept is None:
            self._keep(before, now)
        else:
            self.over(before, now)
        self._say(
            INFO,
            f"generation {following.number} serves and is watched for {following.policy.bake:g} s (bake),"
            f" {self.kept.number if self.kept else before.number} is kept",
        )

    def _keep(self, generation: Generation, now: float) -> None:
        self.kept = generation
        generation.stage = Stage.KEPT
        generation.bake_deadline = math.inf
        for worker in self._roster.of(generation, COMING):
            if worker.phase is Phase.WAKING:
                self._roster.tell(worker, Event.PARK, now)
            else:
                self._roster.dismiss(worker, now)

    def _release(self, now: float) -> None:
        """Nobody will come back to the generation that is kept."""
        kept, self.kept = self.kept, None
        if kept is not None:
            self.over(kept, now)

    def baked(self, current: Generation, now: float) -> None:
        current.bake_deadline = math.inf
        self._say(INFO, f"generation {current.number} does well after {current.policy.bake:g} s (bake)")
        self._release(now)
        self._out.append(Baked(current.number))

    def _rules(self, generation: Generation) -> bool:
        """Do all its workers serve, and nobody else's accept any more?"""
        return (
            generation.stage is Stage.LIVE
            and self.serves(generation, generation.size)
            and not any(
                worker.phase in ACCEPTS and worker.generation is not generation
                for worker in self._roster.workers
            )
        )

    def serves(self, generation: Generation, count: int) -> bool:
        return self._roster.count(generation, SERVES) >= min(count, generation.size)

    def over(self, generation: Generation | None, now: float) -> None:
        assert generation is not None
        generation.stage = Stage.OVER
        generation.bake_deadline = math.inf
        for worker in self._roster.of(generation, COMING | IN_RESERVE):
            self._roster.dismiss(worker, now)

    def relieve(self, now: float) -> None:
        """Drain who serves for a generation that is over, as far as the current one can do without; park
        who serves for the one that is kept."""
        assert self.current is not None
        left = [
            worker
            for worker in self._roster.workers
            if worker.phase in SERVES and worker.generation not in (self.current, self.next)
        ]
        needed = max(0, self.current.size - self._roster.count(self.current, SERVES))
        for worker in left[: max(0, len(left) - needed)]:
            self._roster.tell(worker, Event.PARK if worker.generation is self.kept else Event.DRAIN, now)
        if self.kept is not None:
            reserve = self._roster.of(self.kept, IN_RESERVE)
            for worker in reserve[self.kept.size :]:
                self._roster.tell(worker, Event.DRAIN, now)

    def forget(self) -> None:
        alive = {each.number for each in (self.current, self.next, self.kept) if each is not None}
        alive.update(
            worker.generation.number for worker in self._roster.workers if worker.generation is not None
        )
        for number in sorted(self._known - alive):
            self._known.remove(number)
            self._out.append(Forget(number))

    def wanted_by(self, worker: Worker) -> Generation | None:
        """The worker's generation; None when that is drained or given up."""
        return worker.generation if worker.generation in (self.current, self.next) else None

    def _say(self, level: int, text: str) -> None:
        self._out.append(Say(level, text))
