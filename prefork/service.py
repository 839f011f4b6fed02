"""`prefork install-service`: systemd units for one project, written and explained.

The two templates here are the only copy: `deploy/systemd/` holds what they make with the documented defaults,
and a test compares. Nothing is started; systemctl is the operator's, and the commands are printed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .errors import ConfigError, PreforkError

USAGE = """\
usage: prefork install-service APP [OPTION]... [-- PREFORK-OPTION...]

Write NAME.service and NAME.socket for the project in this folder, and say what to do next.

  --name NAME       name of the units (default: the folder's)
  --directory DIR   folder of the project (default: this one)
  --bind ADDRESS    where systemd listens: HOST:PORT, PORT or a path (default: 127.0.0.1:8000)
  --user USER       run as this user (default: a user that systemd makes for the service, DynamicUser=)
  --to DIR          where to write (default: /etc/systemd/system)
  --systemd N       write for this version of systemd (default: ask systemctl)
  --force           replace units that say something else
  --print           write nothing, print both

Options behind -- are the server's: prefork install-service project.wsgi:application -- -w 4 --threads 8"""

NOTIFY_RELOAD = 253  # the systemd that brought Type=notify-reload (its NEWS, "CHANGES WITH 253")

SOCKET = """\
# The socket is systemd's: it takes connections while prefork restarts, so nobody is refused.
[Unit]
Description=socket of {name}

[Socket]
ListenStream={listen}
Backlog=2048{socket_mode}

[Install]
WantedBy=sockets.target
"""

SERVICE = """\
[Unit]
Description=prefork serving {app}
Requires={name}.socket
After=network.target

[Service]
{type}
# A second master sends the messages during an upgrade (USR2).
NotifyAccess=all
WorkingDirectory={directory}
ExecStart={start}
# Settings as PREFORK_WORKERS=4, and what the application wants to find there.
EnvironmentFile=-/etc/default/{name}

# TERM goes to the master, which drains its workers; what is left after the time is killed.
KillMode=mixed
TimeoutStopSec=45
TimeoutStartSec=90
# Fed while the master's loop and a worker make progress.
WatchdogSec=30
Restart=on-failure
RestartSec=1
# 2 is a setting that cannot be served: starting again does not change it.
RestartPreventExitStatus=2
LimitNOFILE=65536

# The application may write to /var/lib/{name} ($STATE_DIRECTORY), /run/{name} and its own /tmp.
{user}
StateDirectory={name}
RuntimeDirectory={name}
ProtectSystem=strict
{home}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
NoNewPrivileges=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0027

[Install]
WantedBy=multi-user.target
"""

NOTIFY_RELOAD_LINES = """\
# systemd sends HUP for `systemctl reload` and waits until the new workers serve.
Type=notify-reload"""
NOTIFY_LINES = """\
# Type=notify-reload came with systemd 253; here a command waits for the outcome, and says why there is none.
Type=notify
ExecReload={program} reload --wait $MAINPID"""


class Order:
    """What was asked for on the command line, with the defaults filled in."""

    def __init__(self, app: str, options: Mapping[str, str], server: Sequence[str]) -> None:
        self.app = app
        self.server = tuple(server)
        self.directory = Path(options.get("directory", ".")).absolute()
        self.name = options.get("name", "") or _unit_name(self.directory.name)
        self.listen = options.get("bind", "127.0.0.1:8000").removeprefix("unix:")
        self.user = options.get("user", "")
        self.to = Path(options.get("to", "/etc/systemd/system"))
        self.systemd = int(options["systemd"]) if "systemd" in options else systemd_version()
        self.force = "force" in options
        self.program = str(Path(sys.argv[0]).absolute())
        if _unit_name(self.name) != self.name:
            raise ConfigError(
                setting="--name", value=self.name, allowed="letters, digits and - _ . as systemd has them"
            )
        if not self.directory.is_dir():
            raise ConfigError(setting="--directory", value=str(self.directory), allowed="a folder")


def run(arguments: Sequence[str]) -> int:
    """Write the units and say what was done. Raises PreforkError with one line."""
    options, words, server = _parse(arguments)
    if "help" in options:
        print(USAGE)
        return 0
    if len(words) != 1:
        raise ConfigError("prefork install-service takes one application, such as project.wsgi:application")
    order = Order(words[0], options, server)
    units = {f"{order.name}.service": service_unit(order), f"{order.name}.socket": socket_unit(order)}
    if "print" in options:
        print("\n".join(f"# {name}\n{text}" for name, text in units.items()), end="")
        return 0
    for line in install(order, units):
        print(line)
    return 0


def install(order: Order, units: Mapping[str, str]) -> Iterator[str]:
    """Write each unit whole or not at all; yield what was done and what to do next."""
    changed = [name for name, text in units.items() if _content(order.to / name) != text]
    if not order.force and (taken := [name for name in changed if (order.to / name).exists()]):
        raise PreforkError(
            f"{' and '.join(str(order.to / name) for name in taken)} say something else; "
            "look at them with --print, replace them with --force"
        )
    for name, text in units.items():
        path = order.to / name
        if name not in changed:
            yield f"unchanged  {path}"
            continue
        beside = path.with_name(f".{name}.new")
        try:
            beside.write_text(text)
            beside.chmod(0o644)
            beside.replace(path)
        except OSError as fault:
            raise PreforkError(f"{path} cannot be written: {fault.strerror}; as root, or with --to") from None
        yield f"wrote      {path}"
    yield from explain(order)


def explain(order: Order) -> Iterator[str]:
    """What the units do, what may be in their way, and the next commands."""
    yield f"runs       {order.app} in {order.directory}"
    yield f"listens    {order.listen}, held by systemd while the service restarts"
    who = f"user {order.user}" if order.user else "a user of its own (DynamicUser=), gone when it stops"
    yield f"as         {who}"
    yield f"writes     /var/lib/{order.name}, /run/{order.name} and /tmp of its own; all else is read-only"
    yield f"set        PREFORK_... and the application's variables in /etc/default/{order.name}"
    for line in _obstacles(order):
        yield f"CHECK      {line}"
    yield "next       systemctl daemon-reload"
    yield f"           systemctl enable --now {order.name}.socket {order.name}.service"
    yield f"           systemctl reload {order.name}"


def _obstacles(order: Order) -> Iterator[str]:
    for path in _ways(order):
        if order.user != "root" and (closed := _closed(path)):
            yield f"{closed} is closed to other users; open it, or give --user its owner"
    for path in _homes(order):
        yield f"{path} lies in a home, which the service may only read: better in /srv or /opt"
    if order.systemd < NOTIFY_RELOAD:
        yield f"systemd {order.systemd} has no Type=notify-reload: Type=notify with ExecReload= is used"


def _closed(path: Path) -> Path | None:
    """The first folder on the way to path that a stranger may not enter."""
    for each in (*reversed(path.parents), path):
        if each.is_dir() and not each.stat().st_mode & 0o001:
            return each
    return None


def service_unit(order: Order) -> str:
    """NAME.service as text."""
    words = (order.program, order.app, *order.server)
    user = f"User={order.user}" if order.user else "DynamicUser=yes"
    return SERVICE.format(
        name=order.name,
        app=order.app.replace("%", "%%"),
        type=NOTIFY_RELOAD_LINES
        if order.systemd >= NOTIFY_RELOAD
        else NOTIFY_LINES.format(program=quoted(order.program)),
        directory=str(order.directory).replace("%", "%%"),
        start=" ".join(map(quoted, words)),
        user=user,
        home="ProtectHome=read-only" if _homes(order) else "ProtectHome=yes",
    )


def socket_unit(order: Order) -> str:
    """NAME.socket as text."""
    path = order.listen.startswith(("/", "@"))
    return SOCKET.format(
        name=order.name,
        listen=order.listen.replace("%", "%%"),
        socket_mode="\nSocketMode=0660\nSocketGroup=www-data" if path else "\nNoDelay=yes",
    )


def systemd_version() -> int:
    """The version of the systemd of this machine; that of notify-reload where there is none to ask."""
    program = shutil.which("systemctl")
    if program is None:
        return NOTIFY_RELOAD
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"systemd (\d+)", said)
    return int(found[1]) if found else NOTIFY_RELOAD


