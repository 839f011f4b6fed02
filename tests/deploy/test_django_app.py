"""`manage.py runprefork`: what runserver's users expect, without its second import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from launcher import DEADLINE
from places import Program, free_address
from rawclient import Connection, Response

django = pytest.importorskip("django")

from django.core.management.base import CommandError  # noqa: E402 - needs Django

from prefork.django.management.commands import runprefork  # noqa: E402

URLS = """\
import os
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path

with open("imports", "a") as imports:
    print(os.getpid(), file=imports)

urlpatterns = [
    path("", lambda request: HttpResponse("first")),
    path("page", lambda request: render(request, "page.html")),
]
"""


class Project:
    """A new Django project with the app and a template, and its server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(
            [sys.executable, "-m", "django", "startproject", "project", "."], cwd=folder, check=True
        )
        self.change("project/settings.py", "INSTALLED_APPS = [", 'INSTALLED_APPS = ["prefork.django",')
        self.change("project/settings.py", "'DIRS': []", "'DIRS': [BASE_DIR / 'templates']")
        (folder / "project" / "urls.py").write_text(URLS)
        (folder / "templates").mkdir()
        (folder / "templates" / "page.html").write_text("one")
        (folder / "static").mkdir()
        self.program: Program | None = None
        self.address = free_address()

    def change(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def run(self, *words: str) -> Program:
        """manage.py runprefork with these words."""
        manage = str(self.folder / "manage.py")
        self.program = Program([sys.executable, manage, "runprefork", *words], cwd=self.folder)
        return self.program

    def serve(self, *words: str) -> Program:
        """The same, until it serves."""
        running = self.run(f"{self.address[0]}:{self.address[1]}", *words)
        running.said.wait("ready after")
        return running

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file, and wait until it is served."""
        assert self.program is not None
        mark = self.program.said.mark
        self.change(name, old, new)
        self.program.said.wait("ready: generation", since=mark)

    def get(self, target: str) -> Response:
        with Connection(self.address, deadline=DEADLINE) as client:
            return client.request("GET", target, ("Connection", "close"), ("Host", "localhost"))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    found = Project(tmp_path)
    yield found
    if found.program is not None:
        found.program.end()


def test_debug(project: Project) -> None:
    """Reloaded when Python or a template changes, static files served, one import a process."""
    running = project.serve()
    running.said.wait("source files are watched")
    assert project.get("/").text == "first"
    assert project.get("/static/admin/css/base.css").status == 200
    # Django's checks, in the process that then became the master; and the worker. runserver has a third.
    imports = (project.folder / "imports").read_text().split()
    assert len(imports) == 2
    assert imports[0] == str(running.process.pid)
    project.edit("project/urls.py", '"first"', '"second"')
    assert project.get("/").text == "second"
    assert project.get("/page").text == "one"
    project.edit("templates/page.html", "one", "two")
    assert project.get("/page").text == "two"
    assert len((project.folder / "imports").read_text().split()) == 4


def test_options(project: Project) -> None:
    """Every option of prefork is taken; --noreload and --nostatic mean what they mean for runserver."""
    running = project.serve("--noreload", "--nostatic", "-w2", "--threads", "3", "--access-logfile=-")
    running.said.wait("2 threads workers", deadline=1)
    assert project.get("/").text == "first"
    assert project.get("/static/admin/css/base.css").status == 404
    running.said.wait('"GET / HTTP/1.1" 200')
    assert not [line for line in running.said.lines if "watched" in line]


def test_live(project: Project) -> None:
    """Without DEBUG: the project's own application, no reload, no static files."""
    project.change("project/settings.py", "DEBUG = True", "DEBUG = False")
    project.change("project/settings.py", "ALLOWED_HOSTS = []", "ALLOWED_HOSTS = ['localhost']")
    running = project.serve()
    assert project.get("/").text == "first"
    assert project.get("/static/admin/css/base.css").status == 404
    assert not [line for line in running.said.lines if "watched" in line]


def test_live_needs_hosts(project: Project) -> None:
    project.change("project/settings.py", "DEBUG = True", "DEBUG = False")
    project.run().said.wait("You must set settings.ALLOWED_HOSTS if DEBUG is False")


def test_checks_come_first(project: Project) -> None:
    """What Django's system check refuses is not served."""
    project.change("project/settings.py", "ROOT_URLCONF = 'project.urls'", "ROOT_URLCONF = 'project.nowhere'")
    running = project.run()
    running.said.wait("No module named 'project.nowhere'")
    assert running.process.wait(DEADLINE) == 1


def test_faults_of_prefork_are_its_own(project: Project) -> None:
    running = project.run("--workers", "many")
    running.said.wait("prefork: error: workers = 'many'")
    assert running.process.wait(DEADLINE) == 2


SPLITS: list[tuple[str, str, str]] = [
    ("8000", "8000", ""),
    ("8000 -w 4", "8000", "-w 4"),
    ("-w 4 8000", "8000", "-w 4"),
    ("-w4 8000", "8000", "-w4"),
    ("--workers=4 --threads 8 8000", "8000", "--workers=4 --threads 8"),
    ("--preload 8000", "8000", "--preload"),
    ("--no-sendfile 8000", "8000", "--no-sendfile"),
    ("--noreload --nostatic -6", "--noreload --nostatic -6", ""),
    ("-v 2 --traceback --settings x.y", "-v 2 --traceback --settings x.y", ""),
    ("--pythonpath /x --chdir /y", "--pythonpath /x", "--chdir /y"),
    ("--print-config -c prefork.toml", "", "--print-config -c prefork.toml"),
    ("--help", "--help", ""),
    ("--reload-extra-file a --reload-extra-file b", "", "--reload-extra-file a --reload-extra-file b"),
    ("-w", "", "-w"),
]


@pytest.mark.parametrize(("line", "mine", "servers"), SPLITS)
def test_split(line: str, mine: str, servers: str) -> None:
    assert runprefork.split(line.split()) == (mine.split(), servers.split())


BINDINGS: list[tuple[str | None, bool, list[str]]] = [
    (None, False, []),
    (None, True, ["-b", "[::1]:8000"]),
    ("8001", False, ["-b", "127.0.0.1:8001"]),
    ("8001", True, ["-b", "[::1]:8001"]),
    ("0:8001", False, ["-b", "0.0.0.0:8001"]),
    ("10.0.0.1:80", False, ["-b", "10.0.0.1:80"]),
    ("[2001:db8::1]:80", False, ["-b", "[2001:db8::1]:80"]),
    ("shop.example:80", False, ["-b", "shop.example:80"]),
]


@pytest.mark.parametrize(("text", "ipv6", "words"), BINDINGS)
def test_binding(text: str | None, ipv6: bool, words: list[str]) -> None:
    assert list(runprefork.binding(text, ipv6=ipv6)) == words


@pytest.mark.parametrize("text", ["x", "10.0.0.1", "70000", "a b:80", ":80"])
def test_no_binding(text: str) -> None:
    with pytest.raises(CommandError, match="not a valid port number"):
        list(runprefork.binding(text, ipv6=False))


def test_help_names_ours(project: Project) -> None:
    manage = str(project.folder / "manage.py")
    done = subprocess.run(
        [sys.executable, manage, "runprefork", "--help"], capture_output=True, text=True, check=True
    )
    assert "prefork --help" in done.stdout
    assert "--nostatic" in done.stdout
