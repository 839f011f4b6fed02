"""What a worker serves under `--reload` when the application cannot be loaded: the traceback.

A development server must not go on showing the code of before the edit as if nothing had happened, and must
not end because of a typing error. So the worker boots with this page in the application's place, until the
next edit. It shows source lines and paths: never without --reload.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable

TYPE_CHECKING = False  # typing costs every start 3 ms
if TYPE_CHECKING:
    from typing import Any

# The page asks for itself again: the next edit shows by itself.
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="2">
<title>{title}</title>
<style>
  body {{ margin: 2rem auto; max-width: 70rem; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif;
         color: #222; background: #fff }}
  h1 {{ font-size: 1.3rem; border-left: .3rem solid #c22; padding-left: .8rem }}
  pre {{ overflow-x: auto; padding: 1rem; background: #f4f4f4; font: .85rem/1.5 ui-monospace, monospace }}
  @media (prefers-color-scheme: dark) {{
    body {{ color: #ddd; background: #1b1b1b }}
    pre {{ background: #262626 }}
  }}
</style>
<h1>{message}</h1>
<pre>{detail}</pre>
<p>prefork is running with --reload: the next edit is loaded as soon as the file is written.</p>
</html>
"""
_TITLE = "The application cannot be loaded"


def fault_page(message: str, detail: str = "") -> Callable[..., Iterable[bytes]]:
    """Return a WSGI application that answers every request with 500 and this text.

    message: one line.  detail: the traceback's text, or "". A browser gets a page, all else plain text."""
    page = _PAGE.format(title=_TITLE, message=html.escape(message), detail=html.escape(detail or message))
    text = f"{_TITLE}\n\n{message}\n\n{detail}\n"

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        browser = "text/html" in environ.get("HTTP_ACCEPT", "")
        body = (page if browser else text).encode("utf-8", "backslashreplace")
        start_response(
            "500 Internal Server Error",
            [
                ("Content-Type", f"text/{'html' if browser else 'plain'}; charset=utf-8"),
                ("Content-Length", str(len(body))),
                ("Cache-Control", "no-store"),
            ],
        )
        return [body]

    return application
