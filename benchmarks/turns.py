"""Round by round, case by case, each server takes its turn; what came of it.

Rounds are the outermost loop: a machine that drifts over an hour then drifts through every server's rounds
alike, and within a round the servers of a case follow each other closely, which is what ratios are taken
from.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType

from benchmarks.cases import STEADY, Case
from benchmarks.launch import StartFailed
from benchmarks.probes import Bench, Reading, WrongAnswer, measure
from benchmarks.servers import CannotRun, Server
from benchmarks.stats import Figure, figure, ratio
from benchmarks.wrk import WrkFailed

TURN_SECONDS = 100.0  # every wait in a probe has its own end; this one is for what nobody thought of
SPARE = 1.1  # a later round of a case may take so much longer than the one before it


class TurnTooLong(Exception):
    """The turn was given up."""


@dataclass(frozen=True)
class Turn:
    round: int
    case: str
    server: str
    reading: Reading


@dataclass
class Results:
    """All turns of a run, and the reason for every pair that has none."""

    turns: list[Turn] = field(default_factory=list)
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)  # (case, server) -> why not

    def values(self, case: str, server: str, metric: str) -> dict[int, float]:
        """The metric by round; rounds in which it was not read are absent."""
        return {
            turn.round: turn.reading.metrics[metric]
            for turn in self.turns
            if turn.case == case and turn.server == server and metric in turn.reading.metrics
        }

    def figure(self, case: str, server: str, metric: str) -> Figure | None:
        return figure(list(self.values(case, server, metric).values()))

    def ratio(self, case: str, above: str, below: str, metric: str) -> Figure | None:
        return ratio(self.values(case, above, metric), self.values(case, below, metric))

    def errors(self, case: str, server: str) -> dict[str, int]:
        """Errors of all rounds, by kind."""
        total: Counter[str] = Counter()
        for turn in self.turns:
            if turn.case == case and turn.server == server:
                total.update(turn.reading.errors)
        return dict(total)

    def note(self, case: str, server: str) -> str:
        notes = {
            t.reading.note for t in self.turns if t.case == case and t.server == server and t.reading.note
        }
        return "; ".join(sorted(notes))

    def rounds(self, case: str) -> int:
        """How many rounds this case had."""
        return len({turn.round for turn in self.turns if turn.case == case})

    def servers(self, case: str) -> list[str]:
        """Those measured in this case, in the order of their first turn."""
        return list(dict.fromkeys(turn.server for turn in self.turns if turn.case == case))

    def cases(self) -> list[str]:
        return list(dict.fromkeys([*(turn.case for turn in self.turns), *(case for case, _ in self.reasons)]))


def plan(
    cases: Sequence[Case], servers: Sequence[Server], rounds: int, *, steady_once: bool = False
) -> list[tuple[int, Case, Server]]:
    """Every turn of a run in order. `steady_once`: what hardly varies takes part in the first round only."""
    return [
        (number, case, server)
        for number in range(1, rounds + 1)
        for case in cases
        if number == 1 or not steady_once or case.probe not in STEADY
        for server in servers
        if server.runs(case.kinds, case.name)
    ]


def play(
    bench: Bench,
    turns: Sequence[tuple[int, Case, Server]],
    results: Results,
    tell: Callable[[int, Turn | str], None],
    *,
    until: float = math.inf,
) -> None:
    """Measure every turn into `results`. `tell` hears each one's place and outcome.

    A server that could not run once is not tried again: its reason stands. KeyboardInterrupt passes
    through, and what was measured until then is in `results`.

    No turn begins after `until` (monotonic), and no case's second or later round that would not be over by
    then, going by how long its last one took: within a round all servers are there, or none.
    """
    place = 0
    took: dict[str, float] = {}
    for (number, name), group in itertools.groupby(turns, lambda turn: (turn[0], turn[1].name)):
        block = list(group)
        began = time.monotonic()
        if number == 1 or began + took.get(name, math.inf) * SPARE <= until:
            for offset, (_, case, server) in enumerate(block, 1):
                if time.monotonic() < until and (case.name, server.name) not in results.reasons:
                    tell(place + offset, _take(bench, number, case, server, results))
            took[name] = time.monotonic() - began
        place += len(block)


def _take(bench: Bench, number: int, case: Case, server: Server, results: Results) -> Turn | str:
    """One turn, which ends as a reading or as a reason in `results`, whatever the server does."""
    try:
        with time_limit(TURN_SECONDS):
            turn = Turn(number, case.name, server.name, measure(bench, server, case))
    except CannotRun as e:
        reason = str(e)
    except (StartFailed, WrongAnswer, WrkFailed, TurnTooLong) as e:
        reason = f"failed: {e}"
    except (
        Exception
    ) as e:  # a fault of ours, or of this machine: the other turns of a long run are worth more
        reason = f"failed: {type(e).__name__}: {e}"
    else:
        results.turns.append(turn)
        return turn
    results.reasons[case.name, server.name] = reason
    return f"{server.name} {case.name}: {reason}"


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TurnTooLong in the block when it takes longer. Only in the main thread (signal(7))."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TurnTooLong(f"not over after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Progress:
    """One line a turn on a log, one line rewritten on a terminal, with the time that is left."""

    def __init__(
        self,
        total: int,
        write: Callable[[str], object],
        *,
        rewrite: bool,
        headline: dict[str, str],
        until: float = math.inf,
    ) -> None:
        self._total, self._write, self._rewrite, self._headline = total, write, rewrite, headline
        self._began = time.monotonic()
        self._until = until

    def __call__(self, place: int, what: Turn | str) -> None:
        now = time.monotonic()
        left = min((now - self._began) / place * (self._total - place), max(0.0, self._until - now))
        text = what if isinstance(what, str) else self._sum_up(what)
        line = f"[{place}/{self._total}, {left:.0f} s left] {text}"
        self._write(f"\r\x1b[K{line[:110]}" if self._rewrite else f"{line}\n")

    def _sum_up(self, turn: Turn) -> str:
        metric = self._headline[turn.case]
        value = turn.reading.metrics.get(metric)
        shown = f"{metric} {value:,.1f}" if value is not None else "no figure"
        errors = ", ".join(f"{kind} {count}" for kind, count in turn.reading.errors.items())
        return f"round {turn.round} {turn.case} {turn.server}: {shown}{f' ({errors})' if errors else ''}"
