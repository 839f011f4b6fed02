"""--warmup: what the first new worker has to answer before it, or anybody else of it, has a client."""

from __future__ import annotations

import signal

import pytest

from .conftest import APP, Project, Start, answer, settled
from .test_control import command

CLASSES = [("-k", "sync"), ("-k", "threads", "--threads", "2"), ("-k", "gevent")]

# Says what it is asked, on stdout.
TOLD = APP.replace(
    '    path = environ["PATH_INFO"]\n',
    '    path = environ["PATH_INFO"]\n'
    "    os.write(1, f\"asked {path} {environ['HTTP_HOST']} {environ['wsgi.url_scheme']}\\n\".encode())\n"
    '    if path == "/broken":\n'
    "        start_response('503 Service Unavailable', [('Content-Length', '0')])\n"
    "        return []\n"
    '    if path == "/raises":\n'
    "        1 / 0\n",
)


@pytest.mark.parametrize("flags", CLASSES, ids=["sync", "threads", "gevent"])
def test_paths_are_answered_in_order_before_anybody_is_served(
    start: Start, project: Project, flags: tuple[str, ...]
) -> None:
    if "gevent" in flags:
        pytest.importorskip("gevent")
    server = start(*flags, "--warmup", "/health,/page?a=1,https://shop.example/x", workers=1)
    assert server.stdout.lines == []  # not the first generation: there is nothing to protect
    project.write(TOLD.replace('"first"', '"second"'))
    done = command("reload", server.pid, "--wait")
    assert done.code == 0, done.err
    assert answer(server)[0] == "second"
    server.stdout.wait("^asked / ")
    asked = [line for line in server.stdout.lines if line.startswith("asked")]
    assert asked[:3] == [
        "asked /health localhost http",
        "asked /page localhost http",
        "asked /x shop.example https",
    ]
    assert len(asked) == 4  # the last one is ours


def test_only_the_first_worker_warms_up(start: Start, project: Project) -> None:
    server = start("--warmup", "/health", workers=3)
    project.write(TOLD)
    assert command("reload", server.pid, "--wait").code == 0
    answer(server)
    server.stdout.wait("asked / ")
    assert [line for line in server.stdout.lines if "asked" in line] == [
        "asked /health localhost http",
        "asked / test http",
    ]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/broken", "warm-up /broken was answered 503 Service Unavailable"),
        ("/raises", "warm-up /raises was answered 500 Internal Server Error"),
        ("/exit/3", r"worker \d+ exited with code 3.*before it was ready"),
        ("/sleep/60", r"not ready within 0\.5 s \(boot_timeout\), warming up /sleep/60"),
    ],
)
def test_failed_warm_up_leaves_the_old_generation(
    start: Start, project: Project, path: str, said: str
) -> None:
    server = start("--warmup", f"/,{path}", "--boot-timeout", "0.5" if "sleep" in path else "20")
    before = server.worker_pids()
    project.write(TOLD.replace('"first"', '"second"'))
    server.send_signal(signal.SIGHUP)
    server.stderr.wait(rf"reload failed, generation 1 serves on: .*{said}")
    assert answer(server)[0] == "first"
    assert set(before) <= set(server.worker_pids())
    server.pardon()


def test_the_cause_reaches_who_waits(start: Start, project: Project) -> None:
    server = start("--warmup", "/broken", workers=1)
    project.write(TOLD)
    done = command("reload", server.pid, "--wait")
    assert done.code == 3
    assert done.err == (
        "prefork: error: reload failed: warm-up /broken was answered 503 Service Unavailable\n"
    )
    server.pardon()


def test_term_while_it_warms_up(start: Start, project: Project) -> None:
    server = start("--warmup", "/sleep/1", workers=1)
    project.write(TOLD)
    server.send_signal(signal.SIGHUP)
    server.stdout.wait("asked /sleep/1")
    server.stop()


def test_a_reload_can_bring_other_paths(start: Start, project: Project) -> None:
    (project.folder / "prefork.toml").write_text('warmup = ["/one"]\n')
    server = start(workers=1)
    project.write(TOLD)
    (project.folder / "prefork.toml").write_text('warmup = ["/two"]\n')
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    server.stdout.wait("asked")
    assert [line for line in server.stdout.lines if "asked" in line] == ["asked /two localhost http"]
