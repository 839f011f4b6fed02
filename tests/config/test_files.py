"""Configuration files: which one is found, what counts as a setting in it, and what is wrong with it."""

import pytest

from prefork.config.load import load
from prefork.config.settings import ROWS
from prefork.errors import ConfigError

FOUND = [
    ({}, ""),
    ({"prefork__toml": "workers = 2"}, "prefork.toml"),
    ({"prefork__conf__py": "workers = 2"}, "prefork.conf.py"),
    ({"gunicorn__conf__py": "workers = 2"}, "gunicorn.conf.py"),
    ({"pyproject__toml": "[tool.prefork]\nworkers = 2"}, "pyproject.toml"),
    ({"pyproject__toml": "[tool.other]\nworkers = 2"}, ""),
    ({"prefork__toml": "workers = 2", "gunicorn__conf__py": "workers = 3"}, "prefork.toml"),
    ({"prefork__conf__py": "workers = 2", "gunicorn__conf__py": "workers = 3"}, "prefork.conf.py"),
    (
        {"pyproject__toml": "[tool.prefork]\nworkers = 2", "gunicorn__conf__py": "workers = 3"},
        "pyproject.toml",
    ),
]


@pytest.mark.parametrize(("files", "name"), FOUND)
def test_found(loaded, files, name):
    made = loaded(**files)
    assert made.file == name
    assert made.settings.workers == (2 if name else 1)
    assert made.origins["workers"] == (name or "default")


def test_two_of_our_own_are_one_too_many(loaded):
    with pytest.raises(
        ConfigError, match=r"^prefork.toml and prefork.conf.py all configure prefork; keep one"
    ):
        loaded(prefork__toml="", prefork__conf__py="")


def test_a_broken_pyproject_of_somebody_else_is_not_ours_to_read(loaded):
    assert loaded(pyproject__toml="[tool.other\n").settings.workers == 1


class TestNamed:
    @pytest.mark.parametrize("location", ["{place}/x.toml", "x.toml", "file:x.toml", "file:{place}/x.toml"])
    def test_by_path(self, loaded, place, location):
        location = location.format(place=place)
        made = loaded("-c", location, x__toml="workers = 2", prefork__toml="workers = 9")
        assert made.settings.workers == 2
        assert made.origins["workers"] == location

    def test_python_by_any_other_suffix(self, loaded):
        assert loaded("-c", "server.conf", server__conf="workers = 1 + 1").settings.workers == 2

    def test_python_module(self, loaded):
        made = loaded("-c", "python:shop_settings", shop_settings__py="workers = 2")
        assert made.settings.workers == 2
        assert made.origins["workers"] == "python:shop_settings"

    def test_python_module_again(self, loaded, place):
        made = loaded("-c", "python:shop_again", shop_again__py="workers = 2")
        (place / "shop_again.py").write_text("workers = 33")
        assert made.again().settings.workers == 33

    @pytest.mark.parametrize("variable", ["PREFORK_CONFIG", "PREFORK_CMD_ARGS"])
    def test_by_environment(self, loaded, variable):
        text = "x.toml" if variable == "PREFORK_CONFIG" else "-c x.toml"
        assert loaded(environ={variable: text}, x__toml="workers = 2").settings.workers == 2

    def test_the_command_line_counts_more(self, loaded):
        made = loaded("-c", "a.toml", environ={"PREFORK_CONFIG": "b.toml"}, a__toml="workers = 2")
        assert made.file == "a.toml"

    @pytest.mark.parametrize("location", ["none.toml", "none.py", "python:none_such"])
    def test_missing(self, loaded, location):
        with pytest.raises(ConfigError) as fault:
            loaded("-c", location)
        assert str(fault.value).startswith(f"{location}: ")
        assert "\n" not in str(fault.value)

    def test_a_directory(self, loaded, place):
        (place / "conf").mkdir()
        with pytest.raises(ConfigError, match=r"^conf: cannot be read: Is a directory$"):
            loaded("-c", "conf")


