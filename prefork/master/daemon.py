"""`--daemon`: into the background, while the command waits to say how it went.

The command that was typed ends when the first worker serves (exit code 0) or the start has failed (its exit
code), and everything that is said until then is still said on its terminal.
"""

from __future__ import annotations

import os


class Launch:
    """The daemon's line to the command that started it."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def report(self, exit_code: int) -> None:
        """Let the command end with this code; after the first call nothing happens."""
        if self._fd >= 0:
            try:
                os.write(self._fd, bytes([exit_code & 255]))
            except OSError:
                pass  # nobody waits any more
            self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def detach() -> Launch:
    """Return in a process of its own session, without a terminal; stdin is /dev/null."""
    read_fd, write_fd = os.pipe()
    if os.fork():
        os.close(write_fd)
        answer = os.read(read_fd, 1)
        # Nothing said: it was killed, or ended where nobody could have caught it.
        os._exit(answer[0] if answer else 1)
    os.close(read_fd)
    os.setsid()
    if os.fork():  # whoever leads a session can be given a terminal again (setsid(2))
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    return Launch(write_fd)


def silence() -> None:
    """Point stdout and stderr at /dev/null: their terminal is somebody else's from now on."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
    except OSError:
        return  # no descriptor is left: it serves, that counts
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
