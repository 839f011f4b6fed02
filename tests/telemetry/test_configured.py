"""What --log-config and its likes make of the logs, and what hooks may call."""

import io
import json
import logging
import re
import types
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from prefork.config.settings import Settings
from prefork.errors import ConfigError
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


def test_a_configured_logger_without_handlers_is_the_error_log(path: Path) -> None:
    log = make(path, logconfig_dict={"loggers": {"gunicorn.error": {"level": "ERROR"}}})
    log.info("quiet")
    log.error("heard")
    assert [line.split("] ")[-1] for line in path.read_text().splitlines()] == ["heard"]


# --- gunicorn's defaults


def test_a_table_may_use_the_default_handlers(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = make(path, logconfig_dict={"version": 1, "root": {"level": "INFO", "handlers": ["console"]}})
    logging.getLogger("site").info("from the application")
    log.info("from the server")
    out, err = capsys.readouterr()
    line = r"\[[^]]+\] \[\d+\] \[INFO\] "
    assert re.fullmatch(rf"{line}from the application\n", out)
    assert re.fullmatch(rf"{line}from the server\n", path.read_text())
    assert err == ""


def test_error_console_is_stderr_where_the_error_log_is(capsys: pytest.CaptureFixture[str]) -> None:
    table = {"loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["error_console"]}}}
    log = setup(Settings(logconfig_dict=table))
    log.info("heard")
    out, err = capsys.readouterr()
    assert out == "" and err.endswith("[INFO] heard\n")


def test_a_table_may_change_the_default_format(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = make(path, logconfig_dict={"version": 1, "formatters": {"generic": {"format": "FF %(message)s"}}})
    log.info("from the server")
    logging.getLogger("site").warning("from the application")
    assert path.read_text() == "FF from the server\n"
    logger = log.access_logger()
    assert logger is not None and logger.name == "prefork.access"
    logger.info("a request")
    logging.getLogger("gunicorn.error").info("by its former name")
    assert capsys.readouterr().out == "FF from the application\nFF a request\n"
    assert path.read_text() == "FF from the server\nFF by its former name\n"


def test_default_handlers_beside_those_of_the_table(
    path: Path, configured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"handlers": ["file", "console"]}
    make(path, logconfig_dict=table(configured, "gunicorn.error", **names)).info("x")
    assert configured.read_text() == "gunicorn.error|INFO|x\n"
    assert capsys.readouterr().out.endswith("[INFO] x\n")


def test_a_table_with_handlers_of_its_own_leaves_root(path: Path, configured: Path) -> None:
    before = logging.root.handlers[:]
    make(path, logconfig_dict=table(configured, "site"))
    assert logging.root.handlers == before


@pytest.mark.parametrize("section", ["formatters", "handlers", "loggers"])
def test_what_is_no_table_is_left_for_logging_to_refuse(path: Path, section: str) -> None:
    with pytest.raises(ConfigError):
        make(path, logconfig_dict={section: ["x"]})


# --- the access log


@pytest.mark.parametrize("kind", ["dict", "json", "ini"])
@pytest.mark.parametrize("name", KINDS)
def test_the_access_logger_is_the_one_that_was_configured(
    path: Path, tmp_path: Path, configured: Path, kind: str, name: str
) -> None:
    log = make(path, **configure(kind, tmp_path, configured, f"{name}.access"))
    logger = log.access_logger()
    assert logger is not None and logger.name == f"{name}.access"
    log.info("an error log as ever")
    assert path.read_text().endswith("an error log as ever\n")


@pytest.mark.parametrize(
    "entry", [{"level": "WARNING"}, {"handlers": []}], ids=["above its level", "no handlers"]
)
def test_an_access_logger_that_would_say_nothing_is_none(
    path: Path, configured: Path, entry: dict[str, Any]
) -> None:
    log = make(path, logconfig_dict=table(configured, "gunicorn.access", **entry))
    assert log.access_logger() is None


def test_no_access_logger_unless_it_is_named(path: Path, configured: Path) -> None:
    assert make(path).access_logger() is None
    assert make(path, logconfig_dict=table(configured, "prefork.error")).access_logger() is None


def test_a_file_gets_the_lines_too(path: Path, tmp_path: Path, configured: Path) -> None:
    access = tmp_path / "access.log"
    log = make(path, accesslog=str(access), logconfig_dict=table(configured, "gunicorn.access"))
    logger = log.access_logger()
    assert logger is not None
    logger.info("a line")
    access.rename(tmp_path / "moved")
    log.reopen()
    logger.info("another")
    assert (tmp_path / "moved").read_text() == "a line\n"
    assert access.read_text() == "another\n"
    assert configured.read_text() == "gunicorn.access|INFO|a line\ngunicorn.access|INFO|another\n"


def test_the_configured_logger_is_in_the_place_of_stdout(
    path: Path, configured: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = make(path, accesslog="-", logconfig_dict=table(configured, "gunicorn.access"))
    logger = log.access_logger()
    assert logger is not None
    logger.info("a line")
    assert capfd.readouterr().out == ""


def test_a_reload_without_it_brings_the_file_back(path: Path, tmp_path: Path, configured: Path) -> None:
    log = make(path, logconfig_dict=table(configured, "gunicorn.access"))
    log.configure(Settings(errorlog=str(path), accesslog=str(tmp_path / "access.log")))
    assert log.access_logger() is None and log.access_fd >= 0


# --- what hooks call


def hooked(log: Log) -> None:
    """All that a hook may do with gunicorn's Logger."""
    fault = ValueError("told")
    log.error("true", exc_info=True)  # noqa: LOG014
    log.error("fault", exc_info=fault)
    log.error("triple", exc_info=(ValueError, fault, None))
    log.info("extra", extra={"tenant": 7})
    log.warning("stack", stack_info=True)
    log.debug("level", stacklevel=2)
    log.critical("%(a)s and %(b)s", {"a": 1, "b": 2})
    log.log("warning", "by name", exc_info=False)
    log.log(30, "by number", extra={})
    try:
        raise KeyError("handled")
    except KeyError:
        log.exception("handling", stacklevel=1)
        log.error("also handling", exc_info=True)  # noqa: G201


HOOKED = ["true", "fault", "triple", "extra", "stack", "level", "1 and 2", "by name", "by number"]
HOOKED += ["handling", "also handling"]


def test_methods_take_what_a_loggers_do(path: Path) -> None:
    hooked(make(path, loglevel="debug"))
    text = path.read_text()
    assert re.findall(r"^\[.*\] \[[A-Z]+\] (.*)$", text, re.M) == HOOKED
    assert text.count("ValueError: told") == 2 and text.count("KeyError: 'handled'") == 2
    assert "Stack (most recent call last):" in text and "in hooked" in text


def test_a_configured_handler_gets_the_keywords(path: Path) -> None:
    class Kept(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.records: list[logging.LogRecord] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.records.append(record)

    log = make(path, loglevel="debug")
    kept = Kept()
    log.error_log.addHandler(kept)
    hooked(log)
    assert [each.getMessage() for each in kept.records] == HOOKED
    by_name = {each.getMessage(): each for each in kept.records}
    assert getattr(by_name["extra"], "tenant", None) == 7
    assert by_name["stack"].stack_info
    assert by_name["fault"].funcName == "hooked"
    assert by_name["level"].funcName == "test_a_configured_handler_gets_the_keywords"


def test_a_wrong_keyword_is_the_callers_fault(path: Path) -> None:
    with pytest.raises(TypeError):
        make(path).info("x", colour="red")


def test_extra_that_logging_refuses_loses_no_message(path: Path) -> None:
    make(path).info("heard", extra={"message": "taken"})
    assert path.read_text().endswith("[INFO] heard\n")


def test_error_log_and_access_log_are_loggers(path: Path, tmp_path: Path) -> None:
    log = make(path, accesslog=str(tmp_path / "access.log"))
    assert isinstance(log.error_log, logging.Logger) and isinstance(log.access_log, logging.Logger)
    assert (log.error_log.name, log.access_log.name) == ("prefork.error", "prefork.access")
    log.error_log.warning("to the error log")
    log.access_log.info("to the access log")
    assert path.read_text().endswith("[WARNING] to the error log\n")
    assert (tmp_path / "access.log").read_text() == "to the access log\n"
    assert log.access_logger() is None, "nobody but the file listens"


def test_a_handler_that_a_hook_adds_gets_the_lines(path: Path) -> None:
    log = make(path)
    log.access_log.addHandler(logging.StreamHandler(io.StringIO()))
    assert log.access_logger() is log.access_log


def test_access_writes_a_line(path: Path, tmp_path: Path, configured: Path) -> None:
    response = types.SimpleNamespace(status="201 Created", headers=[("Server-Timing", "a")], sent=12)
    request = types.SimpleNamespace(headers=[("USER-AGENT", 'x"y')])
    environ = {
        "REQUEST_METHOD": "POST",
        "RAW_URI": "/a?b",
        "PATH_INFO": "/a\n",
        "QUERY_STRING": "b",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "10.0.0.1",
        "HTTP_USER_AGENT": 'x"y',
        "HTTP_AUTHORIZATION": "Basic YW5uOnNlY3JldA==",
        "site.tenant": 7,
    }
    text = '%(h)s %(l)s %(u)s "%(r)s" %(s)s %(b)s %(B)d "%(f)s" "%(a)s" %(U)s %(D)s %(M)s %(T)s %(L)s'
    text += " %({server-timing}o)s %({user-agent}i)s %({site.tenant}e)s %({none}i)s"
    wanted = '10.0.0.1 - ann "POST /a?b HTTP/1.1" 201 12 12 "-" "x\\x22y" /a\\x0A 1500000 1500 1 1.500000'
    wanted += " a x\\x22y 7 -"
    file = tmp_path / "access.log"
    arguments = (response, request, environ, timedelta(seconds=1.5))
    make(path).access(*arguments)  # none is wanted
    make(path, accesslog=str(file), access_log_format=text).access(*arguments)
    assert file.read_text() == wanted + "\n"
    logged = make(path, access_log_format=text, logconfig_dict=table(configured, "gunicorn.access"))
    logged.access(*arguments)
    assert configured.read_text() == f"gunicorn.access|INFO|{wanted}\n"
    as_json = tmp_path / "json.log"
    make(path, accesslog=str(as_json), access_log_format="json").access(*arguments)
    line = json.loads(as_json.read_text())
    assert (line["status"], line["target"], line["user"], line["request_us"], line["sent"]) == (
        201, "/a?b", "ann", 1500000, 12,
    )  # fmt: skip


# --- wsgi.errors


def test_the_errors_stream_is_stderr_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    setup(Settings()).errors_stream().write("x\n")
    assert capsys.readouterr().err == "x\n"


def test_the_errors_stream_is_the_error_logs_file(path: Path) -> None:
    log = make(path)
    stream = log.errors_stream()
    assert log.errors_stream() is stream
    stream.writelines(["one ", "line\n", "é\udc80\n"])
    print("printed", file=stream)
    stream.write("not ended")
    stream.flush()
    assert path.read_text() == "one line\né\\udc80\nprinted\nnot ended"
    assert stream.fileno() == log.error_fd
    path.rename(f"{path}.1")
    log.reopen()
    stream.write("after\n")
    assert path.read_text() == "after\n"


def test_the_errors_stream_never_raises() -> None:
    stream = setup(Settings(errorlog="/dev/full")).errors_stream()
    stream.write("lost\n")
    stream.flush()


def test_the_errors_stream_follows_the_configured_logger(path: Path, configured: Path) -> None:
    """As in gunicorn: without --error-logfile it stays stderr."""
    log = make(path, logconfig_dict=table(configured, "gunicorn.error"))
    stream = log.errors_stream()
    stream.write("é\n")
    configured.rename(f"{configured}.1")
    log.reopen()
    stream.write("after\n")
    stream.flush()
    assert Path(f"{configured}.1").read_text() == "é\n"
    assert (configured.read_text(), path.read_text()) == ("after\n", "")


def test_the_errors_stream_stays_where_the_logger_has_no_stream(path: Path) -> None:
    table = {"handlers": {"none": {"class": "logging.NullHandler"}}}
    log = make(path, logconfig_dict={**table, "loggers": {"gunicorn.error": {"handlers": ["none"]}}})
    log.errors_stream().write("kept\n")
    assert path.read_text() == "kept\n"


def test_the_errors_stream_has_the_file_and_what_was_added(path: Path) -> None:
    log = make(path)
    log.error_log.addHandler(logging.StreamHandler(added := io.StringIO()))
    log.errors_stream().write("x\n")
    assert path.read_text() == added.getvalue() == "x\n"


def test_no_stderr_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert setup(Settings()).errors_stream() is not None
