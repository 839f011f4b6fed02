"""The shared slots: who writes what is read whole, totals never run backwards, the idlest is found."""

import gc
import itertools
import os
import select

import pytest

from prefork.engine.scoreboard import Scoreboard, WorkerState, bucket_bounds, bucket_of


@pytest.fixture
def board() -> Scoreboard:
    return Scoreboard(4, 2)


@pytest.mark.parametrize(("workers", "requests"), [(0, 1), (1, 0), (-1, 4)])
def test_needs_slots(workers: int, requests: int) -> None:
    with pytest.raises(ValueError, match="at least one worker"):
        Scoreboard(workers, requests)


def test_begins_empty(board: Scoreboard) -> None:
    view = board.worker(3)
    assert (view.worker, view.state, view.pid, view.requests) == (3, WorkerState.FREE, 0, 0)
    assert not any(view.latency) and not any(view.queue)
    assert board.requests(3) == []


@pytest.mark.parametrize("worker", [-1, 4])
def test_numbers_outside_are_errors(board: Scoreboard, worker: int) -> None:
    for call in (board.worker, board.clear, board.beat, board.nudge, board.nudged, board.requests):
        with pytest.raises(IndexError, match="of 4"):
            call(worker)
    with pytest.raises(IndexError, match="request slot 2 of 2"):
        board.end_request(0, 2)


def test_set_worker_leaves_the_rest(board: Scoreboard) -> None:
    board.set_worker(1, pid=77, generation=3, state=WorkerState.BOOTING)
    board.set_worker(1, state=WorkerState.SERVING, booted_ns=9)
    view = board.worker(1)
    assert (view.pid, view.generation, view.state, view.booted_ns) == (77, 3, WorkerState.SERVING, 9)
    assert board.worker(0).pid == board.worker(2).pid == 0
    with pytest.raises(ValueError, match="9"):
        board.set_worker(1, state=9)  # type: ignore[arg-type]


def test_a_beat_is_monotonic_time(board: Scoreboard) -> None:
    board.beat(0)
    first = board.worker(0).beat_ns
    board.beat(0)
    assert 0 < first <= board.worker(0).beat_ns


def test_what_a_child_writes_the_parent_reads(board: Scoreboard) -> None:
    pid = os.fork()
    if pid == 0:
        board.set_worker(2, pid=os.getpid(), state=WorkerState.SERVING)
        board.begin_request(2, 1, b"GET", b"/slow?x=1", start_ns=5, deadline_ns=6, thread=7)
        board.count(2, status=404, latency_ns=3_000, queue_ns=1_000, body_in=10, body_out=20)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    view = board.worker(2)
    assert (view.pid, view.requests, view.bytes_in, view.bytes_out) == (pid, 1, 10, 20)
    assert view.statuses == (0, 0, 0, 0, 1, 0)
    assert (view.latency_ns, view.queue_ns) == (3_000, 1_000)
    assert (view.latency[3], view.queue[1], sum(view.latency), sum(view.queue)) == (1, 1, 1, 1)
    (request,) = board.requests(2)
    assert request == (1, 5, 6, 7, "GET", "/slow?x=1")


def test_request_text_is_cut_and_terminated(board: Scoreboard) -> None:
    board.begin_request(0, 0, b"M" * 100, b"/" + b"t" * 1000 + b"\xff", start_ns=1)
    board.begin_request(0, 1, b"", b"\xe9", start_ns=2)
    first, second = board.requests(0)
    assert (first.method, first.target) == ("M" * 23, "/" + "t" * 158)
    assert (second.method, second.target) == ("", "\xe9")
    board.begin_request(0, 0, b"GET", b"/", start_ns=3)
    assert board.requests(0)[0][4:] == ("GET", "/")
    board.end_request(0, 0)
    board.end_request(0, 1)
    assert board.requests(0) == []


@pytest.mark.parametrize(
    ("status", "digit"),
    [(0, 0), (-1, 0), (99, 0), (103, 1), (200, 2), (304, 3), (499, 4), (599, 5), (600, 0)],
)
def test_statuses_by_first_digit(board: Scoreboard, status: int, digit: int) -> None:
    board.count(0, status=status)
    assert [i for i, n in enumerate(board.worker(0).statuses) if n] == [digit]


def test_busy_is_what_ran_before_and_what_runs_now(board: Scoreboard) -> None:
    assert board.busy_ns(0, 99) == 0
    board.set_load(0, connections=2, running=2, busy_ns=1_000)
    board.begin_request(0, 0, b"GET", b"/", start_ns=40)
    board.begin_request(0, 1, b"GET", b"/", start_ns=70)
    assert board.busy_ns(0, 100) == 1_000 + 60 + 30
    assert board.busy_ns(0, 50) == 1_000 + 10, "one that began behind the clock's time is no time saved"
    board.end_request(0, 0)
    assert board.busy_ns(0, 100) == 1_000 + 30
    board.clear(0)
    assert board.busy_ns(0, 100) == 0


