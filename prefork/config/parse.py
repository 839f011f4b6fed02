"""The kinds of values: what a setting's text means, what it may be, how it is shown.

A kind turns text (command line, environment) with `parse` and a typed value (TOML, Python file) with
`check` into the value that `Settings` holds, or raises Refused. It never knows which setting it serves or
where the value came from: `load.py` adds both. Nothing here looks at the system, except User and Group,
which ask the user database; files and folders are looked at by `sanity.py`, when the directory is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
    """The value is not of the kind. `problem` is "" where `allowed` says all; else one clause."""

    def __init__(self, problem: str = "", *, instead: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.instead = instead  # what stands in place of the kind's own `allowed`; "-" for nothing


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
        text = f"a whole number from {self.low} to {self.high}"
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
        text = f"bytes from {_bytes(self.low)} to {_bytes(self.high)}, such as 65536, 64k or 8m"
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
        meant = near(lower, self.words)
        raise Refused(f"did you mean {meant}?" if meant else "")

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
        if not text.strip() or not text.isprintable():
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
        path = super().parse(text)
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
            raise Refused("there is no such user", instead="-") from None

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
            raise Refused("there is no such group", instead="-") from None


class Each:
    """Several values of one kind. `separator`: what stands between them in one text, or "" for nothing
    (then only a repeated flag and a list in a file hold more than one)."""

    def __init__(self, item: Kind[str], separator: str = ",") -> None:
        self.item = item
        self.separator = separator

    @property
    def allowed(self) -> str:
        return f"{self.item.allowed}, or several"

    @property
    def metavar(self) -> str:
        return self.item.metavar

    def parse(self, text: str) -> tuple[str, ...]:
        parts = text.split(self.separator) if self.separator else [text]
        return tuple(self.item.parse(part) for part in parts if part.strip())

    def check(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return self.parse(value)
        if not isinstance(value, list | tuple | set | frozenset):
            raise Refused
        return tuple(self.item.check(item) for item in (sorted(value) if isinstance(value, set) else value))

    def show(self, value: tuple[str, ...]) -> str:
        return (self.separator or " ").join(value)


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


class Words:
    """A table of text to text; as text: KEY=VALUE,KEY=VALUE."""

    allowed = "a table of names to texts"
    metavar = "KEY=VALUE,..."

    def parse(self, text: str) -> dict[str, str]:
        return self.check(dict(part.partition("=")[::2] for part in text.split(",") if part.strip()))

    def check(self, value: object) -> dict[str, str]:
        if isinstance(value, str):
            return self.parse(value)
        if not isinstance(value, dict):
            raise Refused
        if not all(isinstance(word, str) and word.strip() for pair in value.items() for word in pair):
            raise Refused
        return {key.strip(): word.strip() for key, word in value.items()}

    def show(self, value: Mapping[str, str]) -> str:
        return ",".join(f"{key}={word}" for key, word in value.items())


class Table:
    """A table of anything: only files can hold one."""

    allowed = "a table (in a configuration file)"
    metavar = ""

    def parse(self, text: str) -> dict[str, Any]:
        raise Refused

    def check(self, value: object) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        raise Refused

    def show(self, value: Mapping[str, Any]) -> str:
        return f"{{{len(value)} keys}}" if value else "{}"


class Hook:
    """A function of so many arguments: only a Python file can hold one."""

    metavar = ""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments

    @property
    def allowed(self) -> str:
        return f"a function of ({', '.join(self.arguments)}) in a Python file"

    def parse(self, text: str) -> Callable[..., Any]:
        raise Refused

    def check(self, value: object) -> Callable[..., Any]:
        if not callable(value):
            raise Refused
        import inspect

        try:
            inspect.signature(value).bind(*self.arguments)
        except TypeError as fault:
            raise Refused(f"it cannot be called so: {fault}") from None
        except ValueError:  # a builtin without a signature
            pass
        return value

    def show(self, value: Callable[..., Any]) -> str:
        return f"{getattr(value, '__qualname__', type(value).__name__)}()"


class PostRequest(Hook):
    """The hook that gunicorn calls with as many of its four arguments as it takes, two at least."""

    def check(self, value: object) -> Callable[..., Any]:
        for count in (4, 3, 2):
            try:
                hook = Hook(*self.arguments[:count]).check(value)
            except Refused:
                if count == 2 or not callable(value):
                    raise
                continue
            break
        if count == 4:
            return hook
        return lambda *arguments: hook(*arguments[:count])


def near(word: str, words: object) -> str:
    """Return the one of `words` that `word` was probably meant to be, or ""."""
    import difflib

    found = difflib.get_close_matches(word, list(words), 1, 0.75)  # type: ignore[call-overload]
    return found[0] if found else ""


def _either(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _bytes(size: int) -> str:
    for suffix, shift in (("g", 30), ("m", 20), ("k", 10)):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{suffix}"
    return str(size)