def quoted(word: str) -> str:
    """One word of ExecStart=, as systemd.service(5) "COMMAND LINES" reads it back."""
    plain = word.replace("%", "%%").replace("$", "$$")
    if plain and not re.search(r"[\s\"'\\;]", plain):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def interpreters() -> Sequence[Path]:
    """Where this Python lies: its environment, and the installation that the environment borrows from."""
    return tuple(dict.fromkeys((Path(sys.prefix), Path(sys.base_prefix))))


def _ways(order: Order) -> Sequence[Path]:
    """What the service has to reach."""
    return tuple(dict.fromkeys((order.directory, Path(order.program).parent, *interpreters())))


def _homes(order: Order) -> list[Path]:
    """Those of them that ProtectHome=yes would hide (systemd.exec(5))."""
    hidden = ("/home/", "/root/", "/run/user/")
    return [path for path in _ways(order) if f"{path}/".startswith(hidden)]


def _unit_name(text: str) -> str:
    """The text with what no unit may be called left out (systemd.unit(5))."""
    return re.sub(r"[^A-Za-z0-9:_.-]+", "-", text).strip("-.") or "prefork"


def _content(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


_VALUED = ("name", "directory", "bind", "user", "to", "systemd")
_BARE = ("force", "print", "help")


def _parse(arguments: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """(options, words, what stands behind --)."""
    mine, server = list(arguments), []
    if "--" in mine:
        cut = mine.index("--")
        mine, server = mine[:cut], mine[cut + 1 :]
    options: dict[str, str] = {}
    words: list[str] = []
    rest = iter(mine)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        if word == "-h":
            options["help"] = "yes"
        elif not word.startswith("-"):
            words.append(word)
        elif word.startswith("--") and name in _BARE and not equals:
            options[name] = "yes"
        elif word.startswith("--") and name in _VALUED:
            options[name] = value if equals else next(rest, "")
            if not options[name]:
                raise ConfigError(f"{word} needs a value")
        else:
            raise ConfigError(
                f"there is no option {word}; the server's stand behind --, see install-service --help"
            )
    if not options.get("systemd", "0").isdigit():
        raise ConfigError(setting="--systemd", value=options["systemd"], allowed="a number such as 255")
    return options, words, server
