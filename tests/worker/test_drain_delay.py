"""--drain-delay: while a balancer still sends clients all of them are answered, for as long as was said."""

from __future__ import annotations

import signal
import time

from rawclient import request_bytes

from .conftest import Start

DELAY = 1.0
BURST = 12  # at once, so that the workers nudge each other to take some


def test_whoever_comes_during_the_delay_is_answered(start: Start, worker_class: str) -> None:
    server = start(worker_class, "--drain-delay", f"{DELAY:g}", workers=2)
    since = time.monotonic()
    server.send_signal(signal.SIGTERM)
    server.stderr.wait(r"TERM: accepting for 1 s more, then draining")
    while time.monotonic() - since < DELAY * 0.8:
        clients = [server.connect() for _ in range(BURST)]
        for client in clients:
            client.send(request_bytes("GET", "/pid"))
        for client in clients:
            assert client.response().status == 200
            client.close()
    assert server.wait() == 0
    assert time.monotonic() - since > DELAY
