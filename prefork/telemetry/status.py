"""What the workers of this server do at this moment, as data, as JSON and as a table for people.

It is read from the scoreboard, and names of threads from /proc, so it is also true of workers that hang.
"""

from __future__ import annotations

import time

from .histogram import mean, quantile, sparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..engine.scoreboard import RequestView, Scoreboard, WorkerView

STATUSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")  # none: the client left before an answer


def snapshot(board: Scoreboard, *, now_ns: int | None = None) -> dict[str, Any]:
    """`workers`: one entry for each slot in use. `totals`: their counters and those of workers that are gone.
    `histograms`: what the totals' spans are read from, for who compares two moments. `requests_per_worker`:
    how many one can run at once.

    Times are seconds, sizes bytes. now_ns: time.monotonic_ns().
    """
    now = time.monotonic_ns() if now_ns is None else now_ns
    workers = []
    for slot in range(board.workers):
        view = board.worker(slot)
        if view.state:
            workers.append(_worker(view, board.requests(slot), now))
    totals = board.totals()
    return {
        "workers": workers,
        "totals": _counters(totals),
        "histograms": {"latency": sparse(totals.latency), "queue": sparse(totals.queue)},
        "requests_per_worker": board.requests_per_worker,
    }


def as_json(status: dict[str, Any]) -> str:
    """One line of JSON."""
    import json

    return json.dumps(status) + "\n"


def as_text(status: dict[str, Any]) -> str:
    """A table of the workers, and what each is running."""
    rows = [
        [
            "slot",
            "pid",
            "gen",
            "state",
            "up",
            "conns",
            "run",
            "requests",
            "5xx",
            "p50 ms",
            "p99 ms",
            "queue p99",
        ]
    ]
    for worker in status["workers"]:
        who = [str(worker[name]) for name in ("slot", "pid", "generation", "state")]
        rows.append([*who, span(worker["up"]), *_figures(worker)])
    rows.append(["", "", "", "all", "", *_figures(status["totals"])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)).rstrip() for row in rows]
    for worker in status["workers"]:
        for request in worker["requests_now"]:
            left = "" if request["left"] is None else f", {request['left']:.1f} s left"
            lines.append(
                f"{worker['pid']}: {request['method']} {plain(request['target'])}, "
                f"for {request['running']:.1f} s{left}"
            )
    return "\n".join(lines) + "\n"


def _worker(view: WorkerView, requests: list[RequestView], now: int) -> dict[str, Any]:
    return {
        "slot": view.worker,
        "pid": view.pid,
        "generation": view.generation,
        "state": view.state.name.lower(),
        "up": _since(view.booted_ns, now),
        "beat": _since(view.beat_ns, now),
        **_counters(view),
        "requests_now": [
            {
                "method": request.method,
                "target": request.target,
                "running": _since(request.start_ns, now),
                "left": (request.deadline_ns - now) / 1e9 if request.deadline_ns else None,
                "thread": request.thread,
                "thread_name": _thread_name(view.pid, request.thread),
            }
            for request in requests
        ],
    }


def _thread_name(pid: int, thread: int) -> str:
    """As the kernel has it; "" when the thread is gone."""
    try:
        with open(f"/proc/{pid}/task/{thread}/comm", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read().rstrip("\n")
    except OSError:
        return ""


def _counters(view: WorkerView) -> dict[str, Any]:
    return {
        "connections": view.connections,
        "running": view.running,
        "accepted": view.accepted,
        "requests": view.requests,
        "statuses": dict(zip(STATUSES, view.statuses, strict=True)),
        "client_faults": view.client_faults,
        "app_faults": view.app_faults,
        "bytes_in": view.bytes_in,
        "bytes_out": view.bytes_out,
        "latency": _spans(view.latency, view.latency_ns),
        "queue": _spans(view.queue, view.queue_ns),
    }


def _spans(counts: tuple[int, ...], sum_ns: int) -> dict[str, float]:
    named = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {"mean": mean(counts, sum_ns), **{name: quantile(counts, share) for name, share in named.items()}}


def _since(moment_ns: int, now: int) -> float:
    return max(0, now - moment_ns) / 1e9 if moment_ns else 0.0


def _figures(counters: dict[str, Any]) -> list[str]:
    return [
        str(counters["connections"]),
        str(counters["running"]),
        str(counters["requests"]),
        str(counters["statuses"]["5xx"]),
        f"{counters['latency']['p50'] * 1e3:.2f}",
        f"{counters['latency']['p99'] * 1e3:.2f}",
        f"{counters['queue']['p99'] * 1e3:.2f}",
    ]


def span(seconds: float) -> str:
    """ "59s", "3m05s", "2h07m", "5d03h"."""
    whole = int(seconds)
    for size, part, names in ((86400, 3600, "dh"), (3600, 60, "hm"), (60, 1, "ms")):
        if whole >= size:
            return f"{whole // size}{names[0]}{whole % size // part:02d}{names[1]}"
    return f"{whole}s"


def plain(target: str) -> str:
    """A client's bytes reach a terminal only where they are printable ASCII."""
    return "".join(letter if "!" <= letter <= "~" else f"\\x{ord(letter):02X}" for letter in target)
