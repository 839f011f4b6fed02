"""`prefork migrate gunicorn.conf.py`: the same settings as TOML, and what has no counterpart.

The file is run, as gunicorn does; what it leaves behind is compared with our rows and with the table of what
gunicorn has and prefork has not. Nothing is dropped in silence: each name that gunicorn knows comes out as a
line of TOML or as a comment that says why not. Our own rows judge the values, so that what is printed loads.
"""

from __future__ import annotations

import ast
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .config.foreign import FOREIGN
from .config.parse import Mask, Refused, User
from .config.render import toml
from .config.rows import Row
from .config.settings import ROWS
from .errors import ConfigError

USAGE = """\
usage: prefork migrate [FILE]

Print the settings of a gunicorn configuration file (gunicorn.conf.py where none is named) as TOML:

  prefork migrate gunicorn.conf.py > prefork.toml

What has no counterpart, and what means something else here, is said in comments."""

# Same name, another meaning or another default: what somebody who comes from gunicorn has to know.
REMARKS = {
    "timeout": "the limit of one request in every worker class (gunicorn: silence of a sync worker)",
    "threads": "more than 1 makes the class threads, as with gunicorn",
    "worker_connections": "sync workers hold as many connections as descriptors allow",
}
KEEPALIVE = "keepalive is not set in the file: gunicorn closes idle connections after 2 s, prefork after 75 s"


def run(arguments: Sequence[str]) -> int:
    """Print TOML on stdout and a summary on stderr. Raises ConfigError for a file that cannot be run."""
    if any(word in ("-h", "--help") for word in arguments):
        print(USAGE)
        return 0
    if len(arguments) > 1 or any(word.startswith("-") for word in arguments):
        raise ConfigError(f"prefork migrate takes one file, not {' '.join(arguments)}")
    path = Path(arguments[0] if arguments else "gunicorn.conf.py")
    migrated = migrate(path)
    print(migrated.toml, end="")
    for line in migrated.lost:
        print(f"prefork migrate: {line}", file=sys.stderr)
    return 0


class Migrated:
    """toml: the text.  lost: a line for each setting that asks for something prefork does not do."""

    def __init__(self, toml: str, lost: Sequence[str]) -> None:
        self.toml = toml
        self.lost = lost


def migrate(path: Path) -> Migrated:
    """Run a gunicorn configuration file and translate it. Raises ConfigError."""
    namespace = _run(path)
    source = _sources(path)
    settings: list[str] = []
    tables: list[str] = []
    functions: list[str] = []
    lost: list[str] = []
    same: list[str] = []
    for name, value in namespace.items():
        if value is None:
            continue
        if name in ROWS and ROWS[name].where == "python":
            functions.append(name)
        elif name in ROWS:
            line, why = _setting(ROWS[name], value)
            if why:
                lost.append(f"{name} = {value!r}: {why}")
                continue
            comments = [text for text in (_computed(source.get(name, "")), REMARKS.get(name, "")) if text]
            (tables if isinstance(value, dict) else settings).extend([*map(_comment, comments), line])
        elif name in FOREIGN and FOREIGN[name].harmless(value):
            same.append(name)
        elif name in FOREIGN:
            lost.append(f"{name}: {FOREIGN[name].instead}")
    head = [f"# From {path.name}, by prefork migrate."]
    if "keepalive" not in namespace:
        head.append(_comment(KEEPALIVE))
    tail: list[str] = []
    if lost:
        tail += ["", "# No counterpart here:", *(_comment(f"  {line}") for line in lost)]
    if functions:
        tail += ["", *map(_comment, _about(functions, path))]
    if same:
        tail += ["", _comment(f"Left out, since they ask for nothing: {', '.join(same)}")]
    return Migrated(
        "\n".join([*head, "", *settings, *tables, *tail]) + "\n", [*lost, *_about(functions, path)]
    )


def _run(path: Path) -> dict[str, object]:
    folder = str(path.absolute().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # the file may import its neighbours
    try:
        found = runpy.run_path(str(path))
    except OSError as fault:
        raise ConfigError(f"cannot be read: {fault.strerror}", origin=str(path)) from None
    except Exception as fault:
        raise ConfigError(f"cannot be run: {type(fault).__name__}: {fault}", origin=str(path)) from fault
    return {name: value for name, value in found.items() if not name.startswith("_")}


def _sources(path: Path) -> dict[str, str]:
    """The text of what is assigned to each name, where that is no plain value but was worked out."""
    text = path.read_text()
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign) and not _literal(node.value):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = " ".join((ast.get_source_segment(text, node.value) or "").split())
    return found


def _literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _computed(source: str) -> str:
    return f"was computed: {source}" if source else ""


def _setting(row: Row, value: object) -> tuple[str, str]:
    """The line of TOML, or why there is none."""
    try:
        checked = row.kind.check(value)
    except Refused as refused:
        if isinstance(row.kind, User) and isinstance(value, str):
            return f"{row.name} = {toml(value)}", ""  # a user of the machine that it will run on
        return "", refused.problem or f"it must be {row.kind.allowed}"
    if isinstance(row.kind, Mask):
        return f"{row.name} = 0o{checked:03o}", ""
    plain = value if isinstance(value, bool | int | float | str) else checked
    try:
        return f"{row.name} = {toml(_plain(plain))}", ""
    except TypeError as fault:
        return "", f"TOML cannot hold {fault}; keep the Python file"


def _about(functions: Sequence[str], path: Path) -> Iterator[str]:
    if functions:
        yield (
            f"functions cannot stand in TOML: {', '.join(functions)}; "
            f"keep {path.name} and start with prefork -c {path.name}, or rename it to prefork.conf.py"
        )


def _comment(text: str) -> str:
    return "# " + " ".join(text.split("\n"))


def _plain(value: object) -> object:
    """The value as TOML has it, without what is None. Raises TypeError that names what TOML cannot hold."""
    match value:
        case bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [_plain(each) for each in value]
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items() if each is not None}
    raise TypeError(f"{value!r}")
