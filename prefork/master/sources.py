"""Source files under watch, for --reload: what a change of them is called, and when the watch is over."""

from __future__ import annotations

import json
import os
import select

# In the environment, by a program that has become prefork (manage.py runprefork), as JSON: "roots", folders
# with source that are watched instead of the working directory, and "patterns", more of --reload-extra-file.
# No setting: it says what that program knows of the project, and an upgrade keeps it.
WATCHED = "_PREFORK_WATCHED"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..config.settings import Settings
    from .watch import Watcher


class Sources:
    """The master's end of the watcher, if there is one. changed: called with words for what has changed."""

    def __init__(self, poll: select.poll, log: Any, changed: Callable[[str], None]) -> None:
        self._poll = poll
        self._log = log
        self._changed = changed
        self._watcher: Watcher | None = None
        self._base = ""

    def watch(self, settings: Settings) -> None:
        """Begin. What cannot be watched is told, and no reason not to serve."""
        from .watch import Watcher

        self._base = settings.chdir
        said = json.loads(os.environ.get(WATCHED, "{}"))
        roots = (*said.get("roots", [settings.chdir]), *settings.pythonpath)
        try:
            self._watcher = Watcher(roots, (*settings.reload_extra_files, *said.get("patterns", ())))
        except OSError as error:
            self._log.error("source files are not watched: %s", error.strerror)
        else:
            self._poll.register(self._watcher.fileno(), select.POLLIN)

    def hear(self, fd: int) -> bool:
        """That descriptor has something to read. False: it is not the watcher's."""
        watcher = self._watcher
        if watcher is None or fd != watcher.fileno():
            return False
        from .watch import describe

        engine = watcher.engine
        changes = watcher.changes()
        if watcher.engine != engine:
            self._log.info("source files are watched (%s)", watcher.engine)
        if changes:
            self._changed(describe(changes, self._base))
        if watcher.ended:
            self._log.error("source files are no longer watched: the watcher has ended")
            self._poll.unregister(fd)
            self.let_go()
        return True

    def let_go(self) -> None:
        """Close our end, and leave the watcher alone."""
        if self._watcher is not None:
            self._watcher.disown()
            self._watcher = None

    def close(self) -> None:
        """End the watcher."""
        if self._watcher is not None:
            self._watcher.close()
