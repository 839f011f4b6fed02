"""Every setting, one typed row each: what the operator asked for, as the other rooms read it.

Flags, `--help`, TOML, environment, Python files, `--print-config` and the table in the documentation are all
made from these rows, in their order. Names and flags are gunicorn's wherever the meaning is the same.
Bounds and units stand in the kinds (`parse.py`); what two settings owe each other stands in `sanity.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .compound import Each, Format, Logging, PostRequest, Target, Words
from .parse import (
    UNLIMITED,
    Choice,
    Field,
    Group,
    Mask,
    Network,
    Pair,
    Path,
    Size,
    Span,
    Text,
    Toggle,
    User,
    Whole,
)
from .rows import Record, hook, row, rows_of

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
    from typing import Any

    Called = Callable[..., Any] | None

# The groups of --help in their order: key -> title.
GROUPS = {
    "app": "Application",
    "listen": "Where to listen",
    "workers": "Workers",
    "time": "Time",
    "limits": "Requests and responses",
    "proxy": "Behind a proxy",
    "logs": "Logs",
    "process": "Process",
    "reload": "Reload",
    "hooks": "Hooks (functions in a Python file)",
}

ACCESS_LOG_FORMAT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
SECURE_SCHEME_HEADERS = {
    "X-FORWARDED-PROTOCOL": "ssl",
    "X-FORWARDED-PROTO": "https",
    "X-FORWARDED-SSL": "on",
}

# Of rows whose feature is not there yet: who asks for it is told so. It goes when the feature comes.
_LATER = "is still to come; leave it out"

_DAY = 86400.0
_HEAD = 1 << 20  # the scanner's offsets would carry more; nobody's head is larger

_CLASSES = Choice(
    "sync",
    "threads",
    "gevent",
    aliases={
        "gthread": "threads",
        "thread": "threads",
        "gunicorn.workers.sync.syncworker": "sync",
        "gunicorn.workers.gthread.threadworker": "threads",
        "gunicorn.workers.ggevent.geventworker": "gevent",
    },
    refused={
        "eventlet": "eventlet is not supported; gevent is",
        "tornado": "tornado is not supported; serve a WSGI application with sync, threads or gevent",
        "asgi": "ASGI applications are not served here, only WSGI",
        "gaiohttp": "aiohttp is not supported; serve a WSGI application with sync, threads or gevent",
        "uvicorn.workers.uvicornworker": "ASGI applications are not served here, only WSGI",
        "uvicorn_worker.uvicornworker": "ASGI applications are not served here, only WSGI",
        "gevent_pywsgi": "it is gunicorn's; say gevent",
        "gevent_wsgi": "it is gunicorn's; say gevent",
    },
)
_LEVELS = Choice(
    "debug", "info", "warning", "error", "critical", aliases={"warn": "warning"}, metavar="LEVEL"
)


# fmt: off
class Settings(Record):
    """What the operator asked for. `load` checks every value and resolves it: paths are absolute, `workers`
    is a number, `worker_class` is the one that serves. `Settings(timeout=5.0)` has defaults elsewhere."""

    # application
    wsgi_app: str | None = row(
        "", "app", default=None, kind=Text("APP", "module, module:name or module:factory()"),
        help="the application, where the command line does not name it")
    factory: bool = row(
        "--factory", "app", default=False, kind=Toggle(),
        help="the named object is called without arguments and returns the application")
    chdir: str = row(
        "--chdir", "app", default=".", kind=Path("directory", metavar="DIR"),
        help="go there before anything is loaded or opened; it is importable")
    pythonpath: tuple[str, ...] = row(
        "--pythonpath", "app", default=(), kind=Each(Path("directory", metavar="DIRS")),
        help="folders to import from, before all others; separated by commas")
    raw_env: tuple[str, ...] = row(
        "-e --env", "app", default=(), kind=Each(Pair(), ""), where="not env",
        help="an environment variable for the application; may be repeated")
    preload_app: bool = row(
        "--preload", "app", default=False, kind=Toggle(), change="reload",
        help="import the application once, and fork the workers from there")

    # where to listen
    bind: tuple[str, ...] = row(
        "-b --bind", "listen", default=("127.0.0.1:8000",), kind=Each(Text("ADDRESS", "an address")),
        change="boot",
        help="HOST:PORT, [V6]:PORT, unix:PATH, unix:@NAME or fd://N; may be repeated")
    backlog: int = row(
        "--backlog", "listen", default=2048, kind=Whole(1, 65535, "connections"), change="boot",
        help="connections that the kernel holds until a worker accepts them")
    reuse_port: bool = row(
        "--reuse-port", "listen", default=False, kind=Toggle(), change="boot",
        help="set SO_REUSEPORT, so that another server can listen on the same port")
    umask: int = row(
        "-m --umask", "listen", default=0, kind=Mask(), change="boot",
        help="file mode mask of unix sockets, octal")

    # workers
    workers: int = row(
        "-w --workers", "workers", default=1, kind=Whole(1, 1024, word="auto"), change="reload",
        help="processes that serve; auto: as many as CPUs and memory allow")
    min_workers: int = row(
        "--min-workers", "workers", default=0, kind=Whole(1, 1024, zero="off"), change="reload",
        help="so many are enough while there is little to do, up to workers otherwise; 0: always workers")
    worker_class: str = row(
        "-k --worker-class", "workers", default="sync", kind=_CLASSES, change="boot",
        help="sync, threads (also gthread) or gevent")
    threads: int = row(
        "--threads", "workers", default=1, kind=Whole(1, 4096, "threads"), change="boot",
        help="threads of a worker; more than 1 makes the class threads")
    worker_connections: int = row(
        "--worker-connections", "workers", default=1000, kind=Whole(1, 1_000_000, "connections"),
        change="boot",
        help="gevent: requests that a worker runs at once; threads: connections it holds")
    max_requests: int = row(
        "--max-requests", "workers", default=0, kind=Whole(1, UNLIMITED, "requests", zero="never"),
        help="replace a worker after so many requests; 0: never")
    max_requests_jitter: int = row(
        "--max-requests-jitter", "workers", default=0, kind=Whole(0, UNLIMITED, "requests"),
        help="up to so many more, at random, so that not all are replaced at once")
    max_memory: int = row(
        "--max-memory", "workers", default=0, kind=Size(1 << 20, UNLIMITED, zero="never"), change="reload",
        help="replace a worker whose private memory is larger; 0: never")
    max_lifetime: float = row(
        "--max-lifetime", "workers", default=0.0, kind=Span(1, 365 * _DAY, zero="never"), change="reload",
        help="replace a worker that is older; 0: never")
    handover_ms: float = row(
        "--handover-ms", "workers", default=2.0, kind=Span(0.1, 10_000, unit="ms"),
        help="threads: a request that runs longer lets another thread serve the rest")
    stall_timeout: float = row(
        "--stall-timeout", "workers", default=1.0, kind=Span(0.01, _DAY, zero="off"),
        help="gevent: say in the log who kept all other greenlets waiting for longer; 0: off")

    # time
    timeout: float = row(
        "-t --timeout", "time", default=30.0, kind=Span(0.1, _DAY, zero="off"),
        help="what one request may take; 0: no limit")
    graceful_timeout: float = row(
        "--graceful-timeout", "time", default=30.0, kind=Span(0, _DAY, zero="at once"), change="reload",
        help="what a draining worker may take to answer what it has accepted")
    keepalive: float = row(
        "--keep-alive", "time", default=75.0, kind=Span(0, _DAY, zero="off"),
        help="how long an idle connection is kept for its next request; 0: close after each")
    head_timeout: float = row(
        "--head-timeout", "time", default=20.0, kind=Span(0.1, _DAY),
        help="what a client may take to send a request's head")
    body_timeout: float = row(
        "--body-timeout", "time", default=30.0, kind=Span(0.1, _DAY),
        help="what a client may take to send the first or next part of a body")
    body_min_rate: int = row(
        "--body-min-rate", "time", default=240, kind=Whole(0, 1 << 30, "bytes per second"),
        help="a body that comes slower than so many bytes a second is given up; 0: never")
    write_timeout: float = row(
        "--write-timeout", "time", default=120.0, kind=Span(0.1, _DAY),
        help="what a client may take to read the next part of a response")
    linger_timeout: float = row(
        "--linger-timeout", "time", default=2.0, kind=Span(0, 60, zero="off"),
        help="how long to read on after the last answer, so that it is not lost to a reset")
    queue_timeout: float = row(
        "--queue-timeout", "time", default=0.0, kind=Span(0.001, _DAY, zero="off"),
        help="a request that waited longer for a worker is answered 503; 0: never")
    boot_timeout: float = row(
        "--boot-timeout", "time", default=60.0, kind=Span(0.1, _DAY, zero="off"), change="reload",
        help="what a worker may take to import the application and be ready; 0: no limit")
    drain_delay: float = row(
        "--drain-delay", "time", default=0.0, kind=Span(0, _DAY, zero="off"), change="reload",
        help="how long to go on accepting after TERM, so that load balancers notice")

    # requests and responses
    limit_request_line: int = row(
        "--limit-request-line", "limits", default=4094, kind=Size(64, _HEAD, zero="as the head's"),
        help="largest request line, in bytes")
    limit_request_fields: int = row(
        "--limit-request-fields", "limits", default=100, kind=Whole(1, 256, "fields"),
        help="most header fields of a request")
    limit_request_field_size: int = row(
        "--limit-request-field_size --limit-request-field-size", "limits", default=8190,
        kind=Size(64, _HEAD, zero="as the head's"), help="largest header field, in bytes")
    limit_request_head: int = row(
        "--limit-request-head", "limits", default=65536, kind=Size(1024, _HEAD),
        help="largest head: request line and all fields, in bytes")
    limit_request_body: int = row(
        "--limit-request-body", "limits", default=1 << 30, kind=Size(1, UNLIMITED, zero="no limit"),
        help="largest request body; 0: no limit")
    body_memory_limit: int = row(
        "--body-memory-limit", "limits", default=256 << 10, kind=Size(0, 1 << 30),
        help="a request body that is larger goes to a temporary file")
    worker_tmp_dir: str | None = row(
        "--worker-tmp-dir", "limits", default=None, kind=Path("directory", metavar="DIR"),
        help="where temporary files go; none: the system's place")
    stream_request_body: bool = row(
        "--stream-request-body", "limits", default=False, kind=Toggle(),
        help="threads, gevent: call the application before the body is complete")
    response_buffer_limit: int = row(
        "--response-buffer-limit", "limits", default=8 << 20, kind=Size(64 << 10, 1 << 40),
        help="how much of a response waits in memory for a slow client")
    sendfile: bool = row(
        "--sendfile", "limits", default=True, kind=Toggle(),
        help="files are sent by the kernel, sendfile(2); off for file systems that cannot")

    # behind a proxy
    forwarded_allow_ips: tuple[str, ...] = row(
        "--forwarded-allow-ips", "proxy", default=("127.0.0.1", "::1"), kind=Each(Network()),
        help="proxies whose X-Forwarded-* fields are believed; *: everybody")
    secure_scheme_headers: Mapping[str, str] = row(
        "", "proxy", default=SECURE_SCHEME_HEADERS, kind=Words(),
        help="fields and values by which a proxy says that the client came by https")
    forwarder_headers: tuple[str, ...] = row(
        "--forwarder-headers", "proxy", default=("SCRIPT_NAME", "PATH_INFO"), kind=Each(Field()),
        help="fields that such a proxy may send although their names have a '_'")
    header_map: str = row(
        "--header-map", "proxy", default="drop", kind=Choice("drop", "refuse", "dangerous", metavar="HOW"),
        help="fields with a '_' in their name: drop, refuse or dangerous (take)")

    # logs
    accesslog: str | None = row(
        "--access-logfile", "logs", default=None, kind=Path("parent", dash="stdout"), change="reload",
        help="a line for each request goes there; -: stdout; none: no access log")
    access_log_format: str = row(
        "--access-logformat", "logs", default=ACCESS_LOG_FORMAT, kind=Format(),
        help="gunicorn's atoms in %(x)s, or json")
    errorlog: str = row(
        "--error-logfile --log-file", "logs", default="-", kind=Path("parent", dash="stderr"),
        change="reload",
        help="what the server has to say goes there; -: stderr")
    loglevel: str = row(
        "--log-level", "logs", default="info", kind=_LEVELS, change="reload",
        help="debug, info, warning, error or critical")
    log_format: str = row(
        "--log-format", "logs", default="text", kind=Choice("text", "json", metavar="HOW"), change="reload",
        help="lines of the error log: text or json")
    capture_output: bool = row(
        "--capture-output", "logs", default=False, kind=Toggle(),
        help="what the application prints goes to the error log's file")
    logconfig: str | None = row(
        "--log-config", "logs", default=None, kind=Path("file"), change="reload",
        help="configure Python's logging from this INI file")
    logconfig_json: str | None = row(
        "--log-config-json", "logs", default=None, kind=Path("file"), change="reload",
        help="configure Python's logging from this JSON file")
    logconfig_dict: Mapping[str, Any] = row(
        "", "logs", default={}, kind=Logging(), change="reload", where="file",
        help="configure Python's logging from this table")

    # process
    proc_name: str | None = row(
        "-n --name", "process", default=None, kind=Text("NAME"), change="boot",
        help="name in the process titles; none: the application's")
    default_proc_name: str = row(
        "", "process", default="prefork", kind=Text("NAME"), change="boot", where="file",
        help="name in the process titles where neither of them is known")
    pidfile: str | None = row(
        "-p --pid", "process", default=None, kind=Path("parent"), change="boot",
        help="write the master's process id there")
    daemon: bool = row(
        "-D --daemon", "process", default=False, kind=Toggle(), change="boot",
        help="go into the background")
    user: int | None = row(
        "-u --user", "process", default=None, kind=User(), change="boot",
        help="workers run as this user (name or number)")
    group: int | None = row(
        "-g --group", "process", default=None, kind=Group(), change="boot",
        help="workers run as this group (name or number)")
    initgroups: bool = row(
        "--initgroups", "process", default=False, kind=Toggle(), change="boot",
        help="workers have all groups of --user")

    # reload
    reload: bool = row(
        "--reload", "reload", default=False, kind=Toggle(), change="boot",
        help="for development: new workers whenever a source file changes")
    reload_extra_files: tuple[str, ...] = row(
        "--reload-extra-file", "reload", default=(), kind=Each(Path(metavar="FILES")), change="boot",
        help="other files or patterns to watch; may be repeated")
    warmup: tuple[str, ...] = row(
        "--warmup", "reload", default=(), kind=Each(Target()), change="reload",
        help="paths or URLs that the first new worker has to answer before others follow")
    bake: float = row(
        "--bake", "reload", default=0.0, kind=Span(0, _DAY, zero="off"), change="reload",
        help="watch reloaded workers for so long, and go back when they do worse; 0: off")

    # hooks: gunicorn's names and arguments
    on_starting: Called = hook("server", default=None, help="before the master binds")
    on_reload: Called = hook("server", default=None, help="in the master, on HUP")
    when_ready: Called = hook("server", default=None, help="in the master, once the workers serve")
    pre_fork: Called = hook("server", "worker", default=None, help="in the master, before a worker is born")
    post_fork: Called = hook("server", "worker", default=None, help="in the worker, when it is born")
    post_worker_init: Called = hook("worker", default=None, help="in the worker, with the application loaded")
    worker_int: Called = hook("worker", default=None, help="in the worker, on INT or QUIT")
    worker_abort: Called = hook("worker", default=None, help="in the worker, on ABRT")
    pre_exec: Called = hook(
        "server", default=None, help="in the new process of an upgrade, before the program is executed")
    pre_request: Called = hook("worker", "req", default=None, help="before a request")
    post_request: Called = hook(
        "worker", "req", "environ", "resp", default=None, kind=PostRequest, help="after a request")
    child_exit: Called = hook("server", "worker", default=None, help="in the master, after a worker's end")
    worker_exit: Called = hook("server", "worker", default=None, help="in the worker, at its end")
    nworkers_changed: Called = hook(
        "server", "new_value", "old_value", default=None, help="in the master, when the number changes")
    on_exit: Called = hook("server", default=None, help="in the master, at its end")
# fmt: on


ROWS = rows_of(Settings)
