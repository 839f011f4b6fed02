"""`prefork migrate gunicorn.conf.py`: the same settings as TOML, and what has no counterpart.

The file is run, as gunicorn does; what it leaves behind is compared with our rows and with the table of what
gunicorn has and prefork has not. Nothing is dropped in silence: each name that gunicorn knows comes out as a
line of TOML or as a comment that says why not. Our own rows judge the values, so that what is printed loads.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .config import files
from .config.foreign import FOREIGN
from .config.load import unset
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
    source = files.source_of(str(path), str(path))
    namespace = _run(source, path)
    computed = _computed(source)
    settings: list[str] = []
    tables: list[str] = []
    functions: list[str] = []
    lost: list[str] = []
    same: list[str] = []
    for name, value in namespace.items():
        if value is None or (name in ROWS and unset(ROWS[name], value)):
            continue
        if name in ROWS:
            line, why = _setting(ROWS[name], value)
            if why:
                lost.append(f"{name} = {value!r}: {why}")
                continue
            if ROWS[name].where == "python":
                functions.append(name)
                continue
            comments = [text for text in (computed.get(name, _OUT_OF_SIGHT), REMARKS.get(name, "")) if text]
            (tables if isinstance(value, dict) else settings).extend([*map(_comment, comments), line])
        elif name not in FOREIGN:
            lost.extend(_slip(name, value, namespace))
        elif FOREIGN[name].harmless(value) and not namespace.get(FOREIGN[name].below):
            same.append(name)
        else:
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


def _run(source: bytes, path: Path) -> dict[str, object]:
    absolute = path.absolute()
    found = files.execute(source, str(absolute), str(path), str(absolute.parent))
    return {
        name: value
        for name, value in found.items()
        if not name.startswith("_") and (name in ROWS or not isinstance(value, type(sys)))
    }


def _slip(name: str, value: object, namespace: dict[str, object]) -> Iterator[str]:
    """What prefork would say of a name that is no setting but nearly one; nothing of a helper."""
    try:
        files.refuse(name, value, "", namespace)
    except ConfigError as fault:
        yield f"{name}: {fault}"


# Of a setting that no statement of the file assigns: import *, globals(), a function with a global.
_OUT_OF_SIGHT = "was computed"


def _computed(source: bytes) -> dict[str, str]:
    """For each name that the file assigns, how it was worked out, or "" where a plain value stands there."""
    text = importlib.util.decode_source(source)
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                found.update(_assigned(target, node.value, text))
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            found.update(_assigned(node.target, node.value, text))
        else:  # what it adds, imports, or assigns under a condition or in a loop
            said = (ast.get_source_segment(text, node) or "").splitlines()
            whole = " ".join(said).split() if isinstance(node, ast.AugAssign | ast.ImportFrom) else said[:1]
            found.update(dict.fromkeys(_stored(node), f"{_OUT_OF_SIGHT}: {' '.join(whole)}"))
    return found


def _assigned(target: ast.expr, value: ast.expr, text: str) -> dict[str, str]:
    if isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
        starred = any(isinstance(each, ast.Starred) for each in (*target.elts, *value.elts))
        if not starred:
            pairs = zip(target.elts, value.elts, strict=True)
            return {name: how for pair in pairs for name, how in _assigned(*pair, text).items()}
    how = ""
    if not _literal(value):
        how = f"{_OUT_OF_SIGHT}: {' '.join((ast.get_source_segment(text, value) or '').split())}"
    return dict.fromkeys(_stored(target), how)


def _stored(node: ast.AST) -> Iterator[str]:
    """The names that a statement may assign; functions and classes in it have names of their own."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.alias):
        yield node.asname or node.name
    for child in ast.iter_child_nodes(node):
        yield from _stored(child)


def _literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _setting(row: Row, value: object) -> tuple[str, str]:
    """The line of TOML, or why there is none."""
    try:
        checked = row.kind.check(value)
    except Refused as refused:
        if isinstance(row.kind, User) and isinstance(value, str):
            return f"{row.name} = {toml(value)}", ""  # a user of the machine that it will run on
        return "", refused.problem or f"it must be {row.kind.allowed}"
    if row.where == "python":
        return "", ""
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
