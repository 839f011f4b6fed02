"""Configurations of Python's logging, judged before one is applied: no file is opened, no handler is made.

The rules are those of `logging.config`. What passes here may still fail for what only trying shows (a socket,
a constructor's own checks). Modules of Python itself are imported to see whether they have a class; any other
is looked for, since importing it may start or open things.
"""
# os.path, not pathlib, which would cost every start 4 ms.
# ruff: noqa: PTH100, PTH120, PTH123

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

from .logdefaults import completed
from .parse import Refused, near

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
    from configparser import ConfigParser
    from typing import Any

_SECTIONS = ("formatters", "filters", "handlers", "loggers")


def judge(table: Mapping[str, Any]) -> None:
    """Raise Refused for what dictConfig would refuse, once the table is completed as at the start."""
    table = completed(table)
    if table["version"] != 1:
        raise Refused(f"version is {table['version']!r}, only 1 is known", final=True)
    if table.get("incremental"):
        return  # about loggers and handlers that others have made
    made = {section: _named(table, section) for section in _SECTIONS}
    for section, each in (("formatters", _formatter), ("filters", _custom), ("handlers", _handler)):
        for name, entry in made[section].items():
            _within(f"{section}.{name}", each, entry, made)
    for name, entry in made["loggers"].items():
        _within(f"loggers.{name}", _logger, entry, made)
    if table.get("root"):
        _within("root", _logger, _mapping(table["root"], "root"), made)


def judge_json(path: str) -> Mapping[str, Any]:
    """The same for a JSON file; returns its table."""
    import json

    try:
        with open(path, encoding="utf-8") as file:
            table = json.load(file)
    except (OSError, ValueError) as fault:
        raise Refused(f"is not JSON: {fault}", final=True) from None
    judge(_mapping(table, "the file"))
    return _mapping(table, "the file")


def _named(table: Mapping[str, Any], section: str) -> dict[str, Mapping[str, Any]]:
    entries = table.get(section, {})
    if entries == []:
        return {}
    entries = _mapping(entries, section)
    return {str(name): _mapping(entry, f"{section}.{name}") for name, entry in entries.items()}


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Refused(f"{where}: it must be a table, not {value!r}", final=True)
    return value


