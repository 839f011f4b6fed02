"""The command line's grammar, and every flag's spelling."""

import pytest

from prefork.config import argv
from prefork.config.compound import Each
from prefork.config.foreign import FOREIGN
from prefork.config.parse import Toggle
from prefork.config.settings import ROWS
from prefork.errors import ConfigError

# name -> flags, as operators know them from gunicorn (issue by issue, not made from the rows).
SPELLING = {
    "bind": ("-b", "--bind"),
    "backlog": ("--backlog",),
    "reuse_port": ("--reuse-port",),
    "workers": ("-w", "--workers"),
    "min_workers": ("--min-workers",),
    "worker_class": ("-k", "--worker-class"),
    "threads": ("--threads",),
    "worker_connections": ("--worker-connections",),
    "max_requests": ("--max-requests",),
    "max_requests_jitter": ("--max-requests-jitter",),
    "timeout": ("-t", "--timeout"),
    "graceful_timeout": ("--graceful-timeout",),
    "keepalive": ("--keep-alive",),
    "limit_request_line": ("--limit-request-line",),
    "limit_request_fields": ("--limit-request-fields",),
    "limit_request_field_size": ("--limit-request-field_size",),
    "preload_app": ("--preload",),
    "reload": ("--reload",),
    "reload_extra_files": ("--reload-extra-file",),
    "sendfile": ("--no-sendfile",),
    "chdir": ("--chdir",),
    "pythonpath": ("--pythonpath",),
    "raw_env": ("-e", "--env"),
    "daemon": ("-D", "--daemon"),
    "pidfile": ("-p", "--pid"),
    "worker_tmp_dir": ("--worker-tmp-dir",),
    "user": ("-u", "--user"),
    "group": ("-g", "--group"),
    "umask": ("-m", "--umask"),
    "initgroups": ("--initgroups",),
    "proc_name": ("-n", "--name"),
    "forwarded_allow_ips": ("--forwarded-allow-ips",),
    "forwarder_headers": ("--forwarder-headers",),
    "header_map": ("--header-map",),
    "accesslog": ("--access-logfile",),
    "access_log_format": ("--access-logformat",),
    "errorlog": ("--error-logfile", "--log-file"),
    "loglevel": ("--log-level",),
    "capture_output": ("--capture-output",),
    "logconfig": ("--log-config",),
    "logconfig_json": ("--log-config-json",),
    # our own
    "factory": ("--factory",),
    "log_format": ("--log-format",),
    "limit_request_head": ("--limit-request-head",),
    "limit_request_body": ("--limit-request-body",),
    "body_memory_limit": ("--body-memory-limit",),
    "response_buffer_limit": ("--response-buffer-limit",),
    "stream_request_body": ("--stream-request-body",),
    "head_timeout": ("--head-timeout",),
    "body_timeout": ("--body-timeout",),
    "body_min_rate": ("--body-min-rate",),
    "write_timeout": ("--write-timeout",),
    "linger_timeout": ("--linger-timeout",),
    "queue_timeout": ("--queue-timeout",),
    "boot_timeout": ("--boot-timeout",),
    "drain_delay": ("--drain-delay",),
    "max_memory": ("--max-memory",),
    "max_lifetime": ("--max-lifetime",),
    "handover_ms": ("--handover-ms",),
    "stall_timeout": ("--stall-timeout",),
    "warmup": ("--warmup",),
    "bake": ("--bake",),
}
FLAGS = [(name, flag) for name, flags in SPELLING.items() for flag in flags]

