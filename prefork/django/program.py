"""How manage.py becomes prefork: the same Python, with the same options and the same places to import from.

prefork is started as a module, `python -P -m prefork`: installed with --user, with --target or by PYTHONPATH
it has no script beside the interpreter. -P, because -m would put the working directory before the standard
library, in the master too.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from prefork.cli import directory
from prefork.master.lookout import SKIPPED, editable_roots
from prefork.master.sources import WATCHED

# Attributes of sys.flags and the options that set them; -P is always there, and -u is no flag.
_FLAGS = {
    "debug": "-d",
    "optimize": "-O",
    "dont_write_bytecode": "-B",
    "no_site": "-S",
    "no_user_site": "-s",
    "ignore_environment": "-E",
    "verbose": "-v",
    "bytes_warning": "-b",
    "quiet": "-q",
}


def command(words: Sequence[str]) -> list[str]:
    """The command line of prefork with these words."""
    return [sys.executable, *options(), "-P", "-m", "prefork", *words]


def options() -> list[str]:
    """The options that this Python was started with, or as good as: -I is -E -s -P."""
    found = [flag for name, flag in _FLAGS.items() for _ in range(getattr(sys.flags, name))]
    if getattr(sys.stdout, "write_through", False):
        found.append("-u")
    found.extend(f"-W{option}" for option in sys.warnoptions)
    found.extend(f"-X{name}" if value is True else f"-X{name}={value}" for name, value in _x_options())
    return found


def _x_options() -> Iterable[tuple[str, object]]:
    return getattr(sys, "_xoptions", {}).items()  # CPython's, and PyPy's


def folders() -> list[str]:
    """Where this process imports from before it looks at the standard library: what manage.py, --pythonpath
    and PYTHONPATH have put there. Absolute; the working directory by the name that prefork has for it."""
    library = Path(os.__file__).parent
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    # django-admin lies there, and nothing that is imported.
    scripts = Path(sysconfig.get_path("scripts")).resolve()
    found: dict[str, None] = {}
    for text in sys.path:
        folder = Path(text).absolute()
        if folder == library or folder.name == archive:
            break
        if folder.is_dir() and folder.resolve() != scripts:
            found[_named(folder)] = None
    return list(found)


def _named(folder: Path) -> str:
    return directory() if folder.samefile(".") else str(folder)


def environment(*, paths: Sequence[str], watched: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The environment of prefork. paths: folders that no option can say.  watched: see sources.WATCHED."""
    home = str(Path(__file__).parent.parent.parent)
    old = os.environ.get("PYTHONPATH", "")
    # Installed with --target into the project itself, prefork is found by manage.py alone.
    wanted = [*paths, *([home] if home in folders() else [])]
    added = [folder for folder in wanted if folder not in old.split(os.pathsep)]
    found = dict(os.environ)
    if added:
        found["PYTHONPATH"] = os.pathsep.join([*added, *([old] if old else [])])
    if watched:
        found[WATCHED] = json.dumps({name: list(values) for name, values in watched.items()})
    return found


def project_roots() -> list[str]:
    """Folders with the project's source: those that can be imported from and are nobody's installation."""
    own = [folder for folder in folders() if not SKIPPED & set(Path(folder).parts)]
    return list(dict.fromkeys([*own, *editable_roots()]))
