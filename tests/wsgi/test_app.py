"""From a target to the application: what is loaded, and what is said when it cannot be."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefork.errors import AppLoadError
from prefork.wsgi.app import load

Write = Callable[..., None]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory that is importable, and forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(
            getattr(sys.modules[name], "__file__", "") or getattr(sys.modules[name], "__path__", "")
        ):
            del sys.modules[name]


def write(path: str, text: str = "") -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def failure(target: str, **options: bool) -> AppLoadError:
    with pytest.raises(AppLoadError) as caught:
        load(target, **options)
    error = caught.value
    assert error.exit_code == 4
    assert "\n" not in str(error), "one readable line"
    assert "frozen importlib" not in error.detail and "wsgi/app.py" not in error.detail
    return error


SITE = """
class Shop:
    def __init__(self, *words, **options): self.words, self.options = words, options
    def __call__(self, environ, start_response): return [self]
    @property
    def inner(self): return self
    @property
    def broken(self): raise KeyError("CONFIG")
    def method(self, environ, start_response): return [self]
    def handler(self): return None
application = Shop("application")
app = Shop("app")
def create_app(*words, **options): return Shop(*words, **options)
def needs(name): return Shop(name)
def nothing(): return None
def fails(): raise RuntimeError("no database")
def leaves():
    import sys
    sys.exit(3)
number = 17
table = {}
class Streamed:
    def __init__(self, environ, start_response): pass
    def __iter__(self): return iter(())
async def asgi(scope, receive, send): pass
class Async:
    async def __call__(self, scope, receive, send): pass
