"""prefork web as a WSGI application: its paths, and what each answers. Several threads may call it."""

from __future__ import annotations

import json
import threading
import time
from urllib.parse import parse_qs

from ..errors import OlderError, PreforkError
from ..telemetry.metrics import CONTENT_TYPE
from . import logtail, orders, page
from .guard import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .guard import Guard
    from .reading import Reader

    Environ = dict[str, Any]
    View = Callable[["Site", Environ], "Answer"]

FRESH = 0.5  # seconds that an answer of the master serves everybody who asks
FORM_LIMIT = 4096  # bytes
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
BUSY = "503 Service Unavailable"
FIELDS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", page.POLICY),
    # Not no-referrer: with that a browser says "Origin: null" of this page's own forms (Fetch, 3.2).
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)


class Answer:
    """A whole response."""

    __slots__ = ("body", "fields", "kind", "status")

    def __init__(
        self, text: str, kind: str = TEXT, status: str = "200 OK", fields: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.body = text.encode("utf-8", "backslashreplace")
        self.kind = kind
        self.status = status
        self.fields = tuple(fields)


class Recent:
    """What a function has returned or raised, for a moment: however many ask, it is called once."""

    def __init__(self, function: Callable[[], Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._function = function
        self._clock = clock
        self._lock = threading.Lock()
        self._until = float("-inf")
        self._value: Any = None
        self._fault: PreforkError | None = None

    def __call__(self) -> Any:
        with self._lock:
            if self._clock() >= self._until:
                self._value = self._fault = None
                try:
                    self._value = self._function()
                except PreforkError as fault:
                    self._fault = fault
                self._until = self._clock() + FRESH
            value, known = self._value, self._fault
        if known is not None:
            raise known.with_traceback(None)
        return value


class Site:
    """acts: whether actions may be asked for at all."""

    def __init__(self, reader: Reader, guard: Guard, *, acts: bool) -> None:
        self.reader = reader
        self.guard = guard
        self.acts = acts
        self.figures = Recent(reader.read)
        self.exposition = Recent(lambda: reader.answer("metrics")["exposition"])
        self.log = Recent(lambda: logtail.tail(reader.answer("status")["server"]))

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = self._answer(environ)
        length = ("Content-Length", str(len(answer.body)))
        start_response(answer.status, [("Content-Type", answer.kind), length, *FIELDS, *answer.fields])
        return [answer.body]

    def _answer(self, environ: Environ) -> Answer:
        path = environ.get("PATH_INFO") or "/"
        try:
            self.guard.check(environ, path)
            methods = VIEWS.get(path)
            if methods is None:
                return Answer("There is nothing here; / says what there is.\n", status="404 Not Found")
            view = methods.get(environ["REQUEST_METHOD"])
            if view is None:
                allowed = [("Allow", ", ".join(methods))]
                return Answer("Not here.\n", status="405 Method Not Allowed", fields=allowed)
            return view(self, environ)
        except Refusal as refusal:
            fields = []
            if refusal.status.startswith("401"):
                fields.append(("WWW-Authenticate", 'Basic realm="prefork web", charset="UTF-8"'))
            return Answer(f"{refusal}\n", status=refusal.status, fields=fields)


def _page(site: Site, environ: Environ) -> Answer:
    status, title = "200 OK", "prefork"
    try:
        figures = site.figures()
        main, title = page.part(figures), f"{figures['server']['name']}: prefork"
    except PreforkError as fault:
        status, main = BUSY, page.silence(str(fault))
    if environ.get("QUERY_STRING") == "part":
        return Answer(main, HTML, status, [("X-Part", "main")])
    return Answer(page.page(main, title, site.guard.token if site.acts else ""), HTML, status)


def _status(site: Site, environ: Environ) -> Answer:
    try:
        return Answer(json.dumps(site.figures()) + "\n", "application/json")
    except PreforkError as fault:
        return Answer(json.dumps({"error": str(fault)}) + "\n", "application/json", BUSY)


def _metrics(site: Site, environ: Environ) -> Answer:
    """Where there is no answer, no scrape: Prometheus's own metric `up` says so. Why not may name files and
    folders, and who asks may be a stranger."""
    try:
        return Answer(site.exposition(), CONTENT_TYPE)
    except PreforkError:
        return Answer("no answer; the page says why\n", status=BUSY)


def _log(site: Site, environ: Environ) -> Answer:
    try:
        return Answer(site.log())
    except PreforkError as fault:
        return Answer(f"{fault}\n", status="404 Not Found")


def _health(site: Site, environ: Environ) -> Answer:
    """Who asks may be a stranger: no more than a word."""
    try:
        try:
            said = site.figures()
        except OlderError:
            said = site.reader.answer("status")
    except PreforkError:
        return Answer("no answer\n", status=BUSY)
    return Answer("serving\n") if said["server"]["serving"] else Answer("not serving\n", status=BUSY)


def _act(site: Site, environ: Environ) -> Answer:
    if not site.acts:
        raise Refusal("403 Forbidden", "Actions are off: prefork web --actions.")
    form = _form(environ)
    site.guard.check_action(environ, form.get("token", ""))
    order = form.get("order", "")
    if order not in orders.ORDERS:
        raise Refusal("400 Bad Request", "There is no such order.")
    try:
        return Answer(page.result(orders.give(site.reader.pid(), order), good=True), HTML)
    except PreforkError as fault:
        return Answer(page.result(str(fault), good=False), HTML, "409 Conflict")


def _form(environ: Environ) -> dict[str, str]:
    """The fields of a form, the first of each name. Raises Refusal."""
    kind = str(environ.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()
    size = int(environ.get("CONTENT_LENGTH") or 0)
    if kind != "application/x-www-form-urlencoded" or size > FORM_LIMIT:
        raise Refusal("400 Bad Request", "This is no form of this page.")
    text = environ["wsgi.input"].read(size).decode("ascii", "replace")
    try:
        return {name: values[0] for name, values in parse_qs(text, max_num_fields=10).items()}
    except ValueError:
        raise Refusal("400 Bad Request", "This is no form of this page.") from None


def _read_only(view: View) -> dict[str, View]:
    """The server leaves the body of an answer to HEAD out."""
    return {"GET": view, "HEAD": view}


VIEWS: dict[str, dict[str, View]] = {
    "/": _read_only(_page),
    "/status.json": _read_only(_status),
    "/metrics": _read_only(_metrics),
    "/log": _read_only(_log),
    "/healthz": _read_only(_health),
    "/act": {"POST": _act},
}
