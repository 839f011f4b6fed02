"""Where the error log meets `logging`: the handler of "prefork.error", --log-config*, files to open again.

Imported only where somebody uses logging.
"""

# ruff: noqa: PTH100, PTH120, PTH123  (pathlib would cost every start 4 ms)

from __future__ import annotations

import logging
import os

from ..errors import ConfigError
from .lines import filled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..config.settings import Settings
    from .log import Log

NAME = "prefork.error"
# What a logging configuration that was written for gunicorn names.
FORMER_NAME = "gunicorn.error"


class Handler(logging.Handler):
    """Writes a record to the error log as the server writes its own. Never raises."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fault = record.exc_info[1] if record.exc_info else None
        self._log.write(record.levelno, filled(record.msg, record.args), fault)


def join(log: Log) -> logging.Logger:
    """The logger "prefork.error", which writes to the error log unless the application gave it handlers."""
    logger = logging.getLogger(NAME)
    if not logger.handlers:
        logger.addHandler(Handler(log))
        logger.propagate = False
    if logger.level == logging.NOTSET:
        logger.setLevel(log.level)
    return logger


def configure(settings: Settings, log: Log) -> logging.Logger:
    """Apply logconfig_dict, --log-config-json or --log-config, the first of them that is set.

    Loggers and handlers that it names are the operator's; "prefork.error", or else "gunicorn.error", is the
    server's. When it names neither, the error log stays what it is. Raises ConfigError.
    """
    setting, value = "logconfig_dict", None
    try:
        if settings.logconfig_dict:
            _apply_table(settings.logconfig_dict)
        elif settings.logconfig_json:
            setting, value = "logconfig_json", settings.logconfig_json
            _apply_table(_json_table(value))
        else:
            setting, value = "logconfig", settings.logconfig
            _apply_ini(str(value))
    except Exception as fault:  # also what the constructors of handlers raise
        # a KeyError says nothing but the key: what the configuration lacks
        problem = f"{fault} is missing" if isinstance(fault, KeyError) else str(fault) or type(fault).__name__
        if fault.__cause__ is not None:
            problem += f": {fault.__cause__}"
        raise ConfigError(problem, setting=setting, value=value) from fault
    for name in (NAME, FORMER_NAME):
        logger = logging.root.manager.loggerDict.get(name)
        if isinstance(logger, logging.Logger) and not any(
            isinstance(each, Handler) for each in logger.handlers
        ):
            if logger.level == logging.NOTSET:
                logger.setLevel(log.level)
            return logger
    return join(log)


def _apply_table(table: Mapping[str, Any]) -> None:
    from logging.config import dictConfig

    dictConfig({"version": 1, "disable_existing_loggers": False, **table})


def _json_table(path: str) -> Mapping[str, Any]:
    import json

    with open(path, encoding="utf-8") as file:
        table = json.load(file)
    if not isinstance(table, dict):
        raise ValueError("the file holds no JSON object")
    return table


def _apply_ini(path: str) -> None:
    from logging.config import fileConfig

    # gunicorn's two names for use in the file, as %(here)s
    names = {"__file__": path, "here": os.path.dirname(os.path.abspath(path))}
    fileConfig(path, {name: text.replace("%", "%%") for name, text in names.items()}, False)


def reopen_files() -> list[str]:
    """Open the files of every FileHandler again; returns what went wrong. The old file stays in use then."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = {
        handler: None
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
        if isinstance(handler, logging.FileHandler)
    }
    problems = []
    for handler in handlers:
        handler.acquire()
        try:
            if handler.stream is not None:
                fresh = handler._open()
                handler.stream.close()
                handler.stream = fresh
        except OSError as fault:
            problems.append(f"{handler.baseFilename} cannot be opened again: {fault.strerror}")
        finally:
            handler.release()
    return problems
