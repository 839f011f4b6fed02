"""Access lines as records: what becomes of a batch, and of handlers that fail or keep others waiting."""

import logging
import os

import pytest

from prefork.worker import records
from prefork.worker.records import RecordedLog


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def logger(kept: Kept) -> logging.Logger:
    logger = logging.Logger("prefork.access", logging.INFO)  # noqa: LOG001  (nobody else gets it)
    logger.addHandler(kept)
    return logger


@pytest.fixture(autouse=True)
def _no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's end runs what it registers; the end of the tests must not."""
    monkeypatch.setattr(records.atexit, "register", lambda function: None)


def add(log: RecordedLog, *paths: str) -> None:
    for path in paths:
        log.record_for_test({"PATH_INFO": path})


def test_a_flush_makes_a_record_of_each_line(logger: logging.Logger, kept: Kept) -> None:
    log = RecordedLog('"%(U)s" %% é', logger, in_hub=False)
    add(log, "/a", "/b\n%s")
    assert kept.lines == [] and log.pending
    assert log.flush()
    assert kept.lines == ['"/a" % é', '"/b\\x0A%s" % é'] and not log.pending
    log.flush()
    add(log, "/c")
    log.reopen(-1)
    assert kept.lines[2:] == ['"/c" % é']
    assert log.trouble() is None


def test_a_child_of_the_application_leaves_them_alone(logger: logging.Logger, kept: Kept) -> None:
    log = RecordedLog("%(U)s", logger, in_hub=False)
    add(log, "/a")
    pid = os.fork()
    if pid == 0:
        log.flush()
        log._end()
        os._exit(len(kept.lines))
    assert os.waitpid(pid, 0)[1] == 0
    log.flush()
    assert kept.lines == ["/a"]


def test_lines_that_the_engine_wrote_by_itself_are_there_too(logger: logging.Logger, kept: Kept) -> None:
    log = RecordedLog("%(U)s", logger, in_hub=False)
    paths = [f"/{number}/{'x' * 1000}" for number in range(200)]  # three times its buffer
    for _ in range(2):
        add(log, *paths)
        log.flush()
    assert kept.lines == paths * 2


def test_a_filter_that_raises_is_told_once_and_stops_nothing(logger: logging.Logger, kept: Kept) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        if "/bad" in record.getMessage():
            raise TypeError("no atoms")
        return True

    logger.addFilter(refuse)
    log = RecordedLog("%(U)s", logger, in_hub=False)
    add(log, "/bad", "/bad", "/good")
    log.flush()
    assert kept.lines == ["/good"]
    assert log.trouble() == (
        "lines of the access log are lost, the logger prefork.access failed: TypeError: no atoms"
    )
    assert log.trouble() is None


def test_a_handler_that_is_too_slow_does_not_fill_the_memory(
    logger: logging.Logger, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(records, "start_new_thread", lambda *call: asked.append(call))
    monkeypatch.setattr(records, "WAITING_LIMIT", 3)
    log = RecordedLog("%(U)s", logger, in_hub=True)
    add(log, "/1", "/2")
    log.flush()
    add(log, "/3")
    log.flush()
    assert kept.lines == [] and len(asked) == 1, "one greenlet is enough"
    add(log, "/4")
    log.flush()
    assert "its handlers are too slow" in (log.trouble() or "")
    function, arguments = asked[0]
    function(*arguments)
    add(log, "/5")
    log.flush()
    assert len(asked) == 2
    asked[1][0]()
    log._end()
    assert kept.lines == ["/1", "/2", "/3", "/5"]
