"""The small files: what needs no proxy, cluster or machine to be judged."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from backends import Backend
from places import DEPLOY, Program, adapted, free_address
from rawclient import DEADLINE, Connection

from prefork.config import argv
from prefork.config.load import load
from prefork.config.settings import Settings


def procfile(environ: dict[str, str]) -> Settings:
    """What the Procfile's command makes of the platform's variables."""
    name, _, command = (DEPLOY / "paas" / "Procfile").read_text().partition(": ")
    program, *words = shlex.split(command)
    assert (name, program) == ("web", "prefork")
    return load(argv.parse(words), environ, "/").settings


def test_procfile() -> None:
    settings = procfile({"PORT": "5000", "WEB_CONCURRENCY": "3"})
    assert settings.bind == ("0.0.0.0:5000",)
    assert settings.workers == 3
    assert settings.forwarded_allow_ips == ("*",)
    assert settings.accesslog == "-"


def test_procfile_without_variables() -> None:
    assert procfile({}).bind == ("127.0.0.1:8000",)


def test_one_nginx_file_is_the_other() -> None:
    """They differ in the address, and in the line that says so."""
    tcp = (DEPLOY / "nginx" / "prefork.conf").read_text()
    unix = (DEPLOY / "nginx" / "prefork-unix.conf").read_text()
    changes = {"server 127.0.0.1:8000 ": "server unix:/run/prefork.sock ", "over TCP": "over a Unix socket"}
    assert adapted(tcp, changes) == unix


@pytest.mark.parametrize(("source", "scheme"), [("127.0.0.1", "https"), ("127.0.0.9", "http")])
def test_who_is_believed(backend: Callable[..., Backend], source: str, scheme: str) -> None:
    """X-Forwarded-Proto counts from the trusted address alone; REMOTE_ADDR is the peer in any case."""
    address = backend("--forwarded-allow-ips", "127.0.0.1").address
    with Connection(address, source=source) as client:
        fields = [("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "203.0.113.7")]
        environ = json.loads(client.request("GET", "/environ", *fields).body)
    assert environ["wsgi.url_scheme"] == scheme
    assert environ["REMOTE_ADDR"] == source


def test_caddy(
    backend: Callable[..., Backend], outside_program: Callable[[str], str], tmp_path: Path
) -> None:
    """The file is valid and forwards what it should; over plain HTTP: certificates need a public name."""
    caddy = outside_program("caddy")
    text = (DEPLOY / "caddy" / "Caddyfile").read_text()
    validated = subprocess.run(
        [caddy, "validate", "--adapter", "caddyfile", "--config", str(DEPLOY / "caddy" / "Caddyfile")],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin"},
    )
    assert validated.returncode == 0, validated.stderr
    upstream = backend().address
    host, port = free_address()
    (tmp_path / "Caddyfile").write_text(
        "{\n\tadmin off\n}\n"
        + adapted(
            text,
            {
                "example.org {": f"http://{host}:{port} {{",
                "reverse_proxy 127.0.0.1:8000": f"reverse_proxy {upstream[0]}:{upstream[1]}",
                "/srv/project/static": str(tmp_path),
            },
        )
    )
    running = Program(
        [caddy, "run", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")],
        env={"HOME": str(tmp_path)},
    )
    try:
        running.wait_listening((host, port))
        with Connection((host, port), source="127.0.0.9", deadline=DEADLINE) as client:
            forged = [
                ("X-Forwarded-For", "203.0.113.7"),
                ("X-Forwarded-Proto", "https"),
                ("SCRIPT_NAME", "/environ"),
            ]
            answer = client.request("GET", "/environ", ("Host", f"{host}:{port}"), *forged)
        environ = json.loads(answer.body)
        assert environ["HTTP_X_FORWARDED_FOR"] == "127.0.0.9"
        assert environ["wsgi.url_scheme"] == "http"
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/environ")
    finally:
        running.end()
