"""Puts the corpus and the engine's harness beside the tests: both are imported by their plain names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).parents[1] / "corpus", Path(__file__).parent):
    sys.path.insert(0, str(folder))

from answers import text  # noqa: E402


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A file of 100,000 bytes."""
    path = tmp_path / "content"
    path.write_bytes(text(100_000))
    return path
