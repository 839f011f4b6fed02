"""From what the operator wrote, in whatever place, to Settings.

What counts more, from the weakest to the strongest:

1. the defaults, of which PORT, WEB_CONCURRENCY and FORWARDED_ALLOW_IPS in the environment change three
2. the configuration file
3. PREFORK_CMD_ARGS in the environment, a command line
4. PREFORK_WORKERS and the like in the environment, one for each setting
5. the command line

A stronger place replaces a list, it does not add to it. An environment variable that is set and empty counts
as not set. Every value is checked, also one that a stronger place replaces: it is wrong all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import ConfigError
from . import argv, sanity
from .compound import Each
from .parse import Refused, User
from .rows import Row
from .settings import ROWS, Settings

PREFIX = "PREFORK_"
DEFAULT = "default"

# In the environment, and about files and arguments rather than settings.
_CONFIG = "PREFORK_CONFIG"
_ARGUMENTS = "PREFORK_CMD_ARGS"
_GUNICORN_ARGUMENTS = "GUNICORN_CMD_ARGS"


class Loaded:
    """Settings and how they came about; `again` makes them anew from the same places.

    origins: for each setting, where its value came from, in words.  file: the configuration file, or "".
    notes: lines for the log, about what was worked out rather than said.
    """

    __slots__ = ("_again", "commands", "file", "notes", "origins", "settings")

    def __init__(
        self,
        settings: Settings,
        origins: Mapping[str, str],
        *,
        notes: tuple[str, ...],
        file: str,
        commands: frozenset[str],
        again: Callable[[], Loaded],
    ) -> None:
        self.settings = settings
        self.origins = origins
        self.notes = notes
        self.file = file
        self.commands = commands
        self._again = again

    def again(self) -> Loaded:
        """Read files and arguments again, with the environment of the start. Raises ConfigError."""
        return self._again()


def load(line: argv.Line, environ: Mapping[str, str], directory: str) -> Loaded:
    """Make Settings. `directory`: where prefork was started, absolute. Raises ConfigError."""
    environ = {name: environ[name] for name in environ if name.startswith(PREFIX) or name in _OTHERS}
    arguments = _arguments(environ.get(_ARGUMENTS, ""))
    values = _Values()
    file = line.config or arguments.config or environ.get(_CONFIG, "")
    if not file:
        from . import files

        file = files.find(directory)
    if file:
        _from_file(values, file, directory)
    _from_line(values, arguments, _ARGUMENTS)
    _from_environment(values, environ)
    _from_line(values, line, "command line")
    _from_app(values, line)
    _from_weak_environment(values, environ)
    settings, notes = sanity.resolve(values.values, values.origins, directory, environ)
    if _GUNICORN_ARGUMENTS in environ and _ARGUMENTS not in environ:
        notes.append(
            f"{_GUNICORN_ARGUMENTS} is set and counts for nothing: prefork reads {_ARGUMENTS} "
            f"(listening on {', '.join(settings.bind)})"
        )
    return Loaded(
        settings,
        values.origins,
        notes=tuple(notes),
        file=file,
        commands=frozenset(line.commands),
        again=lambda: load(line, environ, directory),
    )


_OTHERS = frozenset((_GUNICORN_ARGUMENTS, "NOTIFY_SOCKET", "PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"))


class _Values:
    """What was said so far, the strongest of it, with where it was said."""

    __slots__ = ("origins", "values")

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.origins: dict[str, str] = {}

    def take(self, row: Row, value: object, origin: str, *, text: bool) -> None:
        self.put(row, checked(row, value, origin, text=text), origin)

    def put(self, row: Row, value: object, origin: str) -> None:
        self.values[row.name] = value
        self.origins[row.name] = origin


def checked(row: Row, value: object, origin: str, *, text: bool) -> object:
    """The value as `Settings` holds it. Raises ConfigError that says what is allowed."""
    if text and unset(row, value):
        return None  # --access-logfile "" unsets what a file has set
    try:
        return row.kind.parse(str(value)) if text else row.kind.check(value)
    except Refused as refused:
        raise ConfigError(
            refused.problem,
            setting=row.name,
            value=value,
            origin=origin,
            allowed="" if refused.final else row.kind.allowed,
            meant=refused.meant,
        ) from None


def _arguments(text: str) -> argv.Line:
    if not text:
        return argv.Line()
    import shlex

    try:
        line = argv.parse(shlex.split(text), _ARGUMENTS)
    except ValueError as fault:
        raise ConfigError(f"{fault}", origin=_ARGUMENTS) from None
    commands = [flag for flag, (name, _) in argv.COMMANDS.items() if name in line.commands - {"config"}]
    what = ", ".join([*line.apps, *(flag for flag in commands if flag.startswith("--"))])
    if what:
        raise ConfigError(f"only settings belong here, not {what}", origin=_ARGUMENTS)
    return line


def _from_file(values: _Values, location: str, directory: str) -> None:
    from . import files

    for name, value in files.read(location, directory).items():
        row = ROWS.get(name)
        if row is not None and not unset(row, value):  # else gunicorn's, and harmless
            values.take(row, value, location, text=False)


def unset(row: Row, value: object) -> bool:
    """Whether the value says no more than that the setting is not set: "", as gunicorn has it.

    Not of user and group: $USER that came out empty must not leave the workers root's.
    """
    return value == "" and row.default is None and not isinstance(row.kind, User)


def _from_line(values: _Values, line: argv.Line, origin: str) -> None:
    repeated: dict[str, tuple[object, ...]] = {}
    for row, text, flag in line.given:
        where = f"{origin}, {flag}"
        value = checked(row, text, where, text=True)
        if isinstance(row.kind, Each) and isinstance(value, tuple):
            value = repeated[row.name] = (*repeated.get(row.name, ()), *value)
        values.put(row, value, where)


def _from_environment(values: _Values, environ: Mapping[str, str]) -> None:
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in (_CONFIG, _ARGUMENTS) or not text:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in ROWS:
            _unknown_variable(variable, name, text)
        elif ROWS[name].where != "any":
            where = "a Python file" if ROWS[name].where == "python" else "a configuration file"
            raise ConfigError(
                f"it can be set in {where}, not in the environment", setting=name, origin=variable
            )
        else:
            values.take(ROWS[name], text, variable, text=True)


def _unknown_variable(variable: str, name: str, text: str) -> None:
    # Only slips are errors: Kubernetes sets PREFORK_PORT, PREFORK_SERVICE_HOST and more beside a service that
    # is called prefork, and other programs may have variables of theirs.
    from . import files

    files.refuse_foreign(name, text, variable)
    meant = files.meaning(name)
    if meant and name != "env":
        raise ConfigError("there is no such setting", origin=variable, meant=PREFIX + meant.upper())


def _from_app(values: _Values, line: argv.Line) -> None:
    if len(line.apps) > 1:
        raise ConfigError(f"one application is served, not {len(line.apps)}: {' '.join(line.apps)}")
    for app in line.apps:
        values.take(ROWS["wsgi_app"], app, "command line", text=True)


def _from_weak_environment(values: _Values, environ: Mapping[str, str]) -> None:
    """What platforms set: it only stands in for a default, so it is read only where nothing else was said."""
    port = environ.get("PORT", "")
    if port and "bind" not in values.values:
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ConfigError(
                setting="PORT", value=port, origin="environment", allowed="a port from 1 to 65535"
            )
        values.take(ROWS["bind"], f"0.0.0.0:{port}", "PORT", text=True)
    for variable, name in (("WEB_CONCURRENCY", "workers"), ("FORWARDED_ALLOW_IPS", "forwarded_allow_ips")):
        if environ.get(variable) and name not in values.values:
            values.take(ROWS[name], environ[variable], variable, text=True)


def for_reload(old: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Return the new settings with what a running server cannot change left as it was, a line for each."""
    kept: dict[str, object] = {}
    lines = []
    for row in ROWS.values():
        before, after = getattr(old, row.name), getattr(new, row.name)
        if row.change == "boot" and before != after:
            kept[row.name] = before
            lines.append(
                f"{row.name} stays {row.show(before)}: {row.show(after)} counts after a restart or an upgrade"
            )
    return new.replace(**kept), tuple(lines)
