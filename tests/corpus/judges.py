"""The scanner, llhttp (through httptools) and h11 as judges of one head, with verdicts that can be compared.

Imported by its plain name, as corpus.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import h11
import httptools

from prefork.engine.scanner import Fault, scan_head

Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a parser made of a head: `outcome` is "head", "more" or "refused" (with its reason)."""

    outcome: str
    reason: str = ""
    method: bytes = b""
    target: bytes = b""
    version: str = ""
    fields: Fields = ()
    keep_alive: bool | None = None

    def all(self, name: bytes) -> list[bytes]:
        """The values of that name, without blanks around."""
        return [value.strip(b" \t") for key, value in self.fields if key == name]

    def elements(self, name: bytes) -> list[bytes]:
        """The elements of the list that all values of that name make."""
        return [element.strip(b" \t").lower() for value in self.all(name) for element in value.split(b",")]


def by_scanner(raw: bytes) -> Verdict:
    """Ours."""
    try:
        head = scan_head(raw)
    except Fault as fault:
        return Verdict("refused", fault.name)
    if head is None:
        return Verdict("more")
    fields = tuple((field.name.lower(), field.value) for field in head.fields)
    return Verdict("head", "", head.method, head.target, f"1.{head.minor}", fields, head.keep_alive)


class Listener:
    """The callbacks of httptools, for one head: what follows it is not looked at."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.verdict: Verdict | None = None

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.verdict is None:
            parser = self.parser
            self.verdict = Verdict(
                "head",
                "",
                parser.get_method(),
                self.url,
                parser.get_http_version(),
                tuple(self.fields),
                parser.should_keep_alive(),
            )


def by_llhttp(raw: bytes) -> Verdict:
    """llhttp, in its strict default mode."""
    listener = Listener()
    try:
        listener.parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        return listener.verdict or Verdict("refused", str(error))
    return listener.verdict or Verdict("more")


def by_h11(raw: bytes) -> Verdict:
    """h11, as a server's side. Its state machine says later whether the connection is kept: not compared."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return Verdict("refused", str(error))
    if not isinstance(event, h11.Request):
        return Verdict("more")
    fields = tuple((bytes(name), bytes(value)) for name, value in event.headers)
    return Verdict("head", "", bytes(event.method), bytes(event.target), event.http_version.decode(), fields)
