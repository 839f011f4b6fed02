"""The process as an operator sees it: pid file, daemon, user, titles, hooks."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from launcher import Server, program, until
from procfs import children, session, state

from .conftest import Project, Start, answer, where

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


# Pid file


def test_pid_file(start: Start, project: Project) -> None:
    path = project.folder / "pid"
    server = start("-p", "pid")
    assert path.read_text() == f"{server.pid}\n"
    assert [each.name for each in project.folder.glob("pid*")] == ["pid"]
    server.stop()
    assert not path.exists()


@pytest.mark.parametrize("text", ["999999999\n", "1\n", "", "nonsense", "-5"])
def test_stale_pid_file_is_replaced(start: Start, project: Project, text: str) -> None:
    path = project.folder / "pid"
    path.write_text(text)  # pid 1 lives, and is no prefork
    server = start("-p", "pid")
    assert path.read_text() == f"{server.pid}\n"


def test_pid_file_of_a_living_server_is_refused(start: Start, project: Project) -> None:
    path = project.folder / "pid"
    first = start("-p", "pid")
    second = start("-p", "pid", ready=False)
    assert second.wait() == 1
    second.stderr.wait(
        rf"^prefork: error: pid file {path}: another prefork is running there \(pid {first.pid}\)$"
    )
    assert path.read_text() == f"{first.pid}\n"


def test_pid_file_of_another_is_not_removed(start: Start, project: Project) -> None:
    path = project.folder / "pid"
    server = start("-p", "pid")
    path.write_text("1\n")
    server.stop()
    assert path.read_text() == "1\n"


# Daemon


def test_daemon_returns_when_it_serves(start: Start, project: Project) -> None:
    server = start("-D", "-p", "pid", "-b", "127.0.0.1:0", workers=1, handed=False, ready=False)
    where(server)
    assert server.wait() == 0
    answer(server)
    server.stderr.wait_end()  # nobody holds the terminal any more
    pid = int((project.folder / "pid").read_text())
    assert os.getsid(pid) not in (pid, server.pid)  # a session of its own, and not its leader
    workers = children(pid)
    assert len(workers) == 1
    os.kill(pid, signal.SIGWINCH)
    until(lambda: not children(pid), "WINCH ends the workers")
    os.kill(pid, signal.SIGTTIN)
    until(lambda: len(children(pid)) == 1, "TTIN brings one back")
    os.kill(pid, signal.SIGTERM)
    until(lambda: state(pid) in "XZ", "the daemon is gone")
    assert not (project.folder / "pid").exists()


def test_daemon_that_cannot_boot_says_so_and_returns_its_code(start: Start, project: Project) -> None:
    project.write("import nothing_of_that_name\n")
    server = start("-D", ready=False)
    assert server.wait() == 4
    server.stderr.wait("nothing_of_that_name")
    server.stderr.wait_end()


def test_daemon_that_cannot_boot_says_one_line_beside_its_log(start: Start, project: Project) -> None:
    project.write("import nothing_of_that_name\n")
    server = start("-D", "--error-logfile", "log", ready=False)
    assert server.wait() == 4
    server.stderr.wait_end()
    (line,) = server.stderr.lines
    assert line.startswith("prefork: error: ") and "nothing_of_that_name" in line
    assert "nothing_of_that_name" in (project.folder / "log").read_text()


def test_daemon_that_cannot_bind_says_so_and_returns_its_code(start: Start) -> None:
    server = start("-D", "-b", "192.0.2.1:80", handed=False, ready=False)
    assert server.wait() == 1
    server.stderr.wait("^prefork: error: cannot listen on 192.0.2.1:80")
    server.stderr.wait_end()


# User and group


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        folder.chmod(0o755)
        yield folder


@needs_root
@pytest.mark.parametrize(
    "kind", [(), ("--threads", "2"), ("-k", "gevent")], ids=["sync", "threads", "gevent"]
)
def test_workers_run_as_the_user_and_the_master_does_not(
    start: Start, open_folder: Path, kind: tuple[str, ...]
) -> None:
    if "gevent" in kind:
        pytest.importorskip("gevent")
    Project(open_folder).path.chmod(0o644)
    path, log = open_folder / "s", open_folder / "log"
    folder = ("--chdir", str(open_folder))
    logs = ("--error-logfile", str(log), "--capture-output")
    who = ("-u", "65534", "-g", "65533", "-m", "007")
    server = start(*kind, *folder, *who, *logs, "-b", f"unix:{path}", handed=False, workers=1, ready=False)
    until(lambda: log.exists() and "ready" in log.read_text(), "it is ready")
    (worker,) = server.worker_pids()
    assert ids(worker) == ([65534] * 4, [65533] * 4, [])
    assert ids(server.pid)[0] == [0] * 4
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (65534, 65533, 0o770)
    assert (log.stat().st_uid, log.stat().st_gid) == (65534, 65533)
    server.address = str(path)
    answer(server)


def ids(pid: int) -> tuple[list[int], list[int], list[int]]:
    """Users (real, effective, saved, file system), groups, supplementary groups."""
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return (
        [int(text) for text in rows["Uid"].split()],
        [int(text) for text in rows["Gid"].split()],
        [int(text) for text in rows["Groups"].split()],
    )


def test_user_that_cannot_be_had(start: Start) -> None:
    user, executable = "0", program()
    if os.geteuid() == 0:  # may become anybody, but for its capabilities (capabilities(7))
        user = "65534"
        executable = ["setpriv", "--bounding-set=-setuid,-setgid", *executable]
    server = start("-u", user, ready=False, executable=executable)
    assert server.wait() == 3
    server.stderr.wait(f"cannot become user {user}")


@needs_root
def test_user_that_may_not_read_this_python(start: Start, open_folder: Path) -> None:
    """An error is told in full all the same: an application's, and the cause of every other."""
    closed = [each for each in Path(os.__file__).parents if not each.stat().st_mode & 0o001]
    if not closed:
        pytest.skip("this Python may be read by everybody")
    other = Project(open_folder)
    flags = ("-u", "65534", "--chdir", str(open_folder))
    other.write("def app(environ, start_response):\n    1 / 0\n")
    other.path.chmod(0o644)
    server = start(*flags)
    assert server.get("/").status == 500
    server.stderr.wait("ZeroDivisionError: division by zero")
    server.pardon()
    other.write("import colorsys\n")
    other.path.chmod(0o644)
    server.send_signal(signal.SIGHUP)
    server.stderr.wait(
        "reload failed, generation 1 serves on: importing site_app .* line 1: imports 'colorsys',"
        f" and user 65534 may not enter {closed[-1]}, where this Python lies"
    )
    server.pardon()


