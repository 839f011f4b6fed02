"""What a proxy may say, and who counts as one: --forwarded-allow-ips, --header-map, SCRIPT_NAME."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rawclient import Connection, Ending

APP = "wsgi_cases:application"


def environ(running: Any, *fields: tuple[str, str], target: str = "/environ") -> dict[str, Any]:
    answer = running.get(target, *fields)
    assert answer.status == 200, answer.text
    return {key: value for key, (_, value) in json.loads(answer.body)["environ"].items()}


@pytest.mark.parametrize(
    ("field", "scheme"),
    [
        (("X-Forwarded-Proto", "https"), "https"),
        (("X-Forwarded-Proto", "http"), "http"),
        (("X-Forwarded-Proto", "ftp"), "http"),
        (("X-Forwarded-Proto", ""), "http"),
        (("X-Forwarded-Ssl", "on"), "https"),
        (("X-Forwarded-Ssl", "off"), "http"),
        (("X-Forwarded-Protocol", "ssl"), "https"),
    ],
)
def test_scheme_from_a_trusted_peer(cases: Any, field: tuple[str, str], scheme: str) -> None:
    """127.0.0.1 is trusted by default, as in gunicorn."""
    assert environ(cases.server, field)["wsgi.url_scheme"] == scheme


def test_scheme_does_not_stick_to_the_connection(cases: Any) -> None:
    with cases.server.connect() as client:
        for value, scheme in [("https", "https"), ("http", "http"), ("https", "https"), (None, "http")]:
            fields = [("X-Forwarded-Proto", value)] if value else []
            found = json.loads(client.request("GET", "/environ", *fields).body)["environ"]
            assert found["wsgi.url_scheme"][1] == scheme


def test_contradicting_fields(faulty: Any) -> None:
    """A proxy cannot mean both: refused, or at least never https."""
    answer = faulty.server.get("/environ", ("X-Forwarded-Proto", "http"), ("X-Forwarded-Ssl", "on"))
    assert answer.status == 400 or json.loads(answer.body)["environ"]["wsgi.url_scheme"][1] == "http"


@pytest.mark.parametrize("allowed", ["10.0.0.1", "192.0.2.0/24", ""])
def test_scheme_from_anybody_else(server: Any, worker_class: str, allowed: str) -> None:
    running = server(APP, f"--forwarded-allow-ips={allowed}", worker_class=worker_class)
    found = environ(
        running, ("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "6.6.6.6"), ("SCRIPT_NAME", "/evil")
    )
    assert found["wsgi.url_scheme"] == "http"
    assert found["REMOTE_ADDR"] == "127.0.0.1"
    assert found["SCRIPT_NAME"] == ""
    assert found["HTTP_X_FORWARDED_PROTO"] == "https"  # as data, for the application to judge


@pytest.mark.parametrize("allowed", ["*", "127.0.0.0/8", "10.0.0.1,127.0.0.1"])
def test_allowed_addresses(server: Any, worker_class: str, allowed: str) -> None:
    running = server(APP, f"--forwarded-allow-ips={allowed}", worker_class=worker_class)
    assert environ(running, ("X-Forwarded-Proto", "https"))["wsgi.url_scheme"] == "https"


# Unix sockets


@pytest.fixture
def unix(server: Any, worker_class: str, tmp_path: Any) -> Any:
    return server(APP, worker_class=worker_class, address=str(tmp_path / "s"))


def test_unix_peer(unix: Any) -> None:
    """No address to tell; every key still has the type that PEP 3333 wants, and SERVER_NAME is not empty."""
    found = environ(unix)
    assert found["REMOTE_ADDR"] == ""
    assert found["SERVER_NAME"]
    assert isinstance(found["SERVER_PORT"], str)


def test_unix_peer_is_trusted(unix: Any) -> None:
    """Who may open the socket's file was decided by its mode: a proxy on the same machine (as gunicorn)."""
    assert environ(unix, ("X-Forwarded-Proto", "https"))["wsgi.url_scheme"] == "https"


def test_unix_validates(server: Any, worker_class: str, tmp_path: Any) -> None:
    running = server("validated:cases", worker_class=worker_class, address=str(tmp_path / "s"))
    with running.connect() as client:
        for _ in range(3):
            assert client.request("GET", "/hello").body == b"Hello, World!"
        assert client.request("GET", "/hello", ("Connection", "close")).status == 200
        assert client.end() is Ending.CUT


def test_ipv6(server: Any, worker_class: str) -> None:
    try:
        running = server(APP, worker_class=worker_class, address=("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    found = environ(running)
    assert found["REMOTE_ADDR"] == "::1"
    assert found["SERVER_PORT"] == str(running.address[1])
    assert environ(running, ("X-Forwarded-Proto", "https"))["wsgi.url_scheme"] == "https"


def test_several_sockets(worker_class: str, tmp_path: Any) -> None:
    """Each listener has its own SERVER_NAME and SERVER_PORT, and one server serves them all."""
    from launcher import APPS, Server, listen
    from serving import class_arguments

    sockets = [listen(), listen(), listen(str(tmp_path / "s"))]
    addresses = [one.getsockname() for one in sockets]
    running = Server(
        [APP, "-w", "2", "--pythonpath", str(APPS), *class_arguments(worker_class)],
        listeners=sockets,
        cwd=tmp_path,
    )
    try:
        running.wait_ready()
        for address in addresses:
            with Connection(address) as client:
                found = json.loads(client.request("GET", "/environ").body)["environ"]
            if not isinstance(address, str):
                assert found["SERVER_PORT"][1] == str(address[1])
        running.stop()
    finally:
        running.kill()


# Names with an underscore, and SCRIPT_NAME


def test_script_name_from_the_environment(server: Any, worker_class: str) -> None:
    """PEP 3333: SCRIPT_NAME + PATH_INFO is the path of the URL, whichever way it is cut."""
    running = server(
        APP, "-e", "SCRIPT_NAME=/environ", worker_class=worker_class, env={"SCRIPT_NAME": "/environ"}
    )
    answer = running.get("/environ/environ")
    assert answer.status == 200, answer.text
    found = json.loads(answer.body)["environ"]
    assert (found["SCRIPT_NAME"][1], found["PATH_INFO"][1]) == ("/environ", "/environ")


def test_script_name_from_a_trusted_proxy(cases: Any) -> None:
    """--forwarder-headers: gunicorn's default lets a trusted proxy send SCRIPT_NAME by its own name."""
    found = environ(cases.server, ("SCRIPT_NAME", "/environ"), target="/environ/environ")
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/environ", "/environ")


@pytest.mark.parametrize(("how", "status"), [("drop", 200), ("refuse", 400)])
def test_header_map(server: Any, worker_class: str, how: str, status: int) -> None:
    running = server(APP, "--header-map", how, worker_class=worker_class)
    answer = running.get("/environ", ("X_A", "1"))
    assert answer.status == status
    if status == 200:
        assert "HTTP_X_A" not in json.loads(answer.body)["environ"]


def test_dropped_name_is_logged_once(server: Any, worker_class: str) -> None:
    """DESIGN 7: "dropped and named once in the log"."""
    running = server(APP, worker_class=worker_class)
    with running.connect() as client:
        for _ in range(5):
            assert client.request("GET", "/hello", ("X_Dropped_Name", "1")).status == 200
    running.stderr.wait("(?i)X_Dropped_Name")
    running.stop()
    assert sum("x_dropped_name" in line.lower() for line in running.stderr.lines) == 1
