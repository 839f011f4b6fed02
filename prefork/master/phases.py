"""The life of one worker as the master sees it: its phases, what may happen, and the one table of both.

Every pair of phase and event has an answer: what NEXT does not list leaves the worker as it is (late
news, repeated orders). A test holds the whole grid.
"""

from __future__ import annotations

import enum
import math

from .generation import Generation


class Phase(enum.Enum):
    FREE = "free"  # nobody is in the slot
    FORKING = "forking"  # ordered, has no pid yet
    REVOKED = "revoked"  # ordered and no longer wanted, has no pid yet
    BOOTING = "booting"
    SERVING = "serving"
    RETIRING = "retiring"  # serves, wants to be replaced
    PARKING = "parking"  # ordered to accept nothing until further notice; may still accept
    PARKED = "parked"  # accepts nothing, and can serve again at once
    WAKING = "waking"  # parked, and ordered to serve again
    MUTED = "muted"  # its channel is at EOF: reaped in a moment, or broken
    TOLD = "told"  # ordered to drain; may still accept
    DRAINING = "draining"  # accepts no more, finishes what it has accepted
    QUITTING = "quitting"  # told to leave at once
    ABORTING = "aborting"  # sent ABRT, so that it dumps its stacks
    KILLED = "killed"


class Event(enum.Enum):
    # what happened
    FORKED = "forked"
    UNFORKED = "unforked"  # there will be no process
    READY = "ready"
    FAILED = "failed"  # it said that it cannot boot
    RECYCLE = "recycle"  # it asked to be replaced
    LEAVING = "leaving"  # it said that it accepts no more
    PARKED = "parked"  # it said that it accepts nothing until further notice
    MUTE = "mute"  # its channel is at EOF
    HUNG = "hung"  # a request of it is past every deadline
    LATE = "late"  # the phase has lasted too long
    DIED = "died"
    # what was decided
    FORK = "fork"
    PARK = "park"
    WAKE = "wake"
    DRAIN = "drain"
    QUIT = "quit"
    KILL = "kill"


