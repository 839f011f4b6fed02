"""docs/logging.md has what the parser of formats knows, in its order."""

import re
from pathlib import Path

from prefork.config.logdefaults import ACCESS_NAMES, ERROR_NAMES
from prefork.engine.accessformat import ATOMS, JSON_FIELDS

TEXT = (Path(__file__).parents[2] / "docs" / "logging.md").read_text()


def test_atoms() -> None:
    assert dict(re.findall(r"^\| `%\((.+)\)s` \| (.+) \|$", TEXT, re.M)) == ATOMS


def test_members() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", TEXT, re.M)
    assert rows == list(JSON_FIELDS.items())


def test_loggers() -> None:
    for names in (ERROR_NAMES, ACCESS_NAMES):
        assert f"| {', '.join(f'`{name}`' for name in names)} |" in TEXT
