"""The scanner's contract beyond the grammar: resumption, limits, what is left behind a fault, and memory."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus import LIMITS, Case, cases

from prefork.engine import scanner
from prefork.engine.scanner import ChunkScanner, Fault, Head, HeadScanner, scan_head
from prefork.errors import FAULTS as ERRORS

SCAN_H = Path(__file__).parents[2] / "prefork" / "engine" / "scan.h"
GET = b"GET /a?b HTTP/1.1\r\nHost: h\r\n"
PAGE = mmap.PAGESIZE
SMALL = [case for case in cases() if len(case.raw) <= 1000]


# Faults are known by the same name and number everywhere.


def test_faults_are_those_of_the_header() -> None:
    declared = re.findall(r"^    FAULT_(\w+),.*?(\d{3})? \*/$", SCAN_H.read_text(), re.MULTILINE)
    assert {code: name.lower() for code, (name, _) in enumerate(declared, 1)} == scanner.FAULTS


def test_statuses_are_those_of_the_header() -> None:
    declared = re.findall(r"^    FAULT_(\w+),.*? (\d{3}) \*/$", SCAN_H.read_text(), re.MULTILINE)
    assert len(declared) == len(scanner.FAULTS)
    for code, (name, status) in enumerate(declared, 1):
        assert (ERRORS[code].name, ERRORS[code].status) == (name.lower(), int(status))


# What is left behind.


@pytest.mark.parametrize(
    ("raw", "name", "method", "target"),
    [
        (b"GET /a?b HTTP/1.1\r\n\r\n", "host_missing", b"GET", b"/a?b"),
        (GET + b"A\0: b\r\n\r\n", "field_name", b"GET", b"/a?b"),
        (GET + b"A: b\n", "bare_lf", b"GET", b"/a?b"),
        (b"GET /a HTTP/2.0\r\n", "version_unknown", b"GET", b"/a"),
        (b"GET /a http/1.1\r\n", "version", b"GET", b"/a"),
        (b"GET /a\r\n", "version", b"GET", b"/a"),
        (b"GET a HTTP/1.1\r\n", "target", b"GET", b"a"),
        (b"GET /a\xffb HTTP/1.1\r\n", "target", b"GET", b"/a"),
        (b"GET \xff HTTP/1.1\r\n", "target", b"GET", b""),
        (b"G\xff /a HTTP/1.1\r\n", "method", b"", b""),
    ],
)
def test_a_fault_leaves_what_names_the_request(raw: bytes, name: str, method: bytes, target: bytes) -> None:
    with pytest.raises(Fault, match=name) as caught:
        scan_head(raw)
    assert (caught.value.name, caught.value.method, caught.value.target) == (name, method, target)


def test_a_fault_stays() -> None:
    heads = HeadScanner()
    for more in (b"GET / HTTP/1.1\n", b"\r\n", GET):
        with pytest.raises(Fault) as caught:
            heads.feed(more)
        assert (caught.value.name, caught.value.at) == ("bare_lf", 14)


def test_a_chunk_fault_stays() -> None:
    chunks = ChunkScanner()
    for more in (b"5\r\nhellox", b"0\r\n\r\n"):
        with pytest.raises(Fault) as caught:
            chunks.feed(more)
        assert (caught.value.name, caught.value.at) == ("chunk_end", 8)
    assert chunks.total == 5


def test_a_head_stays_found() -> None:
    heads = HeadScanner()
    head = heads.feed(GET + b"\r\n")
    assert head is not None
    assert heads.feed(b"GET /next\n") == head


def test_nothing_behind_a_head_is_read() -> None:
    head = scan_head(GET + b"\r\n\0\n\xff")
    assert head is not None
    assert head.head_len == len(GET) + 2


def test_nothing_behind_a_body_is_read() -> None:
    chunks = ChunkScanner()
    assert chunks.feed(b"2\r\nhi\r\n0\r\n\r\n\0\n\xff") == b"hi"
    assert (chunks.done, chunks.used) == (True, 12)
    assert chunks.feed(b"5\r\n") == b""
    assert chunks.used == 12


# Fields.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"Host", "host"),
        (b"EXPECT", "expect"),
        (b"upgrade", "upgrade"),
        (b"Connection", "connection"),
        (b"content-TYPE", "content-type"),
        (b"Content-Length", "content-length"),
        (b"Transfer-Encoding", "transfer-encoding"),
        (b"Hosu", "other"),
        (b"Host-", "other"),
        (b"Content.Type", "other"),
        (b"Content_Length", "other"),
        (b"Transfer-Encodinh", "other"),
        (b"Accept", "other"),
        (b"Cookies", "other"),
        (b"User-Agent", "other"),
        (b"If-Modified-Since", "other"),
    ],
)
def test_kinds(name: bytes, kind: str) -> None:
    value = {"host": b"h", "content-length": b"0", "transfer-encoding": b"chunked", "expect": b"100-continue"}
    host = b"" if kind == "host" else b"Host: h\r\n"
    head = scan_head(b"GET / HTTP/1.1\r\n" + host + name + b": " + value.get(kind, b"x") + b"\r\n\r\n")
    assert head is not None
    assert (head.fields[-1].name, head.fields[-1].kind) == (name, kind)


@pytest.mark.parametrize("length", range(1, 70))
def test_names_and_values_of_any_length(length: int) -> None:
    """Around the widths that are read at once: sixteen and eight bytes."""
    name, value = b"n" * (length - 1) + b"_", b"v" * length
    head = scan_head(GET + name + b":" + value + b"\r\n" + value + b":" + name + b"\r\n\r\n")
    assert head is not None
    assert [(field.name, field.value, field.underscore) for field in head.fields[1:]] == [
        (name, value, True),
        (value, name, False),
    ]


@pytest.mark.parametrize("at", range(40))
@pytest.mark.parametrize("byte", [0, 0x08, 0x1F, 0x7F])
def test_a_control_byte_is_found_at_any_place(at: int, byte: int) -> None:
    value = b"v" * at + bytes((byte,)) + b"v" * (40 - at)
    with pytest.raises(Fault) as caught:
        scan_head(GET + b"A:" + value + b"\r\n\r\n")
    assert (caught.value.name, caught.value.at) == ("field_value", len(GET) + 2 + at)


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_in_every_part(byte: int) -> None:
    """Which bytes may stand where, by the RFCs' own words (RFC 9110 5.5 and 5.6.2, RFC 9112 3)."""
    char = bytes((byte,))
    token = bool(re.match(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]\Z", char))
    visible = 0x21 <= byte <= 0x7E
    parts = (
        (b"G" + char + b"T / HTTP/1.1\r\nHost: h\r\n\r\n", token or char == b" "),
        (b"GET /" + char + b"a HTTP/1.1\r\nHost: h\r\n\r\n", visible and char != b"#"),
        (GET + b"A" + char + b"B: v\r\n\r\n", token or char == b":"),
        (GET + b"A: a" + char + b"b\r\n\r\n", visible or byte >= 0x80 or char in b" \t"),
    )
    for raw, allowed in parts:
        if raw.startswith(b"G T"):
            continue
        try:
            assert scan_head(raw) is not None
            taken = True
        except Fault:
            taken = False
        assert taken == allowed, raw


# Resumption: the outcome is in the corpus tests; here, that nothing is looked at twice.


def wear(raw: bytes) -> Iterator[tuple[memoryview, int]]:
    """Give raw byte by byte, and spoil the bytes that a scanner has no reason to look at again.

    Bytes of finished lines are spoiled for good: they were parsed. Those of the unfinished line are spoiled
    until its end arrives: they were searched. A scanner that went back would meet NUL and refuse it.
    """
    buffer = bytearray(raw)
    begin = 0
    for size in range(1, len(raw) + 1):
        ends = raw[size - 1 : size] == b"\n"
        if ends:
            buffer[begin:size] = raw[begin:size]
        yield memoryview(buffer)[:size], size
        begin = size if ends else begin
        buffer[: max(0, size - 1)] = bytes(max(0, size - 1))


def test_a_head_is_looked_at_once() -> None:
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 700) for number in range(90))
    raw = GET + fields + b"\r\n"
    heads = HeadScanner(head_size=1 << 17)
    found = [heads.scan(view) for view, _ in wear(raw)]
    assert found[:-1] == [None] * (len(raw) - 1)
    assert isinstance(found[-1], Head)
    assert (len(raw), len(found[-1].fields)) == (len(found), 91)


