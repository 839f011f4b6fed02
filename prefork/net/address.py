"""Where to listen: the text of `--bind`, parsed. Knows no sockets, asks no resolver."""

from __future__ import annotations

import enum
from dataclasses import dataclass

DEFAULT_PORT = 8000


class Kind(enum.Enum):
    TCP = "tcp"
    UNIX = "unix"  # a path in the file system
    ABSTRACT = "abstract"  # Linux's abstract namespace, unix(7)
    DESCRIPTOR = "fd"  # a listening socket that somebody else has made


@dataclass(frozen=True, slots=True)
class Address:
    """One address. `host` is without brackets and "" for every address; `path` is the path or abstract name."""

    kind: Kind
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1

    def __str__(self) -> str:
        if self.kind is Kind.TCP:
            host = f"[{self.host}]" if ":" in self.host else self.host or "*"
            return f"{host}:{self.port}"
        if self.kind is Kind.UNIX:
            return f"unix:{self.path}"
        if self.kind is Kind.ABSTRACT:
            return f"unix:@{self.path}"
        return f"fd://{self.fd}"


def parse(text: str) -> Address:
    """Parse `host`, `host:port`, `:port`, `[v6]:port`, `unix:path`, `unix:@name` or `fd://N`.

    Raises ValueError with one line that says what is allowed.
    """
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:").removeprefix("//"), text)
    if text.startswith("fd://"):
        number = text.removeprefix("fd://")
        if not (number.isascii() and number.isdigit()):
            raise ValueError(f"{text!r}: fd:// takes the number of an open descriptor, as in fd://3")
        return Address(Kind.DESCRIPTOR, fd=int(number))
    return _tcp(text.removeprefix("tcp://").removeprefix("http://"), text)


def _unix(path: str, text: str) -> Address:
    if path.startswith("@"):
        if path == "@":
            raise ValueError(f"{text!r}: an abstract socket needs a name, as in unix:@name")
        return Address(Kind.ABSTRACT, path=path[1:])
    if not path or "\0" in path:
        raise ValueError(f"{text!r}: a unix socket needs a path, as in unix:/run/prefork.sock")
    return Address(Kind.UNIX, path=path)


def _tcp(rest: str, text: str) -> Address:
    if rest.startswith("["):
        host, bracket, after = rest[1:].partition("]")
        if not bracket or not host or (after and not after.startswith(":")):
            raise ValueError(f"{text!r}: write IPv6 as [address]:port, as in [::1]:8000")
        port = after[1:] if after else None
    elif rest.count(":") > 1:
        raise ValueError(f"{text!r}: write IPv6 as [address]:port, as in [::1]:8000")
    else:
        host, colon, number = rest.partition(":")
        port = number if colon else None
        if port is None and host.isascii() and host.isdigit():
            raise ValueError(f"{text!r}: to listen on a port only, write :{host}")
    if not host and port is None:
        raise ValueError(f"{text!r}: expected host:port, :port, [v6]:port, unix:path, unix:@name or fd://N")
    if port is None:
        return Address(Kind.TCP, host, DEFAULT_PORT)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ValueError(f"{text!r}: the port is a number from 0 to 65535")
    return Address(Kind.TCP, host, int(port))
