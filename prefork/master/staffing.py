"""How many workers of a generation should be there, and who comes and goes for that."""

from __future__ import annotations

from .actions import Fork
from .generation import Stage
from .phases import COMING, SERVES, Event, Phase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .generation import Generation
    from .roster import Roster


def wanted(generation: Generation) -> int:
    return min(1, generation.size) if generation.stage is Stage.CANARY else generation.size


def trim(roster: Roster, generation: Generation, reloading: bool, now: float) -> None:
    """Let go of more than is wanted: first those to come, then those that ask for it, then the oldest."""
    coming = roster.of(generation, COMING)
    for worker in coming[: max(0, len(coming) - _missing(roster, generation, reloading))]:
        roster.dismiss(worker, now)
    serving = roster.of(generation, SERVES)
    serving.sort(key=lambda worker: (worker.phase is not Phase.RETIRING, worker.served_at))
    for worker in serving[: max(0, len(serving) - wanted(generation))]:
        roster.tell(worker, Event.DRAIN, now)


def fill(roster: Roster, generation: Generation, reloading: bool, now: float) -> list[Fork]:
    """Order what is missing, unless it is too soon after early deaths."""
    forks: list[Fork] = []
    generation.short = False
    missing = _missing(roster, generation, reloading) - roster.count(generation, COMING)
    for worker in roster.workers:
        if missing <= 0:
            break
        if worker.phase is not Phase.FREE:
            continue
        if now < generation.retry_deadline:
            generation.short = True
            break
        if generation.early_deaths > 1 and roster.count(generation, COMING):
            break  # one at a time until one of them serves
        worker.generation = generation
        roster.tell(worker, Event.FORK, now)
        forks.append(Fork(worker.slot, generation.number, generation.stage is Stage.CANARY))
        missing -= 1
    return forks


def _missing(roster: Roster, generation: Generation, reloading: bool) -> int:
    """How many should be coming: a few of those that want to be replaced count as gone already, but none
    while a reload replaces all of them."""
    retiring = roster.count(generation, {Phase.RETIRING})
    at_a_time = 0 if reloading else max(1, generation.size // 4)
    serving = roster.count(generation, {Phase.SERVING, Phase.MUTED}) + max(0, retiring - at_a_time)
    return max(0, wanted(generation) - serving)
