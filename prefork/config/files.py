"""Configuration files: which one is read, and what it says.

`prefork.toml`, `[tool.prefork]` in `pyproject.toml`, `prefork.conf.py` and `gunicorn.conf.py` are found in
the directory where prefork was started; `-c` names another, by path or as `python:module`. One file counts.
Names are checked here (those of TOML strictly, those of Python files as far as helpers allow), values by
`load.py`.
"""
# os.path, not pathlib, which would cost every start 4 ms.
# ruff: noqa: PTH111, PTH113, PTH118, PTH119, PTH123

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader

from ..errors import ConfigError
from .compound import Hook
from .parse import near
from .settings import ROWS

OWN = ("prefork.toml", "prefork.conf.py")

# Spelled like flags, but too common as names of helpers to be taken for a mistake.
_COMMON = frozenset(("env", "name", "pid", "log_file", "config"))


def find(directory: str) -> str:
    """Return the name of the file that counts in this directory, or ""."""
    found = [name for name in OWN if os.path.isfile(os.path.join(directory, name))]
    if _has_table(os.path.join(directory, "pyproject.toml")):
        found.append("pyproject.toml")
    if len(found) > 1:
        raise ConfigError(
            f"{' and '.join(found)} all configure prefork; keep one of them, or say which with -c"
        )
    if not found and os.path.isfile(os.path.join(directory, "gunicorn.conf.py")):
        return "gunicorn.conf.py"
    return found[0] if found else ""


def read(location: str, directory: str) -> dict[str, object]:
    """Return the settings of a file by name, still unchecked. Raises ConfigError with one line."""
    if location.startswith("python:"):
        return _known(_module(location.removeprefix("python:"), directory), location)
    path = os.path.join(directory, os.path.expanduser(location.removeprefix("file:")))
    source = source_of(path, location)
    if path.endswith(".toml"):
        return _toml(source, location)
    return _known(execute(source, path, location, directory), location)


def source_of(path: str, location: str) -> bytes:
    """Return what stands in the file. Raises ConfigError that names it as `location`."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as fault:
        raise ConfigError(f"cannot be read: {fault.strerror}", origin=location) from None


def execute(source: bytes, path: str, location: str, directory: str) -> dict[str, object]:
    """Run a Python file, which may import from `directory`, and return all names that it leaves behind.

    Raises ConfigError for whatever it raises, with the line. A file may not end the process that reads it:
    at a reload that is the master of a running server. Only ^C passes.
    """
    _importable(directory)
    module = type(sys)("__config__")
    module.__file__ = path
    # Who prints a traceback looks there for the source (linecache, from Python 3.15 on).
    module.__spec__ = ModuleSpec("__config__", SourceFileLoader("__config__", path), origin=path)
    sys.modules["__config__"] = module  # classes and pickles made there look for it
    try:
        exec(compile(source, path, "exec"), vars(module))
    except (Exception, SystemExit) as fault:
        raise ConfigError(_where(fault, path), origin=location) from fault
    return vars(module)


def _has_table(path: str) -> bool:
    # Most pyproject.toml are not about us, and tomllib costs a start 5 ms: look before parsing.
    try:
        with open(path, "rb") as file:
            return b"tool.prefork" in file.read()
    except OSError:
        return False


def _toml(source: bytes, location: str) -> dict[str, object]:
    import tomllib

    try:
        data = tomllib.loads(source.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise ConfigError(f"is not TOML: {fault}", origin=location) from None
    if os.path.basename(location) == "pyproject.toml":
        data = data.get("tool", {}).get("prefork", {})
    for name, value in data.items():
        if name not in ROWS:
            refuse(name, value, location)
        elif ROWS[name].where == "python":
            raise ConfigError("only a Python file can hold a function", setting=name, origin=location)
    return data


def _module(name: str, directory: str) -> dict[str, object]:
    import importlib

    _importable(directory)
    sys.modules.pop(name, None)  # a reload reads it again
    importlib.invalidate_caches()
    try:
        return vars(importlib.import_module(name))
    except (Exception, SystemExit) as fault:
        raise ConfigError(_where(fault, ""), origin=f"python:{name}") from fault


def _importable(directory: str) -> None:
    # Stays: hooks run later import their helpers from there.
    if directory not in sys.path:
        sys.path.insert(0, directory)


def _where(fault: BaseException, path: str) -> str:
    """The fault on one line, with the last line of the file that it came through."""
    number = fault.lineno if isinstance(fault, SyntaxError) and fault.filename == path else None
    step = fault.__traceback__
    while step is not None and not isinstance(fault, SyntaxError):
        if step.tb_frame.f_code.co_filename == path:
            number = step.tb_lineno
        step = step.tb_next
    return f"{f'line {number}: ' if number else ''}{_text(fault)}"


def _text(fault: BaseException) -> str:
    if isinstance(fault, SystemExit):
        return f"a configuration may not end the process: {fault!r}"
    text = fault.msg if isinstance(fault, SyntaxError) else str(fault)
    return f"{type(fault).__name__}: {text}" if text else type(fault).__name__


def _known(namespace: dict[str, object], location: str) -> dict[str, object]:
    """Pick the settings out of a Python file.

    gunicorn ignores every name that it does not know, since files import and compute. So do we, but for names
    that gunicorn or the command line know, and those that are a slip away from a setting which is not
    set beside them.
    """
    settings = {}
    for name, value in namespace.items():
        if name in ROWS:
            if value is not None:
                settings[name] = value
        elif not (name.startswith("_") or isinstance(value, type(sys))):
            refuse(name, value, location, namespace)
    return settings


def refuse(name: str, value: object, location: str, helpers: dict[str, object] | None = None) -> None:
    """Raise ConfigError for a name that is no setting, unless it is gunicorn's and says gunicorn's default.

    helpers: the other names of a Python file; then what may be a helper passes.
    """
    if refuse_foreign(name, value, location):
        return
    meant = meaning(name)
    if helpers is not None and (
        not meant or meant in helpers or name in _COMMON or _other_kind(meant, value)
    ):
        return
    problem = f"there is no setting {name}" + ("" if meant else "; prefork --help lists all")
    raise ConfigError(problem, origin=location, meant=meant)


def refuse_foreign(name: str, value: object, location: str) -> bool:
    """Return whether the name is gunicorn's and not ours; raise ConfigError when it asks for something."""
    from .foreign import FOREIGN

    if name in FOREIGN and not FOREIGN[name].harmless(value):
        shown = value if isinstance(value, str | int | float) else None
        raise ConfigError(
            f"is not supported: {FOREIGN[name].instead}", setting=name, value=shown, origin=location
        )
    return name in FOREIGN


def meaning(name: str) -> str:
    """Return the setting that a wrong name was probably meant to be, or ""."""
    flag = f"--{name.replace('_', '-')}"
    for row in ROWS.values():
        if flag in row.flags:
            return row.name
    lower = name.lower().replace("-", "_")
    return lower if lower in ROWS else near(lower, ROWS)


def _other_kind(meant: str, value: object) -> bool:
    """Whether the value could not be the setting's: a function for a number, a number for a hook."""
    return callable(value) != isinstance(ROWS[meant].kind, Hook)
