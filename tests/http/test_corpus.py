"""The corpus (tests/corpus/README.md) through a live server: whole, byte by byte, and cut in two.

What the scanner's own tests judge as values is judged here as behaviour: the statuses, in order, what reached
the application, and who closed the connection. A connection that a case leaves open is used once more, which
proves that both ends agree where the next request begins.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from launcher import Server
from rawclient import Closed, Connection, Ending, Response, request_bytes
from serving import start_server

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))

import corpus

COUNTS = (100, 3, 256)  # --limit-request-fields of the servers that are started


def served(case: corpus.Case) -> bool:
    """Can a server be told these limits? The scanner takes smaller ones than the settings allow."""
    return all(
        value == corpus.LIMITS[name] or (name == "field_count" and value in COUNTS)
        for name, value in case.limits.items()
    )


CASES = {case.name: case for case in corpus.cases() if served(case)}


@pytest.fixture(scope="module")
def mirrors(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Server]]:
    """One server for each limit of fields that the corpus names."""
    with ExitStack() as stack:
        running = {
            count: start_server(
                stack,
                "mirror:application",
                *("--limit-request-fields", str(count)),
                worker_class=worker_class,
                cwd=tmp_path_factory.mktemp("mirror"),
            )
            for count in COUNTS
        }
        yield running
        for each in running.values():
            each.forgive("(?i)invalid|refused|bad request")
            each.stop()


def cuts(raw: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """The ways to send the bytes: name, pieces."""
    yield "whole", [raw]
    if len(raw) <= 4096:
        yield "byte by byte", [raw[at : at + 1] for at in range(len(raw))]
    else:
        yield "in pieces", [raw[at : at + 997] for at in range(0, len(raw), 997)]
    for at in sorted({1, len(raw) // 3, len(raw) // 2, raw.find(b"\r\n\r\n") + 2, len(raw) - 1}):
        if 0 < at < len(raw):
            yield f"cut at {at}", [raw[:at], raw[at:]]


def judge_request(request: corpus.Request, answer: Response) -> None:
    if request.method == "HEAD":
        return
    found = json.loads(answer.body)
    environ = found["environ"]
    assert environ["REQUEST_METHOD"] == request.method
    assert environ["RAW_URI"] == request.target
    if "body" in request.facts:
        body = request.facts["body"]
        assert found["body"] == (body.decode("latin-1") if isinstance(body, bytes) else body)
    for key, value in request.environ.items():
        if value is None:
            assert key not in environ
        else:
            assert environ.get(key, "") == value, key


def judge_answers(case: corpus.Case, client: Connection, statuses: list[int], whole: bool) -> None:
    """Read the answers that the case promises; those of whole requests show what the application saw."""
    for number, status in enumerate(statuses):
        request = case.requests[number] if number < len(case.requests) else None
        answer = client.response(request.method if request else "GET")
        allowed = {status}
        if case.fault == "chunk_size" and not whole and status == 400:
            allowed.add(413)  # the first digits are beyond the body limit before they are too many
        assert answer.status in allowed, f"answer {number}: {answer.status} {answer.reason}, {answer.text}"
        if request is not None and status == 200:
            judge_request(request, answer)
        if number == len(statuses) - 1 and case.closes and not case.more:
            assert not answer.keeps


def judge_end(case: corpus.Case, client: Connection) -> None:
    """Closed, when the case says so; in step, when it does not."""
    if case.more or not case.raw:  # nothing more comes: not even a deadline has to pass
        client.half_close()
        try:
            assert client.response().status in (400, 408)
        except Closed:
            pass
        assert client.drain() == b""
    elif case.closes:
        ending = client.end()
        # Bytes behind a request that says "close" were never promised a reader: they may be met by a reset.
        behind = case.raw.count(b"\r\n\r\n") > len(case.statuses or ()) or not case.raw.endswith(b"\r\n\r\n")
        assert ending is Ending.CUT or (behind and not case.fault)
    else:
        client.send(request_bytes("GET", "/in-step"))
        answer = client.response()
        assert json.loads(answer.body)["environ"]["RAW_URI"] == "/in-step"


def judge_any(case: corpus.Case, client: Connection) -> None:
    """The statuses are not the grammar's matter: a well-formed answer to each request will do."""
    for request in case.requests:
        if request.method == "CONNECT":
            assert client.head("CONNECT").status >= 400
        else:
            client.response(request.method)


@pytest.mark.parametrize("name", CASES)
def test_case(mirrors: dict[int, Any], name: str) -> None:
    case = CASES[name]
    running = mirrors[case.limits["field_count"]]
    for way, pieces in cuts(case.raw):
        with running.connect() as client:
            try:
                for piece in pieces:
                    client.offer(piece)
                if case.statuses is None:
                    judge_any(case, client)
                    continue
                judge_answers(case, client, case.statuses, way == "whole")
                if case.closes and case.more and case.statuses and case.statuses[-1] >= 400:
                    assert client.end() is Ending.CUT  # refused before it was whole
                else:
                    judge_end(case, client)
            except (AssertionError, Closed, OSError) as fault:
                raise AssertionError(f"{name}, {way}: {type(fault).__name__}: {fault}\n{case.why}") from fault