star = Async()
def one(environ): pass
def three(environ, start_response, extra): pass
def defaults(environ, start_response, extra=1): pass
def anything(*words): pass
"""


@pytest.mark.parametrize(
    ("target", "words", "options"),
    [
        ("site_", ("application",), {}),
        ("site_:application", ("application",), {}),
        (" site_ : app ", ("app",), {}),
        ("site_:app.inner", ("app",), {}),
        ("site_:app.inner.inner", ("app",), {}),
        ("site_:create_app()", (), {}),
        ("site_:create_app('a:b', 2, debug=True)", ("a:b", 2), {"debug": True}),
        ("site_:create_app([1, {'x': None}], -1)", ([1, {"x": None}], -1), {}),
        ("site_:needs('x')", ("x",), {}),
    ],
)
def test_what_is_loaded(target: str, words: Any, options: Any) -> None:
    write("site_.py", SITE)
    app: Any = load(target)
    assert (app.words, app.options) == (words, options)


def test_a_factory_by_flag() -> None:
    write("shop/site_.py", SITE)
    app: Any = load("shop.site_:create_app", factory=True)
    assert app.words == ()
    app = load("shop.site_:create_app(1)", factory=True)
    assert app.words == (1,), "the call is the factory's"


@pytest.mark.parametrize("name", ["Streamed", "app.method", "defaults", "anything", "create_app"])
def test_callables_that_take_what_they_are_given(name: str) -> None:
    write("site_.py", SITE)
    assert callable(load(f"site_:{name}"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("", "'' names no application: that has the form module:name"),
        (":app", "':app' names no application: that has the form module:name"),
        ("site_:", "'site_:' names no application: that has the form module:name"),
        ("site_:1", "'1' is neither a name"),
        ("site_:app[0]", "'app[0]' is neither a name"),
        ("site_:app()()", "'app()()' is neither a name"),
        ("site_:create_app(app)", "'create_app(app)' is neither a name"),
        ("site_:create_app(*[1])", "'create_app(*[1])' is neither a name"),
        ("site_:create_app(**{'a': 1})", "'create_app(**{'a': 1})' is neither a name"),
        ("site_:create_app(open('x'))", "is neither a name"),
        ("site_:create_app(", "'create_app(' is neither a name"),
        ("site_:a b", "'a b' is neither a name"),
        ("site_:" + "(" * 5000, "is neither a name"),
    ],
)
def test_targets_that_are_none(target: str, said: str) -> None:
    write("site_.py", "raise AssertionError('imported')")
    error = failure(target)
    assert said.replace('"', "'") in str(error).replace('"', "'")
    assert error.detail == ""


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("site_:number", "site_:number (from site_.py) is an int, which cannot be called: no WSGI"),
        ("site_:number", "; did you mean site_:application?"),
        ("site_:table", "is a dict, which cannot be called"),
        ("site_:nothing()", "what site_:nothing made (from site_.py) is None, which cannot be called"),
        ("site_:asgi", "site_:asgi (from site_.py) is a function with an async call, as ASGI has it"),
        ("site_:star", "is a site_.Async with an async call, as ASGI has it"),
        ("site_:one", "is a function that takes 1 argument: no WSGI application; if"),
        ("site_:one", "; if it makes the application, say site_:one() or --factory"),
        ("site_:fails", "is a function that takes no arguments: no WSGI application; if it makes"),
        ("site_:three", "is a function that needs 3 arguments"),
        ("site_:app.handler", "is a method that takes no arguments"),
        ("site_:application()", "what"),
        ("site_:number()", "site_:number is an int, which cannot be called to make an application"),
        ("site_:app.broken", "site_:app.broken: looking up 'broken' failed: KeyError: 'CONFIG'"),
        ("site_:app.inne", "site_:app has no attribute 'inne'; did you mean site_:app.inner?"),
    ],
)  # fmt: skip
def test_what_is_no_application(target: str, said: str) -> None:
    write("site_.py", SITE)
    if target == "site_:application()":
        assert "TypeError" in str(failure(target))
        return
    assert said in str(failure(target))


# --- modules that are not there


def test_a_misspelt_module_elsewhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("libraries/project/__init__.py")
    monkeypatch.syspath_prepend(str(project / "libraries"))
    assert str(failure("projekt:x")).endswith("; did you mean project:x?")


def test_a_misspelt_module(project: Path) -> None:
    write("project/__init__.py")
    write("project/wsgi.py", "application = print")
    error = failure("projct.wsgi:application")
    assert str(error) == f"there is no module 'projct' in {project}; did you mean project.wsgi:application?"
    assert error.detail == ""
    error = failure("project.wsgy")
    assert str(error) == "there is no module 'project.wsgy' in project; did you mean project.wsgi?"


def test_nothing_like_it_lists_what_there_is(project: Path) -> None:
    write("shop.py")
    write("views.py")
    assert str(failure("zzz")) == f"there is no module 'zzz' in {project}; there are shop, views"


def test_the_module_is_one_folder_down() -> None:
    write("backend/project/wsgi.py", "application = print")
    assert str(failure("project.wsgi")).endswith("; it is in backend: say --chdir backend")


def test_what_is_one_folder_down_counts_before_what_is_like_it() -> None:
    write("pkg/wsgi.py", "application = print")
    write("src/srcpkg/wsgi.py", "app = print")
    assert str(failure("srcpkg.wsgi:app")).endswith("; it is in src: say --chdir src")


@pytest.mark.parametrize("target", [".", "..", ".:app"])
def test_a_folder_given(target: str) -> None:
    write("shop/wsgi.py", "")
    write("views.py")
    write("shop/__init__.py")
    path = target.partition(":")[0]
    assert str(failure(target)) == (
        f"{path!r} is a folder, but an application is named by its module, such as project.wsgi; "
        "there are shop, views"
    )


def test_a_dot_where_a_colon_belongs() -> None:
    write("site_.py", SITE)
    error = failure("site_.app")
    assert (
        "no module 'site_.app' in site_ (from site_.py), which is no package; did you mean site_:app?"
        in str(error)
    )


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("site_.py", "site_:app"),
        ("./site_.py", "site_:app"),
        ("site_.py:app", "site_:app"),
        ("shop/site_.py", "shop.site_:app"),
        ("shop/site_:app", "shop.site_:app"),
        ("shop/gone.py", "shop.gone:application"),
        ("../site_.py:x()", "--chdir .. site_:x()"),
        ("/srv/shop/site_.py:x", "--chdir /srv/shop site_:x"),
    ],
)
def test_paths(target: str, meant: str) -> None:
    for name in ("site_.py", "shop/site_.py"):
        write(name, "app = print\n")
    error = failure(target)
    path = target.partition(":")[0]
    assert (
        str(error) == f"'{path}' is a path, but an application is named by its module; did you mean {meant}?"
    )
    assert "site_" not in sys.modules, "nothing was imported to find that out"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("def app(environ, start_response): return []", "app"),
        ("class application: pass", "application"),
        ("from shop import app", "app"),
        ("import shop as wsgi_app", "wsgi_app"),
        ("app: object = print", "app"),
        ("if True:\n  app = print", "app"),
        ("def run():\n  app = print\n  def application(): pass", "application"),
        ("def create_app():\n  app = print\n  return app", "create_app()"),
        ("x = dict(app=1); y = app == 2", "application"),
        ("app = (", "application"),
    ],
)
def test_the_likely_name_in_a_file(text: str, name: str) -> None:
    write("good.py", text)
    assert str(failure("good.py")).endswith(f"; did you mean good:{name}?")


def test_a_module_whose_name_is_py() -> None:
    write("pack/py.py", "application = print")
    assert load("pack.py") is print


# --- modules that fail


def test_a_dependency_is_missing_not_the_module(project: Path) -> None:
    write("project/__init__.py")
    write("project/wsgi.py", "from project import views\napplication = print\n")
    write("project/views.py", "import os\nimport flask_nope\n")
    error = failure("project.wsgi")
    assert str(error) == (
        f"importing project.wsgi in {project} failed: project/views.py, line 2: imports 'flask_nope', "
        f"which is not installed for {sys.executable}"
    )
    assert error.detail.startswith('Traceback (most recent call last):\n  File "')
    assert "project/wsgi.py" in error.detail.splitlines()[1]
    assert error.detail.splitlines()[-1].startswith("ModuleNotFoundError: No module named 'flask_nope'")


def test_a_submodule_of_its_own_package_is_missing() -> None:
    """The name is a prefix's, and yet it is not the target that is missing."""
    write("project/__init__.py")
    write("project/wsgi.py", "import project.setings\n")
    assert "project/wsgi.py, line 1: imports 'project.setings'" in str(failure("project.wsgi"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("from .missing import app", "imports 'project.missing', which is not in project"),
        ("from .setings import DEBUG", "which is not in project; did you mean project.settings?"),
        ("import project.part.gone", "imports 'project.part.gone', which is not in project/part"),
        ("import project.settings.deep", "but project.settings (project/settings.py) is no package"),
        ("import project.nowhere.deep", "imports 'project.nowhere', which is not in project"),
        ("import json.nope", "imports 'json.nope', which is not in "),
        ("import nope.deep", f"imports 'nope', which is not installed for {sys.executable}"),
        ("import uwsgi", "imports 'uwsgi', which is there only inside uWSGI (deploy/migrate.md)"),
    ],
)
@pytest.mark.parametrize("file", ["project/__init__.py", "project/wsgi.py"])
def test_an_own_module_is_missing(file: str, text: str, said: str) -> None:
    """It is no package that could be installed."""
    write("project/__init__.py")
    write("project/settings.py")
    write("project/part/__init__.py")
    write("project/wsgi.py", "application = print")
    write(file, text)
    message = str(failure("project.wsgi"))
    assert f"{file}, line 1: " in message
    assert said in message
    assert said.endswith(" ") or message.endswith(said)


