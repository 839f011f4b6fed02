"""CPU of a tree that changes under the eyes of the one who counts, and /proc as it is written."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.proctree import TICK_NS, Bill, Ledger, Look, descendants, memory_kib, parse_stat, pids

ROOT, CHILD, LATE = (1, 100), (2, 200), (3, 300)
NOBODY = (0, 0)


def look(threads: dict[tuple[int, int], int], reaped: int = 0) -> Look:
    """One thread a process; all are children of ROOT, which has waited for `reaped` ns of children."""
    return Look(
        threads={(*key, key[0]): ns for key, ns in threads.items()},
        reaped={key: reaped if key == ROOT else 0 for key in threads},
        parents={key: NOBODY if key == ROOT else ROOT for key in threads},
    )


def total(*looks: Look) -> int:
    bill = Bill()
    for each in looks:
        bill.add(each)
    return bill.total_ns()


def test_what_was_used_before_does_not_count() -> None:
    assert total(look({ROOT: 1000, CHILD: 500}), look({ROOT: 1100, CHILD: 800})) == 400


def test_a_child_that_died_is_remembered() -> None:
    assert total(look({ROOT: 0, CHILD: 500}), look({ROOT: 0, CHILD: 900}), look({ROOT: 0})) == 400


def test_a_child_born_later_counts_from_birth() -> None:
    assert total(look({ROOT: 10}), look({ROOT: 10, LATE: 70})) == 70


def test_a_process_number_used_again_is_another_process() -> None:
    again = (CHILD[0], CHILD[1] + 1)
    assert total(look({ROOT: 0, CHILD: 500}), look({ROOT: 0, again: 30})) == 30


def test_a_child_that_no_look_saw_is_on_its_parents_account() -> None:
    assert total(look({ROOT: 0}), look({ROOT: 0}, reaped=50 * TICK_NS)) == 50 * TICK_NS


def test_the_parents_account_adds_what_a_child_used_after_the_last_look() -> None:
    """Seen at 3 ticks, reaped with 20, of which 2 were before the first look."""
    first = look({ROOT: 0, CHILD: 2 * TICK_NS})
    seen = look({ROOT: 0, CHILD: 3 * TICK_NS})
    assert total(first, seen, look({ROOT: 0}, reaped=20 * TICK_NS)) == 18 * TICK_NS


def test_rounding_of_the_parents_account_is_no_news() -> None:
    first = look({ROOT: 0, CHILD: 0})
    seen = look({ROOT: 0, CHILD: 5 * TICK_NS})
    assert total(first, seen, look({ROOT: 0}, reaped=6 * TICK_NS)) == 5 * TICK_NS


def test_stat_of_a_process_with_an_awkward_name() -> None:
    fields = [f"{n}" for n in range(1, 53)]
    fields[1], fields[2] = "(a b) c)", "S"
    assert parse_stat(" ".join(fields)) == (4, 22, (16 + 17) * TICK_NS)


def test_descendants() -> None:
    assert sorted(descendants(5, {5: 1, 6: 5, 7: 6, 8: 1, 9: 5})) == [5, 6, 7, 9]


def test_a_live_tree_with_a_child_that_dies() -> None:
    """A child burns 50 ms of CPU and ends between two looks."""
    burn = "import time\nwhile time.process_time() < 0.05: pass"
    run = f"subprocess.run([sys.executable, '-Sc', {burn!r}])"
    code = f"import subprocess, sys\nsys.stdin.read(1)\n{run}\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-Sc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        with Ledger(process.pid) as ledger:
            process.stdin.write(b"x")
            process.stdin.flush()
            process.stdout.readline()
        assert ledger.cpu_ns >= 40_000_000
        assert memory_kib(process.pid) > 1000
        assert pids(os.getpid())[0] == os.getpid()
        assert process.pid in pids(os.getpid())
        process.stdin.close()
