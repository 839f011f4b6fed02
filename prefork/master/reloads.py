"""Reloads: the settings of every generation that is not forgotten, and who waits to hear how it came out.

A generation's settings are read when it is asked for. They become the server's when it serves; until then,
and for good when it comes to nothing, those of the generation before hold.
"""

from __future__ import annotations

from ..errors import PreforkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..config.settings import Settings
    from .control import Caller


class Reloads:
    """read: read everything again; raises PreforkError. None: reload with the same. log: a Logger, and
    `configure(settings)`."""

    def __init__(self, settings: Settings, read: Callable[[], Settings] | None, log: Any) -> None:
        self.newest = 1
        self._settings_of = {1: settings}
        self._read = read
        self._log = log
        self._callers: dict[int, list[Caller]] = {}

    def settings_of(self, generation: int) -> Settings:
        return self._settings_of[generation]

    def all_settings(self) -> Iterable[Settings]:
        """Of every generation that may have workers."""
        return self._settings_of.values()

    def prepare(self, current: Settings) -> Settings:
        """Read the settings for a next generation, with what cannot change kept and said, and log as they
        want. Raises PreforkError; nothing has changed then."""
        if self._read is None:
            return current
        from ..config.load import for_reload

        try:
            settings, kept = for_reload(current, self._read())
            self._log.configure(settings)
        except (
            ImportError,
            OSError,
        ) as fault:  # of prefork's own files; no descriptor is left; a lost folder
            raise PreforkError(f"the settings cannot be read: {type(fault).__name__}: {fault}") from fault
        for line in kept:
            self._log.warning("reload: %s", line)
        return settings

    def begin(self, settings: Settings, caller: Caller | None) -> int:
        """Return the number of the generation that is built now."""
        self.newest += 1
        self._settings_of[self.newest] = settings
        if caller is not None:
            self._callers[self.newest] = [caller]
            caller.say(state="started", generation=self.newest)
        return self.newest

    def watched(self, generation: int, workers: int, seconds: float) -> None:
        """It serves, and is watched for some time before that is for good."""
        for caller in self._callers.get(generation, ()):
            caller.say(state="watched", generation=generation, workers=workers, seconds=seconds)

    def done(self, generation: int, workers: int) -> None:
        """It serves, for good."""
        for caller in self._callers.pop(generation, ()):
            caller.end(state="done", generation=generation, workers=workers)

    def failed(self, generation: int, cause: str, detail: str, exit_code: int, current: Settings) -> None:
        """It came to nothing; `current` are the settings that hold."""
        for caller in self._callers.pop(generation, ()):
            caller.end(state="failed", generation=generation, cause=cause, detail=detail, exit_code=exit_code)
        if self._read is not None and generation == self.newest:
            try:
                self._log.configure(current)
            except PreforkError as fault:
                self._log.error("the log of before cannot be opened again: %s", fault)

    def forget(self, generation: int) -> None:
        """No worker of it is left."""
        for caller in self._callers.pop(generation, ()):
            cause = "another generation has taken its place"
            caller.end(state="failed", generation=generation, cause=cause, detail="", exit_code=1)
        self._settings_of.pop(generation, None)
