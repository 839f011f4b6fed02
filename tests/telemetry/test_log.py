"""The error log: its lines, its descriptors, and how it lives with `logging`."""

import json
import logging
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from prefork.config.settings import Settings
from prefork.errors import ConfigError
from prefork.telemetry.lines import json_line, text_line
from prefork.telemetry.log import Log, check, log_app_fault, setup

LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[([A-Z]+)\] (.*)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "error.log"


def lines(path: Path) -> list[tuple[str, str]]:
    """(level, message) of each line that begins a record."""
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    return [(match[1], match[2]) for match in found if match]


def make(path: Path, **settings: Any) -> Log:
    return setup(Settings(errorlog=str(path), **settings))


def raised(call: Any) -> BaseException:
    try:
        call()
    except BaseException as fault:
        return fault
    raise AssertionError("nothing was raised")


# --- lines


def test_the_line_is_gunicorns(path: Path) -> None:
    make(path).info("listening at %s (%d)", "http://127.0.0.1:8000", 7)
    assert LINE.fullmatch(path.read_text().rstrip("\n"))
    assert lines(path) == [("INFO", "listening at http://127.0.0.1:8000 (7)")]
    assert f"[{os.getpid()}]" in path.read_text()


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_levels(path: Path, level: str) -> None:
    log = make(path, loglevel=level)
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(log, name)(name)
        log.log(name, "by name")
    said = [message for _, message in lines(path)]
    names = ["debug", "info", "warning", "error", "critical"]
    assert [message for message in said if message != "by name"] == names[names.index(level) :]
    assert said.count("by name") == len(names) - names.index(level)
    assert log.isEnabledFor(50) and log.isEnabledFor(10) == (level == "debug")


def test_no_message_forges_a_record() -> None:
    hostile = "a\n[2026-11-21 13:00:00 +0000] [1] [INFO] forged\r\x1b[31m\x00\x85\x9b é \udc80\n"
    line = text_line(40, hostile, None).decode()
    assert [n for n, part in enumerate(line.splitlines()) if part.startswith("[")] == [0]
    assert "forged\\x0d\\x1b[31m\\x00\\x85\\x9b é \\udc80\n" in line
    record = json_line(40, hostile, None)
    assert record.count(b"\n") == 1
    assert json.loads(record)["message"] == hostile


