"""From settings to the compiled room: the one Station of a worker, and an Endpoint for each listener.

Owns what the engine asks the outside for: whom to trust, where large bodies go, where faults are told.
"""

from __future__ import annotations

import math
import os

from ..engine.body import EmptyInput
from ..engine.endpoint import Endpoint
from ..engine.environ import EnvironTable, roomy
from ..engine.response import FileWrapper
from ..engine.station import Station
from ..errors import FAULTS, MISDIRECTED, OVERLOADED
from ..net.address import Kind
from .hookviews import request_hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..engine.accesslog import AccessLog
    from ..net.channel import Boot
    from ..net.listener import Listener
    from .deadline import Deadline

_UNBOUND = 2**62  # bytes; what "no limit" is to the engine


def make_station(
    boot: Boot, application: Callable[..., Any], epoll: int, access_log: AccessLog | None
) -> Station:
    """The engine of one worker."""
    settings = boot.settings
    log = boot.log

    def app_fault(environ: dict[str, Any] | None, fault: BaseException) -> None:
        from ..telemetry.log import log_app_fault

        log_app_fault(log, request_line(environ), fault)

    told: set[int] = set()

    def refusal(remote: str, code: int) -> None:
        if code in MISDIRECTED and code not in told:
            told.add(code)  # once a worker: whoever scans ports shall not fill the log
            log.warning("refused what came from %s: %s", remote or "a unix socket", FAULTS[code].text)
        elif log.isEnabledFor(10):
            log.debug("refused a request from %s: %s", remote or "a unix socket", FAULTS[code].text)

    pre_request, post_request = request_hooks(boot)
    environs = EnvironTable(
        dict(settings.secure_scheme_headers),
        settings.forwarder_headers,
        settings.header_map,
        os.environ.get("SCRIPT_NAME", ""),
        log.warning,
    )
    return Station(
        epoll=epoll,
        environs=environs,
        access_log=access_log,
        scoreboard=boot.scoreboard,
        worker=boot.slot,
        refusals=_refusals(settings.queue_timeout),
        trusted=Trust(settings.forwarded_allow_ips).__getitem__,
        open_spool=Spool(settings.worker_tmp_dir),
        on_app_fault=app_fault,
        on_refusal=refusal,
        on_notice=log.warning,
        application=application,
        pre_request=pre_request,
        post_request=post_request,
        head_limit=settings.limit_request_head,
        line_limit=settings.limit_request_line or settings.limit_request_head,
        field_limit=settings.limit_request_field_size or settings.limit_request_head,
        fields_limit=settings.limit_request_fields,
        body_limit=settings.limit_request_body or _UNBOUND,
        body_memory_limit=settings.body_memory_limit,
        response_limit=settings.response_buffer_limit,
        head_timeout=settings.head_timeout,
        body_timeout=settings.body_timeout,
        body_min_rate=settings.body_min_rate,
        keepalive=settings.keepalive,
        write_timeout=settings.write_timeout,
        linger_timeout=settings.linger_timeout,
        request_timeout=settings.timeout,
        queue_timeout=settings.queue_timeout,
        sendfile=settings.sendfile,
        stream_bodies=settings.stream_request_body,
    )


def make_endpoint(
    station: Station,
    boot: Boot,
    listener: Listener,
    *,
    deadline: Deadline,
    multithread: bool,
    local: bool = False,
) -> Endpoint:
    """A listener with the environ that its requests begin with (PEP 3333, "environ Variables"). local: not
    the listener itself, but connections made within this host, that say it is.

    Keys whose value differs with each request are here too, so that a copy is filled without growing.
    """
    base = {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": EmptyInput(),
        "wsgi.errors": boot.log.errors_stream(),
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": boot.settings.workers > 1,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
        "wsgi.early_hints": None,
        "prefork.queue_ms": 0.0,
        "prefork.deadline": deadline,
        "SERVER_SOFTWARE": "prefork",
        "SERVER_NAME": listener.server_name,
        "SERVER_PORT": listener.server_port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "RAW_URI": "",
        "REQUEST_URI": "",
        "REMOTE_ADDR": "",
        "REMOTE_PORT": "",
    }
    descriptor = -1 if local else listener.fd
    return Endpoint(station, descriptor, roomy(base), local or listener.address.kind is not Kind.TCP)


def _refusals(queue_timeout: float) -> dict[int, tuple[object, ...]]:
    found: dict[int, tuple[object, ...]] = {
        code: (fault.status, fault.reason, fault.text) for code, fault in FAULTS.items()
    }
    # RFC 9110 10.2.3, in whole seconds: what waits now is gone by then.
    found[OVERLOADED] += (f"Retry-After: {math.ceil(queue_timeout) or 1}",)
    return found


def request_line(environ: dict[str, Any] | None) -> str:
    """ "GET /path HTTP/1.1" as received, or "-" when the request could not be read."""
    if environ is None:
        return "-"
    return f"{environ.get('REQUEST_METHOD')} {environ.get('RAW_URI')} {environ.get('SERVER_PROTOCOL')}"


class Trust(dict[str, bool]):
    """Peer address -> whether its forwarded fields are believed; remembers up to 1024 answers.

    allowed: addresses and networks in CIDR notation, or "*".
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__()
        self._everybody = "*" in allowed
        self._addresses = {text for text in allowed if "/" not in text}
        self._networks: list[Any] = []
        if any("/" in text for text in allowed) and not self._everybody:
            from ipaddress import ip_network

            self._networks = [ip_network(text, strict=False) for text in allowed if "/" in text]

    def __missing__(self, address: str) -> bool:
        if len(self) >= 1024:
            self.clear()
        answer = self[address] = (
            self._everybody
            or address in self._addresses
            or any(_within(address, network) for network in self._networks)
        )
        return answer


def _within(address: str, network: Any) -> bool:
    from ipaddress import ip_address

    try:
        return ip_address(address) in network
    except ValueError:  # a scoped or empty address belongs to no network
        return False


class Spool:
    """Makes the file for a large request body: unlinked, so that no crash leaves it behind."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder

    def __call__(self) -> int:
        """A new descriptor. Raises OSError."""
        if self._folder is None:
            from tempfile import gettempdir

            self._folder = gettempdir()
        try:
            return os.open(self._folder, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        except (IsADirectoryError, OSError) as error:
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            # A file system without O_TMPFILE (NFS, some overlays).
            from tempfile import mkstemp

            descriptor, path = mkstemp(dir=self._folder, prefix="prefork-")
            os.unlink(path)  # noqa: PTH108 (pathlib costs a start 4 ms)
            return descriptor
