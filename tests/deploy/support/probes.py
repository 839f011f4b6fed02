"""Requests that are meant to be read as one by a proxy and as two by the server behind it.

Each carries `GET /smuggled` where one of the two might take it for a request of its own. `requests` is the
most that any correct reading finds.
"""

from __future__ import annotations

from typing import NamedTuple

HOST = b"Host: test\r\n"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"


class Probe(NamedTuple):
    name: str
    data: bytes
    requests: int


def _framed(name: str, *lines: bytes, body: bytes = b"0\r\n\r\n" + HIDDEN, requests: int = 1) -> Probe:
    """A POST with these field lines. `%d` in a line becomes the body's length."""
    fields = b"".join(line.replace(b"%d", b"%d" % len(body)) + b"\r\n" for line in lines)
    return Probe(name, b"POST /echo HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body, requests)


LENGTH = b"Content-Length: %d"
CHUNKED = b"Transfer-Encoding: chunked"

PROBES = (
    _framed("length and chunked", LENGTH, CHUNKED),
    _framed("chunked and length", CHUNKED, LENGTH),
    _framed("chunked and a short length", b"Content-Length: 5", CHUNKED, requests=2),
    _framed("chunked twice", LENGTH, CHUNKED, CHUNKED),
    _framed("chunked, chunked", LENGTH, b"Transfer-Encoding: chunked, chunked"),
    _framed("identity and chunked", LENGTH, b"Transfer-Encoding: identity, chunked"),
    _framed("chunked and identity", LENGTH, b"Transfer-Encoding: chunked, identity"),
    _framed("gzip, chunked", LENGTH, b"Transfer-Encoding: gzip, chunked"),
    _framed("an unknown coding", LENGTH, b"Transfer-Encoding: xchunked"),
    _framed("an empty coding", LENGTH, b"Transfer-Encoding:"),
    _framed("a space before the colon", LENGTH, b"Transfer-Encoding : chunked"),
    _framed("a tab before the colon", LENGTH, b"Transfer-Encoding\t: chunked"),
    _framed("a folded coding", LENGTH, b"Transfer-Encoding:\r\n chunked"),
    _framed("folded onto another field", LENGTH, b"X: y\r\n Transfer-Encoding: chunked"),
    _framed("vertical tab in the value", LENGTH, b"Transfer-Encoding: \x0bchunked"),
    _framed("form feed in the value", LENGTH, b"Transfer-Encoding: chunked\x0c"),
    _framed("a control byte in the value", LENGTH, b"Transfer-Encoding: chunked\x01"),
    _framed("a NUL in the value", LENGTH, b"Transfer-Encoding: chunked\x00"),
    _framed("a quoted coding", LENGTH, b'Transfer-Encoding: "chunked"'),
    _framed("a parameter", LENGTH, b"Transfer-Encoding: chunked;q=1"),
    _framed("bare LF between fields", LENGTH, b"X: y\nTransfer-Encoding: chunked"),
    _framed("bare CR in a value", LENGTH, b"X: y\rTransfer-Encoding: chunked"),
    _framed("an underscore", LENGTH, b"Transfer_Encoding: chunked"),
    _framed("Content_Length", b"Content_Length: 0", LENGTH),
    _framed("named in Connection", LENGTH, b"Connection: close, Content-Length"),
    _framed("the coding named in Connection", CHUNKED, LENGTH, b"Connection: Transfer-Encoding"),
    _framed("two lengths", b"Content-Length: 0", LENGTH),
    _framed("a list of lengths", b"Content-Length: 0, %d"),
    _framed("the same length twice", LENGTH, LENGTH),
    _framed("a signed length", b"Content-Length: +%d"),
    _framed("a hexadecimal length", b"Content-Length: 0x2a"),
    _framed("a length with a space inside", b"Content-Length: 4 2"),
    _framed("a length with a fraction", b"Content-Length: %d.0"),
    _framed("a negative length", b"Content-Length: -1"),
    _framed("an overflowing length", b"Content-Length: 18446744073709551616"),
    _framed("no length at all", requests=2),  # the hidden one is simply the next
    _framed("a signed chunk size", CHUNKED, body=b"+0\r\n\r\n" + HIDDEN),
    _framed("a prefixed chunk size", CHUNKED, body=b"0x0\r\n\r\n" + HIDDEN),
    _framed("an overflowing chunk size", CHUNKED, body=b"10000000000000000\r\n\r\n" + HIDDEN),
    _framed("a chunk size with a space", CHUNKED, body=b"0 \r\n\r\n" + HIDDEN, requests=2),
    _framed("an empty chunk size", CHUNKED, body=b"\r\n\r\n" + HIDDEN),
    _framed("a chunk that ends in bare LF", CHUNKED, body=b"2\r\nab\n0\r\n\r\n" + HIDDEN, requests=2),
    _framed("a chunk that ends nowhere", CHUNKED, body=b"2\r\nabcd\r\n0\r\n\r\n" + HIDDEN),
    _framed("a chunk size that ends in bare LF", CHUNKED, body=b"2\nab\r\n0\r\n\r\n" + HIDDEN, requests=2),
    _framed("LF in a chunk extension", CHUNKED, body=b"2;x\nab\r\n0\r\n\r\n" + HIDDEN, requests=2),
    _framed("a length as a trailer", CHUNKED, body=b"0\r\nContent-Length: 50\r\n\r\n" + HIDDEN, requests=2),
    _framed("chunked in capitals", LENGTH, b"TRANSFER-ENCODING: CHUNKED"),
    Probe(
        "a coding in HTTP/1.0", b"POST /echo HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n\r\n0\r\n\r\n" + HIDDEN, 1
    ),
    Probe("a body of GET", b"GET /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 38\r\n\r\n" + HIDDEN, 1),
    Probe("two hosts", b"GET /echo HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n", 1),
    Probe("two requests, in order", b"GET /echo?n=a HTTP/1.1\r\n" + HOST + b"\r\n" + HIDDEN, 2),
    Probe("LF in the target", b"GET /echo?n=a\nX HTTP/1.1\r\n" + HOST + b"\r\n", 1),
    Probe("an absolute target", b"GET http://other/echo HTTP/1.1\r\n" + HOST + b"\r\n", 1),
    Probe(
        "an upgrade to h2c",
        b"GET /echo HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        + HIDDEN,
        2,
    ),
)
assert len(HIDDEN) == 38
