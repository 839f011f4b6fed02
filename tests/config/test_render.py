"""The rows as text: complete, readable, and read back."""

import re
import tomllib
from pathlib import Path

import pytest

from prefork.config import render
from prefork.config.settings import GROUPS, ROWS

ROOT = Path(__file__).parents[2]
COMMANDS = {"status": "what workers do"}


@pytest.fixture(scope="module")
def help_text():
    return render.help_text(COMMANDS)


class TestHelp:
    @pytest.mark.parametrize("name", list(ROWS))
    def test_every_row_appears(self, help_text, name):
        row = ROWS[name]
        shown = [f"--no-{name}"] if row.default is True else row.flags or [name]
        for word in shown:
            assert re.search(rf"^ +(-\w, |--[\w-]+, )*{re.escape(word)}\b", help_text, re.MULTILINE), word
        first = row.help.split()[:3]
        assert re.search(r"\s+".join(map(re.escape, first)), help_text)

    @pytest.mark.parametrize("title", GROUPS.values())
    def test_every_group_appears_once(self, help_text, title):
        assert help_text.count(f"\n\n{title}\n") == 1

    def test_examples_come_first(self, help_text):
        assert help_text.index("prefork project.wsgi:application") < help_text.index("--bind")

    @pytest.mark.parametrize("width", [80, 110])
    def test_lines_fit(self, width):
        for line in render.help_text(COMMANDS, width).partition("Defaults stand in brackets")[2].splitlines():
            assert len(line) <= width
            assert line == line.rstrip()

    def test_defaults_and_units(self, help_text):
        assert re.search(r"--timeout SECONDS .*\[30\]", help_text)
        assert re.search(r"--limit-request-body BYTES .*\[1g\]", help_text)
        assert re.search(r"--workers N .*\[1\]", help_text)

    def test_commands(self, help_text):
        assert "  prefork status                    what workers do\n" in help_text

    def test_without_commands(self):
        text = render.help_text({})
        assert "Commands" not in text
        assert "COMMAND" not in text


class TestPrint:
    def test_it_is_a_configuration_file_that_says_the_same(self, loaded, place):
        words = (
            "app:app",
            "-w",
            "3",
            "-b",
            ":1",
            "-b",
            "unix:/x",
            "-m",
            "027",
            "-e",
            'A="\x7f\u00e9',
            "-n",
            "shop",
        )
        made = loaded(*words, "--no-sendfile", "-t", "1.5", "--limit-request-body", "10m")
        text = render.config_text(made)
        tomllib.loads(text)
        (place / "prefork.toml").write_text(text)
        again = loaded()
        assert again.settings == made.settings

    def test_every_setting_and_its_origin(self, loaded):
        made = loaded("-w", "3", environ={"PREFORK_THREADS": "2"}, prefork__toml="timeout = 5")
        text = render.config_text(made)
        assert text.startswith("# from prefork.toml\n")
        for name in ROWS:
            assert re.search(rf"^(# )?{name} = .*  # ", text, re.MULTILINE), name
        assert re.search(r"^workers = 3 +# command line, -w$", text, re.MULTILINE)
        assert re.search(r"^threads = 2 +# PREFORK_THREADS$", text, re.MULTILINE)
        assert re.search(r"^timeout = 5.0 +# prefork.toml$", text, re.MULTILINE)
        assert re.search(r'^worker_class = "threads" +# threads = 2$', text, re.MULTILINE)
        assert re.search(r"^backlog = 2048 +# default$", text, re.MULTILINE)
        assert re.search(r"^# pidfile = none +# default$", text, re.MULTILINE)

    def test_tables_and_functions(self, loaded):
        text = 'logconfig_dict = {"version": 1, "root": {"handlers": []}}\ndef on_exit(server): pass\n'
        text = render.config_text(loaded(prefork__conf__py=text))
        assert tomllib.loads(text)["logconfig_dict"] == {"version": 1, "root": {"handlers": []}}
        assert re.search(r"^# on_exit = on_exit\(\) +# prefork.conf.py$", text, re.MULTILINE)


class TestTable:
    @pytest.mark.parametrize("name", list(ROWS))
    def test_every_row_appears(self, name):
        lines = [line for line in render.table().splitlines() if re.match(rf"\| `{name}\b", line)]
        assert len(lines) == 1
        cells = re.split(r"(?<!\\)\|", lines[0])
        assert len(cells) == (4 if ROWS[name].group == "hooks" else 8)

    @pytest.mark.parametrize("name", ["docs/settings.md", "README.md"])
    def test_the_documentation_is_not_behind(self, name):
        path = ROOT / name
        if not path.exists() or render.BEGIN not in path.read_text("utf-8"):
            assert name == "README.md", "the README may leave the table to docs/settings.md, which has it"
            return
        text = path.read_text("utf-8")
        assert render.updated(text) == text, f"run python -m prefork.config.render {name}"

    def test_written_between_the_markers(self, tmp_path):
        path = tmp_path / "x.md"
        path.write_text(f"before\n{render.BEGIN}\nyesterday\n{render.END}\nafter\n")
        assert render.main(["--check", str(path)]) == 1
        assert render.main([str(path)]) == 0
        assert render.main(["--check", str(path)]) == 0
        text = path.read_text()
        assert text.startswith(f"before\n{render.BEGIN}\n\n### Application\n")
        assert text.endswith(f"{render.END}\nafter\n")
        assert "yesterday" not in text

    @pytest.mark.parametrize("text", ["", render.BEGIN, render.END, render.END + render.BEGIN])
    def test_without_markers(self, text):
        with pytest.raises(ValueError, match="there is no"):
            render.updated(text)
