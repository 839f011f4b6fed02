"""What the system does not give: descriptors, above all."""

from __future__ import annotations

import resource

import pytest
from launcher import program

from .conftest import Start, answer


def limited(soft: int, hard: int) -> list[str]:
    """The program, with these limits of open files."""
    return ["sh", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$0" "$@"', *program()]


def test_as_many_descriptors_as_the_workers_take(start: Start) -> None:
    """The soft limit is raised by as many, so that the workers have as many left for their clients."""
    server = start(workers=40, executable=limited(64, 1000))
    limits = [
        resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in (server.pid, *server.worker_pids()[:1])
    ]
    assert limits == [(64 + 3 * 40 + 3 * 40 + 48 + 1, 1000)] * 2
    answer(server)


def test_a_limit_that_leaves_room_is_left_alone(start: Start) -> None:
    server = start(executable=limited(200, 1000))
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (200, 1000)


@pytest.mark.parametrize("limit", [64, 100, 130])
def test_too_few_descriptors(start: Start, limit: int) -> None:
    server = start(workers=40, ready=False, limits={"NOFILE": limit})
    assert server.wait() in (1, 3)
    server.stderr.wait_end()
    said = [line for line in server.stderr.lines if "error" in line.lower()]
    assert len(said) == 1
    assert said[0].endswith(
        f": 40 workers may take 289 descriptors in the master, and the limit is {limit}"
        " (ulimit -n, LimitNOFILE=)"
    )
    assert not [line for line in server.stderr.lines if "Traceback" in line]
