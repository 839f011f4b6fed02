"""The watcher of --reload: what counts, what is heard, and that it ends with its master."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import procfs
import pytest
from launcher import DEADLINE, until

from prefork.master.watch import Change, Scope, Watcher, compare, describe

ENGINES = ("watchfiles", "polling")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project with what is in the way of a watcher."""
    for name in (
        "site/views.py",
        "site/__pycache__/views.cpython-311.pyc",
        "site/fast.so",
        "site/page.html",
        ".git/hooks/x.py",
        "node_modules/m/x.py",
        "env/pyvenv.cfg",
        "env/lib/python3.11/site-packages/x.py",
        "conf/app.ini",
        "conf/deep/er/app.ini",
    ):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path / "tree"


WANTED = [
    ("site/views.py", True),
    ("site/new.py", True),
    ("site/fast.so", True),
    ("site/page.html", False),
    ("site/__pycache__/views.cpython-311.pyc", False),
    ("site/__pycache__/odd.py", False),
    (".git/hooks/x.py", False),
    ("node_modules/m/x.py", False),
    ("env/lib/python3.11/site-packages/x.py", False),
    ("env/x.py", False),
    ("conf/app.ini", False),
    ("../outside.py", False),
]


@pytest.mark.parametrize(("name", "wanted"), WANTED)
def test_sources(tree: Path, name: str, wanted: bool) -> None:
    scope = Scope([str(tree)])
    assert scope.wants(os.path.normpath(tree / name)) is wanted


PATTERNS = [
    ("conf/app.ini", ["conf/app.ini"]),
    ("conf/*.ini", ["conf/app.ini"]),
    ("conf/**/*.ini", ["conf/app.ini", "conf/deep/er/app.ini"]),
    ("conf/**", ["conf/app.ini", "conf/deep/er/app.ini"]),
    ("conf", ["conf/app.ini", "conf/deep/er/app.ini"]),
    ("conf/deep/??/app.ini", ["conf/deep/er/app.ini"]),
    ("**/*.html", ["site/page.html"]),
    ("nowhere/*.x", []),
]


@pytest.mark.parametrize(("pattern", "found"), PATTERNS)
def test_extra_files(tree: Path, pattern: str, found: list[str]) -> None:
    """Both ways of watching agree on what a pattern means."""
    scope = Scope([], [str(tree / pattern)])
    files = sorted(str(path) for path in tree.rglob("*") if path.is_file())
    wanted = [str(tree / name) for name in found]
    assert [path for path in files if scope.wants(path)] == wanted
    assert sorted(scope.snapshot()) == wanted


def test_snapshots_compared() -> None:
    before = {"/a": (1, 1, 1), "/b": (1, 1, 1), "/c": (1, 1, 1)}
    after = {"/a": (1, 1, 1), "/b": (2, 1, 1), "/d": (1, 1, 1)}
    assert compare(before, after) == [
        Change("modified", "/b"),
        Change("deleted", "/c"),
        Change("added", "/d"),
    ]
    assert compare(after, after) == []


def test_described() -> None:
    changes = [Change("modified", f"/srv/site/{name}.py") for name in "abcde"]
    assert describe(changes[:1], "/srv/site") == "a.py modified"
    assert describe(changes, "/srv/site") == "a.py modified, b.py modified, c.py modified and 2 more"
    assert describe([Change("deleted", "/etc/x")], "/srv/site") == "/etc/x deleted"


def hear(watcher: Watcher, enough: Callable[[list[Change]], bool]) -> list[Change]:
    """What the watcher says until it is enough."""
    heard: list[Change] = []
    while not enough(heard):
        ready, _, _ = select.select([watcher], [], [], DEADLINE)
        assert ready, f"heard only {heard}"
        heard += watcher.changes()
        assert not watcher.ended
    return heard


@pytest.fixture(params=ENGINES)
def watcher(
    request: pytest.FixtureRequest, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watcher]:
    """A watcher of the tree and one pattern, by each engine."""
    if request.param == "polling":
        hide_watchfiles(tmp_path, monkeypatch)
    else:
        pytest.importorskip("watchfiles")
    found = Watcher([str(tree)], [str(tree / "**/*.html")])
    hear(found, lambda _: bool(found.engine))
    assert found.engine == request.param
    yield found
    found.close()


def hide_watchfiles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not installed."""
    (folder / "hidden").mkdir()
    (folder / "hidden" / "watchfiles.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(folder / "hidden"))


def test_edits_are_heard(watcher: Watcher, tree: Path) -> None:
    (tree / "site/views.py").write_text("broken(")
    (tree / "env/x.py").write_text("not ours")
    heard = hear(watcher, bool)
    assert heard == [Change("modified", str(tree / "site/views.py"))]
    (tree / "site/page.html").write_text("<p>")
    heard = hear(watcher, bool)
    assert heard == [Change("modified", str(tree / "site/page.html"))]
    (tree / "site/views.py").replace(tree / "site/other.py")
    heard = hear(watcher, lambda heard: len(heard) > 1)
    assert sorted(heard) == [
        Change("added", str(tree / "site/other.py")),
        Change("deleted", str(tree / "site/views.py")),
    ]


def test_ends_with_its_master(tree: Path) -> None:
    """A master that is killed leaves no watcher behind, even while a forked worker lives on."""
    code = f"""
        import os, sys
        from prefork.master.watch import Watcher
        watcher = Watcher([{str(tree)!r}])
        if os.fork() == 0:  # a worker
            watcher.disown()
            print(watcher.pid, flush=True)
            sys.stdin.read()
            os._exit(0)
        sys.stdin.read()
    """
    master = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert master.stdout is not None
    pid = int(master.stdout.readline())
    assert procfs.state(pid) != "X"
    master.kill()
    until(lambda: procfs.state(pid) in "XZ", "the watcher has ended")
    master.communicate()


def test_death_is_seen(watcher: Watcher) -> None:
    os.kill(watcher.pid, 9)
    while not watcher.ended:
        ready, _, _ = select.select([watcher], [], [], DEADLINE)
        assert ready
        assert watcher.changes() == []
