"""Status, histograms and metrics, read from a scoreboard that is written as a worker writes it."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from prefork.engine.scoreboard import Scoreboard, WorkerState, bucket_bounds, bucket_of
from prefork.telemetry.histogram import BOUNDS, cumulative, dense, mean, merged, quantile, sparse
from prefork.telemetry.metrics import ENDS, exposition
from prefork.telemetry.status import as_json, as_text, snapshot, span

SECOND = 1_000_000_000


def counted(spans_us: list[int]) -> list[int]:
    counts = [0] * len(BOUNDS)
    for each in spans_us:
        counts[bucket_of(each * 1000)] += 1
    return counts


@pytest.fixture
def board() -> Scoreboard:
    board = Scoreboard(3, 2)
    board.set_worker(0, pid=100, generation=2, state=WorkerState.SERVING, booted_ns=10 * SECOND)
    board.set_worker(1, pid=101, generation=1, state=WorkerState.DRAINING, booted_ns=9 * SECOND)
    board.set_load(0, connections=7, running=1)
    for _ in range(99):
        board.count(0, status=200, latency_ns=2_000_000, queue_ns=1_000, body_in=3, body_out=5)
    board.count(1, status=503, latency_ns=3 * SECOND)
    board.count(1, status=0)
    board.begin_request(
        0, 1, b"GET", b"/slow\x1b?x=1", start_ns=70 * SECOND, deadline_ns=100 * SECOND, thread=9
    )
    return board


COLUMN = ("state", "serving", "draining", "all")


# --- histograms


@given(st.lists(st.integers(0, 200_000_000), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_near_the_true_one(spans: list[int], share: float) -> None:
    true = sorted(spans)[max(0, -(-len(spans) * share // 1).__int__() - 1)]
    found = quantile(counted(spans), share) * 1e6
    low, high = BOUNDS[bucket_of(true * 1000)], (*BOUNDS, BOUNDS[-1])[bucket_of(true * 1000) + 1]
    assert low <= round(found, 3) <= high


def test_quantiles_of_little() -> None:
    nothing = [0] * len(BOUNDS)
    assert quantile(nothing, 0.5) == mean(nothing, 0) == 0.0
    assert quantile(counted([10]), 0) == 0.0
    assert quantile(counted([10**9]), 0.5) == BOUNDS[-1] / 1e6
    assert mean(counted([1000, 3000]), 4_000_000) == 0.002


@given(st.lists(st.lists(st.integers(0, 10**9)), max_size=5))
def test_merged_counts_everything(many: list[list[int]]) -> None:
    assert list(merged([counted(spans) for spans in many])) == counted(
        [span for spans in many for span in spans]
    )


@given(st.lists(st.integers(0, 10**9)))
def test_sparse_and_dense_lose_nothing(spans: list[int]) -> None:
    told = json.loads(json.dumps(sparse(counted(spans))))
    assert dense(told) == counted(spans)
    assert 0 not in told.values()


def test_buckets_of_another_prefork_are_put_where_they_belong() -> None:
    assert dense({"1000": 2, "1001": 3})[bucket_of(1_000_000)] == 5


@given(st.lists(st.integers(0, 10**8)))
def test_cumulative_counts_what_is_below(spans: list[int]) -> None:
    assert set(ENDS) <= set(bucket_bounds())
    assert cumulative(counted(spans), ENDS) == [sum(span < end for span in spans) for end in ENDS]


# --- status


def test_snapshot(board: Scoreboard) -> None:
    status = snapshot(board, now_ns=75 * SECOND)
    first, second = status["workers"]
    assert (first["slot"], first["pid"], first["generation"], first["state"]) == (0, 100, 2, "serving")
    assert (first["up"], first["connections"], first["running"], first["requests"]) == (65.0, 7, 1, 99)
    assert (first["bytes_in"], first["bytes_out"]) == (297, 495)
    assert first["latency"]["mean"] == 0.002 and 0.0017 < first["latency"]["p99"] < 0.0025
    assert first["requests_now"] == [
        {
            "method": "GET",
            "target": "/slow\x1b?x=1",
            "running": 5.0,
            "left": 25.0,
            "thread": 9,
            "thread_name": "",
        }
    ]
    assert second["state"] == "draining" and second["requests_now"] == []
    assert status["totals"]["statuses"] == {"none": 1, "1xx": 0, "2xx": 99, "3xx": 0, "4xx": 0, "5xx": 1}
    assert sum(status["histograms"]["latency"].values()) == 101
    assert sum(status["histograms"]["queue"].values()) == 101
    assert status["requests_per_worker"] == 2
    assert json.loads(as_json(status)) == status


def test_the_table(board: Scoreboard) -> None:
    lines = as_text(snapshot(board, now_ns=75 * SECOND)).splitlines()
    assert lines[0].split()[:8] == ["slot", "pid", "gen", "state", "up", "conns", "run", "requests"]
    assert lines[1].split()[:8] == ["0", "100", "2", "serving", "1m05s", "7", "1", "99"]
    assert lines[3].split()[:4] == ["all", "7", "1", "101"]
    assert lines[4] == r"100: GET /slow\x1B?x=1, for 5.0 s, 25.0 s left"
    assert len({line.index(state) + len(state) for line, state in zip(lines, COLUMN, strict=False)}) == 1


def test_an_empty_server_has_a_table_too() -> None:
    status = snapshot(Scoreboard(2, 1))
    assert status["workers"] == [] and len(as_text(status).splitlines()) == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (90061, "1d01h"),
        (864000, "10d00h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


# --- metrics


def samples(board: Scoreboard) -> dict[str, float]:
    """Read by the judge of the format."""
    found = {}
    for family in text_string_to_metric_families(exposition(board, wanted=4)):
        assert family.documentation and family.type in ("gauge", "counter", "histogram")
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_metrics(board: Scoreboard) -> None:
    found = samples(board)
    assert found["prefork_workers{state=serving}"] == found["prefork_workers{state=draining}"] == 1
    assert found["prefork_workers{state=booting}"] == 0
    assert found["prefork_workers_wanted{}"] == 4
    assert found["prefork_generation{}"] == 2
    assert found["prefork_connections{}"] == 7
    assert found["prefork_requests_total{status=2xx}"] == 99
    assert found["prefork_requests_total{status=none}"] == 1
    assert found["prefork_request_duration_seconds_count{}"] == 101
    assert found["prefork_request_duration_seconds_bucket{le=+Inf}"] == 101
    assert found["prefork_request_duration_seconds_bucket{le=0.002048}"] == 100
    assert found["prefork_request_duration_seconds_bucket{le=4.194304}"] == 101
    assert found["prefork_request_duration_seconds_sum{}"] == pytest.approx(3 + 99 * 0.002)
    assert found["prefork_queue_duration_seconds_sum{}"] == pytest.approx(99e-6)


def test_counters_do_not_fall_when_a_worker_dies(board: Scoreboard) -> None:
    before = samples(board)
    board.clear(0)
    board.clear(1)
    after = samples(board)
    falling = {name for name in before if after[name] < before[name]}
    assert falling == {
        "prefork_workers{state=serving}",
        "prefork_workers{state=draining}",
        "prefork_generation{}",
        "prefork_connections{}",
        "prefork_requests_running{}",
    }


def test_the_size_does_not_grow_with_the_server() -> None:
    large = Scoreboard(200, 4)
    for worker in range(200):
        large.begin_request(worker, 0, b"GET", b"/" * 400, start_ns=1)
    assert len(exposition(large, wanted=200)) < 16_000


def test_buckets_never_fall(board: Scoreboard) -> None:
    generator = random.Random(7)
    for _ in range(500):
        board.count(2, status=200, latency_ns=int(10 ** generator.uniform(2, 12)))
    found = [
        value
        for name, value in samples(board).items()
        if name.startswith("prefork_request_duration_seconds_b")
    ]
    assert found == sorted(found)
