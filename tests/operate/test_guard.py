"""Who may ask prefork web for what."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from prefork.errors import ConfigError
from prefork.operate.guard import PASSWORD_LIMIT, Guard, Refusal, is_local, read_password


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def refused(guard: Guard, path: str = "/", **environ: str) -> str:
    """The status line of a refusal; "" for none."""
    try:
        guard.check({"HTTP_HOST": "localhost:8001", "REMOTE_ADDR": "127.0.0.1", **environ}, path)
    except Refusal as refusal:
        return refusal.status
    return ""


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("LocalHost.:8001", True),
        ("127.0.0.1:8001", True),
        ("192.0.2.7", True),
        ("[::1]:8001", True),
        ("[::1]", True),
        ("ops.example.org", True),
        ("OPS.example.org:443", True),
        ("", True),  # HTTP/1.0: no browser
        ("evil.example", False),
        ("evil.example:8001", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("ops.example.org.evil.example", False),
        ("evil.example:80:localhost", False),
        ("[evil.example]", False),
        ("[::1", False),
        (":8001", False),
        ("127.1", False),
        ("localhost\n", False),
        ("localhost:80x", False),
    ],
)
def test_names(host: str, known: bool) -> None:
    assert Guard(["ops.example.org"]).knows(host) is known
    assert refused(Guard(["ops.example.org"]), HTTP_HOST=host) == ("" if known else "403 Forbidden")
    assert refused(Guard(["ops.example.org"]), "/healthz", HTTP_HOST=host) == ""


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("10.0.0.1", False),
        ("localhost", False),
    ],
)
def test_local(address: str, local: bool) -> None:
    assert is_local(address) is local


@pytest.mark.parametrize("path", ["/", "/status.json", "/log", "/act", "/none", "/metrics/", "//metrics"])
def test_strangers_without_a_password(path: str) -> None:
    assert refused(Guard(), path, REMOTE_ADDR="192.0.2.1") == "403 Forbidden"


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
def test_what_strangers_may_see(path: str) -> None:
    assert refused(Guard(), path, REMOTE_ADDR="192.0.2.1") == ""


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (basic("anybody:s:cret\u00e9"), ""),
        (basic(":s:cret\u00e9").replace("Basic", "basic"), ""),
        ("", "401 Unauthorized"),
        (basic("anybody:s:cret"), "401 Unauthorized"),
        (basic("s:cret\u00e9"), "401 Unauthorized"),
        (basic("anybody:"), "401 Unauthorized"),
        ("Basic !!!", "401 Unauthorized"),
        ("Basic", "401 Unauthorized"),
        ("Bearer s:cret\u00e9", "401 Unauthorized"),
        ("Basic \u00e9", "401 Unauthorized"),
    ],
)
@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.1"])
def test_password(field: str, status: str, address: str) -> None:
    guard = Guard(password="s:cret\u00e9")
    for path in ("/", "/metrics", "/log", "/act"):
        assert refused(guard, path, HTTP_AUTHORIZATION=field, REMOTE_ADDR=address) == status
    assert refused(guard, "/healthz", HTTP_AUTHORIZATION=field, REMOTE_ADDR=address) == ""


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({"HTTP_ORIGIN": "http://localhost:8001", "HTTP_SEC_FETCH_SITE": "same-origin"}, True),
        ({"HTTP_ORIGIN": "https://localhost:8001"}, True),  # a proxy has ended TLS
        ({}, True),  # no browser, and it has read the token
        ({"HTTP_ORIGIN": "http://evil.example"}, False),
        ({"HTTP_ORIGIN": "http://localhost:8001.evil.example"}, False),
        ({"HTTP_ORIGIN": "http://localhost:8000"}, False),
        ({"HTTP_ORIGIN": "null"}, False),
        ({"HTTP_ORIGIN": ""}, False),
        ({"HTTP_ORIGIN": "http://localhost:8001", "HTTP_SEC_FETCH_SITE": "cross-site"}, False),
        ({"HTTP_SEC_FETCH_SITE": "same-site"}, False),
        ({"HTTP_SEC_FETCH_SITE": "none"}, False),
    ],
)
def test_where_an_action_comes_from(fields: dict[str, str], good: bool) -> None:
    guard = Guard()
    environ = {"HTTP_HOST": "localhost:8001", **fields}
    if good:
        guard.check_action(environ, guard.token)
    else:
        with pytest.raises(Refusal, match="another site"):
            guard.check_action(environ, guard.token)


@pytest.mark.parametrize("token", ["", "x", "\u00e9", "\ud800"])
def test_an_action_without_the_token(token: str) -> None:
    with pytest.raises(Refusal, match="out of date"):
        Guard().check_action({"HTTP_HOST": "localhost:8001"}, token)


def test_each_guard_has_a_token_of_its_own() -> None:
    assert len({Guard().token for _ in range(10)}) == 10


class TestPasswordFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "password"
        path.touch(0o640)
        return path

    @pytest.mark.parametrize("text", ["se cret", "se cret\n", "se cret\r\nand more\n"])
    def test_first_line(self, path: Path, text: str) -> None:
        path.write_bytes(text.encode())
        assert read_password(str(path)) == "se cret"

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "its first line is empty"),
            (b"\nsecret\n", "its first line is empty"),
            (b"  \n", "its first line is empty"),
            (b"\xff\n", "it is not UTF-8"),
            (b"x" * PASSWORD_LIMIT, "its first line has 1024 bytes or more"),
        ],
    )
    def test_refused(self, path: Path, data: bytes, said: str) -> None:
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=f"^--password-file = '.*/password': {said}$"):
            read_password(str(path))

    def test_readable_by_everybody(self, path: Path) -> None:
        path.write_text("secret\n")
        path.chmod(0o644)
        with pytest.raises(ConfigError, match=r"everybody may read it: chmod o-r$"):
            read_password(str(path))

    def test_none(self, path: Path) -> None:
        path.unlink()
        with pytest.raises(ConfigError, match=r"cannot be read: No such file or directory$"):
            read_password(str(path))
        with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
            read_password(os.fspath(path.parent))
