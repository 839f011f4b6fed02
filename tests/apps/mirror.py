"""Answers every request with what it was: environ and body as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The body is read first, as most applications do; its bytes are shown as latin-1."""
    body = environ["wsgi.input"].read().decode("latin-1")
    shown = {key: str(value) for key, value in environ.items() if type(value) in (str, bool, tuple)}
    said = json.dumps({"environ": shown, "body": body}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(said)))])
    return [said]