# Flags that gunicorn 27 has: each is ours, a command, or refused with a reason.
GUNICORN = """
    --access-logfile --access-logformat --asgi-disconnect-grace-period --asgi-lifespan --asgi-loop --backlog
    --bind --ca-certs --capture-output --casefold-http-method --cert-reqs --certfile --chdir --check-config
    --ciphers --config --control-socket --control-socket-mode --daemon --dirty-app --dirty-graceful-timeout
    --dirty-threads --dirty-timeout --dirty-workers --disable-redirect-access-to-syslog
    --do-handshake-on-connect --dogstatsd-tags --enable-backlog-metric --enable-stdio-inheritance --env
    --error-logfile --forwarded-allow-ips --forwarder-headers --graceful-timeout --group --header-map --help
    --http-parser --http-protocols --http2-cleartext --http2-initial-window-size
    --http2-max-concurrent-streams --http2-max-frame-size --http2-max-header-list-size --initgroups
    --keep-alive --keyfile --limit-request-field_size --limit-request-fields --limit-request-line
    --log-config --log-config-json --log-file --log-level --log-syslog --log-syslog-facility
    --log-syslog-prefix --log-syslog-to --logger-class --max-requests --max-requests-jitter --name
    --no-control-socket --no-sendfile --paste --paste-global --paster --permit-obsolete-folding
    --permit-unconventional-http-method --permit-unconventional-http-version --pid --preload --print-config
    --protocol --proxy-allow-from --proxy-protocol --pythonpath --reload --reload-engine --reload-extra-file
    --reuse-port --root-path --spew --ssl-version --statsd-host --statsd-prefix --strip-header-spaces
    --suppress-ragged-eofs --threads --timeout --umask --user --uwsgi-allow-from --version
    --websocket-max-message-size --worker-class --worker-connections --worker-tmp-dir --workers -D -R -b -c
    -e -g -h -k -m -n -p -t -u -v -w
"""


def texts(line):
    return [(row.name, text) for row, text, _ in line.given]


@pytest.mark.parametrize(("name", "flag"), FLAGS)
def test_spelling(name, flag):
    if isinstance(ROWS[name].kind, Toggle):
        value = "false" if flag.startswith("--no-") else "true"
        assert texts(argv.parse([flag])) == [(name, value)]
        return
    assert texts(argv.parse([flag, "x"])) == [(name, "x")]
    assert texts(argv.parse([f"{flag}=x=y"])) == [(name, "x=y")]
    assert texts(argv.parse([f"{flag}="])) == [(name, "")]


def test_the_table_of_spellings_is_complete():
    with_flags = {name for name, row in ROWS.items() if row.flags}
    assert with_flags == SPELLING.keys()


def test_no_flag_is_given_twice():
    flags = [flag for row in ROWS.values() for flag in row.flags] + list(argv.COMMANDS)
    flags += [flag for foreign in FOREIGN.values() for flag in foreign.flags]
    assert len(flags) == len(set(flags))
    assert not FOREIGN.keys() & ROWS.keys()


@pytest.mark.parametrize("flag", GUNICORN.split())
def test_every_flag_of_gunicorn_has_an_answer(flag):
    if flag == "--no-sendfile" or flag in argv.FLAGS or flag in argv.COMMANDS:
        return
    [row] = [foreign for foreign in FOREIGN.values() if flag in foreign.flags]
    if row.harmless(True if row.bare else "x"):
        assert argv.parse([flag, "x"]).apps == (["x"] if row.bare else [])
        return
    with pytest.raises(ConfigError) as fault:
        argv.parse([flag, "x"])
    assert str(fault.value).startswith(f"{flag} is not supported: ")


def test_flags_of_gunicorn_that_stand_without_a_value():
    from gunicorn.config import KNOWN_SETTINGS

    bare = {each.name for each in KNOWN_SETTINGS if each.cli and each.action == "store_true"}
    assert {name for name, foreign in FOREIGN.items() if foreign.bare} == bare & FOREIGN.keys()


# What asks for nothing: it says what happens anyhow, or more about what is refused by itself.
HARMLESS = [
    ["--enable-stdio-inheritance"],
    ["-R"],
    ["--no-control-socket"],
    ["--reload-engine", "auto"],
    ["--reload-engine=auto"],
    ["--dirty-threads", "1"],
    ["--proxy-protocol", "off"],
    ["--do-handshake-on-connect"],
    ["--disable-redirect-access-to-syslog"],
    ["--statsd-prefix", "shop"],
    ["--statsd-prefix="],
    ["--log-syslog-to", "udp://logs:514"],
    ["--certfile", ""],
]


@pytest.mark.parametrize("words", HARMLESS)
def test_what_asks_for_nothing_passes(words):
    line = argv.parse(["-w", "4", *words, "app:app", "--threads", "2"])
    assert texts(line) == [("workers", "4"), ("threads", "2")]
    assert line.apps == ["app:app"]


def test_it_passes_among_letters():
    assert texts(argv.parse(["-RDw", "4"])) == [("daemon", "true"), ("workers", "4")]


