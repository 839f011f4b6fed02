"""Binding: what is bound, what is refused and in which words, and whose socket file is removed."""

from __future__ import annotations

import os
import resource
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from prefork.errors import BindError
from prefork.net.address import Kind
from prefork.net.listener import Listener, Options, adopt, bind_all

Bind = Callable[..., list[Listener]]


@pytest.fixture
def bind() -> Iterator[Bind]:
    """bind(address, ..., option=...) -> listeners, closed and removed at the end."""
    made: list[Listener] = []

    def begin(*texts: str, **options: object) -> list[Listener]:
        found = bind_all(texts, Options(backlog=16, **options))  # type: ignore[arg-type]
        made.extend(found)
        return found

    yield begin
    for each in made:
        each.unlink()
        each.close()


def refusal(bind: Bind, *texts: str) -> str:
    with pytest.raises(BindError) as refused:
        bind(*texts)
    assert refused.value.exit_code == 1
    assert "\n" not in str(refused.value)
    return str(refused.value)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


# TCP


def test_port_0_reports_the_real_port(bind: Bind) -> None:
    (one,) = bind("127.0.0.1:0")
    port = one.socket.getsockname()[1]
    assert port
    assert one.address.port == port
    assert one.text == f"http://127.0.0.1:{port}"
    assert (one.server_name, one.server_port) == ("127.0.0.1", str(port))
    assert one.socket.getblocking() is False
    assert not one.socket.get_inheritable()
    assert one.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    assert one.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert not one.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


def test_localhost_is_ipv4(bind: Bind) -> None:
    (one,) = bind("localhost:0")
    assert one.socket.family == socket.AF_INET


def test_every_address_has_the_machine_as_its_name(bind: Bind) -> None:
    (one,) = bind(":0")
    assert one.address.host == "0.0.0.0"
    assert one.server_name == (socket.gethostname() or "localhost")


@needs_ipv6
def test_ipv6_name_has_brackets(bind: Bind) -> None:
    (one,) = bind("[::1]:0")
    assert one.text == f"http://[::1]:{one.address.port}"
    assert one.server_name == "[::1]"


@needs_ipv6
def test_both_families_on_one_port(bind: Bind) -> None:
    """[::] alone would take IPv4 as well, and the second bind would fail."""
    (probe,) = bind("[::]:0")
    port = probe.address.port
    probe.close()
    both = bind(f"[::]:{port}", f"0.0.0.0:{port}")
    assert [each.socket.family for each in both] == [socket.AF_INET6, socket.AF_INET]


def test_reuse_port(bind: Bind) -> None:
    (one,) = bind("127.0.0.1:0", reuse_port=True)
    (other,) = bind(f"127.0.0.1:{one.address.port}", reuse_port=True)
    assert other.address == one.address


def test_port_in_use_names_the_holder(bind: Bind) -> None:
    (one,) = bind("127.0.0.1:0")
    address = f"127.0.0.1:{one.address.port}"
    said = refusal(bind, address)
    assert said.startswith(f"cannot listen on {address}: the port is in use by ")
    assert said.endswith(f"(pid {os.getpid()})")


def test_unknown_host(bind: Bind) -> None:
    assert "unknown host 'no.such.host.invalid'" in refusal(bind, "no.such.host.invalid:80")
    assert "unknown host" in refusal(bind, "a" * 64 + ":80")


def test_address_of_another_machine(bind: Bind) -> None:
    assert refusal(bind, "192.0.2.1:0").endswith("this machine has no such address")


