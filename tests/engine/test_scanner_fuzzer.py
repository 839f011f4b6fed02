"""The fuzzer's walk over the corpus, as an ordinary program under the sanitizers.

Both builds of the scanner, with and without SSE2, have to agree. A minute of fuzzing is tests/fuzz/run; this
is what it begins with.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from corpus import cases, write_out

ROOT = Path(__file__).parents[2]
SOURCES = (
    "tests/fuzz/scan_fuzzer.c",
    "tests/fuzz/scan_portable.c",
    "prefork/engine/scan.c",
    "prefork/engine/scan_chunks.c",
)
STRICT = ("-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-DREPLAY")


def test_corpus_passes_the_fuzzer(tmp_path: Path, outside_program: Callable[[str], str]) -> None:
    compiler = outside_program("gcc")
    program = tmp_path / "replay"
    sources = [str(ROOT / source) for source in SOURCES]
    sanitized = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    subprocess.run(
        [compiler, *STRICT, *sanitized, "-I", str(ROOT / "prefork/engine"), "-o", str(program), *sources],
        check=True,
    )
    write_out(tmp_path / "corpus")
    files = sorted(map(str, (tmp_path / "corpus").iterdir()))
    ran = subprocess.run([program, *files], capture_output=True, text=True, env={}, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"{len(cases())} inputs\n"
