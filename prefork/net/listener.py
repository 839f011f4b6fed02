"""The listening sockets: made once by the master, shared by every worker, outliving both.

Owns binding, the names that go into the environ, and the removal of unix socket files, which only the
process that made a file may do, and only while the path still leads to it.
"""

# ruff: noqa: PTH108, PTH120, PTH123
# (os.path, because importing pathlib would cost every start 4 ms)
from __future__ import annotations

import errno
import os
import select
import socket
import stat
import sys
from collections.abc import Iterable, Sequence

from ..errors import BindError
from .address import Address, Kind, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNACKED = slice(24, 28)  # tcpi_unacked in struct tcp_info, see tcp(7)
_LIVE_TEST_TIMEOUT = 1.0  # for a connect to a socket file whose owner may be stopped


class Listener:
    """A listening socket: non-blocking, close-on-exec.

    `server_name` and `server_port` are SERVER_NAME and SERVER_PORT (PEP 3333: neither is ever empty);
    `address` is the address as bound, with the real port; `text` is for messages: "http://127.0.0.1:8000",
    "unix:/run/x.sock".
    """

    __slots__ = ("_owned", "address", "bound_for", "fd", "server_name", "server_port", "socket", "text")

    def __init__(self, sock: socket.socket) -> None:
        self.bound_for = ""  # the text of --bind; "" where somebody else has bound it
        sock.setblocking(False)
        sock.set_inheritable(False)
        self.socket = sock
        self.fd = sock.fileno()
        self.address = _bound(sock)
        self.server_name, self.server_port = _names(self.address)
        self.text = f"http://{self.address}" if self.address.kind is Kind.TCP else str(self.address)
        self._owned: tuple[int, int, int] | None = None  # pid, device and inode of a socket file made here

    def __repr__(self) -> str:
        return f"<Listener {self.text} fd {self.fd}>"

    @property
    def is_lent(self) -> bool:
        """Whether somebody else has bound it (a service manager, `fd://`), and may go on with it after us."""
        return not self.bound_for or self.bound_for.startswith("fd://")

    def close(self) -> None:
        self.socket.close()

    def waiting(self) -> int:
        """Connections that nobody has accepted yet; 1 for any number where the system does not count them."""
        if not self._is_readable():
            return 0
        try:
            # Of a listener the kernel has it there (tcp_get_info); of a unix socket nowhere.
            counted = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKED.stop)[UNACKED]
        except (OSError, AttributeError):
            return 1
        return max(1, int.from_bytes(counted, sys.byteorder))

    def _is_readable(self) -> bool:
        ear = select.poll()
        ear.register(self.fd, select.POLLIN)
        return bool(ear.poll(0))

    def own(self) -> None:
        """This process removes the socket file at its end; after a fork the child may say so instead."""
        if self.address.kind is Kind.UNIX:
            try:
                found = os.lstat(self.address.path)
            except OSError:
                return  # removed by somebody meanwhile
            self._owned = (os.getpid(), found.st_dev, found.st_ino)

    def disown(self) -> None:
        """Leave the socket file to whoever has taken the listener over."""
        self._owned = None

    def unlink(self) -> None:
        """Remove the socket file if this process made it and the path still leads to it; else do nothing."""
        if self._owned is None:
            return
        try:
            found = os.lstat(self.address.path)
            if self._owned == (os.getpid(), found.st_dev, found.st_ino):
                os.unlink(self.address.path)
        except OSError:
            pass  # gone already, or its folder is
        self._owned = None


class Options:
    """How to bind. `umask` and `owner` (uid, gid; -1: as it is) are for socket files."""

    __slots__ = ("backlog", "owner", "reuse_port", "umask")

    def __init__(
        self,
        *,
        backlog: int,
        reuse_port: bool = False,
        umask: int | None = None,
        owner: tuple[int, int] = (-1, -1),
    ) -> None:
        self.backlog = backlog
        self.reuse_port = reuse_port
        self.umask = umask
        self.owner = owner


def bind_all(texts: Sequence[str], options: Options) -> list[Listener]:
    """Bind every address or none.

    Raises BindError with one line: what cannot be bound, why, and who holds it where that is known.
    """
    listeners: list[Listener] = []
    addresses = [_parsed(text) for text in texts]
    try:
        for text, address in zip(texts, addresses, strict=True):
            # [::] takes IPv4 too (ipv6(7)), unless the operator has asked for that separately.
            v6only = address.host == "::" and any(
                other.wildcard and other.host != "::" and other.port == address.port for other in addresses
            )
            listeners.append(_bind(address, options, v6only))
            listeners[-1].bound_for = text
    except BaseException:
        for listener in listeners:
            listener.unlink()
            listener.close()
        raise
    return listeners


def adopt(fds: Iterable[int]) -> list[Listener]:
    """Take over listening sockets that came with the process. Raises BindError for anything else."""
    return [_adopt(fd) for fd in fds]


def _parsed(text: str) -> Address:
    try:
        return parse(text)
    except ValueError as error:
        raise BindError(f"bind {error}") from None


def _bind(address: Address, options: Options, v6only: bool) -> Listener:
    match address.kind:
        case Kind.TCP:
            return _bind_tcp(address, options, v6only)
        case Kind.UNIX:
            return _bind_path(address, options)
        case Kind.ABSTRACT:
            return _bind_abstract(address, options)
        case Kind.DESCRIPTOR:
            return _adopt(address.fd)


