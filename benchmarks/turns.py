"""Round by round, case by case, each server takes its turn; what came of it.

Rounds are the outermost loop: a machine that drifts over an hour then drifts through every server's rounds
alike, and within a round the servers of a case follow each other closely, which is what ratios are taken
from.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.cases import Case
from benchmarks.launch import StartFailed
from benchmarks.probes import Bench, Reading, WrongAnswer, measure
from benchmarks.servers import CannotRun, Server
from benchmarks.stats import Figure, figure, ratio
from benchmarks.wrk import WrkFailed


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

    def servers(self, case: str) -> list[str]:
        """Those measured in this case, in the order of their first turn."""
        return list(dict.fromkeys(turn.server for turn in self.turns if turn.case == case))

    def cases(self) -> list[str]:
        return list(dict.fromkeys([*(turn.case for turn in self.turns), *(case for case, _ in self.reasons)]))


def plan(cases: Sequence[Case], servers: Sequence[Server], rounds: int) -> list[tuple[int, Case, Server]]:
    """Every turn of a run in order."""
    return [
        (number, case, server)
        for number in range(1, rounds + 1)
        for case in cases
        for server in servers
        if server.runs(case.kinds, case.name)
    ]


def play(
    bench: Bench,
    turns: Sequence[tuple[int, Case, Server]],
    results: Results,
    tell: Callable[[int, Turn | str], None],
) -> None:
    """Measure every turn into `results`. `tell` hears each one's place and outcome.

    A server that could not run once is not tried again: its reason stands. KeyboardInterrupt passes
    through, and what was measured until then is in `results`.
    """
    for place, (number, case, server) in enumerate(turns, 1):
        if (case.name, server.name) in results.reasons:
            continue
        try:
            reading = measure(bench, server, case)
        except CannotRun as e:
            results.reasons[case.name, server.name] = str(e)
        except (StartFailed, WrongAnswer, WrkFailed) as e:
            results.reasons[case.name, server.name] = f"failed: {e}"
        else:
            turn = Turn(number, case.name, server.name, reading)
            results.turns.append(turn)
            tell(place, turn)
            continue
        tell(place, f"{server.name} {case.name}: {results.reasons[case.name, server.name]}")


class Progress:
    """One line a turn on a log, one line rewritten on a terminal, with the time that is left."""

    def __init__(
        self, total: int, write: Callable[[str], object], *, rewrite: bool, headline: dict[str, str]
    ) -> None:
        self._total, self._write, self._rewrite, self._headline = total, write, rewrite, headline
        self._began = time.monotonic()

    def __call__(self, place: int, what: Turn | str) -> None:
        spent = time.monotonic() - self._began
        left = spent / place * (self._total - place)
        text = what if isinstance(what, str) else self._sum_up(what)
        line = f"[{place}/{self._total}, {left:.0f} s left] {text}"
        self._write(f"\r\x1b[K{line[:110]}" if self._rewrite else f"{line}\n")

    def _sum_up(self, turn: Turn) -> str:
        metric = self._headline[turn.case]
        value = turn.reading.metrics.get(metric)
        shown = f"{metric} {value:,.1f}" if value is not None else "no figure"
        errors = ", ".join(f"{kind} {count}" for kind, count in turn.reading.errors.items())
        return f"round {turn.round} {turn.case} {turn.server}: {shown}{f' ({errors})' if errors else ''}"
