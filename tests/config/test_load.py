"""Where values come from, which of them counts, and what is said of a wrong one."""

import os

import pytest

from prefork.config.load import for_reload
from prefork.config.settings import ROWS, Settings
from prefork.errors import ConfigError

# The same setting from every place, from the weakest to the strongest: place -> (where to put it, origin).
PLACES = {
    "default": "default",
    "platform": "WEB_CONCURRENCY",
    "file": "prefork.toml",
    "arguments": "PREFORK_CMD_ARGS, --workers",
    "variable": "PREFORK_WORKERS",
    "line": "command line, -w",
}


def arrange(loaded, places):
    words, environ, files = [], {}, {}
    for number, place in enumerate(PLACES, 1):
        if place not in places:
            continue
        if place == "platform":
            environ["WEB_CONCURRENCY"] = str(number)
        elif place == "file":
            files["prefork__toml"] = f"workers = {number}\n"
        elif place == "arguments":
            environ["PREFORK_CMD_ARGS"] = f"--workers {number}"
        elif place == "variable":
            environ["PREFORK_WORKERS"] = str(number)
        elif place == "line":
            words = ["-w", str(number)]
    return loaded(*words, environ=environ, **files)


@pytest.mark.parametrize("strongest", range(len(PLACES)))
def test_the_stronger_place_counts(loaded, strongest):
    names = list(PLACES)[: strongest + 1]
    made = arrange(loaded, names)
    assert made.settings.workers == strongest + 1
    assert made.origins["workers"] == PLACES[names[-1]]


@pytest.mark.parametrize("only", PLACES)
def test_each_place_alone(loaded, only):
    made = arrange(loaded, [only])
    assert made.settings.workers == list(PLACES).index(only) + 1
    assert made.origins["workers"] == PLACES[only]
    assert made.origins.keys() == ROWS.keys()


def test_a_stronger_place_replaces_a_list(loaded):
    made = loaded("-b", ":1", "-b", ":2,:3", prefork__toml='bind = [":8", ":9"]\nraw_env = ["A=b"]\n')
    assert made.settings.bind == (":1", ":2", ":3")
    assert made.settings.raw_env == ("A=b",)


UID = str(os.geteuid())

# One value of every kind from every place that can hold it: name, text, TOML, Python, value.
EVERYWHERE = [
    ("workers", "3", "3", "3", 3),
    ("timeout", "1.5", "1.5", "1.5", 1.5),
    ("graceful_timeout", "2m", '"2m"', "'2m'", 120.0),
    ("limit_request_body", "10m", '"10m"', "10 * 2**20", 10 << 20),
    ("capture_output", "true", "true", "True", True),
    ("sendfile", "no", "false", "False", False),
    ("worker_class", "gthread", '"gthread"', "'gthread'", "threads"),
    ("header_map", "refuse", '"refuse"', "'refuse'", "refuse"),
    ("loglevel", "WARN", '"warn"', "'warn'", "warning"),
    ("umask", "027", "0o027", "0o027", 0o027),
    (
        "bind",
        "127.0.0.1:1,[::1]:2",
        '["127.0.0.1:1", "[::1]:2"]',
        "('127.0.0.1:1', '[::1]:2')",
        ("127.0.0.1:1", "[::1]:2"),
    ),
    ("forwarded_allow_ips", "*", '"*"', "'*'", ("*",)),
    (
        "forwarded_allow_ips",
        "10.0.0.0/8, ::1",
        '["10.0.0.0/8", "::1"]',
        "'10.0.0.0/8,::1'",
        ("10.0.0.0/8", "::1"),
    ),
    ("secure_scheme_headers", "X-A=on", '{"X-A" = "on"}', "{'X-A': 'on'}", {"X-A": "on"}),
    ("proc_name", "shop", '"shop"', "'shop'", "shop"),
    ("user", UID, UID, UID, int(UID)),
    ("wsgi_app", "shop:app", '"shop:app"', "'shop:app'", "shop:app"),
    ("accesslog", "-", '"-"', "'-'", "-"),
    ("max_requests", "1000", "1000", "1000", 1000),
    ("handover_ms", "0.5", "0.5", ".5", 0.5),
]


WHERE = {
    "line": lambda flag, name, row: {"words": [flag]},
    "arguments": lambda flag, name, row: {"environ": {"PREFORK_CMD_ARGS": f"'{flag}'"}},
    "variable": lambda flag, name, row: {"environ": {f"PREFORK_{name.upper()}": row[1]}},
    "toml": lambda flag, name, row: {"prefork__toml": f"{name} = {row[2]}"},
    "python": lambda flag, name, row: {"prefork__conf__py": f"{name} = {row[3]}"},
}
EACH = [
    pytest.param(where, row, id=f"{row[0]}-{where}-{number}")
    for number, row in enumerate(EVERYWHERE)
    for where in WHERE
    if ROWS[row[0]].flags or where not in ("line", "arguments")
]


