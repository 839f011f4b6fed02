"""What a configuration of logging may leave out: gunicorn's defaults, and the names of the server's loggers.

Pure: nothing is imported or applied.
"""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
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
    nothing on to root unless it says `propagate`. What is no table is left for dictConfig to refuse.
    """
    whole: dict[str, Any] = {"version": 1, "disable_existing_loggers": False, **table}
    sections = [table.get(name) or {} for name in ("formatters", "handlers", "loggers")]
    if table.get("incremental") or not all(isinstance(each, Mapping) for each in sections):
        return whole
    formatters, handlers, loggers = sections
    ours = {
        "console": {**_STREAM, "stream": "ext://sys.stdout"},
        "error_console": {**_STREAM, "stream": errors},
    }
    whole["formatters"] = {"generic": _GENERIC, **formatters}
    whole["handlers"] = {**ours, **handlers}
    used = handlers or ours
    if "root" not in table and "console" in used:
        whole["root"] = _ROOT
    if "loggers" not in table and used.keys() >= ours.keys():
        loggers = _LOGGERS
    whole["loggers"] = {
        name: {"propagate": False, **entry} if _is_ours(name, entry) else entry
        for name, entry in loggers.items()
    }
    return whole


def _is_ours(name: object, entry: object) -> bool:
    return name in ERROR_NAMES + ACCESS_NAMES and isinstance(entry, Mapping)
