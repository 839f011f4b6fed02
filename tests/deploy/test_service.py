"""`prefork install-service` and the units of deploy/systemd, judged by systemd's own programs."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import systemd
from places import DEPLOY, adapted

from prefork import service
from prefork.errors import ConfigError, PreforkError

APP = "project.wsgi:application"
UNITS = DEPLOY / "systemd"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder called "my shop", which is the current one, and a program to start."""
    folder = tmp_path / "my shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [str(Path(sys.executable).parent / "prefork")])
    return folder


def install(to: Path, *words: str) -> tuple[Path, Path]:
    """Run it; the two files."""
    to.mkdir(exist_ok=True)
    assert service.run([APP, "--to", str(to), *words]) == 0
    (unit,) = to.glob("*.service")
    (socket,) = to.glob("*.socket")
    return unit, socket


def read(path: Path) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(path)
    return parsed


def test_files_are_what_the_command_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """deploy/systemd holds what install-service writes for /srv/project."""
    monkeypatch.setattr(sys, "argv", ["/srv/project/.venv/bin/prefork"])
    monkeypatch.setattr(Path, "is_dir", lambda self: True)
    monkeypatch.setattr(service, "interpreters", lambda: ())
    order = service.Order(
        APP, {"name": "prefork", "systemd": "253", "directory": "/srv/project"}, ["-w", "auto"]
    )
    assert (UNITS / "prefork.service").read_text() == service.service_unit(order)
    assert (UNITS / "prefork.socket").read_text() == service.socket_unit(order)


def test_drop_in_is_what_old_ones_get() -> None:
    drop_in = read(UNITS / "notify.conf")["Service"]
    lines = service.NOTIFY_LINES.format(program="/srv/project/.venv/bin/prefork").splitlines()
    assert [f"{key}={text}" for key, text in drop_in.items()] == [
        line for line in lines if not line.startswith("#")
    ]


