"""The lookout of `--reload`: the program that says which source files changed, and imports none of them.

It runs by itself (`python lookout.py ROOT... -- PATTERN...`), as the child of the master's `Watcher`, so that
neither the master nor the application is imported there. What counts as a source file is decided by `Scope`,
without looking at a clock or an application: a broken file is as good as any. watchfiles does the watching
where it is installed (inotify, FSEvents), else every file is looked at twice a second.

What it says on stdout ends in NUL each: "ready" or the kind of a change, a tab, the engine or the path. It
ends when stdin does, whose other end only the master holds.
"""

# Paths are texts here: thousands of them are looked at twice a second, and pathlib takes four times as long.
# ruff: noqa: PTH100, PTH110, PTH112, PTH116, PTH118, PTH120, PTH207
from __future__ import annotations

import fnmatch
import glob
import os
import select
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

# Code that Python imports; templates and the like are the operator's to name (--reload-extra-file).
SUFFIXES = (".py", ".so", ".pyd")
# Folders that hold no source of the project: caches, other people's code, version control (hidden ones).
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
# ... and what / holds besides a project, where / is the working directory (hier(7)).
SYSTEM = frozenset(
    f"/{name}"
    for name in (
        *("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "lost+found", "media", "mnt"),
        *("proc", "root", "run", "sbin", "sys", "tmp", "usr", "var"),
    )
)

POLL_INTERVAL = 0.5  # seconds between two looks; an edit is seen before the hand is back on the mouse
POLL_SHARE = 10  # ... and at least so many times what one look took: 10 % of a core on the largest tree
STEP = 100  # milliseconds without a change that end a list of changes
DEBOUNCE = 400  # ... which is never gathered for longer: one `git checkout`, one list
VANISHED = 10  # times in a row that a folder may go while watches are laid

Snapshot = dict[str, tuple[int, int, int]]


class Change(NamedTuple):
    """One file that is not what it was."""

    kind: str  # "added", "modified" or "deleted"
    path: str


# What is watched


class Scope:
    """Which files count. Paths are absolute, roots and patterns as given to `Watcher`."""

    def __init__(self, roots: Iterable[str], patterns: Iterable[str] = ()) -> None:
        self.roots = sorted({os.path.abspath(root) for root in roots})
        self.patterns = [Pattern(text) for text in patterns]
        self._foreign: dict[str, bool] = {}

    def folders(self) -> set[str]:
        """Every folder in which a change would matter and that may be read, each by one of its names."""
        self._foreign.clear()  # an environment may have been made meanwhile
        found = {folder for folder, _ in self._tree()}
        for pattern in self.patterns:
            found.update(folder for folder in pattern.folders() if os.access(folder, os.R_OK))
        return found

    def wants(self, path: str) -> bool:
        """Whether a change of this file matters."""
        return self._source(path) or any(pattern.matches(path) for pattern in self.patterns)

    def snapshot(self) -> Snapshot:
        """Return what every file that counts looks like now: path -> (mtime in ns, size, inode)."""
        found: Snapshot = {}
        for _, files in self._tree():
            for path in files:
                look(path, found)
        for pattern in self.patterns:
            for path in pattern.files():
                look(path, found)
        return found

    def _source(self, path: str) -> bool:
        return path.endswith(SUFFIXES) and any(self._below(root, path) for root in self.roots)

    def _below(self, root: str, path: str) -> bool:
        inside = _inside(root, path)
        folder = root
        for name in inside[:-1]:
            folder = os.path.join(folder, name)
            if self._skips(folder, name):
                return False
        return bool(inside)

    def _skips(self, folder: str, name: str) -> bool:
        if name.startswith(".") or name in SKIPPED or folder in SYSTEM:
            return True
        if folder not in self._foreign:  # a virtual environment may have any name (PEP 405)
            self._foreign[folder] = os.path.exists(os.path.join(folder, "pyvenv.cfg"))
        return self._foreign[folder]

    def _tree(self) -> Iterator[tuple[str, list[str]]]:
        """(folder, its source files) for all below the roots. Links are followed, after all else: what has
        two names has the one that is no link, and no way leads round in a circle."""
        seen = {_identity("/")} if "/" not in self.roots else set()
        rest = list(reversed(self.roots))
        links: list[str] = []
        while rest or links:
            folder = rest.pop() if rest else links.pop(0)
            try:
                identity = _identity(folder)
                if identity in seen:
                    continue
                entries = list(os.scandir(folder))
            except OSError:  # gone meanwhile, or not ours to read
                continue
            seen.add(identity)
            files = []
            for entry in entries:
                if _is_folder(entry):
                    if not self._skips(entry.path, entry.name):
                        (links if entry.is_symlink() else rest).append(entry.path)
                elif entry.name.endswith(SUFFIXES):
                    files.append(entry.path)
            yield folder, files


class Pattern:
    """One path or glob of --reload-extra-file: the folder that it begins with, and what may change below.

    What is there by the very name that was said is meant: `[1]` is a folder's name as often as a wildcard."""

    def __init__(self, text: str) -> None:
        self.base = "/"
        parts = [part for part in os.path.normpath(text).split("/") if part]
        while len(parts) > 1 and (not glob.has_magic(parts[0]) or self._there(parts[0])):
            self.base = os.path.join(self.base, parts.pop(0))
        if not parts or os.path.isdir(os.path.join(self.base, *parts)):  # a folder means everything in it
            self.base = os.path.join(self.base, *parts)
            parts = ["**"]
        elif self._there(parts[0]):
            parts = [glob.escape(parts[0])]
        self._parts = parts

    def _there(self, name: str) -> bool:
        return os.path.lexists(os.path.join(self.base, name))

    def matches(self, path: str) -> bool:
        """Whether it means this file."""
        inside = _inside(self.base, path)
        return bool(inside) and _matches(inside, self._parts)

    def files(self) -> Iterator[str]:
        """Every file that it means."""
        return (path for path in self._found(len(self._parts)) if not os.path.isdir(path))

    def folders(self) -> Iterator[str]:
        """Every folder in which there may come to be a file that it means."""
        if os.path.isdir(self.base):
            yield self.base
        for count in range(1, len(self._parts) + (self._parts[-1] == "**")):
            yield from filter(os.path.isdir, self._found(count))

    def _found(self, count: int) -> Iterator[str]:
        names = glob.iglob(
            "/".join(self._parts[:count]), root_dir=self.base, recursive=True, include_hidden=True
        )
        return (os.path.join(self.base, name.rstrip("/")) for name in names if name)


def compare(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return what happened between two snapshots, by path."""
    changes = [Change("deleted", path) for path in before if path not in after]
    for path, look in after.items():
        if path not in before:
            changes.append(Change("added", path))
        elif before[path] != look:
            changes.append(Change("modified", path))
    return sorted(changes, key=lambda change: change.path)


def look(path: str, found: Snapshot) -> None:
    """Take this file into a snapshot, or out of it."""
    try:
        seen = os.stat(path)
    except OSError:
        found.pop(path, None)
        return
    found[path] = (seen.st_mtime_ns, seen.st_size, seen.st_ino)


def _identity(folder: str) -> tuple[int, int]:
    seen = os.stat(folder)
    return seen.st_dev, seen.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to where we may not look, or to itself
        return False


def _inside(folder: str, path: str) -> list[str]:
    """The parts of a path below a folder; none when it does not lie there."""
    start = folder.rstrip("/") + "/"
    return path[len(start) :].split("/") if path.startswith(start) else []


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1)) or (
            len(pattern) == 1 and bool(parts)
        )
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def editable_roots() -> list[str]:
    """Folders outside the installation that this interpreter imports from: `pip install -e`, .pth files.

    Not the one that holds prefork: the master is not made anew by a reload."""
    mine = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    folders = set(sys.path)
    for name, module in list(sys.modules.items()):  # setuptools' finders say it in a table
        if name.startswith("__editable__"):
            folders.update(getattr(module, "MAPPING", {}).values())
    installed = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix})
    return [
        folder
        for folder in sorted(folders)
        if os.path.isdir(folder)
        and not folder.startswith(tuple(prefix + "/lib" for prefix in installed))
        and not SKIPPED & set(folder.split("/"))
        and folder != mine
        and not folder.startswith(mine + "/prefork")
    ]


# The child


def main(arguments: Sequence[str]) -> None:
    """Watch until stdin ends; say each list of changes on stdout."""
    _title()
    cut = arguments.index("--")
    scope = Scope([*arguments[:cut], *editable_roots()], arguments[cut + 1 :])
    try:
        Native(scope).watch()
    except BrokenPipeError:
        return
    except (ImportError, OSError):  # not installed, or the system's watches are used up (inotify(7))
        try:
            _watch_by_polling(scope)
        except BrokenPipeError:
            return


class End:
    """The end of stdin."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._poll.register(0, select.POLLIN)

    def within(self, seconds: float) -> bool:
        return bool(self._poll.poll(1000 * seconds))


class Native:
    """The system says what changes, through watchfiles.

    Each folder of the scope is watched by itself. Left to search the tree, watchfiles gives up at the first
    folder that it may not read, without a word about those behind it, and spends the system's watches on
    node_modules. When folders come, go or are renamed all are laid anew; the event names the folder alone,
    and what happened meanwhile is not heard, so two snapshots say which files it was.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._end = End()
        self._folders: set[str] = set()
        self._before: Snapshot | None = None
        self._laid = False

    def watch(self) -> None:
        """Until stdin ends. Raises ImportError without watchfiles, OSError where watches cannot be laid."""
        import watchfiles

        vanished = 0
        while not self._end.within(0):
            self._laid = False
            self._folders = self._scope.folders()
            try:
                for batch in watchfiles.watch(
                    *self._folders,
                    watch_filter=None,
                    debounce=DEBOUNCE,
                    step=STEP,
                    stop_event=self,
                    rust_timeout=0,
                    recursive=False,
                    ignore_permission_denied=True,
                ):
                    vanished = 0
                    if self._hear({path for _, path in batch}):
                        break
            except FileNotFoundError:  # a folder has gone between the look and the watch
                vanished += 1
                if vanished > VANISHED:
                    raise

    def is_set(self) -> bool:
        """For watchfiles, which looks every step whether it is to end."""
        # The first look comes after the watches were laid: from here on no change is missed.
        if not self._laid:
            self._laid = True
            after = self._scope.snapshot()
            _say([("ready", "watchfiles")] if self._before is None else compare(self._before, after))
            self._before = after
        return self._end.within(0)

    def _hear(self, paths: set[str]) -> bool:
        """Say which files that count have changed. True: the folders are others now."""
        assert self._before is not None
        changes = []
        for path in sorted(paths - self._folders):
            if self._scope.wants(path) and not os.path.isdir(path):
                # Not what the event says: an editor that replaces a file has deleted and added it.
                was = path in self._before
                look(path, self._before)
                if was or path in self._before:
                    changes.append(Change(_kind(was, path in self._before), path))
        _say(changes)
        if not self._folders.isdisjoint(paths):
            return True
        return any(map(os.path.isdir, paths)) and self._scope.folders() != self._folders


def _kind(was: bool, is_there: bool) -> str:
    if was:
        return "modified" if is_there else "deleted"
    return "added"


def _watch_by_polling(scope: Scope) -> None:
    end = End()
    before = scope.snapshot()
    _say([("ready", "polling")])
    pause = POLL_INTERVAL
    while not end.within(pause):
        began = time.monotonic()
        after = scope.snapshot()
        pause = max(POLL_INTERVAL, POLL_SHARE * (time.monotonic() - began))
        _say(compare(before, after))
        before = after


def _say(words: Iterable[tuple[str, str]]) -> None:
    data = b"".join(os.fsencode(f"{kind}\t{path}") + b"\0" for kind, path in words)
    while data:
        data = data[os.write(1, data) :]


def _title() -> None:
    try:
        import setproctitle
    except ImportError:
        return
    setproctitle.setproctitle("prefork: watcher")


if __name__ == "__main__":
    main(sys.argv[1:])
