"""Commands, exit codes, and what is printed where."""

import os
import re
import subprocess
import sys
import tomllib

import pytest

from prefork import __version__, cli
from prefork.errors import AppLoadError, BindError, BootError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder to start in, with nothing in the environment that prefork would read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in list(os.environ):
        if name.startswith(("PREFORK_", "GUNICORN_")) or name in (
            "PORT",
            "WEB_CONCURRENCY",
            "PWD",
            "NOTIFY_SOCKET",
        ):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def run(place, capfd, monkeypatch):
    """Run a command line: (exit code, stdout, stderr). Whatever would serve is recorded instead."""

    def command(*words):
        code = cli.main(words)
        return code, *capfd.readouterr()

    command.served = []
    monkeypatch.setattr(cli, "_serve", lambda loaded: command.served.append(loaded.settings) or 0)
    return command


class TestServing:
    def test_settings_reach_the_server(self, run):
        assert run("shop:app", "-w", "3") == (0, "", "")
        assert [(each.wsgi_app, each.workers) for each in run.served] == [("shop:app", 3)]

    WRONG = (
        (
            ["-w", "x", "app"],
            "workers = 'x' (command line, -w): must be a whole number from 1 to 1024, or auto",
        ),
        (["--wrokers", "4", "app"], "there is no option --wrokers; did you mean --workers?"),
        (
            ["app", "-b", "[::"],
            "bind (command line, -b): '[::': write IPv6 as [address]:port, as in [::1]:8000",
        ),
        (["app", "-c", "none.toml"], "none.toml: cannot be read: No such file or directory"),
        (["a", "b"], "one application is served, not 2: a b"),
    )

    @pytest.mark.parametrize(("words", "line"), WRONG)
    def test_a_wrong_line_is_one_line_and_starts_nothing(self, run, words, line):
        assert run(*words) == (2, "", f"prefork: error: {line}\n")
        assert run.served == []

    @pytest.mark.parametrize(
        ("fault", "code", "text"),
        [
            (BindError("port 80 is in use"), 1, "prefork: error: port 80 is in use\n"),
            (BootError("no worker", "Traceback\n  x\n"), 3, "Traceback\n  x\nprefork: error: no worker\n"),
            (AppLoadError("no module"), 4, "prefork: error: no module\n"),
        ],
    )
    def test_what_ends_the_server_ends_the_command(self, run, monkeypatch, fault, code, text):
        def fail(loaded):
            raise fault

        monkeypatch.setattr(cli, "_serve", fail)
        assert run("shop:app") == (code, "", text)

    def test_control_c_before_the_server_is_there(self, run, monkeypatch):
        def interrupt(loaded):
            raise KeyboardInterrupt

        monkeypatch.setattr(cli, "_serve", interrupt)
        assert run("shop:app") == (130, "", "")


class TestNoApplication:
    def test_the_line_says_what_to_do(self, place, capfd):
        assert cli.main([]) == 2
        line = capfd.readouterr().err
        assert line == (
            "prefork: error: no application is named; say prefork project.wsgi:application, "
            "or set wsgi_app in a configuration file\n"
        )

    @pytest.mark.parametrize(
        ("file", "guess"),
        [("shop/wsgi.py", "shop.wsgi:application"), ("wsgi.py", "wsgi:application"), ("app.py", "app:app")],
    )
    def test_a_guess(self, place, capfd, file, guess):
        (place / file).parent.mkdir(exist_ok=True)
        (place / file).touch()
        assert cli.main([]) == 2
        assert f"say prefork {guess}, or" in capfd.readouterr().err


class TestInformation:
    @pytest.mark.parametrize("words", [["--version"], ["-v"], ["app", "--version"], ["-v", "-w", "4"]])
    def test_version(self, run, words):
        assert run(*words) == (0, f"prefork {__version__}\n", "")

    @pytest.mark.parametrize("words", [["--help"], ["-h"], ["app", "-w", "4", "-h"]])
    def test_help(self, run, words):
        code, out, err = run(*words)
        assert (code, err) == (0, "")
        assert out.startswith("usage: prefork [OPTIONS] APP")
        for name in cli.COMMANDS:
            assert f"  prefork {name} " in out

    def test_help_into_a_closed_pipe(self):
        code = "import sys; from prefork.cli import main; sys.stdin.read(); sys.exit(main(['--help']))"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        process.stdout.close()
        _, err = process.communicate(b"")
        assert err == b""

    def test_print_config(self, run, place):
        (place / "prefork.toml").write_text("timeout = 5\n")
        code, out, err = run("app", "-w", "3", "--print-config")
        assert (code, err) == (0, "")
        assert tomllib.loads(out)["workers"] == 3
        assert re.search(r"^timeout = 5.0 +# prefork.toml$", out, re.MULTILINE)
        assert run.served == []

    def test_print_config_needs_no_application(self, run):
        assert run("--print-config")[0] == 0


