"""The watcher of `--reload`: a child process that says which source files changed, and imports none of them.

The master holds a `Watcher`: its descriptor becomes readable when there is something to hear, `changes()`
is the list. What counts as a source file is decided by `Scope`, without looking at a clock or an application:
a broken file is as good as any. The child runs this file by itself (`python watch.py`), so that neither the
master nor the application is imported there; watchfiles does the watching where it is installed (inotify,
FSEvents), else the child looks at every file twice a second.

The child ends when the master does: its stdin is a pipe whose other end only the master holds.
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

POLL_INTERVAL = 0.5  # seconds between two looks; an edit is seen before the hand is back on the mouse
POLL_SHARE = 10  # ... and at least so many times what one look took: 10 % of a core on the largest tree
STEP = 100  # milliseconds without a change that end a list of changes
DEBOUNCE = 400  # ... which is never gathered for longer: one `git checkout`, one list

Snapshot = dict[str, tuple[int, int, int]]


class Change(NamedTuple):
    """One file that is not what it was."""

    kind: str  # "added", "modified" or "deleted"
    path: str


class Watcher:
    """The master's end. Every method returns at once.

    engine: "" until the child watches (what changes before that is not seen), then "watchfiles" or "polling".
    ended: the child is gone; nothing will be heard any more.
    """

    def __init__(self, roots: Sequence[str], patterns: Sequence[str] = ()) -> None:
        """Start the child. roots: folders with source, searched whole; patterns: other files, as paths or
        globs (`**` crosses folders). All absolute. Raises OSError when no process can be started."""
        self.engine = ""
        self.ended = False
        self._rest = b""
        life, self._life = os.pipe()
        self._heard, speech = os.pipe()
        os.set_blocking(self._heard, False)
        # A group of its own: Ctrl-C at the terminal is for the server, and the end of the pipe for us.
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", __file__, *roots, "--", *patterns],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, life, 0),
                (os.POSIX_SPAWN_DUP2, speech, 1),
            ],
            setpgroup=0,
            setsigmask=(),
        )
        os.close(life)
        os.close(speech)

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        return self._heard

    def changes(self) -> list[Change]:
        """Return what was heard since the last call, each file once, in order."""
        found: dict[str, Change] = {}
        for line in self._lines():
            word, _, rest = line.partition("\t")
            if word == "ready":
                self.engine = rest
            else:
                found[rest] = Change(word, rest)
        return list(found.values())

    def disown(self) -> None:
        """For a process forked from the master: let go of the descriptors, leave the child alone."""
        os.close(self._life)
        os.close(self._heard)

    def close(self) -> None:
        """End the child and collect it, unless somebody else already has."""
        self.disown()
        try:
            os.kill(self.pid, 15)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        self.ended = True

    def _lines(self) -> Iterator[str]:
        while True:
            try:
                data = os.read(self._heard, 1 << 16)
            except BlockingIOError:
                break
            if not data:
                self.ended = True
                break
            self._rest += data
        *lines, self._rest = self._rest.split(b"\0")
        return map(os.fsdecode, lines)


def describe(changes: Sequence[Change], base: str) -> str:
    """Return "a.py modified, b.py added and 3 more" with paths relative to base where they lie below it."""
    shown = [f"{_relative(change.path, base)} {change.kind}" for change in changes[:3]]
    more = len(changes) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _relative(path: str, base: str) -> str:
    return path.removeprefix(base.rstrip("/") + "/")


# What is watched


class Scope:
    """Which files count. Paths are absolute, roots and patterns as given to `Watcher`."""

    def __init__(self, roots: Iterable[str], patterns: Iterable[str] = ()) -> None:
        self.roots = _outermost(os.path.abspath(root) for root in roots)
        # A folder means everything in it.
        self.patterns = [os.path.join(text, "**") if os.path.isdir(text) else text for text in patterns]
        self._parts = [pattern.split("/") for pattern in self.patterns]
        self._foreign: dict[str, bool] = {}

    def folders(self) -> list[str]:
        """Where to look for changes: the roots, and the fixed part of each pattern."""
        return _outermost(
            folder for folder in (*self.roots, *map(_fixed, self.patterns)) if os.path.isdir(folder)
        )

    def wants(self, path: str) -> bool:
        """Whether a change of this file matters."""
        parts = path.split("/")
        return self._source(path) or any(_matches(parts, pattern) for pattern in self._parts)

    def snapshot(self) -> Snapshot:
        """Return what every file that counts looks like now: path -> (mtime in ns, size, inode)."""
        found: Snapshot = {}
        for root in self.roots:
            self._walk(root, found)
        for pattern in self.patterns:
            for path in glob.iglob(pattern, recursive=True, include_hidden=True):
                if not os.path.isdir(path):
                    _look(path, found)
        return found

    def _source(self, path: str) -> bool:
        if not path.endswith(SUFFIXES):
            return False
        for root in self.roots:
            if path.startswith(root.rstrip("/") + "/"):
                folder = root
                for name in path[len(root) :].strip("/").split("/")[:-1]:
                    folder = os.path.join(folder, name)
                    if self._skips(folder, name):
                        return False
                return True
        return False

    def _skips(self, folder: str, name: str) -> bool:
        if name.startswith(".") or name in SKIPPED:
            return True
        if folder not in self._foreign:  # a virtual environment may have any name (PEP 405)
            self._foreign[folder] = os.path.exists(os.path.join(folder, "pyvenv.cfg"))
        return self._foreign[folder]

    def _walk(self, folder: str, found: Snapshot) -> None:
        try:
            entries = list(os.scandir(folder))
        except OSError:  # gone meanwhile, or not ours to read
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not self._skips(entry.path, entry.name):
                    self._walk(entry.path, found)
            elif entry.name.endswith(SUFFIXES):
                _look(entry.path, found)


def compare(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return what happened between two snapshots, by path."""
    changes = [Change("deleted", path) for path in before if path not in after]
    for path, look in after.items():
        if path not in before:
            changes.append(Change("added", path))
        elif before[path] != look:
            changes.append(Change("modified", path))
    return sorted(changes, key=lambda change: change.path)


