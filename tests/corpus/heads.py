"""Heads made by a grammar and then broken on purpose, for comparing the scanner with other parsers.

Owns the seeded generator and nothing else: the same seed gives the same heads. Imported by its plain name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

METHODS = (
    b"GET",
    b"GET",
    b"GET",
    b"POST",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
)
ODD_METHODS = (
    b"get", b"PROPFIND", b"X-Own", b"!#$%&'*+-.^_`|~", b"G\xc9T", b"", b"GE/T", b"M" * 33, b"PRI", b"Host:",
)  # fmt: skip
TARGETS = (b"/", b"/a/b?c=d&e", b"/a%20b", b"/a;b=c", b"//a//b", b"/?", b"/a?b?c", b"/" + b"a" * 100)
ODD_TARGETS = (
    b"*", b"h:80", b"h", b"http://h/a?b", b"https://h", b"HTTP://h:80/", b"http://h?a", b"http://u@h/",
    b"http:///a", b"ftp://h/", b"http:/a", b"http://h:x/", b"a/b", b"?a", b"/a#b", b"/caf\xe9", b"/%zz",
    b'/"<>\\^`{|}', b"/a b", b"", b"/\x01", b"/\x7f", b"[::1]:80", b"http://[::1]/", b"http://h\\i/",
    b"/a\tb",
)  # fmt: skip
VERSIONS = (b"HTTP/1.1",) * 16 + (b"HTTP/1.0",) * 3 + (b"HTTP/1.2",)
ODD_VERSIONS = (
    b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.10", b"HTTP/1", b"HTTP/11", b"",
    b"HTTP/1.1 ",
    b"ICE/1.0", b"HTTP/3.1",
)  # fmt: skip
NAMES = (
    b"Accept", b"User-Agent", b"Cookie", b"X-A", b"x-b-9", b"Accept-Language", b"If-None-Match",
    b"Range", b"Origin",
)  # fmt: skip
ODD_NAMES = (
    b"", b"A B", b"A_B", b"A(", b"\xc4", b"A\x00", b"!#$%&'*+-.^_`|~", b"0", b"A[", b'"A"', b"A@",
    b"A\x7f", b"A\t",
)  # fmt: skip
VALUES = (
    b"v", b"*/*", b"a=b; c=d", b"en-US,en;q=0.9", b'"x y"', b"x\ty", b"\xe9\xff", b"", b"a:b",
    b"Mozilla/5.0 (X11; Linux)",
)  # fmt: skip
ODD_VALUES = (
    b"\x00", b"a\x01b", b"\x7f", b"a\x0bb", b"a\x1b", b"a\rb", b"a\nb", b" \t ", b"a \t", b"\x85",
    b"a" * 200, b"\x0c",
)  # fmt: skip
HOSTS = (b"h", b"example.com", b"example.com:8000", b"127.0.0.1:80", b"[::1]:80", b"my_host")
ODD_HOSTS = (
    b"", b"h:", b"h:x", b"h:99999", b"u@h", b"h/p", b"h i", b"h, i", b"[::1", b"[::g]", b"\xe9",
    b"a%41", b"a%4",
    b"h?a", b"<h>", b"::1", b":80",
)  # fmt: skip
LENGTHS = (b"0", b"5", b"10")
ODD_LENGTHS = (
    b"", b"+5", b"-5", b"0x5", b"5, 5", b"5,6", b"5 5", b"05", b"5_0", b"9223372036854775807",
    b"9223372036854775808", b"18446744073709551616", b"1" * 30, b"five", b"5;", b"\xb2", b"5\x00", b"5.0",
)  # fmt: skip
ODD_CODINGS = (
    b"Chunked", b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b",chunked",
    b"chunked,", b"", b"xchunked", b"chunked;q=1", b'"chunked"', b"chunked x", b"chunked\x0b", b"\x0bchunked",
    b"chun ked",
)  # fmt: skip
CONNECTIONS = (
    b"close", b"keep-alive", b"Keep-Alive", b"upgrade", b"close, keep-alive", b"foo, close", b"closed",
    b",, close",
    b"x",
)  # fmt: skip
ENDS = (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n", b"", b"\x00\r\n", b" \r\n", b"\t\r\n")
SEPARATORS = (b":", b" : ", b"\t:", b" :", b"::", b"", b" ", b": ")
INSERTED = b'\x00\x01\x08\t\n\x0b\x0c\r\x1f !"#%,/:;<=@[\\]_{|}\x7f\x80\x85\xa0\xc3\xff09azAZ-'

Head = list[list[bytes]]
"""Lines, each a list of the pieces that the grammar names; the last piece ends the line."""


def heads(count: int, seed: int) -> Iterator[bytes]:
    """That many heads; about a third of them unbroken, none longer than a few KiB."""
    random = Random(seed)
    for _ in range(count):
        lines = whole(random)
        for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
            random.choice(CHANGES)(random, lines)
        raw = b"".join(piece for line in lines for piece in line)
        yield scratch(random, raw) if random.random() < 0.12 else raw


def whole(random: Random) -> Head:
    """A head as the grammar has it, of the fields that servers meet every day."""
    lines = [[random.choice(METHODS), b" ", random.choice(TARGETS), b" ", random.choice(VERSIONS), b"\r\n"]]
    fields = [(b"Host", random.choice(HOSTS))]
    fields += [(random.choice(NAMES), random.choice(VALUES)) for _ in range(random.randrange(5))]
    extra = random.random()
    if extra < 0.2:
        fields.append((b"Content-Length", random.choice(LENGTHS)))
    elif extra < 0.3:
        fields.append((b"Transfer-Encoding", b"chunked"))
    if random.random() < 0.2:
        fields.append((b"Connection", random.choice(CONNECTIONS)))
    random.shuffle(fields)
    lines += [[name, b": ", value, b"\r\n"] for name, value in fields]
    lines.append([b"", b"\r\n"])
    return lines


def field_line(random: Random, lines: Head) -> list[bytes] | None:
    """Any field line, if there is one: they have four pieces."""
    fields = [line for line in lines if len(line) == 4]
    return random.choice(fields) if fields else None


def change_line(random: Random, lines: Head) -> None:
    """Another method, target or version."""
    place, pool = random.choice(((0, ODD_METHODS), (2, ODD_TARGETS), (2, ODD_TARGETS), (4, ODD_VERSIONS)))
    lines[0][place] = random.choice(pool)


def change_space(random: Random, lines: Head) -> None:
    """Another separator in the request line."""
    lines[0][random.choice((1, 3))] = random.choice((b"\t", b"  ", b"", b" \t", b"\x0b", b"\xa0"))


def change_end(random: Random, lines: Head) -> None:
    """Another end of a line."""
    random.choice(lines)[-1] = random.choice(ENDS)


def change_name(random: Random, lines: Head) -> None:
    """Another name, or the same in other letters."""
    line = field_line(random, lines)
    if line:
        line[0] = random.choice((*ODD_NAMES, line[0].upper(), line[0].lower(), line[0].replace(b"-", b"_")))


def change_colon(random: Random, lines: Head) -> None:
    """Another separator between name and value."""
    line = field_line(random, lines)
    if line:
        line[1] = random.choice(SEPARATORS)


def change_value(random: Random, lines: Head) -> None:
    """A value that is odd for any field, or blanks around it."""
    line = field_line(random, lines)
    if line:
        line[2] = random.choice((*ODD_VALUES, b"\t " + line[2], line[2] + b" \t", line[2].upper()))


def change_fold(random: Random, lines: Head) -> None:
    """A line folded in two, or a blank in front."""
    line = field_line(random, lines)
    if line:
        line[random.choice((0, 2))] = random.choice((b" ", b"\t", b"a\r\n b", b"\r\n b"))


def add(name: bytes, pool: tuple[bytes, ...]) -> Callable[[Random, Head], None]:
    """A change that adds one more field of that name, at any place."""

    def change(random: Random, lines: Head) -> None:
        lines.insert(random.randrange(1, len(lines) + 1), [name, b": ", random.choice(pool), b"\r\n"])

    return change


def replace_host(random: Random, lines: Head) -> None:
    """Another Host, or none."""
    for line in lines[1:]:
        if len(line) == 4 and line[0] == b"Host":
            if random.random() < 0.3:
                lines.remove(line)
            else:
                line[2] = random.choice(ODD_HOSTS)
            return


def repeat(random: Random, lines: Head) -> None:
    """A line twice."""
    lines.insert(random.randrange(1, len(lines) + 1), list(random.choice(lines)))


def lead(random: Random, lines: Head) -> None:
    """Something in front of the request line."""
    lines[0][0] = random.choice((b"\r\n", b"\r\n\r\n", b"\n", b" ", b"\r", b"\x00")) + lines[0][0]


def scratch(random: Random, raw: bytes) -> bytes:
    """A byte put in, taken out or changed, anywhere."""
    at = random.randrange(len(raw) + 1)
    byte = bytes((random.choice(INSERTED),))
    return random.choice(
        (raw[:at] + byte + raw[at:], raw[:at] + raw[at + 1 :], raw[:at] + byte + raw[at + 1 :])
    )


CHANGES: tuple[Callable[[Random, Head], None], ...] = (
    change_line, change_line, change_space, change_end, change_name, change_colon, change_value,
    change_fold, replace_host, repeat, lead,
    add(b"Host", HOSTS + ODD_HOSTS),
    add(b"Content-Length", LENGTHS + ODD_LENGTHS), add(b"Content-Length", LENGTHS + ODD_LENGTHS),
    add(b"Transfer-Encoding", ODD_CODINGS), add(b"Transfer-Encoding", (*ODD_CODINGS, b"chunked")),
    add(b"Connection", CONNECTIONS),
    add(b"Expect", (b"100-continue", b"100-Continue", b"x", b"")),
    add(b"Content-Type", (b"a/b",)),
    add(b"Upgrade", (b"websocket", b"h2c")),
)  # fmt: skip
