"""A stand-in for a checkout of prefork that pip can install without a network and without a compiler.

deploy/ is the real one. pip gets the package from wheels that are packed again from what is installed here;
that the real sources build is shown by the installation that these tests run on.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from places import DEPLOY

import prefork

PACKED = ("prefork", "setproctitle", "Django", "asgiref", "sqlparse")

PYPROJECT = """\
[build-system]
requires = []
build-backend = "stand_in"
backend-path = ["."]
"""
BACKEND = '''\
"""A build backend that hands out the wheel which lies beside it."""

import shutil
from pathlib import Path


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    (wheel,) = Path("wheelhouse").glob("prefork-*.whl")
    shutil.copy(wheel, wheel_directory)
    return wheel.name
'''


def make(folder: Path) -> Path:
    """Make it in an empty folder, as a git repository of one commit."""
    shutil.copytree(DEPLOY, folder / "deploy")
    wheels = folder / "wheelhouse"
    wheels.mkdir()
    for name in PACKED:
        pack(name, wheels)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "stand_in.py").write_text(BACKEND)
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "pyproject.toml", "stand_in.py", "wheelhouse/"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "stand-in"], check=True)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """What README steps find in the environment: where the checkout is, and pip without an index."""
    return {
        "PREFORK": str(folder),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder / "wheelhouse"),
        "PIP_NO_COMPILE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def pack(name: str, folder: Path) -> Path:
    """An installed distribution as a wheel (PEP 427), stored, not compressed."""
    found = importlib.metadata.distribution(name)
    stem = f"{found.metadata['Name'].replace('-', '_')}-{found.version}"
    path = folder / f"{stem}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(path, "w") as wheel:
        for place, source in files_of(name, found):
            wheel.write(source, place)
            record.append(f"{place},,")
        info = f"{stem}.dist-info"
        # A checkout whose root is on sys.path is found by its egg-info, which calls the same file PKG-INFO.
        about = {
            "METADATA": found.read_text("METADATA") or found.read_text("PKG-INFO"),
            "entry_points.txt": found.read_text("entry_points.txt"),
        }
        for kind, text in about.items():
            if text:
                wheel.writestr(f"{info}/{kind}", text)
                record.append(f"{info}/{kind},,")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/WHEEL,,", f"{info}/RECORD,,", ""]))
    return path


def files_of(name: str, found: importlib.metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """(place in the wheel, file) of everything but caches, scripts and metadata."""
    if name == "prefork":  # may be installed editable: then the distribution lists no files of the package
        root = Path(prefork.__file__).parent
        for source in root.rglob("*"):
            if source.suffix in (".py", ".so", ".typed"):
                yield f"prefork/{source.relative_to(root).as_posix()}", source
        return
    for each in found.files or ():
        place = PurePosixPath(each)
        if place.parts[0].endswith(".dist-info") or ".." in place.parts or "__pycache__" in place.parts:
            continue
        yield str(place), Path(str(each.locate()))
