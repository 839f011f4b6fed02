"""The kinds of single values: what a setting's text means, what it may be, how it is shown.

A kind turns text (command line, environment) with `parse` and a typed value (TOML, Python file) with
`check` into the value that `Settings` holds, or raises Refused. It never knows which setting it serves or
where the value came from: `load.py` adds both. Nothing here looks at the system, except User and Group,
which ask the user database; files and folders are looked at by `sanity.py`, when the directory is known.
Kinds of several values are in `compound.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeVar

    T_co = TypeVar("T_co", covariant=True)

    class Kind(Protocol[T_co]):
        """What every class below offers."""

        @property
        def allowed(self) -> str: ...  # behind "must be"
        @property
        def metavar(self) -> str: ...
        def parse(self, text: str) -> T_co: ...
        def check(self, value: object) -> T_co: ...
        def show(self, value: Any) -> str: ...


UNLIMITED = 2**63 - 1  # what a signed 64-bit word holds

_TRUTH = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SPANS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Refused(ValueError):
    """The value is not of the kind. `problem` is "" where `allowed` says all, else one clause, and `final`
    when that clause says all. `meant` is what was probably meant."""

    def __init__(self, problem: str = "", *, meant: str = "", final: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.meant = meant
        self.final = final


class Toggle:
    """True or false."""

    allowed = "true or false"
    metavar = ""

    def parse(self, text: str) -> bool:
        try:
            return _TRUTH[text.strip().lower()]
        except KeyError:
            raise Refused from None

    def check(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.parse(value)
        raise Refused

    def show(self, value: bool) -> str:
        return "true" if value else "false"


class Whole:
    """A whole number of something. `zero` says what 0 stands for where it is out of the row; `word` is a
    word that means 0 (workers = auto)."""

    def __init__(
        self, low: int, high: int, unit: str = "", *, zero: str = "", word: str = "", metavar: str = "N"
    ) -> None:
        self.low = low
        self.high = high
        self.unit = unit
        self.zero = zero
        self.word = word
        self.metavar = metavar

    @property
    def allowed(self) -> str:
        text = f"a whole number {_span(str(self.low), str(self.high), self.high)}"
        if self.unit:
            text += f" ({self.unit})"
        if self.word:
            text += f", or {self.word}"
        elif self.zero and self.low > 0:
            text += f", or 0 for {self.zero}"
        return text

    def parse(self, text: str) -> int:
        text = text.strip()
        if self.word and text.lower() == self.word:
            return 0
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 20):
            raise Refused
        return self._bounded(int(text))

    def check(self, value: object) -> int:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused
        return self._bounded(value)

    def _bounded(self, number: int) -> int:
        if (number == 0 and self.zero) or self.low <= number <= self.high:
            return number
        raise Refused

    def show(self, value: int) -> str:
        return self.word if value == 0 and self.word else str(value)


class Size:
    """Bytes; text may end in k, m or g (powers of 1024)."""

    metavar = "BYTES"

    def __init__(self, low: int, high: int, *, zero: str = "") -> None:
        self.low = low
        self.high = high
        self.zero = zero

    @property
    def allowed(self) -> str:
        text = f"a size {_span(_bytes(self.low), _bytes(self.high), self.high)}, in bytes, k, m or g"
        return f"{text}; 0 is {self.zero}" if self.zero else text

    def parse(self, text: str) -> int:
        word = text.strip().lower()
        digits = word.rstrip("abcdefghijklmnopqrstuvwxyz ")
        suffix = word[len(digits) :].strip().removesuffix("b").removesuffix("i")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 20) or suffix not in _SIZES:
            raise Refused
        return self._bounded(int(digits) * _SIZES[suffix])

    def check(self, value: object) -> int:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused
        return self._bounded(value)

    def _bounded(self, size: int) -> int:
        if (size == 0 and self.zero) or self.low <= size <= self.high:
            return size
        raise Refused

    def show(self, value: int) -> str:
        return _bytes(value)


class Span:
    """A time in seconds, a float; text may end in ms, s, m or h. `unit` "ms" holds milliseconds instead."""

    def __init__(self, low: float, high: float, *, zero: str = "", unit: str = "s") -> None:
        self.low = low
        self.high = high
        self.zero = zero
        self.unit = unit
        self.metavar = "SECONDS" if unit == "s" else "MS"

    @property
    def allowed(self) -> str:
        name, example = ("seconds", "30, 0.5 or 2m") if self.unit == "s" else ("milliseconds", "2 or 0.5")
        text = f"{name} from {self.low:g} to {self.high:g}, such as {example}"
        return f"{text}; 0 is {self.zero}" if self.zero else text

    def parse(self, text: str) -> float:
        word = text.strip().lower()
        digits = word.rstrip("abcdefghijklmnopqrstuvwxyz ")
        suffix = word[len(digits) :].strip() or self.unit
        whole, _, part = digits.removeprefix("-").partition(".")
        if not ((whole + part).isascii() and (whole + part).isdigit()) or suffix not in _SPANS:
            raise Refused
        return self._bounded(float(digits) * _SPANS[suffix] / _SPANS[self.unit])

    def check(self, value: object) -> float:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused
        return self._bounded(float(value))

    def _bounded(self, span: float) -> float:
        if (span == 0 and self.zero) or self.low <= span <= self.high:  # false for nan
            return span
        raise Refused

    def show(self, value: float) -> str:
        return f"{value:g}"


class Choice:
    """One of some words. aliases: other spellings.  refused: words that people try, and why not."""

    def __init__(
        self,
        *words: str,
        aliases: Mapping[str, str] = {},
        refused: Mapping[str, str] = {},
        metavar: str = "NAME",
    ) -> None:
        self.words = words
        self.aliases = aliases
        self.refused = refused
        self.metavar = metavar

    @property
    def allowed(self) -> str:
        return _either(self.words)

    def parse(self, text: str) -> str:
        word = text.strip()
        lower = self.aliases.get(word.lower(), word.lower())
        if lower in self.words:
            return lower
        if word.lower() in self.refused:
            raise Refused(self.refused[word.lower()])
        raise Refused(meant=near(lower, self.words))

    def check(self, value: object) -> str:
        if isinstance(value, str):
            return self.parse(value)
        raise Refused

    def show(self, value: str) -> str:
        return value


class Text:
    """Some text on one line."""

    def __init__(self, metavar: str = "TEXT", allowed: str = "text on one line, not empty") -> None:
        self.metavar = metavar
        self.allowed = allowed

    def parse(self, text: str) -> str:
        if not text.strip() or not text.replace("\t", " ").isprintable():
            raise Refused
        return text.strip()

    def check(self, value: object) -> str:
        if isinstance(value, str):
            return self.parse(value)
        raise Refused

    def show(self, value: str) -> str:
        return value


class Path(Text):
    """A path. Relative ones are made absolute by `sanity.py`; `must` says what has to be there:
    "file", "directory", "parent" (the directory it lies in), or "" for nothing. `dash`: "-" is allowed."""

    def __init__(self, must: str = "", *, metavar: str = "FILE", dash: str = "") -> None:
        allowed = {"file": "an existing file", "directory": "an existing directory"}.get(must, "a path")
        super().__init__(metavar, f"{allowed}, or - for {dash}" if dash else allowed)
        self.must = must
        self.dash = dash

    def parse(self, text: str) -> str:
        path = text.strip()
        if not path or "\0" in path or "\n" in path:
            raise Refused
        if path.startswith("~/"):
            import os.path

            return os.path.expanduser(path)  # noqa: PTH111 - pathlib costs every start 5 ms
        return path

    def check(self, value: object) -> str:
        # os.PathLike, without importing it
        if hasattr(value, "__fspath__"):
            value = value.__fspath__()
        return super().check(value)


class Mask:
    """A file mode mask. Text is octal, as the shell's umask has it; numbers are what they are."""

    allowed = "an octal mask from 0 to 0777, such as 022"
    metavar = "MASK"

    def parse(self, text: str) -> int:
        digits = text.strip().lower().removeprefix("0o")
        if not digits or not set(digits) <= set("01234567"):
            raise Refused
        return self.check(int(digits, 8))

    def check(self, value: object) -> int:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o777:
            raise Refused
        return value

    def show(self, value: int) -> str:
        return f"{value:#05o}" if value else "0"


