"""Who is measured: a server is a row, with the settings it gets and why.

The rule for settings: what the server's own documentation recommends for production on one core, the same
number of workers and threads as everyone in that case, logs off unless the case is about them, keep-alive
as long as the server allows, and never a setting that breaks the task. A row says what it cannot do by
raising CannotRun.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Kind

KEEPALIVE = "75"
HOST = "127.0.0.1"
HOSTED = Path(__file__).parent / "apps" / "hosted.py"


class CannotRun(Exception):
    """This server cannot run this case; the text is the reason that the table prints."""


@dataclass(frozen=True)
class Job:
    """What a case asks of a server: everything a command line is made from."""

    target: str  # module:attribute, importable in benchmarks/apps
    port: int
    workers: int = 1
    threads: int | None = None
    connections: int = 32
    preload: bool = False
    access_log: Path | None = None
    answer: int = 14
    request_body: int = 0


@dataclass(frozen=True)
class Tools:
    """Where the programs are. `peers` and `prefork` are directories of executables."""

    peers: Path
    prefork: Path
    limit: Path | None = None

    def peer(self, name: str) -> str:
        path = self.peers / name
        if not path.exists():
            raise CannotRun(f"{name} is not installed (benchmarks/requirements.txt)")
        return str(path)


Command = Callable[[Job, Tools], list[str]]


@dataclass(frozen=True)
class Server:
    name: str
    package: str  # the distribution whose version is reported
    kind: Kind
    command: Command
    why: str
    quick: bool = False
    cases: frozenset[str] = frozenset()  # only these, when given

    def runs(self, kinds: frozenset[Kind], case: str) -> bool:
        return self.kind in kinds and (not self.cases or case in self.cases)


def _prefork(job: Job, tools: Tools, worker_class: str, threads: int = 0) -> list[str]:
    program = tools.prefork / "prefork"
    if not program.exists():
        raise CannotRun("prefork is not installed (pip install .)")
    argv = [str(program), job.target, "-b", f"{HOST}:{job.port}", "-w", str(job.workers), "-k", worker_class]
    if worker_class == "threads":
        argv += ["--threads", str(job.threads or threads)]
    if job.connections >= 1000:
        argv += ["--worker-connections", str(job.connections + 100)]
    if job.preload:
        argv.append("--preload")
    if job.access_log:
        argv += ["--access-logfile", str(job.access_log)]
    return argv


def prefork_sync(job: Job, tools: Tools) -> list[str]:
    return _prefork(job, tools, "sync")


def prefork_threads(job: Job, tools: Tools) -> list[str]:
    return _prefork(job, tools, "threads", 4)


def prefork_threads128(job: Job, tools: Tools) -> list[str]:
    return _prefork(job, tools, "threads", 128)


def prefork_gevent(job: Job, tools: Tools) -> list[str]:
    if job.preload:
        raise CannotRun(
            "prefork refuses gevent with --preload: the application would be imported before patching"
        )
    return _prefork(job, tools, "gevent")


def limit(job: Job, tools: Tools) -> list[str]:
    if tools.limit is None:
        raise CannotRun("no C compiler (cc) to build limit.c with")
    return [str(tools.limit), str(job.port), str(job.answer), str(job.request_body)]


def _gunicorn(job: Job, tools: Tools, worker_class: str, *more: str) -> list[str]:
    argv = [tools.peer("gunicorn"), job.target, "-b", f"{HOST}:{job.port}", "-w", str(job.workers)]
    argv += ["-k", worker_class, "--keep-alive", KEEPALIVE, "--no-control-socket", *more]
    if job.connections >= 1000:
        argv += ["--worker-connections", str(job.connections + 100)]
    if job.preload:
        argv.append("--preload")
    if job.access_log:
        argv += ["--access-logfile", str(job.access_log)]
    return argv


def gunicorn_sync(job: Job, tools: Tools) -> list[str]:
    return _gunicorn(job, tools, "sync", "--http-parser", "fast")


def gunicorn_sync_python(job: Job, tools: Tools) -> list[str]:
    return _gunicorn(job, tools, "sync", "--http-parser", "python")


def gunicorn_gthread(job: Job, tools: Tools) -> list[str]:
    return _gunicorn(job, tools, "gthread", "--http-parser", "fast", "--threads", str(job.threads or 4))


def gunicorn_gevent(job: Job, tools: Tools) -> list[str]:
    return _gunicorn(job, tools, "gevent", "--http-parser", "fast")


def _uwsgi(job: Job, tools: Tools, *listen: str) -> list[str]:
    argv = [tools.peer("uwsgi"), *listen, "--master", "-p", str(job.workers), "--need-app", "--die-on-term"]
    argv += ["--pythonpath", ".", "--wsgi", job.target, "--listen", "1024", "--single-interpreter"]
    if job.threads:
        argv += ["--threads", str(job.threads)]
    if not job.preload:
        argv.append("--lazy-apps")
    if job.connections >= 1000:
        argv += ["--max-fd", str(job.connections + 1000)]
    argv += ["--logto", str(job.access_log)] if job.access_log else ["--disable-logging"]
    return argv


def uwsgi_router(job: Job, tools: Tools) -> list[str]:
    listen = ("--http", f"{HOST}:{job.port}", f"--http-keepalive={KEEPALIVE}", "--http-auto-chunked")
    return _uwsgi(job, tools, *listen)


def uwsgi_close(job: Job, tools: Tools) -> list[str]:
    return _uwsgi(job, tools, "--http-socket", f"{HOST}:{job.port}", "--add-header", "Connection: close")


def uwsgi_http11(job: Job, tools: Tools) -> list[str]:
    return _uwsgi(job, tools, "--http11-socket", f"{HOST}:{job.port}", "--so-keepalive")


def granian(job: Job, tools: Tools) -> list[str]:
    argv = [tools.peer("granian"), "--interface", "wsgi", job.target, "--host", HOST, "--port", str(job.port)]
    argv += ["--workers", str(job.workers), "--http", "1", "--no-ws", "--log-level", "warning"]
    argv += ["--blocking-threads", str(job.threads or 1), "--runtime-threads", "1"]
    if job.preload:
        raise CannotRun("granian has no preloading: each worker is a new interpreter")
    if job.access_log:
        argv.append("--access-log")  # to standard output, which launch.py points at the same file
    if job.connections >= 1000:
        argv += ["--backlog", "8192"]
    return argv


def _one_process(job: Job, name: str) -> None:
    if job.workers > 1:
        raise CannotRun(f"{name} is one process and has no workers")
    if job.preload:
        raise CannotRun(f"{name} has no preloading")


def waitress(job: Job, tools: Tools) -> list[str]:
    _one_process(job, "waitress")
    if job.access_log:
        raise CannotRun("waitress has no access log")
    argv = [tools.peer("waitress-serve"), f"--listen={HOST}:{job.port}", f"--threads={job.threads or 4}"]
    argv += [f"--connection-limit={max(1000, job.connections + 100)}", f"--channel-timeout={KEEPALIVE}"]
    return [*argv, "--asyncore-use-poll", job.target]


def cheroot(job: Job, tools: Tools) -> list[str]:
    _one_process(job, "cheroot")
    if job.access_log:
        raise CannotRun("cheroot has no access log")
    argv = [tools.peer("cheroot"), job.target, "--bind", f"{HOST}:{job.port}", "--timeout", KEEPALIVE]
    return [*argv, "--threads", str(job.threads or 10), "--request-queue-size", "1024"]


def _hosted(job: Job, tools: Tools, name: str) -> list[str]:
    argv = [tools.peer("python"), str(HOSTED), name, job.target, str(job.port), str(job.workers)]
    return [*argv, str(job.access_log)] if job.access_log else argv


def bjoern(job: Job, tools: Tools) -> list[str]:
    if job.access_log:
        raise CannotRun("bjoern has no access log")
    return _hosted(job, tools, "bjoern")


def fastwsgi(job: Job, tools: Tools) -> list[str]:
    if job.access_log:
        raise CannotRun("fastwsgi has no access log")
    return _hosted(job, tools, "fastwsgi")


def pywsgi(job: Job, tools: Tools) -> list[str]:
    return _hosted(job, tools, "pywsgi")


SERVERS: tuple[Server, ...] = (
    Server(
        "limit",
        "",
        Kind.LIMIT,
        limit,
        "limit.c: epoll, recv, send of a constant. Built on the spot with cc -O2. Not a server; the floor.",
        quick=True,
    ),
    Server("prefork", "prefork", Kind.INLINE, prefork_sync, "sync worker, all else as it comes", quick=True),
    Server(
        "prefork-threads", "prefork", Kind.THREADS, prefork_threads, "4 threads, or what the case asks for"
    ),
    Server(
        "prefork-threads128",
        "prefork",
        Kind.THREADS,
        prefork_threads128,
        "128 threads: shows that unused threads cost nothing",
        cases=frozenset({"hello"}),
    ),
    Server(
        "prefork-gevent", "prefork", Kind.GREENLETS, prefork_gevent, "gevent worker, all else as it comes"
    ),
    Server(
        "gunicorn-sync",
        "gunicorn",
        Kind.INLINE,
        gunicorn_sync,
        (
            "the C parser (gunicorn_h1c), control socket off. This worker class closes every "
            "connection after one answer."
        ),
        quick=True,
    ),
    Server(
        "gunicorn-sync-py",
        "gunicorn",
        Kind.INLINE,
        gunicorn_sync_python,
        "the same with the parser in Python that gunicorn has without the extra",
        cases=frozenset({"hello", "browser"}),
    ),
    Server(
        "gunicorn-gthread",
        "gunicorn",
        Kind.THREADS,
        gunicorn_gthread,
        (
            "the C parser, 4 threads or what the case asks for, keep-alive 75 s (its default of 2 s "
            "drops idle clients)"
        ),
    ),
    Server(
        "gunicorn-gevent",
        "gunicorn",
        Kind.GREENLETS,
        gunicorn_gevent,
        "the C parser, keep-alive 75 s, gevent from pip",
    ),
    Server(
        "uwsgi-router",
        "uwsgi",
        Kind.THREADS,
        uwsgi_router,
        (
            "--http with keep-alive: what uWSGI's documentation names for serving clients without "
            "nginx, with streams chunked so that they can be kept alive; its router is a process of its "
            "own, and its CPU counts"
        ),
        quick=True,
    ),
    Server(
        "uwsgi-close",
        "uwsgi",
        Kind.THREADS,
        uwsgi_close,
        (
            "--http-socket speaks to the client from the worker; it closes after each answer without "
            "saying so, which clients see as an error, so it is told to say Connection: close"
        ),
    ),
    Server(
        "uwsgi-http11",
        "uwsgi",
        Kind.THREADS,
        uwsgi_http11,
        (
            "--http11-socket keeps connections alive in the worker; a worker (or thread) then serves "
            "that client only"
        ),
    ),
    Server(
        "granian",
        "granian",
        Kind.THREADS,
        granian,
        (
            "HTTP/1 only, no websockets, one runtime thread, one blocking thread or what the case asks "
            "for: 1, 2 and 4 cost the same on one core, and its default of 512 it warns about itself"
        ),
        quick=True,
    ),
    Server(
        "bjoern",
        "bjoern",
        Kind.INLINE,
        bjoern,
        "as its README shows: imports, then forks. TCP_NODELAY is set, else streams wait 40 ms",
        quick=True,
    ),
    Server(
        "fastwsgi",
        "fastwsgi",
        Kind.INLINE,
        fastwsgi,
        "as its README shows: imports, then forks. Log level 2 (errors), tcp_nodelay on",
    ),
    Server(
        "waitress",
        "waitress",
        Kind.THREADS,
        waitress,
        (
            "4 threads (its default) or what the case asks for; poll instead of select, which stops "
            "at 1,024 descriptors"
        ),
    ),
    Server("cheroot", "cheroot", Kind.THREADS, cheroot, "10 threads (its default) or what the case asks for"),
    Server(
        "gevent-pywsgi",
        "gevent",
        Kind.GREENLETS,
        pywsgi,
        (
            "monkey-patched, no log, backlog 1024; several workers by fork. Its listening socket gets"
            " TCP_NODELAY, which it never sets itself: as documented it sends head and body in two "
            "writes and each kept-alive answer waits 40 ms for the client's delayed acknowledgement"
        ),
    ),
)

BY_NAME = {server.name: server for server in SERVERS}
