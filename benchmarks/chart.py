"""CPU per request as an SVG: one panel a case, one bar a server, shortest first, linear from zero."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.archive import Run
from benchmarks.cases import BY_NAME, Case, Probe

PANEL_WIDTH = 500
LABEL_WIDTH = 136
VALUE_WIDTH = 60
BAR_HEIGHT = 16
ROW_HEIGHT = 22
HEAD_HEIGHT = 34
GAP = 28
COLUMNS = 2

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; }
  .bar { fill: #9aa7b4; }
  .us { fill: #1f6feb; }
  .limit { fill: #57606a; }
  .errors { fill: #d1a3a3; }
  .spread { stroke: #24292f; stroke-width: 1; }
  .ground { fill: #ffffff; }
"""


@dataclass(frozen=True)
class Bar:
    server: str
    value: float
    low: float
    high: float
    errors: bool

    @property
    def css(self) -> str:
        if self.server == "limit":
            return "bar limit"
        if self.server.startswith("prefork"):
            return "bar us"
        return "bar errors" if self.errors else "bar"


def bars(run: Run, case: Case) -> list[Bar]:
    """What a panel shows; servers without a figure are left out."""
    found = []
    for server in run.results.servers(case.name):
        figure = run.results.figure(case.name, server, "cpu_us")
        if figure is not None:
            errors = bool(run.results.errors(case.name, server))
            found.append(Bar(server, figure.median, figure.low, figure.high, errors))
    return sorted(found, key=lambda bar: bar.value)


def svg(run: Run) -> str:
    """The whole chart."""
    cases = [BY_NAME[name] for name in run.results.cases() if BY_NAME[name].probe is Probe.THROUGHPUT]
    panels = [(case, found) for case in cases if (found := bars(run, case))]
    parts: list[str] = []
    heights = [0.0] * COLUMNS
    for case, found in panels:
        column = heights.index(min(heights))
        x, y = column * (PANEL_WIDTH + GAP) + GAP, heights[column] + GAP
        parts.append(_panel(case, found, x, y))
        heights[column] = y + HEAD_HEIGHT + ROW_HEIGHT * len(found)
    width = COLUMNS * (PANEL_WIDTH + GAP) + GAP
    height = max(heights) + GAP + 20
    rounds = f"{run.rounds} round{'s' * (run.rounds != 1)}"
    foot = (
        f"CPU µs per request of the server's process tree, median of {rounds}; "
        "line: lowest to highest; red: with errors"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" role="img" '
        f'aria-label="CPU per request by server">\n<style>{STYLE}</style>\n'
        f'<rect class="ground" width="{width}" height="{height:.0f}"/>\n'
        + "\n".join(parts)
        + f'\n<text x="{GAP}" y="{height - 14:.0f}">{escape(foot)}</text>\n</svg>\n'
    )


def _panel(case: Case, found: list[Bar], x: float, y: float) -> str:
    room = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH
    scale = room / max(bar.high for bar in found)
    lines = [f'<text class="title" x="{x}" y="{y + 14}">{escape(f"{case.name}: {case.title}")}</text>']
    for index, bar in enumerate(found):
        top = y + HEAD_HEIGHT + index * ROW_HEIGHT - 8
        middle = top + BAR_HEIGHT / 2
        start = x + LABEL_WIDTH
        width = max(1.0, bar.value * scale)
        value = f"{bar.server}: {bar.value:.1f} µs"
        low, high = start + bar.low * scale, start + bar.high * scale
        lines += [
            f'<text x="{start - 6}" y="{top + 12:.1f}" text-anchor="end">{escape(bar.server)}</text>',
            f'<rect class="{bar.css}" x="{start}" y="{top:.1f}" width="{width:.1f}" height="{BAR_HEIGHT}">',
            f"<title>{escape(value)}</title></rect>",
            f'<line class="spread" x1="{low:.1f}" y1="{middle:.1f}" x2="{high:.1f}" y2="{middle:.1f}"/>',
            f'<text x="{high + 6:.1f}" y="{top + 12:.1f}">{bar.value:,.1f}</text>',
        ]
    return "\n".join(lines)