def _bind_tcp(address: Address, options: Options, v6only: bool) -> Listener:
    family, name = _resolve(address)
    sock = _socket(address, family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if options.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if v6only:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        sock.listen(options.backlog)
        return Listener(sock)
    except OSError as error:
        sock.close()
        raise BindError(f"cannot listen on {address}: {_tcp_reason(address, error)}") from None


def _socket(address: Address, family: int) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:  # no descriptor is left; no such family, where IPv6 is switched off
        raise BindError(f"cannot listen on {address}: {error.strerror}") from None


def _resolve(address: Address) -> tuple[int, Any]:
    if not address.host:
        return socket.AF_INET, ("0.0.0.0", address.port)
    # As bytes where it can be: a str goes through the idna codec, whose import costs a start 5 ms.
    host = address.host.encode() if address.host.isascii() else address.host
    try:
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        raise BindError(f"cannot listen on {address}: unknown host {address.host!r} ({reason})") from None
    # "localhost" is both; IPv4 first, as clients and probes expect of an address that names no family.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    family, _, _, _, name = found[0]
    return family, name


def _tcp_reason(address: Address, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            from .holder import describe

            return f"the port is in use{describe(address.port)}"
        case errno.EACCES:
            return f"permission denied; ports below {_first_free_port()} need root or CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
        case _:
            return error.strerror or str(error)


def _first_free_port() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024


def _bind_path(address: Address, options: Options) -> Listener:
    _clear_path(address)
    sock = _socket(address, socket.AF_UNIX)
    listener = None
    before = None if options.umask is None else os.umask(options.umask)
    try:
        sock.bind(address.path)
        listener = Listener(sock)
        listener.own()
        if options.owner != (-1, -1):
            os.chown(address.path, *options.owner)
        sock.listen(options.backlog)
        return listener
    except OSError as error:
        if listener is not None:
            listener.unlink()
        sock.close()
        raise BindError(f"cannot listen on {address}: {_path_reason(address, error)}") from None
    finally:
        if before is not None:
            os.umask(before)


def _clear_path(address: Address) -> None:
    """Remove a socket file that nobody listens on. Anything else in the way is not ours to remove."""
    try:
        mode = os.lstat(address.path).st_mode
    except OSError:
        return  # nothing there, or bind says better what is wrong
    if not stat.S_ISSOCK(mode):
        raise BindError(f"cannot listen on {address}: the path exists and is not a socket; it is left alone")
    with _socket(address, socket.AF_UNIX) as probe:
        probe.settimeout(_LIVE_TEST_TIMEOUT)
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            pass
        except FileNotFoundError:
            return
        except OSError as error:
            # EAGAIN and a timeout mean a full backlog, EPROTOTYPE a datagram socket: somebody lives there.
            raise BindError(
                f"cannot listen on {address}: a socket is there and may be in use ({error.strerror or error})"
            ) from None
        else:
            raise BindError(f"cannot listen on {address}: another server listens there")
    try:
        os.unlink(address.path)
    except OSError as error:
        raise BindError(
            f"cannot listen on {address}: a stale socket is in the way, and removing it failed"
            f" ({error.strerror})"
        ) from None


def _path_reason(address: Address, error: OSError) -> str:
    if error.errno is None:  # the one check that Python makes before the kernel is asked
        return f"a socket's path has at most 107 bytes, this one has {len(os.fsencode(address.path))}"
    match error.errno:
        case errno.ENOENT:
            return f"the folder {os.path.dirname(address.path) or '.'!r} does not exist"
        case errno.EACCES:
            return f"permission denied in folder {os.path.dirname(address.path) or '.'!r}"
        case errno.EADDRINUSE:
            return "another server has just bound it"
        case _:
            return error.strerror or str(error)


def _bind_abstract(address: Address, options: Options) -> Listener:
    sock = _socket(address, socket.AF_UNIX)
    try:
        sock.bind(f"\0{address.path}")
        sock.listen(options.backlog)
        return Listener(sock)
    except OSError as error:
        sock.close()
        reason = (
            "another server listens there" if error.errno == errno.EADDRINUSE else error.strerror or error
        )
        raise BindError(f"cannot listen on {address}: {reason}") from None


def _adopt(fd: int) -> Listener:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        reason = "not an open descriptor" if error.errno == errno.EBADF else "not a socket"
        raise BindError(f"cannot listen on fd://{fd}: {reason}") from None
    try:
        listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if sock.type != socket.SOCK_STREAM or not listening:
            raise BindError(f"cannot listen on fd://{fd}: not a listening stream socket")
        return Listener(sock)
    except OSError as error:
        sock.detach()
        raise BindError(f"cannot listen on fd://{fd}: {error.strerror}") from None
    except BindError:
        sock.detach()  # it is somebody else's, whatever it is
        raise


def _bound(sock: socket.socket) -> Address:
    """The address as the kernel has it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        text = os.fsdecode(name)
        return (
            Address(Kind.ABSTRACT, path=text[1:]) if text.startswith("\0") else Address(Kind.UNIX, path=text)
        )
    return Address(Kind.TCP, host=name[0], port=name[1])


def _names(address: Address) -> tuple[str, str]:
    if address.kind is not Kind.TCP:
        return (
            "localhost",
            "80",
        )  # a unix socket has no name of its own; the client's Host rules (RFC 3875 4.1.14)
    if address.wildcard:
        return socket.gethostname() or "localhost", str(address.port)
    # RFC 3875 4.1.14: an IPv6 address as a server name has its brackets.
    return f"[{address.host}]" if ":" in address.host else address.host, str(address.port)
