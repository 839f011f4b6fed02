"""The reverse proxies of deploy/, each with the file that operators copy, in front of a given server."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from places import DEPLOY, Program, adapted, free_address

Upstream = tuple[str, int] | str


@dataclass
class Proxy:
    """A running proxy. `folder` holds static/ and private/, as /srv/project does."""

    name: str
    address: tuple[str, int]
    program: Program
    folder: Path

    def close(self) -> None:
        self.program.end()
        shutil.rmtree(self.folder)


def open_folder() -> Path:
    """A folder that programs of other users can read; pytest's own is closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="prefork-deploy-"))
    folder.chmod(0o755)
    for name in ("static", "private", "public"):
        (folder / name).mkdir()
    (folder / "static" / "style.css").write_text("body {}\n")
    (folder / "private" / "report.txt").write_text("for some eyes only\n")
    return folder


def nginx(program: str, upstream: Upstream, *, folder: Path | None = None) -> Proxy:
    """nginx with deploy/nginx/prefork.conf, or prefork-unix.conf where the upstream is a path."""
    folder = folder or open_folder()
    address = free_address()
    unix = isinstance(upstream, str)
    site = adapted(
        (DEPLOY / "nginx" / ("prefork-unix.conf" if unix else "prefork.conf")).read_text(),
        {
            "unix:/run/prefork.sock" if unix else "127.0.0.1:8000": text(upstream),
            "listen 80;": f"listen {address[0]}:{address[1]};",
            "/srv/project": str(folder),
        },
    )
    return start_nginx(program, site, address, folder)


def start_nginx(program: str, site: str, address: tuple[str, int], folder: Path) -> Proxy:
    """nginx in the foreground with the main file that a distribution would have around the site."""
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"""{user}
worker_processes 2;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    {temporary}
    {site}
}}
"""
    )
    command = [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    return listening("nginx", command, address, folder)


APACHE_MODULES = ("mpm_event", "authz_core", "alias", "headers", "proxy", "proxy_http")


def apache(program: str, upstream: Upstream, *, modules: Path = Path("/usr/lib/apache2/modules")) -> Proxy:
    """Apache httpd with deploy/apache/prefork.conf."""
    folder = open_folder()
    address = free_address()
    url = f"unix:{upstream}|http://localhost/" if isinstance(upstream, str) else f"http://{text(upstream)}/"
    site = adapted(
        (DEPLOY / "apache" / "prefork.conf").read_text(),
        {
            "ProxyPass        / http://127.0.0.1:8000/": f"ProxyPass        / {url}",
            "ProxyPassReverse / http://127.0.0.1:8000/": f"ProxyPassReverse / {url}",
            "<VirtualHost *:80>": f"<VirtualHost {text(address)}>",
            "/srv/project": str(folder),
        },
    )
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    loads = "\n".join(f"LoadModule {name}_module {modules}/mod_{name}.so" for name in APACHE_MODULES)
    (folder / "httpd.conf").write_text(
        f"""ServerRoot {folder}
{loads}
ServerName localhost
Listen {text(address)}
{user}
# One process, always: httpd hangs up on kept-alive clients when it ends a process that it no longer needs,
# and that would be counted as lost here.
ServerLimit 1
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
MinSpareThreads 1
MaxSpareThreads 64
PidFile {folder}/httpd.pid
DefaultRuntimeDir {folder}
Mutex file:{folder}
ErrorLog /dev/stderr
LogLevel warn
{site}
"""
    )
    command = [program, "-D", "FOREGROUND", "-d", str(folder), "-f", str(folder / "httpd.conf")]
    return listening("apache", command, address, folder)


def haproxy(program: str, *upstreams: Upstream) -> Proxy:
    """HAProxy with deploy/haproxy/haproxy.cfg; with one upstream the second server's line is taken out."""
    folder = open_folder()
    address = free_address()
    config = haproxy_config(
        {
            "bind :80": f"bind {text(address)}",
            "/run/haproxy.sock": f"{folder}/haproxy.sock",
        },
        *upstreams,
    )
    (folder / "haproxy.cfg").write_text(config)
    return listening("haproxy", [program, "-db", "-f", str(folder / "haproxy.cfg")], address, folder)


def haproxy_config(changes: dict[str, str], *upstreams: Upstream) -> str:
    """deploy/haproxy/haproxy.cfg for these upstreams (one or two)."""
    first = "server web1 127.0.0.1:8000 check"
    second = "    server web2 127.0.0.1:8001 check\n"
    changes = {first: first.replace("127.0.0.1:8000", text(upstreams[0])), **changes}
    if len(upstreams) == 1:
        changes[second] = ""
    else:
        changes[second] = second.replace("127.0.0.1:8001", text(upstreams[1]))
    return adapted(
        (DEPLOY / "haproxy" / "haproxy.cfg").read_text(), {"uri / ver": "uri /healthz ver", **changes}
    )


def listening(name: str, command: list[str], address: tuple[str, int], folder: Path) -> Proxy:
    """Start it, and wait until it listens."""
    running = Program(command)
    try:
        running.wait_listening(address)
    except AssertionError:
        shutil.rmtree(folder)
        raise
    return Proxy(name, address, running, folder)


def text(address: Upstream) -> str:
    """An address as configuration files write it."""
    return f"unix:{address}" if isinstance(address, str) else f"{address[0]}:{address[1]}"


def start(name: str, find: Callable[[str], str], upstream: Upstream) -> Proxy:
    """The proxy of that name; `find` is the fixture outside_program."""
    match name:
        case "nginx" | "nginx-unix":
            return nginx(find("nginx"), upstream)
        case "apache" | "apache-unix":
            return apache(find("apache2"), upstream)
        case "haproxy" | "haproxy-unix":
            return haproxy(find("haproxy"), upstream)
    raise ValueError(name)