def test_totals_keep_what_the_dead_did(board: Scoreboard) -> None:
    board.count(0, status=200, latency_ns=10_000)
    board.count(1, status=500, latency_ns=10_000)
    board.set_load(1, connections=5, running=1)
    before = board.totals()
    board.clear(0)
    board.clear(1)
    after = board.totals()
    assert before.requests == after.requests == 2
    assert before.statuses == after.statuses
    assert before.latency == after.latency
    assert (before.connections, after.connections) == (5, 0)
    assert board.worker(1).requests == 0
    board.clear(0)
    assert board.totals() == after, "clearing an empty slot changes no total"


# bucket i counts from bounds[i] up to, not including, bounds[i + 1]
def test_buckets_and_bounds_agree() -> None:
    bounds = bucket_bounds()
    assert bounds[:9] == (0, 1, 2, 3, 4, 5, 6, 7, 8)
    assert list(bounds) == sorted(set(bounds))
    for index, begin in enumerate(bounds):
        assert bucket_of(begin * 1000) == index
        assert bucket_of(begin * 1000 + 999) == index
        if index:
            assert bucket_of(begin * 1000 - 1) == index - 1
    assert bucket_of(-5) == 0
    assert bucket_of(2**62) == len(bounds) - 1
    assert bounds[-1] > 100_000_000, "requests of a minute are still told apart"
    assert all(high <= low * 1.25 + 1 for low, high in itertools.pairwise(bounds))


S, B, D = WorkerState.SERVING, WorkerState.BOOTING, WorkerState.DRAINING


@pytest.mark.parametrize(
    ("slots", "idlest"),
    [
        ([(S, 0, 0), (S, 5, 0), (S, 3, 0), (S, 4, 0)], 2),
        ([(S, 0, 0), (S, 5, 0), (S, 3, 1), (S, 4, 0)], 3),  # busy ones are passed over
        ([(S, 0, 0), (B, 0, 0), (D, 0, 0), (S, 9, 0)], 3),  # only who serves
        ([(S, 0, 0), (B, 0, 0), (D, 0, 0), (S, 9, 2)], -1),
        ([(S, 9, 3), (S, 0, 1), (S, 0, 1), (S, 0, 1)], -1),
        ([(S, 0, 0), (S, 4, 0), (S, 4, 0), (S, 4, 0)], 1),  # equals: the next one, in turn
        ([(S, 0, 0), (WorkerState.FREE, 0, 0), (WorkerState.STOPPED, 0, 0), (S, 4, 0)], 3),
    ],
)
def test_idlest_sibling(board: Scoreboard, slots: list[tuple[WorkerState, int, int]], idlest: int) -> None:
    for worker, (state, connections, running) in enumerate(slots):
        board.set_worker(worker, state=state)
        board.set_load(worker, connections=connections, running=running)
    assert board.idlest_sibling(0) == idlest


def test_idlest_is_never_oneself() -> None:
    board = Scoreboard(1, 1)
    board.set_worker(0, state=S)
    assert board.idlest_sibling(0) == -1


def test_a_nudge_wakes_and_is_taken_once(board: Scoreboard) -> None:
    poll = select.poll()
    poll.register(board.nudges[2], select.POLLIN)
    assert not board.nudged(2)
    board.nudge(2)
    board.nudge(2)
    assert poll.poll(0) == [(board.nudges[2], select.POLLIN)]
    assert board.nudged(2)
    assert not board.nudged(2)
    assert poll.poll(0) == []
    assert not os.get_inheritable(board.nudges[2])
    assert not os.get_blocking(board.nudges[2])


def test_gone_with_its_descriptors() -> None:
    board = Scoreboard(2, 1)
    nudges = board.nudges
    del board
    gc.collect()
    for fd in nudges:
        with pytest.raises(OSError):
            os.fstat(fd)


@pytest.mark.parametrize("arguments", [(), (1,), ("a", 1), (1, 1, 1)])
def test_one_that_cannot_be_made_goes_quietly(arguments: tuple[object, ...]) -> None:
    for make in (Scoreboard, lambda *given: Scoreboard.__new__(Scoreboard, *given)):
        with pytest.raises(TypeError):
            make(*arguments)  # type: ignore[operator]


def test_text_is_never_torn() -> None:
    """A child changes its slot as fast as it can; what is read is always one of the two texts."""
    board = Scoreboard(1, 1)
    texts = {("a" * 20, "a" * 150), ("b" * 20, "b" * 150)}
    held, until = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(until)
        os.set_blocking(held, False)
        while True:
            try:
                os.read(held, 1)
                os._exit(0)  # the parent has closed its end
            except BlockingIOError:
                pass
            for letter in (b"a", b"b") * 100:
                board.begin_request(0, 0, letter * 20, letter * 150, start_ns=1)
    os.close(held)
    try:
        seen: set[tuple[str, str]] = set()
        for _ in range(20_000):
            seen.update((view.method, view.target) for view in board.requests(0))
        while not seen >= texts:
            seen.update((view.method, view.target) for view in board.requests(0))
    finally:
        os.close(until)
        os.waitpid(pid, 0)
    assert seen == texts
