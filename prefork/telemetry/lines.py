"""What a record of the error log looks like: text as gunicorn's, or one JSON object.

A record cannot be forged: control characters are written \\xNN, and what follows the first line of a message
is indented, so that only the server begins a line with `[`.
"""

# ruff: noqa: PTH100, PTH120  (pathlib would cost every start 4 ms)

from __future__ import annotations

import os
import time

from ..errors import traceback_of

DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR, "critical": CRITICAL}
_NAMES = {number: name.upper() for name, number in LEVELS.items()}

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DEMO = _PACKAGE + "demo.py"
_COMPILED = f"prefork{os.sep}engine{os.sep}"  # Cython's names are relative to the project


def text_line(level: int, message: str, fault: BaseException | None) -> bytes:
    """`[2026-11-21 13:00:00 +0000] [pid] [LEVEL] message`, and the traceback of `fault` behind it."""
    if fault is not None:
        message = f"{message}\n{traceback_text(fault)}"
    message = message.translate(_CONTROLS).rstrip("\n").replace("\n", "\n  ")
    stamp = time.strftime("[%Y-%m-%d %H:%M:%S %z]")
    line = f"{stamp} [{os.getpid()}] [{level_name(level)}] {message}\n"
    return line.encode("utf-8", "backslashreplace")


def json_line(level: int, message: str, fault: BaseException | None) -> bytes:
    """An object with time (RFC 3339, milliseconds), level, pid, message, and where there was one, exception
    (type, text) and traceback."""
    import json

    now = time.time()
    local = time.localtime(now)
    second, zone = time.strftime("%Y-%m-%dT%H:%M:%S", local), time.strftime("%z", local)
    record: dict[str, object] = {
        "time": f"{second}.{int(now * 1000) % 1000:03d}{zone[:3]}:{zone[3:5]}",
        "level": level_name(level).lower(),
        "pid": os.getpid(),
        "message": message,
    }
    if fault is not None:
        record["exception"] = type(fault).__qualname__
        record["traceback"] = traceback_text(fault)
    return json.dumps(record).encode() + b"\n"


def filled(message: object, args: object) -> str:
    """`message % args`, as logging has it; where that fails, both side by side. Never raises."""
    text = _shown(message)
    if not args:
        return text
    if isinstance(args, tuple) and len(args) == 1 and isinstance(args[0], dict):
        args = args[0]  # "%(name)s", {"name": ...}
    try:
        return text % args
    except Exception:  # arguments that do not fit, or that cannot be shown
        return f"{text} {_shown(args):.200}"


def _shown(thing: object) -> str:
    try:
        return str(thing)
    except Exception as broken:
        return f"<{type(thing).__qualname__} that cannot be shown: {type(broken).__qualname__}>"


def level_name(level: int) -> str:
    """WARNING for 30; Level 35 for what has no name."""
    return _NAMES.get(level) or f"Level {level}"


def traceback_text(fault: BaseException) -> str:
    """The traceback from the application's first frame on; the server's own frames above it say nothing."""
    trace = fault.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return traceback_of(fault, trace or fault.__traceback__)


def _is_ours(filename: str) -> bool:
    return filename.startswith(_COMPILED) or (filename.startswith(_PACKAGE) and filename != _DEMO)
