"""The error log, and the descriptors of both logs.

Log is what the server and hooks write to. It belongs to `logging` as the logger "prefork.error" as soon as
somebody has imported that: the application's handlers and levels for it hold. Until then, in the master
mostly for ever, it writes the same lines by itself, for `logging` costs a start 6 ms and 0.7 MB.

The master makes it before the first fork; every process goes on with its own copy and the shared descriptors.
"""

from __future__ import annotations

import os
import sys

from ..net import streams
from .lending import lend  # in the master: each worker would pay for it
from .lines import CRITICAL, DEBUG, ERROR, INFO, LEVELS, WARNING, filled, json_line, text_line
from .sink import Sink

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from logging import Logger
    from types import TracebackType
    from typing import Any, TextIO, TypedDict, Unpack

    from ..config.settings import Settings

    ExcInfo = (
        bool
        | BaseException
        | tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None]
        | None
    )

    class Options(TypedDict, total=False):
        """What the methods of a Logger take beside a message and its arguments."""

        exc_info: ExcInfo
        extra: Mapping[str, object] | None
        stack_info: bool
        stacklevel: int


def setup(settings: Settings) -> Log:
    """Open the logs that the settings name. Raises ConfigError when one cannot be opened or configured."""
    log = Log()
    log.configure(settings)
    return log


def check(settings: Settings) -> None:
    """Raise ConfigError for an access log format that is none. Opens nothing."""
    from ..config.settings import ACCESS_LOG_FORMAT
    from ..errors import ConfigError

    text = settings.access_log_format
    if text == ACCESS_LOG_FORMAT:
        return
    from ..engine.accessformat import compile_format

    try:
        compile_format(text)
    except ValueError as fault:
        raise ConfigError(str(fault), setting="access_log_format", value=text) from None


def log_app_fault(log: Log, request_line: str, fault: BaseException) -> None:
    """Log an exception out of the application, once, where it is caught: request line and traceback."""
    log.say(ERROR, "%s: the application raised %s", (request_line, type(fault).__qualname__), fault)


