"""Configurations of logging: judged without applying them, as `logging.config` does when it applies them."""

import json
import subprocess
import sys

import pytest

from prefork.config import logconfig
from prefork.config.parse import Refused

STREAM = {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}

GOOD = {
    "nothing": {},
    "unknown keys": {"a": 1},
    "no list": {"handlers": [], "root": {}},
    "version": {"version": 1},
    "incremental": {"incremental": True, "loggers": {"a": {"level": "INFO", "handlers": ["none"]}}},
    "gunicorn's own": {"loggers": {"shop": {"handlers": ["console", "error_console"]}}},
    "gunicorn's formatter": {"handlers": {"h": {**STREAM, "formatter": "generic"}}},
    "whole": {
        "version": 1,
        "formatters": {
            "f": {"format": "{message}", "style": "{"},
            "own": {"class": "logging.Formatter", "format": "%(message)s"},
            "made": {"()": "logging.Formatter"},
        },
        "filters": {"n": {"name": "shop"}, "made": {"()": "logging.Filter"}},
        "handlers": {
            "c": {
                **STREAM,
                "formatter": "f",
                "filters": ["n", "made"],
                "level": "INFO",
                ".": {"terminator": ""},
            },
            "m": {"class": "logging.handlers.MemoryHandler", "capacity": 10, "target": "c"},
            "l": {"class": "logging.handlers.SysLogHandler", "address": ["localhost", 514]},
            "f": {"class": "logging.FileHandler", "filename": "x.log", "delay": True},
            "q": {"()": "logging.NullHandler"},
        },
        "loggers": {"shop": {"level": 10, "handlers": ["c", "m"], "propagate": False}},
        "root": {"level": "WARN", "handlers": ("c",)},
    },
}

WRONG = {
    "version": ({"version": 2}, "version is 2, only 1 is known"),
    "no table": ({"handlers": ["h"]}, "handlers: it must be a table, not ['h']"),
    "no entry": ({"handlers": {"h": "x"}}, "handlers.h: it must be a table, not 'x'"),
    "no module": ({"handlers": {"h": {"class": "nope.X"}}}, "handlers.h: nope.X: there is no module nope"),
    "no class": (
        {"handlers": {"h": {"class": "logging.StraemHandler"}}},
        "handlers.h: logging.StraemHandler: there is no logging.StraemHandler",
    ),
    "class missing": ({"handlers": {"h": {}}}, "handlers.h: class is missing"),
    "class is none": ({"handlers": {"h": {"class": 3}}}, "handlers.h: 3 is no name of a class"),
    "argument missing": (
        {"handlers": {"h": {"class": "logging.FileHandler"}}},
        "handlers.h: logging.FileHandler: missing a required argument: 'filename'",
    ),
    "argument unknown": (
        {"handlers": {"h": {**STREAM, "file": "x"}}},
        "an unexpected keyword argument 'file'",
    ),
    "stream": ({"handlers": {"h": {**STREAM, "stream": "ext://sys.stdin_"}}}, "there is no sys.stdin_"),
    "formatter": ({"handlers": {"h": {**STREAM, "formatter": "f"}}}, "handlers.h: there is no formatter 'f'"),
    "filter": ({"handlers": {"h": {**STREAM, "filters": ["f"]}}}, "handlers.h: there is no filter 'f'"),
    "level": ({"handlers": {"h": {**STREAM, "level": "info"}}}, "handlers.h: there is no level 'info'"),
    "target": (
        {"handlers": {"h": {"class": "logging.handlers.MemoryHandler", "capacity": 1, "target": "t"}}},
        "handlers.h: there is no handler 't'",
    ),
    "style": ({"formatters": {"f": {"style": "x"}}}, "formatters.f: Style must be one of"),
    "format": ({"formatters": {"f": {"format": "{message}"}}}, "formatters.f: Invalid format '{message}'"),
    "factory": (
        {"formatters": {"f": {"()": "nope.make"}}},
        "formatters.f: nope.make: there is no module nope",
    ),
    "filter's factory": ({"filters": {"f": {"()": "nope.make"}}}, "filters.f: nope.make: there is no module"),
    "logger's handler": ({"loggers": {"a.b": {"handlers": ["x"]}}}, "loggers.a.b: there is no handler 'x'"),
    "logger's filter": ({"loggers": {"a": {"filters": ["x"]}}}, "loggers.a: there is no filter 'x'"),
    "handlers are text": (
        {"handlers": {"con": STREAM}, "root": {"handlers": "con"}},
        "root: handlers must be a list of names, not 'con'",
    ),
    "root's level": ({"root": {"level": "LOUD"}}, "root: there is no level 'LOUD'"),
    "root": ({"root": [1]}, "root: it must be a table, not [1]"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name):
    logconfig.judge(GOOD[name])


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name):
    table, said = WRONG[name]
    with pytest.raises(Refused) as refused:
        logconfig.judge(table)
    assert said in refused.value.problem


