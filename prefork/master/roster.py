"""The workers of a fleet: who is in which slot, and one step of one worker.

The table in phases.py says which step an event makes; here stands what a step brings about: deadlines, and
orders to the worker, which are added to `out`.
"""

from __future__ import annotations

import math
import signal

from ..net import channel
from .actions import Action, Send, Signal
from .generation import Generation, Policy
from .phases import Event, Phase, Worker, next_phase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

QUIT_TIMEOUT = 2.0  # seconds from "leave at once" to KILL
ABORT_TIMEOUT = 2.0  # seconds from ABRT to KILL: time to write the stacks
MUTE_TIMEOUT = 1.0  # seconds from EOF on the channel to the reaping; the kernel does both at once
STOPPED_INTERVAL = 1.0  # seconds between two looks at a stopped process
LEAVE_TIMEOUT = (
    0.5  # seconds that a drain has at least: an idle worker leaves by itself, if it may be scheduled
)
WAKE_TIMEOUT = 5.0  # seconds from "serve again" to its ready: it only has to look


class Roster:
    """All slots of one server."""

    def __init__(self, slots: int, out: list[Action]) -> None:
        self.workers = [Worker(slot) for slot in range(slots)]
        self._out = out
        self.last = False  # whoever drains now does so because the whole server ends

    def of(self, generation: Generation, phases: Container[Phase]) -> list[Worker]:
        return [
            worker for worker in self.workers if worker.generation is generation and worker.phase in phases
        ]

    def count(self, generation: Generation, phases: Container[Phase]) -> int:
        return len(self.of(generation, phases))

    def tell(self, worker: Worker, event: Event, now: float, reason: str = "") -> None:
        """Let the event happen to that worker."""
        phase = next_phase(worker.phase, event)
        if phase is worker.phase:
            return
        before, worker.phase = worker.phase, phase
        worker.stopped = False
        deadline, worker.deadline = worker.deadline, math.inf
        match phase:
            case Phase.FREE:
                worker.clear()
            case Phase.BOOTING:
                worker.deadline = now + (policy_of(worker).boot_timeout or math.inf)
            case Phase.SERVING:
                worker.served_at = now
            case Phase.MUTED:
                worker.deadline = now + MUTE_TIMEOUT
            case Phase.PARKING:
                self._order(worker, before, channel.PARK)
            case Phase.WAKING:
                worker.deadline = now + WAKE_TIMEOUT
                self._order(worker, before, channel.WAKE)
            case Phase.TOLD:
                policy = policy_of(worker)
                worker.deadline = now + _drain_timeout(policy) + (policy.drain_delay if self.last else 0.0)
                self._order(worker, before, channel.FINISH if self.last else channel.DRAIN)
            case Phase.DRAINING if before is Phase.TOLD:
                worker.deadline = deadline
            case Phase.DRAINING:
                worker.deadline = now + _drain_timeout(policy_of(worker))
            case Phase.QUITTING:
                worker.deadline = now + QUIT_TIMEOUT
                if event is Event.QUIT or event is Event.DRAIN:
                    self._order(worker, before, channel.STOP)
            case Phase.ABORTING:
                worker.deadline = now + ABORT_TIMEOUT
                self._out.append(Signal(worker.slot, signal.SIGABRT, reason))
            case Phase.KILLED:
                self._out.append(Signal(worker.slot, signal.SIGKILL, reason))
            case _:
                pass

    def renew(self, worker: Worker, now: float) -> None:
        """Give the phase its whole time again."""
        policy = policy_of(worker)
        match worker.phase:
            case Phase.BOOTING:
                worker.deadline = now + (policy.boot_timeout or math.inf)
            case Phase.TOLD | Phase.DRAINING:
                worker.deadline = now + _drain_timeout(policy)
            case _:
                worker.deadline = now + WAKE_TIMEOUT

    def dismiss(self, worker: Worker, now: float) -> None:
        """Let go of one that is not wanted any more: at once, if it has never had a client."""
        self.tell(worker, Event.DRAIN if worker.has_served else Event.QUIT, now)

    def _order(self, worker: Worker, before: Phase, message: bytes) -> None:
        # A booting worker is inside the application's import and reads nothing; TERM has its default there.
        if before is Phase.BOOTING or before is Phase.MUTED:
            self._out.append(Signal(worker.slot, signal.SIGTERM))
        else:
            self._out.append(Send(worker.slot, message))


def _drain_timeout(policy: Policy) -> float:
    return policy.graceful_timeout or LEAVE_TIMEOUT


def policy_of(worker: Worker) -> Policy:
    assert worker.generation is not None
    return worker.generation.policy


def lateness(worker: Worker) -> str:
    """Why a phase that has lasted too long ends, in words."""
    policy = policy_of(worker)
    match worker.phase:
        case Phase.BOOTING:
            warming = f", warming up {worker.warming}" if worker.warming else ""
            return f"not ready within {policy.boot_timeout:g} s (boot_timeout){warming}"
        case Phase.WAKING:
            return f"it does not serve again {WAKE_TIMEOUT:g} s after it was told"
        case Phase.MUTED:
            return "it has closed the channel to its master"
        case Phase.TOLD | Phase.DRAINING:
            return f"not drained within {policy.graceful_timeout:g} s (graceful_timeout)"
        case Phase.QUITTING:
            return f"still there {QUIT_TIMEOUT:g} s after it was told to leave"
        case _:
            return f"still there {ABORT_TIMEOUT:g} s after ABRT"
