"""HAProxy in front of two prefork hosts, each in a network of its own: one host after the other is reloaded,
drained, upgraded and killed while clients go on asking.

The hosts are network namespaces joined to the balancer's by cables (veth), with deploy/haproxy/haproxy.cfg
in the middle. The clients are outside: they reach HAProxy through a Unix socket, which no network namespace
parts.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import machine
import proxies
import pytest
from launcher import program, until
from places import APPS

from benchmarks.traffic import Ask, Outcome, Swarm, Visitor

ADDRESSES = ("10.77.1.2", "10.77.2.2")

CABLES = """
for number in 1 2; do
    ip netns add web$number
    ip link add cable$number type veth peer name eth0 netns web$number
    ip address add 10.77.$number.1/24 dev cable$number
    ip link set cable$number up
    ip -n web$number address add 10.77.$number.2/24 dev eth0
    ip -n web$number link set eth0 up
    ip -n web$number link set lo up
done
"""

GET = Ask("/echo?n=1", kind="get", expect=b"1")
POST = Ask("/echo", "POST", kind="post", body=b"posted", expect=b"posted")
SLOW = Ask("/slow?seconds=0.1", "POST", kind="slow", body=b"posted", expect=b"slow\n")
POSTERS = 6  # clients that post
WORKERS = 2  # of each host


class Site:
    """The balancer and its two hosts. `folder` is seen from inside and outside."""

    def __init__(self, inside: machine.Inside, folder: Path) -> None:
        self.inside = inside
        self.folder = folder
        self.door = str(folder / "door.sock")
        self._runtime = f"{folder}/haproxy.sock"
        (self._prefork,) = program()

    def start(self, number: int, *flags: str) -> None:
        """Start the prefork of host 1 or 2, as its administrator would."""
        address = ADDRESSES[number - 1]
        words = f"-b {address}:8000 -w {WORKERS} --pythonpath {APPS} --forwarded-allow-ips 10.77.{number}.1"
        self.inside.ask(
            f"cd {self.folder}; export PREFORK_TEST_VERSION={self.folder}/version; "
            f"ip netns exec web{number} {self._prefork} behind:application {words} {' '.join(flags)} "
            f"-D --pid web{number}.pid --error-logfile web{number}.log"
        )

    def signal(self, number: int, name: str) -> None:
        """Send a signal to a host's master."""
        self.inside.ask(f"kill -{name} $(cat {self.folder}/web{number}.pid)")

    def log(self, number: int) -> str:
        return (self.folder / f"web{number}.log").read_text()

    def balance(self) -> None:
        """Start HAProxy, and wait for both hosts."""
        config = proxies.haproxy_config(
            {"bind :80": f"bind unix@{self.door}", "/run/haproxy.sock": self._runtime},
            *((address, 8000) for address in ADDRESSES),
        )
        (self.folder / "haproxy.cfg").write_text(config)
        self.inside.ask(f"haproxy -D -f {self.folder}/haproxy.cfg -p {self.folder}/haproxy.pid")
        self.wait_host(1, "UP")
        self.wait_host(2, "UP")

    def host(self, number: int) -> str:
        """What HAProxy's checks say of a host: UP, DOWN, DRAIN..."""
        said = self.tell("show stat")
        rows = [line.split(",") for line in said.splitlines() if line.startswith(f"prefork,web{number},")]
        return rows[0][17]

    def wait_host(self, number: int, state: str) -> None:
        until(lambda: self.host(number).split()[0] == state, f"web{number} is {state}")

    def wait_steady(self, number: int) -> None:
        """Up, and for longer than two checks take: a check that met the restart has come and gone."""
        until(lambda: self._up_for(number) >= 3, f"web{number} is up for good")

    def _up_for(self, number: int) -> int:
        header, *rows = self.tell("show stat").lstrip("# ").splitlines()
        names = header.split(",")
        for row in rows:
            facts = dict(zip(names, row.split(","), strict=False))
            if facts.get("pxname") == "prefork" and facts.get("svname") == f"web{number}":
                return int(facts["lastchg"]) if facts["status"].startswith("UP") else -1
        return -1

    def tell(self, words: str) -> str:
        """Ask HAProxy's runtime API."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self._runtime)
            client.sendall(words.encode() + b"\n")
            said = b""
            while data := client.recv(1 << 16):
                said += data
        return said.decode()


@pytest.fixture(scope="module")
def inside(
    outside_program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[machine.Inside, Path]]:
    """A machine with the cables laid."""
    if why := machine.why_not():
        pytest.skip(why)
    outside_program("haproxy")
    folder = tmp_path_factory.mktemp("two-hosts")
    with machine.Machine(shared=[folder]) as place:
        found = place.boot()
        laid = found.run(CABLES)
        if laid.returncode:
            pytest.skip(f"no network namespaces in a machine here: {laid.stdout.strip().splitlines()[-1]}")
        yield found, folder


@pytest.fixture(scope="module")
def site(inside: tuple[machine.Inside, Path]) -> Iterator[Site]:
    """Both hosts serving, and the balancer."""
    place = Site(*inside)
    with ExitStack() as stack:
        (place.folder / "version").write_text("1")
        for number in (1, 2):
            place.start(number)
            stack.callback(place.signal, number, "TERM")
        place.balance()
        yield place


def visitors() -> list[Visitor]:
    """Kept connections and new ones, requests that may be asked again and requests that may not."""
    return [
        *[Visitor(lambda: GET)] * 10,
        *[Visitor(lambda: POST)] * POSTERS,
        *[Visitor(lambda: GET, keep_alive=False)] * 4,
    ]


def slower() -> list[Visitor]:
    """Some of them so slow that a host has always something to lose."""
    return [*visitors(), *[Visitor(lambda: SLOW)] * 3]


def test_reload_one_after_the_other(site: Site) -> None:
    with Swarm(site.door, slower()) as swarm:
        assert swarm.wait_total(200)
        for number in (1, 2):
            (site.folder / "version").write_text("2")
            site.signal(number, "HUP")
            until(lambda host=number: "ready: generation 2" in site.log(host), "generation 2 serves")
            assert swarm.wait_more(200)
    assert swarm.tally.counts[Outcome.OK] == swarm.tally.total, swarm.tally.describe()


def test_drain_planned(site: Site) -> None:
    """Taken out by the balancer first: nothing is lost whatever the host does then."""
    with Swarm(site.door, slower()) as swarm:
        for number in (1, 2):
            assert swarm.wait_more(200)
            site.tell(f"set server prefork/web{number} state drain")
            until(lambda host=number: sessions(site, host) == 0, "nobody is served there")
            restart(site, number)
            site.tell(f"set server prefork/web{number} state ready")
            site.wait_host(number, "UP")
            assert swarm.wait_more(200)
    assert swarm.tally.counts[Outcome.OK] == swarm.tally.total, swarm.tally.describe()


def test_drain_delay(site: Site) -> None:
    """TERM, and the balancer finds out by itself within the delay."""
    for number in (1, 2):
        restart(site, number, "--drain-delay 2")
    for number in (1, 2):  # nobody asks yet: both come up side by side
        site.wait_steady(number)
    with Swarm(site.door, slower()) as swarm:
        for number in (1, 2):
            assert swarm.wait_more(200)
            restart(site, number, "--drain-delay 2")
            site.wait_steady(number)
            assert swarm.wait_more(200)
    assert swarm.tally.counts[Outcome.OK] == swarm.tally.total, swarm.tally.describe()


def test_upgrade(site: Site) -> None:
    """USR2: another master takes the host over."""
    with Swarm(site.door, slower()) as swarm:
        for number in (1, 2):
            assert swarm.wait_more(200)
            before = (site.folder / f"web{number}.pid").read_text()
            site.signal(number, "USR2")
            path = site.folder / f"web{number}.pid"
            until(lambda path=path, old=before: path.read_text() not in (old, ""), "another master")
            assert swarm.wait_more(200)
    assert swarm.tally.counts[Outcome.OK] == swarm.tally.total, swarm.tally.describe()


def test_killed(site: Site) -> None:
    """Every process of a host is killed. What it was working on fails, unless it may be asked again; all else
    is answered by the other."""
    with Swarm(site.door, visitors()) as swarm:
        assert swarm.wait_more(400)
        site.inside.ask("kill -9 $(ip netns pids web1)")
        site.wait_host(1, "DOWN")
        assert swarm.wait_more(400)
        site.inside.ask(f"rm {site.folder}/web1.pid")
        site.start(1)
        site.wait_host(1, "UP")
        assert swarm.wait_more(200)
    tally = swarm.tally
    failed = tally.total - tally.counts[Outcome.OK]
    # Each of those who post had at most one request at each worker, being run or waiting there. Not at the
    # host: workers die one behind the other, and who has lost the first may come to the second meanwhile.
    assert failed <= POSTERS * WORKERS, tally.describe()
    assert {record.kind for record in tally.records} <= {"post"}, tally.describe()


def restart(site: Site, number: int, *flags: str) -> None:
    """Stop a host's prefork with TERM, wait for its end, start it again."""
    pid = int((site.folder / f"web{number}.pid").read_text())
    site.signal(number, "TERM")
    site.inside.ask(f"tail --pid={pid} -s 0.05 -f /dev/null")
    site.start(number, *flags)


def sessions(site: Site, number: int) -> int:
    """Requests that the balancer has under way at a host."""
    said = site.tell("show stat")
    rows = [line.split(",") for line in said.splitlines() if line.startswith(f"prefork,web{number},")]
    return int(rows[0][4])
