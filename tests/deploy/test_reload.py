"""--reload as a developer meets it: edit a file, ask again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import procfs
import pytest
from launcher import Server, listen, until
from rawclient import Response

APP = """\
from part import WORD

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [WORD.encode()]
"""


class Developer:
    """A project, a server with --reload on it, and the one who edits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "site.html").write_text("")
        (folder / "web.py").write_text(APP)
        self.write("WORD = 'first'")

    def write(self, text: str) -> None:
        (self.folder / "part.py").write_text(text + "\n")

    def serve(self, stack: ExitStack, *flags: str, env: dict[str, str], watched: bool = True) -> Server:
        command = ["web:application", "--reload", *flags]
        self.server = Server(command, listeners=[listen()], env=env, cwd=self.folder)
        stack.callback(self.server.kill)
        self.server.wait_ready()
        self.server.stderr.wait("source files are watched")
        return self.server

    def edit(self, text: str) -> None:
        """Write, and wait until the edit is served."""
        mark = self.server.stderr.mark
        self.write(text)
        self.server.stderr.wait("ready: generation", since=mark)


@pytest.fixture(params=["watchfiles", "polling"])
def developer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Developer]]:
    """developer(*flags) -> a Developer whose server runs, with each engine."""
    env = {}
    if request.param == "polling":
        (tmp_path / "hidden").mkdir()
        (tmp_path / "hidden" / "watchfiles.py").write_text("raise ImportError('not installed')\n")
        env["PYTHONPATH"] = str(tmp_path / "hidden")
    else:
        pytest.importorskip("watchfiles")
    (tmp_path / "project").mkdir()
    found = Developer(tmp_path / "project")
    with ExitStack() as stack:

        def start(*flags: str) -> Developer:
            found.serve(stack, *flags, env=env).stderr.wait(rf"watched \({request.param}\)")
            return found

        yield start
        if found.server.process.returncode is None:
            found.server.stop()


def browse(server: Server) -> Response:
    """What a browser gets."""
    return server.get("/", ("Accept", "text/html,*/*"))


def test_edits_are_served(developer: Callable[..., Developer]) -> None:
    place = developer()
    assert place.server.get("/").text == "first"
    place.edit("WORD = 'second'")
    assert place.server.get("/").text == "second"
    place.server.stderr.wait(r"part\.py modified")


def test_a_broken_edit_shows_its_traceback(developer: Callable[..., Developer]) -> None:
    """Not the code of before; to a browser as a page, escaped; until the next edit, without a restart."""
    place = developer()
    place.server.forgive(
        "part.py", "web:application", "Traceback", "Error", "line", r"\^", "from part import"
    )
    for broken, said in (
        ("WORD = (", "SyntaxError"),
        ("raise ValueError('<script>')", "ValueError: &lt;script&gt;"),
        ("import nowhere_to_be_found", "nowhere_to_be_found"),
        ("raise SystemExit(3)", "SystemExit"),
    ):
        place.edit(broken)
        page = browse(place.server)
        assert page.status == 500
        assert page.get("content-type") == "text/html; charset=utf-8"
        assert page.get("cache-control") == "no-store"
        assert said in page.text
        assert "part.py" in page.text
        plain = place.server.get("/")
        assert plain.status == 500
        assert plain.get("content-type") == "text/plain; charset=utf-8"
    place.edit("WORD = 'mended'")
    assert place.server.get("/").text == "mended"


def test_a_broken_start_waits_for_an_edit(developer: Callable[..., Developer], tmp_path: Path) -> None:
    """The server comes up all the same, and the first good edit is served."""
    (tmp_path / "project" / "part.py").write_text("WORD = (\n")
    place = developer()
    place.server.forgive(
        "part.py", "web:application", "Traceback", "Error", "line", r"\^", "from part import"
    )
    assert browse(place.server).status == 500
    place.edit("WORD = 'at last'")
    assert place.server.get("/").text == "at last"


def test_extra_files(developer: Callable[..., Developer], tmp_path: Path) -> None:
    place = developer("--reload-extra-file", f"{tmp_path}/project/**/*.html")
    mark = place.server.stderr.mark
    (place.folder / "site.html").write_text("<p>")
    place.server.stderr.wait(r"site\.html modified", since=mark)
    place.server.stderr.wait("ready: generation 2", since=mark)


IMPORTED = """\
import os
with open("imported", "a") as file:
    print(os.getpid(), file=file)
WORD = "here"
"""


def test_only_workers_import(developer: Callable[..., Developer], tmp_path: Path) -> None:
    """Neither the master nor the watcher runs a line of the application."""
    (tmp_path / "project" / "part.py").write_text(IMPORTED)
    place = developer("-w", "2")
    imported = [int(pid) for pid in (place.folder / "imported").read_text().split()]
    place.edit(IMPORTED + "# edited")
    imported += [int(pid) for pid in (place.folder / "imported").read_text().split()]
    others = {place.server.pid, *watchers(place.server)}
    assert len(others) == 2
    assert not others & set(imported)
    assert len(set(imported)) == 4


def test_the_watcher_ends_with_the_server(developer: Callable[..., Developer]) -> None:
    place = developer("-w", "2")
    (watcher,) = watchers(place.server)
    place.server.stop()
    until(lambda: procfs.state(watcher) in "XZ", "the watcher has ended")


def watchers(server: Server) -> list[int]:
    """The pids of the processes that watch."""
    return [
        pid for pid in procfs.session(server.pid) if b"watch" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
