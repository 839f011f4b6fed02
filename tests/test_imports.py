"""Imports point down: the table of the design, held against every module's source, compiled ones too.

    cli -> master, worker, wsgi;  worker -> engine, wsgi;  master, worker -> net, telemetry, config -> errors

Imports that only type checkers see do not count. What stands in a function counts as much as what stands at
the top: the table says who may know whom, not when.
"""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "prefork"

# room -> rooms it may import. A room is the first part below prefork: a folder or a module of its own.
TABLE = {
    "errors": set(),
    "config": {"engine.accessformat", "errors", "prefork"},
    "net": {"errors"},
    "telemetry": {"config", "engine.accessformat", "engine.scoreboard", "errors", "net", "prefork"},
    "engine": {"engine"},
    "wsgi": {"errors"},
    "worker": {"config", "engine", "errors", "net", "prefork", "telemetry", "wsgi"},
    "master": {"config", "engine.scoreboard", "errors", "net", "prefork", "telemetry"},
    "cli": {"config", "errors", "master", "net", "prefork", "telemetry", "worker", "wsgi"},
    "demo": set(),
    "__main__": {"cli"},
    # commands of their own, run instead of serving
    "migrate": {"config", "errors"},
    "service": {"errors"},
    "operate": {"errors", "net", "telemetry"},
    "django": {"cli.directory", "config", "errors", "master.lookout", "master.sources"},
    "prefork": set(),  # prefork/__init__.py
}

# What the engine never imports, beside all rooms but its own: it has no policy and does no file I/O.
NOT_IN_ENGINE = {"logging", "os", "configparser", "argparse"}

# Those that run in a gevent worker only.
GEVENT = {"prefork.worker.gevent", "prefork.worker.patching", "prefork.worker.stalls"}


def modules():
    """Every source of the package: (dotted name, path). A .pyi says nothing about running code."""
    for path in sorted(PACKAGE.rglob("*.py*")):
        if path.suffix in (".py", ".pyx", ".pxd") and "__pycache__" not in path.parts:
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            yield ".".join(parts).removesuffix(".__init__"), path


def room_of(name):
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def imports_of(name, path):
    """The full names of what a module imports, as (module, line)."""
    text = path.read_text("utf-8")
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    if path.suffix == ".py":
        return list(python_imports(ast.parse(text), package))
    return list(cython_imports(text, package))


def python_imports(tree, package):
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((full, node.lineno) for full in absolute(node, package))
        elif isinstance(node, ast.Call) and name_of(node.func).endswith("import_module"):
            first = node.args[0]
            if isinstance(first, ast.Constant):
                yield str(first.value), node.lineno


def absolute(node, package):
    base = node.module or ""
    if node.level:
        parents = package.split(".")
        base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
    for alias in node.names:
        yield f"{base}.{alias.name}"


def name_of(node):
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def cython_imports(text, package):
    """Cython's grammar is not Python's, but its imports stand one a line."""
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r"\s*from\s+(\.*)([\w.]*)\s+c?import\s+\(?\s*([\w, ]*)", line)
        if found:
            dots, base, names = found.groups()
            if dots:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - len(dots) + 1], *([base] if base else [])])
            yield from ((f"{base}.{each.split()[0]}", number) for each in names.split(",") if each.strip())
            if not names.strip():
                yield base, number
        found = re.match(r"\s*c?import\s+([\w., ]+)", line)
        if found:
            yield from ((each.split()[0], number) for each in found.group(1).split(","))


def allowed(room, target):
    """Whether a module of the room may import the dotted name of ours."""
    below = target.removeprefix("prefork").lstrip(".")
    if below.startswith("__version__") or below == "":
        return "prefork" in TABLE[room]
    return room == room_of(target) or any(
        f"{below}.".startswith(f"{each}.") for each in TABLE[room] if each != "prefork"
    )


ALL = list(modules())


def test_there_is_something_to_look_at():
    assert len(ALL) > 20
    assert {room_of(name) for name, _ in ALL} >= {
        "cli",
        "config",
        "engine",
        "errors",
        "master",
        "net",
        "worker",
    }


@pytest.mark.parametrize(("name", "path"), ALL, ids=[f"{name}{path.suffix}" for name, path in ALL])
def test_imports(name, path):
    room = room_of(name)
    assert room in TABLE, f"{room} is a new room: say in TABLE what it may import"
    wrong = []
    for target, line in imports_of(name, path):
        top = target.partition(".")[0]
        if top == "prefork" and not allowed(room, target):
            wrong.append(f"{path.name}:{line} imports {target}: {room} may import {sorted(TABLE[room])}")
        if room == "engine" and top in NOT_IN_ENGINE:
            wrong.append(f"{path.name}:{line} imports {top}: the engine has no business with it")
        if top == "gevent" and name not in GEVENT:
            wrong.append(f"{path.name}:{line} imports gevent: only {sorted(GEVENT)} may")
    assert not wrong, "\n".join(wrong)


class TestTheTestItself:
    """A check that cannot fail is worth nothing."""

    @pytest.mark.parametrize(
        ("text", "package", "found"),
        [
            ("import os.path", "prefork.net", ["os.path"]),
            ("from ..master import fleet", "prefork.worker", ["prefork.master.fleet"]),
            ("from .. import errors", "prefork.worker", ["prefork.errors"]),
            ("from . import x, y", "prefork.net", ["prefork.net.x", "prefork.net.y"]),
            (
                "def f():\n    from ..master.fleet import Fleet",
                "prefork.worker",
                ["prefork.master.fleet.Fleet"],
            ),
            (
                "if TYPE_CHECKING:\n    from ..master import fleet\nelse:\n    import os",
                "prefork.worker",
                ["os"],
            ),
            (
                "import importlib\nimportlib.import_module('prefork.master')",
                "prefork.net",
                ["importlib", "prefork.master"],
            ),
        ],
    )
    def test_python(self, text, package, found):
        assert [name for name, _ in python_imports(ast.parse(text), package)] == found

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            (
                "from prefork.engine.scan cimport scan_head, scan_more",
                ["prefork.engine.scan.scan_head", "prefork.engine.scan.scan_more"],
            ),
            ("from ..config.settings import Settings", ["prefork.config.settings.Settings"]),
            ("cimport cython", ["cython"]),
            ("    import os as system, time", ["os", "time"]),
            ("from . cimport body", ["prefork.engine.body"]),
            ("from prefork.config import (\n    settings,\n)", ["prefork.config"]),
        ],
    )
    def test_cython(self, text, found):
        assert [name for name, _ in cython_imports(text, "prefork.engine")] == found

    @pytest.mark.parametrize(
        ("room", "target", "verdict"),
        [
            ("master", "prefork.worker.base", False),
            ("worker", "prefork.master.fleet", False),
            ("worker", "prefork.engine.connection.Connection", True),
            ("master", "prefork.engine.scoreboard.Scoreboard", True),
            ("master", "prefork.engine.connection", False),
            ("master", "prefork.engine.scoreboards", False),
            ("net", "prefork.config.settings", False),
            ("engine", "prefork.errors", False),
            ("config", "prefork.__version__", True),
            ("errors", "prefork.config", False),
            ("cli", "prefork.master.master", True),
        ],
    )
    def test_table(self, room, target, verdict):
        assert allowed(room, target) is verdict
