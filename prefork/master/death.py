"""How a process ended, in words that say only what is known."""

from __future__ import annotations

import os

from ..net import signals


def describe(status: int) -> str:
    """Return "exited with code 3" or "was killed by SIGSEGV (core dumped)" for a wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    core = " (core dumped)" if os.WCOREDUMP(status) else ""
    return f"was killed by {_full_name(-code)}{core}"


def _full_name(number: int) -> str:
    name = signals.name(number)
    return name if " " in name else f"SIG{name}"
