"""A client that classifies every request, and swarms of it.

The drills (benchmarks/drill.py), the tail-latency and idle-connection cases, and the process tests of
prefork all judge a server through this one client, so that "lost" means the same everywhere.

    with Swarm(("127.0.0.1", port), [Visitor(lambda: page)] * 32) as swarm:
        ...reload, kill, scale...
    assert not swarm.tally.lost, swarm.tally.describe()
"""

from .ask import Ask
from .outcome import LOST, Outcome
from .swarm import Arrivals, Swarm, Visitor
from .tally import Record, Tally

__all__ = ["LOST", "Arrivals", "Ask", "Outcome", "Record", "Swarm", "Tally", "Visitor"]
