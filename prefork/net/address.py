"""Where to listen: the text of `--bind`, parsed. Knows no sockets, asks no resolver."""

from __future__ import annotations

import enum

DEFAULT_PORT = 8000


class Kind(enum.Enum):
    TCP = "tcp"
    UNIX = "unix"  # a path in the file system
    ABSTRACT = "abstract"  # Linux's abstract namespace, unix(7)
    DESCRIPTOR = "fd"  # a listening socket that somebody else has made


class Address:
    """One address. `host` has no brackets, "" is every address; `path` is a path or an abstract name."""

    __slots__ = ("fd", "host", "kind", "path", "port")

    def __init__(self, kind: Kind, host: str = "", port: int = 0, path: str = "", fd: int = -1) -> None:
        self.kind = kind
        self.host = host
        self.port = port
        self.path = path
        self.fd = fd

    @property
    def wildcard(self) -> bool:
        """Does this mean every address of the machine?"""
        return self.kind is Kind.TCP and self.host in ("", "0.0.0.0", "::")

    def __str__(self) -> str:
        match self.kind:
            case Kind.TCP:
                host = f"[{self.host}]" if ":" in self.host else self.host or "0.0.0.0"
                return f"{host}:{self.port}"
            case Kind.UNIX:
                return f"unix:{self.path}"
            case Kind.ABSTRACT:
                return f"unix:@{self.path}"
            case Kind.DESCRIPTOR:
                return f"fd://{self.fd}"

    def __repr__(self) -> str:
        return f"<Address {self}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and (self.kind, str(self)) == (other.kind, str(other))

    def __hash__(self) -> int:
        return hash(str(self))


def parse(text: str) -> Address:
    """Parse `host`, `host:port`, `:port`, `[v6]:port`, `unix:path`, `unix:@name` or `fd://N`.

    Raises ValueError with one line that says what is wrong and what would be right.
    """
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:").removeprefix("//"), text)
    if text.startswith("fd://"):
        number = text.removeprefix("fd://")
        if not _decimal(number, 9):
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
    host, port = _split(rest, text)
    if not host and not port:
        raise ValueError(f"{text!r}: expected host:port, :port, [v6]:port, unix:path, unix:@name or fd://N")
    if port is None:
        return Address(Kind.TCP, host, DEFAULT_PORT)
    if not _decimal(port, 5) or int(port) > 65535:
        raise ValueError(f"{text!r}: the port is a number from 0 to 65535")
    return Address(Kind.TCP, host, int(port))


def _split(rest: str, text: str) -> tuple[str, str | None]:
    if rest.startswith("["):
        host, bracket, after = rest[1:].partition("]")
        if not bracket or not host or (after and not after.startswith(":")):
            raise ValueError(f"{text!r}: write IPv6 as [address]:port, as in [::1]:8000")
        return host, after[1:] if after else None
    if rest.count(":") > 1:
        raise ValueError(f"{text!r}: write IPv6 as [address]:port, as in [::1]:8000")
    host, colon, port = rest.partition(":")
    if not colon and _decimal(host, 5):
        raise ValueError(f"{text!r}: for a port on every address, write :{host}")
    return host, port if colon else None


def _decimal(text: str, digits: int) -> bool:
    # int() would also take signs, spaces, underscores and the digits of every script.
    return 0 < len(text) <= digits and text.isascii() and text.isdigit()
