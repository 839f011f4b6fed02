"""Figures as lines of text, for a terminal of any size or for none."""

from __future__ import annotations

import unicodedata

from . import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LONG = 1.0  # seconds; who runs a request for longer is worth a look
TITLES = ("pid", "gen", "state", "req/s", "cpu", "memory", "conns")


class Line:
    """loud: worth a look."""

    __slots__ = ("loud", "text")

    def __init__(self, text: str, *, loud: bool = False) -> None:
        self.text = text
        self.loud = loud


def lines(figures: dict[str, Any], *, width: int = 0, height: int = 0) -> list[Line]:
    """The whole view; width, height: of the terminal, 0 for no limit. Where not all workers have room, those
    are shown that have run a request longest."""
    head = _head(figures)
    workers = list(figures["workers"])
    left = max(1, height - len(head) - 2) if height else len(workers)
    hidden = 0
    if len(workers) > left:
        workers = sorted(workers, key=words.longest, reverse=True)[: max(1, left - 1)]
        hidden = len(figures["workers"]) - len(workers)
    found = [*head, Line(""), *_table(workers)]
    if hidden:
        found.append(Line(f"and {hidden} more worker{'' if hidden == 1 else 's'}"))
    if height:
        found = found[:height]
    return [Line(cut(line.text, width), loud=line.loud) for line in found] if width else found


def _head(figures: dict[str, Any]) -> list[Line]:
    server, now = figures["server"], figures["now"]
    name, version = words.shown(server["name"]), words.shown(server["version"])
    down = server["serving"] < server["workers"] or server["course"] != "serving"
    return [
        Line(f"prefork {version} [{name}], pid {server['pid']}, up {words.age(now['up'])}"),
        Line(f"at {words.addresses(server)}"),
        Line(words.course(server), loud=down),
        Line(
            f"{words.rate(now['requests_per_second'])} requests/s, busy {words.share(now['busy'])} "
            f"({now['running']} of {now['at_once']} at once), {now['connections']} connections"
        ),
        Line(words.spans(now)),
        Line(words.statuses(now)),
    ]


def _table(workers: Sequence[dict[str, Any]]) -> list[Line]:
    rows = [
        (
            str(worker["pid"]),
            str(worker["generation"]),
            str(worker["state"]),
            words.rate(worker["requests_per_second"]),
            words.share(worker["cpu"]),
            words.size(worker["memory"]),
            str(worker["connections"]),
        )
        for worker in workers
    ]
    widths = [max(map(len, column)) for column in zip(TITLES, *rows, strict=True)]

    def line(cells: Sequence[str], rest: str) -> str:
        return f"{' '.join(map(str.rjust, cells, widths))}  {rest}".rstrip()

    found = [Line(line(TITLES, "runs"))]
    for worker, row in zip(workers, rows, strict=True):
        loud = worker["state"] != "serving" or words.longest(worker) >= LONG
        found.append(Line(line(row, words.request(worker)), loud=loud))
    return found


def cut(text: str, width: int) -> str:
    """As much of it as fits into so many columns of a terminal; cut text ends in "~"."""
    if sum(map(_columns, text)) <= width:
        return text
    used, kept = 1, []
    for letter in text:
        used += _columns(letter)
        if used > width:
            break
        kept.append(letter)
    return "".join(kept) + "~" * (width > 0)


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
