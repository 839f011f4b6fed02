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
    ("\nbind = ", "line 2: SyntaxError: invalid syntax"),
    ("1 / 0", "line 1: ZeroDivisionError"),
    ("raise SystemExit", r"line 1: a configuration may not end the process: SystemExit\(\)"),
    ("import sys\nsys.exit(7)", r"line 2: a configuration may not end the process: SystemExit\(7\)"),
    ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
]


@pytest.mark.parametrize(("text", "said"), FAULTS)
def test_a_file_that_cannot_be_run(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        migrate(path)


def test_ctrl_c_passes(tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        migrate(path)


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_bytes(b"# -*- coding: latin-1 -*-\nproc_name = 'caf\xe9'\nthreads = 2 + len('\xe9\xe8')\n")
    migrated = migrate(path)
    assert tomllib.loads(migrated.toml) == {"proc_name": "caf\u00e9", "threads": 4}
    assert "# was computed: 2 + len('\u00e9\u00e8')" in migrated.toml


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_bytes(b"proc_name = 'caf\xe9'\n")
    with pytest.raises(ConfigError, match=r"SyntaxError: .*can't decode byte"):
        migrate(path)


# What the file says of workers (4 each time) -> the comment, or "" for a plain value.
COMPUTED = [
    ("workers = 4", ""),
    ("workers: int = 4", ""),
    ("workers = 2 + 2", "2 + 2"),
    ("workers: int = 2 + 2", "2 + 2"),
    ("workers = (\n    2 +\n    2)", "2 + 2"),
    ("workers = 3\nworkers += 1", "workers += 1"),
    ("workers = 3 + 3\nworkers = 4", ""),
    ("threads = workers = 2 + 2", "2 + 2"),
    ("workers, threads = 2 + 2, 1", "2 + 2"),
    ("threads, workers = 2 + 2, 4", ""),
    ("workers, *rest = 2 + 2, 1", "2 + 2, 1"),
    ("workers, threads = map(int, '42')", "map(int, '42')"),
    ("workers, threads = (4, 2)", ""),
    ("workers = 2\nif 1 < 2:\n    workers = 4", "if 1 < 2:"),
    ("for workers in range(5):\n    pass", "for workers in range(5):"),
    ("with memoryview(b'1234') as view:\n    workers = len(view)", "with memoryview(b'1234') as view:"),
    ("try:\n    workers = 4\nexcept ValueError:\n    workers = 2", "try:"),
    ("if (workers := 2 + 2) > 3:\n    pass", "if (workers := 2 + 2) > 3:"),
    ("from numbers_of_ours import FOUR as workers", "from numbers_of_ours import FOUR as workers"),
    ("globals()['workers'] = 4", None),
    ("workers = 4\ndef f():\n    workers = 2 + 2", ""),
]


@pytest.mark.parametrize(("text", "how"), COMPUTED)
def test_what_was_computed_is_said(tmp_path: Path, text: str, how: str | None) -> None:
    (tmp_path / "numbers_of_ours.py").write_text("FOUR = 4\n")
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(text)
    toml = migrate(path).toml
    assert tomllib.loads(toml)["workers"] == 4
    lines = toml.splitlines()
    before = lines[lines.index("workers = 4") - 1]
    if how == "":
        assert not before.startswith("# was computed")
    else:
        assert before == ("# was computed" if how is None else f"# was computed: {how}")


SLIPS = [
    ("max_request = 100", "max_request: there is no setting max_request; did you mean max_requests?"),
    ("log_level = 'info'", "log_level: there is no setting log_level; did you mean loglevel?"),
    ("preload = True", "preload: there is no setting preload; did you mean preload_app?"),
    ("post_fork = 'shop.hooks.post_fork'", "post_fork = 'shop.hooks.post_fork': it must be a function of"),
    ("def on_exit(): pass", "it cannot be called so: "),
    (
        "logconfig_dict = {'handlers': {'h': {'class': 'nope.X'}}}",
        "handlers.h: nope.X: there is no module nope",
    ),
    ("access_log_format = '%(P)s'", "the access log format has the unknown atom %(P)s"),
    ("statsd_host = 'a:1'\nstatsd_prefix = 'shop'", "statsd_prefix: statsd is not supported"),
]


@pytest.mark.parametrize(("text", "said"), SLIPS)
def test_what_the_start_would_refuse_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(text)
    migrated = migrate(path)
    assert tomllib.loads(migrated.toml) == {}
    assert said in migrated.lost[-1]
    assert said in migrated.toml


def test_helpers_are_no_slips(tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(
        "import os as worker\nlog_level = 'info'\nloglevel = log_level\nname = 'x'\npidfile = ''\n"
    )
    migrated = migrate(path)
    assert tomllib.loads(migrated.toml) == {"loglevel": "info"}
    assert not migrated.lost


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
