"""The shared slots of one server; see scoreboard.pyx."""

from enum import IntEnum
from typing import NamedTuple, final

class WorkerState(IntEnum):
    FREE = 0
    BOOTING = 1
    SERVING = 2
    DRAINING = 3
    STOPPED = 4
    PARKED = 5

class WorkerView(NamedTuple):
    worker: int
    pid: int
    generation: int
    state: WorkerState
    booted_ns: int
    beat_ns: int
    connections: int
    running: int
    accepted: int
    requests: int
    statuses: tuple[int, ...]
    client_faults: int
    app_faults: int
    bytes_in: int
    bytes_out: int
    latency_ns: int
    queue_ns: int
    latency: tuple[int, ...]
    queue: tuple[int, ...]

class RequestView(NamedTuple):
    request: int
    start_ns: int
    deadline_ns: int
    thread: int
    method: str
    target: str

def bucket_of(ns: int) -> int: ...
def bucket_bounds() -> tuple[int, ...]: ...

@final
class Scoreboard:
    @property
    def workers(self) -> int: ...
    @property
    def requests_per_worker(self) -> int: ...
    @property
    def nudges(self) -> tuple[int, ...]: ...
    def __new__(cls, workers: int, requests_per_worker: int) -> Scoreboard: ...
    def clear(self, worker: int) -> None: ...
    def set_worker(
        self,
        worker: int,
        *,
        pid: int | None = None,
        generation: int | None = None,
        state: WorkerState | None = None,
        booted_ns: int | None = None,
    ) -> None: ...
    def beat(self, worker: int) -> None: ...
    def nudge(self, worker: int) -> None: ...
    def nudged(self, worker: int) -> bool: ...
    def idlest_sibling(self, worker: int) -> int: ...
    def worker(self, worker: int) -> WorkerView: ...
    def totals(self) -> WorkerView: ...
    def requests(self, worker: int) -> list[RequestView]: ...
    def busy_ns(self, worker: int, now_ns: int) -> int: ...
    def ended(self, worker: int) -> list[tuple[str, str]]: ...
    def begin_request(
        self,
        worker: int,
        request: int,
        method: bytes,
        target: bytes,
        *,
        start_ns: int,
        deadline_ns: int = 0,
        thread: int = 0,
    ) -> None: ...
    def end_request(self, worker: int, request: int) -> None: ...
    def set_load(self, worker: int, *, connections: int, running: int, busy_ns: int = 0) -> None: ...
    def count(
        self,
        worker: int,
        *,
        status: int,
        latency_ns: int = 0,
        queue_ns: int = 0,
        body_in: int = 0,
        body_out: int = 0,
    ) -> None: ...
