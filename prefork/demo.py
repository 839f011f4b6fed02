"""A small application to try the server with: `prefork prefork.demo:app -w 4`.

It imports nothing until a path asks for it, for its import is a part of what the start-up figures measure.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    Environ = dict[str, Any]
    Answer = tuple[str, list[tuple[str, str]], Iterable[bytes]]

PAGE = b"""\
prefork is serving this page.

  /environ         what the application is told about a request
  /echo            your request's body:  curl --data-binary @file localhost:8000/echo
  /sleep?s=0.5     takes its time
  /stream?n=10     n pieces of unknown length, a tenth of a second apart (every=0 for none)
  /bytes?n=1000    n bytes of known length
  /file?n=1000000  n bytes from a file, sent by the kernel
  /status?code=418 a status of your choice
  /fault           an exception, for the error log

Next: put your application's module:name in the place of prefork.demo:app.
"""

PIECE = 65536
LARGEST = 1 << 30
TEXT = [("Content-Type", "text/plain; charset=utf-8")]


def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application."""
    path = environ.get("PATH_INFO", "")
    if path in ("", "/"):
        start_response("200 OK", [*TEXT, ("Content-Length", str(len(PAGE)))])
        return [PAGE]
    view = VIEWS.get(path)
    try:
        status, fields, body = (view or missing)(environ)
    except ValueError as fault:
        status, fields, body = plain("400 Bad Request", f"{fault}\n")
    start_response(status, fields)
    return body


def plain(status: str, text: str) -> Answer:
    body = text.encode("utf-8", "backslashreplace")
    return status, [*TEXT, ("Content-Length", str(len(body)))], [body]


def missing(environ: Environ) -> Answer:
    return plain("404 Not Found", "There is nothing here; / says what there is.\n")


def environ_(environ: Environ) -> Answer:
    lines = [f"{key} = {value!r}" for key, value in sorted(environ.items())]
    # latin-1 text of the client's; repr has escaped what is not printable
    return plain("200 OK", "\n".join(lines) + "\n")


def echo(environ: Environ) -> Answer:
    size = int(environ.get("CONTENT_LENGTH") or 0)
    kind = environ.get("CONTENT_TYPE") or "application/octet-stream"
    fields = [("Content-Type", kind), ("Content-Length", str(size))]
    return "200 OK", fields, pieces_of(environ["wsgi.input"], size)


def sleep(environ: Environ) -> Answer:
    from time import sleep as pause

    seconds = float(asked(environ, "s", "0.5"))
    if not 0 <= seconds <= 60:
        raise ValueError("s is 0 to 60 seconds")
    pause(seconds)
    return plain("200 OK", f"slept {seconds} s\n")


def stream(environ: Environ) -> Answer:
    count = number(environ, "n", 10, 100_000)
    every = float(asked(environ, "every", "0.1"))
    if not 0 <= every <= 60:
        raise ValueError("every is 0 to 60 seconds")
    return "200 OK", list(TEXT), streamed(count, every)


def bytes_(environ: Environ) -> Answer:
    size = number(environ, "n", 1000, LARGEST)
    fields = [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))]
    return "200 OK", fields, repeated(size)


def file(environ: Environ) -> Answer:
    from tempfile import TemporaryFile
    from wsgiref.util import FileWrapper

    size = number(environ, "n", 1_000_000, LARGEST)
    content = TemporaryFile()  # noqa: SIM115 - the server closes it
    content.truncate(size)
    fields = [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))]
    wrapper = environ.get("wsgi.file_wrapper") or FileWrapper
    return "200 OK", fields, wrapper(content, PIECE)


def status(environ: Environ) -> Answer:
    code = number(environ, "code", 200, 599)
    if code < 200:
        raise ValueError("code is 200 to 599")
    line = f"{code} As Asked"
    return (line, [], []) if code in (204, 304) else plain(line, f"{code}\n")


def fault(environ: Environ) -> Answer:
    raise RuntimeError("asked for by /fault")


VIEWS: dict[str, Callable[[Environ], Answer]] = {
    "/environ": environ_,
    "/echo": echo,
    "/sleep": sleep,
    "/stream": stream,
    "/bytes": bytes_,
    "/file": file,
    "/status": status,
    "/fault": fault,
}


def asked(environ: Environ, name: str, default: str) -> str:
    """The value of a query parameter."""
    from urllib.parse import parse_qs

    values = parse_qs(str(environ.get("QUERY_STRING", "")))
    return values.get(name, [default])[-1]


def number(environ: Environ, name: str, default: int, largest: int) -> int:
    value = int(asked(environ, name, str(default)))
    if not 0 <= value <= largest:
        raise ValueError(f"{name} is 0 to {largest}")
    return value


def pieces_of(content: Any, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := content.read(min(size, PIECE))):
        size -= len(piece)
        yield piece


def repeated(size: int) -> Iterator[bytes]:
    whole = b"prefork " * (PIECE // 8)
    for left in range(size, 0, -PIECE):
        yield whole[:left]


def streamed(count: int, every: float) -> Iterator[bytes]:
    from time import sleep as pause

    for index in range(count):
        if index and every:
            pause(every)
        yield b"piece %d of %d\n" % (index + 1, count)
