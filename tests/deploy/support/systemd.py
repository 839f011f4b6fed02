"""A machine whose process 1 is systemd: units are started, reloaded and watched by the real thing."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import machine
from launcher import DEADLINE, until
from machine import Inside, Machine

PROGRAM = Path("/lib/systemd/systemd")

# Units that a machine without hardware and without a login has no use for; each would cost boot time.
MASKED = (
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-logind.service",
    "systemd-resolved.service",
    "systemd-networkd.service",
    "systemd-timesyncd.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "systemd-binfmt.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-update-done.service",
    "systemd-firstboot.service",
    "ldconfig.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "tmp.mount",
    "nginx.service",
    "haproxy.service",
    "apache2.service",
    "supervisor.service",
)


def why_not() -> str:
    """Why systemd cannot be process 1 of a machine here; "" where it may be worth a try."""
    if why := machine.why_not():
        return why
    if not PROGRAM.exists():
        return "systemd is not installed"
    if _hierarchy() is None:
        return "no cgroup2 hierarchy is mounted"
    return ""


def version() -> int:
    """The version of the installed systemd."""
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"systemd (\d+)", said)
    assert found is not None, said
    return int(found[1])


def _hierarchy() -> Path | None:
    """Where the unified cgroup hierarchy is mounted (cgroups(7))."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(place, os.W_OK):
            return Path(place)
    return None


class Booted:
    """A machine with systemd up to basic.target. Use as a context manager; it ends with everything in it."""

    def __init__(
        self, shared: Path, *, lent: Sequence[Path] = (), env: Mapping[str, str] | None = None
    ) -> None:
        """shared: a folder of both sides.  lent: more of them."""
        self.shared = shared
        self._stack = ExitStack()
        try:
            self._boot([shared, *lent], env or {})
        except BaseException:
            self._stack.close()
            raise

    def _boot(self, shared: Sequence[Path], env: Mapping[str, str]) -> None:
        told = Path(self._stack.enter_context(TemporaryDirectory(prefix="prefork-systemd-")))
        self._machine = self._stack.enter_context(Machine(shared=[*shared, told], env=env))
        hierarchy = _hierarchy()
        assert hierarchy is not None
        self._cgroup = hierarchy / f"prefork-test-{os.getpid()}"
        self._cgroup.mkdir()
        self._stack.callback(self._remove_cgroup)
        # systemd in a container tells its manager when it is up (systemd.io/CONTAINER_INTERFACE,
        # sd_notify(3)).
        up = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        up.bind(str(told / "notify"))
        up.settimeout(DEADLINE)
        self._process = subprocess.Popen(
            ["sh", "-c", f'echo $$ > {self._cgroup}/cgroup.procs; exec "$@"', "sh", *self._command()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={
                **self._machine.env,
                "CGROUP": "yes",
                "container": "machine",
                "NOTIFY_SOCKET": str(told / "notify"),
            },
            start_new_session=True,
        )
        self._stack.callback(self._kill)
        while b"READY=1" not in up.recv(4096).split(b"\n"):
            pass
        self.inside = Inside(self._process.pid, self._machine.env)

    def _command(self) -> list[str]:
        masks = " ".join(f"/etc/systemd/system/{name}" for name in MASKED)
        boot = (
            f"for unit in {masks}; do ln -sf /dev/null $unit; done; rm -rf /var/log/journal; "
            # Debian empties /tmp at boot (tmpfiles.d(5)), where the checkout or its environment may be.
            "mkdir -p /etc/tmpfiles.d; ln -sf /dev/null /etc/tmpfiles.d/tmp.conf; "
            f"exec {PROGRAM} --system --unit=basic.target --log-target=null --show-status=no"
        )
        return self._machine.command("sh", "-c", boot)

    def _kill(self) -> None:
        """Process 1 ends, and with it everything in its pid namespace."""
        (self._cgroup / "cgroup.kill").write_text("1")
        self._process.wait()

    def _remove_cgroup(self) -> None:
        events = self._cgroup / "cgroup.events"
        until(lambda: "populated 0" in events.read_text(), "the cgroup is empty")
        for folder in sorted(self._cgroup.rglob("*"), reverse=True):
            if folder.is_dir():
                folder.rmdir()
        self._cgroup.rmdir()

    def __enter__(self) -> Booted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._stack.close()
