"""`manage.py runprefork`: what runserver's users expect, without its second import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from launcher import DEADLINE
from places import Program, free_address
from rawclient import Connection, Response

django = pytest.importorskip("django")

from django.core.management.base import CommandError  # noqa: E402 - needs Django

import prefork  # noqa: E402
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
        self.cwd = folder
        folder.mkdir(exist_ok=True)
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

    def run(self, *words: str, python: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Program:
        """manage.py runprefork with these words. python: the command and options to run it with."""
        start = [*(python or [sys.executable]), str(self.folder / "manage.py")]
        return self.execute([*start, "runprefork", *words], env=env)

    def execute(self, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Program:
        """Any command."""
        self.program = Program(command, cwd=self.cwd, env=env)
        return self.program

    @property
    def binding(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def serve(self, *words: str, python: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Program:
        """manage.py runprefork, until it serves."""
        running = self.run(self.binding, *words, python=python, env=env)
        running.said.wait("ready after")
        return running

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file, and wait until it is served."""
        assert self.program is not None
        mark = self.program.said.mark
        self.change(name, old, new)
        self.program.said.wait(f"{Path(name).name} modified", since=mark)
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


def test_as_runserver(project: Project) -> None:
    """With DEBUG: threads, no timeout, and a line for each request in runserver's words."""
    running = project.serve()
    running.said.wait("1 threads worker", deadline=1)
    project.get("/page?x=1")
    running.said.wait(r'^\[\S+ \S+\] "GET /page\?x=1 HTTP/1.1" 200 3$')
    running.end()
    printed = project.run("--print-config")
    for line in (r"threads = 4 ", r"timeout = 0\.0 ", 'accesslog = "-" '):
        printed.said.wait(f"^{line}")


def test_nothreading(project: Project) -> None:
    project.serve("--nothreading").said.wait("1 sync worker", deadline=1)
    assert project.get("/").text == "first"


def test_what_is_configured_counts(project: Project) -> None:
    """What a file says of it stays, and its lists are added to."""
    (project.folder / "lib").mkdir()
    (project.folder / "lib" / "helper.py").write_text("word = 'helped'")
    (project.folder / "data.yaml").write_text("1")
    (project.folder / "prefork.toml").write_text(
        'threads = 2\naccesslog = "requests.log"\ntimeout = 9\n'
        'pythonpath = ["lib"]\nreload_extra_files = ["*.yaml"]\n'
    )
    project.cwd = project.folder.parent / "elsewhere"
    project.cwd.mkdir()
    project.change("project/urls.py", '"first"', '__import__("helper").word')
    words = ("-c", str(project.folder / "prefork.toml"), "--chdir", str(project.folder))
    running = project.serve(*words)
    running.said.wait("source files are watched")
    assert project.get("/").text == "helped"
    project.edit("data.yaml", "1", "2")
    project.edit("templates/page.html", "one", "two")
    project.edit("lib/helper.py", "helped", "changed")
    assert '"GET / HTTP/1.1" 200' in (project.folder / "requests.log").read_text()
    running.end()
    printed = project.run("--print-config", *words)
    for line in ("threads = 2 ", r"timeout = 9\.0 ", r'reload_extra_files = \["[^"]*/\*\.yaml"\] '):
        printed.said.wait(f"^{line}")


@pytest.mark.parametrize("name", ["dj [1]", "dj,x", "dj [1], ünï"])
@pytest.mark.parametrize("place", ["inside", "outside"])
def test_names_of_folders(tmp_path: Path, name: str, place: str) -> None:
    """Whatever a project's folder is called, and wherever it is started from, its files are watched."""
    project = Project(tmp_path / name)
    if place == "outside":
        project.cwd = tmp_path
    running = project.serve("--nostatic")
    try:
        running.said.wait("source files are watched")
        assert project.get("/").text == "first"
        (tmp_path / "other.py").write_text("nobody imports it")
        project.edit("project/urls.py", '"first"', '"second"')
        assert project.get("/").text == "second"
        project.edit("templates/page.html", "one", "two")
        assert project.get("/page").text == "two"
        assert not [line for line in running.said.lines if "other.py" in line]
    finally:
        running.end()


def test_from_the_root(project: Project) -> None:
    """What lies at / is not the project, and not searched."""
    project.change("project/urls.py", 'open("imports", "a")', 'open(os.devnull, "a")')
    project.cwd = Path("/")
    running = project.serve()
    running.said.wait("source files are watched")
    project.edit("project/urls.py", '"first"', '"second"')
    assert project.get("/").text == "second"


def test_as_a_module(project: Project) -> None:
    """`python -m django`: what lies beside Django's own files is not imported from there."""
    running = project.execute(
        [
            *(sys.executable, "-m", "django", "runprefork", "--settings=project.settings", "--pythonpath=."),
            project.binding,
        ]
    )
    running.said.wait("ready after")
    running.said.wait("source files are watched")
    assert project.get("/").text == "first"
    project.edit("project/urls.py", '"first"', '"second"')
    assert project.get("/").text == "second"


def test_options_of_python(project: Project) -> None:
    project.change("project/urls.py", "import os", "import os, sys, warnings")
    project.change(
        "project/urls.py", '"first"', "repr((sys.flags.dev_mode, sys.flags.optimize, sys.warnoptions[-1]))"
    )
    project.serve(python=[sys.executable, "-X", "dev", "-O", "-W", "error::UserWarning"])
    assert project.get("/").text == "(True, 1, 'error::UserWarning')"


def test_without_a_script(project: Project, tmp_path: Path) -> None:
    """prefork comes from PYTHONPATH: nothing of it lies beside the interpreter."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--symlinks", tmp_path / "bare"], check=True
    )
    path = os.pathsep.join([sysconfig.get_path("purelib"), str(Path(prefork.__file__).parent.parent)])
    project.serve("--noreload", python=[str(tmp_path / "bare/bin/python")], env={"PYTHONPATH": path})
    assert project.get("/").text == "first"


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


BROKEN: list[tuple[str, str, str, str]] = [
    ("settings", "ROOT_URLCONF = 'project.urls'", "ROOT_URLCONF = 'nowhere'", "No module named 'nowhere'"),
    ("urls", "import os", "import os(", "SyntaxError"),
    ("urls", 'path("page"', 'path("/page"', "urls.W002"),
    ("urls", '"page.html"))', '"page.html")), path("x", 3)', "view must be a callable"),
]


@pytest.mark.parametrize(("name", "old", "new", "said"), BROKEN)
def test_broken_at_the_start(project: Project, name: str, old: str, new: str, said: str) -> None:
    """It is said, and the edit that mends it is waited for."""
    project.change(f"project/{name}.py", old, new)
    running = project.serve()
    running.said.wait(re.escape(said), deadline=1)
    running.said.wait("source files are watched")
    project.edit(f"project/{name}.py", new, old)
    assert project.get("/").text == "first"


def test_checks_come_first(project: Project) -> None:
    """What Django's system check refuses is not served, where no edit is waited for."""
    project.change("project/settings.py", "ROOT_URLCONF = 'project.urls'", "ROOT_URLCONF = 'project.nowhere'")
    running = project.run("--noreload")
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
    ("--nothreading --threads 2", "--nothreading", "--threads 2"),
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