def _within(where: str, judge_one: Any, entry: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    try:
        judge_one(entry, made)
    except Refused as refused:
        raise Refused(f"{where}: {refused.problem}", meant=refused.meant, final=True) from None


def _formatter(entry: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    _custom(entry, made)
    if "()" in entry:
        return
    if entry.get("class"):
        _resolve(entry["class"])
        return
    import logging

    try:
        logging.Formatter(
            entry.get("format"), entry.get("datefmt"), entry.get("style", "%"), entry.get("validate", True)
        )
    except (TypeError, ValueError) as fault:
        raise Refused(str(fault)) from None


def _custom(entry: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """What all may hold: a factory, and objects by their names."""
    if "()" in entry and not callable(entry["()"]):
        _resolve(entry["()"])
    for value in entry.values():
        if isinstance(value, str) and value.startswith("ext://"):
            _resolve(value.removeprefix("ext://"))


def _handler(entry: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    _custom(entry, made)
    _known(entry.get("formatter"), made["formatters"], "formatter")
    _all_known(entry.get("filters"), made["filters"], "filter")
    _level(entry.get("level"))
    if "()" in entry:
        return
    if "class" not in entry:
        raise Refused("class is missing")
    found = entry["class"] if callable(entry["class"]) else _resolve(entry["class"])
    if found is not None:
        _fits(found, entry, made)


def _fits(found: Any, entry: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Whether a class of Python's own takes what it would be given."""
    import inspect
    import logging.handlers

    if not isinstance(found, type) or not issubclass(found, logging.Handler):
        return
    if issubclass(found, logging.handlers.QueueHandler):
        return  # its queue and listener are made for it by newer Pythons
    if issubclass(found, logging.handlers.MemoryHandler):
        _known(entry.get("target"), made["handlers"], "handler")
    own = ("class", "formatter", "level", "filters", ".")
    try:
        inspect.signature(found).bind(**{str(key): each for key, each in entry.items() if key not in own})
    except TypeError as fault:
        raise Refused(f"{entry['class']}: {fault}") from None


def _logger(entry: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    _level(entry.get("level"))
    _all_known(entry.get("handlers"), made["handlers"], "handler")
    _all_known(entry.get("filters"), made["filters"], "filter")


def _level(level: object) -> None:
    import logging

    names = logging.getLevelNamesMapping()
    if level is None or isinstance(level, int) or (isinstance(level, str) and level in names):
        return
    raise Refused(f"there is no level {level!r}", meant=near(str(level).upper(), names))


def _known(name: object, names: Mapping[str, Any], what: str) -> None:
    if name and isinstance(name, str) and name not in names:
        raise Refused(f"there is no {what} {name!r}", meant=near(name, names))


def _all_known(wanted: object, names: Mapping[str, Any], what: str) -> None:
    if not isinstance(wanted or (), list | tuple | set | frozenset):
        raise Refused(f"{what}s must be a list of names, not {wanted!r}")
    for name in wanted or ():  # type: ignore[attr-defined]
        _known(name, names, what)


def _resolve(name: object) -> Any:
    """The object of that dotted name, or None where only an import would show it. Refused: there is none."""
    if not isinstance(name, str) or not name:
        raise Refused(f"{name!r} is no name of a class")
    name = name.removeprefix("ext://")
    if name.startswith("cfg://"):
        return None
    import importlib
    import importlib.util

    at, *rest = name.split(".")
    ours = at in sys.stdlib_module_names
    try:
        if at not in sys.modules and not ours:
            if importlib.util.find_spec(at) is None:
                raise Refused(f"{name}: there is no module {at}")
            return None
        found: Any = importlib.import_module(at)  # which Python has, or somebody has imported
        for part in rest:
            at += f".{part}"
            if not hasattr(found, part):
                if importlib.util.find_spec(at) is None:
                    raise Refused(f"{name}: there is no {at}", meant=near(part, dir(found)))
                if not ours:
                    return None
                importlib.import_module(at)
            found = getattr(found, part)
    except Refused:
        raise
    except (ImportError, ValueError, AttributeError):  # ValueError: of a module without a spec
        raise Refused(f"{name}: there is no {at}") from None
    return found


def files(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the handlers of a judged table that open a file at once, as (name, path of the file)."""
    for name, entry in table.get("handlers", {}).items():
        path = entry.get("filename")
        if path and not entry.get("delay") and "()" not in entry and isinstance(path, str | os.PathLike):
            text = os.fspath(path)
            if isinstance(text, str) and "://" not in text and _opens(entry["class"]):
                yield name, text


def _opens(name: object) -> bool:
    import logging

    found = _resolve(name) if isinstance(name, str) else name
    return isinstance(found, type) and issubclass(found, logging.FileHandler)


# INI


def judge_ini(path: str) -> None:
    """Raise Refused for what fileConfig would refuse. The expressions in `args` are not evaluated."""
    import configparser

    # gunicorn's two names for use in the file, as %(here)s
    names = {"__file__": path, "here": os.path.dirname(os.path.abspath(path))}
    parser = configparser.ConfigParser({name: text.replace("%", "%%") for name, text in names.items()})
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
        formatters = _ini_formatters(parser)
        handlers = _ini_handlers(parser, formatters)
        _ini_loggers(parser, handlers)
    except (OSError, UnicodeDecodeError, configparser.Error) as fault:
        raise Refused(f"cannot be read: {fault}", final=True) from None


def _keys(parser: ConfigParser, section: str) -> list[str]:
    """The names that a section of lists has; there is a section for each of them."""
    return _names(_option(parser, section, "keys"))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")] if text.strip() else []


def _option(parser: ConfigParser, section: str, option: str) -> str:
    if section not in parser:
        raise Refused(f"there is no section [{section}]", final=True)
    if option not in parser[section]:
        raise Refused(f"[{section}]: {option} is missing", final=True)
    return parser[section][option]


def _ini_formatters(parser: ConfigParser) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in _keys(parser, "formatters"):
        section = f"formatter_{name}"
        if section not in parser:
            raise Refused(f"there is no section [{section}]", final=True)
        options = ("format", "datefmt", "style", "class")
        entry = {key: text for key, text in parser.items(section, raw=True) if key in options}
        _within(f"[{section}]", _formatter, entry, {})
        found[name] = section
    return found


def _ini_handlers(parser: ConfigParser, formatters: Mapping[str, object]) -> dict[str, object]:
    import logging.handlers

    found: dict[str, object] = {}
    for name in _keys(parser, "handlers"):
        section = f"handler_{name}"
        kind = _option(parser, section, "class")
        entry = {option: parser[section].get(option) for option in ("formatter", "level")}
        entry["class"] = f"logging.{kind}" if _inside(logging, kind) else kind
        _within(f"[{section}]", _ini_handler, entry, {"formatters": formatters})
        for option in ("args", "kwargs"):
            _expression(section, option, parser[section].get(option, "()"))
        found[name] = section
    return found


def _inside(module: object, name: str) -> bool:
    return hasattr(module, name.partition(".")[0])


def _ini_handler(entry: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    _known(entry.get("formatter"), made["formatters"], "formatter")
    _level(entry.get("level"))
    if entry["class"].replace(".", "").isidentifier():  # else an expression, which is evaluated at the start
        _resolve(entry["class"])


def _expression(section: str, option: str, text: str) -> None:
    try:
        compile(text, section, "eval")
    except (SyntaxError, ValueError):
        raise Refused(f"[{section}]: {option} = {text} is no expression", final=True) from None


def _ini_loggers(parser: ConfigParser, handlers: Mapping[str, object]) -> None:
    names = _keys(parser, "loggers")
    if "root" not in names:
        raise Refused("[loggers]: keys does not name root", final=True)
    for name in names:
        section = f"logger_{name}"
        wanted = _names(_option(parser, section, "handlers"))
        if name != "root":
            _option(parser, section, "qualname")
        entry = {"level": parser[section].get("level"), "handlers": wanted}
        _within(f"[{section}]", _logger, entry, {"handlers": handlers, "filters": {}})