def test_json_records(path: Path) -> None:
    log = make(path, log_format="json")
    log.warning("%s", 'quo"te')
    log_app_fault(log, "GET / HTTP/1.1", raised(lambda: 1 / 0))
    first, second = map(json.loads, path.read_text().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", first.pop("time"))
    assert first == {"level": "warning", "pid": os.getpid(), "message": 'quo"te'}
    assert second["message"] == "GET / HTTP/1.1: the application raised ZeroDivisionError"
    assert second["exception"] == "ZeroDivisionError"
    assert second["traceback"].startswith("Traceback (most recent call last):\n")
    assert second["traceback"].endswith("ZeroDivisionError: division by zero\n")


def test_an_application_fault_is_one_record_with_its_traceback(path: Path) -> None:
    log = make(path)

    def view() -> None:
        try:
            {}["missing"]  # type: ignore[index]
        except KeyError as cause:
            raise ValueError("two\nlines") from cause

    log_app_fault(log, "POST /x?y=1 HTTP/1.1", raised(view))
    text = path.read_text()
    assert lines(path) == [("ERROR", "POST /x?y=1 HTTP/1.1: the application raised ValueError")]
    assert "\n  KeyError: 'missing'\n" in text and "in view\n" in text
    assert text.endswith("\n  ValueError: two\n  lines\n")


def test_our_own_frames_are_left_out(path: Path) -> None:
    log = make(path)
    namespace: dict[str, Any] = {}
    ours = str(Path(sys.modules["prefork.telemetry.log"].__file__ or "").with_name("runner.py"))
    exec(compile("def run(app):\n    app()\n", ours, "exec"), namespace)
    log_app_fault(log, "GET / HTTP/1.1", raised(lambda: namespace["run"](lambda: 1 / 0)))
    # this file's frame stands above the server's here; a real worker has none above its own
    fault = raised(lambda: namespace["run"](lambda: 1 / 0))
    assert fault.__traceback__ and fault.__traceback__.tb_next
    fault.__traceback__ = fault.__traceback__.tb_next.tb_next
    log_app_fault(log, "GET /trimmed HTTP/1.1", fault)
    whole, trimmed = path.read_text().split("GET /trimmed")
    assert "runner.py" in whole
    assert "runner.py" not in trimmed and "1 / 0" in trimmed


def test_faults_that_cannot_be_shown(path: Path) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    class Unformattable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    log = make(path)

    def fail() -> None:
        raise Broken

    log_app_fault(log, "GET / HTTP/1.1", raised(fail))
    log.error("%d", "not a number")
    log.error("one %s two %s", *[1])
    log.error("100%")
    log.error("args %s", Unformattable())
    said = [message for _, message in lines(path)]
    assert said[0] == "GET / HTTP/1.1: the application raised " + Broken.__qualname__
    assert said[1:4] == ["%d ('not a number',)", "one %s two %s (1,)", "100%"]
    assert said[4].startswith("args %s <tuple that cannot be shown: RuntimeError>")


def test_exception_logs_what_is_being_handled(path: Path) -> None:
    log = make(path)
    try:
        int("x")
    except ValueError:
        log.exception("hook %s failed", "on_exit")
    assert lines(path) == [("ERROR", "hook on_exit failed")]
    assert "invalid literal" in path.read_text()


# --- descriptors


def test_files_are_appended_to_and_close_on_exec(path: Path, tmp_path: Path) -> None:
    path.write_text("before\n")
    log = make(path, accesslog=str(tmp_path / "access.log"))
    log.info("x")
    assert path.read_text().startswith("before\n[")
    assert log.access_fd > 2 and not os.get_inheritable(log.access_fd)
    os.write(log.access_fd, b"line\n")
    assert (tmp_path / "access.log").read_text() == "line\n"


def test_no_access_log_is_minus_one(path: Path) -> None:
    assert make(path).access_fd == -1
    assert make(path, accesslog="-").access_fd == 1


@pytest.mark.parametrize("setting", ["errorlog", "accesslog"])
def test_a_path_that_cannot_be_opened_is_a_setting_at_fault(tmp_path: Path, setting: str) -> None:
    values: dict[str, Any] = {setting: str(tmp_path / "no" / "such" / "folder")}
    with pytest.raises(ConfigError) as caught:
        setup(Settings(**values))
    assert caught.value.setting == setting
    assert "No such file or directory" in str(caught.value)


def test_an_access_log_format_that_is_none_is_a_setting_at_fault(path: Path) -> None:
    check(Settings(access_log_format="json"))
    with pytest.raises(ConfigError) as caught:
        make(path, access_log_format="%(h)s %(zz)s")
    assert (caught.value.setting, caught.value.value) == ("access_log_format", "%(h)s %(zz)s")
    assert "unknown atom %(zz)s; known are h, l, u," in str(caught.value)
    assert not path.exists(), "nothing was opened"


def test_a_reload_that_cannot_be_served_changes_nothing(path: Path, tmp_path: Path) -> None:
    log = make(path, accesslog=str(tmp_path / "access.log"))
    before = set(Path("/proc/self/fd").iterdir())
    level, access = log.level, log.access_fd
    with pytest.raises(ConfigError, match="accesslog"):
        log.configure(Settings(errorlog=str(tmp_path / "b"), accesslog="/no/folder/x", loglevel="debug"))
    assert (log.level, log.access_fd) == (level, access)
    assert set(Path("/proc/self/fd").iterdir()) == before
    log.info("still here")
    assert lines(path) == [("INFO", "still here")]
    log.configure(Settings(errorlog=str(tmp_path / "b"), loglevel="debug"))
    log.debug("there now")
    assert lines(tmp_path / "b") == [("DEBUG", "there now")]
    assert log.access_fd == -1


def test_reopen_after_the_files_were_moved(path: Path, tmp_path: Path) -> None:
    access = tmp_path / "access.log"
    log = make(path, accesslog=str(access))
    fd = log.access_fd
    log.info("old")
    for file in (path, access):
        file.rename(f"{file}.1")
    log.info("still old")
    log.reopen()
    log.info("new")
    os.write(log.access_fd, b"new\n")
    assert log.access_fd == fd
    assert [message for _, message in lines(Path(f"{path}.1"))] == ["old", "still old"]
    assert [message for _, message in lines(path)] == ["new"]
    assert access.read_text() == "new\n"
    assert not os.get_inheritable(fd)


@pytest.mark.parametrize("settings", [{}, {"logconfig_dict": True}], ids=["file", "handler"])
def test_a_copy_catches_up_with_what_others_have_opened_again(
    path: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    written = tmp_path / "configured.log" if settings else path
    log = make(path, **{name: table(written) for name in settings})
    log.error("old")
    written.rename(f"{written}.1")
    log.catch_up()
    log.error("nobody has opened it again yet")
    written.touch()
    log.catch_up()
    log.error("new")
    assert written.read_text().endswith("new\n") and written.read_text().count("\n") == 1
    assert Path(f"{written}.1").read_text().count("\n") == 2


def test_reopen_that_fails_keeps_the_file_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = make(folder / "error.log")
    moved = folder.rename(tmp_path / "moved")
    log.reopen()
    ((level, message),) = lines(moved / "error.log")
    assert level == "WARNING"
    assert message == f"errorlog {folder / 'error.log'} cannot be opened again: No such file or directory"


def test_a_full_disk_raises_nothing() -> None:
    log = setup(Settings(errorlog="/dev/full"))
    for _ in range(3):
        log.error("lost")


def test_a_closed_pipe_raises_nothing_and_is_used_again(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    os.close(reader := os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
    with pytest.raises(ConfigError, match="No such device or address"):
        make(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    log = make(fifo)
    os.close(reader)
    log.error("lost")
    log.error("lost")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    log.error("said")
    warning, said = os.read(reader, 4096).decode().splitlines()
    assert warning.endswith("[WARNING] 2 messages could not be written here")
    assert said.endswith("[ERROR] said")
    os.close(reader)


def test_a_reader_that_stops_holds_nobody_for_long(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    log = make(fifo)
    for _ in range(3000):
        log.error("x" * 100)
    got = b""
    while chunk := os.read(reader, 1 << 20):
        got += chunk
        if len(chunk) < 1 << 16:
            break
    log.error("back")
    last, back = os.read(reader, 1 << 16).splitlines()[-2:]
    assert re.search(rb"\d+ messages could not be written here", last)
    assert back.endswith(b"back")
    assert all(LINE.fullmatch(line) for line in got.decode().splitlines())
    os.close(reader)


def test_a_torn_record_does_not_swallow_the_next(path: Path) -> None:
    """A short write, as a disk that becomes full leaves it."""
    import resource

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            log = make(path)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
            log.error("x" * 200)
            assert path.stat().st_size == 100
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            log.error("next")
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert lines(path)[1:] == [("WARNING", "1 messages could not be written here"), ("ERROR", "next")]


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)


CAPTURE = """
    import os, sys
    from prefork.config.settings import Settings
    from prefork.telemetry.log import setup
    log = setup(Settings(errorlog=sys.argv[1], accesslog="-", capture_output=True))
    print("the master's own")
    sys.stdout.flush()
    log.capture()
    print("printed")
    os.system("echo from a child")
    print("to stderr", file=sys.stderr)
    os.write(log.access_fd, b"access\\n")
    os.rename(sys.argv[1], sys.argv[1] + ".1")
    log.reopen()
    print("after")
    log.info("said")
"""


def test_capture_output(path: Path) -> None:
    done = python(CAPTURE, str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "the master's own\naccess\n", "the access log keeps the real stdout"
    assert Path(f"{path}.1").read_text() == "printed\nfrom a child\nto stderr\n"
    after, said = path.read_text().splitlines()
    assert after == "after" and said.endswith("[INFO] said")


def test_started_with_closed_streams() -> None:
    code = "import os; os.close(1); os.close(2); from prefork.config.settings import Settings;"
    code += "from prefork.telemetry.log import setup; setup(Settings(accesslog='-')).error('x')"
    assert python(code).returncode == 0


# --- logging


def test_logging_is_not_imported_for_it() -> None:
    code = """
        import sys
        from prefork.telemetry.log import setup
        class Settings: errorlog = "-"; accesslog = None; user = group = None; loglevel = "info"
        from prefork.config.settings import ACCESS_LOG_FORMAT
        Settings.access_log_format = ACCESS_LOG_FORMAT
        Settings.log_format = "text"; Settings.capture_output = False
        Settings.logconfig = Settings.logconfig_json = Settings.logconfig_dict = None
        before = set(sys.modules)
        log = setup(Settings)
        log.info("without")
        costly = {"logging", "traceback", "json", "re", "pathlib", "typing", "dataclasses"}
        print(sorted(costly & (set(sys.modules) - before)))
        import logging
        log.info("with")
        logging.getLogger("prefork.error").warning("by name")
    """
    done = python(code)
    assert done.stdout == "[]\n"
    assert [line.split("] ")[-1] for line in done.stderr.splitlines()] == ["without", "with", "by name"]


def test_the_logger_is_ours_by_name(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = make(path)
    log.join_logging()
    logging.getLogger("prefork.error").error("from a hook %s", 1, exc_info=raised(lambda: 1 / 0))
    log.info("from the server")
    assert lines(path) == [("ERROR", "from a hook 1"), ("INFO", "from the server")]
    assert "ZeroDivisionError" in path.read_text()
    assert capsys.readouterr() == ("", "")


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def test_handlers_of_the_application_get_the_record(path: Path) -> None:
    log = make(path)
    log.join_logging()
    kept = Kept()
    logging.getLogger("prefork.error").addHandler(kept)
    fault = raised(lambda: 1 / 0)
    log_app_fault(log, "GET / HTTP/1.1", fault)
    log.warning("x %s", 1)
    first, second = kept.records
    assert first.exc_info and first.exc_info[1] is fault
    assert (second.getMessage(), second.funcName) == (
        "x 1",
        "test_handlers_of_the_application_get_the_record",
    )
    assert len(lines(path)) == 2


def test_a_disabled_logger_silences_nothing(path: Path) -> None:
    """dictConfig with its default disable_existing_loggers, as many applications call it."""
    from logging.config import dictConfig

    log = make(path)
    log.join_logging()
    dictConfig({"version": 1, "root": {"level": "ERROR"}})
    assert logging.getLogger("prefork.error").disabled
    log.info("heard")
    assert lines(path) == [("INFO", "heard")]


def test_a_handler_that_raises_stops_nothing(path: Path) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("broken")

    log = make(path)
    log.join_logging()
    logging.getLogger("prefork.error").addHandler(Broken())
    log.error("x")
    assert ("ERROR", "x") in lines(path)


INI = """
[loggers]
keys=root,error
[handlers]
keys=file
[formatters]
keys=plain
[logger_root]
level=INFO
handlers=
[logger_error]
level=DEBUG
handlers=file
qualname={name}
propagate=0
[handler_file]
class=FileHandler
formatter=plain
args=(r"%(here)s/configured.log",)
[formatter_plain]
format=%(levelname)s|%(message)s
"""


@pytest.mark.parametrize("name", ["prefork.error", "gunicorn.error"])
def test_log_config(path: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "log%.ini").write_text(INI.format(name=name))
    log = make(path, logconfig=str(tmp_path / "log%.ini"))
    log.debug("%s", "x")
    configured = tmp_path / "configured.log"
    assert configured.read_text() == "DEBUG|x\n"
    assert path.read_text() == ""
    configured.rename(tmp_path / "moved.log")
    log.reopen()
    log.info("y")
    assert configured.read_text() == "INFO|y\n"


def test_a_configuration_that_names_others_leaves_the_error_log(path: Path, tmp_path: Path) -> None:
    (tmp_path / "log.ini").write_text(INI.format(name="other"))
    log = make(path, logconfig=str(tmp_path / "log.ini"))
    log.info("x")
    assert lines(path) == [("INFO", "x")]
    logging.getLogger("other").warning("y")
    assert (tmp_path / "configured.log").read_text() == "WARNING|y\n"


def table(file: Path) -> dict[str, Any]:
    return {
        "formatters": {"plain": {"format": "%(levelname)s|%(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(file), "formatter": "plain"}},
        "loggers": {"prefork.error": {"handlers": ["file"], "level": "WARNING"}},
    }


@pytest.mark.parametrize("kind", ["json", "dict"])
def test_log_config_tables(path: Path, tmp_path: Path, kind: str) -> None:
    configured = tmp_path / "configured.log"
    if kind == "json":
        (tmp_path / "log.json").write_text(json.dumps(table(configured)))
        log = make(path, logconfig_json=str(tmp_path / "log.json"))
    else:
        log = make(path, logconfig_dict=table(configured))
    log.info("quiet")
    log.warning("heard")
    assert configured.read_text() == "WARNING|heard\n"
    assert not log.isEnabledFor(20)


@pytest.mark.parametrize(
    ("setting", "text", "named"),
    [
        ("logconfig", "[loggers]\nkeys=", "'formatters' is missing"),
        ("logconfig", "no ini", "no ini"),
        ("logconfig_json", "{", "Expecting property name"),
        ("logconfig_json", "[]", "holds no JSON object"),
        ("logconfig_json", '{"handlers": {"x": {"class": "no.such"}}}', "no"),
        ("logconfig_json", '{"version": 7}', "Unsupported version: 7"),
    ],
)
def test_log_configs_at_fault(path: Path, tmp_path: Path, setting: str, text: str, named: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(ConfigError) as caught:
        make(path, **{setting: str(tmp_path / "config")})
    assert caught.value.setting == setting
    assert named in str(caught.value) and "\n" not in str(caught.value)
