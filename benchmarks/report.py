"""Tables of a run: for the terminal and for RESULTS.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.archive import Run
from benchmarks.cases import BY_NAME, Case, Probe
from benchmarks.manners import CHECKS, faults
from benchmarks.servers import BY_NAME as SERVERS

US = "prefork"
LIMIT = "limit"
TIE = 0.03  # nearer than this nobody is ahead
FOREIGN_SHARE = 0.05  # more than this of the server's core taken by others: the round is named as disturbed

# Where it is the design and not chance. Printed only when a run shows the loss.
WHY_LOST = {
    "tail": (
        "A sync worker owns its kept-alive connections and answers none of them while it runs a request; "
        "a server that closes each connection, or has threads, lets another worker or thread take the "
        "next request. `--threads` is the answer."
    ),
    "start": "uWSGI and bjoern have no Python master or settings to import.",
    "memory": "bjoern imports before it forks and has no master; uWSGI's master is C.",
    "heavy": "bjoern and fastwsgi import before they fork in any case: compare them with heavy-preload.",
}


@dataclass(frozen=True)
class Column:
    metric: str
    head: str
    digits: int


COLUMNS: dict[Probe, tuple[Column, ...]] = {
    Probe.THROUGHPUT: (
        Column("cpu_us", "CPU µs/req", 1),
        Column("rps", "req/s", 0),
        Column("p50_ms", "p50 ms", 2),
        Column("p99_ms", "p99 ms", 2),
        Column("pss_mb", "PSS MB", 1),
    ),
    Probe.TAIL: (
        Column("calm_p50_ms", "p50 ms, none slow", 2),
        Column("p50_ms", "p50 ms", 2),
        Column("p99_ms", "p99 ms", 1),
        Column("max_ms", "max ms", 1),
        Column("cpu_us", "CPU µs/req", 0),
    ),
    Probe.IDLE: (
        Column("held", "held", 0),
        Column("bytes_each", "bytes each", 0),
        Column("p99_ms", "p99 ms of 4 busy", 2),
    ),
    Probe.START: (Column("first_ms", "first answer ms", 0),),
    Probe.MEMORY: (
        Column("idle_mb", "idle MB", 1),
        Column("loaded_mb", "loaded MB", 1),
        Column("processes", "processes", 0),
    ),
    Probe.WAKEUPS: (
        Column("per_second", "wake-ups/s", 1),
        Column("cpu_us_per_second", "CPU µs/s", 0),
    ),
}


@dataclass(frozen=True)
class Row:
    """One server in one case, ready to print."""

    server: str
    cells: tuple[str, ...]
    remarks: tuple[str, ...]


def rows(run: Run, case: Case) -> list[Row]:
    """Measured servers, best first, those with errors below those without; the limit at the top."""
    results = run.results
    names = results.servers(case.name)
    return [
        Row(name, _cells(run, case, name), tuple(remarks(run, case, name)))
        for name in sorted(names, key=lambda name: _rank(run, case, name))
    ]


def _rank(run: Run, case: Case, server: str) -> tuple[bool, bool, float]:
    figure = run.results.figure(case.name, server, case.headline)
    value = math.inf if figure is None else -figure.median if case.bigger_is_better else figure.median
    return server != LIMIT, bool(run.results.errors(case.name, server)), value


def _cells(run: Run, case: Case, server: str) -> tuple[str, ...]:
    results = run.results
    cells = []
    for column in COLUMNS[case.probe]:
        figure = results.figure(case.name, server, column.metric)
        cells.append("-" if figure is None else f"{figure.median:,.{column.digits}f}")
    headline = results.figure(case.name, server, case.headline)
    cells.append("-" if headline is None or headline.rounds < 2 else f"{headline.spread * 100:.0f} %")
    for other in (case.reference, LIMIT) if case.with_limit else (case.reference,):
        ratio = results.ratio(case.name, server, other, case.headline)
        cells.append("-" if ratio is None else f"{ratio.median:.2f}")
    return tuple(cells)


def heads(case: Case) -> tuple[str, ...]:
    own = tuple(column.head for column in COLUMNS[case.probe])
    return (*own, "spread", f"/ {case.reference}", *(("/ limit",) if case.with_limit else ()))


def remarks(run: Run, case: Case, server: str) -> list[str]:
    """Everything that a reader must know before comparing this row with another."""
    results = run.results
    found = []
    errors = results.errors(case.name, server)
    if errors:
        found.append("errors: " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(errors.items())))
    if results.note(case.name, server):
        found.append(results.note(case.name, server))
    found += faults(run.manners.get(server, {}), case.name, keeps_alive=_keeps(case))
    lines = results.figure(case.name, server, "lines_per_request")
    if lines is not None and lines.median < 0.99:
        found.append(f"logs {lines.median * 100:.0f} % of the requests")
    foreign = results.figure(case.name, server, "foreign")
    if foreign is not None and foreign.median > FOREIGN_SHARE:
        found.append(f"disturbed: others took {foreign.median * 100:.0f} % of the server's core")
    return found


def _keeps(case: Case) -> bool:
    """Whether the case's clients keep their connections."""
    return not case.closes and case.probe in (Probe.THROUGHPUT, Probe.TAIL, Probe.IDLE)


def missing(run: Run, case: Case) -> list[tuple[str, str]]:
    """(server, reason) for those that have no figures here."""
    return [(server, reason) for (name, server), reason in run.results.reasons.items() if name == case.name]


