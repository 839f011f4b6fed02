"""Settings are read again at a reload: what can change does, what cannot is named."""

from __future__ import annotations

import signal

from launcher import Server, until

from .conftest import Project, Start, answer, settled
from .test_control import command


def begin(start: Start, project: Project, text: str) -> Server:
    """The number of workers comes from the file, not from the command line."""
    write(project, text)
    server = start("-c", "prefork.toml", workers=None)
    settled(server, 1)
    return server


def write(project: Project, text: str) -> None:
    (project.folder / "prefork.toml").write_text(text)


def test_what_can_change_does(start: Start, project: Project) -> None:
    server = begin(start, project, "workers = 1\n")
    write(project, 'workers = 3\nloglevel = "debug"\nlimit_request_line = 64\naccesslog = "access.log"\n')
    assert command("reload", server.pid, "--wait").code == 0
    server.stderr.wait("3 workers instead of 1")
    server.stderr.wait(r"DEBUG\]")
    until(lambda: len(server.worker_pids()) == 3, "three workers")
    assert server.get("/" + "a" * 100).status == 414
    log = project.folder / "access.log"
    until(lambda: log.exists() and "414" in log.read_text(), "it is logged")


def test_what_cannot_change_is_named_and_stays(start: Start, project: Project) -> None:
    server = begin(start, project, "workers = 1\n")
    write(project, "workers = 1\nbacklog = 7\nworker_class = 'gevent'\n")
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    server.stderr.wait(r"WARNING\] reload: backlog stays 2048: 7 counts after a restart or an upgrade")
    server.stderr.wait(
        r"WARNING\] reload: worker_class stays sync: gevent counts after a restart or an upgrade"
    )


def test_a_failed_reload_takes_back_the_configuration_of_the_log(start: Start, project: Project) -> None:
    server = begin(start, project, "workers = 1\n")
    write(project, 'workers = 3\nerrorlog = "errors.log"\n')
    source = project.path.read_text()
    project.write("import nothing_of_that_name\n")
    assert command("reload", server.pid, "--wait").code == 4
    project.write(source)
    server.send_signal(signal.SIGTTIN)
    server.stderr.wait("2 workers instead of 1")  # here, and from the number of before
    answer(server)
    server.forgive("reload failed")
