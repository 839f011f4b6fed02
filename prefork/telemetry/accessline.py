"""A line of the access log out of what gunicorn's `Logger.access` is given.

Imported only where a hook calls that; the lines of requests are the engine's.
"""

from __future__ import annotations

import os
import time

from ..engine.accessformat import LITERAL, compile_format

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from typing import Any

# As the engine has it: what could end a line, or a quoted part of it.
_ESCAPES = {code: f"\\x{code:02X}" for code in (*range(32), *range(127, 256), ord('"'), ord("\\"))}


def line(format: str, response: Any, environ: Mapping[str, Any], span: timedelta) -> str:
    """The line, without its end. span: how long the request took."""
    status = str(response.status).split(None, 1)[0]
    sent = getattr(response, "sent", None)
    microseconds = span.days * 86_400_000_000 + span.seconds * 1_000_000 + span.microseconds
    is_json = format == "json"
    values: dict[str, object] = {
        "h": environ.get("REMOTE_ADDR"),
        "u": _user(environ),
        "t": time.strftime("%Y-%m-%dT%H:%M:%S%z" if is_json else "[%d/%b/%Y:%H:%M:%S %z]"),
        "r": " ".join(str(environ.get(key)) for key in ("REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL")),
        "s": int(status) if status.isdecimal() else None,
        "B": sent,
        "b": sent or None,
        "T": microseconds // 1_000_000,
        "M": microseconds // 1000,
        "D": microseconds,
        "L": f"{microseconds / 1e6:.6f}",
        "p": os.getpid() if is_json else f"<{os.getpid()}>",
    }
    sent_fields = {str(name).lower(): value for name, value in getattr(response, "headers", None) or ()}
    text = ""
    for source, _, literal, key, other in compile_format(format):
        if source == LITERAL:
            text += literal.decode()
            continue
        match chr(source):
            case "e":
                value = environ.get(key or "", environ.get(other or ""))
            case "o":
                value = sent_fields.get(literal.decode())
            case letter:
                value = values.get(letter)
        text += _quoted(value) if is_json else _shown(value)
    return text.rstrip("\n")


def _shown(value: object) -> str:
    return "-" if value is None or value == "" else str(value).translate(_ESCAPES)


def _quoted(value: object) -> str:
    import json

    return json.dumps(value if isinstance(value, int | None) else str(value))


def _user(environ: Mapping[str, Any]) -> str | None:
    """The name in an Authorization field of HTTP Basic (RFC 7617)."""
    import base64
    import binascii

    scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials.strip()).partition(b":")[0].decode("latin-1")
    except (binascii.Error, ValueError):
        return None
