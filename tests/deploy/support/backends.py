"""A server of apps/behind.py, and what its application has seen."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from launcher import Server, listen
from places import APPS


class Backend:
    """A server of apps/behind.py and the targets that its application has seen."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.address = server.address
        self._seen = folder / "seen"
        self._version = folder / "version"

    def seen(self) -> list[str]:
        """Method and target of every request since the last call, but for a balancer's checks."""
        found = [line for line in self._seen.read_text().splitlines() if line != "GET /healthz"]
        self._seen.write_text("")
        return found

    def write_version(self, text: str) -> None:
        """The code that the next generation will be."""
        self._version.write_text(text)


def start_backend(
    stack: ExitStack,
    folder: Path,
    *flags: str,
    unix: bool = False,
    workers: int = 2,
    env: Mapping[str, str] | None = None,
) -> Backend:
    """Start one; it is stopped with TERM, and judged, when the stack is closed."""
    (folder / "seen").write_text("")
    (folder / "version").write_text("1")
    (folder / "fragile").write_text("1")  # code that a test may take away
    command = ["behind:application", "-w", str(workers), "--pythonpath", str(APPS), *flags]
    address = str(folder / "prefork.sock") if unix else ("127.0.0.1", 0)
    told = {"PREFORK_TEST_SEEN": str(folder / "seen"), "PREFORK_TEST_VERSION": str(folder / "version")}
    server = Server(command, listeners=[listen(address)], env={**told, **(env or {})}, cwd=folder)
    stack.callback(server.kill)
    server.wait_ready()
    if unix:
        (folder / "prefork.sock").chmod(0o666)  # the proxy may be another user
    return Backend(server, folder)
