"""What `ps` shows."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _load() -> tuple[Callable[[str], None], Callable[[str], None]] | None:
    # The package's __init__ imports logging, 6 ms and 0.7 MB of every start; the module in it needs nothing.
    from importlib.machinery import PathFinder

    package = PathFinder.find_spec("setproctitle")
    if package is None:
        return None
    spec = PathFinder.find_spec("setproctitle._setproctitle", package.submodule_search_locations)
    if spec is None or spec.loader is None:
        return None
    module = spec.loader.create_module(spec)
    if module is None:
        return None
    spec.loader.exec_module(module)
    return module.setproctitle, module.setthreadtitle


# Before the first fork: a worker may no longer be allowed to read the folder.
try:
    _set = _load()
except (ImportError, AttributeError):
    _set = None


def set_title(role: str, name: str) -> None:
    """Show "prefork: master [name]", and "prefork:master" for short. Without setproctitle nothing changes.

    The short name is the kernel's, 15 bytes of it (prctl(2), PR_SET_NAME). A space there moves the fields of
    /proc/pid/stat for all who split that line at spaces; CPython from 3.12 on does (posixmodule.c), and then
    takes the priority for a number of threads and warns of each fork.
    """
    if _set is not None:
        show, shorten = _set
        show(f"prefork: {role} [{name}]" if name else f"prefork: {role}")
        shorten(f"prefork:{role}")


def name_thread(name: str) -> None:
    """Show it as the calling thread's, 15 bytes of it (`ps -T`). Without setproctitle nothing changes."""
    if _set is not None:
        _set[1](name)
