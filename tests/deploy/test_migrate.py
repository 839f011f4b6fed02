"""`prefork migrate`: nothing that gunicorn knows gets lost in silence, and what is printed loads."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from gunicorn.config import KNOWN_SETTINGS

from prefork.config import argv
from prefork.config.foreign import FOREIGN
from prefork.config.load import load
from prefork.config.settings import ROWS
from prefork.errors import ConfigError
from prefork.migrate import migrate, run

WHOLE = """\
import multiprocessing
import os

from helpers import LEVEL

bind = ["0.0.0.0:8000", "unix:/run/x.sock"]
backlog = 1024
workers = multiprocessing.cpu_count() * 2 + 1
worker_class = "gthread"
threads = int(os.environ.get("THREADS_THAT_NOBODY_SETS", "4"))
timeout = 60
graceful_timeout = 20
keepalive = 5
max_requests = 1000
max_requests_jitter = 50
umask = 0o027
raw_env = ["A=b \\"c\\" é", "DJANGO_SETTINGS_MODULE=shop.settings"]
loglevel = LEVEL
accesslog = "-"
access_log_format = '%(h)s "%(r)s"'
forwarded_allow_ips = "10.0.0.0/8,127.0.0.1"
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
logconfig_dict = {
    "version": 1,
    "handlers": {"c": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "level": None}},
    "root": {"level": "INFO", "handlers": ["c"]},
}
certfile = "server.pem"
statsd_host = None
syslog = False
protocol = "http"
worker_tmp_dir = None
limit_request_line = 99999999
_private = 1


def post_fork(server, worker):
    pass


def helper(x):
    return x
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "helpers.py").write_text("LEVEL = 'debug'\n")
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(WHOLE)
    return path


def test_what_is_printed_loads(file: Path) -> None:
    toml = migrate(file).toml
    (file.parent / "prefork.toml").write_text(toml)
    settings = load(
        argv.parse(["app:app", "-c", str(file.parent / "prefork.toml")]), {}, str(file.parent)
    ).settings
    assert settings.bind == ("0.0.0.0:8000", "unix:/run/x.sock")
    assert settings.worker_class == "threads"
    assert settings.threads == 4
    assert settings.timeout == 60
    assert settings.keepalive == 5
    assert settings.umask == 0o027
    assert settings.raw_env == ('A=b "c" é', "DJANGO_SETTINGS_MODULE=shop.settings")
    assert settings.loglevel == "debug"
    assert settings.forwarded_allow_ips == ("10.0.0.0/8", "127.0.0.1")
    assert settings.secure_scheme_headers == {"X-FORWARDED-PROTO": "https"}
    assert settings.logconfig_dict["root"] == {"level": "INFO", "handlers": ["c"]}


def test_what_is_lost_is_said(file: Path) -> None:
    migrated = migrate(file)
    comments = [line for line in migrated.toml.splitlines() if line.startswith("#")]
    for start in (
        "certfile: ",
        "limit_request_line = 99999999: ",
        "functions cannot stand in TOML: post_fork;",
    ):
        assert any(line.startswith(start) for line in migrated.lost), start
        assert any(start in line for line in comments), start
    assert len(migrated.lost) == 3
    assert "# was computed: multiprocessing.cpu_count() * 2 + 1" in comments
    assert any("syslog, protocol" in line for line in comments)
    assert not any(word in migrated.toml for word in ("helper", "_private", "worker_tmp_dir", "statsd_host"))


def test_every_name_of_gunicorn_has_an_answer(tmp_path: Path) -> None:
    """gunicorn's own list: each name is a setting of ours or is known to be none."""
    names = {setting.name for setting in KNOWN_SETTINGS}
    assert names - {"config", "check_config", "print_config"} <= ROWS.keys() | FOREIGN.keys()


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("")
    migrated = migrate(path)
    assert tomllib.loads(migrated.toml) == {}
    assert not migrated.lost
    assert "75 s" in migrated.toml  # the default that surprises


FAULTS = [
    ("bind = ", "cannot be run: SyntaxError"),
    ("1 / 0", "cannot be run: ZeroDivisionError"),
    ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
]


@pytest.mark.parametrize(("text", "said"), FAULTS)
def test_a_file_that_cannot_be_run(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        migrate(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        migrate(tmp_path / "gunicorn.conf.py")


def test_values_toml_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("import logging\nlogconfig_dict = {'version': 1, 'x': {'()': logging.StreamHandler}}\n")
    migrated = migrate(path)
    assert tomllib.loads(migrated.toml) == {}
    assert "keep the Python file" in migrated.lost[0]


@pytest.mark.parametrize("words", [["a", "b"], ["--toml"]])
def test_wrong_arguments(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="takes one file"):
        run(words)


def test_streams(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TOML on stdout, so that it can be redirected; what is lost on stderr too."""
    assert run([str(file)]) == 0
    said = capsys.readouterr()
    assert tomllib.loads(said.out)["threads"] == 4
    assert len(said.err.splitlines()) == 3
