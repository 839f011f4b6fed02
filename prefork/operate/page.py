"""Figures as one HTML page with nothing from elsewhere; readable on a phone, in the dark, and without script.

Every value is escaped here, whoever has named it. Script and style are constants, and the page's policy names
their digests: what is not one of them does not run, should something unescaped ever come through.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape

from ..telemetry.status import plain
from . import words
from .orders import ORDERS
from .table import LONG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

SHOWN = 50  # running requests; a gevent worker may have a thousand

STYLE = """
:root { color-scheme: light dark; --line: #ccc; --dim: #666; --loud: #b00020; --tile: #f3f3f3 }
@media (prefers-color-scheme: dark) { :root { --line: #444; --dim: #999; --loud: #ff7b7b; --tile: #222 } }
body { font: 15px/1.4 system-ui, sans-serif; margin: 0 auto; padding: 0.8em; max-width: 70em;
  overflow-wrap: anywhere }
h1 { font-size: 1.2em; margin: 0 } p { margin: 0.3em 0 } a { margin-right: 1em }
.dim { color: var(--dim) } .loud { color: var(--loud); font-weight: bold }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5em, 1fr)); gap: 0.5em; margin: 0.8em 0 }
dl div { background: var(--tile); border-radius: 6px; padding: 0.4em 0.6em }
dt { color: var(--dim); font-size: 0.85em } dd { margin: 0; font-size: 1.25em }
.wide { overflow-x: auto; overflow-wrap: normal }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: 0.2em 0.7em 0.2em 0; border-bottom: 1px solid var(--line); text-align: right }
th { color: var(--dim); font-weight: normal }
.text { text-align: left; overflow-wrap: anywhere; min-width: 14em }
form { display: inline } button { font: inherit; margin: 0.3em 0.5em 0.3em 0; padding: 0.4em 0.8em }
#silent { display: none } .silent #silent { display: block } .silent main { opacity: 0.5 }
"""

# Only what has changed is put in the place of what stands there, in one step. Without an answer that stays.
SCRIPT = """
const main = document.querySelector("main");
let last = "";
async function turn() {
  try {
    const answer = await fetch("?part", {cache: "no-store"});
    if (!answer.headers.has("x-part")) throw 0;
    const text = await answer.text();
    if (text !== last) main.innerHTML = last = text;
    document.body.classList.remove("silent");
  } catch { document.body.classList.add("silent"); }
  setTimeout(turn, document.hidden ? 15000 : 2000);
}
setTimeout(turn, 2000);
"""


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>{main}</main>
<p id="silent" class="loud">prefork web does not answer; this is how it was.</p>
<p><a href="log">log</a><a href="status.json">status.json</a><a href="metrics">metrics</a></p>
{forms}
<script>{script}</script>
</body>
</html>
"""

RESULT = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>prefork</title>
<style>{style}</style>
</head>
<body>
{text}
<p><a href="./">back</a></p>
</body>
</html>
"""


def page(main: str, title: str, token: str) -> str:
    """The whole page. main: what `part` or `silence` has made.  token: of the actions' forms; "" for none."""
    forms = "".join(_form(order, label, token) for order, label in ORDERS.items()) if token else ""
    return PAGE.format(title=escape(title), style=STYLE, main=main, forms=forms, script=SCRIPT)


def result(text: str, *, good: bool) -> str:
    """What has come of an action."""
    return RESULT.format(style=STYLE, text=_paragraph(text, "" if good else "loud"))


def silence(cause: str) -> str:
    """Instead of `part`, where there are no figures."""
    return f"<h1>prefork</h1>{_paragraph(cause, 'loud')}"


def part(figures: dict[str, Any]) -> str:
    """What changes: everything but the frame."""
    server, now = figures["server"], figures["now"]
    down = server["serving"] < server["workers"] or server["course"] != "serving"
    return "".join(
        (
            f"<h1>{escape(words.shown(server['name']))}</h1>",
            _paragraph(
                f"prefork {words.shown(server['version'])}, pid {server['pid']}, up {words.age(now['up'])}, "
                f"at {words.addresses(server)}",
                "dim",
            ),
            _paragraph(words.course(server), "loud" if down else ""),
            "<dl>",
            *(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in _tiles(now)),
            "</dl>",
            _paragraph(words.statuses(now), "dim"),
            _table(WORKERS, map(_worker, figures["workers"])),
            _requests(figures["workers"]),
        )
    )


def _paragraph(text: str, kind: str) -> str:
    return f"<p{_class(kind)}>{escape(text)}</p>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _tiles(now: dict[str, Any]) -> Sequence[tuple[str, str]]:
    latency, queue = now["latency"] or {}, now["queue"] or {}
    return (
        ("requests/s", words.rate(now["requests_per_second"])),
        (f"busy, of {now['at_once']}", f"{words.share(now['busy'])} ({now['running']})"),
        ("connections", str(now["connections"])),
        *((name, words.time(latency.get(name))) for name in ("p50", "p90", "p99", "max")),
        ("queue p99", words.time(queue.get("p99"))),
    )


REQUESTS = ("pid", "for", "left", "request")
WORKERS = ("pid", "gen", "state", "up", "req/s", "cpu", "memory", "conns", "running", "requests", "5xx")


def _worker(worker: dict[str, Any]) -> tuple[bool, Sequence[str]]:
    loud = worker["state"] != "serving" or words.longest(worker) >= LONG
    return loud, (
        str(worker["pid"]),
        str(worker["generation"]),
        str(worker["state"]),
        words.age(worker["up"]),
        words.rate(worker["requests_per_second"]),
        words.share(worker["cpu"]),
        words.size(worker["memory"]),
        str(worker["connections"]),
        str(worker["running"]),
        str(worker["requests"]),
        str(worker["statuses"]["5xx"]),
    )


def _requests(workers: Sequence[dict[str, Any]]) -> str:
    """Those that have run longest."""
    found = [(worker["pid"], request) for worker in workers for request in worker["requests_now"]]
    found.sort(key=lambda each: float(each[1]["running"]), reverse=True)
    if not found:
        return _paragraph("no request runs", "dim")
    rows = (
        (
            request["running"] >= LONG,
            (
                str(pid),
                words.time(request["running"]),
                words.NONE if request["left"] is None else f"{request['left']:.1f} s",
                f"{plain(request['method'])} {plain(request['target'])}",
            ),
        )
        for pid, request in found[:SHOWN]
    )
    more = len(found) - SHOWN
    return _table(REQUESTS, rows) + (_paragraph(f"and {more} more", "dim") if more > 0 else "")


def _table(titles: Sequence[str], rows: Iterable[tuple[bool, Sequence[str]]]) -> str:
    """rows: whether it is worth a look, and its cells."""
    found = [_row("th", titles, "")]
    found += [_row("td", cells, "loud" if loud else "") for loud, cells in rows]
    return f'<div class="wide"><table>{"".join(found)}</table></div>'


def _row(tag: str, cells: Sequence[str], kind: str) -> str:
    # Only tables of requests end in text.
    texts = len(REQUESTS) - 1 if len(cells) == len(REQUESTS) else len(cells)
    inner = "".join(
        f"<{tag}{_class('text' if index == texts else '')}>{escape(cell)}</{tag}>"
        for index, cell in enumerate(cells)
    )
    return f"<tr{_class(kind)}>{inner}</tr>"


def _form(order: str, label: str, token: str) -> str:
    return (
        f'<form method="post" action="act"><input type="hidden" name="token" value="{escape(token)}">'
        f'<button name="order" value="{escape(order)}">{escape(label)}</button></form>\n'
    )
