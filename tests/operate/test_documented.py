"""docs/operate.md has the metrics that there are, and the paths."""

import re
from pathlib import Path

from prefork.operate.site import VIEWS
from prefork.telemetry.metrics import exposition

from .conftest import Master

TEXT = (Path(__file__).parents[2] / "docs" / "operate.md").read_text()


def test_metrics() -> None:
    said = exposition(Master().board, wanted=2)
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", said, re.M))
    helps = re.findall(r"^# HELP (\w+) (.+)$", said, re.M)
    rows = re.findall(r"^\| `(prefork_\w+)` \| (\w+) \| (.+) \|$", TEXT, re.M)
    assert rows == [(name, kinds[name], text) for name, text in helps]


def test_paths() -> None:
    section = TEXT[TEXT.index("| path | what it is |") :]
    section = section[: section.index("\n\n")]
    assert re.findall(r"^\| `(/[^`]*)` \|", section, re.M) == list(VIEWS)