def test_looked_never_goes_back() -> None:
    heads = HeadScanner()
    raw = b"\r\n" + GET + b"A: b\r\n\r\n"
    looked = []
    for byte in raw:
        heads.feed(bytes((byte,)))
        looked.append(heads.looked)
    assert looked == sorted(looked)
    assert all(at <= seen <= at + 1 for at, seen in enumerate(looked)), "one byte, CR, may wait for the next"


def test_limits_are_met_on_the_same_byte_however_it_comes() -> None:
    """With every limit just met or not, in all combinations: byte by byte as whole."""
    raw = b"GET /" + b"a" * 20 + b" HTTP/1.1\r\nHost: h\r\nA: " + b"b" * 20 + b"\r\nC: d\r\n\r\n"
    sizes = {
        "head_size": (len(raw) - 1, len(raw)),
        "line_size": (33, 34),
        "field_size": (22, 23),
        "field_count": (2, 3),
    }
    outcomes = set()
    for values in itertools.product(*sizes.values()):
        limits = dict(zip(sizes, values, strict=True))
        whole, bytewise = outcome([raw], limits), outcome([bytes((byte,)) for byte in raw], limits)
        assert whole == bytewise, limits
        outcomes.add(whole[0])
    assert outcomes == {"target_too_long", "field_too_large", "too_many_fields", "head_too_large", "head"}


