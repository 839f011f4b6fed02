"""The master's end of the lookout of `--reload`: a child process that says which source files changed.

The `Watcher` has a descriptor that becomes readable when there is something to hear; `changes()` is the list.
What counts as a source file, and how a change is seen, is the child's: `lookout.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from . import lookout
from .lookout import Change


class Watcher:
    """The master's end. Every method returns at once.

    engine: "" until the child watches (what changes before that is not seen), then "watchfiles" or "polling".
    ended: the child is gone; nothing will be heard any more.
    """

    def __init__(self, roots: Sequence[str], patterns: Sequence[str] = ()) -> None:
        """Start the child. roots: folders with source, searched whole; patterns: other files, as paths or
        globs (`**` crosses folders). All absolute. Raises OSError when no process can be started."""
        self.engine = ""
        self.ended = False
        self._rest = b""
        life, self._life = os.pipe()
        self._heard, speech = os.pipe()
        os.set_blocking(self._heard, False)
        # A group of its own: Ctrl-C at the terminal is for the server, and the end of the pipe for us.
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", lookout.__file__, *roots, "--", *patterns],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, life, 0),
                (os.POSIX_SPAWN_DUP2, speech, 1),
            ],
            setpgroup=0,
            setsigmask=(),
        )
        os.close(life)
        os.close(speech)

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._heard

    def changes(self) -> list[Change]:
        """Return what was heard since the last call, each file once, in order."""
        found: dict[str, Change] = {}
        for line in self._lines():
            word, _, rest = line.partition("\t")
            if word == "ready":
                self.engine = rest
            else:
                found[rest] = Change(word, rest)
        return list(found.values())

    def disown(self) -> None:
        """For a process forked from the master: let go of the descriptors, leave the child alone."""
        os.close(self._life)
        os.close(self._heard)

    def close(self) -> None:
        """End the child and collect it, unless somebody else already has."""
        self.disown()
        try:
            os.kill(self.pid, 15)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        self.ended = True

    def _lines(self) -> Iterator[str]:
        while True:
            try:
                data = os.read(self._heard, 1 << 16)
            except BlockingIOError:
                break
            if not data:
                self.ended = True
                break
            self._rest += data
        *lines, self._rest = self._rest.split(b"\0")
        return map(os.fsdecode, lines)


def describe(changes: Sequence[Change], base: str) -> str:
    """Return "a.py modified, b.py added and 3 more" with paths relative to base where they lie below it."""
    shown = [f"{_relative(change.path, base)} {change.kind}" for change in changes[:3]]
    more = len(changes) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _relative(path: str, base: str) -> str:
    return path.removeprefix(base.rstrip("/") + "/")
