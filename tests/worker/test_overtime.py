"""A request past its deadline, as a table: worker class, what it hangs in, whether its head is sent.

Each row is a server of its own with two workers; they run side by side, for some take seconds by design: what
cannot be interrupted is given up after two, and what holds the GIL is aborted after five.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from launcher import APPS, Events, Server, listen, until
from rawclient import Closed, Connection, Ending, request_bytes
from serving import chosen_classes, class_arguments

HERE = Path(__file__).parent
SOURCE = (HERE / "hangs.py").read_text().splitlines()
TIMEOUT = 0.5  # seconds; --timeout
SLACK = 2.5  # seconds that a loaded machine may add
INTERRUPTED, GIVEN_UP, ABORTED = 0.0, 2.0, 5.0  # seconds behind the deadline
KINDS = ("loop", "sleep", "receive", "mutex", "stubborn")
# Where an exception reaches it. A thread in the kernel has no bytecode at which one could be raised, where a
# main thread is woken by the signal, and a greenlet by the hub.
YIELDS = {
    "sync": {"loop", "sleep", "receive"},
    "threads": {"loop"},
    "gevent": {"loop", "sleep", "receive"},
}
Row = tuple[str, str, str]
ROWS: list[Row] = [
    (worker_class, kind, when)
    for worker_class in chosen_classes()
    for kind in KINDS
    for when in ("before", "after")
]


@dataclass
class Course:
    """What came of one row."""

    answer: Any  # the response, or None where there was none
    took: float
    mate: Any  # a kept-alive client of the same worker, asking while the request hangs; None: cut off
    strangers: list[Any]  # new clients meanwhile
    hung: int  # pid
    lives: bool
    log: str


def run(row: Row, folder: Path) -> Course:
    worker_class, _, _ = row
    heard = Events(folder / "events")
    flags = ["hangs:application", "-w", "2", "--timeout", str(TIMEOUT), "--graceful-timeout", "10"]
    path = f"{HERE}:{APPS}"
    server = Server(
        [*flags, *class_arguments(worker_class)],
        listeners=[listen()],
        env={**heard.env, "PYTHONPATH": path},
        cwd=folder,
    )
    server.forgive("")
    try:
        server.wait_workers(2)
        with contextlib.ExitStack() as stack:
            stack.callback(heard.close)
            return hang(server, heard, row, stack)
    finally:
        server.kill()


def hang(server: Server, heard: Events, row: Row, stack: contextlib.ExitStack) -> Course:
    worker_class, kind, when = row
    kept: dict[int, Connection] = {}
    while len(kept) < 2:
        client = stack.enter_context(server.connect())
        kept.setdefault(int(client.request("GET", "/pid").text), client)
    client = stack.enter_context(server.connect())
    client.send(request_bytes("GET", f"/{kind}/{when}"))
    hung = int(heard.next().split()[1])
    began = time.monotonic()
    mate = kept[hung]
    mate.send(request_bytes("GET", "/pid"))
    strangers = [server.get("/pid") for _ in range(4)]
    answer = take(client)
    took = time.monotonic() - began
    reply = take(mate)
    strangers += [server.get("/pid") for _ in range(2)]
    if kind in YIELDS[worker_class]:
        assert mate.request("GET", "/pid").text == str(hung)
    else:
        until(lambda: hung not in server.worker_pids(), f"worker {hung} is gone")
    until(lambda: len(server.worker_pids()) == 2, "two workers")
    lives = hung in server.worker_pids()
    line = next(number for number, text in enumerate(SOURCE, 1) if f"hangs here: {kind}" in text)
    with contextlib.suppress(AssertionError):  # the test itself says what is missing
        server.stderr.wait(f'hangs\\.py", line {line}\\b')
    log = "\n".join(server.stderr.since())
    server.stop()
    return Course(answer, took, reply, strangers, hung, lives, log)


def take(client: Connection) -> Any:
    try:
        return client.response()
    except (Closed, ConnectionError):
        return None


@pytest.fixture(scope="module")
def courses(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Row], Course]]:
    """courses(row) -> what came of it. All rows of this run are under way from the first one on."""
    wanted = {
        item.callspec.params["row"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == Path(__file__) and hasattr(item, "callspec")
    }
    with ThreadPoolExecutor(10) as pool:
        futures: dict[Row, Future[Course]] = {
            row: pool.submit(run, row, tmp_path_factory.mktemp("-".join(row)))
            # The long ones first.
            for row in sorted(wanted, key=lambda row: ("mutex", "stubborn", *KINDS).index(row[1]))
        }
        yield lambda row: futures[row].result()


@pytest.mark.parametrize("row", ROWS, ids="-".join)
def test_overtime(courses: Callable[[Row], Course], row: Row) -> None:
    worker_class, kind, when = row
    course = courses(row)
    expected = (
        INTERRUPTED if kind in YIELDS[worker_class] else ABORTED if kind == "mutex" else GIVEN_UP
    ) + TIMEOUT

    # The client is answered, or can see that its answer is cut.
    if when == "before":
        assert course.answer is not None, course.log
        assert course.answer.status == 504
    elif course.answer is not None:
        assert (course.answer.status, course.answer.ending is Ending.COMPLETE) == (200, False)
        assert course.answer.body == b"begun"
    assert expected - 0.1 <= course.took <= expected + SLACK, f"{course.took:.2f} s\n{course.log}"

    # Nobody else notices.
    assert [each.status for each in course.strangers] == [200] * 6
    if kind in YIELDS[worker_class] or (worker_class != "sync" and kind != "mutex"):
        assert course.mate is not None, course.log
        assert course.mate.text == str(course.hung)
    assert course.lives == (kind in YIELDS[worker_class]), course.log

    # The log says which request, and where it is.
    line = next(number for number, text in enumerate(SOURCE, 1) if f"hangs here: {kind}" in text)
    assert f'hangs.py", line {line}' in course.log, course.log
    assert f"GET /{kind}/{when}" in course.log
