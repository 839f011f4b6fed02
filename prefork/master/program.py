"""How this server was started, to be started so again at an upgrade."""

from __future__ import annotations

import sys


class Program:
    """directory: where, by its name: so that a symlink which leads elsewhere by then is followed.

    `executable` is the name of the interpreter, not the file behind it: in a virtual environment that was
    made anew it leads to the new one.
    """

    __slots__ = ("arguments", "directory", "executable")

    def __init__(self, directory: str) -> None:
        self.executable = sys.executable
        self.arguments = (sys.executable, *sys.orig_argv[1:])
        self.directory = directory
