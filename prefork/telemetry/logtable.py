"""Applying what a logging configuration says: a table, a JSON file or an INI file.

Imported only where logging is configured.
"""

# ruff: noqa: PTH100, PTH120, PTH123  (pathlib would cost every start 4 ms)

from __future__ import annotations

import os

from ..config.logdefaults import completed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def apply_table(table: Mapping[str, Any], errors: Any) -> set[str]:
    """Have logging use that table, completed; returns the loggers that it names. errors: the stream of the
    handler "error_console". Raises what dictConfig raises."""
    from logging.config import dictConfig

    whole = completed(table, errors)
    dictConfig(whole)
    return set(whole.get("loggers", {}))


def apply_json(path: str, errors: Any) -> set[str]:
    """As apply_table, of a table in a JSON file."""
    import json

    with open(path, encoding="utf-8") as file:
        table = json.load(file)
    if not isinstance(table, dict):
        raise ValueError("the file holds no JSON object")
    return apply_table(table, errors)


def apply_ini(path: str) -> set[str]:
    """Have logging use that INI file; returns the loggers that it names. Raises what fileConfig raises."""
    from configparser import ConfigParser
    from logging.config import fileConfig

    # gunicorn's two names for use in the file, as %(here)s
    names = {"__file__": path, "here": os.path.dirname(os.path.abspath(path))}
    parser = ConfigParser({name: text.replace("%", "%%") for name, text in names.items()})
    with open(path, encoding="utf-8") as file:
        parser.read_file(file)
    fileConfig(parser, disable_existing_loggers=False)
    sections = [parser[name] for name in parser.sections() if name.startswith("logger_")]
    return {section["qualname"] for section in sections if "qualname" in section}
