"""The benchmarks are a tool of the repository, not a part of the package: they are imported from its root."""

from __future__ import annotations

import sys
from pathlib import Path

# Last, so that an installed prefork is found before the source tree of it.
sys.path.append(str(Path(__file__).parents[2]))
