"""Who may ask prefork web for what.

- A name that is not ours in Host is refused: by DNS rebinding a stranger's page would otherwise read this one
  with the name of its own. An IP address is no name, and so cannot be rebound.
- Without a password, who comes from another machine is shown what tells no secrets (OPEN): paths and logs may
  hold some.
- With one, everything asks for it (HTTP Basic, RFC 7617; the user's name counts for nothing).
- /healthz is for everybody: load balancers ask it by whatever name, and it says one word.
- An action needs, besides, the token of the page, and an Origin that is this server (RFC 6454): a page of
  another site has neither.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import stat

from ..errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    Environ = Mapping[str, Any]

HEALTH = "/healthz"
OPEN = (HEALTH, "/metrics")
PASSWORD_LIMIT = 1024  # bytes, with the line's end
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::\d*)?")  # RFC 3986 3.2.2


class Refusal(Exception):
    """status: the status line.  str(): one sentence for the client."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


class Guard:
    """hosts: names by which this server may be asked, beside localhost.  password: None for none."""

    def __init__(self, hosts: Iterable[str] = (), password: str | None = None) -> None:
        self.token = secrets.token_urlsafe(24)
        self._hosts = {"localhost", *(host.lower().rstrip(".") for host in hosts)}
        self._password = None if password is None else _digest(password.encode())

    def check(self, environ: Environ, path: str) -> None:
        """Raises Refusal."""
        if path == HEALTH:
            return
        if not self.knows(environ.get("HTTP_HOST", "")):
            raise Refusal("403 Forbidden", "This server has another name; --host NAME gives it this one.")
        if self._password is not None:
            if not self._is_authorised(environ.get("HTTP_AUTHORIZATION", "")):
                raise Refusal("401 Unauthorized", "This server asks for a password.")
        elif path not in OPEN and not is_local(environ.get("REMOTE_ADDR", "")):
            raise Refusal(
                "403 Forbidden",
                f"Without --password-file only {' and '.join(OPEN)} are shown to other machines.",
            )

    def check_action(self, environ: Environ, token: str) -> None:
        """What an action needs besides. Raises Refusal."""
        origin = environ.get("HTTP_ORIGIN")
        site = environ.get("HTTP_SEC_FETCH_SITE", "same-origin")
        # A browser says where a form comes from; who is none has read the token in any case.
        foreign = origin is not None and origin.partition("://")[2] != environ.get("HTTP_HOST", "")
        if foreign or site != "same-origin":
            raise Refusal("403 Forbidden", "This form comes from another site.")
        if not hmac.compare_digest(_digest(token.encode("utf-8", "replace")), _digest(self.token.encode())):
            raise Refusal("403 Forbidden", "This form is out of date: load the page again.")

    def knows(self, host: str) -> bool:
        """Is that, as Host has it, a name of this server? None at all (HTTP/1.0) was sent by no browser."""
        found = _HOST.fullmatch(host)
        if not found:
            return not host
        name = found[1] or found[2]
        return name.lower().rstrip(".") in self._hosts or _address(name) is not None

    def _is_authorised(self, field: str) -> bool:
        kind, _, text = field.partition(" ")
        if kind.lower() != "basic" or self._password is None:
            return False
        try:
            pair = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        # Digests have one length: how long the password is shows in no time, either.
        return hmac.compare_digest(_digest(pair.partition(b":")[2]), self._password)


def is_local(address: str) -> bool:
    """Does who has that address (REMOTE_ADDR) sit on this machine? "" is a unix socket's."""
    if not address:
        return True
    found = _address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found is not None and found.is_loopback


def read_password(path: str) -> str:
    """The first line of the file. Raises ConfigError, also where everybody may read it."""
    problem = ""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            mode = os.fstat(file.fileno()).st_mode
            line = file.readline(PASSWORD_LIMIT)
    except OSError as fault:
        problem = f"cannot be read: {fault.strerror}"
    else:
        if mode & stat.S_IROTH:
            problem = "everybody may read it: chmod o-r"
        try:
            password = line.rstrip(b"\r\n").decode()
        except UnicodeDecodeError:
            problem = problem or "it is not UTF-8"
        else:
            if len(line) == PASSWORD_LIMIT:
                problem = problem or f"its first line has {PASSWORD_LIMIT} bytes or more"
            if not password.strip():
                problem = problem or "its first line is empty"
    if problem:
        raise ConfigError(problem, setting="--password-file", value=path)
    return password


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