def outcome(pieces: list[bytes], limits: dict[str, int]) -> tuple[str, int]:
    """The fault and its place, or "head" and its length."""
    heads = HeadScanner(**limits)
    try:
        for piece in pieces:
            head = heads.feed(piece)
    except Fault as fault:
        return fault.name, fault.at
    assert head is not None
    return "head", head.head_len


# Memory: not a byte outside the buffer is read.


@pytest.fixture(scope="module")
def fenced() -> Iterator[memoryview]:
    """A page between two that cannot be read: to step outside it is the end of the process."""
    area = mmap.mmap(-1, 3 * PAGE)
    first = ctypes.c_char.from_buffer(area)
    base = ctypes.addressof(first)
    del first
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for page in (0, 2):
        assert libc.mprotect(base + page * PAGE, PAGE, 0) == 0, ctypes.get_errno()
    view = memoryview(area)[PAGE : 2 * PAGE]
    yield view
    view.release()
    area.close()


def scan_all(view: memoryview, case: Case) -> None:
    """Scan a head, and what is behind it as chunks; faults are welcome."""
    limits = {name: case.limits[name] for name in LIMITS if name != "trailer_size"}
    try:
        head = HeadScanner(**limits).scan(view)
        if head is not None:
            ChunkScanner(trailer_size=case.limits["trailer_size"]).feed(view[head.head_len :])
    except Fault:
        pass


@pytest.mark.parametrize("case", SMALL, ids=[case.name for case in SMALL])
def test_nothing_outside_the_buffer_is_read(fenced: memoryview, case: Case) -> None:
    for size in range(len(case.raw) + 1):
        fenced[PAGE - size :] = case.raw[:size]
        scan_all(fenced[PAGE - size :], case)
        fenced[:size] = case.raw[:size]
        scan_all(fenced[:size], case)


# Chunks.


def test_data_is_given_as_it_comes() -> None:
    chunks = ChunkScanner()
    given = [chunks.feed(piece) for piece in (b"a\r\n01", b"234", b"56789\r", b"\n0\r\n", b"\r\n")]
    assert given == [b"01", b"234", b"56789", b"", b""]
    assert (chunks.done, chunks.total, chunks.used) == (True, 10, 20)


@pytest.mark.parametrize("size", [b"A", b"7fffffffffffffff", b"000000000000000f", b"FfFf"])
def test_sizes(size: bytes) -> None:
    chunks = ChunkScanner()
    assert chunks.feed(size + b"\r\n" + b"x" * 10) == b"x" * min(10, int(size, 16))


def test_a_million_chunks_of_a_byte_are_no_attack() -> None:
    chunks = ChunkScanner()
    for _ in range(1000):
        assert len(chunks.feed(b"1;a\r\nx\r\n" * 1000)) == 1000
    assert chunks.total == 1_000_000
