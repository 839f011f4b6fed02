"""What `ps` shows."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _load() -> Callable[[str], None] | None:
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
    title: Callable[[str], None] = module.setproctitle
    return title


# Before the first fork: a worker may no longer be allowed to read the folder.
try:
    _show = _load()
except (ImportError, AttributeError):
    _show = None


def set_title(role: str, name: str) -> None:
    """Show "prefork: master [name]". Without setproctitle nothing changes."""
    if _show is not None:
        _show(f"prefork: {role} [{name}]" if name else f"prefork: {role}")