class User:
    """A user's name or number, held as number."""

    allowed = "the name or number of a user"
    metavar = "USER"

    def parse(self, text: str) -> int:
        name = text.strip()
        if name.isascii() and name.isdigit():
            return self.check(int(name))
        return self._look_up(name)

    def _look_up(self, name: str) -> int:
        import pwd

        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            raise Refused("there is no such user", final=True) from None

    def check(self, value: object) -> int:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32 - 1:
            raise Refused
        return value

    def show(self, value: int) -> str:
        return str(value)


class Group(User):
    """A group's name or number, held as number."""

    allowed = "the name or number of a group"
    metavar = "GROUP"

    def _look_up(self, name: str) -> int:
        import grp

        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            raise Refused("there is no such group", final=True) from None


class Pair(Text):
    """KEY=VALUE, the key a name of the environment."""

    def __init__(self) -> None:
        super().__init__("KEY=VALUE", "KEY=VALUE")

    def parse(self, text: str) -> str:
        key, equals, value = text.partition("=")
        if not (equals and key.strip() and key == key.strip()) or "\0" in text:
            raise Refused
        return f"{key}={value}"


class Network(Text):
    """An IP address, a network in CIDR form, or *."""

    def __init__(self) -> None:
        super().__init__("ADDRESSES", "IP addresses or networks such as 10.0.0.0/8, or *")

    def parse(self, text: str) -> str:
        import ipaddress

        word = text.strip()
        if word != "*":
            try:
                ipaddress.ip_network(word)
            except ValueError as fault:
                raise Refused(str(fault) if "host bits" in str(fault) else "") from None
        return word


class Field(Text):
    """The name of an HTTP field or of its key in the environ, held in upper case."""

    def __init__(self) -> None:
        super().__init__("NAMES", "names of HTTP fields")

    def parse(self, text: str) -> str:
        word = text.strip()
        if not (word.isascii() and word.replace("-", "").replace("_", "").replace("*", "").isalnum()):
            raise Refused
        return word.upper()


def near(word: str, words: object) -> str:
    """Return the one of `words` that `word` was probably meant to be, or ""."""
    import difflib

    found = difflib.get_close_matches(word, list(words), 1, 0.75)  # type: ignore[call-overload]
    return found[0] if found else ""


def _either(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _span(low: str, high: str, top: int) -> str:
    return f"of {low} or more" if top == UNLIMITED else f"from {low} to {high}"


def _bytes(size: int) -> str:
    for suffix, shift in (("g", 30), ("m", 20), ("k", 10)):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{suffix}"
    return str(size)
