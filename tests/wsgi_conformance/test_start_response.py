"""start_response(), write(), exc_info and the order of things (PEP 3333, "The start_response() Callable")."""

from __future__ import annotations

from typing import Any

import pytest
import wsgi_cases
from rawclient import Ending, Framing


def refused(faulty: Any, target: str) -> None:
    """The client gets one well-formed 500, whole, and nothing of what the application said."""
    answer = faulty.server.get(target)
    assert answer.status == 500
    assert answer.ending is Ending.COMPLETE
    assert answer.framing is Framing.LENGTH
    assert answer.get("X-A") is None
    assert answer.get("X-Injected") is None
    assert b"Traceback" not in answer.body
    assert b"never" not in answer.body


@pytest.mark.parametrize("what", wsgi_cases.WRONG_STATUS)
def test_wrong_status(faulty: Any, what: str) -> None:
    """PEP 3333: a str like "999 Message here", no control characters; RFC 9112 4: three digits."""
    refused(faulty, f"/wrong-status/{faulty.token()}?what={what}")


@pytest.mark.parametrize("what", wsgi_cases.WRONG_FIELDS)
def test_wrong_fields(faulty: Any, what: str) -> None:
    """PEP 3333: a list of (str, str) tuples, RFC 9110 5.1 names, no control characters, no hop-by-hop field
    (RFC 9110 7.6.1, as wsgiref.util.is_hop_by_hop lists them); RFC 9110 8.6: one decimal Content-Length."""
    target = f"/wrong-fields/{faulty.token()}?what={what}"
    if what == "tuple":  # "It must be a list": a server may copy any sequence, it must not lose one
        answer = faulty.server.get(target)
        assert answer.status == 500 or answer.get("X-A") == "1"
        return
    refused(faulty, target)


@pytest.mark.parametrize("status", ["200 ", "200"])
def test_status_without_a_reason(faulty: Any, status: str) -> None:
    """PEP 3333 wants a reason; RFC 9112 4 allows an empty one, but never a line without the space."""
    answer = faulty.server.get(f"/reply/{faulty.token()}?status={status.replace(' ', '%20')}&body=x")
    assert (answer.status, answer.reason) in {(200, ""), (500, "Internal Server Error")}


@pytest.mark.parametrize(
    "status", ["299 Miscellaneous", "999 Message here", "451 é-acute", "418 I'm a teapot"]
)
def test_unusual_status_is_sent_as_given(cases: Any, status: str) -> None:
    from urllib.parse import quote

    answer = cases.server.get(f"/reply/{cases.token()}?body=x&status={quote(status)}")
    assert f"{answer.status} {answer.reason}" == status


def test_fields_are_sent_as_given(cases: Any) -> None:
    """PEP 3333: names keep their case, values their characters, the order stays; latin-1 on the wire."""
    from urllib.parse import quote

    answer = cases.server.get(
        f"/reply/{cases.token()}?f.X-mIxEd=a&f.Set-Cookie={quote('a=1; Path=/')}"
        f"&f.X-Latin={quote('é')}&f.X-Empty=&body=x"
    )
    mine = [pair for pair in answer.fields if pair[0] in ("X-mIxEd", "Set-Cookie", "X-Latin", "X-Empty")]
    assert mine == [("X-mIxEd", "a"), ("Set-Cookie", "a=1; Path=/"), ("X-Latin", "é"), ("X-Empty", "")]


@pytest.mark.parametrize("name", ["Date", "Server", "date", "SERVER"])
def test_the_applications_date_and_server_win(cases: Any, name: str) -> None:
    """PEP 3333: the server adds Date and Server unless the application gave them (RFC 9110 5.3: one only)."""
    value = "Mon, 01 Jan 2024 00:00:00 GMT" if name.lower() == "date" else "mine"
    answer = cases.server.get(f"/reply/{cases.token()}?f.{name}={value.replace(' ', '%20')}&body=x")
    assert answer.get(name) == value


def test_date_and_server_are_added(cases: Any) -> None:
    answer = cases.server.get("/hello")
    assert answer.get("Date") is not None
    assert answer.get("Server")


@pytest.mark.parametrize(
    "name", ["started-twice", "never-started", "never-started-empty", "raises", "raises-started"]
)
def test_broken_before_the_first_chunk(faulty: Any, name: str) -> None:
    refused(faulty, f"/{name}/{faulty.token()}")


@pytest.mark.parametrize("name", ["never-started", "never-started-empty"])
def test_close_when_never_started(faulty: Any, name: str) -> None:
    token = faulty.token()
    faulty.server.get(f"/{name}/{token}")
    faulty.closed_once(token)


