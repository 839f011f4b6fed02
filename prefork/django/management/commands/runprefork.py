"""`manage.py runprefork [ADDRPORT] [OPTIONS]`: the project as prefork serves it, for development too.

runserver imports the project twice: once to look for changed files, once to serve. Here Django checks the
project in this process, which then becomes prefork (exec): a master that has imported nothing, a watcher that
never does, and workers that import the project once, each time it changes.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from prefork.cli import directory
from prefork.config import argv as command_line
from prefork.config.argv import COMMANDS, FLAGS
from prefork.config.load import DEFAULT, Loaded, load
from prefork.config.parse import Toggle
from prefork.django import program
from prefork.errors import ConfigError, traceback_of

# Django's own, although prefork has an option of that name: these are done before a command is found.
DJANGOS = frozenset({"-h", "--help", "-v", "--version", "--pythonpath"})

ADDRPORT = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):)?(?P<port>[0-9]{1,5})")


# What a developer has from runserver: a line for each request, so worded; a view that waits (a debugger, an
# event stream) keeps nobody else waiting, and may take as long as it likes.
THREADS = "4"
LINE = '%(t)s "%(r)s" %(s)s %(B)s'


class Command(BaseCommand):
    """The management command. `server_words`: what stands on the command line for prefork itself."""

    help = (
        "Serve the project with prefork. With DEBUG it is reloaded when a file changes, static files are "
        f"served, and unless told otherwise there are {THREADS} threads, no timeout and a line for each "
        "request. Takes every option of prefork besides those below: see prefork --help."
    )
    requires_migrations_checks = True
    server_words: Sequence[str] = ()
    reloads = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("addrport", nargs="?", help="port, or address:port (default: 127.0.0.1:8000)")
        parser.add_argument("-6", "--ipv6", action="store_true", help="listen on [::1] unless told otherwise")
        parser.add_argument("--nothreading", action="store_true", help="one request at a time")
        parser.add_argument("--noreload", action="store_true", help="do not reload when files change")
        parser.add_argument("--nostatic", action="store_true", help="do not serve static files")
        parser.add_argument("--insecure", action="store_true", help="serve static files without DEBUG too")

    def run_from_argv(self, argv: list[str]) -> None:
        """Called by manage.py: part the words before Django's parser refuses what it does not know."""
        mine, self.server_words = split(argv[2:])
        super().run_from_argv([*argv[:2], *mine])

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Called by Django: make the checks, then handle()."""
        self.reloads = settings.DEBUG and not options["noreload"]
        said: str | None = super().execute(*args, **options)
        return said

    def check(self, *args: Any, **options: Any) -> None:
        """As Django does. What is wrong is no reason to end where the next edit may put it right."""
        with self._forgiving():
            super().check(*args, **options)

    def check_migrations(self) -> None:
        """As Django does; the same holds."""
        with self._forgiving():
            super().check_migrations()

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except Exception as fault:
            if not self.reloads:
                raise
            if isinstance(fault, CommandError):
                self.stderr.write(str(fault), lambda text: text)
            else:
                self.stderr.write(traceback_of(fault, fault.__traceback__))

    def handle(self, *args: Any, **options: Any) -> None:
        """Become prefork. Checks of system and migrations have been made."""
        del args
        if not settings.DEBUG and not settings.ALLOWED_HOSTS:
            raise CommandError("You must set settings.ALLOWED_HOSTS if DEBUG is False.")
        loaded = configured(self.server_words)
        folders = importing(loaded)
        words = [
            *binding(options["addrport"], ipv6=options["ipv6"]),
            *(("--reload",) if self.reloads else ()),
            *developing(loaded, nothreading=options["nothreading"]),
            *pythonpath(folders),
            *self.server_words,
            application(options),
        ]
        environ = program.environment(
            paths=unsayable(folders), watched=watched(loaded) if self.reloads else {}
        )
        for connection in connections.all(initialized_only=True):
            connection.close()
        self.stdout.flush()
        self.stderr.flush()
        os.execve(sys.executable, program.command(words), environ)


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part a command line into (Django's words, prefork's words)."""
    mine: list[str] = []
    server: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            mine.append(word)
            continue
        flag, equals, _ = word.partition("=")
        if not word.startswith("--") and len(word) > 2:  # -w4
            flag, equals = word[:2], "="
        if flag in DJANGOS or not _known(flag):
            mine.append(word)
            continue
        server.append(word)
        if not equals and _valued(flag):
            server.extend(value for value in (next(rest, None),) if value is not None)
    return mine, server


