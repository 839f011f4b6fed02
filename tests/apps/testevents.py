"""The application's end of launcher.Events: say a word to the test."""

from __future__ import annotations

import os


def say(word: str) -> None:
    """Send one word (atomic: shorter than PIPE_BUF). Never waits; without a listener it is lost."""
    path = os.environ.get("PREFORK_TEST_EVENTS", "")
    try:
        number = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # nobody listens
        return
    try:
        os.write(number, word.encode() + b"\n")
    finally:
        os.close(number)