class Log:
    """The server's voice. Its methods are a Logger's; none raises, whatever the message and the descriptor.

    Hooks are given it as `log`, so it has what gunicorn's has: also `access`, `error_log` and `access_log`.

    access_fd: where the access log is written, or -1 for none; an AccessLog is made for it in each worker.
    """

    def __init__(self) -> None:
        self.level = INFO
        self._error = Sink("errorlog", "-", 2)
        self._access: Sink | None = None
        self._capture = False
        self._captured = False
        self._json = False
        self._access_format = ""
        self._logger: Logger | None = None
        self._access_logger: Logger | None = None  # configured, or handed out
        self._stream: TextIO | None = None

    # Configuration: at the start, and in the master at a reload.

    def configure(self, settings: Settings) -> None:
        """Use these settings from now on. Raises ConfigError; the descriptors of before are in use then."""
        check(settings)
        opened: list[Sink] = []
        owner = (settings.user, settings.group)
        level, self.level = self.level, LEVELS[settings.loglevel]
        try:
            opened.append(Sink("errorlog", settings.errorlog, 2, owner))
            if settings.accesslog is not None:
                opened.append(Sink("accesslog", settings.accesslog, 1, owner))
            self._configure_logging(settings)
        except BaseException:
            self.level = level
            for sink in opened:
                sink.close()
            raise
        for old in (self._error, self._access):
            if old is not None:
                old.close()
        self._error, self._access = opened[0], opened[1] if len(opened) > 1 else None
        self._capture = settings.capture_output
        self._json = settings.log_format == "json"
        self._access_format = settings.access_log_format

    def _configure_logging(self, settings: Settings) -> None:
        if settings.logconfig or settings.logconfig_json or settings.logconfig_dict:
            from . import bridge

            self._logger, self._access_logger = bridge.configure(settings, self)
            return
        self._access_logger = None
        if self._logger is not None:
            self._logger.setLevel(self.level)

    @property
    def access_fd(self) -> int:
        return -1 if self._access is None else self._access.fd

    @property
    def error_fd(self) -> int:
        """Where the error log is written; the number stays the same for the life of a process."""
        return self._error.fd

    def capture(self) -> None:
        """In a worker, with --capture-output: what is printed goes to the error log's file, line by line."""
        if not self._capture or not self._error.path:
            return
        if self._access is not None and not self._access.path:
            # The access log keeps the stdout that the server was started with.
            self._access.fd = os.dup(1)
        self._captured = True
        self._redirect()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(line_buffering=True)

    def silence(self) -> None:
        """In a worker of a daemon that serves: let go of the terminal, which is somebody else's by now. What
        is captured stays so. An AccessLog is given its access_fd again after this."""
        null = os.open(os.devnull, os.O_RDWR)
        if not self._captured:
            os.dup2(null, 1)
            os.dup2(null, 2)
        elif self._access is not None and not self._access.path:
            os.dup2(null, self._access.fd, inheritable=False)
        os.close(null)

    def _redirect(self) -> None:
        streams.flush()
        os.dup2(self._error.fd, 1)
        os.dup2(self._error.fd, 2)

    def reopen(self) -> None:
        """On USR1: open the files again by their paths, in every process; descriptors keep their numbers.

        A worker flushes its AccessLog before, and calls its reopen(access_fd) after.
        """
        captured = self._capture and self._error.path and _same_file(2, self._error.fd)
        problems = [sink.reopen() for sink in (self._error, self._access) if sink is not None]
        if captured:
            self._redirect()
        if "logging" in sys.modules:
            from . import bridge

            problems += bridge.reopen_files()
        for problem in problems:
            if problem:
                self.warning("%s", problem)

    def catch_up(self) -> None:
        """In a new worker: open again what others have. USR1 does not reach the mold that it is a copy of."""
        behind = any(sink.is_behind() for sink in (self._error, self._access) if sink is not None)
        if not behind and "logging" in sys.modules:
            from . import bridge

            behind = bridge.are_files_behind()
        if behind:
            self.reopen()

    # Messages.

    def debug(self, message: object, *args: object, **options: Unpack[Options]) -> None:
        self.say(DEBUG, message, args, **options)

    def info(self, message: object, *args: object, **options: Unpack[Options]) -> None:
        self.say(INFO, message, args, **options)

    def warning(self, message: object, *args: object, **options: Unpack[Options]) -> None:
        self.say(WARNING, message, args, **options)

    def error(self, message: object, *args: object, **options: Unpack[Options]) -> None:
        self.say(ERROR, message, args, **options)

    def critical(self, message: object, *args: object, **options: Unpack[Options]) -> None:
        self.say(CRITICAL, message, args, **options)

    def exception(self, message: object, *args: object, **options: Unpack[Options]) -> None:
        """An error with the traceback of the exception that is being handled."""
        options.setdefault("exc_info", True)
        self.say(ERROR, message, args, **options)

    def log(self, level: int | str, message: object, *args: object, **options: Unpack[Options]) -> None:
        """level: a number, or a name as in --log-level."""
        number = LEVELS.get(level.lower(), INFO) if isinstance(level, str) else level
        self.say(number, message, args, **options)

    def isEnabledFor(self, level: int) -> bool:
        logger = self._logger
        return level >= self.level if logger is None or logger.disabled else logger.isEnabledFor(level)

    def say(
        self,
        level: int,
        message: object,
        args: tuple[object, ...] = (),
        exc_info: ExcInfo = None,
        *,
        extra: Mapping[str, object] | None = None,
        stack_info: bool = False,
        stacklevel: int = 1,
    ) -> None:
        """Log `message % args` as a Logger does. exc_info: what was raised; True: what is being handled."""
        if self._logger is None and ("logging" in sys.modules or stack_info):
            self.join_logging()
        if not self.isEnabledFor(level):
            return
        fault = _fault(exc_info)
        logger = self._logger
        # dictConfig disables the loggers that it does not name; what the server says is not lost by that.
        if logger is None or logger.disabled:
            self.write(level, filled(message, args), fault)
            return
        try:
            logger.log(
                level, message, *args,
                exc_info=fault, extra=extra, stack_info=stack_info, stacklevel=2 + stacklevel,
            )  # fmt: skip
        except Exception:  # a filter or a handler of the application's; an `extra` that logging refuses
            self.write(level, filled(message, args), fault)

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta) -> None:
        """Write a line of the access log, if there is one, as gunicorn's Logger does when a hook calls it."""
        logger = self.access_logger()
        if logger is None and self._access is None:
            return
        from .accessline import line

        text = line(self._access_format, resp, environ, request_time)
        if logger is not None:
            logger.info("%s", text)
        else:
            self.write_access(text)

    # Loggers and streams.

    @property
    def error_log(self) -> Logger:
        """The Logger that the server writes to."""
        self.join_logging()
        assert self._logger is not None
        return self._logger

    @property
    def access_log(self) -> Logger:
        """The access log's Logger. Requests' lines go through it while it has a handler that is not ours."""
        if self._access_logger is None:
            from . import bridge

            self._access_logger = bridge.join_access(self)
        return self._access_logger

    def access_logger(self) -> Logger | None:
        """The Logger that gets a record for each request: what the logging configuration has named, or what a
        hook has given a handler. None: lines go to access_fd alone."""
        if self._access_logger is None:
            return None
        from . import bridge

        return self._access_logger if bridge.is_heard(self._access_logger) else None

    def errors_stream(self) -> TextIO:
        """`wsgi.errors`: sys.stderr, and with --error-logfile that file, or the files of the logger that the
        logging configuration has put into its place."""
        if not self._error.path and sys.stderr is not None:
            return sys.stderr
        if self._logger is None:
            return self.file_stream()
        from .bridge import ErrorsStream

        return ErrorsStream(self._logger, self.file_stream())  # type: ignore[return-value]

    def file_stream(self) -> TextIO:
        """A text stream to where the error log is written, also after it was opened again."""
        if self._stream is None:
            from .streams import file_stream

            self._stream = file_stream(self)
        return self._stream

    def join_logging(self) -> None:
        """Become logging's "prefork.error", unless a configuration has named another. A worker calls it
        behind the import of an application that uses logging; otherwise the first message does."""
        if self._logger is None:
            from . import bridge

            self._logger = bridge.join(self)

    def lend(self) -> None:
        """Before an application is imported: let it find the error log's handler at "gunicorn.error"."""
        if self._logger is None or self._logger.name == "prefork.error":
            lend(self)

    def write(self, level: int, message: str, fault: BaseException | None = None) -> None:
        """Write a record to the error log itself, past `logging`."""
        make = json_line if self._json else text_line
        record = make(level, message, fault)
        if self._error.lost:
            record = make(WARNING, f"{self._error.lost} messages could not be written here", None) + record
        self._error.write(record)

    def write_bytes(self, record: bytes) -> None:
        """Write to the error log as it is."""
        self._error.write(record)

    def write_access(self, line: str) -> None:
        """Write a line to the access log, if there is one, past `logging`."""
        if self._access is not None:
            self._access.write(line.encode("utf-8", "backslashreplace") + b"\n")
            if self._access.lost == 1:
                self.warning("the access log cannot be written, lines are dropped")


def _fault(exc_info: ExcInfo) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1]
    return sys.exception() if exc_info else None


def _same_file(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False
