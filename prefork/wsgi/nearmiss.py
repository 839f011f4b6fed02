"""What was probably meant. Imported only when an application could not be had: nothing here is in a hurry."""

from __future__ import annotations

import os
import sys
from ast import AST, ClassDef, FunctionDef, Name, Store, alias, iter_child_nodes, parse
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from traceback import extract_tb
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import traceback_of

if TYPE_CHECKING:
    from .app import Target

# What applications are called, and what makes them, and where they are; the likeliest first.
APPLICATIONS = ("application", "app", "wsgi_app", "wsgi", "server", "api")
FACTORIES = ("create_app", "make_app", "create_application", "make_application", "build_app", "get_app")
MODULES = ("wsgi", "app", "main", "application", "server")

_HERE = str(Path(__file__).parent)


# Messages.


def path_given(wanted: Target) -> str:
    """A file's path stands where a module's name belongs."""
    path = Path(wanted.module)
    module = path.with_suffix("") if path.suffix == ".py" else path
    name = wanted.expression or _likely(_made(path)) or "application"
    folder = ""
    if path.is_absolute() or ".." in path.parts:
        folder, module = f"--chdir {module.parent} ", Path(module.name)
    message = f"{wanted.module!r} is a path, but an application is named by its module"
    return f"{message}; did you mean {folder}{'.'.join(module.parts)}:{name}?"


def import_failed(wanted: Target, fault: BaseException) -> str:
    """The module is missing, or importing it raised."""
    if not wanted.module.strip("."):
        given = f"{wanted.module!r} is a folder, but an application is named by its module"
        return f"{given}, such as project.wsgi{_there()}"
    if isinstance(fault, ModuleNotFoundError) and _is_itself(wanted, fault):
        return _module_missing(wanted, str(fault.name))
    message = f"importing {wanted.module} in {_cwd()} failed: {_place(fault)}"
    if isinstance(fault, ModuleNotFoundError) and fault.name:
        if closed := closed_folder(os.__file__):
            whose = f"user {os.geteuid()} may not enter {closed}, where this Python lies"
            return f"{message}imports {fault.name!r}, and {whose}"
        return f"{message}imports {fault.name!r}, {_why_not_there(fault.name)}"
    return f"{message}{in_words(fault)}"


def attribute_missing(wanted: Target, module: Any, found: Any, depth: int) -> str:
    """The module is there, but has no such name."""
    name = wanted.names[depth]
    if depth:
        owner = f"{wanted.module}:{'.'.join(wanted.names[:depth])}"
        close = get_close_matches(name, dir(found), 1)
        return f"{owner} has no attribute {name!r}{_meant(f'{owner}.{close[0]}') if close else ''}"
    return f"{wanted.module} ({origin(module)}) has no {name!r}{callable_nearby(wanted, module)}"


def instead(wanted: Target, module: Any, found: Any) -> str:
    """What is there was found, but is no application."""
    if isinstance(found, FunctionType) and found.__code__.co_argcount < 2:
        return f"; if it makes the application, say {wanted.name}() or --factory"
    return callable_nearby(wanted, module)


def callable_nearby(wanted: Target, module: Any) -> str:
    """ "; did you mean module:app?", or nothing."""
    names = _callables(module)
    instances = [name for name in names if not isinstance(getattr(module, name), type | FunctionType)]
    candidates = (
        *(name for name in APPLICATIONS if name in names),
        *(f"{name}()" for name in FACTORIES if name in names),
        *get_close_matches(wanted.names[0], names, 1),
        *(instances if len(instances) == 1 else ()),
    )
    for name in candidates:
        if name != wanted.names[0]:
            return _meant(f"{wanted.module}:{name}")
    for name, made in _modules_inside(module):
        if wanted.names[0] in made:
            return _meant(_told(f"{wanted.module}.{name}", wanted.names[0]))
        if likely := _likely(made):
            return _meant(_told(f"{wanted.module}.{name}", likely))
    return ""