def test_the_package_itself_fails() -> None:
    write("project/__init__.py", "import project.wsgi\nraise ValueError('two\\nlines')\n")
    write("project/wsgi.py", "application = print")
    error = failure("project.wsgi")
    assert str(error).endswith("failed: project/__init__.py, line 2: ValueError: two lines")


def test_a_syntax_error_says_file_and_line(project: Path) -> None:
    write("site_.py", "import views\n")
    write("views.py", "x = 1\ndef f(:\n")
    error = failure("site_")
    assert str(error).startswith(f"importing site_ in {project} failed: SyntaxError in views.py, line 2: ")
    assert "def f(:" in error.detail
    write("broken.py", "x = (\n")
    error = failure("broken")
    assert "SyntaxError in broken.py, line 1: '(' was never closed" in str(error)
    assert "x = (" in error.detail and "Traceback" not in error.detail


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "site_.py, line 1: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(2)", "site_.py, line 1: sys.exit(2) was called"),
        ("raise Exception", "site_.py, line 1: Exception"),
        ("from os import nope", "site_.py, line 1: ImportError: cannot import name 'nope' from 'os'"),
        ("import json; json.loads('{')", "site_.py, line 1: JSONDecodeError: Expecting property name"),
        ("class E(Exception):\n  def __str__(s): raise OSError\nraise E", "site_.py, line 3: E"),
        (
            "class E(Exception):\n  @property\n  def __notes__(s): raise OSError\nraise E('x')",
            "site_.py, line 4: E: x",
        ),
        ("raise ImportError('x', name='site_')", "site_.py, line 1: ImportError: x"),
        ("raise ModuleNotFoundError('no')", "site_.py, line 1: ModuleNotFoundError: no"),
    ],
)
def test_the_import_raises(text: str, said: str) -> None:
    write("site_.py", text)
    error = failure("site_")
    assert said in str(error)
    assert error.detail.splitlines()[1].strip().startswith('File "'), "the application's frame comes first"
    assert error.__cause__ is not None