class TestCheckConfig:
    APP = "def app(environ, start_response): ...\n"

    def test_good(self, run, place):
        (place / "shop.py").write_text("print('imported')\n" + self.APP)
        code, out, err = run("shop:app", "--check-config")
        assert (code, err) == (0, "")
        assert out == "imported\nprefork: the configuration is good, and shop:app can be imported\n"
        assert "shop" not in sys.modules, "imported in a child"
        assert run.served == []

    def test_as_a_worker_would(self, run, place):
        (place / "project" / "lib").mkdir(parents=True)
        (place / "project" / "lib" / "helper.py").write_text("import os\nname = os.environ['SHOP']\n")
        (place / "project" / "shop.py").write_text(
            "import helper, os\nassert helper.name == 'x'\n" + self.APP
        )
        words = ("shop:app", "--chdir", "project", "--pythonpath", "lib", "-e", "SHOP=x", "--check-config")
        assert run(*words)[0] == 0
        assert "SHOP" not in os.environ

    def test_a_setting_is_wrong(self, run):
        assert run("shop:app", "--check-config", "-w", "x")[0] == 2

    def test_no_application(self, run):
        code, _, err = run("--check-config")
        assert code == 2
        assert "no application is named" in err

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("import nonesuch", "nonesuch"),
            ("def app(:", "SyntaxError"),
            ("", "app"),
            ("import sys; sys.exit('bye')", "bye"),
        ],
    )
    def test_the_application_cannot_be_imported(self, run, place, text, said):
        (place / "shop.py").write_text(text)
        code, out, err = run("shop:app", "--check-config")
        assert (code, out) == (4, "")
        assert err.splitlines()[-1].startswith("prefork: error: ")
        assert said in err

    def test_importing_kills(self, run, place):
        (place / "shop.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
        code, _, err = run("shop:app", "--check-config")
        assert code == 4
        assert err == "prefork: error: shop:app: importing it ended the process by signal 9\n"

    @pytest.mark.parametrize("number", [0, 1, 4])
    def test_importing_ends_the_process(self, run, place, number):
        (place / "shop.py").write_text(f"import os\nos._exit({number})")
        code, out, err = run("shop:app", "--check-config")
        assert (code, out) == (4, "")
        assert err == f"prefork: error: shop:app: importing it ended the process with exit code {number}\n"

    def test_both_print_and_check(self, run, place):
        (place / "shop.py").write_text(self.APP)
        code, out, _ = run("shop:app", "--check-config", "--print-config")
        assert code == 0
        assert "workers = 1" in out
        assert "the configuration is good" in out

    def test_notes_are_said(self, run, place):
        (place / "shop.py").write_text(self.APP)
        assert re.match(r"prefork: workers auto = \d+: ", run("shop:app", "-w", "auto", "--check-config")[2])


class TestCommands:
    def test_a_command_gets_the_rest(self, run, monkeypatch, tmp_path):
        (tmp_path / "some_command.py").write_text("def run(words):\n    print(words)\n    return 7\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(cli, "COMMANDS", {"status": cli.Command("x", "some_command")})
        assert run("status", "--all", "-w") == (7, "['--all', '-w']\n", "")

    @pytest.mark.parametrize(
        "words", [["--", "status"], ["-w", "1", "status"], ["status:application"], ["Status"]]
    )
    def test_an_application_of_that_name_is_served(self, run, words):
        assert run(*words)[0] == 0
        assert run.served[0].wsgi_app == words[-1]

    def test_a_command_may_have_something_served(self, run, place, monkeypatch):
        (place / "prefork.toml").write_text("workers = 7\n")
        (place / "serving_command.py").write_text("def run(words):\n    return {'wsgi_app': 'shop:app'}\n")
        monkeypatch.syspath_prepend(place)
        monkeypatch.setattr(cli, "COMMANDS", {"web": cli.Command("x", "serving_command")})
        monkeypatch.setenv("PREFORK_WORKERS", "8")
        monkeypatch.setenv("PORT", "9")
        assert run("web") == (0, "", "")
        (served,) = run.served
        assert (served.wsgi_app, served.workers, served.bind) == ("shop:app", 1, ("127.0.0.1:8000",))

    @pytest.mark.parametrize("name", cli.COMMANDS)
    def test_what_is_there_can_be_imported(self, name):
        import importlib

        assert callable(importlib.import_module(cli.COMMANDS[name].module).run)


class TestDirectory:
    def test_the_shells_name_of_a_symlink(self, place, monkeypatch):
        (place / "release").mkdir()
        (place / "current").symlink_to("release")
        monkeypatch.chdir(place / "current")
        monkeypatch.setenv("PWD", str(place / "current"))
        assert cli.directory() == str(place / "current")

    @pytest.mark.parametrize("name", ["/", "", "relative", "/none/such"])
    def test_a_name_that_is_not_of_here(self, place, monkeypatch, name):
        monkeypatch.setenv("PWD", name)
        assert cli.directory() == str(place)

    def test_a_directory_that_is_gone(self, place, monkeypatch, capfd):
        (place / "gone").mkdir()
        monkeypatch.chdir(place / "gone")
        (place / "gone").rmdir()
        assert cli.main(["app"]) == 2
        line = capfd.readouterr().err
        assert line == "prefork: error: the working directory cannot be used: No such file or directory\n"


def test_python_m_prefork(place):
    done = subprocess.run(
        [sys.executable, "-m", "prefork", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"prefork {__version__}\n"


def test_the_version_imports_nothing_of_ours():
    code = "import sys; from prefork.cli import main; main(['--version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("prefork")}
    assert ours == {"prefork", "prefork.cli", "prefork.errors"}
