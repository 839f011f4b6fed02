"""LISTEN_FDS as sd_listen_fds(3) describes it."""

from __future__ import annotations

import os

import pytest

from prefork.errors import BindError
from prefork.net.systemd import passed

ME = str(os.getpid())

CASES = {
    "none": ({}, []),
    "one": ({"LISTEN_PID": ME, "LISTEN_FDS": "1"}, [(3, "")]),
    "named": (
        {"LISTEN_PID": ME, "LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:admin"},
        [(3, "web"), (4, "admin"), (5, "")],
    ),
    "another's": ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, []),
    "nobody's": ({"LISTEN_FDS": "1"}, []),
    "empty": ({"LISTEN_PID": ME, "LISTEN_FDS": ""}, []),
    "zero": ({"LISTEN_PID": ME, "LISTEN_FDS": "0"}, []),
}


@pytest.mark.parametrize("name", CASES)
def test_passed(name: str) -> None:
    environ, expected = CASES[name]
    environ = {**environ, "OTHER": "stays"}
    assert passed(environ) == expected
    assert environ == {"OTHER": "stays"}


@pytest.mark.parametrize("count", ["x", "-1", "1e3", "99999"])
def test_nonsense_is_refused(count: str) -> None:
    with pytest.raises(BindError, match="LISTEN_FDS"):
        passed({"LISTEN_PID": ME, "LISTEN_FDS": count})