def test_an_interrupt_is_not_the_applications() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    write("site_.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load("site_")


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "GeneratorExit", "BaseException"])
def test_what_looks_like_an_interrupt_where_none_can_come(name: str) -> None:
    """As in a worker, which SIGINT just ends until it serves."""
    write("site_.py", f"raise {name}")
    write("made.py", f"def create_app():\n    raise {name}\ndef __getattr__(name):\n    raise {name}\n")
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        assert str(failure("site_")).endswith(f"failed: site_.py, line 1: {name}")
        assert str(failure("made:create_app()")).endswith(f"failed: {name}")
        assert str(failure("made:other")).endswith(f"looking up 'other' failed: {name}")
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_factory_that_fails() -> None:
    write("site_.py", SITE)
    error = failure("site_:fails()")
    assert str(error) == "calling site_:fails for the application failed: RuntimeError: no database"
    assert "in fails\n" in error.detail
    assert "sys.exit(3) was called" in str(failure("site_:leaves", factory=True))
    assert "TypeError: needs() missing 1 required" in str(failure("site_:needs", factory=True))


# --- names that are not there


@pytest.mark.parametrize(
    ("text", "target", "meant"),
    [
        ("app = print", "site_", "site_:app"),
        ("application = print", "site_:app", "site_:application"),
        ("def create_app(): pass", "site_", "site_:create_app()"),
        ("def make_app(): pass\napi = print", "site_:application", "site_:api"),
        ("def handler(e, s): pass", "site_:handlr", "site_:handler"),
        ("class A:\n  def __call__(s, e, r): pass\nflask = A()", "site_", "site_:flask"),
        ("from os.path import join\nimport os", "site_", ""),
        ("app = 17", "site_", ""),
        ("_hidden = print", "site_:hidden", ""),
    ],
)
def test_missing_names(text: str, target: str, meant: str) -> None:
    write("site_.py", text)
    name = target.partition(":")[2] or "application"
    hint = f"; did you mean {meant}?" if meant else ""
    assert str(failure(target)) == f"site_ (from site_.py) has no {name!r}{hint}"


def test_a_folder_is_a_module_too() -> None:
    write("project/wsgi.py", "application = print")
    assert str(failure("project")) == (
        "project (the folder project) has no 'application'; did you mean project.wsgi?"
    )
    write("pack/__init__.py")
    write("pack/app.py", "app = print")
    assert str(failure("pack:app")) == (
        "pack (from pack/__init__.py) has no 'app'; did you mean pack.app:app?"
    )
    write("shop/__init__.py")
    write("shop/wsgi.py", "number = 1")
    write("shop/main.py", "def create_app(): pass")
    assert str(failure("shop")).endswith("has no 'application'; did you mean shop.main:create_app()?")
    write("shop/wsgi.py", "application = server = print")
    assert str(failure("shop:server")).endswith("; did you mean shop.wsgi:server?")
    assert str(failure("shop:app")).endswith("; did you mean shop.wsgi?")


def test_from_elsewhere_the_place_is_said_in_full(tmp_path_factory: pytest.TempPathFactory) -> None:
    write("site_.py", "x = 1")
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    message = str(failure("site_"))
    assert "(from /" in message and message.endswith("has no 'application'")


def test_success_pays_for_no_help() -> None:
    write("site_.py", SITE)
    sys.modules.pop("prefork.wsgi.nearmiss", None)
    load("site_:app")
    assert "prefork.wsgi.nearmiss" not in sys.modules