APPLY = """
import json, logging.config, sys
from prefork.config.logdefaults import completed

for name, table in json.load(sys.stdin).items():
    try:
        logging.config.dictConfig(completed(table))
    except Exception:
        print("refused", name)
    else:
        print("applied", name)
"""


def test_logging_itself_says_the_same(place):
    """In a process of its own: what is applied there stays."""
    tables = {f"good {name}": table for name, table in GOOD.items()}
    tables |= {f"wrong {name}": table for name, (table, _) in WRONG.items()}
    said = subprocess.run(
        [sys.executable, "-c", APPLY],
        input=json.dumps(tables),
        capture_output=True,
        text=True,
        check=True,
        cwd=place,
    )
    expected = [f"applied good {name}" for name in GOOD] + [f"refused wrong {name}" for name in WRONG]
    assert said.stdout.splitlines() == expected


class TestNamesOfModulesThatAreNotPythons:
    """They are looked for. Importing them is left to the start."""

    def judge(self, name):
        logconfig.judge({"handlers": {"h": {"class": name}}})

    def test_not_imported(self, place, monkeypatch):
        monkeypatch.syspath_prepend(str(place))
        (place / "shop_handlers.py").write_text("raise RuntimeError('imported')")
        self.judge("shop_handlers.Any")
        assert "shop_handlers" not in sys.modules

    def test_imported_by_somebody(self, place, monkeypatch):
        monkeypatch.syspath_prepend(str(place))
        (place / "shop_lines").mkdir()
        (place / "shop_lines/__init__.py").write_text("import logging\nclass H(logging.Handler): pass\n")
        (place / "shop_lines/below.py").write_text("raise RuntimeError('imported')")
        import shop_lines  # noqa: F401

        self.judge("shop_lines.H")
        self.judge("shop_lines.below.H")
        with pytest.raises(Refused, match=r"there is no shop_lines\.G"):
            self.judge("shop_lines.G")

    def test_a_class_itself(self):
        import logging

        self.judge(logging.NullHandler)


def test_nothing_is_opened(place, monkeypatch):
    monkeypatch.chdir(place)
    table = {"handlers": {"h": {"class": "logging.FileHandler", "filename": "x.log"}}}
    logconfig.judge(table)
    assert list(logconfig.files(table)) == [("h", "x.log")]
    assert not list(place.iterdir())


LATER = [
    {"class": "logging.FileHandler", "filename": "x.log", "delay": True},
    {"()": "logging.FileHandler", "filename": "x.log"},
    {"class": "logging.StreamHandler"},
    {"class": "logging.FileHandler", "filename": "cfg://name"},
]


@pytest.mark.parametrize("handler", LATER)
def test_files_that_the_start_does_not_open(handler):
    assert not list(logconfig.files({"handlers": {"h": handler}}))


INI = """\
[loggers]
keys = root, shop

[handlers]
keys = console, file

[formatters]
keys = line

[formatter_line]
format = %(asctime)s %(message)s

[handler_console]
class = StreamHandler
args = (sys.stdout,)
formatter = line
level = INFO

[handler_file]
class = handlers.RotatingFileHandler
args = ('%(here)s/x.log',)

[logger_root]
level = INFO
handlers = console

[logger_shop]
qualname = shop
handlers =
"""

