"""USR2 and `prefork upgrade`: a new master takes over, or nothing has changed."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launcher import Server, program, until
from procfs import children, descriptors, session, state

import prefork
from prefork.net import control

from .conftest import Project, Start, answer, where


def upgraded(server: Server, *, since: int = 0) -> int:
    """The pid of the new master, once the old one has ended."""
    (found,) = server.stderr.wait(r"upgrade: pid (\d+) has taken over", since=since)
    assert server.wait() == 0
    return int(found[1])


def end(server: Server, pid: int) -> None:
    """Stop a master that the test has not started itself."""
    os.kill(pid, signal.SIGTERM)
    until(lambda: state(pid) in "XZ", "the new master is gone")
    until(lambda: not session(server.pid), "nothing is left")


def test_new_master_serves_the_new_code(start: Start, project: Project) -> None:
    server = start(workers=2)
    project.mark("second")
    server.send_signal(signal.SIGUSR2)
    pid = upgraded(server)
    assert answer(server)[0] == "second"
    assert len(children(pid)) == 2
    server.stderr.wait(rf"upgrade: this master has taken over from pid {server.pid}")
    end(server, pid)


def test_it_can_be_upgraded_again_and_reloaded(start: Start, project: Project) -> None:
    server = start(workers=1)
    server.send_signal(signal.SIGUSR2)
    second = upgraded(server)
    project.mark("third")
    mark = server.stderr.mark
    os.kill(second, signal.SIGUSR2)
    (found,) = server.stderr.wait(r"upgrade: pid (\d+) has taken over", since=mark)
    third = int(found[1])
    until(lambda: state(second) in "XZ", "the second master is gone")
    assert answer(server)[0] == "third"
    project.mark("fourth")
    os.kill(third, signal.SIGHUP)
    server.stderr.wait(r"ready.*generation 2\b", since=mark)
    assert answer(server)[0] == "fourth"
    end(server, third)


def test_only_what_is_needed_crosses_exec(start: Start) -> None:
    server = start(workers=1)
    kinds = sorted(text.partition(":")[0] for text in descriptors(server.pid).values())
    server.send_signal(signal.SIGUSR2)
    pid = upgraded(server)
    until(lambda: len(descriptors(pid)) <= len(kinds), "the channel between the two is closed")
    assert sorted(text.partition(":")[0] for text in descriptors(pid).values()) == kinds
    end(server, pid)


def test_pid_file_and_socket_file_move(start: Start, project: Project) -> None:
    path, pidfile = project.folder / "s", project.folder / "pid"
    server = start("-b", f"unix:{path}", "-b", "127.0.0.1:0", "-p", "pid", handed=False, workers=1)
    inode = path.stat().st_ino
    server.address = str(path)
    server.send_signal(signal.SIGUSR2)
    pid = upgraded(server)
    assert pidfile.read_text() == f"{pid}\n"
    assert path.stat().st_ino == inode
    answer(server)
    end(server, pid)
    assert not path.exists()
    assert not pidfile.exists()


def test_addresses_are_those_of_the_settings(start: Start, project: Project) -> None:
    """One is kept, with its port; one that is named no more is closed; a new one is bound."""
    toml = project.folder / "prefork.toml"
    toml.write_text('bind = ["127.0.0.1:0", "unix:old.sock"]\n')
    server = start(handed=False, workers=1)
    kept, _ = where(server)
    toml.write_text('bind = ["unix:new.sock", "127.0.0.1:0"]\n')
    mark = server.stderr.mark
    server.send_signal(signal.SIGUSR2)
    pid = upgraded(server)
    server.stderr.wait(rf"at unix:new\.sock {kept}: 1 sync worker, pid {pid}", since=mark)
    answer(server)
    end(server, pid)


@pytest.mark.parametrize(
    ("text", "cause", "code"),
    [
        ("import nothing_of_that_name\n", "imports 'nothing_of_that_name'", 4),
        ("def app(:\n", "site_app", 4),
        ("import os\nos._exit(9)\n", r"worker \d+ exited with code 9 before it was ready", 3),
    ],
    ids=["import", "syntax", "exit"],
)
def test_broken_application(start: Start, project: Project, text: str, cause: str, code: int) -> None:
    server = start("-p", "pid", workers=2)
    before = server.worker_pids()
    project.write(text)
    command = subprocess.run(
        [*program(), "upgrade", "pid"], cwd=project.folder, capture_output=True, text=True, check=False
    )
    assert command.returncode == code, command.stderr
    server.stderr.wait(f"upgrade failed, this master serves on: .*{cause}")
    assert "prefork: error: upgrade failed: " in command.stderr
    until(lambda: server.worker_pids() == before, "only the old ones are left")
    assert answer(server)[0] == "first"
    assert (project.folder / "pid").read_text() == f"{server.pid}\n"
    server.pardon()


CONFIGURATIONS = {
    "syntax": ("def nonsense(:\n", r"conf\.py"),
    "value": ("timeout = 'soon'\n", "timeout = 'soon'"),
    "exit": ("import os\nos._exit(5)\n", r"the new master \d+ exited with code 5 before it was ready"),
    "kill": (
        "import os\nos.kill(os.getpid(), 9)\n",
        r"the new master \d+ was killed by SIGKILL before it was ready",
    ),
    "hook": ("def on_starting(server):\n    1 / 0\n", "hook on_starting failed: ZeroDivisionError"),
    "bind": ("bind = ['192.0.2.1:80']\n", "cannot listen on 192.0.2.1:80"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_broken_start(start: Start, project: Project, name: str) -> None:
    text, cause = CONFIGURATIONS[name]
    conf = project.folder / "conf.py"
    conf.write_text("bind = ['127.0.0.1:0']\n")
    server = start("-c", "conf.py", handed=False, workers=1)
    where(server)
    conf.write_text(text)
    server.send_signal(signal.SIGUSR2)
    server.stderr.wait(f"upgrade failed, this master serves on: .*{cause}")
    assert answer(server)[0] == "first"
    server.pardon()


@pytest.mark.parametrize("trouble", ["full", "gone", "another"])
def test_pid_file_that_cannot_be_had(start: Start, project: Project, trouble: str) -> None:
    """Neither by the new master nor, afterwards, by the old one, which serves on without it."""
    path = project.folder / "run" / "pid"
    path.parent.mkdir()
    server = start("-p", "run/pid", workers=1)
    match trouble:
        case "full":
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, 0))
            said = f"pid file {path} cannot be written: File too large"
        case "gone":
            shutil.rmtree(path.parent)
            said = f"there is no directory {path.parent}"
        case _:
            other = start("-p", "other", workers=1)
            path.write_text(f"{other.pid}\n")
            said = rf"pid file {path}: another prefork is running there \(pid {other.pid}\)"
    server.send_signal(signal.SIGUSR2)
    server.stderr.wait(f"upgrade failed, this master serves on: .*{said}")
    if trouble != "full":  # there it still says who serves
        server.stderr.wait(rf"ERROR\] pid file {path}")
    server.pardon()
    answer(server)
    path.parent.mkdir(exist_ok=True)
    server.send_signal(signal.SIGHUP)
    server.stderr.wait(r"ready.*generation 2\b")
    assert not list(project.folder.glob("run/pid.*"))


def test_term_meanwhile_is_no_failure(start: Start, project: Project) -> None:
    server = start(workers=1)
    project.write("import os, time\nos.write(1, b'importing\\n')\ntime.sleep(60)\n")
    server.send_signal(signal.SIGUSR2)
    server.stdout.wait("importing")
    with server.connect() as client:  # which the old one has to answer after the new one's end
        client.offer(b"GET /sleep/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait(r"the new master \d+ has ended, too")
        assert client.response("GET").status == 200
    server.stop()  # judges the log


def test_orders_to_a_master_whose_files_are_gone(start: Start, project: Project) -> None:
    """As where another prefork was installed meanwhile, or none yet."""
    shutil.copytree(Path(prefork.__file__).parent, project.folder / "old" / "prefork")
    (project.folder / "run.py").write_text(
        "import sys\n"
        "sys.path.insert(0, sys.argv.pop(1))\n"
        "import prefork.cli\n"
        "print(prefork.__file__, flush=True)\n"
        "sys.exit(prefork.cli.main())\n"
    )
    old = str(project.folder / "old")
    server = start(workers=1, executable=[sys.executable, "run.py", old])
    server.stdout.wait(f"^{old}/")
    (project.folder / "old").rename(project.folder / "gone")
    (said,) = control.ask(server.pid, "status")
    assert said["server"]["serving"] == 1
    server.send_signal(signal.SIGHUP)  # which workers may need one of the files for
    server.stderr.wait(r"ready.*generation 2\b|reload failed, generation 1 serves on")
    server.pardon()
    mark = server.stdout.mark
    server.send_signal(signal.SIGUSR2)
    pid = upgraded(server)
    server.stdout.wait(f"^{Path(prefork.__file__).parent}/", since=mark)
    end(server, pid)


def test_new_master_that_is_never_ready_is_ended(start: Start, project: Project) -> None:
    conf = project.folder / "conf.py"
    conf.write_text("")
    server = start("-c", "conf.py", "--boot-timeout", "0.1", workers=1)
    conf.write_text("import time\ntime.sleep(60)\n")
    server.send_signal(signal.SIGUSR2)
    (found,) = server.stderr.wait(r"pid (\d+) is to take over")
    os.kill(int(found[1]), signal.SIGTERM)  # as the master does itself, 10 s later
    server.stderr.wait(r"upgrade failed, this master serves on: the new master \d+ was killed by SIGTERM")
    answer(server)
    server.pardon()


def test_hooks(start: Start, project: Project) -> None:
    (project.folder / "conf.py").write_text(
        "import os\n"
        "def pre_exec(server): os.write(1, b'pre_exec %d\\n' % (os.getppid() == server.pid))\n"
        "def on_exit(server): os.write(1, b'on_exit %d\\n' % os.getpid())\n"
    )
    server = start("-c", "conf.py", workers=1)
    server.send_signal(signal.SIGUSR2)
    pid = upgraded(server)
    assert server.stdout.lines == ["pre_exec 1", f"on_exit {server.pid}"]
    end(server, pid)
    server.stdout.wait(f"on_exit {pid}")


def test_hook_that_fails_stops_the_upgrade(start: Start, project: Project) -> None:
    (project.folder / "conf.py").write_text("def pre_exec(server):\n    1 / 0\n")
    server = start("-c", "conf.py", workers=1)
    server.send_signal(signal.SIGUSR2)
    server.stderr.wait(
        "upgrade failed, this master serves on: hook pre_exec failed: ZeroDivisionError: division by zero"
    )
    answer(server)
    server.pardon()


def test_reload_and_second_upgrade_wait(start: Start, project: Project) -> None:
    server = start(workers=1)
    project.write("import os, time\nos.write(1, b'importing\\n')\ntime.sleep(60)\n")
    server.send_signal(signal.SIGUSR2)
    server.stdout.wait("importing")
    server.send_signal(signal.SIGUSR2)
    server.stderr.wait(r"USR2 refused: pid \d+ is about to take over")
    server.send_signal(signal.SIGHUP)
    server.stderr.wait(r"reload refused, nothing is changed: an upgrade is under way")
    server.pardon()
    server.stop()


def test_new_master_serves_also_when_the_old_one_is_killed_meanwhile(start: Start, project: Project) -> None:
    server = start("-p", "pid", workers=1)
    gate = project.folder / "gate"
    os.mkfifo(gate)
    project.mark("second")
    project.write(project.path.read_text() + "\nos.write(1, b'importing\\n')\nopen('gate').read()\n")
    server.send_signal(signal.SIGUSR2)
    (found,) = server.stderr.wait(r"pid (\d+) is to take over")
    server.stdout.wait("importing")
    server.send_signal(signal.SIGKILL)
    server.process.wait()
    with gate.open("w"):
        pass
    server.stderr.wait(rf"upgrade: this master has taken over from pid {server.pid}")
    assert answer(server)[0] == "second"
    assert (project.folder / "pid").read_text() == f"{found[1]}\n"
    end(server, int(found[1]))


def test_daemon(start: Start, project: Project) -> None:
    server = start("-D", "-p", "pid", "-b", "127.0.0.1:0", workers=1, handed=False, ready=False)
    where(server)
    assert server.wait() == 0
    pidfile = project.folder / "pid"
    first = int(pidfile.read_text())
    project.mark("second")
    upgrade = [*program(), "upgrade", "pid"]
    subprocess.run(upgrade, cwd=project.folder, check=True)
    second = int(pidfile.read_text())
    assert second != first
    assert answer(server)[0] == "second"
    until(lambda: state(first) in "XZ", "the first daemon is gone")
    project.write("def app(:\n")
    broken = subprocess.run(upgrade, cwd=project.folder, check=False, capture_output=True, text=True)
    assert broken.returncode == 4
    assert "site_app.py" in broken.stderr
    assert int(pidfile.read_text()) == second
    assert answer(server)[0] == "second"
    os.kill(second, signal.SIGTERM)
    until(lambda: state(second) in "XZ", "the second daemon is gone")
    assert not pidfile.exists()


class Venv:
    """A virtual environment that borrows what is installed beside this interpreter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.make("one")

    def make(self, word: str) -> None:
        mine = Path(sys.prefix)
        (self.folder / "bin").mkdir(parents=True)
        (self.folder / "bin" / "python").symlink_to(Path(sys.executable).resolve())
        (self.folder / "lib").symlink_to(mine / "lib")
        (self.folder / "pyvenv.cfg").write_text((mine / "pyvenv.cfg").read_text())
        script = self.folder / "bin" / "prefork"
        script.write_text(
            f"#!{self.folder}/bin/python\n"
            f"import os, sys\n"
            f"os.write(1, b'this is {word}\\n')\n"
            "from prefork.cli import main\n"
            "sys.exit(main())\n"
        )
        script.chmod(0o755)

    def remove(self) -> None:
        self.folder.rename(self.folder.with_name("old-venv"))


@pytest.mark.skipif(not Path(sys.prefix, "pyvenv.cfg").exists(), reason="these tests run in no venv")
def test_virtual_environment_that_was_made_anew(start: Start, project: Project) -> None:
    venv = Venv(project.folder / "venv")
    server = start(workers=1, executable=[str(venv.folder / "bin" / "prefork")])
    server.stdout.wait("this is one")
    venv.remove()
    server.send_signal(signal.SIGUSR2)
    server.stderr.wait(
        r"upgrade failed, this master serves on: the new master cannot be executed:"
        rf" {venv.folder}/bin/python: No such file"
    )
    answer(server)
    venv.make("two")
    server.send_signal(signal.SIGUSR2)
    pid = upgraded(server)
    server.stdout.wait("this is two")
    assert answer(server)[0] == "first"
    end(server, pid)
