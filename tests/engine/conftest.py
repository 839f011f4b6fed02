"""Puts the corpus and the engine's harness beside the tests: both are imported by their plain names."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parents[1] / "corpus", Path(__file__).parent):
    sys.path.insert(0, str(folder))
