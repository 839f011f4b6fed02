"""One generation of workers: what was asked of it, how far it has come, its patience with early deaths."""

from __future__ import annotations

import enum
import math

RETRY_FIRST = 0.1  # seconds; doubles with every early death in a row after the first
RETRY_BOOT_LIMIT = 30.0  # where workers do not even boot
RETRY_SERVE_LIMIT = 5.0  # where they boot, and what kills them may stop coming


class Stage(enum.Enum):
    CANARY = "canary"  # one worker has to serve first
    FILLING = "filling"
    LIVE = "live"
    KEPT = "kept"  # in reserve, while the one after it is watched
    OVER = "over"  # drained or given up


class Policy:
    """What of the settings matters here. Times are seconds; a timeout of 0 is none.

    size: workers.  least: so many are enough while there is little to do; 0: always all.
    """

    __slots__ = ("bake", "boot_timeout", "drain_delay", "graceful_timeout", "least", "size")

    def __init__(
        self,
        *,
        size: int,
        least: int = 0,
        boot_timeout: float = 0.0,
        graceful_timeout: float = 30.0,
        drain_delay: float = 0.0,
        bake: float = 0.0,
    ) -> None:
        self.size = size
        self.least = min(least or size, size)
        self.bake = bake  # how long it is watched once it serves
        self.boot_timeout = boot_timeout
        self.graceful_timeout = graceful_timeout
        self.drain_delay = drain_delay  # before a drain of the whole server

    def first(self, wanted: int) -> int:
        """How many to begin with, where so many are wanted now."""
        return min(max(wanted, self.least), self.size)


class Failure:
    """Why a worker did not boot: one line, a traceback's text or "", and the exit code that it stands for."""

    __slots__ = ("cause", "detail", "exit_code")

    def __init__(self, cause: str, detail: str = "", exit_code: int = 3) -> None:
        self.cause = cause
        self.detail = detail
        self.exit_code = exit_code


def failure(words: bytes) -> Failure:
    """What a child said behind channel.FAILED."""
    import json

    said = json.loads(words)
    return Failure(said["message"], said["detail"], said["exit_code"])


class Generation:
    __slots__ = (
        "bake_deadline",
        "early_deaths",
        "least",
        "most",
        "number",
        "policy",
        "retry_deadline",
        "settled",
        "short",
        "size",
        "stage",
    )

    def __init__(
        self, number: int, policy: Policy, stage: Stage, size: int, *, least: int = 0, most: int = 0
    ) -> None:
        self.number = number
        self.policy = policy
        self.size = size  # workers wanted; follows what there is to do from `least` to `most`, TTIN and TTOU
        self.least = least or size
        self.most = most or size
        self.stage = stage
        self.settled = False  # all its workers have served at once
        self.early_deaths = 0  # in a row
        self.retry_deadline = -math.inf  # no fork before
        self.short = False  # waits for retry_deadline
        self.bake_deadline = math.inf  # watched until then; the generation before is kept

    @property
    def adapts(self) -> bool:
        """Does the number of its workers follow what they have to do?"""
        return self.least < self.most

    @property
    def range(self) -> str:
        """ "2 to 8", or the one number that there is."""
        return f"{self.least} to {self.most}" if self.adapts else str(self.size)

    def resize(self, size: int, limit: int) -> None:
        """TTIN, TTOU: the range goes along. With nobody wanted it is over."""
        step = size - self.size
        if self.adapts and size:
            self.least = max(1, min(size, self.least + step))
            self.most = min(max(size, self.most + step), limit)
        else:
            self.least = self.most = size
        self.size = size

    def restore(self) -> None:
        """From the reserve back to work."""
        self.stage = Stage.LIVE
        self.settled = False
        self.early_deaths = 0
        self.retry_deadline = -math.inf

    def blame(self, now: float, limit: float) -> float:
        """Count an early death; return the seconds until the next try."""
        self.early_deaths += 1
        exponent = min(self.early_deaths - 2, 32)
        wait = 0.0 if exponent < 0 else min(RETRY_FIRST * 2**exponent, limit)
        self.retry_deadline = max(self.retry_deadline, now + wait)
        return wait
