"""The access log: what each atom says, that nothing forges a line, that no descriptor stops the worker."""

import errno
import fcntl
import json
import os
import re
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefork.engine.accessformat import ATOMS, JSON_FIELDS, compile_format
from prefork.engine.accesslog import AccessLog

DEFAULT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
BUFFER = 65536
VALUE_LIMIT = 7168

ENVIRON: dict[str, Any] = {
    "REMOTE_ADDR": "192.0.2.7",
    "REMOTE_PORT": "4711",
    "REQUEST_METHOD": "GET",
    "RAW_URI": "/caf%C3%A9?x=1",
    "PATH_INFO": "/caf\xc3\xa9 bar",
    "QUERY_STRING": "x=1",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "CONTENT_TYPE": "text/plain",
    "HTTP_HOST": "example.org",
    "HTTP_REFERER": "https://example.org/",
    "HTTP_USER_AGENT": "curl/8.5.0",
    "HTTP_AUTHORIZATION": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
    "wsgi.url_scheme": "http",
    "app.number": 17,
}
TIMES = {"begin_ns": 1_000, "app_ns": 2_001_000, "end_ns": 1_234_568_999, "queue_ns": 7_900}

Write = Callable[..., bytes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    yield opened
    os.close(opened)


@pytest.fixture
def write(path: Path, fd: int) -> Write:
    """The bytes that one record of this format is."""

    def one(
        format: str, environ: dict[str, Any] | None, headers: Any = None, remote: Any = None, **facts: int
    ) -> bytes:
        log = AccessLog(format, fd)
        log.record_for_test(environ, headers, remote, **facts)
        before = path.stat().st_size
        assert log.flush()
        with path.open("rb") as written:
            written.seek(before)
            return written.read()

    return one


# --- what each atom says

RESPONSE = [("Content-Type", "text/html"), ("X-Id", "1"), ("x-id", "2"), ("X-\xe9", "3"), ("", "4")]


SAID = [
    ("%(h)s", "192.0.2.7"),
    ("%(l)s", "-"),
    ("%(u)s", "Aladdin"),
    ("%(r)s", "GET /caf%C3%A9?x=1 HTTP/1.1"),
    ("%(m)s", "GET"),
    ("%(U)s", r"/caf\xC3\xA9\x20bar"),
    ("%(q)s", "x=1"),
    ("%(H)s", "HTTP/1.1"),
    ("%(s)s", "201"),
    ("%(B)s", "512"),
    ("%(b)s", "512"),
    ("%(I)s", "99"),
    ("%(f)s", "https://example.org/"),
    ("%(a)s", "curl/8.5.0"),
    ("%(T)s", "1"),
    ("%(M)s", "1234"),
    ("%(D)s", "1234567"),
    ("%(D)d", "1234567"),
    ("%(L)s", "1.234567"),
    ("%(Q)s", "7"),
    ("%(A)s", "2000"),
    ("%(p)s", f"<{os.getpid()}>"),
    ("%({Host}i)s", "example.org"),
    ("%({user-agent}i)s", "curl/8.5.0"),
    ("%({content-type}i)s", "text/plain"),
    ("%({Content-Length}i)s", "-"),
    ("%({content-type}o)s", "text/html"),
    ("%({X-ID}o)s", "2"),
    ("%({missing}o)s", "-"),
    ("%({remote_port}e)s", "4711"),
    ("%({REMOTE_PORT}e)s", "4711"),
    ("%({wsgi.url_scheme}e)s", "http"),
    ("%({app.number}e)s", "17"),
    ("%({missing}e)s", "-"),
    ("100%% of %(l)s, \tcaf\xe9%%", "100% of -, \tcafé%"),
    ("", ""),
]


@pytest.mark.parametrize(("format", "said"), SAID)
def test_atoms(write: Write, format: str, said: str) -> None:
    line = write(format, ENVIRON, RESPONSE, status=201, body_in=99, body_out=512, **TIMES)
    assert line == f"{said}\n".encode()


def test_every_atom_is_tested_and_said_once() -> None:
    tested = "".join(format for format, _ in SAID).split("%(")
    letters = {re.sub(r"\{.*\}", "{name}", atom.partition(")")[0]) for atom in tested}
    assert set(ATOMS) - letters == {"t"}, "t has a test of its own"


@pytest.mark.parametrize("atom", [atom for atom in ATOMS if atom not in ("t", "p", "B", "I", "s", "Q")])
def test_nothing_known_is_a_dash(write: Write, atom: str) -> None:
    """As for a request that could not be parsed."""
    line = write(
        f"%({atom.replace('name', 'x')})s", None, None, None, status=400, begin_ns=0, app_ns=0, end_ns=0
    )
    assert line == b"-\n"


@pytest.mark.parametrize(
    ("format", "environ", "facts", "said"),
    [
        ("%(h)s", None, {"remote": "192.0.2.9"}, b"192.0.2.9"),
        ("%(h)s", {"REMOTE_ADDR": ""}, {}, b"-"),
        ("%(h)s", {"REMOTE_ADDR": ""}, {"remote": "192.0.2.9"}, b"192.0.2.9"),
        ("%(h)s", {"REMOTE_ADDR": None}, {"remote": ("192.0.2.9", 80)}, b"-"),
        ("%(s)s", {}, {"status": 0}, b"-"),
        ("%(r)s", {}, {}, b"-"),
        ("%(r)s", {"REQUEST_METHOD": "GET"}, {}, b"GET - -"),
        ("%(q)s", {"QUERY_STRING": ""}, {}, b""),
        ("%(b)s %(B)s", {}, {"status": 304}, b"- 0"),
        ("%({x}e)s", {"x": None}, {}, b"-"),
        ("%({x}e)s", {"x": b"bytes"}, {}, b"-"),
        ("%({x}e)s", {"x": True}, {}, b"True"),
        ("%({x}e)s", {"x": -1.5}, {}, b"-1.5"),
        ("%({x}e)s", {"x": 10**6000}, {}, b"-"),
        (
            "%({x}e)s",
            {"x": "\u20ac\U0001f600\ud800\xe9"},
            {},
            rb"\xE2\x82\xAC\xF0\x9F\x98\x80\xEF\xBF\xBD\xE9",
        ),
    ],
)
def test_odd_environs(write: Write, format: str, environ: Any, facts: Any, said: bytes) -> None:
    assert write(format, environ, **facts) == said + b"\n"


@pytest.mark.parametrize(
    ("header", "user"),
    [
        ("Basic dXNlcjpwYXNz", b"user"),
        ("bAsIc   dXNlcjpwYXNz", b"user"),
        ("Basic dXNlcjo=", b"user"),
        ("Basic YTpi", b"a"),
        ("Basic OnBhc3M=", b"-"),  # no name
        ("Basic dXNlcg==", b"-"),  # no colon
        ("Basic", b"-"),
        ("Basic ", b"-"),
        ("Basic !!!!", b"-"),
        ("Bearer dXNlcjpwYXNz", b"-"),
        ("Basic YSBiImMKZDp4", rb"a\x20b\x22c\x0Ad"),
        ("Basic w6k6eA==", rb"\xC3\xA9"),
        ("Basic " + "YWFh" * 200, b"a" * 255),
    ],
)
def test_user_names(write: Write, header: str, user: bytes) -> None:
    assert write("%(u)s", {"HTTP_AUTHORIZATION": header}) == user + b"\n"


@pytest.mark.parametrize(("zone", "offset"), [("UTC0", "+0000"), ("IST-5:30", "+0530"), ("NST3:30", "-0330")])
def test_time_is_local_with_its_offset(
    write: Write, monkeypatch: pytest.MonkeyPatch, zone: str, offset: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        before = int(time.time()) - 1  # the coarse clock may still say the second before
        text = write("%(t)s", ENVIRON).decode()
        member = json.loads(write("json", ENVIRON))["time"]
        now = [time.localtime(second) for second in range(before, int(time.time()) + 1)]
    time.tzset()
    assert text in [time.strftime(f"[%d/%b/%Y:%H:%M:%S {offset}]\n", at) for at in now]
    assert member[:19] in [time.strftime("%Y-%m-%dT%H:%M:%S", at) for at in now]
    assert re.fullmatch(r"\.\d{3}" + re.escape(f"{offset[:3]}:{offset[3:]}"), member[19:])


def test_headers_that_are_no_pairs_are_passed_over(write: Write) -> None:
    rows: list[Any] = [
        ("a", "good"),
        ["a", "list"],
        ("a",),
        None,
        (b"a", "bytes"),
        ("a", 3, 4),
        ("\u0101", "x"),
    ]
    assert write("%({A}o)s", {}, rows) == b"good\n"


# --- formats


@pytest.mark.parametrize(
    ("format", "named"),
    [
        ("%(z)s", "unknown atom %(z)s"),
        ("%()s", "unknown atom %()s"),
        ("%(hh)s", "unknown atom %(hh)s"),
        ("%({}i)s", "unknown atom %({}i)s"),
        ("%({name}x)s", "unknown atom %({name}x)s"),
        ("%({name}h)s", "unknown atom %({name}h)s"),
        ("%(h)d", "'%(h)d' where only %(h)s"),
        ("%(h)r", "'%(h)r' where only %(h)s"),
        ("%(D)f", "'%(D)f' where only %(D)s"),
        ("%(h)5s", "'%(h)5' where only %(h)s"),
        ("%h", "begins no %(atom)s: '%h'"),
        ("100%", "begins no %(atom)s: '%'"),
        ("%(h", "begins no %(atom)s: '%(h'"),
        ("%(h)", "begins no %(atom)s: '%(h)'"),
        ("a\nb", r"control character '\n'"),
        ("a\x00b", r"control character '\x00'"),
    ],
)
def test_bad_formats_are_one_line(format: str, named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)) as caught:
        compile_format(format)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=re.escape(named)):
        AccessLog(format, 1)


