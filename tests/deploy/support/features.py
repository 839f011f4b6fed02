"""What prefork is still to learn: tests of it skip, by themselves no longer once it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

import prefork
from prefork.config.settings import ROWS

PACKAGE = Path(prefork.__file__).parent


def need_setting(*names: str) -> None:
    """Skip while one of these settings is still to come."""
    for name in names:
        if ROWS[name].later:
            pytest.skip(f"{name} {ROWS[name].later}")


def need_notify() -> None:
    """Skip while nothing uses the socket that systemd listens on."""
    if not _says("NOTIFY_SOCKET"):
        pytest.skip("prefork does not talk to systemd yet")


def need_upgrade() -> None:
    """Skip while USR2 does nothing."""
    if _says("USR2: upgrading a running server is still to come"):
        pytest.skip("prefork cannot be upgraded while it runs yet")


def _says(text: str) -> bool:
    return any(
        text in path.read_text() for name in ("master", "net") for path in (PACKAGE / name).glob("*.py")
    )
