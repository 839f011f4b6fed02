"""What Fleet wants done: plain values, acted out by Master in the order they are given."""

from __future__ import annotations


class Action:
    """One thing to do; compares by value."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._values()}"

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)


class Fork(Action):
    """Make a worker of that generation in that slot; answer with Fleet.forked or Fleet.unforked.

    canary: it has to warm up before it says that it is ready.
    """

    __slots__ = ("canary", "generation", "slot")

    def __init__(self, slot: int, generation: int, canary: bool = False) -> None:
        self.slot = slot
        self.generation = generation
        self.canary = canary


class Send(Action):
    """Send the worker a message of net/channel.py."""

    __slots__ = ("message", "slot")

    def __init__(self, slot: int, message: bytes) -> None:
        self.slot = slot
        self.message = message


class Signal(Action):
    """Send the worker a signal. With a `reason`, log it and what the worker is running."""

    __slots__ = ("number", "reason", "slot")

    def __init__(self, slot: int, number: int, reason: str = "") -> None:
        self.slot = slot
        self.number = number
        self.reason = reason


class Say(Action):
    """Log a line at a level of `logging`; `detail` is a traceback's text or ""."""

    __slots__ = ("detail", "level", "text")

    def __init__(self, level: int, text: str, detail: str = "") -> None:
        self.level = level
        self.text = text
        self.detail = detail


class Resized(Action):
    """The number of workers that is wanted has changed. `why`: a few words, or ""."""

    __slots__ = ("new", "old", "why")

    def __init__(self, new: int, old: int, why: str = "") -> None:
        self.new = new
        self.old = old
        self.why = why


class Opened(Action):
    """The first worker of the first generation serves."""

    __slots__ = ()


class Settled(Action):
    """The generation is the only one wanted, and all its workers serve."""

    __slots__ = ("generation",)

    def __init__(self, generation: int) -> None:
        self.generation = generation


class Abandoned(Action):
    """The generation came to nothing; the one before serves on. `cause` is one line for who asked for it."""

    __slots__ = ("cause", "detail", "exit_code", "generation")

    def __init__(self, generation: int, cause: str, detail: str = "", exit_code: int = 1) -> None:
        self.generation = generation
        self.cause = cause
        self.detail = detail
        self.exit_code = exit_code


class Baked(Action):
    """The generation has been watched for its time, and nothing was wrong with it."""

    __slots__ = ("generation",)

    def __init__(self, generation: int) -> None:
        self.generation = generation


class Forget(Action):
    """No worker of the generation is left, and none will be made."""

    __slots__ = ("generation",)

    def __init__(self, generation: int) -> None:
        self.generation = generation


class Exit(Action):
    """Nothing is left to supervise."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code