def test_system_exit_is_a_fault_like_any_other(faulty: Any) -> None:
    """An application that calls sys.exit() in a request must not take the worker with it."""
    before = faulty.server.worker_pids()
    refused(faulty, f"/raises-base/{faulty.token()}")
    assert faulty.server.worker_pids() == before


def test_fault_is_logged_once_with_traceback_and_request(faulty: Any) -> None:
    """STYLE: an application's fault is logged once, with traceback and request line."""
    token = faulty.token()
    mark = faulty.server.stderr.mark
    faulty.server.get(f"/raises/{token}")
    faulty.server.stderr.wait(f"RuntimeError: deliberate {token}", since=mark)
    faulty.server.get("/hello")
    lines = faulty.server.stderr.since(mark)
    assert sum("Traceback" in line for line in lines) == 1, lines
    assert any(f"/raises/{token}" in line for line in lines), lines
    assert sum(f"RuntimeError: deliberate {token}" in line for line in lines) == 1, lines


def test_error_is_raised_at_the_call(faulty: Any) -> None:
    """PEP 3333: errors in headers are raised "at the time start_response is called": they can be caught."""
    answer = faulty.server.get(f"/caught-wrong-fields/{faulty.token()}")
    assert answer.status == 200
    assert answer.get("X-Caught") == "yes"
    assert answer.get("X-Injected") is None
    assert answer.body == b"caught"


# exc_info


def test_exc_info_before_headers_replaces_them(cases: Any) -> None:
    token = cases.token()
    answer = cases.server.get(f"/exc-info-before/{token}")
    assert (answer.status, answer.reason) == (500, "Replaced")
    assert answer.get("X-First") is None
    assert answer.get("X-Second") == "1"
    assert answer.body == b"replaced"  # and not cut to the first call's Content-Length of 5
    cases.closed_once(token)


@pytest.mark.parametrize("name", ["exc-info-after-empty", "write-empty"])
def test_an_empty_chunk_does_not_send_the_headers(cases: Any, name: str) -> None:
    """PEP 3333: headers are sent "only after the first iteration ... that yields a non-empty bytestring"."""
    answer = cases.server.get(f"/{name}/{cases.token()}")
    assert (answer.status, answer.reason) == (500, "Replaced")
    assert answer.body == b"replaced"


def test_exc_info_on_the_first_call(cases: Any) -> None:
    answer = cases.server.get(f"/exc-info-first/{cases.token()}")
    assert (answer.status, answer.reason, answer.body) == (500, "Only", b"only")


def test_exc_info_after_headers_is_raised_again(faulty: Any) -> None:
    token = faulty.token()
    answer = faulty.server.get(f"/exc-info-after/{token}")
    faulty.events.expect(f"raised mine {token}")
    assert answer.status == 200
    assert answer.body == b"sent"
    assert answer.ending is not Ending.COMPLETE  # cut where the client can see it


def test_exc_info_by_keyword(cases: Any) -> None:
    assert cases.server.get(f"/keyword/{cases.token()}").body == b"keyword"


# When things are called


def test_late_start_response(cases: Any) -> None:
    answer = cases.server.get(f"/late/{cases.token()}")
    assert (answer.status, answer.body) == (200, b"late")


def test_write(cases: Any) -> None:
    """PEP 3333, "The write() Callable": what was written comes before what is returned."""
    token = cases.token()
    answer = cases.server.get(f"/write/{token}")
    assert answer.body == b"written twice and returned"
    assert answer.ending is Ending.COMPLETE
    cases.closed_once(token)


def test_write_only(cases: Any) -> None:
    answer = cases.server.get(f"/write-only/{cases.token()}")
    assert answer.body == b"written"
    assert answer.framing is Framing.LENGTH


def test_write_text_is_refused(faulty: Any) -> None:
    refused(faulty, f"/write-text/{faulty.token()}")


def test_write_more_than_the_length(faulty: Any) -> None:
    """PEP 3333: "servers should ... raise an error" and never send more than was promised."""
    answer = faulty.server.get(f"/write-too-much/{faulty.token()}")
    assert answer.status == 500 or (answer.status, answer.body) == (200, b"four")


def test_a_chunk_is_not_kept_back(cases: Any, tmp_path: Any) -> None:
    """PEP 3333, "Buffering and Streaming": no delay of a block; the client has it before the next is made."""
    import os

    fifo = tmp_path / "words"
    os.mkfifo(fifo)
    with cases.server.connect() as client:
        client.send(f"GET /stepwise/x?fifo={fifo} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        client.head()
        assert client.chunk() == b"first"
        fifo.write_bytes(b"!")
        assert client.chunk() == b"second"
        assert client.chunk() is None
