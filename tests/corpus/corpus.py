"""The corpus as Python values. The format stands in README.md.

Imported by its plain name (tests/engine/conftest.py puts this folder on the path). Run as
`python corpus.py FOLDER` it writes the bytes out.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent
LIMITS = {"head_size": 65536, "line_size": 4094, "field_size": 8190, "field_count": 100, "trailer_size": 8192}
YES_NO = {"yes": True, "no": False}
FLAGS = ("chunked", "keep_alive", "expect_continue", "upgrade")
TEXTS = ("form", "path", "query", "authority", "body")
NUMBERS = ("minor", "length", "fields")

ESCAPE = re.compile(r"\\(?:\*(?P<times>\d+)\{(?P<text>[^}]*)\}|x(?P<hex>[0-9a-f]{2})|(?P<letter>[rnt\\]))")
LETTERS = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}


class CorpusError(ValueError):
    """A file that does not follow README.md."""


@dataclass(slots=True)
class Request:
    """One whole request of a case. `facts` holds what the case says of it, and nothing else."""

    method: str
    target: str
    facts: dict[str, object] = field(default_factory=dict)
    fields: list[tuple[str, str]] = field(default_factory=list)
    environ: dict[str, str | None] = field(default_factory=dict)


@dataclass(slots=True)
class Case:
    """One file. `statuses` and `closes` are None where they are not the grammar's matter."""

    name: str
    why: str
    raw: bytes
    statuses: list[int] | None = None
    closes: bool | None = None
    requests: list[Request] = field(default_factory=list)
    fault: str = ""
    at: int | None = None
    more: bool = False
    limits: dict[str, int] = field(default_factory=lambda: dict(LIMITS))


def cases(folder: str = "") -> list[Case]:
    """All cases, or those of one folder, in the order of their names."""
    return [load(path) for path in sorted((FOLDER / folder).rglob("*.case"))]


def load(path: Path) -> Case:
    """Read one file; CorpusError names the file and what is wrong with it."""
    text = path.read_text("ascii")
    head, mark, body = text.partition("\n---\n")
    if not mark:
        raise CorpusError(f"{path}: no line ---")
    lines = head.split("\n")
    why = " ".join(line[1:].strip() for line in lines if line.startswith("#"))
    case = Case(str(path.relative_to(FOLDER).with_suffix("")), why, unescape("".join(body.split("\n"))))
    try:
        for line in lines:
            if line and not line.startswith("#"):
                _take(case, line)
    except (KeyError, ValueError, IndexError) as error:
        raise CorpusError(f"{path}: {line!r}: {error}") from error
    if not why:
        raise CorpusError(f"{path}: it does not say why it exists")
    return case


def _take(case: Case, line: str) -> None:
    key, _, value = line.strip().partition(":")
    value = value.strip()
    if line.startswith("  "):
        _take_fact(case.requests[-1], key, value)
    elif key == "status":
        case.statuses = None if value == "any" else [int(status) for status in value.split()]
    elif key == "closes":
        case.closes = YES_NO[value]
    elif key == "request":
        method, target = value.split(" ")
        case.requests.append(Request(method, target))
    elif key == "fault":
        case.fault = value
    elif key == "at":
        case.at = int(value)
    elif key == "more":
        case.more = YES_NO[value]
    elif key == "limits":
        for pair in value.split():
            name, _, number = pair.partition("=")
            if name not in LIMITS:
                raise KeyError(name)
            case.limits[name] = int(number)
    else:
        raise KeyError(key)


def _take_fact(request: Request, key: str, value: str) -> None:
    if key in FLAGS:
        request.facts[key] = YES_NO[value]
    elif key in NUMBERS:
        request.facts[key] = None if value == "none" else int(value)
    elif key in TEXTS:
        request.facts[key] = unescape(value)
    elif key == "field":
        name, _, content = value.partition(":")
        request.fields.append((name, unescape(content.strip()).decode("latin-1")))
    elif key == "environ":
        name, mark, content = value.partition("=")
        request.environ[name] = unescape(content).decode("latin-1") if mark else None
    else:
        raise KeyError(key)


def unescape(text: str) -> bytes:
    """The bytes that a case's text stands for."""

    def one(match: re.Match[str]) -> str:
        if match["times"]:
            return ESCAPE.sub(one, match["text"]) * int(match["times"])
        return chr(int(match["hex"], 16)) if match["hex"] else LETTERS[match["letter"]]

    if re.search(r"\\", ESCAPE.sub("", text)):
        raise CorpusError(f"unknown escape in {text[:80]!r}")
    return ESCAPE.sub(one, text).encode("latin-1")


def write_out(folder: Path) -> None:
    """Write each case's bytes to a file of its own, for programs that want plain inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases():
        (folder / case.name.replace("/", "-")).write_bytes(case.raw)


if __name__ == "__main__":
    write_out(Path(sys.argv[1]))
