"""stdout and stderr as Python holds them: what waits to be written, and what is said to who typed a command.

An application may close them or put anything in their place, and who reads them may have gone; that is no
reason to stop serving.
"""

from __future__ import annotations

import os
import sys

from ..errors import PreforkError

# C0, DEL and C1 controls (ECMA-48): a terminal would obey them.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_LINE = {**_CONTROLS, 10: "\\n", 9: " "}
LINE_LIMIT = 1000  # characters of a line that is told


def flush() -> None:
    """Before a fork, or the end of a process: write what waits, or the next one writes it again."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # closed, None, the application's own; a full disk, a reader that has gone
            continue


def forsake() -> None:
    """The process ends: flush, and drop what cannot be written. Python would say so, and exit with 120."""
    flush()
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1 if stream is sys.__stdout__ else 2)
            os.close(null)


def say(text: str, *, end: str = "\n") -> None:
    """Print it for who typed the command, at once. Raises PreforkError where that cannot be done, and
    BrokenPipeError where nobody reads any more."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        forsake()
        raise PreforkError(f"stdout cannot be written: {error.strerror}") from None


def complain(fault: str, detail: str = "") -> None:
    """Say on stderr why a command fails, one line and what belongs above it, as far as that can be said."""
    above = f"{shown(detail.rstrip())}\n" if detail else ""
    try:
        print(f"{above}prefork: error: {one_line(fault)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass


def one_line(text: str) -> str:
    """What somebody else has worded, as one line for a terminal."""
    shown = text if len(text) <= LINE_LIMIT else f"{text[:LINE_LIMIT]}..."
    return shown.translate(_LINE)


def shown(text: str) -> str:
    """What somebody else has worded, in its lines, for a terminal."""
    return text.translate(_CONTROLS)
