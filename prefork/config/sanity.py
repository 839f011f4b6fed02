"""What settings owe each other and the system: checked once all are known, before anything is started.

Makes relative paths absolute (against `chdir`, which itself is relative to where prefork was started), looks
whether what must exist exists, resolves `workers = auto` and the worker class, and refuses combinations that
would not do what they say. Raises ConfigError with where the value came from.
"""
# os.path, not pathlib, which would cost every start 4 ms.
# ruff: noqa: PTH110, PTH112, PTH113, PTH118, PTH120

from __future__ import annotations

import os
from collections.abc import Mapping

from ..errors import ConfigError
from .compound import Each
from .parse import Path, Refused
from .settings import ROWS, Settings

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
    from typing import Any


def resolve(
    given: dict[str, object], origins: dict[str, str], directory: str, environ: Mapping[str, str]
) -> tuple[Settings, list[str]]:
    """Return Settings made of the given values, and notes for the log.

    `origins` names the place of each given value, and is filled up for what is worked out here.
    """
    return _Resolution(given, origins, directory, environ).run()


class _Resolution:
    def __init__(
        self, given: dict[str, object], origins: dict[str, str], directory: str, environ: Mapping[str, str]
    ) -> None:
        self.values: dict[str, Any] = {row.name: row.default for row in ROWS.values()} | given
        self.origins = origins
        self.directory = directory
        self.environ = environ
        self.notes: list[str] = []

    def run(self) -> tuple[Settings, list[str]]:
        self._paths()
        self._listen()
        self._worker_class()
        self._workers()
        self._limits()
        self._logs()
        self._identity()
        for name in ROWS:
            self.origins.setdefault(name, "default")
        return Settings(**self.values), self.notes

    def _refuse(self, name: str, problem: str, meant: str = "") -> ConfigError:
        value = self.values[name]
        shown = value if value is None or isinstance(value, tuple) else ROWS[name].show(value)
        origin = self.origins.get(name, "default")
        return ConfigError(problem, setting=name, value=shown, origin=origin, meant=meant)

    def _given(self, name: str) -> bool:
        return name in self.origins

    # paths

    def _paths(self) -> None:
        self.values["chdir"] = self._absolute("chdir", self.values["chdir"], self.directory)
        for row in ROWS.values():
            value = self.values[row.name]
            if row.name == "chdir" or not value:
                continue
            if isinstance(row.kind, Path):
                self.values[row.name] = self._absolute(row.name, value, self.values["chdir"])
            elif isinstance(row.kind, Each) and isinstance(row.kind.item, Path):
                self.values[row.name] = tuple(
                    self._absolute(row.name, path, self.values["chdir"], row.kind.item) for path in value
                )

    def _absolute(self, name: str, path: str, base: str, kind: Any = None) -> str:
        kind = kind or ROWS[name].kind
        if path == "-" and kind.dash:
            return path
        # Not realpath: a deployment that swaps a symlink and reloads must find the new place.
        path = os.path.normpath(os.path.join(base, path))
        fault = _path_fault(path, kind.must)
        if fault:
            raise ConfigError(fault, setting=name, value=path, origin=self.origins.get(name, "default"))
        return path

    # where to listen

    def _listen(self) -> None:
        if not self.values["bind"]:
            raise self._refuse("bind", "there must be at least one address")

    # workers

    def _worker_class(self) -> None:
        kind, threads = self.values["worker_class"], self.values["threads"]
        if kind == "sync" and threads > 1:
            kind = self.values["worker_class"] = "threads"
            self.origins["worker_class"] = f"threads = {threads}"
        elif kind == "threads" and not self._given("threads"):
            self.notes.append("worker_class = threads with one thread: --threads says how many")
        if kind == "gevent":
            self._gevent()
        if kind == "sync" and self.values["stream_request_body"]:
            raise self._refuse(
                "stream_request_body",
                "a sync worker runs one request at a time and would wait for its client: "
                "say --threads or -k gevent, or leave it out",
            )

    def _gevent(self) -> None:
        if self.values["threads"] > 1:
            raise self._refuse(
                "threads",
                "a gevent worker runs requests in greenlets of one thread: leave it out, "
                "or leave out worker_class = gevent (--worker-connections says how many at once)",
            )
        if self.values["preload_app"]:
            raise self._refuse(
                "preload_app",
                "gevent has to replace parts of the standard library before the application is imported, "
                "and only a worker may do that: leave it out, or leave out worker_class = gevent",
            )
        import importlib.util

        if importlib.util.find_spec("gevent") is None:
            raise self._refuse("worker_class", "gevent is not installed: pip install 'prefork[gevent]'")

    def _workers(self) -> None:
        if self.values["workers"] == 0:
            from . import auto

            self.values["workers"], note = auto.workers(self.values["worker_class"])
            self.origins["workers"] += f", {note}"
            self.notes.append(note)
        if self.values["min_workers"] > self.values["workers"]:
            raise self._refuse("min_workers", f"it cannot be more than workers = {self.values['workers']}")
        if self.values["max_requests_jitter"] and not self.values["max_requests"]:
            self.notes.append("max_requests_jitter does nothing without max_requests")

    # limits

    def _limits(self) -> None:
        head = self.values["limit_request_head"]
        for name in ("limit_request_line", "limit_request_field_size"):
            if self.values[name] > head and self._given(name):
                raise self._refuse(name, f"a part cannot be larger than limit_request_head = {head}")
            self.values[name] = min(self.values[name] or head, head)

    # logs

    def _logs(self) -> None:
        several = [name for name in ("logconfig", "logconfig_json", "logconfig_dict") if self.values[name]]
        if len(several) > 1:
            raise self._refuse(several[1], f"{several[0]} configures logging already: keep one of them")
        if several:
            self._logging(several[0])

    def _logging(self, name: str) -> None:
        from . import logconfig

        table = self.values["logconfig_dict"]
        try:
            if name == "logconfig":
                logconfig.judge_ini(self.values[name])
            elif name == "logconfig_json":
                table = logconfig.judge_json(self.values[name])
        except Refused as refused:
            raise self._refuse(name, refused.problem, meant=refused.meant) from None
        for handler, path in logconfig.files(table):
            fault = _path_fault(os.path.normpath(os.path.join(self.values["chdir"], path)), "parent")
            if fault:
                raise self._refuse(name, f"handlers.{handler}: filename = {path}: {fault}")

    # process

    def _identity(self) -> None:
        for name, mine in (("user", os.geteuid()), ("group", os.getegid())):
            wanted = self.values[name]
            if wanted is not None and wanted != mine and os.geteuid() != 0:
                raise self._refuse(name, f"only root can run workers as another {name}")
        if self.values["initgroups"] and self.values["user"] is None:
            self.notes.append("initgroups does nothing without user")
        if self.values["daemon"] and self.environ.get("NOTIFY_SOCKET"):
            self.notes.append(
                "daemon = true under systemd: leave it out, systemd keeps track of the process it started"
            )


def _path_fault(path: str, must: str) -> str:
    if must == "directory":
        if not os.path.isdir(path):
            return "there is no such directory"
        return "" if os.access(path, os.X_OK) else "this directory may not be entered"
    if must == "file":
        if not os.path.isfile(path):
            return "there is no such file"
        return "" if os.access(path, os.R_OK) else "this file may not be read"
    if must == "parent":
        parent = os.path.dirname(path)
        if os.path.isdir(path):
            return "this is a directory, not a file"
        if not os.path.isdir(parent):
            return f"there is no directory {parent}"
        if not os.path.exists(path) and not os.access(parent, os.W_OK):
            return f"the directory {parent} may not be written to"
    return ""