NEXT: dict[Phase, dict[Event, Phase]] = {
    Phase.FREE: {Event.FORK: Phase.FORKING},
    Phase.FORKING: {
        Event.FORKED: Phase.BOOTING,
        Event.UNFORKED: Phase.FREE,
        Event.DIED: Phase.FREE,
        Event.DRAIN: Phase.REVOKED,
        Event.QUIT: Phase.REVOKED,
        Event.KILL: Phase.REVOKED,
    },
    Phase.REVOKED: {
        Event.FORKED: Phase.KILLED,  # it has no client and has not run a line of the application
        Event.UNFORKED: Phase.FREE,
        Event.DIED: Phase.FREE,
    },
    Phase.BOOTING: {
        Event.READY: Phase.SERVING,
        Event.FAILED: Phase.QUITTING,
        Event.LEAVING: Phase.DRAINING,
        Event.MUTE: Phase.MUTED,
        Event.LATE: Phase.ABORTING,
        Event.DIED: Phase.FREE,
        Event.DRAIN: Phase.QUITTING,
        Event.QUIT: Phase.QUITTING,
        Event.KILL: Phase.KILLED,
    },
    Phase.SERVING: {
        Event.RECYCLE: Phase.RETIRING,
        Event.LEAVING: Phase.DRAINING,
        Event.MUTE: Phase.MUTED,
        Event.HUNG: Phase.ABORTING,
        Event.DIED: Phase.FREE,
        Event.PARK: Phase.PARKING,
        Event.DRAIN: Phase.TOLD,
        Event.QUIT: Phase.QUITTING,
        Event.KILL: Phase.KILLED,
    },
    Phase.RETIRING: {
        Event.LEAVING: Phase.DRAINING,
        Event.MUTE: Phase.MUTED,
        Event.HUNG: Phase.ABORTING,
        Event.DIED: Phase.FREE,
        Event.PARK: Phase.PARKING,
        Event.DRAIN: Phase.TOLD,
        Event.QUIT: Phase.QUITTING,
        Event.KILL: Phase.KILLED,
    },
    Phase.PARKING: {
        Event.PARKED: Phase.PARKED,
        Event.LEAVING: Phase.DRAINING,
        Event.MUTE: Phase.MUTED,
        Event.HUNG: Phase.ABORTING,
        Event.DIED: Phase.FREE,
        Event.WAKE: Phase.WAKING,
        Event.DRAIN: Phase.TOLD,
        Event.QUIT: Phase.QUITTING,
        Event.KILL: Phase.KILLED,
    },
    Phase.PARKED: {
        Event.LEAVING: Phase.DRAINING,
        Event.MUTE: Phase.MUTED,
        Event.HUNG: Phase.ABORTING,
        Event.DIED: Phase.FREE,
        Event.WAKE: Phase.WAKING,
        Event.DRAIN: Phase.TOLD,
        Event.QUIT: Phase.QUITTING,
        Event.KILL: Phase.KILLED,
    },
    Phase.WAKING: {
        Event.READY: Phase.SERVING,
        Event.LEAVING: Phase.DRAINING,
        Event.MUTE: Phase.MUTED,
        Event.HUNG: Phase.ABORTING,
        Event.LATE: Phase.ABORTING,
        Event.DIED: Phase.FREE,
        Event.PARK: Phase.PARKING,
        Event.DRAIN: Phase.TOLD,
        Event.QUIT: Phase.QUITTING,
        Event.KILL: Phase.KILLED,
    },
    Phase.MUTED: {
        Event.HUNG: Phase.ABORTING,
        Event.LATE: Phase.ABORTING,
        Event.DIED: Phase.FREE,
        Event.DRAIN: Phase.TOLD,
        Event.QUIT: Phase.QUITTING,
        Event.KILL: Phase.KILLED,
    },
    Phase.TOLD: {
        Event.LEAVING: Phase.DRAINING,
        Event.HUNG: Phase.ABORTING,
        Event.LATE: Phase.KILLED,
        Event.DIED: Phase.FREE,
        Event.QUIT: Phase.QUITTING,
        Event.KILL: Phase.KILLED,
    },
    Phase.DRAINING: {
        Event.HUNG: Phase.ABORTING,
        Event.LATE: Phase.KILLED,
        Event.DIED: Phase.FREE,
        Event.QUIT: Phase.QUITTING,
        Event.KILL: Phase.KILLED,
    },
    Phase.QUITTING: {
        Event.LATE: Phase.KILLED,
        Event.DIED: Phase.FREE,
        Event.KILL: Phase.KILLED,
    },
    Phase.ABORTING: {
        Event.LATE: Phase.KILLED,
        Event.DIED: Phase.FREE,
        Event.KILL: Phase.KILLED,
    },
    Phase.KILLED: {Event.DIED: Phase.FREE},
}

COMING = frozenset({Phase.FORKING, Phase.BOOTING, Phase.WAKING})
SERVES = frozenset({Phase.SERVING, Phase.RETIRING})
IN_RESERVE = frozenset({Phase.PARKING, Phase.PARKED})
PATIENT = frozenset({Phase.BOOTING, Phase.WAKING, Phase.MUTED, Phase.TOLD, Phase.DRAINING})
ACCEPTS = SERVES | {Phase.PARKING, Phase.TOLD}


def next_phase(phase: Phase, event: Event) -> Phase:
    """Return the phase after that event; the same phase where the event changes nothing."""
    return NEXT[phase].get(event, phase)


class Worker:
    """One slot. `deadline` is when the phase has lasted too long; the rest counts while it is not free."""

    __slots__ = (
        "deadline",
        "forked_at",
        "generation",
        "phase",
        "pid",
        "served_at",
        "slot",
        "stopped",
        "warming",
    )

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.phase = Phase.FREE
        self.clear()

    def clear(self) -> None:
        self.generation: Generation | None = None
        self.pid = 0
        self.stopped = False  # its process was seen stopped when its deadline came
        self.warming = ""  # what it answers first, as the canary of its generation
        self.deadline = math.inf
        self.forked_at = math.inf
        self.served_at = math.inf

    @property
    def has_served(self) -> bool:
        return self.served_at < math.inf
