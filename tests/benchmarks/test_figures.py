"""From wrk's summary to a verdict: parsing, statistics, tables, chart, archive, targets."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import archive, chart, judge, manners, report, results, wrk
from benchmarks.cases import BY_NAME, CASES, Kind
from benchmarks.judge import BadTarget, Verdict
from benchmarks.probes import Reading
from benchmarks.servers import SERVERS
from benchmarks.stats import figure, percentile, ratio
from benchmarks.turns import Results, Turn

TARGETS = Path(judge.__file__).with_name("targets.toml")


def measured_results(
    readings: dict[tuple[str, str], list[dict[str, float]]], errors: dict[str, int] | None = None
) -> Results:
    """(case, server) -> metrics of each round; errors are those of the first server's first round."""
    made = Results()
    for (case, server), rounds in readings.items():
        for number, metrics in enumerate(rounds, 1):
            reading = Reading(metrics, dict(errors or {}) if not made.turns else {})
            made.turns.append(Turn(number, case, server, reading))
    return made


def cpu(*values: float) -> list[dict[str, float]]:
    return [{"cpu_us": value} for value in values]


# wrk


def test_wrk_summary_is_read() -> None:
    summary = {"requests": 100, "microseconds": 2_000_000, "bytes": 5000, "connect": 0, "read": 3, "write": 0}
    summary |= {"status": 1, "timeout": 0, "p50": 120, "p99": 900, "max": 1000}
    load = wrk.parse(f"Running 2s test\n  Requests/sec: 50\n{wrk.MARK}{json.dumps(summary)}\n")
    assert (load.requests, load.seconds, load.received) == (100, 2.0, 5000)
    assert (load.p50_us, load.p99_us) == (120, 900)
    assert load.errors == {"read": 3, "status": 1}


@pytest.mark.parametrize("output", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
def test_wrk_without_a_summary_failed(output: str) -> None:
    with pytest.raises(wrk.WrkFailed, match=r"refused|nothing"):
        wrk.parse(output)


def test_wrk_script_holds_the_case() -> None:
    text = wrk.script(BY_NAME["post10k"])
    assert 'wrk.method = "POST"' in text
    assert 'string.rep("z", 10240)' in text
    assert 'wrk.headers["Cookie"]' in wrk.script(BY_NAME["browser"])
    assert wrk.lua_string('a"b\\c\n') == '"a\\"b\\\\c\\n"'


# statistics


def test_figure_and_spread() -> None:
    found = figure([3.0, 1.0, 2.0, math.nan])
    assert found is not None
    assert (found.median, found.low, found.high, found.rounds, found.spread) == (2.0, 1.0, 3.0, 3, 1.0)
    assert figure([]) is None


def test_ratio_is_taken_round_by_round() -> None:
    """The machine was twice as slow in round 2: the ratio does not see it."""
    found = ratio({1: 2.0, 2: 4.0, 3: 2.2}, {1: 1.0, 2: 2.0})
    assert found is not None
    assert (found.median, found.spread, found.rounds) == (2.0, 0.0, 2)
    assert ratio({1: 1.0}, {2: 1.0}) is None


@pytest.mark.parametrize(("share", "value"), [(0.5, 5.0), (0.99, 10.0), (1.0, 10.0), (0.0, 1.0)])
def test_percentile(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 11)], share) == value


def test_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 0.5))


# judge


JUDGED: list[tuple[str, dict[str, list[dict[str, float]]], Verdict, float | None]] = [
    ("prefork/limit<=1.35", {"prefork": cpu(5, 6), "limit": cpu(4, 4)}, Verdict.FALLS_SHORT, 1.375),
    ("prefork/limit<=1.35", {"prefork": cpu(5, 5), "limit": cpu(4, 4)}, Verdict.PASSES, 1.25),
    ("a / min(b, c) <= 0.9", {"a": cpu(8), "b": cpu(10), "c": cpu(9)}, Verdict.PASSES, 8 / 9),
    ("a/min(b,c)<=0.9", {"a": cpu(8), "c": cpu(16)}, Verdict.PASSES, 0.5),
    ("a.rps/b.rps>=1", {"a": [{"rps": 9.0}], "b": [{"rps": 10.0}]}, Verdict.FALLS_SHORT, 0.9),
    ("a.p99_ms<=10", {"a": [{"p99_ms": 10.0}]}, Verdict.PASSES, 10.0),
    ("a/b<=1.35", {"a": cpu(5)}, Verdict.UNKNOWN, None),
    ("a/b<=1.35", {"b": cpu(5)}, Verdict.UNKNOWN, None),
]