def _look(path: str, found: Snapshot) -> None:
    try:
        seen = os.stat(path)
    except OSError:
        return
    found[path] = (seen.st_mtime_ns, seen.st_size, seen.st_ino)


def _fixed(pattern: str) -> str:
    """The folder before the first wildcard; a file's own folder, because editors replace files."""
    parts = pattern.split("/")
    count = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return "/".join(parts[:count]) or "/"


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1)) or (
            len(pattern) == 1 and bool(parts)
        )
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _outermost(folders: Iterable[str]) -> list[str]:
    """The folders that lie in none of the others."""
    kept: list[str] = []
    for folder in sorted(set(folders)):
        if not any(folder.startswith(outer.rstrip("/") + "/") for outer in kept):
            kept.append(folder)
    return kept


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
        _watch_natively(scope)
    except BrokenPipeError:
        return
    except (ImportError, OSError):  # not installed, or the system's watches are used up (inotify(7))
        try:
            _watch_by_polling(scope)
        except BrokenPipeError:
            return


class End:
    """The end of stdin, in the form in which watchfiles asks for it: an event, looked at every step."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._poll.register(0, select.POLLIN)
        self._said = False

    def is_set(self) -> bool:
        # The first look comes after the watches were laid: from here on no change is missed.
        if not self._said:
            self._said = True
            _say([("ready", "watchfiles")])
        return self.within(0)

    def within(self, seconds: float) -> bool:
        return bool(self._poll.poll(1000 * seconds))


def _watch_natively(scope: Scope) -> None:
    import watchfiles

    for batch in watchfiles.watch(
        *scope.folders(),
        watch_filter=lambda _, path: scope.wants(path),
        debounce=DEBOUNCE,
        step=STEP,
        stop_event=End(),
        rust_timeout=0,
        ignore_permission_denied=True,
    ):
        _say(sorted((kind.name, path) for kind, path in batch))


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