def terminal(run: Run) -> str:
    """All cases of a run as plain text."""
    blocks = [_facts_line(run)]
    for name in run.results.cases():
        case = BY_NAME[name]
        table = [("server", *heads(case))] + [(row.server, *row.cells) for row in rows(run, case)]
        lines = _align(table)
        by_server = {row.server: row.remarks for row in rows(run, case)}
        for index, (server, *_) in enumerate(table):
            for remark in by_server.get(server, ()):
                lines[index] += f"  ! {remark}"
        lines += [f"{server}: not run: {reason}" for server, reason in missing(run, case)]
        blocks.append("\n".join([f"== {case.name}: {case.title}", *lines]))
    if lost := losses(run):
        blocks.append("== where a peer is ahead of our best\n" + "\n".join(lost))
    if run.manners:
        blocks.append("== manners\n" + "\n".join(_manner_lines(run)))
    return "\n\n".join(blocks)


def losses(run: Run) -> list[str]:
    """The cases in which a peer without errors is ahead of our best row, and why if that is design."""
    lines = []
    for name in run.results.cases():
        case = BY_NAME[name]
        ranked = [
            (row.server, figure.median)
            for row in rows(run, case)
            if row.server != LIMIT and (figure := run.results.figure(name, row.server, case.headline))
        ]
        ours = [value for server, value in ranked if server.startswith(US)]
        if not ours:
            continue
        best = max(ours) if case.bigger_is_better else min(ours)
        ahead = [
            f"{server} {value:,.4g}"
            for server, value in ranked
            if not server.startswith(US)
            and not run.results.errors(name, server)
            and not faults(run.manners.get(server, {}), name, keeps_alive=_keeps(case))
            and (value > best * (1 + TIE) if case.bigger_is_better else value < best * (1 - TIE))
        ]
        if ahead:
            why = f" {WHY_LOST[name]}" if name in WHY_LOST else ""
            lines.append(f"{name} ({case.headline}): prefork {best:,.4g}, {', '.join(ahead)}.{why}")
    return lines


def _facts_line(run: Run) -> str:
    facts = "; ".join(f"{key} {value}" for key, value in run.facts.items())
    return f"{run.began}, rounds: {_rounds(run)}; {facts}"


def _rounds(run: Run) -> str:
    """How many, how long; which cases had fewer for want of time, or more because they were added."""
    by_count: dict[int, list[str]] = {}
    for name in run.results.cases():
        by_count.setdefault(run.results.rounds(name), []).append(name)
    counts = sorted(by_count, reverse=True)
    others = "".join(
        f"; {count or 'none'}: {', '.join(by_count[count])}" for count in counts if count != run.rounds
    )
    given = f" within {run.minutes} minutes" if run.minutes else ""
    return f"{run.rounds} of {run.seconds} s{given}{others}"


def _align(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in table
    ]


def _manner_lines(run: Run) -> list[str]:
    return [
        f"{server}: "
        + ("; ".join(c.fault for c in CHECKS if not found.get(c.name, True)) or "all as it should be")
        for server, found in run.manners.items()
    ]


def markdown(run: Run) -> str:
    """All tables of a run."""
    parts = [*about_markdown(run), *cases_markdown(run)]
    if lost := losses(run):
        parts += ["", "### Where a peer is ahead of our best", "", *(f"- {text}" for text in lost)]
    return "\n".join([*parts, *servers_markdown(run)]) + "\n"


def about_markdown(run: Run) -> list[str]:
    """Machine, date, versions, command."""
    return ["| | |\n|---|---|", *(f"| {key} | {value} |" for key, value in _about(run))]


def cases_markdown(run: Run) -> list[str]:
    """A table a case."""
    return [row for name in run.results.cases() for row in ("", *_case_markdown(run, BY_NAME[name]))]


def servers_markdown(run: Run) -> list[str]:
    """How each behaves and how it was started."""
    manners = ["", "### Manners", "", *_manners_markdown(run)] if run.manners else []
    return [*manners, "", "### Settings", "", *_settings_markdown(run)]


def _about(run: Run) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
    about = [("date", run.began), ("command", f"`{run.command}`".replace("\n", "`, `"))]
    return [
        *about,
        ("rounds", _rounds(run)),
        *run.facts.items(),
        ("versions", versions),
    ]


def _case_markdown(run: Run, case: Case) -> list[str]:
    measured = rows(run, case)
    columns = ["server", *heads(case)]
    lines = [f"### {case.name}: {case.title}", "", line(columns), "|---|" + "---:|" * (len(columns) - 1)]
    notes = []
    for row in measured:
        name = f"**{row.server}**" if row.server.startswith(US) else row.server
        if row.remarks:
            notes.append(f"- {row.server}: " + "; ".join(row.remarks))
            name += " !"
        lines.append(line([name, *row.cells]))
    notes += [f"- {server}: not run: {reason}" for server, reason in missing(run, case)]
    return [*lines, "", *notes] if notes else lines


def _manners_markdown(run: Run) -> list[str]:
    lines = [line(["server", *(check.name for check in CHECKS)]), "|---|" + "---|" * len(CHECKS)]
    lines += [
        line([server, *("yes" if found.get(check.name) else "**no**" for check in CHECKS)])
        for server, found in run.manners.items()
    ]
    return [*lines, "", *(f"- *{check.name}*, no: {check.fault}" for check in CHECKS)]


def _settings_markdown(run: Run) -> list[str]:
    return [
        f"- **{name}**: {SERVERS[name].why}\n  `{command}`"
        for name, command in run.commands.items()
        if name in SERVERS
    ]


def line(cells: Sequence[str]) -> str:
    """A row of a table."""
    return "| " + " | ".join(cells) + " |"
