"""Two looks at a server, and what is made of them."""

from __future__ import annotations

import os

import pytest

from prefork.errors import PreforkError
from prefork.operate import reading
from prefork.operate.reading import Look, Reader, figures
from prefork.operate.usage import Usage, read, usage

from .conftest import Master


def look(master: Master, moment: float, **usages: Usage) -> Look:
    """usages: of the slots, as s0, s1."""
    by_slot = {worker["slot"]: worker["pid"] for worker in master.said()["workers"]}
    return Look(master.said(), moment, {by_slot[int(name[1:])]: each for name, each in usages.items()})


def test_the_first_look_has_nothing_to_compare_with() -> None:
    master = Master()
    master.serve(0, 5)
    found = figures(look(master, 10.0), None)
    assert found["now"]["interval"] is None
    assert found["now"]["requests_per_second"] is None
    assert found["now"]["latency"] is None
    assert [worker["requests_per_second"] for worker in found["workers"]] == [None, None]


def test_rates_are_of_the_time_between() -> None:
    master = Master()
    master.serve(0, 1000, latency_ns=900_000_000)
    before = look(master, 10.0)
    master.serve(0, 30)
    master.serve(1, 10, status=503)
    found = figures(look(master, 12.0), before)
    assert found["now"]["interval"] == 2.0
    assert found["now"]["requests_per_second"] == 20.0
    assert found["now"]["statuses_per_second"]["2xx"] == 15.0
    assert found["now"]["statuses_per_second"]["5xx"] == 5.0
    assert [worker["requests_per_second"] for worker in found["workers"]] == [15.0, 5.0]
    # The slow ones of before do not count: all of now took a millisecond.
    assert found["now"]["latency"]["max"] == pytest.approx(0.001, rel=0.25)
    assert found["now"]["queue"]["p99"] == pytest.approx(10e-6, rel=0.25)


def test_an_interval_without_requests_has_no_percentiles() -> None:
    master = Master()
    master.serve(0, 5)
    found = figures(look(master, 11.0), look(master, 10.0))
    assert found["now"]["requests_per_second"] == 0.0
    assert found["now"]["latency"] is None


def test_busy_is_of_what_can_run_at_once() -> None:
    master = Master(workers=2, at_once=4)
    for request in range(3):
        master.run(0, b"/", seconds=1, request=request)
    found = figures(look(master, 1.0), None)["now"]
    assert (found["running"], found["at_once"], found["busy"]) == (3, 8, 3 / 8)


def test_a_new_worker_in_an_old_slot_counts_from_nothing() -> None:
    master = Master()
    master.serve(0, 100)
    before = look(master, 1.0)
    master.hire(0, 4_000_900, generation=2)
    master.serve(0, 4)
    found = figures(look(master, 2.0), before)
    assert found["workers"][0]["requests_per_second"] == 4.0
    assert found["now"]["requests_per_second"] == 4.0


def test_processor_and_memory() -> None:
    master = Master()
    before = look(master, 10.0, s0=Usage(1 << 20, 5.0, 100.0))
    after = look(master, 12.0, s0=Usage(2 << 20, 6.0, 102.0), s1=Usage(3 << 20, 0.25, 0.5))
    found = figures(after, before)["workers"]
    assert (found[0]["cpu"], found[0]["memory"]) == (0.5, 2 << 20)
    assert (found[1]["cpu"], found[1]["memory"]) == (0.5, 3 << 20)  # born in between: of its own life


def test_what_is_hidden_is_not_guessed() -> None:
    found = figures(look(Master(), 12.0), look(Master(), 10.0))
    assert found["workers"][0]["cpu"] is None
    assert found["workers"][0]["memory"] is None
    assert found["now"]["up"] is None


class TestReader:
    def test_apart(self, master: Master) -> None:
        """Who asks often is told of a whole second all the same."""
        moments = iter([0.0, 0.5, 0.75, 1.5, 1.75])
        reader = Reader(None, apart=1.0, ask=master.ask, clock=lambda: next(moments))
        assert [reader.read()["now"]["interval"] for _ in range(5)] == [None, 0.5, 0.75, 1.0, 1.0]

    def test_another_master_begins_anew(self, master: Master) -> None:
        moments = iter([0.0, 1.0, 2.0])
        reader = Reader(None, ask=master.ask, clock=lambda: next(moments))
        master.serve(0, 7)
        reader.read()
        master.pid = master.facts["pid"] = 4_000_002
        assert reader.read()["now"]["interval"] is None
        master.serve(0, 7)
        assert reader.read()["now"]["requests_per_second"] == 7.0

    def test_a_server_that_says_nothing_has_ended(self, master: Master) -> None:
        with pytest.raises(PreforkError, match=r"^the server \(pid 4000001\) has ended$"):
            Reader(None, ask=lambda *_: []).read()

    def test_an_older_server_is_named(self, master: Master) -> None:
        said = master.said()
        del said["histograms"]
        with pytest.raises(
            PreforkError, match=r"^pid 4000001 runs an older prefork: prefork status shows it"
        ):
            Reader(None, ask=lambda *_: [said]).read()
        refused = {"state": "refused", "cause": "this server knows no such order", "exit_code": 1}
        with pytest.raises(PreforkError, match=r"^pid 4000001 runs an older prefork: it cannot tell its met"):
            Reader(None, ask=lambda *_: [refused]).answer("metrics")

    def test_the_server_that_was_found_is_kept(self, master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
        reader = Reader(None, ask=master.ask)
        reader.read()
        monkeypatch.setattr(reading.running, "find", lambda named, here: pytest.fail("it was found"))
        reader.read()


class TestUsage:
    def test_a_name_may_hold_anything(self) -> None:
        tail = ["S", "1", *["0"] * 9, "150", "50", *["0"] * 6, "1000", "0", "3"]
        found = read(f"7 (a) R 9 (b) {' '.join(tail)}".encode(), 60.0)
        assert found.memory == 3 * os.sysconf("SC_PAGE_SIZE")
        ticks = os.sysconf("SC_CLK_TCK")
        assert found.processor == 200 / ticks
        assert found.age == 60.0 - 1000 / ticks

    def test_of_this_process(self) -> None:
        found = usage(os.getpid())
        assert found is not None
        assert found.memory > 1 << 20
        assert found.processor > 0
        assert 0 < found.age < 86400

    def test_of_nobody(self) -> None:
        assert usage(4_000_001) is None
