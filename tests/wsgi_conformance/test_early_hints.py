"""103 Early Hints through environ["wsgi.early_hints"] (RFC 8297)."""

from __future__ import annotations

from typing import Any

from rawclient import Ending


def test_hints_come_before_the_answer(cases: Any) -> None:
    with cases.server.connect() as client:
        answer = client.request("GET", "/hints?twice=1")
        assert [hint.status for hint in answer.interim] == [103, 103]
        assert answer.interim[0].get("Link") == "</style.css>; rel=preload; as=style"
        assert answer.interim[1].get("Link") == "</script.js>; rel=preload; as=script"
        assert answer.get("Link") is None
        assert answer.body == b"hinted"
        assert client.request("GET", "/hello").body == b"Hello, World!"


def test_never_to_http_10(cases: Any) -> None:
    """RFC 9110 15.2: "A server MUST NOT send a 1xx response to an HTTP/1.0 client"."""
    answer = cases.server.exchange(b"GET /hints HTTP/1.0\r\n\r\n")
    assert answer.interim == []
    assert answer.body == b"hinted"


def test_wrong_characters_are_refused(faulty: Any) -> None:
    with faulty.server.connect() as client:
        answer = client.request("GET", "/hints-wrong")
        assert answer.interim == []
        assert answer.body != b"accepted"
        assert answer.get("X-Injected") is None


def test_nothing_after_the_head(faulty: Any) -> None:
    with faulty.server.connect() as client:
        answer = client.request("GET", "/hints-late")
        assert answer.ending is Ending.COMPLETE
        assert answer.body == b"bodymore"
