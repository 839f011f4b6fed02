"""Where the logs meet `logging`: handlers of the server's loggers, --log-config*, files to open again.

Imported only where somebody uses logging.
"""

from __future__ import annotations

import io
import logging

from ..config.logdefaults import ACCESS_NAMES, ERROR_NAMES
from ..errors import ConfigError
from .lines import filled
from .logtable import apply_ini, apply_json, apply_table
from .sink import is_behind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from ..config.settings import Settings
    from .log import Log


class Handler(logging.Handler):
    """Writes a record to the error log as the server writes its own. Never raises."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fault = record.exc_info[1] if record.exc_info else None
        message = filled(record.msg, record.args)
        if record.stack_info:
            message = f"{message}\n{record.stack_info}"
        self._log.write(record.levelno, message, fault)


class AccessHandler(logging.Handler):
    """Writes a record's message to the access log, as a line. Never raises."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.write_access(filled(record.msg, record.args))


class ErrorsStream(io.TextIOBase):
    """`wsgi.errors` of a logger: goes past its records, to the streams that its handlers have at the time of
    writing, as in gunicorn. `file` is the stream of our own handler, and where no handler has one."""

    def __init__(self, logger: logging.Logger, file: TextIO) -> None:
        self._logger = logger
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        told = False
        for handler in self._logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is not None:
                _write_past(handler, text)
                told = True
        if not told or _is_ours(self._logger):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        self._file.flush()


def _write_past(handler: logging.StreamHandler[TextIO], text: str) -> None:
    handler.acquire()
    try:
        try:
            handler.stream.write(text)
        except UnicodeError:
            handler.stream.write(text.encode("ascii", "backslashreplace").decode())
        handler.stream.flush()
    except (OSError, ValueError):  # a full disk; closed
        pass
    finally:
        handler.release()


def join(log: Log) -> logging.Logger:
    """The logger "prefork.error", which writes to the error log unless the application gave it handlers."""
    return _furnished(ERROR_NAMES[0], Handler(log), log.level)


def lend(log: Log) -> None:
    """Let whoever borrows the handlers of "gunicorn.error" write to the error log."""
    _furnished(ERROR_NAMES[1], Handler(log), log.level)


def join_access(log: Log) -> logging.Logger:
    """The logger "prefork.access", which writes to the access log, and wherever a hook has it write."""
    logger = logging.getLogger(ACCESS_NAMES[0])
    if not any(isinstance(each, AccessHandler) for each in logger.handlers):
        logger.addHandler(AccessHandler(log))
        logger.propagate = False
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    return logger


def _furnished(name: str, handler: logging.Handler, level: int) -> logging.Logger:
    """That logger, with what nobody has given it yet."""
    logger = logging.getLogger(name)
    if not logger.handlers:
        logger.addHandler(handler)
        logger.propagate = False
    if logger.level == logging.NOTSET:
        logger.setLevel(level)
    return logger


def is_heard(logger: logging.Logger) -> bool:
    """Whether anybody but the access log itself gets what this logger is told at level INFO."""
    if not logger.isEnabledFor(logging.INFO):
        return False
    others = any(not isinstance(each, AccessHandler) for each in logger.handlers)
    return others or (logger.propagate and logger.parent is not None and logger.parent.hasHandlers())


def configure(settings: Settings, log: Log) -> tuple[logging.Logger, logging.Logger | None]:
    """Apply logconfig_dict, --log-config-json or --log-config, the first of them that is set.

    Returns the server's logger, and that of the access log if there is one. Loggers and handlers that the
    configuration names are the operator's; where it names neither "prefork.error" nor "gunicorn.error", the
    error log stays what it is. A file of --access-logfile goes on beside the access log's logger, which takes
    the place of stdout. Raises ConfigError.
    """
    setting, value = "logconfig_dict", None
    errors = "ext://sys.stderr" if settings.errorlog == "-" else log.file_stream()
    try:
        if settings.logconfig_dict:
            named = apply_table(settings.logconfig_dict, errors)
        elif settings.logconfig_json:
            setting, value = "logconfig_json", settings.logconfig_json
            named = apply_json(value, errors)
        else:
            setting, value = "logconfig", settings.logconfig
            named = apply_ini(str(value))
    except Exception as fault:  # also what the constructors of handlers raise
        # a KeyError says nothing but the key: what the configuration lacks
        problem = f"{fault} is missing" if isinstance(fault, KeyError) else str(fault) or type(fault).__name__
        if fault.__cause__ is not None:
            problem += f": {fault.__cause__}"
        raise ConfigError(problem, setting=setting, value=value) from fault
    return _error_logger(named, log), _access_logger(named, settings, log)


def _error_logger(named: set[str], log: Log) -> logging.Logger:
    for name in ERROR_NAMES:
        if name in named or _is_somebodys(name):
            logger = logging.getLogger(name)
            if not logger.hasHandlers():
                logger.addHandler(Handler(log))
            if logger.level == logging.NOTSET:
                logger.setLevel(log.level)
            return logger
    return join(log)


def _is_somebodys(name: str) -> bool:
    """Whether the configuration file, or what it imports, has made that logger."""
    logger = logging.root.manager.loggerDict.get(name)
    return isinstance(logger, logging.Logger) and bool(logger.handlers) and not _is_ours(logger)


def _is_ours(logger: logging.Logger) -> bool:
    return any(isinstance(each, Handler) for each in logger.handlers)


def _access_logger(named: set[str], settings: Settings, log: Log) -> logging.Logger | None:
    for name in ACCESS_NAMES:
        logger = logging.getLogger(name) if name in named else None
        if logger is not None:
            if logger.level == logging.NOTSET:
                logger.setLevel(logging.INFO)
            if is_heard(logger):
                if settings.accesslog not in (None, "-"):
                    logger.addHandler(AccessHandler(log))
                return logger
    return None


def reopen_files() -> list[str]:
    """Open the files of every FileHandler again; returns what went wrong. The old file stays in use then."""
    problems = []
    for handler in _file_handlers():
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


def are_files_behind() -> bool:
    """Whether a FileHandler writes to another file than its path has by now."""
    return any(
        handler.stream is not None and is_behind(handler.baseFilename, handler.stream.fileno())
        for handler in _file_handlers()
    )


def _file_handlers() -> list[logging.FileHandler]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    found = {
        handler: None
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
        if isinstance(handler, logging.FileHandler)
    }
    return list(found)
