"""The view as lines, whatever is in it and however small the terminal."""

from __future__ import annotations

import pytest

from prefork.operate import words
from prefork.operate.reading import Look, figures
from prefork.operate.table import cut, lines

from .conftest import Master

HOSTILE = b"/\x1b[2J\x07\xff\xe2\x80\xae<script>alert(1)</script>\r\nX: y"


def view(master: Master, **size: int) -> list[str]:
    before = Look(master.said(), 8.0, {})
    return [line.text for line in lines(figures(Look(master.said(), 10.0, {}), before), **size)]


def test_the_view() -> None:
    master = Master()
    before = Look(master.said(), 8.0, {})
    master.serve(0, 10, latency_ns=2_000_000)
    master.run(1, b"/slow?x=1", seconds=12.34)
    found = [line.text for line in lines(figures(Look(master.said(), 10.0, {}), before))]
    assert found[:4] == [
        "prefork 1.2.3 [shop], pid 4000001, up -",
        "at http://127.0.0.1:8000",
        "serving; generation 1, 2 of 2 workers serve",
        "5.0 requests/s, busy 50% (1 of 2 at once), 1 connections",
    ]
    assert found[4].endswith(" ms; queue p99 0.01 ms")
    assert found[5] == "answers/s over 2.0 s: 2xx 5.0"
    assert found[7].split() == ["pid", "gen", "state", "req/s", "cpu", "memory", "conns", "runs"]
    assert found[8].split() == ["4000100", "1", "serving", "5.0", "-", "-", "0"]
    assert found[9].split(maxsplit=7)[-1] == "12.3 s GET /slow?x=1"


@pytest.mark.parametrize("size", [(80, 24), (20, 4), (21, 9), (200, 60)])
def test_it_fits(size: tuple[int, int]) -> None:
    width, height = size
    master = Master(workers=40)
    master.facts["name"] = "大きい" * 40
    for slot in range(40):
        master.run(slot, b"/" + b"x" * 300, seconds=slot)
    found = view(master, width=width, height=height)
    assert len(found) <= height
    assert all(sum(2 if ord(letter) > 0x2E80 else 1 for letter in line) <= width for line in found)


def test_figures_of_a_large_server_fit_80_columns() -> None:
    master = Master(workers=16, at_once=1000)
    for slot in range(16):
        master.board.set_load(slot, connections=10_000, running=1000)
    before = Look(master.said(), 8.0, {})
    for slot in range(16):
        master.serve(slot, 9000, latency_ns=(slot + 1) * 5_000_000_000)
    found = lines(figures(Look(master.said(), 9.0, {}), before), width=79, height=24)
    assert [line.text for line in found if line.text.endswith("~")] == []


def test_where_there_is_no_room_the_longest_are_shown() -> None:
    master = Master(workers=40)
    for slot in range(40):
        master.run(slot, b"/", seconds=slot)
    found = view(master, width=80, height=24)
    assert len(found) == 24
    pids = [line.split()[0] for line in found[8:-1]]
    assert pids == [str(4_000_139 - each) for each in range(15)]
    assert found[-1] == "and 25 more workers"


def test_what_a_client_has_named_is_shown_not_obeyed() -> None:
    master = Master()
    master.facts["name"] = "a\x1b]0;b\x07\u202ec\nd"
    master.run(0, HOSTILE, seconds=3, method=b"G\x1bT")
    text = "\n".join(view(master))
    assert all(letter == "\n" or letter.isprintable() for letter in text)
    assert r"[a\x1B]0;b\x07\u202Ec\x0Ad]" in text
    assert r"G\x1BT /\x1B[2J\x07" in text


def test_worth_a_look() -> None:
    master = Master(workers=3)
    master.run(1, b"/", seconds=1.5)
    master.run(2, b"/", seconds=0.5)
    master.facts["serving"] = 2
    found = lines(figures(Look(master.said(), 1.0, {}), None))
    assert [line.text.split(";")[0].split()[0] for line in found if line.loud] == ["serving", "4000101"]


@pytest.mark.parametrize(
    ("text", "width", "fits"),
    [("abc", 3, "abc"), ("abcd", 3, "ab~"), ("大大", 3, "大~"), ("e\u0301a", 2, "e\u0301a"), ("ab", 0, "")],
)
def test_cut(text: str, width: int, fits: str) -> None:
    assert cut(text, width) == fits


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (words.time(None), "-"),
        (words.time(0.0000123), "0.01 ms"),
        (words.time(0.0124), "12 ms"),
        (words.time(0.9994), "999 ms"),
        (words.time(1.04), "1.0 s"),
        (words.time(75), "1m15s"),
        (words.size(None), "-"),
        (words.size(2048), "2K"),
        (words.size(45 << 20), "45M"),
        (words.size(1500 << 20), "1.5G"),
        (words.size(20 << 30), "20G"),
        (words.rate(0.04), "0.0"),
        (words.rate(12345.6), "12346"),
        (words.share(0.755), "76%"),
        (words.age(90061), "1d01h"),
    ],
)
def test_words(said: str, wanted: str) -> None:
    assert said == wanted
