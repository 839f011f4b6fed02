"""The text of --bind."""

from __future__ import annotations

import pytest

from prefork.net.address import Address, Kind, parse

TCP, UNIX, ABSTRACT, FD = Kind.TCP, Kind.UNIX, Kind.ABSTRACT, Kind.DESCRIPTOR

GOOD = {
    "127.0.0.1:80": Address(TCP, "127.0.0.1", 80),
    "localhost:0": Address(TCP, "localhost", 0),
    "example.org": Address(TCP, "example.org", 8000),
    ":8080": Address(TCP, "", 8080),
    "[::1]:8000": Address(TCP, "::1", 8000),
    "[::]": Address(TCP, "::", 8000),
    "[fe80::1%lo]:1": Address(TCP, "fe80::1%lo", 1),
    "tcp://0.0.0.0:65535": Address(TCP, "0.0.0.0", 65535),
    "unix:/run/x.sock": Address(UNIX, path="/run/x.sock"),
    "unix:x.sock": Address(UNIX, path="x.sock"),
    "unix:///run/x.sock": Address(UNIX, path="/run/x.sock"),
    "unix:@name": Address(ABSTRACT, path="name"),
    "fd://3": Address(FD, fd=3),
}

BAD = {
    "": "expected host:port",
    ":": "expected host:port",
    "8000": "for a port on every address, write :8000",
    "host:": "the port is a number",
    "host:http": "the port is a number",
    "host:65536": "the port is a number",
    "host:-1": "the port is a number",
    "host:+80": "the port is a number",
    "host: 80": "the port is a number",
    "host:8_0": "the port is a number",
    "host:٨٠": "the port is a number",
    "::1:80": "write IPv6 as [address]:port",
    "[::1": "write IPv6 as [address]:port",
    "[]:80": "write IPv6 as [address]:port",
    "[::1]80": "write IPv6 as [address]:port",
    "unix:": "needs a path",
    "unix:a\0b": "needs a path",
    "unix:@": "needs a name",
    "fd://": "number of an open descriptor",
    "fd://-1": "number of an open descriptor",
    "fd://three": "number of an open descriptor",
}


@pytest.mark.parametrize("text", GOOD)
def test_parse(text: str) -> None:
    found = parse(text)
    assert found == GOOD[text]
    assert found.fd == GOOD[text].fd
    assert parse(str(found)) == found


@pytest.mark.parametrize("text", BAD)
def test_refused_in_one_line_that_helps(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse(text)
    said = str(refused.value)
    assert BAD[text] in said
    assert "\n" not in said


def test_wildcard() -> None:
    assert [text for text in GOOD if parse(text).wildcard] == [":8080", "[::]", "tcp://0.0.0.0:65535"]