def origin(module: Any) -> str:
    """ "from shop/wsgi.py" """
    file = getattr(module, "__file__", None)
    if file is None:
        return f"the folder {_shown(next(iter(getattr(module, '__path__', ())), '?'))}"
    return f"from {_shown(file)}"


def in_words(fault: BaseException) -> str:
    """ "KeyError: 'SECRET'", in one line."""
    if isinstance(fault, SystemExit):
        return f"sys.exit({fault.code!r}) was called"
    if isinstance(fault, SyntaxError) and fault.filename:
        return f"{type(fault).__name__} in {_shown(fault.filename)}, line {fault.lineno}: {fault.msg}"
    try:
        text = " ".join(str(fault).split())
    except Exception:  # it cannot be shown
        text = ""
    return f"{type(fault).__name__}: {text}" if text else type(fault).__name__


def traceback_text(fault: BaseException) -> str:
    """The traceback from the application's first frame on; "" when it has none."""
    trace = fault.__traceback__
    while trace is not None and _is_machinery(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    if trace is None and not isinstance(fault, SyntaxError):
        return ""
    return traceback_of(fault, trace)


def closed_folder(path: str) -> str:
    """The outermost folder on the way to path that this user (-u) may not enter; "" where it may be read."""
    if os.access(path, os.R_OK):
        return ""
    folders = [str(folder) for folder in reversed(Path(path).parents)]
    return next((folder for folder in folders if not os.access(folder, os.X_OK)), "")


# Modules.


def _is_itself(wanted: Target, fault: ModuleNotFoundError) -> bool:
    """Whether the module or a package that it should lie in is missing, not something that it imports."""
    return f"{wanted.module}.".startswith(f"{fault.name}.") and not traceback_text(fault)


def _module_missing(wanted: Target, name: str) -> str:
    parent, _, last = name.rpartition(".")
    if parent:
        package = sys.modules[parent]
        folders = list(getattr(package, "__path__", ()))
        place = f"{_shown(folders[0])}" if folders else f"{parent} ({origin(package)}), which is no package"
    else:
        folders = [_cwd()]
        place = _cwd()
    names = {each.name for each in iter_modules(folders)}
    message = f"there is no module {name!r} in {place}"
    if parent and last in vars(sys.modules[parent]):
        return message + _meant(f"{parent}:{last}")
    if below := _folder_below(wanted.module):
        return f"{message}; it is in {below}: say --chdir {below}"
    if close := get_close_matches(last, names, 1):
        meant = f"{parent}.{close[0]}" if parent else close[0]
        return message + _meant(wanted.text.replace(name, meant, 1))
    elsewhere = {each.name for each in iter_modules(_own_folders())}
    if not parent and (close := get_close_matches(last, elsewhere, 1)):
        return message + _meant(wanted.text.replace(name, close[0], 1))
    return message if parent else message + _there()


def _there() -> str:
    """ "; there are shop, views", the modules of the working directory, or nothing."""
    names = sorted(each.name for each in iter_modules([_cwd()]))
    return f"; there are {', '.join(names[:8])}" if names else ""


def _why_not_there(name: str) -> str:
    """Of a missing module that the application imports: a package's own file, or somebody else's package."""
    if name == "uwsgi":
        return "which is there only inside uWSGI (deploy/migrate.md)"  # nothing that could be installed
    parent, _, last = name.rpartition(".")
    folder = _folder_of(parent)
    if folder is None:
        return f"which is not installed for {sys.executable}"
    if not folder.is_dir():
        return f"but {parent} ({_shown(str(folder))}) is no package"
    close = get_close_matches(last, [each.name for each in iter_modules([str(folder)])], 1)
    return f"which is not in {_shown(str(folder))}{_meant(f'{parent}.{close[0]}') if close else ''}"


def _folder_of(package: str) -> Path | None:
    """Where a package lies, or the file of what is none, by looking and not by importing: where its import
    has failed it is in sys.modules no more. None where there is nothing of that name."""
    top, *rest = package.split(".")
    try:
        spec = find_spec(top) if top else None
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = [Path(folder, *rest) for folder in spec.submodule_search_locations or ()]
    places = [*folders, *(folder.with_suffix(".py") for folder in folders), Path(spec.origin or "")]
    return next((place for place in places if place.is_dir() or place.is_file()), None)


def _own_folders() -> list[str]:
    """Folders on sys.path other than Python's and those of installed packages."""
    installed = [Path(prefix) for prefix in {sys.prefix, sys.base_prefix}]
    return [each for each in sys.path if not any(Path(each).is_relative_to(prefix) for prefix in installed)]


def _folder_below(module: str) -> str:
    """A folder of the working directory from which the module could be imported."""
    inside = Path(*module.split("."))
    for folder in sorted(Path().iterdir()):
        if (folder / inside).is_dir() or (folder / inside.with_suffix(".py")).is_file():
            return str(folder)
    return ""


def _modules_inside(package: Any) -> Iterator[tuple[str, set[str]]]:
    """Modules of a package in which applications are, with the names that they have."""
    inside = {each.name for each in iter_modules(getattr(package, "__path__", ()))}
    for name in MODULES:
        for folder in package.__path__ if name in inside else ():
            yield name, _made(Path(folder, name)) | _made(Path(folder, f"{name}.py"))


def _made(path: Path) -> set[str]:
    """The names that a file, or a package's folder, makes: read, and not imported."""
    try:
        tree = parse((path / "__init__.py" if path.is_dir() else path).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    made: set[str] = set()
    rest: list[AST] = [tree]
    while rest:
        node = rest.pop()
        if isinstance(node, FunctionDef | ClassDef):
            made.add(node.name)  # what is made inside is its own
        elif isinstance(node, alias):
            made.add(node.asname or node.name)
        else:
            if isinstance(node, Name) and isinstance(node.ctx, Store):
                made.add(node.id)
            rest.extend(iter_child_nodes(node))
    return made


def _likely(made: set[str]) -> str:
    """The one of these names that an application has, or a call of what makes it; "" when there is none."""
    found = (*(name for name in APPLICATIONS if name in made), *(f"{n}()" for n in FACTORIES if n in made))
    return found[0] if found else ""


def _told(module: str, name: str) -> str:
    return module if name == "application" else f"{module}:{name}"


# Things.


def _callables(module: Any) -> list[str]:
    """What can be called and is the module's own, or has an application's name."""
    found = []
    for name, thing in vars(module).items():
        if name.startswith("_") or not callable(thing) or isinstance(thing, ModuleType):
            continue
        imported = isinstance(thing, type | FunctionType) and thing.__module__ != module.__name__
        if not imported or name in APPLICATIONS + FACTORIES:
            found.append(name)
    return found


def _place(fault: BaseException) -> str:
    """ "project/settings.py, line 12: ", the application's innermost line; "" where there is none."""
    if isinstance(fault, SyntaxError):
        return ""  # it names its own
    frames = [each for each in extract_tb(fault.__traceback__) if not _is_machinery(each.filename)]
    own = [each for each in frames if Path(each.filename).is_relative_to(_cwd())]
    for frame in reversed(own or frames):
        return f"{_shown(frame.filename)}, line {frame.lineno}: "
    return ""


def _is_machinery(filename: str) -> bool:
    return filename.startswith(("<frozen importlib", _HERE))


def _meant(name: str) -> str:
    return f"; did you mean {name}?"


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "a folder that is gone"


def _shown(file: str) -> str:
    """Relative to the working directory, where it lies in it."""
    path = Path(file)
    return str(path.relative_to(_cwd()) if path.is_relative_to(_cwd()) else path)
