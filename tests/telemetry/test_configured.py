"""What --log-config and its likes make of the logs."""

import json
from pathlib import Path
from typing import Any

import pytest

from prefork.config.settings import Settings
from prefork.telemetry.log import Log, log_app_fault, setup

KINDS = ("gunicorn", "prefork")
INI = """
[loggers]
keys=root,named
[handlers]
keys=file
[formatters]
keys=plain
[logger_root]
level=INFO
handlers=
[logger_named]
level=INFO
handlers=file
qualname={name}
propagate=0
[handler_file]
class=FileHandler
formatter=plain
args=({file!r},)
[formatter_plain]
format=%(name)s|%(levelname)s|%(message)s
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "error.log"


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    return tmp_path / "configured.log"


def make(path: Path, **settings: Any) -> Log:
    return setup(Settings(errorlog=str(path), **settings))


def table(file: Path, *names: str, **entry: Any) -> dict[str, Any]:
    logger = {"handlers": ["file"], "level": "INFO", **entry}
    return {
        "version": 1,
        "formatters": {"plain": {"format": "%(name)s|%(levelname)s|%(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(file), "formatter": "plain"}},
        "loggers": dict.fromkeys(names, logger),
    }


def configure(kind: str, folder: Path, file: Path, name: str) -> dict[str, Any]:
    """The settings that give the logger of that name this file."""
    if kind == "dict":
        return {"logconfig_dict": table(file, name)}
    source = folder / f"log.{kind}"
    if kind == "json":
        source.write_text(json.dumps(table(file, name)))
        return {"logconfig_json": str(source)}
    source.write_text(INI.format(name=name, file=str(file)))
    return {"logconfig": str(source)}


# --- the logger that was chosen


@pytest.mark.parametrize("kind", ["dict", "json", "ini"])
@pytest.mark.parametrize("name", KINDS)
def test_a_worker_stays_with_the_logger_that_was_configured(
    path: Path, tmp_path: Path, configured: Path, kind: str, name: str
) -> None:
    log = make(path, **configure(kind, tmp_path, configured, f"{name}.error"))
    log.info("from the master")
    log.join_logging()  # as a worker does
    log.info("from a worker")
    log_app_fault(log, "GET / HTTP/1.1", ValueError("x"))
    said = [line for line in configured.read_text().splitlines() if "|" in line]
    assert said == [
        f"{name}.error|INFO|from the master",
        f"{name}.error|INFO|from a worker",
        f"{name}.error|ERROR|GET / HTTP/1.1: the application raised ValueError",
    ]
    assert path.read_text() == ""
