"""The record that other rooms hold: frozen, equal by value, typed rows over defaults."""

import subprocess
import sys

import pytest

from prefork.config.settings import GROUPS, ROWS, Settings


def test_defaults_and_values():
    settings = Settings(timeout=5.0, bind=(":1",))
    assert (settings.timeout, settings.bind, settings.workers) == (5.0, (":1",), 1)
    assert vars(settings).keys() == ROWS.keys()


@pytest.mark.parametrize("name", ["workers", "nonsense"])
def test_frozen(name):
    settings = Settings()
    with pytest.raises(AttributeError):
        setattr(settings, name, 3)
    with pytest.raises(AttributeError):
        delattr(settings, name)


def test_unknown_names_are_refused():
    with pytest.raises(TypeError, match="wrokers"):
        Settings(wrokers=3)


def test_replace_and_equality():
    settings = Settings(workers=2)
    assert settings.replace(threads=4) == Settings(workers=2, threads=4)
    assert settings == Settings(workers=2) != Settings()
    assert repr(settings) == "Settings(workers=2)"


def test_every_row_has_its_place():
    assert {row.group for row in ROWS.values()} == GROUPS.keys()
    assert {row.change for row in ROWS.values()} == {"boot", "reload", "worker"}
    assert {row.where for row in ROWS.values()} == {"any", "not env", "file", "python"}


def test_importing_settings_costs_little():
    """Modules that take milliseconds of every start are not imported by the settings and the command line."""
    dear = {"argparse", "dataclasses", "inspect", "typing", "pathlib", "json", "tomllib", "logging", "socket"}
    code = "import sys; old = set(sys.modules); import prefork.cli, prefork.config.load; "
    code += "print(*sys.modules.keys() - old)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    new = set(done.stdout.split())
    assert "prefork.config.settings" in new
    assert not dear & new
