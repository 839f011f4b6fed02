"""`prefork reload` and `prefork status` against real servers: what they say, and their exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from launcher import program, until
from procfs import state
from prometheus_client.parser import text_string_to_metric_families

from prefork.errors import PreforkError
from prefork.net import control
from prefork.operate import status

from .conftest import APP, Project, Start, answer, settled


@dataclass
class Done:
    code: int
    out: str
    err: str


def command(*words: object, cwd: Path | None = None) -> Done:
    done = subprocess.run(
        [*program(), *map(str, words)], check=False, capture_output=True, text=True, timeout=30, cwd=cwd
    )
    return Done(done.returncode, done.stdout, done.stderr)


# Reload


def test_reload_by_pid_file(start: Start, project: Project) -> None:
    server = start("-p", "pid")
    project.mark("second")
    done = command("reload", project.folder / "pid", "--wait")
    assert done.code == 0
    assert done.out.startswith("prefork: generation 2 serves with 2 workers after 0.")
    assert answer(server)[0] == "second"  # at once: it is the only one
    server.stderr.wait("reload: starting generation 2")


def test_reload_without_wait_returns_before_the_end(start: Start, project: Project) -> None:
    server = start(workers=1)
    project.write("import time\ntime.sleep(60)\n")
    done = command("reload", server.pid)
    assert (done.code, done.out) == (0, "prefork: generation 2 is being built\n")


def test_reload_finds_the_only_server_of_a_folder(start: Start, project: Project, tmp_path: Path) -> None:
    server = start(workers=1)
    project.mark("second")
    done = command("reload", "--wait", cwd=project.folder)
    assert done.code == 0, done.err
    assert answer(server)[0] == "second"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("def app(:\n", 4, "SyntaxError"),
        ("import nothing_of_that_name\n", 4, "nothing_of_that_name"),
        ("raise KeyboardInterrupt\n", 4, "site_app.py, line 1: KeyboardInterrupt"),
        ("import os\nos._exit(9)\n", 3, "exited with code 9 before it was ready"),
        ("import os\nos.abort()\n", 3, "was killed by SIGABRT"),
        ("import time\ntime.sleep(60)\n", 3, "not ready within 0.3 s (boot_timeout)"),
    ],
    ids=["syntax", "dependency", "interrupt", "exit", "crash", "hang"],
)
def test_reload_that_fails_says_why(start: Start, project: Project, text: str, code: int, said: str) -> None:
    server = start("--boot-timeout", "0.3" if "sleep" in text else "20")
    before = set(server.worker_pids())
    project.write(text)
    done = command("reload", server.pid, "--wait")
    assert done.code == code
    assert done.out == ""
    assert done.err.splitlines()[-1].startswith("prefork: error: reload failed: ")
    assert said in done.err.splitlines()[-1]
    server.stderr.wait(r"reload failed, generation 1 serves on: ")
    assert answer(server)[0] == "first"
    until(lambda: set(server.worker_pids()) == before, "only the workers of before")
    server.pardon()


def test_reload_with_a_bad_file_changes_nothing(start: Start, project: Project) -> None:
    (project.folder / "prefork.toml").write_text("workers = 2\n")
    server = start()
    before = server.worker_pids()
    (project.folder / "prefork.toml").write_text("workers = 'many'\n")
    done = command("reload", server.pid)
    assert done.code == 2
    assert done.err.startswith("prefork: error: reload refused: workers")
    assert server.worker_pids() == before
    server.stderr.wait("reload refused, nothing is changed: workers")
    server.pardon()


def test_reload_of_one_that_is_replaced_by_another(start: Start, project: Project) -> None:
    server = start(workers=1)
    project.write("import os, time\nos.write(1, b'importing\\n')\ntime.sleep(60)\n")
    answers = control.ask(server.pid, "reload")
    assert next(answers) == {"state": "started", "generation": 2}
    server.stdout.wait("importing")
    project.mark("third")
    assert command("reload", server.pid, "--wait").code == 0
    assert next(answers)["cause"] == "a newer reload takes its place"
    assert list(answers) == []
    server.pardon()


def test_reload_of_a_server_that_ends(start: Start, project: Project) -> None:
    server = start(workers=1)
    project.write("import time\ntime.sleep(60)\n")
    answers = control.ask(server.pid, "reload")
    next(answers)
    server.send_signal(signal.SIGTERM)
    assert next(answers)["cause"] == "the server is stopping"
    server.wait()


# Status


def test_status_as_table(start: Start) -> None:
    server = start("-n", "shop")
    answer(server)
    done = command("status", server.pid)
    assert done.code == 0
    head, *table = done.out.splitlines()
    assert f"[shop], pid {server.pid}, at http://127.0.0.1:" in head
    assert head.endswith(": serving; generation 1, 2 of 2 workers serve")
    assert len(table) == 4  # titles, two workers, all
    assert table[0].split()[:4] == ["slot", "pid", "gen", "state"]


def test_status_as_json(start: Start) -> None:
    server = start()
    said = json.loads(command("status", server.pid, "--json").out)
    assert said["server"]["course"] == "serving"
    assert sorted(worker["pid"] for worker in said["workers"]) == sorted(server.worker_pids())


def test_status_of_an_older_server_has_no_range() -> None:
    server = {"version": "0", "name": "shop", "pid": 7, "addresses": ["http://a"], "course": "serving"}
    server |= {"generation": 1, "next": 0, "workers": 4, "serving": 3}
    assert status._head(server).endswith("generation 1, 3 of 4 workers serve\n")


def test_status_while_nobody_serves_yet(start: Start, project: Project) -> None:
    project.write("import os, time\nos.write(1, b'importing\\n')\ntime.sleep(60)\n")
    server = start(ready=False)
    server.stdout.wait("importing")
    done = command("status", server.pid)
    assert done.code == 1
    assert ": starting; generation 1, 0 of 2 workers serve" in done.out


def test_metrics(start: Start) -> None:
    server = start()
    answer(server)
    (said,) = control.ask(server.pid, "metrics")
    families = {each.name: each for each in text_string_to_metric_families(said["exposition"])}
    assert families["prefork_workers_wanted"].samples[0].value == 2
    assert sum(sample.value for sample in families["prefork_requests"].samples) == 1


def test_status_says_where_the_error_log_is(start: Start, project: Project) -> None:
    (said,) = control.ask(start().pid, "status")
    assert said["server"]["errorlog"] == ""
    server = start("--error-logfile", "error.log", ready=False)
    server.wait_ready()
    (said,) = control.ask(server.pid, "status")
    assert said["server"]["errorlog"] == str(project.folder / "error.log")


@pytest.mark.parametrize("word", ["status", "metrics", "reload"])
def test_a_master_that_is_stopped(start: Start, word: str) -> None:
    server = start(workers=1)
    server.send_signal(signal.SIGSTOP)
    until(lambda: state(server.pid) == "T", "it is stopped")
    with pytest.raises(PreforkError, match=rf"^pid {server.pid} has not answered for 0\.1 s: it is stopped"):
        next(control.ask(server.pid, word, patience=0.1))
    server.send_signal(signal.SIGCONT)
    if word == "reload":  # it was heard, all the same
        settled(server, 2)


def test_an_outcome_is_waited_for(start: Start, project: Project) -> None:
    """However long it takes, where the master is only busy."""
    server = start(workers=1)
    os.mkfifo(project.folder / "gate")
    project.write(f"import os\nwith open('gate') as gate:\n    gate.read()\n{APP}")
    answers = control.ask(server.pid, "reload", patience=0.05)
    assert next(answers)["state"] == "started"
    threading.Timer(0.5, (project.folder / "gate").write_text, ("",)).start()
    assert next(answers)["state"] == "done"


# Who may ask, and who is asked


def test_a_pid_that_is_no_prefork() -> None:
    done = command("status", os.getpid())
    assert (done.code, done.out) == (1, "")
    assert done.err == f"prefork: error: no prefork runs as pid {os.getpid()}, or none that can be asked\n"


def test_a_name_that_a_stranger_holds_is_not_believed() -> None:
    with subprocess.Popen(["sleep", "60"]) as other, socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(control.name(other.pid))
        stranger.listen()
        done = command("status", other.pid)
        other.kill()
    assert done.code == 1
    assert f"the name of pid {other.pid} is held by pid {os.getpid()}" in done.err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_another_user_is_not_answered(start: Start) -> None:
    server = start()
    name = control.name(server.pid)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(10)
        os.seteuid(65534)
        try:
            stranger.connect(name)
        finally:
            os.seteuid(0)
        assert stranger.recv(100) == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_another_users_server_is_not_asked(start: Start) -> None:
    server = start(workers=1)
    os.seteuid(65534)
    try:
        with pytest.raises(PreforkError, match=rf"^pid {server.pid} is another user's: it answers that user"):
            list(control.ask(server.pid, "status"))
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "holds no process id"),
        ("9" * 20, "holds no process id"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_pid_file_that_names_nobody(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "pid"
    if text is not None:
        path.write_text(text)
    done = command("status", path)
    assert done.code == 1
    assert said in done.err


@pytest.mark.parametrize(
    "words", [("status", "--all"), ("reload", "-x"), ("reload", "1", "2"), ("status", "1", "2")]
)
def test_words_that_mean_nothing(words: tuple[str, ...]) -> None:
    done = command(*words)
    assert done.code == 2
    assert done.err.startswith("prefork: error: ")


def test_a_folder_that_is_gone(start: Start, tmp_path: Path) -> None:
    start(workers=1), start(workers=1)
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", 'rmdir ../gone; exec "$0" "$@"', *program(), "status"],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert re.match(r"prefork: error: \d+ servers run here \(.*\): name one", done.stderr)


def test_what_a_worker_has_worded_is_shown_not_obeyed(start: Start, project: Project) -> None:
    server = start(workers=1)
    project.write("raise ValueError('\\0\\x1b[31m\\x9b' + 'x' * 300_000)\n")
    done = command("reload", server.pid, "--wait")
    assert done.code == 4
    *_, line = done.err.splitlines()
    assert "\\x00\\x1b[31m\\x9b" in line
    assert len(line) < 1100
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.err)
    server.pardon()


@pytest.mark.parametrize("name", ["status", "reload"])
def test_help(name: str) -> None:
    done = command(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: prefork {name} ")


def test_a_caller_that_says_nothing_or_nonsense_costs_nothing(start: Start) -> None:
    server = start(workers=1)
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as noisy:
        silent.connect(control.name(server.pid))
        noisy.connect(control.name(server.pid))
        noisy.sendall(b"x" * 1000)
        noisy.settimeout(10)
        with suppress(ConnectionResetError):  # what it had not read yet
            assert noisy.recv(100) == b""
        assert next(control.ask(server.pid, "dance"))["cause"] == "this server knows no such order"
        settled(server, 1)
        assert command("status", server.pid).code == 0
