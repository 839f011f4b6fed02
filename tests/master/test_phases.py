# ruff: noqa: E501  (a grid is a grid)
"""The whole grid of phases and events, written down a second time."""

from __future__ import annotations

import pytest

from prefork.master.phases import NEXT, Event, Phase, next_phase

EVENTS = [
    "forked",
    "unforked",
    "ready",
    "failed",
    "recycle",
    "leaving",
    "parked",
    "mute",
    "hung",
    "late",
    "died",
    "fork",
    "park",
    "wake",
    "drain",
    "quit",
    "kill",
]

# One row a phase, one column an event in the order above; "." stays.
GRID = """
free      .       .    .       .        .        .        .      .     .        .        .    forking .       .      .        .        .
forking   booting free .       .        .        .        .      .     .        .        free .       .       .      revoked  revoked  revoked
revoked   killed  free .       .        .        .        .      .     .        .        free .       .       .      .        .        .
booting   .       .    serving quitting .        draining .      muted .        aborting free .       .       .      quitting quitting killed
serving   .       .    .       .        retiring draining .      muted aborting .        free .       parking .      told     quitting killed
retiring  .       .    .       .        .        draining .      muted aborting .        free .       parking .      told     quitting killed
parking   .       .    .       .        .        draining parked muted aborting .        free .       .       waking told     quitting killed
parked    .       .    .       .        .        draining .      muted aborting .        free .       .       waking told     quitting killed
waking    .       .    serving .        .        draining .      muted aborting aborting free .       parking .      told     quitting killed
muted     .       .    .       .        .        .        .      .     aborting aborting free .       .       .      told     quitting killed
told      .       .    .       .        .        draining .      .     aborting killed   free .       .       .      .        quitting killed
draining  .       .    .       .        .        .        .      .     aborting killed   free .       .       .      .        quitting killed
quitting  .       .    .       .        .        .        .      .     .        killed   free .       .       .      .        .        killed
aborting  .       .    .       .        .        .        .      .     .        killed   free .       .       .      .        .        killed
killed    .       .    .       .        .        .        .      .     .        .        free .       .       .      .        .        .
"""

ROWS = {row.split()[0]: row.split()[1:] for row in GRID.strip().splitlines()}
PAIRS = [
    (phase, event, after) for phase, row in ROWS.items() for event, after in zip(EVENTS, row, strict=True)
]


def test_grid_is_whole() -> None:
    assert {phase.value for phase in Phase} == set(ROWS) == {phase.value for phase in NEXT}
    assert {event.value for event in Event} == set(EVENTS)


@pytest.mark.parametrize(("phase", "event", "after"), PAIRS, ids=[f"{p}-{e}" for p, e, _ in PAIRS])
def test_next_phase(phase: str, event: str, after: str) -> None:
    expected = Phase(phase if after == "." else after)
    assert next_phase(Phase(phase), Event(event)) is expected
