"""A run as JSON: everything that a table, a chart or a judgement is made from, and back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.probes import Reading
from benchmarks.turns import Results, Turn

FORMAT = 1


@dataclass
class Run:
    """One run of the benchmarks on one machine."""

    began: str = ""  # UTC, ISO 8601
    command: str = ""
    rounds: int = 0
    seconds: int = 0
    minutes: int = 0  # how long it was given; 0: as long as its rounds take
    facts: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)  # distribution -> version
    commands: dict[str, str] = field(default_factory=dict)  # server -> its command line in the first case
    manners: dict[str, dict[str, bool]] = field(default_factory=dict)  # server -> check -> passed
    results: Results = field(default_factory=Results)


def save(run: Run, path: Path) -> None:
    results = run.results
    document: dict[str, Any] = {"format": FORMAT} | {
        key: value for key, value in vars(run).items() if key != "results"
    }
    document["turns"] = [asdict(turn) for turn in results.turns]
    document["reasons"] = [
        {"case": case, "server": server, "reason": reason}
        for (case, server), reason in results.reasons.items()
    ]
    # Kept after every turn of a long run: whoever reads meanwhile, or kills it, has a whole file.
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(document, indent=1) + "\n")
    fresh.replace(path)


def load(path: Path) -> Run:
    """Raises ValueError where the file is not a run of this format."""
    document = json.loads(path.read_text())
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is not a run of format {FORMAT}")
    turns = [Turn(**turn | {"reading": Reading(**turn["reading"])}) for turn in document.pop("turns")]
    reasons = {(row["case"], row["server"]): row["reason"] for row in document.pop("reasons")}
    return Run(**document, results=Results(turns, reasons))


def merge(first: Run, second: Run) -> Run:
    """The first run with the cases of the second: long runs are made in parts. Same cases: the second's."""
    fresh = set(second.results.cases())
    kept = [turn for turn in first.results.turns if turn.case not in fresh]
    reasons = {pair: why for pair, why in first.results.reasons.items() if pair[0] not in fresh}
    merged = Run(**{key: value for key, value in vars(first).items() if key != "results"})
    merged.command = f"{first.command}\n{second.command}".strip()
    merged.versions = first.versions | second.versions
    merged.commands = first.commands | second.commands
    merged.manners = first.manners | second.manners
    merged.results = Results(kept + second.results.turns, reasons | second.results.reasons)
    return merged