@pytest.mark.parametrize(("where", "row"), EACH)
def test_every_kind_from_every_place(loaded, where, row):
    name, text, *_, value = row
    flag = f"{ROWS[name].flags[-1]}={text}" if ROWS[name].flags else ""
    given = WHERE[where](flag, name, row)
    assert getattr(loaded(*given.pop("words", []), **given).settings, name) == value


class TestApplication:
    def test_from_the_command_line(self, loaded):
        made = loaded("shop:app", environ={"PREFORK_WSGI_APP": "other"}, prefork__toml='wsgi_app = "third"')
        assert made.settings.wsgi_app == "shop:app"

    def test_from_a_file(self, loaded):
        assert loaded(prefork__toml='wsgi_app = "shop:app"').settings.wsgi_app == "shop:app"

    def test_none(self, loaded):
        assert loaded().settings.wsgi_app is None

    def test_two(self, loaded):
        with pytest.raises(ConfigError, match=r"^one application is served, not 2: a b$"):
            loaded("a", "b")


class TestPlatform:
    def test_port(self, loaded):
        made = loaded(environ={"PORT": "5000"})
        assert made.settings.bind == ("0.0.0.0:5000",)
        assert made.origins["bind"] == "PORT"

    def test_port_gives_way(self, loaded):
        assert loaded("-b", ":1", environ={"PORT": "5000"}).settings.bind == (":1",)
        assert loaded(environ={"PORT": "5000"}, prefork__toml='bind = ":2"').settings.bind == (":2",)

    def test_port_that_is_none_gives_way_too(self, loaded):
        assert loaded("-b", ":1", environ={"PORT": "x"}).settings.bind == (":1",)

    @pytest.mark.parametrize("port", ["x", "0", "65536", "-1", "tcp://10.0.0.1:80"])
    def test_wrong_port(self, loaded, port):
        with pytest.raises(ConfigError) as fault:
            loaded(environ={"PORT": port})
        assert str(fault.value) == f"PORT = {port!r} (environment): must be a port from 1 to 65535"

    def test_forwarded_allow_ips(self, loaded):
        made = loaded(environ={"FORWARDED_ALLOW_IPS": "10.0.0.1"})
        assert made.settings.forwarded_allow_ips == ("10.0.0.1",)

    def test_empty_variables_count_as_not_set(self, loaded):
        made = loaded(
            environ={"PORT": "", "WEB_CONCURRENCY": "", "PREFORK_WORKERS": "", "PREFORK_CMD_ARGS": ""}
        )
        assert made.settings == loaded().settings

    def test_gunicorns_arguments_are_not_lost_silently(self, loaded):
        said = "GUNICORN_CMD_ARGS is set and counts for nothing: prefork reads PREFORK_CMD_ARGS"
        assert loaded(environ={"GUNICORN_CMD_ARGS": "-b :80"}).notes == (
            f"{said} (listening on 127.0.0.1:8000)",
        )
        assert loaded(environ={"GUNICORN_CMD_ARGS": "-w 3", "PREFORK_CMD_ARGS": "-w 4"}).notes == ()


class TestUnset:
    def test_an_empty_text_unsets_what_may_be_none(self, loaded):
        made = loaded("--access-logfile", "", prefork__toml='accesslog = "-"')
        assert made.settings.accesslog is None

    def test_none_in_a_python_file_is_not_set(self, loaded):
        made = loaded(
            environ={"WEB_CONCURRENCY": "3"}, prefork__conf__py="workers = None\naccesslog = None\n"
        )
        assert made.settings.workers == 3

    EMPTY = ("accesslog", "pidfile", "proc_name", "logconfig", "logconfig_json", "worker_tmp_dir", "wsgi_app")

    @pytest.mark.parametrize("name", EMPTY)
    def test_an_empty_text_in_a_file_is_not_set(self, loaded, name):
        for made in (loaded(gunicorn__conf__py=f"{name} = ''"), loaded(prefork__toml=f'{name} = ""')):
            assert getattr(made.settings, name) is None
            assert made.origins[name] == "default"

    @pytest.mark.parametrize("name", ["user", "group"])
    def test_an_empty_user_is_a_mistake(self, loaded, name):
        with pytest.raises(ConfigError, match=f"^{name} = '' .*there is no such {name}$"):
            loaded(gunicorn__conf__py=f"{name} = ''")
        with pytest.raises(ConfigError, match=f"^{name} = '' .*there is no such {name}$"):
            loaded(f"--{name}=")


