"""The policy of supervision: what happened and the clock go in, what to do and when to wake come out.

Fleet owns the table of workers and the generations. It forks nothing, reads no clock and holds no
descriptor: every method takes `now` (monotonic seconds) and returns the actions to take, in order.

A generation is "this code, this configuration". A reload builds the next one beside the current one:
a canary first, then the rest, and only when all of them serve is the old one drained. Whatever goes
wrong before that ends the new generation and leaves the old one as it was. Where a generation is to be
watched (bake), the one before is not drained but parked until that has come to a good end.
"""

from __future__ import annotations

import enum
import math

from ..telemetry.lines import DEBUG, ERROR, INFO, WARNING
from . import staffing
from .actions import Abandoned, Action, Baked, Exit, Forget, Opened, Resized, Say, Settled
from .generation import RETRY_BOOT_LIMIT, RETRY_SERVE_LIMIT, Failure, Generation, Policy, Stage
from .phases import ACCEPTS, COMING, IN_RESERVE, PATIENT, SERVES, Event, Phase, Worker
from .roster import STOPPED_INTERVAL, Roster, lateness

EARLY_AGE = 1.0  # a worker that serves for less, or for less than it took to boot, has died early
FILLING_DEATHS = 3  # early deaths in a row that a new generation may have before it is given up


class Course(enum.Enum):
    STARTING = "starting"  # no worker has ever served
    SERVING = "serving"
    STOPPING = "stopping"
    ENDED = "ended"


