"""An ordinary client for the real projects: the standard library's, with cookies and forms."""

from __future__ import annotations

import http.client
import http.cookies
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from launcher import DEADLINE


@dataclass
class Page:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def data(self) -> Any:
        return json.loads(self.body)


@dataclass
class Browser:
    """The standard library's client on one kept connection, with cookies: a third judge of the answers."""

    address: tuple[str, int]
    cookies: dict[str, str] = field(default_factory=dict)
    connection: http.client.HTTPConnection | None = None
    connections: int = 0

    def request(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Page:
        """One request; an iterable body is sent chunked."""
        if self.connection is None or self.connection.sock is None:
            self.connection = http.client.HTTPConnection(*self.address, timeout=DEADLINE * 2)
            self.connections += 1
        sent = {"Host": "test", **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        chunked = body is not None and not isinstance(body, bytes)
        self.connection.request(method, target, body=body, headers=sent, encode_chunked=chunked)
        answer = self.connection.getresponse()
        page = Page(answer.status, answer.headers, answer.read())
        for line in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in http.cookies.SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return page

    def get(self, target: str, headers: dict[str, str] | None = None) -> Page:
        return self.request("GET", target, headers)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()


def multipart(fields: dict[str, str], name: str, data: bytes) -> tuple[dict[str, str], bytes]:
    """A multipart/form-data body with one file (RFC 7578): headers, body."""
    boundary = "a-boundary-that-nobody-would-write"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    body = b"".join(parts) + data + f"\r\n--{boundary}--\r\n".encode()
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body
