"""Signals as bytes: the C runtime writes each number into a pipe (signal.set_wakeup_fd), a loop reads it.

Nothing of ours runs in a handler. Master and worker each have one Signals; after a fork the child has to
`forget` its parent's with all signals blocked, or a signal for the child would be read by the parent: both
would write into the same pipe. A process that the application forks has to `disinherit`.
"""

from __future__ import annotations

import os
import signal

# The functions below `signal`'s own, which turn numbers into enum members and back: that alone wrote to
# 0.2 MB of pages in every new worker before it had begun to boot.
from _signal import getsignal, pthread_sigmask, valid_signals  # type: ignore[import-not-found]
from _signal import signal as _handle
from collections.abc import Iterable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

EVERY: frozenset[int] = frozenset(valid_signals())
# Master to worker: look at your requests, one is past its deadline. A real-time signal, for every other one
# may be the application's own.
ASK = signal.SIGRTMIN + 4
# Kernel to worker: something has come on the channel, or its other end is dead (F_SETSIG, fcntl(2)).
STIR = signal.SIGRTMIN + 5
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
catch = _handle  # catch(number, handler)
SETMASK = int(signal.SIG_SETMASK)
DEFAULT = int(signal.SIG_DFL)


class Signals:
    """Catches `numbers` from the moment it is made. `fd` is readable when `take` has something to tell."""

    __slots__ = ("_numbers", "_write_fd", "fd")

    def __init__(self, numbers: Iterable[int]) -> None:
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        # Before any handler: what arrives between the two must not be lost.
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._numbers = tuple(map(int, numbers))
        for number in self._numbers:
            catch(number, _caught)
        global _ours
        _ours = self

    def take(self) -> list[int]:
        """Return the numbers that have arrived since the last call, in order, each once for each time."""
        try:
            return list(os.read(self.fd, 4096))
        except BlockingIOError:
            return []

    def forget(self) -> None:
        """Let go of pipe and handlers: every signal has its default action again."""
        signal.set_wakeup_fd(-1)
        for number in self._numbers:
            catch(number, DEFAULT)
        os.close(self.fd)
        os.close(self._write_fd)

    def disinherit(self) -> tuple[int, int]:
        """See the function."""
        found = signal.set_wakeup_fd(-1)
        if found not in (-1, self._write_fd):  # the application's own (asyncio has one)
            signal.set_wakeup_fd(found, warn_on_full_buffer=False)
        return self.fd, self._write_fd


_ours: Signals | None = None


def disinherit() -> tuple[int, ...]:
    """In a process that the application has forked, signals held: what comes is for it and has its default
    action, where it has not said otherwise. Returns the descriptors of the pipe, which is the worker's."""
    for number in EVERY:
        if getsignal(number) is _caught:
            catch(number, DEFAULT)
    return _ours.disinherit() if _ours is not None else ()


def drop(numbers: Iterable[int]) -> None:
    """Let these signals pass without effect, until somebody handles them."""
    for number in numbers:
        catch(number, _caught)


def block() -> None:
    """Hold every signal back, around a fork."""
    pthread_sigmask(SETMASK, EVERY)


def hold() -> set[int]:
    """Hold every signal back from this thread; return what `release` wants."""
    held: set[int] = pthread_sigmask(SETMASK, EVERY)
    return held


def release(mask: set[int]) -> None:
    """Deliver what was held back since."""
    pthread_sigmask(SETMASK, mask)


def unblock() -> None:
    """Deliver what was held back, and all that follows."""
    pthread_sigmask(SETMASK, ())


def name(number: int) -> str:
    """Return "TERM" for SIGTERM."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return f"signal {number}"


def _caught(number: int, frame: FrameType | None) -> None:
    """Only there so that the C runtime catches the signal at all."""
