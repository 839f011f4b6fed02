"""`prefork top` against real servers, on a terminal and on none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from launcher import Lines, program, until
from procfs import state
from terminal import Terminal

from .conftest import Project, Start, answer

FAST = ("--interval", "0.1")


def top(*words: object) -> Sequence[str]:
    return [*program(), "top", *map(str, words)]


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        top(*words),
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        **options,  # type: ignore[call-overload]
    )


class TestTerminal:
    def test_it_follows(self, start: Start) -> None:
        server = start("-n", "shop")
        with Terminal(top(server.pid, *FAST)) as view:
            view.wait(rf"^prefork \S+ \[shop\], pid {server.pid}, up \d+s\n")
            view.wait(r"serving; generation 1, 2 of 2 workers serve")
            for pid in server.worker_pids():
                view.wait(rf"\n *{pid} +1 +serving ")
            answer(server)
            # One picture of several: the next has another interval.
            view.wait_raw(rb"p50 [^\r]* p99 [^\r]*; queue p99 [0-9.]+ ms")
            view.wait_raw(rb"answers/s over [0-9.]+ s: 2xx [1-9]")
            with server.connect() as client:
                client.offer(b"GET /sleep/60?%1b[2J<x> HTTP/1.1\r\nHost: x\r\n\r\n")
                view.wait(r"1 of 2 at once")
                view.wait(r"\d m?s GET /sleep/60\?%1b\[2J<x>\n")
            view.type(b"q")
            assert view.wait_end() == 0
            assert (view.second, view.cursor) == (False, True)
            assert view.has_its_modes()
        server.kill()

    @pytest.mark.parametrize("how", ["q", "\x03", "\x04", "TERM", "HUP", "QUIT"])
    def test_it_ends(self, start: Start, how: str) -> None:
        server = start(workers=1)
        with Terminal(top(server.pid)) as view:
            view.wait("1 of 1 workers serve")
            assert view.second
            assert not view.has_its_modes()
            if len(how) == 1:
                view.type(how.encode())
            else:
                view.process.send_signal(signal.Signals[f"SIG{how}"])
            assert view.wait_end() == 0
            assert (view.second, view.cursor) == (False, True)
            assert view.has_its_modes()
            assert view.rows == [""] * 24

    def test_it_is_put_aside_and_comes_back(self, start: Start) -> None:
        server = start(workers=1)
        with Terminal(top(server.pid, *FAST)) as view:
            view.wait("1 of 1 workers serve")
            view.type(b"\x1a")
            until(lambda: state(view.process.pid) == "T", "it is stopped")
            view.wait_raw(rb"\x1b\[\?1049l$")
            assert view.has_its_modes()
            view.process.send_signal(signal.SIGCONT)
            view.wait("1 of 1 workers serve")
            assert not view.has_its_modes()
            view.type(b"q")
            assert view.wait_end() == 0

    def test_another_size(self, start: Start) -> None:
        server = start(workers=1)
        with Terminal(top(server.pid, "--interval", "600")) as view:
            view.wait("1 of 1 workers serve")
            view.resize(40, 12)
            view.process.send_signal(signal.SIGWINCH)
            view.wait(r"at http://127.0.0.1:\d+\n")
            view.wait(r" requests/s, busy 0% \(0 of 1 at once?\)?~")
            view.type(b"q")
            assert view.wait_end() == 0

    @pytest.mark.parametrize("size", [(80, 24), (20, 4)])
    def test_a_server_named_by_its_pid_ends(self, start: Start, size: tuple[int, int]) -> None:
        server = start(workers=1)
        with Terminal(top(server.pid, *FAST), columns=size[0], height=size[1]) as view:
            view.wait("prefork")
            server.stop()
            assert view.wait_end() == 1
            assert f"prefork: error: no prefork runs as pid {server.pid}".encode() in view.raw
            assert (view.second, view.cursor) == (False, True)
            assert view.has_its_modes()

    def test_a_server_named_by_its_pid_file_comes_back(self, start: Start, project: Project) -> None:
        first = start("-p", "pid", workers=1)
        with Terminal(top(project.folder / "pid", *FAST)) as view:
            view.wait(f"pid {first.pid}, up")
            first.stop()
            view.wait(r"^pid file .*; as it was \d+ s ago:|^pid file .*~\n")
            second = start("-p", "pid", workers=1)
            view.wait(f"^prefork .* pid {second.pid}, up")
            view.type(b"q")
            assert view.wait_end() == 0

    def test_a_master_that_is_stopped(self, start: Start) -> None:
        server = start(workers=1)
        with Terminal(top(server.pid, *FAST)) as view:
            view.wait("1 of 1 workers serve")
            server.send_signal(signal.SIGSTOP)
            view.wait(rf"^pid {server.pid} has not answered for 2 s: it is stopped \(SIGSTOP\); as it was")
            view.wait("1 of 1 workers serve")  # still there, as it was
            server.send_signal(signal.SIGCONT)
            view.wait(rf"^prefork .* pid {server.pid}, up")
            view.type(b"q")
            assert view.wait_end() == 0

    def test_a_terminal_without_a_name(self, start: Start) -> None:
        """`docker exec -t` may leave TERM out: lines, and no control sequence at all."""
        server = start(workers=1)
        command = ["env", "-u", "TERM", *top(server.pid, *FAST)]
        with Terminal(command, columns=0, height=24) as view:
            view.wait_raw(rb"1 of 1 workers serve(?s:.*)1 of 1 workers serve")
            view.type(b"\x03")
            assert view.wait_end() == 0
            assert b"\x1b" not in view.raw


class TestNoTerminal:
    def test_once(self, start: Start) -> None:
        server = start()
        done = run(server.pid, "--once", *FAST)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert len(lines) == 10
        assert lines[2] == "serving; generation 1, 2 of 2 workers serve"
        assert lines[7].split() == ["pid", "gen", "state", "req/s", "cpu", "memory", "conns", "runs"]

    def test_one_table_a_time_until_the_server_ends(self, start: Start) -> None:
        server = start(workers=1)
        with subprocess.Popen(
            top(server.pid, *FAST), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            out, err = Lines(process.stdout, "stdout"), Lines(process.stderr, "stderr")
            out.wait("^prefork ", count=3)
            server.stop()
            assert process.wait(20) == 1
            err.wait(f"^prefork: error: no prefork runs as pid {server.pid}")

    def test_control_c(self, start: Start) -> None:
        server = start(workers=1)
        with subprocess.Popen(
            top(server.pid, *FAST), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            Lines(process.stdout, "stdout").wait("^prefork ")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""

    def test_nobody(self, tmp_path: Path) -> None:
        done = run(tmp_path / "pid")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith("pid cannot be read: No such file or directory\n")

    def test_two_servers(self, start: Start, project: Project) -> None:
        start(workers=1), start(workers=1)
        done = run("--once", cwd=project.folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert "servers run here" in done.stderr

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
    def test_another_users_server(self, start: Start) -> None:
        server = start(workers=1)
        code = (
            "import os, sys; from prefork.cli import main; import json, prefork.operate.top\n"
            "os.setuid(65534); sys.exit(main(sys.argv[1:]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *top(server.pid, "--once")[1:]],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert f"pid {server.pid} is another user's" in done.stderr

    @pytest.mark.parametrize(
        "words", [("--all",), ("1", "2"), ("--interval",), ("--interval", "0"), ("--interval=nan",)]
    )
    def test_words_that_mean_nothing(self, words: tuple[str, ...]) -> None:
        done = run(*words)
        assert done.returncode == 2
        assert done.stderr.startswith("prefork: error: ")

    def test_help(self) -> None:
        done = run("--help")
        assert done.returncode == 0
        assert done.stdout.startswith("usage: prefork top ")