@pytest.mark.parametrize(("text", "readings", "verdict", "value"), JUDGED)
def test_judge(
    text: str, readings: dict[str, list[dict[str, float]]], verdict: Verdict, value: float | None
) -> None:
    measured = measured_results({("hello", server): rounds for server, rounds in readings.items()})
    found = judge.judge(judge.parse(f"hello: {text}"), measured)
    assert found.verdict is verdict
    assert found.value == (value if value is None else pytest.approx(value))


def test_judge_compares_cases() -> None:
    measured = measured_results({("accesslog", "prefork"): cpu(5.5), ("hello", "prefork"): cpu(5.0)})
    target = judge.parse("accesslog: prefork/hello@prefork<=1.15")
    assert target.cases == {"accesslog", "hello"}
    assert judge.judge(target, measured).value == pytest.approx(1.1)


def test_errors_of_our_own_spoil_a_pass() -> None:
    measured = measured_results(
        {("hello", "prefork"): cpu(1), ("hello", "limit"): cpu(1)}, errors={"read": 3}
    )
    found = judge.judge(judge.parse("hello: prefork/limit<=1.35"), measured)
    assert found.verdict is Verdict.FALLS_SHORT
    assert "read 3" in found.note


@pytest.mark.parametrize(
    "text", ["", "hello prefork<=1", "nocase: prefork<=1", "hello: a/b", "hello: a/b<1", "hello: A B<=1"]
)
def test_bad_targets_are_refused(text: str) -> None:
    with pytest.raises(BadTarget):
        judge.parse(text)


def test_the_targets_file_names_only_what_exists() -> None:
    known = {server.name: server for server in SERVERS}
    targets = judge.read(TARGETS)
    assert len(targets) > 20
    for target in targets:
        for operand in (target.above, *target.below):
            assert known[operand.server].runs(BY_NAME[operand.case].kinds, operand.case), target.text


def test_render_counts() -> None:
    measured = measured_results({("hello", "prefork"): cpu(4), ("hello", "limit"): cpu(4)})
    text = judge.render(
        [
            judge.judge(judge.parse(t), measured)
            for t in ("hello: prefork/limit<=1", "hello: prefork/bjoern<=1")
        ]
    )
    assert "passes        hello: prefork/limit<=1" in text
    assert "not measured  hello: prefork/bjoern<=1" in text
    assert text.endswith("targets: 1 passes, 0 falls short, 1 not measured")


# tables, chart, archive


@pytest.fixture
def run() -> archive.Run:
    measured = measured_results(
        {
            ("hello", "gone"): cpu(3.0, 3.0),
            ("hello", "prefork"): [{"cpu_us": 5.0, "rps": 200_000.0}, {"cpu_us": 5.5, "rps": 190_000.0}],
            ("hello", "limit"): cpu(4.0, 4.0),
            ("hello", "bjoern"): [{"cpu_us": 8.0, "foreign": 0.5}, {"cpu_us": 8.4, "foreign": 0.4}],
            ("start", "prefork"): [{"first_ms": 60.0}],
        },
        errors={"read": 12},
    )
    measured.reasons["hello", "granian"] = "granian is not installed"
    return archive.Run(
        began="2026-01-01 00:00 UTC",
        command="python -m benchmarks",
        rounds=2,
        seconds=1,
        facts={"cpu": "a <fast> one"},
        versions={"bjoern": "3.2.2"},
        commands={"bjoern": "python hosted.py bjoern"},
        manners={"bjoern": {"keep-alive": False, "Date": False}, "prefork": {"keep-alive": True}},
        results=measured,
    )


def test_table_ranks_errors_last_and_says_what_spoils(run: archive.Run) -> None:
    rows = report.rows(run, BY_NAME["hello"])
    assert [row.server for row in rows] == ["limit", "prefork", "bjoern", "gone"]
    by_name = {row.server: row for row in rows}
    assert by_name["prefork"].cells == ("5.2", "195,000", "-", "-", "-", "10 %", "1.00", "1.31")
    assert by_name["gone"].remarks == ("errors: read 12",)
    assert by_name["bjoern"].remarks[0].startswith("drops keep-alive")
    assert "45 %" in by_name["bjoern"].remarks[1]


def test_terminal_and_markdown_name_everything(run: archive.Run) -> None:
    for text in (report.terminal(run), report.markdown(run)):
        assert "granian: not run: granian is not installed" in text
        assert "drops keep-alive" in text
        assert "195,000" in text
        assert "errors: read 12" in text
        assert "start" in text
    assert "**no**" in report.markdown(run)
    tables = [line for line in report.markdown(run).splitlines() if line.startswith("| **prefork")]
    assert tables and all(line.count("|") == line.replace("\\|", "").count("|") for line in tables)


