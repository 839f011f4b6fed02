"""An empty directory to start prefork in, and what the loader makes of a command line there."""

import sys

import pytest

from prefork.config import argv, load


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with nothing in it; what Python files import from there is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def loaded(place):
    """Load settings: words of a command line, files as name=text (prefork__toml), environment as dict."""

    def run(*words, environ=None, **files):
        for name, text in files.items():
            (place / name.replace("__", ".")).write_text(text)
        return load.load(argv.parse(words), environ or {}, str(place))

    return run
