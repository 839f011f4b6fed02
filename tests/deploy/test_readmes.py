"""The pages of deploy/ as a new user would read them: each `sh` block is run as it stands, block after
block, in an empty folder of a machine where nothing else listens.

A line that fails fails the page (`bash -eu -o pipefail`). Blocks marked `sh systemd` need systemd as
process 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import checkout
import machine
import pytest
from places import DEPLOY
from systemd import Booted

PAGES = sorted(str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*.md"))
PROGRAMS = {
    "nginx/README.md": ("nginx", "curl"),
    "apache/README.md": ("apache2", "curl"),
    "haproxy/README.md": ("haproxy", "curl"),
    "supervisor/README.md": ("supervisord", "curl"),
    "systemd/README.md": ("systemd-analyze", "curl"),
    "docker/README.md": ("git",),
    "paas/README.md": ("curl",),
    "migrate.md": ("curl",),
}
FENCE = re.compile(r"^```(?P<kind>[a-z ]*)\n(?P<text>.*?)^```$", re.M | re.S)
KINDS_RUN = {"sh", "sh systemd"}
KINDS = {*KINDS_RUN, "console", "python"}


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of each fenced block, in order."""
    for found in FENCE.finditer((DEPLOY / page).read_text()):
        yield found["kind"], found["text"]


@pytest.mark.parametrize("page", PAGES)
def test_kinds(page: str) -> None:
    """Every block says whether it is run here."""
    assert {kind for kind, _ in blocks(page)} <= KINDS


@pytest.mark.parametrize(
    "page", [page for page in PAGES if {"sh"} == {kind for kind, _ in blocks(page)} & KINDS_RUN]
)
def test_steps(page: str, source: Path, outside_program: Callable[[str], str]) -> None:
    """Pages for any machine, each in a new one."""
    if why := machine.why_not():
        pytest.skip(why)
    for name in PROGRAMS.get(page, ()):
        outside_program(name)
    with machine.Machine(shared=[source], env=checkout.environment(source)) as place:
        done = place.run(script(page), deadline=90)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "sh systemd" in {kind for kind, _ in blocks(page)}]
)
def test_steps_with_systemd(page: str, booted: Booted) -> None:
    """Pages for a machine whose process 1 is systemd."""
    done = booted.inside.run(script(page), deadline=90)
    assert done.returncode == 0, done.stdout


def script(page: str) -> str:
    """All steps of a page, in an empty folder."""
    steps = [text for kind, text in blocks(page) if kind in KINDS_RUN]
    return "mkdir /root/new\ncd /root/new\n" + "".join(steps)


def test_every_file_is_known() -> None:
    """Each file of deploy/ is named by a page there, and each page by the first one."""
    first = (DEPLOY / "README.md").read_text()
    for path in DEPLOY.rglob("*"):
        if path.is_dir() or path.name == "README.md":
            continue
        page = path.parent / "README.md"
        named = page.read_text() if page != DEPLOY / "README.md" else first
        assert path.name in named, f"{path.relative_to(DEPLOY)} is named by no README"
    for folder in DEPLOY.iterdir():
        assert f"({folder.name}{'/' if folder.is_dir() else ''})" in first or folder.name == "README.md"
