"""The hooks around a request, and what they are given: `req` and `resp` as gunicorn's hooks know them.

Views of the environ and of what was sent. Made only where a hook is configured. The same `req` goes to both
hooks, so that one may leave something in it for the other.
"""

from __future__ import annotations

from ..errors import PHRASES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..net.channel import Boot

    Pre = Callable[[dict[str, Any]], None]
    Post = Callable[[dict[str, Any], int, str | None, list[tuple[str, str]] | None, int], None]

KEY = "prefork.request"  # where the view waits in the environ


class Request:
    """What the client has asked for. Hooks may set attributes of their own."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ

    @property
    def method(self) -> str:
        return str(self._environ["REQUEST_METHOD"])

    @property
    def uri(self) -> str:
        """The request target as received."""
        return str(self._environ["RAW_URI"])

    @property
    def path(self) -> str:
        """Its path, as received: %-escapes are not decoded."""
        target = self.uri
        if not target.startswith("/") and "://" in target:
            target = "/" + target.partition("://")[2].partition("/")[2]
        return target.partition("?")[0]

    @property
    def query(self) -> str:
        return str(self._environ.get("QUERY_STRING", ""))

    @property
    def scheme(self) -> str:
        return str(self._environ.get("wsgi.url_scheme", "http"))

    @property
    def peer_addr(self) -> tuple[str, int] | str:
        """(address, port) of the peer; "" on a unix socket."""
        host = str(self._environ["REMOTE_ADDR"])
        return (host, int(self._environ["REMOTE_PORT"])) if host else ""

    @property
    def version(self) -> tuple[int, int]:
        return (1, 0) if self._environ.get("SERVER_PROTOCOL") == "HTTP/1.0" else (1, 1)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """(NAME, value), names in capitals; repeated fields are one, joined as in the environ."""
        found = [
            (key[5:].replace("_", "-"), value)
            for key, value in self._environ.items()
            if key.startswith("HTTP_") and isinstance(value, str)
        ]
        entity = ("CONTENT_TYPE", "CONTENT_LENGTH")
        return found + [
            (key.replace("_", "-"), self._environ[key]) for key in entity if self._environ.get(key)
        ]


class Response:
    """What the client was sent."""

    def __init__(
        self, status_code: int, status: str | None, headers: list[tuple[str, str]] | None, sent: int
    ) -> None:
        self.status_code = status_code  # 0: the client left before an answer
        self.status = status or f"{status_code} {PHRASES.get(status_code, '')}".rstrip()
        self.headers = list(headers) if headers else []  # as the application gave them
        self.sent = sent  # bytes of body


def request_hooks(boot: Boot) -> tuple[Pre | None, Post | None]:
    """The settings' pre_request and post_request as the engine calls them; None where there is none."""
    settings, worker, log = boot.settings, boot.worker, boot.log
    before, after = settings.pre_request, settings.post_request

    def pre_request(environ: dict[str, Any]) -> None:
        request = environ[KEY] = Request(environ)
        if before is not None:
            before(worker, request)
        worker.nr += 1

    def post_request(
        environ: dict[str, Any],
        status_code: int,
        status: str | None,
        headers: list[tuple[str, str]] | None,
        sent: int,
    ) -> None:
        request = environ.get(KEY) or Request(environ)
        try:
            assert after is not None
            after(worker, request, environ, Response(status_code, status, headers, sent))
        except Exception:  # the answer is out: nothing but the log can still be told
            log.exception("hook post_request failed")

    if before is None and after is None:
        return None, None
    return pre_request, post_request if after is not None else None
