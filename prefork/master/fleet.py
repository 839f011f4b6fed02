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
from .actions import Abandoned, Action, Exit, Opened, Resized, Say
from .generation import RETRY_BOOT_LIMIT, RETRY_SERVE_LIMIT, Failure, Generation, Policy, Stage
from .lineage import Lineage
from .phases import PATIENT, SERVES, Event, Phase, Worker
from .roster import STOPPED_INTERVAL, Roster, lateness

EARLY_AGE = 1.0  # a worker that serves for less, or for less than it took to boot, has died early
# Early deaths that are further apart, waits and boots not counted, are no loop: somebody kills workers.
EARLY_APART = 0.25
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
        self._lineage = Lineage(self._roster, self._out)
        self._quits = 0
        self._exit_code = 0

    # For the loop

    @property
    def current(self) -> Generation | None:
        """The generation that serves."""
        return self._lineage.current

    @property
    def next(self) -> Generation | None:
        """The one that is being built."""
        return self._lineage.next

    @property
    def kept(self) -> Generation | None:
        """The one before, in reserve while the current one is watched."""
        return self._lineage.kept

    @property
    def size(self) -> int:
        """Workers wanted of the generation that serves."""
        return self.current.size if self.current is not None else 0

    @property
    def adapts(self) -> bool:
        """Does the number of workers follow what they have to do?"""
        return self.course is Course.SERVING and self.current is not None and self.current.adapts

    @property
    def serving(self) -> int:
        """Workers that serve, of whatever generation."""
        return sum(worker.phase in SERVES for worker in self.workers)

    @property
    def wake(self) -> float:
        """When to call `tick` at the latest; inf: never."""
        deadlines = [worker.deadline for worker in self.workers if worker.phase is not Phase.FREE]
        if self.course in (Course.STARTING, Course.SERVING):
            wanted = self._lineage.wanted()
            deadlines += [generation.retry_deadline for generation in wanted if generation.short]
            deadlines += [generation.bake_deadline for generation in wanted]
        return min(deadlines, default=math.inf)

    def tick(self, now: float) -> list[Action]:
        """Look what is due."""
        for worker in self.workers:
            if worker.deadline <= now:
                self._late(worker, now)
        if self.current is not None and self.current.bake_deadline <= now:
            self._lineage.baked(self.current, now)
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

    def start(self, policy: Policy, now: float, wanted: int = 0) -> list[Action]:
        """Make the first generation, all workers at once: nothing is there that a canary could protect.

        wanted: so many, where the policy leaves it open.
        """
        self._lineage.current = self._make(policy, Stage.FILLING, wanted)
        return self._settle(now)

    def reload(self, policy: Policy, now: float) -> list[Action]:
        """Build the next generation. One that is still being built is given up for it."""
        match self.course:
            case Course.STARTING:
                self._lineage.over(self.current, now)
                self._lineage.current = self._make(policy, Stage.FILLING, self.size)
            case Course.SERVING:
                if self.next is not None:
                    self._abandon(self.next, Failure("a newer reload takes its place", exit_code=1), now)
                self._lineage.next = self._make(policy, Stage.CANARY, self.size)
            case Course.STOPPING:
                self._say(WARNING, "reload ignored: the server is stopping")
            case Course.ENDED:
                pass
        return self._settle(now)

    def roll_back(self, cause: str, now: float) -> list[Action]:
        """The current generation does worse than the one that is kept: go back to that."""
        if self.course is Course.SERVING:
            self._lineage.roll_back(cause, now)
        return self._settle(now)

    def grow(self, now: float) -> list[Action]:
        """TTIN: one worker more."""
        return self._change(self.size + 1, now)

    def shrink(self, now: float) -> list[Action]:
        """TTOU: one worker less, but never the last one."""
        return self._change(max(1, self.size - 1), now)

    def follow(self, size: int, why: str, now: float) -> list[Action]:
        """So many are wanted by what there is to do, as far as each generation leaves it open."""
        if self.adapts:
            old = self.size
            for generation in (self.current, self.next, self.kept):
                if generation is not None and generation.adapts:
                    generation.size = min(max(size, generation.least), generation.most)
            if self.size != old:
                self._out.append(Resized(self.size, old, why))
        return self._settle(now)

    def empty(self, now: float) -> list[Action]:
        """WINCH: drain every worker and keep the master; a reload or `grow` brings workers back."""
        return self._change(0, now)

    def stop(self, now: float, *, last: bool = False) -> list[Action]:
        """TERM: drain, then exit. last: nobody serves the listeners behind this server."""
        self._roster.last = last
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
        generation = self._lineage.wanted_by(worker)
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
            self._boot_failed(self._lineage.wanted_by(worker), failure, now)
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
        phase, pid, generation = worker.phase, worker.pid, self._lineage.wanted_by(worker)
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
                if generation is not None and now - generation.retry_deadline > EARLY_APART + 2 * boot_time:
                    generation.early_deaths = 0
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
        reason, generation, booting = lateness(worker), self._lineage.wanted_by(worker), not worker.has_served
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
            self._open()
            self._lineage.advance(now)
            for generation in self._lineage.wanted():
                staffing.trim(self._roster, generation, self.next is not None, now)
                self._out += staffing.fill(self._roster, generation, self.next is not None, now)
            self._lineage.relieve(now)
        self._lineage.forget()
        out = self._out.copy()
        self._out.clear()
        return out

    def _open(self) -> None:
        """The first worker of the first generation serves."""
        current = self._lineage.current
        assert current is not None
        if self.course is Course.STARTING and self._lineage.serves(current, 1):
            self.course = Course.SERVING
            current.stage = Stage.LIVE
            self._out.append(Opened())

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
        self._lineage.next = None
        self._lineage.over(generation, now)
        text = f"reload failed, generation {self.current.number} serves on: {failure.cause}"
        self._say(ERROR, text, failure.detail)
        self._out.append(Abandoned(generation.number, failure.cause, failure.detail, failure.exit_code))

    def _close(self, exit_code: int, now: float) -> None:
        self.course = Course.STOPPING
        self._exit_code = exit_code
        if self.next is not None:
            self._out.append(Abandoned(self.next.number, "the server is stopping"))
            self._lineage.next = None
        self._lineage.kept = None

    def _change(self, size: int, now: float) -> list[Action]:
        if self.course in (Course.STARTING, Course.SERVING):
            size, old = self._bounded(size), self.size
            for generation in (self.current, self.next, self.kept):
                if generation is not None:
                    generation.resize(size, self._limit)
            if size != old:
                now_on = f"{self.current.range} from now on" if self.current and self.current.adapts else ""
                self._out.append(Resized(size, old, now_on))
        return self._settle(now)

    def _make(self, policy: Policy, stage: Stage, wanted: int) -> Generation:
        most = self._bounded(policy.size)
        least = min(policy.least, most)
        return self._lineage.make(policy, stage, min(policy.first(wanted), most), least=least, most=most)

    @property
    def _limit(self) -> int:
        return max(1, len(self.workers) // 2)

    def _bounded(self, size: int) -> int:
        if size > self._limit:
            self._say(WARNING, f"{self._limit} workers are the most that this start allows, not {size}")
        return min(size, self._limit)

    def _say(self, level: int, text: str, detail: str = "") -> None:
        self._out.append(Say(level, text, detail))