# what stands in INI -> what stands there instead, and what is said of it
WRONG_INI = {
    "section": ("[logger_shop]", "[logger_shap]", "there is no section [logger_shop]"),
    "root": ("keys = root, shop", "keys = shop", "[loggers]: keys does not name root"),
    "qualname": ("qualname = shop", "", "[logger_shop]: qualname is missing"),
    "handlers": ("handlers =\n", "\n", "[logger_shop]: handlers is missing"),
    "handler": ("handlers = console", "handlers = consol", "[logger_root]: there is no handler 'consol'"),
    "formatter": ("formatter = line", "formatter = lin", "[handler_console]: there is no formatter 'lin'"),
    "level": ("level = INFO\nhandlers", "level = LOUD\nhandlers", "[logger_root]: there is no level 'LOUD'"),
    "class": (
        "class = StreamHandler",
        "class = nope.X",
        "[handler_console]: nope.X: there is no module nope",
    ),
    "class of logging": ("= StreamHandler", "= StraemHandler", "there is no module StraemHandler"),
    "no class": ("class = StreamHandler", "", "[handler_console]: class is missing"),
    "arguments": ("(sys.stdout,)", "(sys.stdout", "[handler_console]: args = (sys.stdout is no expression"),
    "style": ("format = %(asctime)s", "style = x\nformat = %(asctime)s", "[formatter_line]: Style must be"),
    "interpolation": ("%(here)s", "%(there)s", "cannot be read: Bad value substitution"),
    "comma": ("keys = console, file", "keys = console, file,", "there is no section [handler_]"),
}


def test_good_ini(tmp_path):
    (tmp_path / "log.ini").write_text(INI)
    logconfig.judge_ini(str(tmp_path / "log.ini"))
    assert [path.name for path in tmp_path.iterdir()] == ["log.ini"]


@pytest.mark.parametrize("name", WRONG_INI)
def test_wrong_ini(tmp_path, name):
    right, wrong, said = WRONG_INI[name]
    assert right in INI
    (tmp_path / "log.ini").write_text(INI.replace(right, wrong))
    with pytest.raises(Refused) as refused:
        logconfig.judge_ini(str(tmp_path / "log.ini"))
    assert said in refused.value.problem


APPLY_INI = """
import logging.config, sys

for path in sys.argv[1:]:
    try:
        logging.config.fileConfig(path, {"here": "."})
    except Exception:
        print("refused", path)
    else:
        print("applied", path)
"""


def test_logging_itself_says_the_same_of_ini(tmp_path):
    (tmp_path / "good").write_text(INI)
    for name, (right, wrong, _) in WRONG_INI.items():
        (tmp_path / name).write_text(INI.replace(right, wrong))
    said = subprocess.run(
        [sys.executable, "-c", APPLY_INI, "good", *WRONG_INI],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert said.stdout.splitlines() == ["applied good", *(f"refused {name}" for name in WRONG_INI)]


class TestLoaded:
    """With its place, before anything is started."""

    def test_toml(self, loaded):
        with pytest.raises(
            Exception, match=r"^logconfig_dict = .* \(prefork.toml\): handlers.h: nope.X: there"
        ):
            loaded(prefork__toml='[logconfig_dict.handlers.h]\nclass = "nope.X"')

    def test_python(self, loaded):
        with pytest.raises(
            Exception, match=r"\(prefork.conf.py\): root: there is no handler 'consol'; did you"
        ):
            loaded(
                prefork__conf__py="import logging\nlogconfig_dict = {'root': {'handlers': ['consol']}, "
                "'handlers': {'console': {'class': 'logging.StreamHandler'}}}"
            )

    def test_folders_are_seen_from_chdir(self, loaded, place):
        (place / "shop" / "log").mkdir(parents=True)
        text = '[logconfig_dict.handlers.h]\nclass = "logging.FileHandler"\nfilename = "log/x"'
        assert loaded("--chdir=shop", prefork__toml=text).settings.logconfig_dict
        with pytest.raises(Exception, match=r"filename = log/x: there is no directory .*/log$"):
            loaded(prefork__toml=text)