def test_the_default_is_few_pieces() -> None:
    assert len(compile_format(DEFAULT)) == 16


# --- nothing forges a line

TEXT = st.text(st.characters(codec="utf-8"), max_size=80) | st.text(
    st.characters(max_codepoint=255), max_size=80
)
ODD = st.one_of(TEXT, st.text(st.sampled_from('"\\ \n\r\x00\x7f\xffaé%'), max_size=40))
KEYS = (
    "REMOTE_ADDR",
    "REQUEST_METHOD",
    "RAW_URI",
    "SERVER_PROTOCOL",
    "HTTP_HOST",
    "HTTP_REFERER",
    "HTTP_USER_AGENT",
)
ENVIRONS = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, ODD))

COLUMNS = re.compile(
    rb'([!-~]+) - ([!-~]+) \[[^]]+\] "([ !#-~]*)" 200 - "([ !#-~]*)" "([ !#-~]*)"\n',
)


def plain(escaped: bytes) -> str:
    return re.sub(rb"\\x([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), escaped).decode("latin-1")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    path = tmp_path_factory.mktemp("log") / "access.log"
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    yield opened, path
    os.close(opened)


def one_record(shared: tuple[int, Path], format: str, environ: dict[str, Any]) -> bytes:
    fd, path = shared
    os.truncate(path, 0)
    log = AccessLog(format, fd)
    log.record_for_test(environ)
    assert log.flush()
    return path.read_bytes()


@settings(max_examples=400, deadline=None)
@given(ENVIRONS)
def test_text_keeps_its_columns(shared: tuple[int, Path], environ: dict[str, str]) -> None:
    columns = COLUMNS.fullmatch(one_record(shared, DEFAULT, environ))
    assert columns
    for column, key in ((1, "REMOTE_ADDR"), (4, "HTTP_REFERER"), (5, "HTTP_USER_AGENT")):
        value = environ.get(key, "-") or ("-" if key == "REMOTE_ADDR" else "")
        if all(letter < "\u0100" for letter in value):
            assert plain(columns[column]) == value


@settings(max_examples=400, deadline=None)
@given(ENVIRONS)
def test_json_gives_back_what_was_there(shared: tuple[int, Path], environ: dict[str, str]) -> None:
    line = one_record(shared, "json", environ)
    assert line.endswith(b"}\n") and line.count(b"\n") == 1 and line.isascii()
    members = json.loads(line)
    assert list(members) == list(JSON_FIELDS)
    assert members["method"] == environ.get("REQUEST_METHOD")
    assert members["target"] == environ.get("RAW_URI")
    assert members["protocol"] == environ.get("SERVER_PROTOCOL")
    assert members["referer"] == environ.get("HTTP_REFERER")
    assert members["user_agent"] == environ.get("HTTP_USER_AGENT")
    assert members["host"] == environ.get("HTTP_HOST")
    assert members["remote"] == (environ.get("REMOTE_ADDR") or None)


def test_json_of_a_request(write: Write) -> None:
    members = json.loads(write("json", ENVIRON, RESPONSE, status=201, body_in=99, body_out=512, **TIMES))
    assert members.pop("time")
    assert members == {
        "remote": "192.0.2.7",
        "user": "Aladdin",
        "method": "GET",
        "host": "example.org",
        "target": "/caf%C3%A9?x=1",
        "protocol": "HTTP/1.1",
        "status": 201,
        "sent": 512,
        "received": 99,
        "referer": "https://example.org/",
        "user_agent": "curl/8.5.0",
        "request_us": 1234567,
        "app_us": 2000,
        "queue_us": 7,
        "pid": os.getpid(),
    }


def test_json_of_what_was_no_request(write: Write) -> None:
    members = json.loads(write("json", None, None, "192.0.2.9", status=400, begin_ns=0, app_ns=0, end_ns=0))
    known = {name: value for name, value in members.items() if value is not None}
    assert set(known) == {"time", "remote", "status", "sent", "received", "queue_us", "pid"}


def escaped(value: str) -> str:
    """The rule again, slowly."""
    parts: list[str] = []
    for letter in value:
        if " " <= letter <= "~" and letter not in '"\\':
            parts.append(letter)
        else:
            raw = letter.encode("latin-1" if letter < "\u0100" else "utf-8")
            parts += [f"\\x{byte:02X}" for byte in raw]
    return "".join(parts)


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_at_every_place_of_a_block(write: Write, byte: int) -> None:
    """The copier takes sixteen bytes at once; an odd one must be found wherever it stands."""
    places = [(size, place) for size in (1, 15, 16, 17, 33) for place in range(size)]
    values = ["a" * place + chr(byte) + "b" * (size - place - 1) for size, place in places]
    format = " ".join(f"%({{V{n}}}e)s" for n in range(len(values)))
    line = write(format, {f"V{n}": value for n, value in enumerate(values)}).decode()
    assert line == " ".join(map(escaped, values)) + "\n"


# --- sizes


@pytest.mark.parametrize("letter", ["a", "\xe9", "\n", "\u20ac", "\U0001f600"])
@pytest.mark.parametrize("size", [VALUE_LIMIT - 1, VALUE_LIMIT, VALUE_LIMIT + 1, 20_000])
def test_values_are_cut_and_say_so(write: Write, letter: str, size: int) -> None:
    environ = dict.fromkeys(KEYS, letter * size)
    columns = re.fullmatch(
        r'(\S+) - - \[[^]]+\] "([^"]*)" 200 - "([^"]*)" "([^"]*)"\n', write(DEFAULT, environ).decode()
    )
    assert columns
    whole = escaped(letter * size)
    for column in columns.group(1, 3, 4):
        if column != whole:
            assert whole.startswith(column.removesuffix("...")) and column.endswith("...")
            assert VALUE_LIMIT - 16 < len(column) <= VALUE_LIMIT + 3
    members = json.loads(write("json", environ))
    target = members["target"].removesuffix("...")
    assert target and target == (letter * size)[: len(target)]
    assert members["pid"] == os.getpid(), "the end of the line is there"


def test_a_line_longer_than_the_buffer_is_cut_at_its_end(write: Write) -> None:
    format = " ".join(f"%({{V{n}}}e)s" for n in range(20))
    line = write(format, {f"V{n}": "x" * 8000 for n in range(20)})
    assert len(line) == BUFFER
    assert line.endswith(b"x\n") and line.count(b"\n") == 1


@pytest.mark.parametrize("format", [DEFAULT, "json"])
def test_lines_that_do_not_fit_are_written_before(path: Path, fd: int, format: str) -> None:
    log = AccessLog(format, fd)
    for number in range(3000):
        log.record_for_test({"RAW_URI": f"/{number}/" + "x" * (number % 700), "REQUEST_METHOD": "GET"})
    assert 0 < log.pending <= BUFFER
    assert path.stat().st_size > 0
    assert log.flush() and log.pending == 0 and log.dropped == 0
    lines = path.read_text().splitlines()
    assert [int(re.search(r"/(\d+)/x*\W", line)[1]) for line in lines] == list(range(3000))  # type: ignore[index]


def test_holds_no_references(fd: int) -> None:
    log = AccessLog(DEFAULT + "%({x}o)s%({n}e)s", fd)
    agent, number, header = "agent" * 3, 123_456_789, "value" * 3
    environ = {"HTTP_USER_AGENT": agent, "n": number}
    headers = [("x", header)]
    before = [sys.getrefcount(thing) for thing in (agent, number, header, environ, headers)]
    for _ in range(100):
        log.record_for_test(environ, headers, agent)
    assert [sys.getrefcount(thing) for thing in (agent, number, header, environ, headers)] == before


# --- descriptors that refuse


def test_a_full_disk_drops_counts_and_says_so_once() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    log = AccessLog(DEFAULT, full)
    assert log.trouble() is None
    for _ in range(2000):
        log.record_for_test(ENVIRON)
        log.flush()
    assert 0 < log.pending <= BUFFER
    assert log.error == errno.ENOSPC
    assert 1000 < log.dropped < 2000
    assert log.trouble() == "the access log cannot be written, lines are dropped: No space left on device"
    log.record_for_test(ENVIRON)
    assert log.trouble() is None
    os.close(full)


def test_a_full_disk_that_is_freed(path: Path) -> None:
    """A short write leaves the beginning of a line; its rest follows when there is room again."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            log = AccessLog("%({n}e)s " + "y" * 90, fd)
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (150, hard))
            for number in range(3):
                log.record_for_test({"n": number})
            assert not log.flush()
            assert (path.stat().st_size, log.error) == (150, errno.EFBIG)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            assert log.flush() and log.error == 0 and log.dropped == 0
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert path.read_text().splitlines() == [f"{number} " + "y" * 90 for number in range(3)]


def test_reopen_does_not_begin_inside_a_line(path: Path, tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            log = AccessLog("%({n}e)s " + "y" * 90, fd)
            resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))
            for number in range(3):
                log.record_for_test({"n": number})
            assert not log.flush()
            log.reopen(os.open(tmp_path / "new.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT))
            assert log.flush() and log.dropped == 1
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert (tmp_path / "new.log").read_text() == "2 " + "y" * 90 + "\n"


def test_reopen_writes_to_the_old_first(path: Path, fd: int, tmp_path: Path) -> None:
    log = AccessLog("%(m)s", fd)
    log.record_for_test({"REQUEST_METHOD": "OLD"})
    other = os.open(tmp_path / "new.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    log.reopen(other)
    log.record_for_test({"REQUEST_METHOD": "NEW"})
    assert log.flush() and log.fd == other
    os.close(other)
    assert path.read_text() == "OLD\n"
    assert (tmp_path / "new.log").read_text() == "NEW\n"


def test_a_closed_pipe_and_a_closed_descriptor() -> None:
    reader, writer = os.pipe()
    log = AccessLog(DEFAULT, writer)
    os.close(reader)
    log.record_for_test(ENVIRON)
    assert not log.flush()
    assert log.error == errno.EPIPE
    os.close(writer)
    gone = AccessLog(DEFAULT, writer)
    gone.record_for_test(ENVIRON)
    assert not gone.flush()
    assert gone.error == errno.EBADF


def drain(reader: int) -> bytes:
    os.set_blocking(reader, False)
    got = b""
    try:
        while chunk := os.read(reader, 65536):
            got += chunk
    except BlockingIOError:
        pass
    return got


def stalled(reader: int, writer: int) -> None:
    """Write more than fits with nobody reading, then read: what was not dropped is there, line by line."""
    log = AccessLog("%({n}e)s " + "z" * 100, writer)
    count = 5000
    for number in range(count):
        log.record_for_test({"n": number})
        if number % 100 == 0:
            log.flush()
    assert os.get_blocking(writer), "the description is shared with others and stays as it was"
    assert log.dropped > 0
    assert log.error == errno.EAGAIN
    assert log.trouble(0) == "the access log cannot be written, lines are dropped: its reader is too slow"
    assert log.trouble(0) is None, "said once, and not over yet"
    got = drain(reader)
    while not log.flush():
        got += drain(reader)
    got += drain(reader)
    lines = got.decode().splitlines()
    assert len(lines) == count - log.dropped
    assert all(re.fullmatch(r"\d+ z{100}", line) for line in lines)
    assert log.trouble(60) is None, "no calm minute yet"
    assert log.trouble(0) == f"the access log is written again; lines dropped: {log.dropped}"
    assert log.trouble(0) is None


def test_a_pipe_that_nobody_reads_holds_nobody() -> None:
    reader, writer = os.pipe()
    stalled(reader, writer)
    os.close(reader)
    os.close(writer)


def test_a_socket_that_nobody_reads_holds_nobody() -> None:
    reader, writer = socket.socketpair()
    with reader, writer:
        stalled(reader.fileno(), writer.fileno())


def test_a_pipe_of_another_user_holds_nobody() -> None:
    """/proc/self/fd refuses to open it again, as it does to a worker after --user."""
    reader, writer = os.pipe()
    os.fchmod(writer, 0)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            with pytest.raises(PermissionError):
                os.open(f"/proc/self/fd/{writer}", os.O_WRONLY)
            stalled(reader, writer)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    os.close(reader)
    os.close(writer)


def test_writers_of_one_pipe_do_not_split_lines() -> None:
    reader, writer = os.pipe()
    sent = range(500)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096 * 4)
    pids = []
    for name in "AB":
        pid = os.fork()
        if pid == 0:
            log = AccessLog(f"{name} %({{n}}e)s %(a)s", writer)
            for number in sent:
                log.record_for_test({"n": number, "HTTP_USER_AGENT": name * (number % 97)})
                if number % 50 == 0:
                    while not log.flush():
                        pass
            while not log.flush():
                pass
            os._exit(log.dropped)
        pids.append(pid)
    os.close(writer)
    with os.fdopen(reader, "rb") as lines:
        got = lines.read().decode().splitlines()
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    for name in "AB":
        assert [line for line in got if line[0] == name] == [
            f"{name} {n} {name * (n % 97)}" for n in range(500)
        ]
    assert len(got) == 1000


def test_a_line_longer_than_pipe_buf_goes_alone() -> None:
    reader, writer = os.pipe()
    log = AccessLog("%(a)s", writer)
    log.record_for_test({"HTTP_USER_AGENT": "short"})
    log.record_for_test({"HTTP_USER_AGENT": "x" * 6000})
    log.record_for_test({"HTTP_USER_AGENT": "short"})
    assert log.flush()
    os.close(writer)
    del log
    with os.fdopen(reader, "rb") as lines:
        assert lines.read().split(b"\n") == [b"short", b"x" * 6000, b"short", b""]
