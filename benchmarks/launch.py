"""A server under measure: started pinned, known to answer, stopped for certain."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from benchmarks import proctree
from benchmarks.machine import Cores, pinned
from benchmarks.servers import HOST, Command, Job, Tools
from benchmarks.traffic.response import Answer, MalformedAnswer

APPS = Path(__file__).parent / "apps"
START_SECONDS = 20.0
STOP_SECONDS = 4.0
PROBE_PAUSE = 0.0005  # between two tries to connect: the resolution of "start to first answer"


class StartFailed(Exception):
    """The server ended or stayed silent. The text is its last words."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind((HOST, 0))
        port: int = s.getsockname()[1]
        return port


def raise_file_limit() -> None:
    """Idle connections need descriptors here and in the servers, which inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def get(port: int, target: str, *, timeout: float = 5.0, head: str = "") -> Answer:
    """One request on its own connection. Raises MalformedAnswer, or OSError, also for an answer cut short."""
    request = f"GET {target} HTTP/1.1\r\nHost: {HOST}:{port}\r\n{head}Connection: close\r\n\r\n"
    answer = Answer()
    with socket.create_connection((HOST, port), timeout) as s:
        s.sendall(request.encode())
        while not answer.whole:
            data = s.recv(262144)
            if not data:
                if answer.eof():
                    break
                raise ConnectionResetError("the answer ends early")
            answer.feed(data)
    return answer


class Running:
    """`with Running(...) as server:` the server answers; afterwards none of its processes is left.

    `first_answer_s` is the time from just before exec to the end of the first whole answer.
    """

    def __init__(
        self,
        command: Command,
        job: Job,
        tools: Tools,
        *,
        cores: Cores,
        scratch: Path,
        first: str = "/",
        cwd: Path = APPS,
        patience: float = START_SECONDS,
    ) -> None:
        self.job = job
        self._argv = command(job, tools)  # CannotRun comes from here
        self._cores = cores
        self._scratch = scratch
        self._first = first
        self._cwd = cwd
        self._patience = patience
        self.log = scratch / f"server-{job.port}.log"
        self.first_answer_s = 0.0
        self.process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.job.port

    def __enter__(self) -> Running:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFORK_", "GUNICORN_"))}
        environment |= {
            "PYTHONPATH": str(self._cwd),
            "BENCH_FILE": str(self._scratch / "10mb.bin"),
            "DJANGO_SETTINGS_MODULE": "",
        }
        environment.pop("PORT", None)
        environment.pop("WEB_CONCURRENCY", None)
        # pip compiles what it installs. A checkout would be compiled at every start, and its row would show
        # that: in time and in memory.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        # granian's access log goes to standard output; for the others that file only gets their own log.
        out = self.job.access_log or self.log
        with self.log.open("wb") as err, out.open("ab") as std, pinned(self._cores.server):
            began = time.perf_counter()
            self.process = subprocess.Popen(
                self._argv,
                cwd=self._cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=std,
                stderr=err,
                start_new_session=True,
            )
        try:
            self._await_answer(began)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def _await_answer(self, began: float) -> None:
        fault = "no answer"
        while time.perf_counter() - began < self._patience:
            if self.process.poll() is not None:
                raise StartFailed(f"ended with status {self.process.returncode}: {self.last_words()}")
            try:
                answer = get(self.job.port, self._first)
            except (OSError, MalformedAnswer) as e:
                fault = str(e)
                time.sleep(PROBE_PAUSE)
                continue
            if answer.status != 200:
                raise StartFailed(f"answers {answer.status} to {self._first}: {self.last_words()}")
            self.first_answer_s = time.perf_counter() - began
            return
        raise StartFailed(f"silent for {self._patience:.0f} s ({fault}): {self.last_words()}")

    def last_words(self) -> str:
        """The last line that it logged, for the reason in the table."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:160] if lines else "it said nothing"

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """TERM, some patience, then KILL for the whole session and for what left it."""
        family = proctree.pids(self.pid)
        self._signal_group(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        self._signal_group(signal.SIGKILL)
        for pid in family[1:]:
            if _session(pid) == self.pid:
                _kill(pid)
        self.process.wait()

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