def _known(flag: str) -> bool:
    return flag in FLAGS or flag in COMMANDS or flag.replace("--no-", "--", 1) in FLAGS


def _valued(flag: str) -> bool:
    if flag in COMMANDS:
        return COMMANDS[flag][1]
    return flag in FLAGS and not isinstance(FLAGS[flag].kind, Toggle)


def binding(addrport: str | None, *, ipv6: bool) -> Iterator[str]:
    """-b for what runserver takes: 8000, 0:8000, 10.0.0.1:8000, name:8000, [::1]:8000."""
    if not addrport:
        if ipv6:
            yield from ("-b", "[::1]:8000")
        return
    found = ADDRPORT.fullmatch(addrport)
    if found is None or not 0 <= int(found["port"]) < 65536:
        raise CommandError(f'"{addrport}" is not a valid port number or address:port pair.')
    host = found["host"] or ("[::1]" if ipv6 else "127.0.0.1")
    yield from ("-b", f"{'0.0.0.0' if host == '0' else host}:{found['port']}")


def configured(words: Sequence[str]) -> Loaded | None:
    """What files, environment and these words say already; None where that is wrong: prefork will say it."""
    try:
        return load(command_line.parse(words), os.environ, directory())
    except ConfigError:
        return None


def developing(loaded: Loaded | None, *, nothreading: bool) -> Iterator[str]:
    """Options that make prefork with DEBUG what runserver is, where nothing else is said."""
    if nothreading:
        yield from ("--threads", "1")
    if loaded is None or not settings.DEBUG:
        return
    unsaid = {name for name, origin in loaded.origins.items() if origin == DEFAULT}
    if not nothreading and {"threads", "worker_class"} <= unsaid:
        yield from ("--threads", THREADS)
    if "timeout" in unsaid:
        yield from ("--timeout", "0")
    if "accesslog" in unsaid:
        yield from ("--access-logfile", "-")
        if "access_log_format" in unsaid:
            yield from ("--access-logformat", LINE)


def watched(loaded: Loaded | None) -> dict[str, Sequence[str]]:
    """What --reload looks at: the project, wherever it was started from, and its templates, since Django
    keeps what it has compiled. No options: those replace what a configuration file says, and split commas."""
    roots = program.project_roots()
    if loaded is not None and loaded.origins["chdir"] != DEFAULT:
        roots.append(loaded.settings.chdir)
    return {"roots": roots, "patterns": template_folders()}


def template_folders() -> list[str]:
    """Where the project's own templates lie; not those of installed packages, which do not change."""
    from django.template import engines

    try:
        found = engines.all()
    except Exception:  # a broken tag library: the checks have told
        return []
    folders: list[str] = []
    for engine in found:
        for folder in (*engine.dirs, *getattr(engine, "template_dirs", ())):
            path = str(Path(folder).absolute())
            if "site-packages" not in path and path not in folders and Path(path).is_dir():
                folders.append(path)
    return folders


def importing(loaded: Loaded | None) -> list[str]:
    """Folders to import from, as manage.py does, before those of prefork's own settings; none where that is
    the working directory alone, as prefork has it anyway."""
    folders = program.folders()
    if set(folders) <= {directory()}:
        return []
    said = loaded.settings.pythonpath if loaded is not None else ()
    return [*folders, *said]


def pythonpath(folders: Sequence[str]) -> Iterator[str]:
    """--pythonpath, where it can say them."""
    if folders and not unsayable(folders):
        yield from ("--pythonpath", ",".join(folders))


def unsayable(folders: Sequence[str]) -> Sequence[str]:
    """All of them if one has a comma in its name: then they go into PYTHONPATH, in their order."""
    return folders if any("," in folder for folder in folders) else ()


def application(options: dict[str, Any]) -> str:
    """What prefork is to serve."""
    static = settings.DEBUG or options["insecure"]
    if static and not options["nostatic"] and "django.contrib.staticfiles" in settings.INSTALLED_APPS:
        return "prefork.django.handler:with_static_files()"
    if settings.WSGI_APPLICATION is None:
        return "django.core.wsgi:get_wsgi_application()"
    module, _, name = settings.WSGI_APPLICATION.rpartition(".")
    return f"{module}:{name}"
