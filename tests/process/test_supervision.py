"""Real masters and workers: births, deaths, orders and ends."""

from __future__ import annotations

import os
import signal

import pytest
from launcher import until
from procfs import children, descriptors, session, state
from rawclient import Closed

from .conftest import Project, Start, answer, settled


def test_start_line_and_readiness_are_said_once(start: Start) -> None:
    server = start(workers=2)
    server.stderr.wait(
        rf"prefork \S+ at http://127\.0\.0\.1:\d+: 2 sync workers, pid {server.pid}, .*access log off"
    )
    assert len(server.stderr.lines) == 2
    assert answer(server)[0] == "first"
    assert len(server.worker_pids()) == 2


def test_killed_worker_is_replaced(start: Start) -> None:
    server = start(workers=2)
    before = server.worker_pids()
    os.kill(before[0], signal.SIGKILL)
    server.stderr.wait(rf"worker {before[0]} was killed by SIGKILL")
    until(lambda: len(server.worker_pids()) == 2, "two workers again")
    assert before[0] not in server.worker_pids()
    assert before[1] in server.worker_pids()
    server.pardon()


def test_worker_that_exits_in_a_request_is_named_with_it(start: Start) -> None:
    server = start(workers=1)
    with pytest.raises(Closed):
        server.get("/exit/7")
    server.stderr.wait(r"worker \d+ exited with code 7, running GET /exit/7 for 0\.\d s")
    answer(server)
    server.pardon()


def test_workers_end_when_the_master_is_killed(start: Start) -> None:
    server = start(workers=3)
    server.send_signal(signal.SIGKILL)
    server.stderr.wait(r"the master is gone: worker \d+ drains", count=3)
    server.process.wait()
    until(lambda: not session(server.pid), "no process is left")


def test_term_is_graceful(start: Start) -> None:
    server = start(workers=1)
    with server.connect() as client:
        client.send(b"GET /sleep/0.3 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: state(server.worker_pids()[0]) == "S", "the request runs")
        server.send_signal(signal.SIGTERM)
        assert client.response().status == 200
    assert server.wait() == 0
    server.stderr.wait("TERM: draining, for 30 s at most")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_are_quick(start: Start, number: signal.Signals) -> None:
    server = start(workers=2)
    server.stop(number)


def test_second_int_kills(start: Start) -> None:
    server = start(workers=1)
    with server.connect() as client:
        client.send(b"GET /sleep/60 HTTP/1.1\r\nHost: a\r\n\r\n")
        server.send_signal(signal.SIGINT)
        server.stderr.wait("INT: stopping")
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0


def test_graceful_timeout_ends_in_a_kill_that_names_the_request(start: Start) -> None:
    server = start("--graceful-timeout", "0.2", workers=1)
    with server.connect() as client:
        client.send(b"GET /sleep/60 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: state(server.worker_pids()[0]) == "S", "the request runs")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait(
            r"worker \d+ gets KILL: not drained within 0\.2 s \(graceful_timeout\);"
            r" running GET /sleep/60 for 0\.\d s"
        )
        assert server.wait() == 0


def test_graceful_timeout_of_0_kills_no_idle_worker(start: Start) -> None:
    server = start("--graceful-timeout", "0")
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    server.stop()  # judges the log


def test_ttin_and_ttou(start: Start) -> None:
    server = start(workers=1)
    server.send_signal(signal.SIGTTIN)
    server.stderr.wait("2 workers instead of 1")
    until(lambda: len(server.worker_pids()) == 2, "two workers")
    server.send_signal(signal.SIGTTOU)
    server.stderr.wait("1 worker instead of 2")
    until(lambda: len(server.worker_pids()) == 1, "one worker")
    answer(server)


def test_max_requests_replaces_workers_without_a_gap(start: Start) -> None:
    server = start("--max-requests", "5", workers=1)
    first = server.worker_pids()
    until(lambda: answer(server)[1] not in first, "another worker answers")
    server.stderr.wait(rf"worker {first[0]} is to be replaced: 5 requests \(--max-requests\)")
    until(lambda: not set(first) & set(server.worker_pids()), "the first one is gone")


def test_hup_serves_the_new_code_without_a_gap(start: Start, project: Project) -> None:
    server = start(workers=2)
    before = set(server.worker_pids())
    project.mark("second")
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    assert answer(server)[0] == "second"
    until(lambda: not before & set(server.worker_pids()), "the old ones are gone")
    assert len(server.worker_pids()) == 2


def test_hup_with_broken_code_changes_nothing(start: Start, project: Project) -> None:
    server = start(workers=2)
    before = server.worker_pids()
    project.write("import nothing_of_that_name\n")
    server.send_signal(signal.SIGHUP)
    server.stderr.wait("reload failed, generation 1 serves on: .*nothing_of_that_name")
    until(lambda: server.worker_pids() == before, "only the old ones are left")
    assert answer(server)[0] == "first"
    server.pardon()
    project.mark("third")
    server.send_signal(signal.SIGHUP)
    settled(server, 3)
    assert answer(server)[0] == "third"


def test_hup_with_code_that_exits_changes_nothing(start: Start, project: Project) -> None:
    server = start(workers=2)
    project.write("import os\nos._exit(9)\n")
    server.send_signal(signal.SIGHUP)
    server.stderr.wait(r"generation 1 serves on: worker \d+ exited with code 9 before it was ready")
    assert answer(server)[0] == "first"
    server.pardon()


def test_hup_ends_an_import_that_hangs(start: Start, project: Project) -> None:
    server = start("--boot-timeout", "0.3", workers=1)
    project.write("import time\ntime.sleep(60)\n")
    server.send_signal(signal.SIGHUP)
    server.stderr.wait(r"generation 1 serves on: worker \d+: not ready within 0\.3 s \(boot_timeout\)")
    server.stderr.wait(r"site_app\.py.*line 2 in <module>")  # the stack that ABRT wrote
    assert answer(server)[0] == "first"
    server.pardon()


def test_usr1_goes_to_everybody(start: Start, project: Project) -> None:
    log = project.folder / "access.log"
    server = start("--access-logfile", str(log), workers=1)
    log.rename(log.with_suffix(".1"))
    server.send_signal(signal.SIGUSR1)
    server.stderr.wait("USR1: logs reopened")
    until(log.exists, "the log file is there again")


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("import nothing_of_that_name\n", 4, "nothing_of_that_name"),
        ("def nothing():\n    pass\n", 4, "site_app"),
        ("import os\nos._exit(9)\n", 3, r"worker \d+ exited with code 9 before it was ready"),
        ("import os\nos.abort()\n", 3, r"worker \d+ was killed by SIGABRT.* before it was ready"),
        (
            "import os, signal\nos.kill(os.getpid(), 9)\n",
            3,
            r"worker \d+ was killed by SIGKILL before it was ready",
        ),
    ],
    ids=["import", "attribute", "exit", "abort", "kill"],
)
def test_first_generation_that_cannot_boot_ends_the_server(
    start: Start, project: Project, text: str, code: int, said: str
) -> None:
    project.write(text)
    server = start(workers=2, ready=False)
    assert server.wait() == code
    server.stderr.wait(said)
    assert not session(server.pid)