@pytest.mark.parametrize("text", ["127.0.0.1:0", "unix:{path}", "unix:@prefork-test-{pid}"])
def test_no_descriptor_left(bind: Bind, tmp_path: Path, text: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        said = refusal(bind, text.format(path=tmp_path / "s", pid=os.getpid()))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert said.endswith(": Too many open files")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_low_port_without_permission() -> None:
    limit = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text().strip()
    if int(limit) <= 1:
        pytest.skip("every port is open to everybody here")
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            bind_all(["127.0.0.1:1"], Options(backlog=1))
        except BaseException as error:
            os.write(write_fd, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    said = os.read(read_fd, 4096).decode()
    os.close(read_fd)
    os.close(write_fd)
    reason = f"permission denied; ports below {limit} need root or CAP_NET_BIND_SERVICE"
    assert said == f"cannot listen on 127.0.0.1:1: {reason}"


def test_all_or_none(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    refusal(bind, f"unix:{path}", "192.0.2.1:0")
    assert not path.exists()


def test_malformed(bind: Bind) -> None:
    assert refusal(bind, "127.0.0.1:http") == "bind '127.0.0.1:http': the port is a number from 0 to 65535"


# Socket files


@pytest.mark.parametrize(("umask", "mode"), [(0, 0o777), (0o117, 0o660), (0o077, 0o700)])
def test_mode_of_a_socket_file(bind: Bind, tmp_path: Path, umask: int, mode: int) -> None:
    path = tmp_path / "s"
    bind(f"unix:{path}", umask=umask)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_without_a_mask_the_process_mask_holds(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    before = os.umask(0o027)
    try:
        bind(f"unix:{path}")
    finally:
        assert os.umask(before) == 0o027
    assert stat.S_IMODE(path.stat().st_mode) == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_owner_of_a_socket_file(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    bind(f"unix:{path}", owner=(1234, -1))
    assert path.stat().st_uid == 1234
    assert path.stat().st_gid == os.getegid()


def test_names_of_a_socket_file(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    (one,) = bind(f"unix:{path}")
    assert one.text == f"unix:{path}"
    assert one.address.kind is Kind.UNIX
    assert one.server_name
    assert one.server_port


def test_stale_socket_file_is_replaced(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    bind(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_live_socket_file_is_left_alone(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        assert refusal(bind, f"unix:{path}") == f"cannot listen on unix:{path}: another server listens there"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_live_socket_with_a_full_backlog_is_left_alone(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as client:
        live.bind(str(path))
        live.listen(0)
        client.connect(str(path))
        assert "may be in use" in refusal(bind, f"unix:{path}")
    assert path.is_socket()


def test_datagram_socket_is_left_alone(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        assert "may be in use" in refusal(bind, f"unix:{path}")


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(bind: Bind, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
    said = refusal(bind, f"unix:{path}")
    assert said == f"cannot listen on unix:{path}: the path exists and is not a socket; it is left alone"
    assert path.is_symlink() or path.exists()


@pytest.mark.parametrize(("where", "counted"), [("127.0.0.1:0", True), ("[::1]:0", True), ("unix:", False)])
def test_who_waits_is_counted_where_the_system_tells(
    bind: Bind, tmp_path: Path, where: str, counted: bool
) -> None:
    (listener,) = bind(f"unix:{tmp_path}/s" if where == "unix:" else where)
    assert listener.waiting() == 0
    for number in (1, 2, 3):
        with ExitStack() as stack:
            for _ in range(number):
                client = stack.enter_context(socket.socket(listener.socket.family))
                client.connect(listener.socket.getsockname())
            assert listener.waiting() == (number if counted else 1)
            for _ in range(number):
                listener.socket.accept()[0].close()
            assert listener.waiting() == 0


def test_folder_that_is_missing(bind: Bind, tmp_path: Path) -> None:
    said = refusal(bind, f"unix:{tmp_path}/no/s")
    assert said.endswith(f"the folder '{tmp_path}/no' does not exist")


def test_path_that_is_too_long(bind: Bind, tmp_path: Path) -> None:
    assert "a socket's path has at most 107 bytes, this one has" in refusal(
        bind, f"unix:{tmp_path}/{'x' * 107}"
    )


def test_socket_file_is_removed_by_its_maker(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    (one,) = bind(f"unix:{path}")
    one.unlink()
    assert not path.exists()


def test_socket_file_of_another_is_not_removed(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    (one,) = bind(f"unix:{path}")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        one.unlink()
        assert path.exists()


def test_child_does_not_remove_the_socket_file(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    (one,) = bind(f"unix:{path}")
    pid = os.fork()
    if pid == 0:
        one.unlink()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert path.exists()


def test_disowned_socket_file_stays(bind: Bind, tmp_path: Path) -> None:
    path = tmp_path / "s"
    (one,) = bind(f"unix:{path}")
    one.disown()
    one.unlink()
    assert path.exists()


# The abstract namespace


def test_abstract(bind: Bind) -> None:
    name = f"prefork-test-{os.getpid()}"
    (one,) = bind(f"unix:@{name}")
    assert one.text == f"unix:@{name}"
    assert one.address.kind is Kind.ABSTRACT
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{name}")
    assert refusal(bind, f"unix:@{name}").endswith("another server listens there")


# Descriptors


def test_descriptor_is_adopted() -> None:
    made = socket.create_server(("127.0.0.1", 0))
    port = made.getsockname()[1]
    (one,) = bind_all([f"fd://{made.detach()}"], Options(backlog=1))
    assert one.address.port == port
    assert one.text == f"http://127.0.0.1:{port}"
    assert not one.socket.getblocking()
    assert not one.socket.get_inheritable()
    one.close()


def test_what_is_no_listening_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket() as idle, (tmp_path / "f").open("w") as file:
        cases = {
            idle.fileno(): "not a listening stream socket",
            file.fileno(): "not a socket",
            9999: "not an open descriptor",
        }
        for fd, reason in cases.items():
            with pytest.raises(BindError, match=f"cannot listen on fd://{fd}: {reason}"):
                adopt([fd])
        os.fstat(idle.fileno())  # it was not ours, and is still open
