"""One request as a row: what is sent, and what a right answer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .outcome import Outcome
from .response import Answer

# Judges a whole answer of the expected status: None when right, else what is wrong with it.
Check = Callable[[Answer], str | None]


@dataclass(frozen=True)
class Ask:
    """A request and its expected answer.

    `kind` is the name under which the tally keeps it. `body` None sends no Content-Length. `expect` is
    compared byte for byte when given; `check` sees what `expect` cannot say. Any status other than `status`
    is WRONG, or SERVER_ERROR from 500 on.
    """

    target: str = "/"
    method: str = "GET"
    kind: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    status: int = 200
    expect: bytes | None = None
    check: Check | None = None
    chunked: bool = False

    def wire(self, host: str, *, close: bool) -> bytes:
        """The request as bytes, with Host and, for a one-shot client, Connection: close."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        body = b""
        if self.body is not None and self.chunked:
            lines.append("Transfer-Encoding: chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.body), self.body) if self.body else b"0\r\n\r\n"
        elif self.body is not None:
            lines.append(f"Content-Length: {len(self.body)}")
            body = self.body
        if close:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    def answer(self) -> Answer:
        return Answer(head_only=self.method == "HEAD")

    def judge(self, answer: Answer) -> tuple[Outcome, str]:
        """The outcome of a whole answer, and what is wrong with it."""
        if answer.status >= 500 and answer.status != self.status:
            return Outcome.SERVER_ERROR, f"status {answer.status}"
        if answer.status != self.status:
            return Outcome.WRONG, f"status {answer.status}, not {self.status}"
        if answer.leftover:
            return Outcome.WRONG, f"{len(answer.leftover)} bytes after the end of the answer"
        if self.expect is not None and answer.body != self.expect:
            return Outcome.WRONG, f"body of {len(answer.body)} bytes is not the {len(self.expect)} expected"
        fault = self.check(answer) if self.check else None
        return (Outcome.WRONG, fault) if fault else (Outcome.OK, "")
