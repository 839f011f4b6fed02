"""The command line: words to settings' texts and the command that was asked for.

Not argparse: importing it and building it for 90 rows costs 7 ms of every start, its usage before each error
would have to be undone, and `--help` is laid out by `render.py` in any case. The grammar is the same:
`--name value`, `--name=value`, `-w 4`, `-w4`, `-Dw 4`, `--` before what is no option, options anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import ConfigError
from .parse import Toggle, near
from .rows import Row
from .settings import ROWS

# What is no setting: it says what to do with them. flag -> (name, takes a value)
COMMANDS = {
    "-c": ("config", True),
    "--config": ("config", True),
    "--check-config": ("check", False),
    "--print-config": ("print", False),
    "-h": ("help", False),
    "--help": ("help", False),
    "-v": ("version", False),
    "--version": ("version", False),
}

FLAGS: dict[str, Row] = {flag: row for row in ROWS.values() for flag in row.flags}


class Line:
    """What a command line said, in its order and still as text.

    given: (row, text, flag as written).  commands: the names out of COMMANDS that were given.
    config: what -c was given last, or "".  apps: the words that are no options.
    """

    __slots__ = ("apps", "commands", "config", "given")

    def __init__(self) -> None:
        self.given: list[tuple[Row, str, str]] = []
        self.commands: set[str] = set()
        self.config = ""
        self.apps: list[str] = []

    def take(self, flag: str, text: str) -> None:
        """A known flag with its value; a toggle's bare flag means "true"."""
        if flag in FLAGS:
            self.given.append((FLAGS[flag], text, flag))
            return
        name = COMMANDS[flag][0]
        self.commands.add(name)
        if name == "config":
            self.config = text


def parse(words: Iterable[str], origin: str = "") -> Line:
    """Read a command line without the program's name. Raises ConfigError that names the option.

    origin: where it was found, when it is not the command line that the user has just typed.
    """
    line = Line()
    rest = iter(words)
    try:
        for word in rest:
            if word == "--":
                line.apps.extend(rest)
            elif word.startswith("--"):
                _long(line, word, rest)
            elif word.startswith("-") and word != "-":
                _short(line, word, rest)
            else:
                line.apps.append(word)
    except ConfigError as fault:
        fault.origin = origin
        raise
    return line


def _long(line: Line, word: str, rest: Iterator[str]) -> None:
    flag, equals, text = word.partition("=")
    if flag.startswith("--no-"):
        positive = "--" + flag.removeprefix("--no-")
        if positive in FLAGS and _bare(positive):
            if equals:
                raise ConfigError(f"{flag} takes no value")
            line.take(positive, "false")
            return
    if flag not in FLAGS and flag not in COMMANDS:
        _unknown(flag, [text] if equals else [], rest)
        return
    if equals and flag in COMMANDS and _bare(flag):
        raise ConfigError(f"{flag} takes no value")
    if not equals:
        text = "true" if _bare(flag) else _value(flag, rest)
    line.take(flag, text)


def _short(line: Line, word: str, rest: Iterator[str]) -> None:
    letters = word[1:]
    while letters:
        flag, letters = "-" + letters[0], letters[1:]
        if flag not in FLAGS and flag not in COMMANDS:
            _unknown(flag, [], rest)
        elif _bare(flag):
            line.take(flag, "true")
        else:
            line.take(flag, letters.removeprefix("=") if letters else _value(flag, rest))
            return


def _bare(flag: str) -> bool:
    """Whether the flag stands without a value."""
    return not COMMANDS[flag][1] if flag in COMMANDS else isinstance(FLAGS[flag].kind, Toggle)


def _unknown(flag: str, given: list[str], rest: Iterator[str]) -> None:
    """Pass over a flag of gunicorn's with which nothing is asked for; ConfigError for any other.

    given: the value behind "=", if there is one; else the next word is.
    """
    from .foreign import FOREIGN

    for foreign in FOREIGN.values():
        if flag not in foreign.flags:
            continue
        if foreign.bare:
            harmless = not given and foreign.harmless(True)
        else:
            words = given or [word for word in (next(rest, None),) if word is not None]
            harmless = any(foreign.harmless_text(word) for word in words)
        if harmless:
            return
        raise ConfigError(f"{flag} is not supported: {foreign.instead}")
    meant = near(flag, (*FLAGS, *COMMANDS)) if flag.startswith("--") else ""
    raise ConfigError(
        f"there is no option {flag}" + ("" if meant else "; prefork --help lists all"), meant=meant
    )


def _value(flag: str, rest: Iterator[str]) -> str:
    text = next(rest, None)
    if text is None or text.partition("=")[0] in FLAGS or text.partition("=")[0] in COMMANDS:
        metavar = "FILE" if flag in COMMANDS else FLAGS[flag].kind.metavar
        after = f", but {text} follows" if text else ""
        raise ConfigError(f"{flag} needs a value ({metavar}){after}")
    return text
