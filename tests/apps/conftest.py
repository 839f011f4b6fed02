"""Fixtures of the real projects: browsers, 50 MB, and a database made by `migrate`."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps_client import Browser
from launcher import APPS

DJANGO = APPS / "django_site"


@pytest.fixture(scope="session")
def blob() -> bytes:
    """50 MB that no two offsets repeat alike."""
    return random.Random(2).randbytes(50_000_000)


def run_manage(data: Path, *arguments: str, **env: str) -> None:
    environment = {
        **os.environ,
        "DJANGO_SITE_DATA": str(data),
        "PYTHONPATH": str(APPS),
        **env,
    }
    command = [sys.executable, str(DJANGO / "manage.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def django_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a migrated database and an administrator called root."""
    data = tmp_path_factory.mktemp("django")
    run_manage(data, "migrate", "-v", "0")
    run_manage(
        data,
        *("createsuperuser", "--noinput", "--username", "root", "--email", "root@example.com"),
        DJANGO_SUPERUSER_PASSWORD="password",
    )
    return data


@pytest.fixture
def browsers() -> Iterator[Any]:
    """browsers(server) -> a new Browser, closed when the test is over."""
    made: list[Browser] = []

    def new(running: Any) -> Browser:
        made.append(Browser(running.address))
        return made[-1]

    yield new
    for browser in made:
        browser.close()
