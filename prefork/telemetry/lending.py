"""The logger "gunicorn.error" with handlers, for applications that borrow them while they are imported:

    app.logger.handlers = logging.getLogger("gunicorn.error").handlers

`logging` costs every worker memory and time, so what has no use for it does not import it: a finder waits for
whoever does.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from .log import Log


def lend(log: Log) -> None:
    """Give that logger the error log's handler: now, or as soon as somebody imports logging."""
    if "logging" in sys.modules:
        _lend(log)
    else:
        sys.meta_path.insert(0, _Finder(log))


def _lend(log: Log) -> None:
    from . import bridge

    bridge.lend(log)


class _Finder:
    """Finds what the next finders find, `logging` alone, and once."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._log)  # type: ignore[assignment]
        return spec


class _Loader:
    def __init__(self, loader: Loader, log: Log) -> None:
        self._loader = loader
        self._log = log

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _lend(self._log)
