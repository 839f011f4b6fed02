"""deploy/docker without a container engine: the rules that every Dockerfile is held to, and each of its
commands run in a machine with a root of its own.

What is not shown here is that the base images exist and that the layers are put together as Docker does.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import checkout
import machine
import pytest
import yaml
from places import DEPLOY, adapted

FOLDER = DEPLOY / "docker"
SITE = DEPLOY / "nginx" / "prefork.conf"


class Stage:
    """One FROM with the instructions behind it: [(word, rest)]."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.lines: list[tuple[str, str]] = []

    def all(self, word: str) -> list[str]:
        return [rest for each, rest in self.lines if each == word]

    def last(self, word: str) -> str:
        return self.all(word)[-1]


def stages() -> list[Stage]:
    """The Dockerfile, continuation lines joined, comments left out (docs.docker.com/reference/dockerfile)."""
    text = re.sub(r"\\\n", " ", (FOLDER / "Dockerfile").read_text())
    found: list[Stage] = []
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        if word == "FROM":
            found.append(Stage(rest))
        else:
            found[-1].lines.append((word, " ".join(rest.split())))
    return found


BUILD, RUN = stages()


def test_syntax_line_comes_first() -> None:
    """RUN --mount needs BuildKit's frontend."""
    assert (FOLDER / "Dockerfile").read_text().startswith("# syntax=docker/dockerfile:1\n")


@pytest.mark.parametrize("stage", (BUILD, RUN), ids=("build", "run"))
def test_rules(stage: Stage) -> None:
    """hadolint's, as far as they apply: DL3006 to DL3009, DL3015, DL3020, DL3025, DL3042, DL4006,
    DL3000, DL3004."""
    image = stage.base.split()[0]
    assert re.fullmatch(r"python:3\.\d+-slim", image), "DL3006, DL3007: a tag, and not latest"
    assert not stage.all("ADD"), "DL3020: COPY"
    for folder in stage.all("WORKDIR"):
        assert folder.startswith("/"), "DL3000"
    for command in stage.all("RUN"):
        assert "sudo" not in command, "DL3004"
        assert "curl" not in command, "no script from the network"
        if "apt-get install" in command:
            assert "--no-install-recommends" in command, "DL3015"
            assert "rm -rf /var/lib/apt/lists/*" in command, "DL3009"
            assert "apt-get update" in command, "DL3059 and stale lists"
            assert " -y" in command, "DL3014"
        if "pip" in command:
            assert "--no-cache-dir" in command, "DL3042"
        assert "|" not in command.replace("||", ""), "DL4006: no pipe without pipefail"


def test_the_run_stage() -> None:
    assert not any("gcc" in command or "apt-get" in command for command in RUN.all("RUN")), "no compiler"
    user = RUN.last("USER")
    assert user.isdigit(), "a number, so that runAsNonRoot can be checked"
    assert int(user) >= 10000
    words = [word for word, _ in RUN.lines]
    assert words.index("USER") > max(index for index, word in enumerate(words) if word in ("RUN", "COPY"))
    assert json.loads(RUN.last("CMD")) == ["prefork", "project.wsgi:application", "-w", "4"], (
        "DL3025: exec form"
    )
    assert not RUN.all("ENTRYPOINT")
    assert RUN.last("STOPSIGNAL") == "SIGTERM"
    assert BUILD.base.split()[0] == RUN.base.split()[0], "wheels fit the interpreter that runs them"
    assert not any(re.search(r"(?i)secret|password|token", rest) for _, rest in RUN.lines)


IGNORED = [
    (".git/config", True),
    (".env", True),
    ("project/.env.live", True),
    ("certs/server.key", True),
    ("db.sqlite3", True),
    ("project/__pycache__/wsgi.cpython-313.pyc", True),
    (".venv/bin/python", True),
    ("frontend/node_modules/x/index.js", True),
    ("Dockerfile", True),
    ("project/wsgi.py", False),
    ("project/environment.py", False),
    ("requirements.txt", False),
    ("vendor/prefork.tar.gz", False),
    ("manage.py", False),
]