class TestPythonFile:
    def test_helpers_pass(self, loaded):
        text = """
import multiprocessing, os
from pathlib import Path
HERE = Path(__file__).parent
cores = multiprocessing.cpu_count()
name = "shop"
env = os.environ.get("ENV", "live")
log_level = "debug"
loglevel = log_level
worker = 2
workers = worker * 2
_timeouts = 3
def keep_alives(): return 3
keepalive = keep_alives()
class Bind: pass
pidfile = HERE / "shop.pid"
"""
        settings = loaded(prefork__conf__py=text).settings
        assert (settings.workers, settings.keepalive, settings.loglevel) == (4, 3.0, "debug")
        assert settings.pidfile.endswith("/shop.pid")

    def test_helper_modules_beside_it(self, loaded):
        made = loaded(
            prefork__conf__py="from shop_helper import count as workers", shop_helper__py="count = 3"
        )
        assert made.settings.workers == 3

    def test_classes_know_their_module(self, loaded):
        text = "import sys\nclass A: pass\nworkers = 2 if sys.modules[A.__module__].A is A else 1"
        assert loaded(prefork__conf__py=text).settings.workers == 2

    def test_hooks(self, loaded):
        text = """
def on_starting(server): pass
def child_exit(server, worker): return "called"
class Hooks:
    def post_fork(self, server, worker): pass
post_fork = Hooks().post_fork
"""
        settings = loaded(prefork__conf__py=text).settings
        assert settings.on_starting.__name__ == "on_starting"
        assert settings.child_exit(1, 2) == "called"
        assert settings.post_fork.__name__ == "post_fork"
        assert settings.pre_fork is None

    def test_gunicorns_own_defaults_are_no_request(self, loaded):
        text = """
bind = "127.0.0.1:8000"
workers = 1
worker_class = "sync"
spew = False
tmp_upload_dir = None
certfile = None
proxy_protocol = False
proxy_allow_ips = "127.0.0.1,::1"
reload_engine = "auto"
do_handshake_on_connect = False
logger_class = "gunicorn.glogging.Logger"
syslog_facility = "user"
raw_paste_global_conf = []
enable_stdio_inheritance = True
control_socket_disable = True
disable_redirect_access_to_syslog = True
do_handshake_on_connect = True
statsd_prefix = "shop"
syslog_addr = "udp://logs:514"
"""
        assert loaded(gunicorn__conf__py=text).settings == loaded().settings


WRONG = [
    ("worker = 4", "there is no setting worker; did you mean workers?"),
    ("wokers = 4", "there is no setting wokers; did you mean workers?"),
    ("preload = True", "there is no setting preload; did you mean preload_app?"),
    ("log_level = 'debug'", "there is no setting log_level; did you mean loglevel?"),
    ("keep_alive = 3", "there is no setting keep_alive; did you mean keepalive?"),
    ("def post_frok(server, worker): pass", "there is no setting post_frok; did you mean post_fork?"),
    ("certfile = 'x.pem'", "is not supported: TLS is not spoken here"),
    ("def ssl_context(config, default): pass", "is not supported: TLS is not spoken here"),
    ("statsd_host = 'localhost:8125'", "is not supported: statsd is not supported"),
    ("workers = 'x'", "must be a whole number from 1 to 1024, or auto"),
    (
        "def on_exit(): pass",
        "it cannot be called so: too many positional arguments; must be a function of (server)",
    ),
    ("post_fork = 3", "must be a function of (server, worker) in a Python file"),
    ("import nonesuch", "line 1: ModuleNotFoundError: No module named 'nonesuch'"),
    ("\n\nworkers = 1 / 0", "line 3: ZeroDivisionError: division by zero"),
    ("\nworkers = = 1", "line 2: SyntaxError: invalid syntax"),
    ("def f():\n  return nope\n\nworkers = f()", "line 2: NameError: name 'nope' is not defined"),
    ("raise RuntimeError('two\\nlines')", "line 1: RuntimeError: two lines"),
    ("workers = 1\0", "SyntaxError: source code string cannot contain null bytes"),
    ("class C: pass\nworker_class = C", "must be sync, threads or gevent"),
    ("raise SystemExit", "line 1: a configuration may not end the process: SystemExit()"),
    ("import sys\nsys.exit('no\\nmore')", "line 2: a configuration may not end the process: SystemExit("),
    ("import sys\nsys.exit(7)", "line 2: a configuration may not end the process: SystemExit(7)"),
    ("raise ValueError", "prefork.conf.py: line 1: ValueError"),
]


@pytest.mark.parametrize(("text", "fault"), WRONG)
def test_wrong_python(loaded, text, fault):
    with pytest.raises(ConfigError) as raised:
        loaded(prefork__conf__py=text)
    assert "prefork.conf.py" in str(raised.value)
    assert fault in str(raised.value)
    assert "\n" not in str(raised.value)


