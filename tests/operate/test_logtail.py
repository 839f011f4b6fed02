"""The end of an error log, and files that are none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from prefork.errors import PreforkError
from prefork.operate.logtail import LIMIT, tail


def server(path: object, pid: int = os.getpid()) -> dict[str, object]:
    return {"pid": pid, "errorlog": str(path)}


def test_a_short_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("first\nsecond\n")
    assert tail(server(tmp_path / "log")) == "first\nsecond\n"


def test_of_a_long_one_whole_lines(tmp_path: Path) -> None:
    lines = [f"line {number}\n" for number in range(20_000)]
    (tmp_path / "log").write_text("".join(lines))
    text = tail(server(tmp_path / "log"))
    assert len(text) <= LIMIT
    assert text.splitlines(keepends=True) == lines[-text.count("\n") :]


def test_one_line_that_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x" * (LIMIT + 10))
    assert tail(server(tmp_path / "log")) == "x" * LIMIT


def test_what_a_terminal_would_obey_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a\x1b[2J\x07\xff\xc2\x9bb\n\tc\n")
    assert tail(server(tmp_path / "log")) == "a\\x1b[2J\\x07\\xff\\x9bb\n\tc\n"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", r"^the error log goes to stderr, not to a file"),
        ("/none/log", r"^the error log /none/log cannot be read: No such file"),
        ("/dev/zero", r"^the error log /dev/zero is no regular file$"),
        ("/", r"^the error log / is no regular file$"),
    ],
)
def test_nothing_to_show(path: str, said: str) -> None:
    with pytest.raises(PreforkError, match=said):
        tail(server(path))


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with pytest.raises(PreforkError, match="is no regular file"):
        tail(server(tmp_path / "log"))


def test_an_older_server_does_not_say() -> None:
    with pytest.raises(PreforkError, match=r"^pid 7 runs an older prefork"):
        tail({"pid": 7})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be asked by somebody else")
def test_root_shows_nobody_what_is_not_theirs(tmp_path: Path) -> None:
    """A server of another user says where its log is, and could say anything."""
    secret, theirs = tmp_path / "secret", tmp_path / "theirs"
    secret.write_text("secret\n")
    theirs.write_text("theirs\n")
    os.chown(theirs, 65534, -1)
    with subprocess.Popen(["cat"], user=65534, stdin=subprocess.PIPE) as other:
        with pytest.raises(PreforkError, match="is not the file of who runs pid"):
            tail(server(secret, other.pid))
        assert tail(server(theirs, other.pid)) == "theirs\n"
        assert other.stdin is not None
        other.stdin.close()
    assert tail(server(theirs)) == "theirs\n"