def test_term_ends_an_import_at_once(start: Start, project: Project) -> None:
    project.write("import os, time\nos.write(1, b'importing\\n')\ntime.sleep(60)\n")
    server = start(workers=2, ready=False)
    server.stdout.wait("importing", count=2)
    server.stop()


def test_request_that_nothing_can_interrupt_costs_its_worker(start: Start) -> None:
    server = start("--timeout", "0.1", workers=1)
    first = server.worker_pids()
    with server.connect() as client:
        client.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        server.stderr.wait(r"worker \d+ gets ABRT: GET /hang for \d\.\d s does not end \(timeout\)")
        server.stderr.wait(r"site_app\.py.*, line \d+ in app")  # the stack that faulthandler wrote
        answer(server)
        until(lambda: not set(first) & set(server.worker_pids()), "the worker is gone")
    server.pardon()


def test_strangers_are_reaped_quietly(start: Start, project: Project) -> None:
    """As PID 1: a worker's orphans become the master's children."""
    (project.folder / "conf.py").write_text(
        "import ctypes\n"
        "def on_starting(server):\n"
        "    assert ctypes.CDLL(None).prctl(36, 1) == 0  # PR_SET_CHILD_SUBREAPER\n"
        "def post_fork(server, worker):\n"
        "    import os\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0:\n"
        "            os.write(1, b'orphan %d\\n' % os.getpid())\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    server = start("-c", "conf.py", workers=1)
    (found,) = server.stdout.wait(r"orphan (\d+)")
    until(lambda: state(int(found[1])) == "X", "the orphan is reaped")
    assert len(server.stderr.lines) == 2


def test_worker_holds_no_descriptor_of_the_master_or_of_siblings(start: Start) -> None:
    server = start(workers=3)
    pids = children(server.pid)
    held = [set(descriptors(pid).values()) for pid in pids]
    masters = set(descriptors(server.pid).values())
    for mine in held:
        sockets = {text for text in mine if text.startswith("socket:")}
        listener = sockets & masters
        assert len(listener) == 1
        assert len(sockets) == 2  # and its end of the channel
    own = [{text for text in mine if text.startswith("pipe:")} for mine in held]
    shared = own[0] & own[1] & own[2]
    assert all(len(pipes - shared) == 1 for pipes in own)  # its own pipe of signals


@pytest.mark.parametrize("flags", ["-k sync", "-k threads", "-k gevent", "--preload"])
def test_ctrl_c_while_the_application_imports(start: Start, project: Project, flags: str) -> None:
    """The terminal sends it to all; that a worker or mold dies of it at once is no failure to boot."""
    project.write("import os, time\nos.write(1, b'importing\\n')\ntime.sleep(30)\n")
    for _ in range(5):
        server = start(*flags.split(), workers=1, ready=False)
        server.stdout.wait("importing")
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait() == 0, server.stderr.lines
        assert not server.trouble()
