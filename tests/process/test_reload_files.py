"""--reload: new code as soon as a file is written, and a traceback instead of an end."""

from __future__ import annotations

from procfs import children

from .conftest import Project, Start, answer, settled


def test_edit_broken_edit_and_mended_edit(start: Start, project: Project) -> None:
    server = start("--reload", workers=1)
    server.stderr.wait(r"source files are watched \((watchfiles|polling)\)")
    assert answer(server)[0] == "first"

    project.mark("second")
    server.stderr.wait(r"site_app\.py \w+.*: starting generation 2")
    settled(server, 2)
    assert answer(server)[0] == "second"

    project.write("def app(environ, start_response:\n")
    settled(server, 3)
    page = server.get("/")
    assert page.status == 500
    assert "SyntaxError" in page.text
    assert "site_app.py" in page.text
    server.pardon()

    project.mark("third")
    settled(server, 4)
    assert answer(server)[0] == "third"


def test_the_watcher_ends_with_the_server(start: Start) -> None:
    server = start("--reload", workers=1)
    server.stderr.wait("source files are watched")
    assert len(children(server.pid)) == 2
    server.stop()  # which looks for orphans
