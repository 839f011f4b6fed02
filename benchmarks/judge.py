"""Ratios that must hold, and whether they do.

hello: prefork/limit<=1.35                      CPU per request, prefork over limit, round by round
post10k: prefork/min(bjoern,fastwsgi)<=0.9      over the better of the two
sleep: prefork-threads.rps/granian.rps>=1       another metric
tail: prefork-threads.p99_ms<=10                a figure by itself
accesslog: prefork/hello@prefork<=1.15          over another case of the same run
sleep1000: prefork-gevent.p99_ms/prefork-gevent.p50_ms<=3
"""

from __future__ import annotations

import enum
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import BY_NAME
from benchmarks.stats import figure, ratio
from benchmarks.turns import Results

NAME = r"[a-z0-9][a-z0-9-]*"
OPERAND = re.compile(rf"(?:(?P<case>{NAME})@)?(?P<server>{NAME})(?:\.(?P<metric>[a-z0-9_]+))?")
EXPRESSION = re.compile(
    r"\s*(?P<case>[a-z0-9-]+)\s*:\s*(?P<above>[^/<>=]+?)\s*(?:/\s*(?P<below>[^<>=]+?))?\s*(?P<sense><=|>=)\s*(?P<bound>[\d.]+)\s*"
)


class BadTarget(ValueError):
    """The expression cannot be read, or names a case that does not exist."""


class Verdict(enum.Enum):
    PASSES = "passes"
    FALLS_SHORT = "FALLS SHORT"
    UNKNOWN = "not measured"


@dataclass(frozen=True)
class Operand:
    case: str
    server: str
    metric: str


@dataclass(frozen=True)
class Target:
    """`above` / the best of `below` (or `above` alone) must be at most, or at least, `bound`."""

    text: str
    above: Operand
    below: tuple[Operand, ...]
    at_most: bool
    bound: float
    source: str = ""  # where it is asked for

    @property
    def cases(self) -> set[str]:
        return {self.above.case, *(operand.case for operand in self.below)}

    @property
    def servers(self) -> set[str]:
        return {self.above.server, *(operand.server for operand in self.below)}


@dataclass(frozen=True)
class Judgement:
    target: Target
    verdict: Verdict
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def parse(text: str, source: str = "") -> Target:
    """Read one expression. Raises BadTarget."""
    match = EXPRESSION.fullmatch(text)
    if not match:
        raise BadTarget(f"{text!r}: expected 'case: server/server<=number'")
    case = match["case"]
    above = _operands(match["above"], case, text)
    below = _operands(match["below"], case, text) if match["below"] else ()
    if len(above) != 1:
        raise BadTarget(f"{text!r}: one server above the line")
    return Target(text.strip(), above[0], below, match["sense"] == "<=", float(match["bound"]), source)


def _operands(text: str, case: str, whole: str) -> tuple[Operand, ...]:
    listed = re.fullmatch(r"min\((.*)\)", text)
    found = []
    for part in (listed[1] if listed else text).split(","):
        match = OPERAND.fullmatch(part.strip())
        if not match:
            raise BadTarget(f"{whole!r}: {part.strip()!r} is not a server, server.metric or case@server")
        name = match["case"] or case
        if name not in BY_NAME:
            raise BadTarget(f"{whole!r}: no case {name!r}")
        default = "cpu_us" if BY_NAME[name].headline == "rps" else BY_NAME[name].headline
        found.append(Operand(name, match["server"], match["metric"] or default))
    return tuple(found)


def read(path: Path) -> list[Target]:
    """The targets of a TOML file: [[target]] tables with `expect` and `from`. Raises BadTarget."""
    return [parse(row["expect"], row.get("from", "")) for row in tomllib.loads(path.read_text())["target"]]


def judge(target: Target, results: Results) -> Judgement:
    """Hold a target against what was measured. Errors of our own spoil a pass."""
    above = _values(target.above, results)
    if not above:
        return Judgement(target, Verdict.UNKNOWN, None, note=_why_not(target.above, results))
    if target.below:
        rivals = [(operand, _values(operand, results)) for operand in target.below]
        rivals = [(operand, values) for operand, values in rivals if values]
        if not rivals:
            return Judgement(target, Verdict.UNKNOWN, None, note=_why_not(target.below[0], results))
        best = min(rivals, key=lambda pair: sorted(pair[1].values())[len(pair[1]) // 2])[1]
        found = ratio(above, best)
    else:
        found = figure(list(above.values()))
    if found is None:
        return Judgement(target, Verdict.UNKNOWN, None, note="no round has both")
    holds = found.median <= target.bound if target.at_most else found.median >= target.bound
    errors = results.errors(target.above.case, target.above.server)
    note = "with errors: " + ", ".join(f"{kind} {n}" for kind, n in errors.items()) if errors else ""
    verdict = Verdict.PASSES if holds and not errors else Verdict.FALLS_SHORT
    return Judgement(target, verdict, found.median, found.low, found.high, note)


def _values(operand: Operand, results: Results) -> dict[int, float]:
    return results.values(operand.case, operand.server, operand.metric)


def _why_not(operand: Operand, results: Results) -> str:
    reason = results.reasons.get((operand.case, operand.server), "")
    return f"{operand.server}: {reason}" if reason else f"no {operand.metric} of {operand.server}"


def render(judgements: list[Judgement]) -> str:
    """A line each: verdict, value with the spread of the rounds, target, source."""
    lines = []
    for j in judgements:
        value = "-" if j.value is None else f"{j.value:.3g} ({j.low:.3g} to {j.high:.3g})"
        tail = "; ".join(part for part in (j.target.source, j.note) if part)
        lines.append(f"{j.verdict.value:13} {j.target.text:58} {value:24} {tail}".rstrip())
    counts = ", ".join(
        f"{sum(j.verdict is verdict for j in judgements)} {verdict.value.lower()}" for verdict in Verdict
    )
    return "\n".join([*lines, f"targets: {counts}"])
