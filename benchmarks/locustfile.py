"""The mixed user for locust: pages, searches, forms, uploads, downloads, streams, with think time.

    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8000               # web UI on port 8089
    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8000 --headless -u 50 -r 10 -t 30s

The walk is that of traffic/scenario.py, which drill.py counts losses with. The host must serve it:
`prefork mixed:app --chdir benchmarks/apps -w 4`, or any server with benchmarks/apps on its path.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from locust import FastHttpUser, between, events, task

# locust puts this file's folder on the path, not the repository's root. Last: an installed prefork goes
# first.
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks.traffic.response import Answer
from benchmarks.traffic.scenario import THINK_SECONDS, walk

SEEDS = itertools.count()


class MixedUser(FastHttpUser):
    """Keeps its connection, as browsers do; every answer is judged as in the drills."""

    wait_time = between(*THINK_SECONDS)

    def on_start(self) -> None:
        self.walk = walk(next(SEEDS))

    @task
    def step(self) -> None:
        ask = next(self.walk)
        with self.client.request(
            ask.method,
            ask.target,
            name=ask.kind,
            data=ask.body,
            headers=dict(ask.headers),
            catch_response=True,
        ) as response:
            if not response.status_code:
                response.failure(f"no answer: {response.error}")
                return
            answer = Answer()
            answer.status, answer.body = response.status_code, bytearray(response.content or b"")
            outcome, fault = ask.judge(answer)
            if fault:
                response.failure(f"{outcome.value}: {fault}")


@events.quitting.add_listener
def _fail_on_losses(environment, **_: object) -> None:  # type: ignore[no-untyped-def]
    """A headless run with any failure exits with 1, so that CI sees it."""
    if environment.stats.total.num_failures:
        environment.process_exit_code = 1
