"""The mixed user: what people do to an application, with weights and think time.

locustfile.py walks it through locust's client, drill.py through the classifying one: the same scenario, so
that a figure from one can be held against the other. It is served by benchmarks/apps/mixed.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from .ask import Ask
from .response import Answer

UPLOAD = bytes(range(256)) * 256  # 64 KiB
DOWNLOAD_SIZE = 1 << 20
THINK_SECONDS = (0.01, 0.1)

BROWSER_HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,nl;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "https://www.example.com/catalogue?page=2&sort=price",
    "Cookie": "sessionid=8c1f0e2d7b5a49638c1f0e2d7b5a4963; csrftoken=Zr8QmT1vXbN4kPfW6sYdHj2L0a; theme=dark",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Priority": "u=0, i",
}


def _is_page(answer: Answer) -> str | None:
    return None if b"</html>" in answer.body else "the page has no end"


def _is_download(answer: Answer) -> str | None:
    got = len(answer.body)
    return None if got == DOWNLOAD_SIZE else f"{got} bytes of {DOWNLOAD_SIZE}"


# (weight, request): one page view in three parts of the site, a form, an upload, a download, a slow report.
STEPS: tuple[tuple[int, Ask], ...] = (
    (60, Ask("/page", kind="page", headers=BROWSER_HEADERS, check=_is_page)),
    (15, Ask("/page?q=caf%C3%A9&page=7", kind="search", headers=BROWSER_HEADERS, check=_is_page)),
    (10, Ask("/form", "POST", kind="form", headers=BROWSER_HEADERS, body=b"a=1&b=two", expect=b"9\n")),
    (5, Ask("/upload", "POST", kind="upload", body=UPLOAD, expect=b"%d\n" % len(UPLOAD))),
    (5, Ask("/download", kind="download", check=_is_download)),
    (3, Ask("/stream", kind="stream", check=_is_download)),
    (2, Ask("/slow?ms=50", kind="slow", expect=b"slow\n")),
)


def walk(seed: int) -> Iterator[Ask]:
    """An endless, repeatable walk of one user."""
    chance = random.Random(seed)
    weights = [weight for weight, _ in STEPS]
    asks = [ask for _, ask in STEPS]
    while True:
        yield chance.choices(asks, weights)[0]


def script(seed: int) -> Callable[[], Ask]:
    """The walk as a Visitor's script."""
    return walk(seed).__next__


def think(seed: int) -> Callable[[], float]:
    """A user's pause between two requests, in seconds."""
    chance = random.Random(seed)
    return lambda: chance.uniform(*THINK_SECONDS)
