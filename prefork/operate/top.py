"""`prefork top`: `prefork status` as a view that follows the server."""

from __future__ import annotations

import os
import time

from ..errors import ConfigError, PreforkError
from ..net import control, streams
from .reading import Reader
from .table import Line, cut, lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .screen import Screen

USAGE = """\
usage: prefork top [PIDFILE|PID] [--interval SECONDS] [--once]

Show what a running server and its workers do now, and follow it: also through restarts and upgrades, unless
it was named by its pid. q or Ctrl-C ends it. Where stdout is no terminal, one table a time is printed.

  PIDFILE, PID        which server; without it, the only one that runs here
  --interval SECONDS  look so often, 0.1 to 3600; figures are of this time [2]
  --once              print one table, over one interval, and end

Exit code: 0 it was ended by you, or has printed its table; 1 there is no such server, or no more."""

LEAST, MOST = 0.1, 3600.0
SOON = 0.5  # seconds until the first rates, however long the interval


class Order:
    """What was asked for."""

    __slots__ = ("interval", "named", "once")

    def __init__(self) -> None:
        self.named: str | None = None
        self.interval = 2.0
        self.once = False


def run(words: list[str]) -> int:
    """The exit code. Raises PreforkError."""
    if "-h" in words or "--help" in words:
        streams.say(USAGE)
        return 0
    order = parse(words)
    reader = Reader(order.named)
    try:
        figures = reader.read()  # where there is no server to begin with, there is no view
        if not order.once and _is_terminal():
            from .screen import Screen

            with Screen() as screen:
                return _follow(screen, reader, order, figures)
        return _print(reader, order)
    except KeyboardInterrupt:
        return 0


def parse(words: list[str]) -> Order:
    """Raises ConfigError."""
    order = Order()
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if word == "--once":
            order.once = True
        elif flag == "--interval":
            order.interval = _seconds(value if equals else next(rest, ""))
        elif word.startswith("-"):
            raise ConfigError(f"prefork top knows no {word}; prefork top --help says what it knows")
        elif order.named is not None:
            raise ConfigError(f"one server is followed, not also {word}")
        else:
            order.named = word
    return order


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not LEAST <= found <= MOST:  # nan too
        raise ConfigError(setting="--interval", value=text, allowed=f"seconds, {LEAST:g} to {MOST:g}")
    return found


def _is_terminal() -> bool:
    """One that can be drawn on. Without a TERM, as `docker exec -t` may leave it, lines are printed."""
    return os.isatty(1) and os.environ.get("TERM", "dumb") != "dumb"


def _print(reader: Reader, order: Order) -> int:
    """One table a time; the server's end is the end."""
    while True:
        time.sleep(order.interval)
        text = "\n".join(line.text for line in lines(reader.read()))
        streams.say(text, end="\n" if order.once else "\n\n")
        if order.once:
            return 0


def _follow(screen: Screen, reader: Reader, order: Order, figures: dict[str, Any]) -> int:
    from .screen import Event

    view = View(figures)
    following = time.monotonic() + min(order.interval, SOON)
    while True:
        screen.draw(view.lines(*screen.size(), time.monotonic()))
        match screen.wait(following):
            case Event.QUIT:
                return 0
            case Event.REDRAW:
                continue
            case Event.TIME:
                view.update(reader)
                following = time.monotonic() + order.interval


class View:
    """The last figures, and why there are no newer ones."""

    def __init__(self, figures: dict[str, Any]) -> None:
        self._figures = figures
        self._moment = time.monotonic()
        self._trouble = ""

    def update(self, reader: Reader) -> None:
        """Look once more. Raises PreforkError when there is nothing left to look at."""
        try:
            self._figures = reader.read()
            self._moment = time.monotonic()
            self._trouble = ""
        except PreforkError as fault:
            # Named by its number, it cannot come back; else it may, by its pid file or as the only one here.
            number = control.number(reader.named or "")
            if isinstance(fault, ConfigError) or (number and not control.is_master(number)):
                raise
            self._trouble = str(fault)

    def lines(self, width: int, height: int, now: float) -> list[Line]:
        # One column less: a terminal that has filled a row is about to begin the next.
        if not self._trouble:
            return lines(self._figures, width=width - 1, height=height)
        note = f"{streams.one_line(self._trouble)}; as it was {now - self._moment:.0f} s ago:"
        below = lines(self._figures, width=width - 1, height=height - 1)
        return [Line(cut(note, width - 1), loud=True), *below]