# A wrong value in every place: command line, environment, file -> the whole line.
WRONG = [
    (
        ["-w", "four"],
        {},
        {},
        "workers = 'four' (command line, -w): must be a whole number from 1 to 1024, or auto",
    ),
    (
        ["--workers=0"],
        {},
        {},
        "workers = '0' (command line, --workers): must be a whole number from 1 to 1024, or auto",
    ),
    (
        [],
        {"PREFORK_TIMEOUT": "soon"},
        {},
        (
            "timeout = 'soon' (PREFORK_TIMEOUT): must be seconds from 0.1 to 86400, such as 30, 0.5 or 2m; "
            "0 is off"
        ),
    ),
    (
        [],
        {"WEB_CONCURRENCY": "many"},
        {},
        "workers = 'many' (WEB_CONCURRENCY): must be a whole number from 1 to 1024, or auto",
    ),
    ([], {"PREFORK_CMD_ARGS": "-t x"}, {}, "timeout = 'x' (PREFORK_CMD_ARGS, -t): must be seconds"),
    (
        [],
        {"PREFORK_CMD_ARGS": "--tiemout 3"},
        {},
        "PREFORK_CMD_ARGS: there is no option --tiemout; did you mean --timeout?",
    ),
    ([], {"PREFORK_CMD_ARGS": "'"}, {}, "PREFORK_CMD_ARGS: No closing quotation"),
    (
        [],
        {"PREFORK_CMD_ARGS": "app --help"},
        {},
        "PREFORK_CMD_ARGS: only settings belong here, not app, --help",
    ),
    (
        [],
        {"PREFORK_CMD_ARGS": "-c x.toml --print-config --check-config"},
        {},
        "PREFORK_CMD_ARGS: only settings belong here, not --check-config, --print-config",
    ),
    ([], {}, {"prefork__toml": "workers = true"}, "workers = True (prefork.toml): must be a whole number"),
    (
        [],
        {},
        {"prefork__toml": "capture_output = 1"},
        "capture_output = 1 (prefork.toml): must be true or false",
    ),
    ([], {}, {"prefork__conf__py": "keepalive = []"}, "keepalive = [] (prefork.conf.py): must be seconds"),
    (
        [],
        {},
        {"gunicorn__conf__py": "threads = 1.5"},
        "threads = 1.5 (gunicorn.conf.py): must be a whole number",
    ),
    (
        ["-k", "gevnt"],
        {},
        {},
        "worker_class = 'gevnt' (command line, -k): must be sync, threads or gevent; did you mean gevent?",
    ),
    (
        ["-k", "eventlet"],
        {},
        {},
        (
            "worker_class = 'eventlet' (command line, -k): eventlet is not supported; "
            "gevent is; must be sync, threads or gevent"
        ),
    ),
    (
        ["-k", "uvicorn.workers.UvicornWorker"],
        {},
        {},
        (
            "worker_class = 'uvicorn.workers.UvicornWorker' (command line, -k): "
            "ASGI applications are not served here"
        ),
    ),
    (["-k", "x"], {}, {}, "worker_class = 'x' (command line, -k): must be sync, threads or gevent"),
    (
        [],
        {"PREFORK_WORKER": "3"},
        {},
        "PREFORK_WORKER: there is no such setting; did you mean PREFORK_WORKERS?",
    ),
    (
        [],
        {"PREFORK_KEEP_ALIVE": "3"},
        {},
        "PREFORK_KEEP_ALIVE: there is no such setting; did you mean PREFORK_KEEPALIVE?",
    ),
    ([], {"PREFORK_CERTFILE": "x"}, {}, "certfile = 'x' (PREFORK_CERTFILE): is not supported: TLS"),
    (
        [],
        {"PREFORK_RAW_ENV": "A=b"},
        {},
        "raw_env (PREFORK_RAW_ENV): it can be set in a configuration file, not in the environment",
    ),
    (
        [],
        {"PREFORK_ON_EXIT": "x"},
        {},
        "on_exit (PREFORK_ON_EXIT): it can be set in a Python file, not in the environment",
    ),
    (
        [],
        {"PREFORK_LOGCONFIG_DICT": "{}"},
        {},
        "logconfig_dict (PREFORK_LOGCONFIG_DICT): it can be set in a configuration file",
    ),
    (["-u", "no-such-user"], {}, {}, "user = 'no-such-user' (command line, -u): there is no such user"),
    (
        ["-m", "9"],
        {},
        {},
        "umask = '9' (command line, -m): must be an octal mask from 0 to 0777, such as 022",
    ),
    (["-e", "A"], {}, {}, "raw_env = 'A' (command line, -e): must be KEY=VALUE"),
    (
        ["--forwarded-allow-ips", "localhost"],
        {},
        {},
        "forwarded_allow_ips = 'localhost' (command line, --forwarded-allow-ips): must be IP addresses",
    ),
]