# Titles


def test_titles(start: Start) -> None:
    pytest.importorskip("setproctitle")
    server = start("-n", "shop", workers=1)
    assert title(server.pid) == "prefork: master [shop]"
    worker = server.worker_pids()[0]
    assert title(worker) == "prefork: worker [shop]"
    # Of one word, or /proc/pid/stat has more fields than who splits it at spaces believes.
    assert Path(f"/proc/{server.pid}/comm").read_text() == "prefork:master\n"
    assert Path(f"/proc/{worker}/comm").read_text() == "prefork:worker\n"


def test_title_names_the_application_by_default(start: Start) -> None:
    pytest.importorskip("setproctitle")
    server = start(workers=1)
    assert title(server.pid) == "prefork: master [site_app:app]"


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()


def test_environment_and_folder_of_the_application(start: Start, project: Project) -> None:
    inner = project.folder / "inner"
    inner.mkdir()
    other = project.folder / "library"
    other.mkdir()
    (other / "helper.py").write_text("WORD = 'helped'\n")
    (inner / "site_app.py").write_text(
        "import os, helper\n"
        "def app(environ, start_response):\n"
        "    body = f\"{os.environ['COLOUR']} {os.path.basename(os.getcwd())} {helper.WORD}\".encode()\n"
        "    start_response('200 OK', [('Content-Length', str(len(body)))])\n"
        "    return [body]\n"
    )
    server = start("--chdir", "inner", "--pythonpath", str(other), "-e", "COLOUR=blue")
    assert server.get("/").text == "blue inner helped"


def test_reload_follows_a_symlink_to_the_release(start: Start, project: Project, tmp_path: Path) -> None:
    for release in ("one", "two"):
        folder = tmp_path / release
        folder.mkdir()
        Project(folder).mark(release)
    current = tmp_path / "current"
    current.symlink_to("one")
    server = start("--chdir", str(current))
    assert answer(server)[0] == "one"
    beside = tmp_path / "next"
    beside.symlink_to("two")
    beside.replace(current)
    server.send_signal(signal.SIGHUP)
    server.stderr.wait(r"ready: generation 2")
    assert answer(server)[0] == "two"


def test_idle_server_sleeps(start: Start) -> None:
    """No process of an idle server is woken, as its voluntary context switches tell."""
    server = start(workers=2)
    answer(server)
    pids = [server.pid, *server.worker_pids()]
    settle(server, pids)
    before = [switches(pid) for pid in pids]
    os.read(silence(1.2), 1)
    after = [switches(pid) for pid in pids]
    assert max(b - a for a, b in zip(before, after, strict=True)) <= 2


def settle(server: Server, pids: list[int]) -> None:
    until(lambda: all(state(pid) == "S" for pid in pids), "everybody sleeps")
    assert session(server.pid)


def switches(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("voluntary_ctxt_switches:", 1)[1].split()[0])


def silence(seconds: float) -> int:
    """A descriptor that becomes readable after so many seconds."""
    import threading

    read_fd, write_fd = os.pipe()
    threading.Timer(seconds, os.write, (write_fd, b".")).start()
    return read_fd


def test_every_term_to_the_last(start: Start) -> None:
    """Also one that comes when all is over does not change how the server has ended."""
    for _ in range(10):
        server = start(workers=1)
        while server.process.poll() is None:
            server.send_signal(signal.SIGTERM)
            time.sleep(0.0005)
        assert server.process.returncode == 0, server.stderr.lines
