"""The watcher of --reload: what counts, what is heard, and that it ends with its master."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import procfs
import pytest
from launcher import DEADLINE, until

from prefork.master.lookout import Change, Scope, compare
from prefork.master.watch import Watcher, describe

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


NAMES = [
    ("w [1]/conf.yaml", "w [1]/conf.yaml"),
    ("w [1]/*.yaml", "w [1]/conf.yaml"),
    ("w [1]", "w [1]/conf.yaml"),
    ("w*x/conf.yaml", "w*x/conf.yaml"),
    ("a,b/[c].yaml", "a,b/[c].yaml"),
    ("a,b/**/*.yaml", "a,b/[c].yaml"),
    ("w [12]/conf.yaml", ""),
]


@pytest.mark.parametrize(("pattern", "found"), NAMES)
def test_names_with_wildcards(tmp_path: Path, pattern: str, found: str) -> None:
    """What is there by that very name is meant."""
    for name in ("w [1]/conf.yaml", "w*x/conf.yaml", "wyx/conf.yaml", "a,b/[c].yaml", "w 1/conf.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    scope = Scope([], [str(tmp_path / pattern)])
    wanted = [str(tmp_path / found)] if found else []
    assert sorted(scope.snapshot()) == wanted
    assert [str(path) for path in sorted(tmp_path.rglob("*.y*ml")) if scope.wants(str(path))] == wanted
    assert {os.path.dirname(path) for path in wanted} <= scope.folders()  # noqa: PTH120 - texts


def test_folders(tree: Path) -> None:
    """Those where a change matters, and no others: a watch is spent on each."""
    scope = Scope([str(tree), str(tree / "env/lib")], [str(tree / "conf/*.ini"), str(tree / ".git/*/x.py")])
    inside = {os.path.relpath(folder, tree) for folder in scope.folders()}
    assert inside == {".", "site", "conf", "conf/deep", "conf/deep/er", "env/lib", "env/lib/python3.11"} | {
        ".git",
        ".git/hooks",
    }


def test_links_are_followed_once(tree: Path) -> None:
    (tree / "round").symlink_to(tree)
    (tree / "itself").symlink_to("itself")
    (tree / "system").symlink_to("/")
    (tree / "all").symlink_to("conf")  # two names: the one that is no link counts
    (tree.parent / "shared").mkdir()
    (tree.parent / "shared/part.py").write_text("")
    (tree / "linked").symlink_to("../shared")
    scope = Scope([str(tree)])
    names = sorted(os.path.relpath(path, tree) for path in scope.snapshot())
    assert names == ["linked/part.py", "site/fast.so", "site/views.py"]
    assert str(tree / "conf") in scope.folders()
    assert str(tree / "all") not in scope.folders()


def test_the_whole_system() -> None:
    """/ as a working directory: what was put there beside the system, and no more."""
    scope = Scope(["/"])
    assert scope.wants("/wsgi.py")
    assert scope.wants("/srv/project/views.py")
    assert not scope.wants("/proc/1/cwd/views.py")
    assert not scope.wants("/usr/lib/python3/os.py")
    assert Scope(["/", "/usr/src/app"]).wants("/usr/src/app/views.py")


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


def test_folders_are_heard(watcher: Watcher, tree: Path) -> None:
    """Renamed, moved in, removed, put in another's place: the files in them are what has changed."""

    def said(*words: str) -> None:
        wanted = {Change(kind, str(tree / name)) for kind, _, name in (word.partition(" ") for word in words)}
        heard = hear(watcher, lambda heard: len(set(heard)) >= len(wanted))
        assert set(heard) == wanted

    (tree / "site").rename(tree / "place")
    said(
        *(f"deleted site/{name}" for name in ("views.py", "fast.so", "page.html")),
        *(f"added place/{name}" for name in ("views.py", "fast.so", "page.html")),
    )
    (tree / "place/views.py").write_text("again")
    said("modified place/views.py")
    (tree.parent / "other/deep").mkdir(parents=True)
    (tree.parent / "other/deep/x.py").write_text("")
    (tree.parent / "other").rename(tree / "other")
    said("added other/deep/x.py")
    (tree / "other/deep/x.py").write_text("again")
    said("modified other/deep/x.py")
    shutil.rmtree(tree / "other")
    said("deleted other/deep/x.py")


PLAIN = """\
#!{python}
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH; 24 is PR_CAPBSET_DROP
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watchers may read what the file modes say, also those of root."""
    script = tmp_path / "plain"
    script.write_text(PLAIN.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("engine", ENGINES)
def test_an_unreadable_folder_hides_no_other(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the volume of a container leaves it."""
    if engine == "polling":
        hide_watchfiles(tmp_path, monkeypatch)
    else:
        pytest.importorskip("watchfiles")
    root = tmp_path / "tree"
    closed = [root / name for name in ("aaa", "mmm", "zzz/inside", "conf/closed")]
    files = [root / name for name in ("a.py", "bbb/b.py", "nnn/n.py", "zzz/z.py", "conf/x.ini")]
    for path in (*closed, *(file.parent for file in files)):
        path.mkdir(parents=True, exist_ok=True)
    for path in files:
        path.write_text("")
    for path in closed:
        path.chmod(0)
    watcher = Watcher([str(root)], [str(root / "conf/**")])
    try:
        hear(watcher, lambda _: bool(watcher.engine))
        assert watcher.engine == engine
        for path in files:
            path.write_text("again")
            assert hear(watcher, bool) == [Change("modified", str(path))]
    finally:
        watcher.close()
        for path in closed:
            path.chmod(0o755)


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