class TestTheEndOfTheProcess:
    """The process that reads a file at a reload is the master of a running server."""

    def test_in_a_module(self, loaded):
        with pytest.raises(ConfigError, match=r"^python:shop_exits: a configuration may not end the process"):
            loaded("-c", "python:shop_exits", shop_exits__py="raise SystemExit(0)")

    def test_in_a_helper(self, loaded):
        with pytest.raises(
            ConfigError, match=r"line 1: a configuration may not end .* SystemExit\('gone'\)$"
        ):
            loaded(prefork__conf__py="import shop_gone", shop_gone__py="raise SystemExit('gone')")

    def test_the_file_can_be_read_again(self, loaded, place):
        made = loaded(prefork__conf__py="workers = 2")
        (place / "prefork.conf.py").write_text("import sys\nsys.exit(9)\n")
        with pytest.raises(ConfigError):
            made.again()
        (place / "prefork.conf.py").write_text("workers = 3")
        assert made.again().settings.workers == 3

    @pytest.mark.parametrize("location", ["shop_stop.py", "python:shop_stop"])
    def test_but_the_operator_may(self, loaded, location):
        with pytest.raises(KeyboardInterrupt):
            loaded("-c", location, shop_stop__py="raise KeyboardInterrupt")


WRONG_TOML = [
    ("worker = 4", "prefork.toml: there is no setting worker; did you mean workers?"),
    ("keep-alive = 4", "prefork.toml: there is no setting keep-alive; did you mean keepalive?"),
    ("Workers = 4", "prefork.toml: there is no setting Workers; did you mean workers?"),
    ("env = ['A=b']", "prefork.toml: there is no setting env; did you mean raw_env?"),
    ("colour = 4", "prefork.toml: there is no setting colour; prefork --help lists all"),
    ("[server]\nworkers = 4", "prefork.toml: there is no setting server; prefork --help lists all"),
    ("certfile = 'x'", "certfile = 'x' (prefork.toml): is not supported: TLS is not spoken here"),
    ("on_exit = 'shop:stop'", "on_exit (prefork.toml): only a Python file can hold a function"),
    ("workers = ", "prefork.toml: is not TOML: Invalid value (at"),
    ("workers = 1\nworkers = 2", "prefork.toml: is not TOML: Cannot overwrite a value"),
    ("bind = [1]", "bind = [1] (prefork.toml): must be an address"),
]


@pytest.mark.parametrize(("text", "fault"), WRONG_TOML)
def test_wrong_toml(loaded, text, fault):
    with pytest.raises(ConfigError) as raised:
        loaded(prefork__toml=text)
    assert str(raised.value).startswith(fault)
    assert "\n" not in str(raised.value)


ENCODED = [
    (b"# -*- coding: latin-1 -*-\nproc_name = 'caf\xe9'\n", "caf\u00e9"),
    (b"\xef\xbb\xbfproc_name = 'caf\xc3\xa9'\n", "caf\u00e9"),
]


@pytest.mark.parametrize(("source", "name"), ENCODED)
def test_python_says_its_encoding(place, source, name):
    from prefork.config import argv

    (place / "prefork.conf.py").write_bytes(source)
    assert load(argv.parse([]), {}, str(place)).settings.proc_name == name


def test_python_that_is_not_text(place):
    from prefork.config import argv

    (place / "prefork.conf.py").write_bytes(b"proc_name = 'caf\xe9'\n")
    # In Python's own words, which 3.14 has changed.
    words = r"^prefork.conf.py: (line 1: )?SyntaxError: (.*codec can't decode|Non-UTF-8 code)"
    with pytest.raises(ConfigError, match=words):
        load(argv.parse([]), {}, str(place))


def test_toml_that_is_not_text(place):
    from prefork.config import argv

    (place / "prefork.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"^prefork.toml: is not TOML"):
        load(argv.parse([]), {}, str(place))


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.flags])
def test_flags_in_a_file_are_led_to_their_setting(loaded, name):
    """Who writes a flag's name into TOML is told the setting's."""
    for flag in ROWS[name].flags:
        key = flag.removeprefix("--")
        if flag.startswith("--") and key not in ROWS:
            with pytest.raises(ConfigError, match=rf"there is no setting {key}; did you mean {name}\?$"):
                loaded(prefork__toml=f'{key} = "x"')
