"""Workers that have served their share are replaced, one at a time, and nobody waits for it."""

from __future__ import annotations

import itertools
import mmap
import time
from pathlib import Path

import pytest
from launcher import Server, until
from serving import chosen_classes

from prefork.worker.recycle import INTERVAL, SAMPLES, private_memory

from .conftest import Start, counters


def pid_of(server: Server) -> int:
    return int(server.get("/pid").text)


def test_private_memory_is_what_nobody_shares() -> None:
    before = private_memory()
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as ours:
        for at in range(0, len(ours), 4096):
            ours[at] = 1
        grown = private_memory() - before
    assert 31 << 20 < grown < 40 << 20
    with mmap.mmap(-1, 32 << 20) as shared:  # with children, for one
        for at in range(0, len(shared), 4096):
            shared[at] = 1
        # Private as long as only one process has it; what a fork would share is the kernel's count to keep.
        assert private_memory() > before
    assert abs(private_memory() - before) < 8 << 20


def test_unreadable_memory_is_no_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("prefork.worker.recycle.PAGES", str(tmp_path / "nothing"))
    assert private_memory() == 0


def test_max_requests(start: Start, worker_class: str) -> None:
    server = start(worker_class, "--max-requests", "5")
    for _ in range(3):
        old = pid_of(server)
        until(lambda old=old: pid_of(server) != old, f"worker {old} was replaced")
        server.stderr.wait(rf"worker {old} is to be replaced: 5 requests \(--max-requests\)")


def test_jitter_spreads_the_replacements(start: Start) -> None:
    server = start("sync", "--max-requests", "10", "--max-requests-jitter", "30")
    seen: set[int] = set()

    def sixth_serves() -> bool:
        """However many requests that takes: a worker serves on, above its quota, until the next is ready."""
        seen.add(pid_of(server))
        return len(seen) > 5

    until(sixth_serves, "five workers were replaced")
    said = server.stderr.wait(r"replaced: (\d+) requests", count=5)
    quotas = [int(match[1]) for match in said]
    assert all(10 <= quota <= 40 for quota in quotas)
    assert len(set(quotas)) > 1  # all equal: once in 31 ** 4


def test_max_memory_while_requests_come(start: Start, worker_class: str) -> None:
    server = start(worker_class, "--max-memory", "60m")
    old = pid_of(server)
    for _ in range(10):
        assert int(server.get("/leak?10000000").text) == old
    since = time.monotonic()
    for _ in itertools.count():
        if pid_of(server) != old:
            break
        assert time.monotonic() - since < 20
    assert time.monotonic() - since > INTERVAL * (SAMPLES - 1)
    server.stderr.wait(rf"worker {old} is to be replaced: \d+ MiB of private memory, 60 MiB allowed")


def test_idle_worker_is_not_sampled(start: Start) -> None:
    """One look behind the last request, and no more: an idle worker of any class does not wake up."""
    servers = [start(name, "--max-memory", "1m") for name in chosen_classes()]
    workers = [server.worker_pids() for server in servers]
    for server in servers:
        server.get("/pid")
    since = time.monotonic()
    # The last look is over, and so is that of gevent's watch over the hub behind it (stall_timeout).
    until(lambda: time.monotonic() - since > INTERVAL + 2.5, "the last look is over")
    before = [counters(worker) for (worker,) in workers]
    until(lambda: time.monotonic() - since > INTERVAL + 5, "time has passed")
    assert [counters(worker) for (worker,) in workers] == before
    assert [server.worker_pids() for server in servers] == workers


def test_max_lifetime_replaces_all_but_not_at_once(start: Start, worker_class: str) -> None:
    server = start(worker_class, "--max-lifetime", "1", workers=4)
    before = set(server.worker_pids())
    fewest = 4
    since = time.monotonic()
    while before & set(server.worker_pids()):
        assert server.get("/pid").status == 200
        fewest = min(fewest, len(server.worker_pids()))
        assert time.monotonic() - since < 20
    assert fewest >= 4
    server.stderr.wait(r"is to be replaced: 1 s old \(--max-lifetime\)", count=4)
