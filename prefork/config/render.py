"""The rows as text: `--help`, `--print-config`, and the table of the documentation.

`python -m prefork.config.render FILE...` writes the table between the markers in each file;
with `--check` it changes nothing and exits 1 where a file is behind.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from .compound import Hook
from .load import Loaded
from .parse import Toggle
from .rows import Row
from .settings import GROUPS, ROWS

BEGIN = "<!-- settings: written by python -m prefork.config.render -->"
END = "<!-- end of settings -->"

_EXAMPLES = """\
usage: prefork [OPTIONS] APP          serve a WSGI application
{commands}
  prefork project.wsgi:application -w 4             a Django project, four processes, 127.0.0.1:8000
  prefork app:app --threads 8 -b 0.0.0.0:8080       eight threads, reachable from outside
  prefork 'app:create_app("live")' -b unix:app.sock a factory, behind nginx on this machine
  prefork app:app -w auto --access-logfile -        as many workers as the machine feeds, each request logged
  prefork app:app -c prefork.toml --check-config    would it start?

APP is module, module:name, module:object.attribute or module:factory("argument"); a module alone
means module:application. Every option can stand in prefork.toml, in [tool.prefork] of pyproject.toml, in
prefork.conf.py or gunicorn.conf.py, and in the environment (PREFORK_WORKERS=4), under the name that
--print-config shows. Times are in seconds, or end in ms, s, m or h; sizes are in bytes, or end in k, m or g.
Defaults stand in brackets.
"""

_ACTIONS = (
    ("-c, --config FILE", "a .toml or Python file, or python:MODULE; without it, see above"),
    ("--check-config", "check all settings, import the application in a child process, and exit: 0, 2 or 4"),
    ("--print-config", "print every setting as TOML, each with where its value came from, and exit"),
    ("-v, --version", ""),
    ("-h, --help", ""),
)

_INDENT = 36


def help_text(commands: Mapping[str, str], width: int = 110) -> str:
    """The whole of --help. commands: name -> one line about it."""
    usage = f"       prefork COMMAND [OPTIONS]      {', '.join(commands)}\n" if commands else ""
    lines = [_EXAMPLES.format(commands=usage)]
    lines += [_help_line(flags, text, width) for flags, text in _ACTIONS]
    for group, title in GROUPS.items():
        rows = [row for row in ROWS.values() if row.group == group]
        lines += ["", title]
        lines += [_help_line(_flags(row), row.help + _bracket(row), width) for row in rows if row.flags]
        lines += [_help_line(f"    {_bare(row)}", row.help, width) for row in rows if not row.flags]
    lines += ["", "Commands"] if commands else []
    lines += [_help_line(f"prefork {name}", text, width) for name, text in commands.items()]
    return "\n".join(lines) + "\n"


def _help_line(left: str, text: str, width: int) -> str:
    import textwrap

    left = f"  {'    ' if left.startswith('--') else ''}{left}"
    parts = textwrap.wrap(text, width - _INDENT) or [""]
    first = left.ljust(_INDENT) if len(left) < _INDENT - 1 else f"{left}\n{'':{_INDENT}}"
    return f"\n{'':{_INDENT}}".join([(first + parts[0]).rstrip(), *parts[1:]])


def _flags(row: Row) -> str:
    flags = row.flags
    if isinstance(row.kind, Toggle):
        return f"--no-{flags[0].removeprefix('--')}" if row.default else ", ".join(flags)
    return f"{', '.join(flags)} {row.kind.metavar}"


def _bare(row: Row) -> str:
    return f"{row.name}({', '.join(row.kind.arguments)})" if isinstance(row.kind, Hook) else row.name


def _bracket(row: Row) -> str:
    shown = row.show(row.default)
    if row.default in (None, False, ()) or isinstance(row.kind, Toggle) or len(shown) > 30:
        return ""
    return f" [{shown}]"


def config_text(loaded: Loaded) -> str:
    """Every setting as TOML with its origin behind it; what TOML cannot hold is a comment."""
    lines = [f"# from {loaded.file}" if loaded.file else "# no configuration file was found"]
    for group, title in GROUPS.items():
        lines += ["", f"# {title}"]
        for row in ROWS.values():
            if row.group != group:
                continue
            value, origin = getattr(loaded.settings, row.name), loaded.origins[row.name]
            if value is None or isinstance(row.kind, Hook):
                lines.append(f"# {row.name} = {row.show(value)}".ljust(44) + f"  # {origin}")
            else:
                lines.append(f"{row.name} = {_toml(row, value)}".ljust(44) + f"  # {origin}")
    return "\n".join(lines) + "\n"


def _toml(row: Row, value: object) -> str:
    if row.name == "umask":
        return f"{value:#o}"
    return toml(value)


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(each) for each in value) + "]"
    import json

    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def table() -> str:
    """The settings as Markdown, a table for each group."""
    lines: list[str] = []
    for group, title in GROUPS.items():
        rows = [row for row in ROWS.values() if row.group == group]
        lines += [f"### {title}", ""]
        lines += list(_hooks(rows) if group == "hooks" else _group(rows))
        lines.append("")
    return "\n".join(lines)


def _group(rows: Sequence[Row]) -> Iterator[str]:
    yield "| setting | flag | default | what it may be | a new value counts | |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        flags = ", ".join(f"`{flag}`" for flag in row.flags)
        if isinstance(row.kind, Toggle) and row.default:
            flags = f"`--no-{row.flags[0].removeprefix('--')}`"
        allowed = "" if isinstance(row.kind, Toggle) else _cell(row.kind.allowed)
        default = _code(row.show(row.default)) if row.default not in (None, ()) else "none"
        counts = _CHANGE[row.change]
        yield f"| `{row.name}` | {flags} | {default} | {allowed} | {counts} | {_cell(row.help)} |"


def _hooks(rows: Sequence[Row]) -> Iterator[str]:
    yield "| function | called |"
    yield "|---|---|"
    for row in rows:
        yield f"| `{_bare(row)}` | {_cell(row.help)} |"


_CHANGE = {"boot": "at the next start", "reload": "on reload", "worker": "in workers born after a reload"}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def _code(text: str) -> str:
    return f"`{text.replace('|', chr(92) + '|')}`"


def updated(text: str) -> str:
    """The text with the table between its markers. Raises ValueError when it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {END if begin else BEGIN}")
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def main(words: Sequence[str]) -> int:
    from pathlib import Path

    check = "--check" in words
    behind = 0
    for path in (Path(word) for word in words if not word.startswith("-")):
        text = path.read_text("utf-8")
        new = updated(text)
        if text != new:
            behind = 1
            if not check:
                path.write_text(new, "utf-8")
            print(f"{path}: {'is behind the settings' if check else 'written'}")
    return behind if check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