class Fleet:
    """The workers of one server. `slots` bounds them: a reload needs two for each worker."""

    def __init__(self, slots: int) -> None:
        self.course = Course.STARTING
        self._out: list[Action] = []
        self._roster = Roster(slots, self._out)
        self.workers = self._roster.workers
        self.current: Generation | None = None
        self.next: Generation | None = None
        self.kept: Generation | None = None  # the one before, in reserve while the current one is watched
        self._number = 0
        self._known: set[int] = set()  # generations not yet forgotten
        self._quits = 0
        self._exit_code = 0

    # For the loop

    @property
    def size(self) -> int:
        """Workers wanted of the generation that serves."""
        return self.current.size if self.current is not None else 0

    @property
    def serving(self) -> int:
        """Workers that serve, of whatever generation."""
        return sum(worker.phase in SERVES for worker in self.workers)

    @property
    def wake(self) -> float:
        """When to call `tick` at the latest; inf: never."""
        deadlines = [worker.deadline for worker in self.workers if worker.phase is not Phase.FREE]
        if self.course in (Course.STARTING, Course.SERVING):
            wanted = [generation for generation in (self.current, self.next) if generation is not None]
            deadlines += [generation.retry_deadline for generation in wanted if generation.short]
            deadlines += [generation.bake_deadline for generation in wanted]
        return min(deadlines, default=math.inf)

    def tick(self, now: float) -> list[Action]:
        """Look what is due."""
        for worker in self.workers:
            if worker.deadline <= now:
                self._late(worker, now)
        if self.current is not None and self.current.bake_deadline <= now:
            self._baked(self.current, now)
        return self._settle(now)

    def due(self, now: float) -> list[int]:
        """Slots of workers whose time is up at the next tick, unless they stood still meanwhile."""
        if self.course is Course.STOPPING:
            return []  # an end that is asked for comes in time
        return [worker.slot for worker in self.workers if worker.deadline <= now and worker.phase in PATIENT]

    def stopped(self, slot: int, now: float) -> None:
        """Its process stands still; it has its whole time again once it goes on."""
        self.workers[slot].stopped = True
        self.workers[slot].deadline = now + STOPPED_INTERVAL

    def put_off(self, seconds: float) -> None:
        """Nobody may have been able to do anything for so long."""
        for worker in self.workers:
            worker.deadline += seconds

    # Orders

    def start(self, policy: Policy, now: float) -> list[Action]:
        """Make the first generation, all workers at once: nothing is there that a canary could protect."""
        self.current = self._generation(policy, Stage.FILLING)
        return self._settle(now)

    def reload(self, policy: Policy, now: float) -> list[Action]:
        """Build the next generation. One that is still being built is given up for it."""
        match self.course:
            case Course.STARTING:
                self._over(self.current, now)
                self.current = self._generation(policy, Stage.FILLING)
            case Course.SERVING:
                if self.next is not None:
                    self._abandon(self.next, Failure("a newer reload takes its place", exit_code=1), now)
                self.next = self._generation(policy, Stage.CANARY)
            case Course.STOPPING:
                self._say(WARNING, "reload ignored: the server is stopping")
            case Course.ENDED:
                pass
        return self._settle(now)

    def roll_back(self, cause: str, now: float) -> list[Action]:
        """The current generation does worse than the one that is kept: go back to that."""
        worse, kept = self.current, self.kept
        if self.course is Course.SERVING and worse is not None and kept is not None:
            self._say(ERROR, f"generation {worse.number} is taken back, {kept.number} serves again: {cause}")
            self.current, self.kept = kept, None
            kept.restore()
            self._over(worse, now)
            for worker in self._roster.of(kept, IN_RESERVE):
                self._roster.tell(worker, Event.WAKE, now)
            if kept.size != worse.size:
                self._out.append(Resized(kept.size, worse.size))
            self._out.append(Abandoned(worse.number, f"taken back: {cause}"))
        return self._settle(now)

    def grow(self, now: float) -> list[Action]:
        """TTIN: one worker more."""
        return self._change(self.size + 1, now)

    def shrink(self, now: float) -> list[Action]:
        """TTOU: one worker less, but never the last one."""
        return self._change(max(1, self.size - 1), now)

    def empty(self, now: float) -> list[Action]:
        """WINCH: drain every worker and keep the master; a reload or `grow` brings workers back."""
        return self._change(0, now)

    def stop(self, now: float) -> list[Action]:
        """TERM: drain, then exit."""
        if self.course in (Course.STARTING, Course.SERVING):
            self._close(0, now)
            for worker in self.workers:
                self._roster.tell(worker, Event.DRAIN, now)
        return self._settle(now)

    def quit(self, now: float) -> list[Action]:
        """INT, QUIT: close everything and exit; asked a second time, kill."""
        if self.course in (Course.STARTING, Course.SERVING):
            self._close(0, now)
        if self.course is Course.STOPPING:
            self._quits += 1
            for worker in self.workers:
                self._roster.tell(worker, Event.QUIT if self._quits == 1 else Event.KILL, now)
        return self._settle(now)

    # What happened to the worker in a slot

    def forked(self, slot: int, pid: int, now: float) -> list[Action]:
        worker = self.workers[slot]
        worker.pid = pid
        worker.forked_at = now
        self._roster.tell(worker, Event.FORKED, now)
        return self._settle(now)

    def unforked(self, slot: int, cause: str, now: float) -> list[Action]:
        """The fork failed: the machine is out of processes or memory."""
        return self.unmade(slot, Failure(f"cannot fork: {cause}"), now)

    def unmade(self, slot: int, failure: Failure, now: float) -> list[Action]:
        """There will be no process: the mold could not import, or died."""
        worker = self.workers[slot]
        generation = self._wanted_by(worker)
        self._roster.tell(worker, Event.UNFORKED, now)
        self._boot_failed(generation, failure, now)
        return self._settle(now)

    def ready(self, slot: int, now: float) -> list[Action]:
        """It accepts connections."""
        self._roster.tell(self.workers[slot], Event.READY, now)
        return self._settle(now)

    def warming(self, slot: int, target: str) -> None:
        """It is about to answer that path of --warmup."""
        self.workers[slot].warming = target

    def failed(self, slot: int, failure: Failure, now: float) -> list[Action]:
        """It said why it cannot boot."""
        worker = self.workers[slot]
        if worker.phase is Phase.BOOTING:
            self._roster.tell(worker, Event.FAILED, now)
            self._boot_failed(self._wanted_by(worker), failure, now)
        return self._settle(now)

    def recycle(self, slot: int, reason: str, now: float) -> list[Action]:
        """It asks to be replaced; it serves until its successor does."""
        worker = self.workers[slot]
        if worker.phase is Phase.SERVING:
            self._say(INFO, f"worker {worker.pid} is to be replaced: {reason}")
        self._roster.tell(worker, Event.RECYCLE, now)
        return self._settle(now)

    def leaving(self, slot: int, now: float) -> list[Action]:
        """It accepts no more: as told, or of its own accord."""
        self._roster.tell(self.workers[slot], Event.LEAVING, now)
        return self._settle(now)

    def parked(self, slot: int, now: float) -> list[Action]:
        """It accepts nothing until it is woken."""
        self._roster.tell(self.workers[slot], Event.PARKED, now)
        return self._settle(now)

    def mute(self, slot: int, now: float) -> list[Action]:
        """Its channel is at EOF: it dies, or has closed all descriptors, as some applications do."""
        self._roster.tell(self.workers[slot], Event.MUTE, now)
        return self._settle(now)

    def stuck(self, slot: int, reason: str, now: float) -> list[Action]:
        """A request of it will not end; the others it runs may. It drains, and is replaced at once."""
        worker = self.workers[slot]
        if worker.phase in SERVES:
            self._say(ERROR, f"worker {worker.pid} is replaced: {reason}")
            self._roster.tell(worker, Event.DRAIN, now)
        return self._settle(now)

    def hung(self, slot: int, reason: str, now: float) -> list[Action]:
        """Nothing that it runs will end."""
        self._roster.tell(self.workers[slot], Event.HUNG, now, reason)
        return self._settle(now)

    def died(self, slot: int, clean: bool, text: str, now: float) -> list[Action]:
        """Its process is reaped. `clean` is exit code 0; `text` says how it ended, for the log."""
        worker = self.workers[slot]
        phase, pid, generation = worker.phase, worker.pid, self._wanted_by(worker)
        served, age, boot_time = (
            worker.has_served,
            now - worker.served_at,
            worker.served_at - worker.forked_at,
        )
        self._roster.tell(worker, Event.DIED, now)
        match phase:
            case Phase.BOOTING | Phase.MUTED if not served:
                self._boot_failed(generation, Failure(f"worker {pid} {text} before it was ready"), now)
            case Phase.SERVING | Phase.RETIRING | Phase.WAKING | Phase.MUTED:
                self._serving_died(generation, pid, text, age < max(EARLY_AGE, boot_time), now)
            case Phase.TOLD | Phase.DRAINING if not clean:
                self._say(ERROR, f"worker {pid} {text} while it drained")
            case Phase.PARKING | Phase.PARKED:
                self._say(ERROR, f"worker {pid} {text} while it was kept in reserve")
            case _:
                self._say(DEBUG, f"worker {pid} {text}")
        return self._settle(now)

    def _late(self, worker: Worker, now: float) -> None:
        """The worker's phase has lasted too long."""
        if worker.stopped:  # and goes on now
            worker.stopped = False
            self._roster.renew(worker, now)
            return
        reason, generation, booting = lateness(worker), self._wanted_by(worker), not worker.has_served
        failure = Failure(f"worker {worker.pid}: {reason}")
        worker.deadline = math.inf
        self._roster.tell(worker, Event.LATE, now, reason)
        if booting and worker.phase is Phase.ABORTING:
            self._boot_failed(generation, failure, now)

    # Generations

    def _settle(self, now: float) -> list[Action]:
        """Compare what is with what should be, and order the difference. Every public method ends here."""
        if self.course is Course.STOPPING and all(worker.phase is Phase.FREE for worker in self.workers):
            self.course = Course.ENDED
            self._out.append(Exit(self._exit_code))
        elif self.course in (Course.STARTING, Course.SERVING):
            self._promote(now)
            for generation in (self.current, self.next):
                if generation is not None:
                    staffing.trim(self._roster, generation, self.next is not None, now)
                    self._out += staffing.fill(self._roster, generation, self.next is not None, now)
            self._relieve(now)
        self._forget()
        out = self._out.copy()
        self._out.clear()
        return out

    def _promote(self, now: float) -> None:
        current, following = self.current, self.next
        assert current is not None
        if self.course is Course.STARTING and self._serves(current, 1):
            self.course = Course.SERVING
            current.stage = Stage.LIVE
            self._out.append(Opened())
        if following is not None and following.stage is Stage.CANARY and self._serves(following, 1):
            following.stage = Stage.FILLING
            if following.size > 1:
                self._say(INFO, f"generation {following.number}: its first worker serves, now the others")
        if (
            following is not None
            and following.stage is Stage.FILLING
            and self._serves(following, following.size)
        ):
            self._succeed(current, following, now)
            current = following
        if not current.settled and self._rules(current):
            current.settled = True
            self._out.append(Settled(current.number))

    def _succeed(self, before: Generation, following: Generation, now: float) -> None:
        """The following generation serves; the one before is kept, unless it is still being watched."""
        self.current, self.next = following, None
        following.stage = Stage.LIVE
        if following.size != before.size:
            self._out.append(Resized(following.size, before.size))
        if not following.policy.bake:
            self._say(INFO, f"generation {following.number} serves, {before.number} drains")
            self._release(now)
            self._over(before, now)
            return
        following.bake_deadline = now + following.policy.bake
        if self.kept is None:
            self._keep(before, now)
        else:
            self._over(before, now)
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
            self._over(kept, now)

    def _baked(self, current: Generation, now: float) -> None:
        current.bake_deadline = math.inf
        self._say(INFO, f"generation {current.number} does well after {current.policy.bake:g} s (bake)")
        self._release(now)
        self._out.append(Baked(current.number))

    def _rules(self, generation: Generation) -> bool:
        """Do all its workers serve, and nobody else's accept any more?"""
        return (
            generation.stage is Stage.LIVE
            and self._serves(generation, generation.size)
            and not any(
                worker.phase in ACCEPTS and worker.generation is not generation for worker in self.workers
            )
        )

    def _serves(self, generation: Generation, count: int) -> bool:
        return self._roster.count(generation, SERVES) >= min(count, generation.size)

    def _serving_died(
        self, generation: Generation | None, pid: int, text: str, early: bool, now: float
    ) -> None:
        if generation is None:
            self._say(ERROR, f"worker {pid} {text}")
            return
        wait = 0.0
        if early:
            wait = generation.blame(now, RETRY_SERVE_LIMIT)
        else:
            generation.early_deaths = 0
        if generation is self.next and generation.early_deaths >= FILLING_DEATHS:
            self._abandon(generation, Failure(f"its workers keep dying: worker {pid} {text}"), now)
            return
        again = f"; the next one in {wait:g} s" if wait else ""
        self._say(ERROR, f"worker {pid} {text}{again}")

    def _boot_failed(self, generation: Generation | None, failure: Failure, now: float) -> None:
        if generation is None or self.course not in (Course.STARTING, Course.SERVING):
            return  # of a generation that is given up: said already
        if self.course is Course.STARTING:
            self._say(ERROR, failure.cause, failure.detail)
            self._close(failure.exit_code, now)
            self._quits += 1
            for worker in self.workers:
                self._roster.tell(worker, Event.QUIT, now)
        elif generation is self.next:
            self._abandon(generation, failure, now)
        else:
            wait = generation.blame(now, RETRY_BOOT_LIMIT)
            again = f"the next try in {wait:g} s" if wait else "trying again"
            self._say(ERROR, f"{failure.cause}; {again}", failure.detail)

    def _abandon(self, generation: Generation, failure: Failure, now: float) -> None:
        """Give up the next generation; the current one was never touched."""
        assert self.current is not None
        self.next = None
        self._over(generation, now)
        text = f"reload failed, generation {self.current.number} serves on: {failure.cause}"
        self._say(ERROR, text, failure.detail)
        self._out.append(Abandoned(generation.number, failure.cause, failure.detail, failure.exit_code))

    def _over(self, generation: Generation | None, now: float) -> None:
        assert generation is not None
        generation.stage = Stage.OVER
        generation.bake_deadline = math.inf
        for worker in self._roster.of(generation, COMING | IN_RESERVE):
            self._roster.dismiss(worker, now)

    def _relieve(self, now: float) -> None:
        """Drain who serves for a generation that is over, as far as the current one can do without; park
        who serves for the one that is kept."""
        assert self.current is not None
        left = [
            worker
            for worker in self.workers
            if worker.phase in SERVES and worker.generation not in (self.current, self.next)
        ]
        needed = max(0, self.size - self._roster.count(self.current, SERVES))
        for worker in left[: max(0, len(left) - needed)]:
            self._roster.tell(worker, Event.PARK if worker.generation is self.kept else Event.DRAIN, now)
        if self.kept is not None:
            reserve = self._roster.of(self.kept, IN_RESERVE)
            for worker in reserve[self.kept.size :]:
                self._roster.tell(worker, Event.DRAIN, now)

    def _close(self, exit_code: int, now: float) -> None:
        self.course = Course.STOPPING
        self._exit_code = exit_code
        if self.next is not None:
            self._out.append(Abandoned(self.next.number, "the server is stopping"))
            self.next = None
        self.kept = None

    def _change(self, size: int, now: float) -> list[Action]:
        if self.course in (Course.STARTING, Course.SERVING):
            size = self._bounded(size)
            if size != self.size:
                self._out.append(Resized(size, self.size))
            for generation in (self.current, self.next, self.kept):
                if generation is not None:
                    generation.size = size
        return self._settle(now)

    def _bounded(self, size: int) -> int:
        limit = max(1, len(self.workers) // 2)
        if size > limit:
            self._say(WARNING, f"{limit} workers are the most that this start allows, not {size}")
        return min(size, limit)

    def _generation(self, policy: Policy, stage: Stage) -> Generation:
        self._number += 1
        self._known.add(self._number)
        return Generation(self._number, policy, stage, self._bounded(policy.size))

    def _forget(self) -> None:
        alive = {each.number for each in (self.current, self.next, self.kept) if each is not None}
        alive.update(worker.generation.number for worker in self.workers if worker.generation is not None)
        for number in sorted(self._known - alive):
            self._known.remove(number)
            self._out.append(Forget(number))

    def _wanted_by(self, worker: Worker) -> Generation | None:
        """The worker's generation; None when that is drained or given up."""
        return worker.generation if worker.generation in (self.current, self.next) else None

    def _say(self, level: int, text: str, detail: str = "") -> None:
        self._out.append(Say(level, text, detail))
