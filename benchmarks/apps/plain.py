"""The application that every server under measure runs unchanged. Imports nothing a server would not."""

import os
import time

HELLO = b"Hello, World!\n"
K10 = b"x" * 10240
M1 = b"y" * (1 << 20)
PLAIN = ("Content-Type", "text/plain")
BINARY = ("Content-Type", "application/octet-stream")


def app(environ, start_response):
    return ROUTES.get(environ["PATH_INFO"], lost)(environ, start_response)


def hello(environ, start_response):
    start_response("200 OK", [PLAIN, ("Content-Length", "14")])
    return [HELLO]


def body_10k(environ, start_response):
    start_response("200 OK", [BINARY, ("Content-Length", "10240")])
    return [K10]


def body_1m(environ, start_response):
    start_response("200 OK", [BINARY, ("Content-Length", "1048576")])
    return [M1]


def stream(environ, start_response):
    """16 chunks whose number the server cannot know."""
    start_response("200 OK", [PLAIN])
    return (K10 for _ in range(16))


def post(environ, start_response):
    size = len(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    body = b"%d\n" % size
    start_response("200 OK", [PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def big_file(environ, start_response):
    file = open(os.environ["BENCH_FILE"], "rb")  # noqa: SIM115, PTH123 - the server closes it, PEP 3333
    size = os.fstat(file.fileno()).st_size
    start_response("200 OK", [BINARY, ("Content-Length", str(size))])
    wrapper = environ.get("wsgi.file_wrapper")
    return wrapper(file, 65536) if wrapper else iter(lambda: file.read(65536), b"")


def sleep_10ms(environ, start_response):
    time.sleep(0.01)
    return hello(environ, start_response)


def slow(environ, start_response):
    """Waits, as for a database, as long as the query says: ?ms=100."""
    time.sleep(_milliseconds(environ) / 1000)
    return hello(environ, start_response)


def burn(environ, start_response):
    """Computes as long as the query says, holding the interpreter as Python code does."""
    end = time.thread_time_ns() + _milliseconds(environ) * 1_000_000
    while time.thread_time_ns() < end:
        pass
    return hello(environ, start_response)


def mark(environ, start_response):
    """Calls a function of the C library that nothing else does: callgrind.py has callgrind watch for it."""
    os.sched_yield()
    return hello(environ, start_response)


def lost(environ, start_response):
    start_response("404 Not Found", [("Content-Length", "0")])
    return [b""]


def _milliseconds(environ):
    return int(environ["QUERY_STRING"].partition("ms=")[2] or 0)


ROUTES = {
    "/": hello,
    "/10k": body_10k,
    "/1m": body_1m,
    "/stream": stream,
    "/post": post,
    "/file": big_file,
    "/sleep": sleep_10ms,
    "/slow": slow,
    "/burn": burn,
    "/mark": mark,
}