def test_what_we_lose_is_said_unless_the_winner_has_errors_or_no_manners() -> None:
    measured = measured_results(
        {
            ("tail", "prefork"): [{"p99_ms": 90.0}],
            ("tail", "prefork-gevent"): [{"p99_ms": 80.0}],
            ("tail", "gunicorn-sync"): [{"p99_ms": 4.0}],
            ("tail", "bjoern"): [{"p99_ms": 79.0}],
            ("tail", "uwsgi-http11"): [{"p99_ms": 3.0}],
            ("sleep", "prefork-threads"): [{"rps": 100.0}],
            ("sleep", "granian"): [{"rps": 120.0}],
            ("sleep", "waitress"): [{"rps": 90.0}],
        }
    )
    measured.turns[4].reading.errors["timeout"] = 3
    run = archive.Run(results=measured, manners={"granian": {"sharing": False}})
    (line,) = report.losses(run)
    assert line.startswith("tail (p99_ms): prefork 80, gunicorn-sync 4. A sync worker owns")
    run.manners = {}
    assert "sleep (rps): prefork 100, granian 120." in report.losses(run)


def test_chart_is_svg_with_a_bar_a_server(run: archive.Run) -> None:
    drawing = ElementTree.fromstring(chart.svg(run))
    bars = [e for e in drawing.iter("{http://www.w3.org/2000/svg}rect") if "bar" in e.get("class", "")]
    assert len(bars) == 4
    widths = [float(bar.get("width", "0")) for bar in bars]
    assert widths == sorted(widths)
    assert "errors" in bars[0].get("class", "")
    assert "us" in bars[2].get("class", "").split()


def test_a_chart_without_figures_is_still_svg() -> None:
    assert ElementTree.fromstring(chart.svg(archive.Run())).tag.endswith("svg")


def test_archive_gives_back_what_it_took(run: archive.Run, tmp_path: Path) -> None:
    archive.save(run, tmp_path / "run.json")
    assert archive.load(tmp_path / "run.json") == run


def test_tables_say_how_many_rounds_each_case_had(run: archive.Run) -> None:
    run.minutes = 30
    for text in (report.terminal(run), report.markdown(run)):
        assert "2 of 1 s within 30 minutes; 1: start" in text


def test_results_are_made_and_what_a_person_wrote_stays(run: archive.Run, tmp_path: Path) -> None:
    kept, into = tmp_path / "run.json", tmp_path / "RESULTS.md"
    archive.save(run, kept)
    results.make(kept, None, into)
    text = into.read_text()
    assert "| **prefork** |" in text and "![CPU per request by server](RESULTS.svg)" in text
    into.write_text(text.replace("## All cases", "Why: we are slow there.\n\n## All cases"))
    run.versions["bjoern"] = "4.0"
    archive.save(run, kept)
    drilled = tmp_path / "drill.json"
    drilled.write_text(
        '[{"server": "prefork", "exercise": "kill", "counts": {"ok": 9}, "lost": 0, "remark": "5 kills"}]'
    )
    results.make(kept, drilled, into)
    text = into.read_text()
    assert "Why: we are slow there." in text
    assert "bjoern 4.0" in text and "bjoern 3.2.2" not in text
    assert "5 kills" in text
    assert text.count("| **prefork** |") == 4  # at a glance, hello, start, kill
    assert ElementTree.fromstring((tmp_path / "RESULTS.svg").read_text()).tag.endswith("svg")


@pytest.mark.parametrize(
    "text", ["", "<!-- begin a -->\n<!-- end a -->\n" * 2, "<!-- end a -->\n<!-- begin a -->\n"]
)
def test_results_have_each_mark_once(text: str) -> None:
    with pytest.raises(ValueError, match="marks"):
        results.fill(text, "a", "tables")


def test_archive_refuses_what_is_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match="not a run"):
        archive.load(tmp_path / "x.json")


def test_merge_takes_the_second_runs_cases(run: archive.Run) -> None:
    second = archive.Run(
        command="again", results=measured_results({("start", "prefork"): [{"first_ms": 50.0}]})
    )
    merged = archive.merge(run, second)
    assert merged.results.values("start", "prefork", "first_ms") == {1: 50.0}
    assert merged.results.values("hello", "limit", "cpu_us") == {1: 4.0, 2: 4.0}
    assert merged.results.reasons == run.results.reasons


# the rows themselves


def test_cases_and_servers_are_named_once_and_headlines_are_read() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({server.name for server in SERVERS}) == len(SERVERS)
    for case in CASES:
        assert case.headline in {column.metric for column in report.COLUMNS[case.probe]}, case.name
    assert any(server.kind is Kind.LIMIT for server in SERVERS)


def test_faults_of_manners_touch_the_cases_they_spoil() -> None:
    found = {"keep-alive": False, "streaming": False, "Date": False}
    assert len(manners.faults(found, "stream", keeps_alive=True)) == 2
    assert len(manners.faults(found, "hello", keeps_alive=True)) == 1
    assert manners.faults(found, "close", keeps_alive=False) == []
