"""How does a server treat an application? benchmarks/manners.py asks this one."""

import time

PLAIN = ("Content-Type", "text/plain")
closed = 0


class Body:
    """An iterable whose close() is counted."""

    def __init__(self, *chunks):
        self.chunks = iter(chunks)

    def __iter__(self):
        return self.chunks

    def close(self):
        global closed
        closed += 1


def app(environ, start_response):
    return ROUTES.get(environ["PATH_INFO"], hello)(environ, start_response)


def hello(environ, start_response):
    start_response("200 OK", [PLAIN, ("Content-Length", "6")])
    return [b"hello\n"]


def drip(environ, start_response):
    """A first chunk at once, the second half a second later."""
    start_response("200 OK", [PLAIN])
    yield b"first\n"
    time.sleep(0.5)
    yield b"second\n"


def forged(environ, start_response):
    """A header with a line end in it, which PEP 3333 forbids: sent, it splits the answer."""
    start_response("200 OK", [PLAIN, ("X-Forged", "a\r\nX-Split: yes"), ("Content-Length", "0")])
    return [b""]


def short(environ, start_response):
    """Promises ten bytes and gives four."""
    start_response("200 OK", [PLAIN, ("Content-Length", "10")])
    return [b"four"]


def long(environ, start_response):
    """Promises four bytes and gives ten."""
    start_response("200 OK", [PLAIN, ("Content-Length", "4")])
    return [b"0123456789"]


def closing(environ, start_response):
    start_response("200 OK", [PLAIN, ("Content-Length", "2")])
    return Body(b"ok")


def count(environ, start_response):
    body = b"%d" % closed
    start_response("200 OK", [PLAIN, ("Content-Length", str(len(body)))])
    return [body]


def crash(environ, start_response):
    raise RuntimeError("on purpose")


ROUTES = {
    "/drip": drip,
    "/forged": forged,
    "/short": short,
    "/long": long,
    "/closing": closing,
    "/count": count,
    "/crash": crash,
}
