"""`manage.py runprefork [ADDRPORT] [OPTIONS]`: the project as prefork serves it, for development too.

runserver imports the project twice: once to look for changed files, once to serve. Here Django checks the
project in this process, which then becomes prefork (exec): a master that has imported nothing, a watcher that
never does, and workers that import the project once, each time it changes.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from prefork.config.argv import COMMANDS, FLAGS
from prefork.config.parse import Toggle

# Django's own, although prefork has an option of that name: these are done before a command is found.
DJANGOS = frozenset({"-h", "--help", "-v", "--version", "--pythonpath"})

ADDRPORT = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):)?(?P<port>[0-9]{1,5})")


class Command(BaseCommand):
    """The management command. `server_words`: what stands on the command line for prefork itself."""

    help = (
        "Serve the project with prefork. With DEBUG it is reloaded when a file changes, and static files are "
        "served. Takes every option of prefork besides those below: see prefork --help."
    )
    requires_migrations_checks = True
    server_words: Sequence[str] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("addrport", nargs="?", help="port, or address:port (default: 127.0.0.1:8000)")
        parser.add_argument("-6", "--ipv6", action="store_true", help="listen on [::1] unless told otherwise")
        parser.add_argument("--noreload", action="store_true", help="do not reload when files change")
        parser.add_argument("--nostatic", action="store_true", help="do not serve static files")
        parser.add_argument("--insecure", action="store_true", help="serve static files without DEBUG too")

    def run_from_argv(self, argv: list[str]) -> None:
        """Called by manage.py: part the words before Django's parser refuses what it does not know."""
        mine, self.server_words = split(argv[2:])
        super().run_from_argv([*argv[:2], *mine])

    def handle(self, *args: Any, **options: Any) -> None:
        """Become prefork. Checks of system and migrations have been made."""
        del args
        if not settings.DEBUG and not settings.ALLOWED_HOSTS:
            raise CommandError("You must set settings.ALLOWED_HOSTS if DEBUG is False.")
        words = [
            *binding(options["addrport"], ipv6=options["ipv6"]),
            *reloading(options),
            *importing(options),
            *self.server_words,
            application(options),
        ]
        for connection in connections.all(initialized_only=True):
            connection.close()
        self.stdout.flush()
        self.stderr.flush()
        program = str(Path(sysconfig.get_path("scripts")) / "prefork")
        os.execv(sys.executable, [sys.executable, program, *words])


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


def reloading(options: dict[str, Any]) -> Iterator[str]:
    """--reload in DEBUG. Templates are watched too: Django keeps what it has compiled."""
    if not settings.DEBUG or options["noreload"]:
        return
    yield "--reload"
    for folder in template_folders():
        yield from ("--reload-extra-file", f"{folder}/**/*")


def template_folders() -> list[str]:
    """Where the project's own templates lie; not those of installed packages, which do not change."""
    from django.template import engines

    folders: list[str] = []
    for engine in engines.all():
        for folder in (*engine.dirs, *getattr(engine, "template_dirs", ())):
            path = str(Path(folder).absolute())
            if "site-packages" not in path and path not in folders and Path(path).is_dir():
                folders.append(path)
    return folders


def importing(options: dict[str, Any]) -> Iterator[str]:
    """Import from where manage.py does: its own folder, and what --pythonpath added before that."""
    folders = [options.get("pythonpath"), str(Path(sys.argv[0]).absolute().parent)]
    found = dict.fromkeys(folder for folder in folders if folder and folder != str(Path.cwd()))
    if found:
        yield from ("--pythonpath", ",".join(found))


def application(options: dict[str, Any]) -> str:
    """What prefork is to serve."""
    static = settings.DEBUG or options["insecure"]
    if static and not options["nostatic"] and "django.contrib.staticfiles" in settings.INSTALLED_APPS:
        return "prefork.django.handler:with_static_files()"
    if settings.WSGI_APPLICATION is None:
        return "django.core.wsgi:get_wsgi_application()"
    module, _, name = settings.WSGI_APPLICATION.rpartition(".")
    return f"{module}:{name}"
