"""What a configuration of logging may leave out: gunicorn's defaults, and the names of the server's loggers.

Pure: nothing is imported or applied.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Ours, and what a configuration that was written for gunicorn names.
ERROR_NAMES = ("prefork.error", "gunicorn.error")
ACCESS_NAMES = ("prefork.access", "gunicorn.access")

_GENERIC = {
    "format": "%(asctime)s [%(process)d] [%(levelname)s] %(message)s",
    "datefmt": "[%Y-%m-%d %H:%M:%S %z]",
}
_STREAM = {"class": "logging.StreamHandler", "formatter": "generic"}
_ROOT = {"level": "INFO", "handlers": ["console"]}
_LOGGERS: Mapping[str, Mapping[str, Any]] = {
    **{name: {"level": "INFO", "handlers": ["error_console"]} for name in ERROR_NAMES},
    **{name: {"level": "INFO", "handlers": ["console"]} for name in ACCESS_NAMES},
}


def completed(table: Mapping[str, Any], errors: Any = "ext://sys.stderr") -> dict[str, Any]:
    """Return the table for dictConfig that this one stands for. errors: the stream of "error_console".

    The handlers "console" and "error_console" and the formatter "generic" are there unless the table has its
    own. Root, and the server's loggers, are gunicorn's unless the table has `root` or `loggers`, or handlers
    of its own without those that they use: gunicorn would refuse that. A logger of the server's passes
    nothing on to root unless it says `propagate`.
    """
    whole: dict[str, Any] = {"version": 1, "disable_existing_loggers": False, **table}
    if table.get("incremental"):
        return whole
    whole["formatters"] = {"generic": _GENERIC, **_entries(table, "formatters")}
    handlers = {
        "console": {**_STREAM, "stream": "ext://sys.stdout"},
        "error_console": {**_STREAM, "stream": errors},
    }
    whole["handlers"] = {**handlers, **_entries(table, "handlers")}
    own = _entries(table, "handlers") or handlers
    if "root" not in table and "console" in own:
        whole["root"] = _ROOT
    loggers = _entries(table, "loggers")
    if "loggers" not in table and "console" in own and "error_console" in own:
        loggers = _LOGGERS
    whole["loggers"] = {
        name: {"propagate": False, **entry} if name in ERROR_NAMES + ACCESS_NAMES else entry
        for name, entry in loggers.items()
    }
    return whole


def _entries(table: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    return table.get(section) or {}