WHOLE_LINES = [
    (["app"], [], ["app"]),
    (["-w", "4", "app"], [("workers", "4")], ["app"]),
    (["app", "-w4"], [("workers", "4")], ["app"]),
    (["-w=4"], [("workers", "4")], []),
    (["-Dw", "4"], [("daemon", "true"), ("workers", "4")], []),
    (["-Dw4"], [("daemon", "true"), ("workers", "4")], []),
    (["-b", ":1", "app", "-b", ":2"], [("bind", ":1"), ("bind", ":2")], ["app"]),
    (["--access-logfile", "-"], [("accesslog", "-")], []),
    (["-t", "-5"], [("timeout", "-5")], []),
    (["--", "-w"], [], ["-w"]),
    (["-w", "4", "--", "app", "--preload"], [("workers", "4")], ["app", "--preload"]),
    (["--preload"], [("preload_app", "true")], []),
    (["--no-preload"], [("preload_app", "false")], []),
    (["--preload=false"], [("preload_app", "false")], []),
    (["--sendfile"], [("sendfile", "true")], []),
    (["-"], [], ["-"]),
    (["a", "b"], [], ["a", "b"]),
    ([], [], []),
]


@pytest.mark.parametrize(("words", "given", "apps"), WHOLE_LINES)
def test_grammar(words, given, apps):
    line = argv.parse(words)
    assert texts(line) == given
    assert line.apps == apps


COMMANDS = [
    (["-c", "a.toml"], {"config"}, "a.toml"),
    (["--config=a", "-c", "b"], {"config"}, "b"),
    (["-ca.py"], {"config"}, "a.py"),
    (["--check-config", "--print-config"], {"check", "print"}, ""),
    (["-h"], {"help"}, ""),
    (["--help", "app"], {"help"}, ""),
    (["-v"], {"version"}, ""),
    (["--version"], {"version"}, ""),
]


@pytest.mark.parametrize(("words", "commands", "config"), COMMANDS)
def test_commands(words, commands, config):
    line = argv.parse(words)
    assert (line.commands, line.config) == (commands, config)


FAULTS = [
    (["--worker", "4"], "there is no option --worker; did you mean --workers?"),
    (["--worker-clas=x"], "there is no option --worker-clas; did you mean --worker-class?"),
    (["--frobnicate"], "there is no option --frobnicate; prefork --help lists all"),
    (["-X"], "there is no option -X; prefork --help lists all"),
    (["-DX"], "there is no option -X; prefork --help lists all"),
    (["--no-threads"], "there is no option --no-threads; did you mean --threads?"),
    (["--workers"], "--workers needs a value (N)"),
    (["-w"], "-w needs a value (N)"),
    (["-Dw"], "-w needs a value (N)"),
    (["-b", "-w", "4"], "-b needs a value (ADDRESS), but -w follows"),
    (["-b", "--workers=4"], "-b needs a value (ADDRESS), but --workers=4 follows"),
    (["-c"], "-c needs a value (FILE)"),
    (["--no-preload=1"], "--no-preload takes no value"),
    (["--check-config=1"], "--check-config takes no value"),
    (["--certfile", "x"], "--certfile is not supported: TLS is not spoken here"),
    (["--certfile"], "--certfile is not supported: TLS is not spoken here"),
    (["--certfile", "None"], "--certfile is not supported: TLS is not spoken here"),
    (["-R=1"], "there is no option -="),
    (["--no-control-socket=1"], "--no-control-socket is not supported: there is no control socket"),
    (["--reload-engine", "inotify"], "--reload-engine is not supported: watchfiles is used"),
    (["--reload-engine"], "--reload-engine is not supported: watchfiles is used"),
    (["--proxy-protocol", "app"], "--proxy-protocol is not supported: the PROXY protocol"),
    (["--spew", "app"], "--spew is not supported: "),
    (["--wor", "4"], "there is no option --wor; prefork --help lists all"),
]


@pytest.mark.parametrize(("words", "text"), FAULTS)
def test_faults(words, text):
    with pytest.raises(ConfigError) as fault:
        argv.parse(words)
    assert str(fault.value).startswith(text)
    assert "\n" not in str(fault.value)
    assert fault.value.exit_code == 2


def test_a_fault_says_where_it_was_found():
    with pytest.raises(ConfigError, match=r"^PREFORK_CMD_ARGS: there is no option --x"):
        argv.parse(["--x"], "PREFORK_CMD_ARGS")


def test_lists_may_be_repeated():
    repeated = {name for name, row in ROWS.items() if row.flags and isinstance(row.kind, Each)}
    assert {"bind", "raw_env", "reload_extra_files", "pythonpath", "forwarded_allow_ips"} <= repeated
