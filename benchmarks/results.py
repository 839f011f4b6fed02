"""python -m benchmarks.results RUN.json [DRILL.json]: put kept runs into RESULTS.md, and draw its chart.

RESULTS.md is made and written: the tables between its marks come from the runs, everything else from a
person (what is lost and why, what surprised). Making it again leaves that alone.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from benchmarks import archive, chart, drill, report
from benchmarks.cases import BY_NAME
from benchmarks.servers import BY_NAME as SERVERS

HERE = Path(__file__).parent
INSTRUCTIONS = HERE / "instructions.json"

# The cases of the short table: the one that README shows.
GLANCE = ("hello", "browser", "close", "post10k", "body10k", "django", "flask", "sleep", "start", "memory")
UNITS = {"cpu_us": "µs", "rps": "req/s", "first_ms": "ms", "idle_mb": "MB"}

LEGEND = (
    "CPU of the server's process tree a request (µs), requests a second, time to the first answer, and "
    "memory of a master with 4 workers; smaller is better, except for req/s. !: with errors. Empty: not its "
    "case, or not possible, for the reason in the case's own table."
)

SKELETON = """\
# Results

<!-- begin machine -->
<!-- end machine -->

## At a glance

<!-- begin glance -->
<!-- end glance -->

## What we lose, and why

<!-- begin losses -->
<!-- end losses -->

## All cases

<!-- begin cases -->
<!-- end cases -->

## Drills

<!-- begin drill -->
<!-- end drill -->

## Instructions

<!-- begin instructions -->
<!-- end instructions -->

## Who does the task, and how each was started

<!-- begin servers -->
<!-- end servers -->
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("run", type=Path, help="what python -m benchmarks --json has kept")
    parser.add_argument("drill", type=Path, nargs="?", help="what python -m benchmarks.drill --json has kept")
    parser.add_argument("--into", type=Path, default=HERE / "RESULTS.md", metavar="FILE", help="(RESULTS.md)")
    parser.add_argument("--glance", type=Path, metavar="FILE", help="put the short table into this file too")
    options = parser.parse_args()
    try:
        make(options.run, options.drill, options.into, options.glance)
    except (OSError, ValueError) as e:
        print(f"results: {e}", file=sys.stderr)
        return 2
    return 0


def make(run_path: Path, drill_path: Path | None, into: Path, glance_into: Path | None = None) -> None:
    """Fill the marked parts. Raises ValueError where a file is not what it should be."""
    run = archive.load(run_path)
    parts = sections(run)
    if drill_path:
        parts["drill"] = drill.markdown(drill.load(drill_path))
    text = into.read_text() if into.exists() else SKELETON
    picture = into.with_suffix(".svg")
    parts["glance"] += f"\n\n![CPU per request by server]({picture.name})"
    for name, content in parts.items():
        text = fill(text, name, content)
    picture.write_text(chart.svg(run))
    into.write_text(text)
    if glance_into:
        glance_into.write_text(fill(glance_into.read_text(), "glance", glance(run)))


def sections(run: archive.Run) -> dict[str, str]:
    """The parts that a run gives, by the name of their marks."""
    lost = report.losses(run)
    return {
        "machine": "\n".join(report.about_markdown(run)),
        "glance": glance(run),
        "losses": "\n".join(f"- {line}" for line in lost) or "In this run no peer was ahead of our best.",
        "cases": "\n".join(report.cases_markdown(run)).strip(),
        "servers": "\n".join(report.servers_markdown(run)).strip(),
        "instructions": instructions(INSTRUCTIONS) if INSTRUCTIONS.exists() else "Not counted.",
    }


def fill(text: str, name: str, content: str) -> str:
    """Put content between the marks of that name. Raises ValueError when they are not there once."""
    marks = re.compile(rf"(<!-- begin {name}\b[^>]*-->\n).*?(<!-- end {name} -->)", re.DOTALL)
    found, count = marks.subn(lambda match: f"{match[1]}\n{content.strip()}\n\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"{count} pairs of marks '<!-- begin {name} -->', '<!-- end {name} -->'; not one")
    return found


def glance(run: archive.Run) -> str:
    """One row a server, one column a case: the figure that each case is about."""
    cases = [BY_NAME[name] for name in GLANCE if name in run.results.cases()]
    columns = ["server", *(f"{case.name} {UNITS[case.headline]}" for case in cases)]
    lines = [report.line(columns), "|---|" + "---:|" * len(cases)]
    for name in SERVERS:
        cells = []
        for case in cases:
            figure = run.results.figure(case.name, name, case.headline)
            errors = run.results.errors(case.name, name)
            digits = 1 if figure and figure.median < 100 else 0
            cells.append(f"{figure.median:,.{digits}f}{' !' if errors else ''}" if figure else "")
        if any(cells):
            lines.append(report.line([f"**{name}**" if name.startswith(report.US) else name, *cells]))
    return "\n".join([*lines, "", LEGEND])


def instructions(path: Path) -> str:
    """The kept count of `python -m benchmarks.callgrind`."""
    kept = json.loads(path.read_text())
    rows = [
        report.line([server, case, f"{count:,}"])
        for server, counts in kept["servers"].items()
        for case, count in counts.items()
    ]
    said = f"A request, counted by callgrind on {kept['machine']}."
    return "\n".join([said, "", "| server | case | instructions |", "|---|---|---:|", *rows])


if __name__ == "__main__":
    sys.exit(main())