@pytest.mark.parametrize(("name", "ignored"), IGNORED)
def test_dockerignore(name: str, ignored: bool) -> None:
    """Docker's rules: patterns match from the root, `**` any folders, a match of a folder its contents."""
    patterns = [
        line
        for line in (FOLDER / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    parts = Path(name).parts
    names = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    matched = any(_pattern(pattern).fullmatch(each) for pattern in patterns for each in names)
    assert matched is ignored


def _pattern(pattern: str) -> re.Pattern[str]:
    text = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.compile(text.replace(r"\[co\]", "[co]"))


def test_commands(source: Path) -> None:
    """Each RUN in the order of the file, in an empty root of its own; then CMD as process 1, as the
    file's USER, on a read-only root with /tmp; HEALTHCHECK; STOPSIGNAL."""
    if why := machine.why_not():
        pytest.skip(why)
    env = {**checkout.environment(source), "DOCKER": str(FOLDER)}
    with machine.Machine(shared=[source], env=env) as place:
        done = place.run(container_script(), deadline=90)
    assert done.returncode == 0, done.stdout
    assert "TERM" in done.stdout


def container_script() -> str:
    build = "\n".join(in_place(command) for command in BUILD.all("RUN"))
    run = "\n".join(in_place(command) for command in RUN.all("RUN"))
    variables = " ".join(shlex.quote(word) for word in shlex.split(" ".join(RUN.all("ENV"))))
    check = shlex.join(json.loads(RUN.last("HEALTHCHECK").partition("CMD ")[2]))
    command = shlex.join(json.loads(RUN.last("CMD")))
    user = RUN.last("USER")
    return f"""
        # The archive of Debian is out of reach: its packages are looked up in what is installed.
        printf '%s\\n' '#!/bin/sh' 'case "$*" in *install*) exec dpkg -s gcc libc6-dev;; esac' \\
            > /usr/local/bin/apt-get
        chmod +x /usr/local/bin/apt-get

        # The build context. (That of the README has Django, whose installation takes long.)
        mkdir /context
        cd /context
        mkdir vendor project
        printf '%s\\n' 'def application(environ, start_response):' \\
            '    start_response("200 OK", [])' '    return [b"served"]' > project/wsgi.py
        git -C $PREFORK archive --prefix=prefork/ --output=$PWD/vendor/prefork.tar.gz HEAD
        printf '%s\\n' ./vendor/prefork.tar.gz > requirements.txt

        # FROM ... AS build: an interpreter with nothing installed.
        python -m venv /image/build
        mkdir /build
        cp -r requirements.txt vendor /build/
        cd /build
        export PATH=/image/build/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
        {build}
        ls /wheels

        # FROM: another one.
        /image/build/bin/python -m venv /image/run
        export PATH=/image/run/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
        {run}
        cp -r /context /app
        cd /app

        # docker run --read-only --tmpfs /tmp
        mount -t tmpfs -o mode=1777 tmpfs /mnt
        mount -o remount,ro /
        unshare --pid --fork --kill-child --mount-proc env -i PATH=$PATH TMPDIR=/mnt {variables} \\
            setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs {command} > /mnt/log 2>&1 &
        outer=$!
        touch /mnt/log
        grep -m1 -q 'ready after' <(tail -n +1 -F /mnt/log)
        {check}
        read -r first < /proc/$outer/task/$outer/children || true
        grep -q '^NSpid:.*[^0-9]1$' /proc/$first/status
        grep -q '^Uid:.{user}' /proc/$first/status
        kill -{RUN.last("STOPSIGNAL")} $first
        wait $outer
        cat /mnt/log
    """


def in_place(command: str) -> str:
    """A RUN without what only BuildKit can do: both stages share one root here."""
    return re.sub(r"--mount=\S+\s*", "", command)


# compose


def test_compose() -> None:
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    web, nginx = compose["services"]["web"], compose["services"]["nginx"]
    assert web["read_only"] is True
    assert web["tmpfs"] == ["/tmp"]
    assert web["cap_drop"] == ["ALL"]
    assert float(web["stop_grace_period"].removesuffix("s")) > 30
    assert nginx["depends_on"]["web"]["condition"] == "service_healthy", "the Dockerfile's HEALTHCHECK"
    assert re.fullmatch(r"nginx:\d+\.\d+(\.\d+)?-alpine", nginx["image"])
    assert nginx["volumes"] == ["./nginx.conf:/etc/nginx/conf.d/default.conf:ro"]
    (network,) = compose["networks"]["inner"]["ipam"]["config"]
    assert web["environment"]["PREFORK_FORWARDED_ALLOW_IPS"] == network["subnet"], (
        "believe nginx, and nobody else"
    )
    assert "ports" not in web, "only nginx can be reached from outside"
    assert set(web) | set(nginx) <= KNOWN


KNOWN = {
    "build",
    "cap_drop",
    "depends_on",
    "environment",
    "expose",
    "image",
    "networks",
    "ports",
    "read_only",
    "restart",
    "security_opt",
    "stop_grace_period",
    "tmpfs",
    "volumes",
}


def test_compose_settings() -> None:
    """Its variables are settings, and so are those of the image."""
    from prefork.config import argv
    from prefork.config.load import load

    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    image = dict(word.split("=", 1) for word in shlex.split(" ".join(RUN.all("ENV"))))
    environ = {**image, **compose["services"]["web"]["environment"]}
    settings = load(argv.parse(["project.wsgi:application"]), environ, "/").settings
    assert settings.bind == ("0.0.0.0:8000",)
    assert settings.accesslog == "-"
    assert settings.forwarded_allow_ips == ("172.30.0.0/24",)


def test_compose_nginx() -> None:
    """It is deploy/nginx/prefork.conf, which is tested with nginx, but for the address and what stands
    above it."""
    ours = (FOLDER / "nginx.conf").read_text().partition("upstream prefork")[2]
    site = adapted(SITE.read_text(), {"server 127.0.0.1:8000 ": "server web:8000 "}).partition(
        "upstream prefork"
    )[2]
    assert ours == site
    assert "expose" in (FOLDER / "compose.yaml").read_text()