ACCESS = "the access log format has "
WRONG += [
    (
        ["--access-logformat", format],
        {},
        {},
        f"access_log_format = {format!r} (command line, --access-logformat): {ACCESS}{said}",
    )
    for format, said in (
        ("%(P)s", "the unknown atom %(P)s; known are h, l, u"),
        ("%h", "a % that begins no %(atom)s: '%h'"),
        ("%(h)", "a % that begins no %(atom)s: '%(h)'"),
        ("%(D)-10s", "'%(D)-' where only %(D)s is known"),
    )
]
WRONG += [
    (
        [],
        {},
        {"gunicorn__conf__py": "access_log_format = '%(P)s'"},
        f"access_log_format = '%(P)s' (gunicorn.conf.py): {ACCESS}the unknown atom %(P)s",
    ),
    (
        [],
        {"PREFORK_ACCESS_LOG_FORMAT": "%h"},
        {},
        f"access_log_format = '%h' (PREFORK_ACCESS_LOG_FORMAT): {ACCESS}a % that begins no %(atom)s",
    ),
]


@pytest.mark.parametrize(("words", "environ", "files", "text"), WRONG, ids=[row[3][:50] for row in WRONG])
def test_a_wrong_value_is_one_line_with_its_place(loaded, words, environ, files, text):
    with pytest.raises(ConfigError) as fault:
        loaded(*words, environ=environ, **files)
    assert str(fault.value).startswith(text)
    assert "\n" not in str(fault.value)
    assert fault.value.exit_code == 2


def test_a_wrong_value_is_wrong_also_where_a_stronger_one_replaces_it(loaded):
    with pytest.raises(ConfigError, match=r"^workers = 'x' \(PREFORK_WORKERS\)"):
        loaded("-w", "3", environ={"PREFORK_WORKERS": "x"})


@pytest.mark.parametrize(
    "variable",
    # Kubernetes beside a service called prefork; tests and other programs.
    [
        "PREFORK_PORT",
        "PREFORK_PORT_8000_TCP_ADDR",
        "PREFORK_SERVICE_HOST",
        "PREFORK_SERVICE_PORT_HTTP",
        "PREFORK_ENV",
        "PREFORK_REQUIRE_PROGRAMS",
        "PREFORK_TEST_SERVER",
    ],
)
def test_foreign_variables_pass(loaded, variable):
    assert loaded(environ={variable: "tcp://10.0.0.1:80"}).settings == loaded().settings


class TestReload:
    def test_again_reads_the_file_of_now(self, loaded, place):
        made = loaded("-t", "5", prefork__toml="workers = 2\n")
        (place / "prefork.toml").write_text("workers = 3\ntimeout = 9\n")
        again = made.again()
        assert (again.settings.workers, again.settings.timeout) == (3, 5.0)
        assert made.settings.workers == 2

    def test_again_with_a_broken_file_raises_and_can_be_tried_again(self, loaded, place):
        made = loaded(prefork__toml="workers = 2\n")
        (place / "prefork.toml").write_text("workers = \n")
        with pytest.raises(ConfigError, match=r"^prefork.toml: is not TOML"):
            made.again()
        (place / "prefork.toml").write_text("workers = 4\n")
        assert made.again().settings.workers == 4

    def test_again_uses_the_environment_of_the_start(self, loaded):
        environ = {"PREFORK_WORKERS": "2"}
        made = loaded(environ=environ)
        environ["PREFORK_WORKERS"] = "3"
        assert made.again().settings.workers == 2

    def test_what_cannot_change_stays_and_is_named(self):
        old = Settings(bind=(":1",), workers=2)
        new, lines = for_reload(old, Settings(bind=(":2",), workers=3))
        assert (new.bind, new.workers) == ((":1",), 3)
        assert lines == ("bind stays :1: :2 counts after a restart or an upgrade",)

    def test_nothing_to_name(self):
        settings = Settings(workers=3)
        assert for_reload(Settings(), settings) == (settings, ())
