"""What settings owe each other and the system."""

import importlib.util
import os

import pytest

from prefork.errors import ConfigError


class TestPaths:
    def test_relative_to_chdir_which_is_relative_to_the_start(self, loaded, place):
        (place / "shop" / "lib").mkdir(parents=True)
        settings = loaded(
            "--chdir=shop",
            "--pythonpath=lib,..",
            "-p",
            "x.pid",
            "--access-logfile",
            "a.log",
            "--log-file",
            "-",
        ).settings
        assert settings.chdir == f"{place}/shop"
        assert settings.pythonpath == (f"{place}/shop/lib", f"{place}")
        assert settings.pidfile == f"{place}/shop/x.pid"
        assert settings.accesslog == f"{place}/shop/a.log"
        assert settings.errorlog == "-"

    def test_without_chdir_it_is_where_prefork_was_started(self, loaded, place):
        assert loaded().settings.chdir == str(place)

    def test_the_name_of_a_symlink_is_kept(self, loaded, place):
        (place / "release").mkdir()
        (place / "current").symlink_to("release")
        assert loaded("--chdir", "current").settings.chdir == f"{place}/current"

    WRONG = (
        ("--chdir", "none", "chdir", "there is no such directory"),
        ("--chdir", "file", "chdir", "there is no such directory"),
        ("-p", "none/x.pid", "pidfile", "there is no directory {place}/none"),
        ("-p", "folder", "pidfile", "this is a directory, not a file"),
        ("--worker-tmp-dir", "none", "worker_tmp_dir", "there is no such directory"),
        ("--pythonpath", "none", "pythonpath", "there is no such directory"),
        ("--access-logfile", "none/a", "accesslog", "there is no directory {place}/none"),
        ("--log-file", "none/a", "errorlog", "there is no directory {place}/none"),
        ("--log-config", "none", "logconfig", "there is no such file"),
        ("--log-config", "file", "logconfig", "cannot be read: File contains no section headers."),
        ("--log-config", "ini", "logconfig", "there is no section [formatters]"),
        ("--log-config-json", "none", "logconfig_json", "there is no such file"),
        ("--log-config-json", "file", "logconfig_json", "is not JSON: Expecting value"),
        ("--log-config-json", "list", "logconfig_json", "the file: it must be a table, not [1]"),
        ("--log-config-json", "nope", "logconfig_json", "handlers.h: nope.X: there is no module nope"),
        (
            "--log-config-json",
            "lost",
            "logconfig_json",
            "handlers.h: filename = none/x.log: there is no directory {place}/none",
        ),
    )

    @pytest.fixture
    def furnished(self, place):
        (place / "folder").mkdir()
        (place / "file").write_text("neither")
        (place / "list").write_text("[1]")
        (place / "json").write_text('{"version": 1}')
        (place / "nope").write_text('{"handlers": {"h": {"class": "nope.X"}}}')
        (place / "lost").write_text(
            '{"handlers": {"h": {"class": "logging.FileHandler", "filename": "none/x.log"}}}'
        )
        (place / "ini").write_text("[loggers]\nkeys=root\n")
        (place / "good").write_text(
            "[loggers]\nkeys=root\n[logger_root]\nhandlers=\n[handlers]\nkeys=\n[formatters]\nkeys=\n"
        )
        return place

    @pytest.mark.parametrize(("flag", "path", "name", "problem"), WRONG)
    def test_wrong(self, loaded, furnished, flag, path, name, problem):  # noqa: PLR0917
        with pytest.raises(ConfigError) as fault:
            loaded(flag, path)
        start = f"{name} = '{furnished}/{path}' (command line, {flag}): {problem.format(place=furnished)}"
        assert str(fault.value).startswith(start)
        assert "\n" not in str(fault.value)

    def test_one_way_to_configure_logging(self, loaded, furnished):
        assert loaded("--log-config=good").settings.logconfig == f"{furnished}/good"
        assert loaded("--log-config-json=json").settings.logconfig_json == f"{furnished}/json"
        with pytest.raises(ConfigError, match="logconfig configures logging already: keep one of them"):
            loaded("--log-config=good", "--log-config-json=json")

    def test_a_directory_that_may_not_be_written_to(self, loaded, place, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
        with pytest.raises(ConfigError, match=r"the directory .* may not be written to$"):
            loaded("-p", "x.pid")


class TestWorkerClass:
    def test_threads_make_the_class(self, loaded):
        made = loaded("--threads", "4")
        assert made.settings.worker_class == "threads"
        assert made.origins["worker_class"] == "threads = 4"

    def test_one_thread_stays_sync(self, loaded):
        assert loaded("--threads", "1").settings.worker_class == "sync"

    def test_gthread_is_threads(self, loaded):
        made = loaded("-k", "gthread")
        assert (made.settings.worker_class, made.settings.threads) == ("threads", 1)
        assert "--threads says how many" in made.notes[0]
        assert loaded("-k", "gthread", "--threads", "3").notes == ()

    def test_gevent_and_threads_are_explained(self, loaded):
        with pytest.raises(ConfigError) as fault:
            loaded("-k", "gevent", "--threads", "4")
        assert str(fault.value) == (
            "threads = '4' (command line, --threads): "
            "a gevent worker runs requests in greenlets of one thread: "
            "leave it out, or leave out worker_class = gevent (--worker-connections says how many at once)"
        )

    def test_gevent_and_preload_are_explained(self, loaded):
        with pytest.raises(ConfigError, match="gevent has to replace parts of the standard library before"):
            loaded("-k", "gevent", "--preload")

    def test_streaming_takes_concurrency(self, loaded):
        with pytest.raises(ConfigError, match="a sync worker runs one request at a time and would wait"):
            loaded("--stream-request-body")
        assert loaded("--stream-request-body", "--threads=2").settings.stream_request_body

    def test_gevent_that_is_not_installed(self, loaded, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ConfigError) as fault:
            loaded("-k", "gevent")
        text = "worker_class = 'gevent' (command line, -k): gevent is not installed: "
        assert str(fault.value) == text + "pip install 'prefork[gevent]'"

    def test_gevent_is_looked_for_and_not_imported(self, loaded, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
        assert loaded("-k", "gevent").settings.worker_class == "gevent"


class TestLimits:
    def test_a_small_head_bounds_its_parts(self, loaded):
        settings = loaded("--limit-request-head", "2k").settings
        assert (settings.limit_request_line, settings.limit_request_field_size) == (2048, 2048)

    def test_zero_is_the_heads(self, loaded):
        settings = loaded("--limit-request-line=0", "--limit-request-field_size=0").settings
        assert (settings.limit_request_line, settings.limit_request_field_size) == (65536, 65536)

    def test_a_part_larger_than_the_whole(self, loaded):
        with pytest.raises(ConfigError) as fault:
            loaded("--limit-request-line", "128k")
        assert str(fault.value) == (
            "limit_request_line = '128k' (command line, --limit-request-line): "
            "a part cannot be larger than limit_request_head = 65536"
        )


class TestWorkers:
    def test_auto_says_how(self, loaded):
        made = loaded("-w", "auto")
        assert made.settings.workers >= 1
        assert made.notes == (f"workers auto = {made.settings.workers}: " + made.notes[0].partition(": ")[2],)
        assert made.origins["workers"].startswith("command line, -w, workers auto = ")

    def test_fewer_workers_than_the_least(self, loaded):
        assert loaded("--min-workers", "4", "-w", "4").settings.min_workers == 4
        assert loaded("-w", "4").settings.min_workers == 0
        with pytest.raises(ConfigError) as fault:
            loaded("--min-workers", "5", "-w", "4")
        assert str(fault.value) == (
            "min_workers = '5' (command line, --min-workers): it cannot be more than workers = 4"
        )
        with pytest.raises(ConfigError, match=r"it cannot be more than workers = 1$"):
            loaded("--min-workers", "2")

    def test_jitter_alone_is_noted(self, loaded):
        assert "max_requests_jitter" in loaded("--max-requests-jitter", "5").notes[0]


class TestBind:
    def test_none(self, loaded):
        with pytest.raises(ConfigError, match=r"^bind = .* there must be at least one address$"):
            loaded(prefork__toml="bind = []")


class TestIdentity:
    def test_another_user_takes_root(self, loaded, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
        with pytest.raises(ConfigError) as fault:
            loaded("-u", "1235")
        assert str(fault.value) == (
            "user = '1235' (command line, -u): only root can run workers as another user"
        )

    def test_another_group_takes_root(self, loaded, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
        monkeypatch.setattr(os, "getegid", lambda: 1234)
        assert loaded("-g", "1234", "-u", "1234").settings.group == 1234
        with pytest.raises(ConfigError, match="only root can run workers as another group"):
            loaded("-g", "1235")

    def test_root_may(self, loaded, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        settings = loaded("-u", "1235", "-g", "1236").settings
        assert (settings.user, settings.group) == (1235, 1236)

    def test_daemon_under_systemd_is_noted(self, loaded):
        assert "systemd" in loaded("-D", environ={"NOTIFY_SOCKET": "x"}).notes[0]
        assert loaded("-D").notes == ()