def test_what_is_written(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit, socket = install(tmp_path / "units", "--systemd", "255", "--", "-w", "4")
    assert (unit.name, socket.name) == ("my-shop.service", "my-shop.socket")
    written = read(unit)
    assert written["Service"]["Type"] == "notify-reload"
    assert written["Service"]["WorkingDirectory"] == str(project)
    assert written["Service"]["ExecStart"] == f"{sys.argv[0]} {APP} -w 4"
    assert written["Service"]["DynamicUser"] == "yes"
    assert written["Unit"]["Requires"] == "my-shop.socket"
    assert read(socket)["Socket"]["ListenStream"] == "127.0.0.1:8000"
    said = capsys.readouterr().out
    for text in (f"wrote      {unit}", f"wrote      {socket}", "systemctl enable --now my-shop.socket"):
        assert text in said


def test_old_systemd(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit, _ = install(tmp_path / "units", "--systemd", "252")
    assert read(unit)["Service"]["Type"] == "notify"
    assert read(unit)["Service"]["ExecReload"] == f"{sys.argv[0]} reload --wait $MAINPID"
    assert "systemd 252 has no Type=notify-reload" in capsys.readouterr().out


def test_options(project: Path, tmp_path: Path) -> None:
    words = ("--name", "shop", "--bind=/run/shop.sock", "--user", "shop")
    unit, socket = install(tmp_path / "units", *words)
    assert unit.name == "shop.service"
    assert read(unit)["Service"]["User"] == "shop"
    assert "DynamicUser" not in read(unit)["Service"]
    assert read(socket)["Socket"]["ListenStream"] == "/run/shop.sock"
    assert read(socket)["Socket"]["SocketMode"] == "0660"


def test_again(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same again changes nothing; something else is refused, and replaces with --force."""
    unit, _ = install(tmp_path / "units")
    before = unit.stat()
    capsys.readouterr()
    install(tmp_path / "units")
    assert unit.stat() == before
    assert f"unchanged  {unit}" in capsys.readouterr().out
    with pytest.raises(PreforkError, match="say something else"):
        install(tmp_path / "units", "--bind", "8080")
    assert unit.stat() == before
    _, socket = install(tmp_path / "units", "--bind", "8080", "--force")
    assert read(socket)["Socket"]["ListenStream"] == "8080"
    assert [path.suffix for path in unit.parent.iterdir() if path.name.startswith(".")] == []


def test_printed(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert service.run([APP, "--to", str(tmp_path / "nowhere"), "--print"]) == 0
    assert "[Service]" in capsys.readouterr().out
    assert not (tmp_path / "nowhere").exists()


FAULTS: list[tuple[list[str], str]] = [
    ([], "takes one application"),
    (["a:b", "c:d"], "takes one application"),
    ([APP, "--workers", "4"], "the server's stand behind --"),
    ([APP, "--name", "a b"], "--name"),
    ([APP, "--name"], "needs a value"),
    ([APP, "--systemd", "new"], "a number such as 255"),
    ([APP, "--directory", "nowhere"], "a folder"),
    ([APP, "--to", "nowhere/at/all"], "cannot be written"),
]


@pytest.mark.parametrize(("words", "said"), FAULTS)
def test_faults(project: Path, words: list[str], said: str) -> None:
    with pytest.raises(PreforkError, match=re.escape(said)) as fault:
        service.run(words)
    assert fault.value.exit_code == (2 if isinstance(fault.value, ConfigError) else 1)


WORDS = [
    ("plain", "plain"),
    ("100%", "100%%"),
    ("$HOME", "$$HOME"),
    ("two words", '"two words"'),
    ('a "quote"', '"a \\"quote\\""'),
    ("back\\slash", '"back\\\\slash"'),
    ("it's", '"it\'s"'),
    ("", '""'),
]


@pytest.mark.parametrize(("word", "written"), WORDS)
def test_quoting(word: str, written: str) -> None:
    assert service.quoted(word) == written


def test_an_interpreter_in_a_home_is_let_through(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A virtual environment in /srv whose Python is pyenv's or uv's: ProtectHome=yes would hide it."""
    monkeypatch.setattr(service, "interpreters", lambda: (Path("/home/ann/.local/share/uv/python"),))
    unit, _ = install(tmp_path / "units")
    assert read(unit)["Service"]["ProtectHome"] == "read-only"
    assert "/home/ann/.local/share/uv/python" in capsys.readouterr().out


# systemd's own judgement


def verify(*paths: Path) -> str:
    """What systemd-analyze verify has to say."""
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, paths)], capture_output=True, text=True, check=False
    )
    return done.stderr + done.stdout


def test_written_units_verify(project: Path, tmp_path: Path, outside_program: Callable[[str], str]) -> None:
    """For the systemd of this machine, with every kind of word in the command."""
    outside_program("systemd-analyze")
    words = ("--", "-w", "4", "-e", 'GREETING=a $5 "word" 100% it\'s', "--access-logformat", "%(h)s")
    assert verify(*install(tmp_path / "units", *words)) == ""
    assert verify(*install(tmp_path / "more", "--bind", str(tmp_path / "x.sock"), "--user", "root")) == ""


def test_files_verify(tmp_path: Path, outside_program: Callable[[str], str]) -> None:
    """The files of deploy/: with the drop-in where this systemd is old, without one complaint."""
    outside_program("systemd-analyze")
    unit = adapted(
        (UNITS / "prefork.service").read_text(),
        {"/srv/project/.venv/bin/prefork": sys.executable, "/srv/project": str(tmp_path)},
    )
    (tmp_path / "prefork.service").write_text(unit)
    shutil.copy(UNITS / "prefork.socket", tmp_path)
    said = verify(tmp_path / "prefork.service", tmp_path / "prefork.socket")
    if systemd.version() >= service.NOTIFY_RELOAD:
        assert said == ""
    else:
        complaints = {line.partition(": ")[2] for line in said.splitlines()}
        assert complaints == {"Failed to parse service type, ignoring: notify-reload"}


def test_exposure(project: Path, tmp_path: Path, outside_program: Callable[[str], str]) -> None:
    """What is left open is what a web server needs: systemd's exposure level stays under 2 of 10."""
    outside_program("systemd-analyze")
    unit, _ = install(tmp_path / "units")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
