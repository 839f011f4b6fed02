"""The kinds of values that hold several others, or that only a file can hold: lists, tables, functions.

They keep the rules of `parse.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .parse import Refused, Text

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
    from typing import Any

    from .parse import Kind


class Each:
    """Several values of one kind. `separator`: what stands between them in one text, or "" for nothing
    (then only a repeated flag and a list in a file hold more than one)."""

    def __init__(self, item: Kind[str], separator: str = ",") -> None:
        self.item = item
        self.separator = separator

    @property
    def allowed(self) -> str:
        return self.item.allowed

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


class Format(Text):
    """An access log format. The engine, which makes lines of it, judges it."""

    def __init__(self) -> None:
        super().__init__("FORMAT", "gunicorn's atoms in %(x)s, or json, on one line")

    def parse(self, text: str) -> str:
        format = super().parse(text)
        from ..engine.accessformat import compile_format

        try:
            compile_format(format)
        except ValueError as fault:
            raise Refused(str(fault), final=True) from None
        return format


class Target:
    """A path, or a URL that names host and scheme too, of this very server."""

    allowed = "paths such as /health, or URLs such as https://www.example.org/health"
    metavar = "PATHS"

    def parse(self, text: str) -> str:
        text = text.strip()
        start = text.startswith(("/", "http://", "https://"))
        if not start or not text.isascii() or not text.isprintable() or " " in text:
            raise Refused
        return text

    def check(self, value: object) -> str:
        if isinstance(value, str):
            return self.parse(value)
        raise Refused

    def show(self, value: str) -> str:
        return value


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


class Logging(Table):
    """A table for logging.config.dictConfig."""

    def check(self, value: object) -> dict[str, Any]:
        table = super().check(value)
        if table:
            from .logconfig import judge

            judge(table)
        return table


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
