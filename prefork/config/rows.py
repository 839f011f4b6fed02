"""What a row is, and how a frozen record is made of rows.

No dataclass, because `dataclasses` imports `inspect` and compiles a class of 90 fields slowly: 10 ms of every
start. `dataclass_transform` makes the type checkers see one all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .compound import Hook

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
    from typing import Any, Self, TypeVar, dataclass_transform

    from .parse import Kind

    T = TypeVar("T")
else:

    def dataclass_transform(**_):
        return lambda cls: cls


class Row:
    """What is known of one setting. `name` is set when its record is made.

    change: when a new value counts: "boot" with the next start only, "reload" as soon as the master has read
    it (HUP), "worker" in the workers born after that.
    where: where it may be set: "any", "not env", "file" (TOML or Python) or "python".
    """

    __slots__ = ("change", "default", "flags", "group", "help", "kind", "name", "where")

    def __init__(
        self,
        *,
        flags: tuple[str, ...],
        group: str,
        default: Any,
        kind: Kind[Any],
        help: str,
        change: str,
        where: str,
    ) -> None:
        self.name = ""
        self.flags = flags
        self.group = group
        self.default = default
        self.kind = kind
        self.help = help
        self.change = change
        self.where = where

    def show(self, value: object) -> str:
        """The value as text, as `parse` of the kind would take it; "none" for what is not set."""
        return "none" if value is None else self.kind.show(value)


def row(
    flags: str,
    group: str,
    *,
    default: T,
    kind: Kind[T],
    help: str,
    change: str = "worker",
    where: str = "any",
) -> T:
    """One setting. It is typed as the value it holds, so that annotation, default and kind have to agree."""
    return Row(  # type: ignore[return-value]
        flags=tuple(flags.split()),
        group=group,
        default=default,
        kind=kind,
        help=help,
        change=change,
        where=where,
    )


def hook(*arguments: str, default: None, help: str, kind: type[Hook] = Hook) -> Callable[..., Any] | None:
    """A function of the Python file, called with these arguments."""
    return row("", "hooks", default=default, kind=kind(*arguments), help=help, where="python")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(row, hook))
class Record:
    """Keyword arguments over the rows' defaults, taken as they are; frozen; equal by value."""

    if not TYPE_CHECKING:
        rows: Mapping[str, Row] = {}

        def __init_subclass__(cls):
            cls.rows = {name: value for name, value in vars(cls).items() if isinstance(value, Row)}
            for name, each in cls.rows.items():
                each.name = name
                setattr(cls, name, each.default)

        def __init__(self, **values):
            if not values.keys() <= self.rows.keys():
                unknown = ", ".join(sorted(values.keys() - self.rows.keys()))
                raise TypeError(f"{type(self).__name__} has no {unknown}")
            mine = self.__dict__
            for name, each in self.rows.items():
                mine[name] = values.get(name, each.default)

        def __setattr__(self, name, value):
            raise AttributeError(f"{type(self).__name__} is frozen: {name}")

        def __delattr__(self, name):
            raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def replace(self, **values: Any) -> Self:
        """Return a copy with these values instead, unchecked."""
        return type(self)(**{**vars(self), **values})

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        rows = rows_of(type(self)).values()
        given = [
            f"{row.name}={vars(self)[row.name]!r}" for row in rows if vars(self)[row.name] != row.default
        ]
        return f"{type(self).__name__}({', '.join(given)})"


def rows_of(record: type[Record]) -> Mapping[str, Row]:
    """The rows of a record by name, in the order in which they are written."""
    rows: Mapping[str, Row] = record.rows  # type: ignore[attr-defined]
    return rows
