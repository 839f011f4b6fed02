"""argv -> Settings -> command. The only place that joins master and worker.

`prefork APP` serves. The first word is a command only when it stands in COMMANDS, exactly: an application of
that name is served as `prefork -- status` or `prefork status:application`.
"""

# ruff: noqa: PTH109, PTH117, PTH121
# (os.path, because importing pathlib would cost every start 4 ms)
from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from .errors import AppLoadError, BootError, ConfigError, PreforkError

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
    from .config.load import Loaded
    from .config.settings import Settings


class Command:
    """summary: one line for --help.  module: imported when it is asked for; its `run(words)` returns the exit
    code, or the settings of an application to serve."""

    __slots__ = ("module", "summary")

    def __init__(self, summary: str, module: str) -> None:
        self.summary = summary
        self.module = module


COMMANDS: Mapping[str, Command] = {
    "reload": Command(
        "new workers with the code and settings of now; the old ones drain", "prefork.operate.reload"
    ),
    "upgrade": Command(
        "a new master with the prefork that is installed now takes over", "prefork.operate.upgrade"
    ),
    "status": Command("what the workers of a running server do", "prefork.operate.status"),
    "top": Command("the same, as a view that follows it", "prefork.operate.top"),
    "web": Command("the same, for a browser and for Prometheus", "prefork.operate.web"),
    "migrate": Command("print the prefork.toml that says what a gunicorn.conf.py says", "prefork.migrate"),
    "install-service": Command("write systemd units for this project", "prefork.service"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code: 0, 1 (running failed), 2 (settings), 3 (no worker could boot)
    or 4 (the application could not be imported)."""
    words = sys.argv[1:] if argv is None else list(argv)
    _open_streams()
    try:
        return _run(words)
    except PreforkError as fault:
        return _tell(fault)
    except KeyboardInterrupt:  # before the server has taken over its signals
        return 130
    except BrokenPipeError:  # prefork --help | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _open_streams() -> None:
    """Descriptors 0 to 2 lead somewhere, if only to /dev/null: whatever is opened next would get such a
    number, and be taken for a standard stream."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115


def _tell(fault: PreforkError) -> int:
    from .net.streams import complain

    complain(str(fault), fault.detail if isinstance(fault, AppLoadError | BootError) else "")
    if "LISTEN_FDNAMES" in os.environ:
        from .master.upgrade import say_failure

        say_failure(fault)  # to the master that has started this one, if one has
    return fault.exit_code


def _run(words: list[str]) -> int:
    if words and words[0] in COMMANDS:
        return _command(words[0], words[1:])
    if words in (["--version"], ["-v"]):
        return _version()
    from .config import argv

    line = argv.parse(words)
    if "help" in line.commands:
        return _help()
    if "version" in line.commands:
        return _version()
    from .config.load import load

    loaded = load(line, os.environ, directory())
    _check_addresses(loaded)
    if "print" in line.commands:
        _print(loaded)
    if "check" in line.commands:
        return _check(loaded)
    return 0 if "print" in line.commands else _serve(loaded)


def _command(name: str, words: list[str]) -> int:
    import importlib

    run: Callable[[list[str]], int | dict[str, object]] = importlib.import_module(COMMANDS[name].module).run
    outcome = run(words)
    return outcome if isinstance(outcome, int) else _serve(_made(outcome, f"prefork {name}"))


def _made(values: dict[str, object], origin: str) -> Loaded:
    """Settings that a command has made, and that nothing else changes."""
    from .config.load import Loaded
    from .config.sanity import resolve

    origins = dict.fromkeys(values, origin)
    settings, notes = resolve(values, origins, directory(), {})
    loaded = Loaded(
        settings, origins, notes=tuple(notes), file="", commands=frozenset(), again=lambda: loaded
    )
    return loaded


def _version() -> int:
    from . import __version__

    try:
        print(f"prefork {__version__}", flush=True)
    except OSError:
        from .net import streams

        streams.say("")  # fails as well, and says why
    return 0


def _help() -> int:
    import shutil

    from .config.render import help_text
    from .net import streams

    width = min(110, max(80, shutil.get_terminal_size().columns))
    commands = {name: command.summary for name, command in COMMANDS.items()}
    streams.say(help_text(commands, width), end="")
    return 0


def directory() -> str:
    """Where prefork was started, by the name that the shell has for it.

    $PWD keeps the name of a symlink (`current`): after a deployment has swapped it, a reload goes to the new
    place, where os.getcwd() would go on in the old.
    """
    try:
        real = os.getcwd()
    except OSError as fault:
        raise ConfigError(f"the working directory cannot be used: {fault.strerror}") from None
    named = os.environ.get("PWD", "")
    try:
        if os.path.isabs(named) and os.path.samefile(named, real):
            return named
    except OSError:
        pass
    return real


def _check_addresses(loaded: Loaded) -> None:
    from .net.address import parse

    for text in loaded.settings.bind:
        try:
            parse(text)
        except ValueError as fault:
            raise ConfigError(str(fault), setting="bind", origin=loaded.origins["bind"]) from None


def _print(loaded: Loaded) -> None:
    from .config.render import config_text
    from .net import streams

    streams.say(config_text(loaded), end="")


def _serve(loaded: Loaded) -> int:
    settings = loaded.settings
    application(settings)
    if settings.user is not None or settings.group is not None:
        _load_reporters()
    from .master.program import Program

    program = Program(directory())
    # For unix sockets with relative paths. All other paths are absolute by now.
    os.chdir(settings.chdir)
    from .master.master import Master
    from .net import signals, streams
    from .telemetry.log import setup
    from .worker.base import preload, run_worker

    def read_settings() -> Settings:
        again = loaded.again()
        _check_addresses(again)
        application(again.settings)
        return again.settings

    try:
        return Master(
            settings,
            run_worker=run_worker,
            preload=preload,
            program=program,
            log=setup(settings),
            read_settings=read_settings,
            notes=loaded.notes,
        ).run()
    finally:
        # All is over, with an exit code: one TERM more, while Python tears down, would be another.
        signals.block()
        streams.forsake()


def _load_reporters() -> None:
    """What a failure is told with. Workers import it when there is one; but then they have become the user of
    -u, whom this Python's folder may not let in."""
    import json  # noqa: F401

    from .wsgi import nearmiss  # noqa: F401


def _check(loaded: Loaded) -> int:
    """Import the application as a worker would, in a child process: what importing it starts or opens must
    not stay in a process that only looks."""
    import mmap
    import signal

    from .net import streams

    app = application(loaded.settings)
    for note in loaded.notes:
        print(f"prefork: {note}", file=sys.stderr)
    streams.flush()
    # Ignored by whoever started us, it would take the child away before it is waited for (waitpid(2)).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Shared with the child: its exit code can be the import's as well as ours.
    came_back = mmap.mmap(-1, 1)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _import(loaded.settings)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            came_back[0] = True
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        raise AppLoadError(f"{app}: importing it ended the process by signal {-code}")
    if not came_back[0]:
        raise AppLoadError(f"{app}: importing it ended the process with exit code {code}")
    if code == 0:
        streams.say(f"prefork: the configuration is good, and {app} can be imported")
    return code


def _import(settings: Settings) -> int:
    """In the child: 0, or 4 with the reason on stderr."""
    from .net import streams
    from .worker.check import import_app

    code = 0
    try:
        import_app(settings)
    except PreforkError as fault:
        code = _tell(fault)
    except SystemExit as end:
        streams.complain(f"{settings.wsgi_app}: importing it ended the process: {end}")
        code = 4
    streams.flush()
    return code


def application(settings: Settings) -> str:
    """The application's name. Raises ConfigError with a guess where none is given."""
    if settings.wsgi_app:
        return settings.wsgi_app
    found = _guess(settings.chdir)
    example = f"prefork {found or 'project.wsgi:application'}"
    raise ConfigError(f"no application is named; say {example}, or set wsgi_app in a configuration file")


def _guess(folder: str) -> str:
    from pathlib import Path

    packages = sorted(path.parent.name for path in Path(folder).glob("*/wsgi.py"))
    if packages:
        return f"{packages[0]}.wsgi:application"
    for name in ("wsgi", "app", "main"):
        if Path(folder, f"{name}.py").is_file():
            return f"{name}:{'application' if name == 'wsgi' else 'app'}"
    return ""
