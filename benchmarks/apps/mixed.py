"""What the mixed user (benchmarks/traffic/scenario.py) visits; for locust and for the drills.

Every answer names the code it came from (X-Code) and the process that made it (X-Worker). The drills copy
this file, change CODE or break it, and look whether a reload brings the new code without losing a request.
"""

import os
import time

CODE = "1"
IMPORT_SECONDS = 0.0

time.sleep(IMPORT_SECONDS)

ROW = "<tr><td>{}</td><td>{}</td></tr>"
CHUNK = b"z" * 65536


def app(environ, start_response):
    body, size = ROUTES.get(environ["PATH_INFO"], page)(environ)
    headers = [("Content-Type", "text/html; charset=utf-8"), ("X-Code", CODE), ("X-Worker", str(os.getpid()))]
    if size is not None:
        headers.append(("Content-Length", str(size)))
    start_response("200 OK", headers)
    return body


def page(environ):
    rows = "".join(ROW.format(number, number * number) for number in range(40))
    query = environ["QUERY_STRING"].replace("&", "&amp;").replace("<", "&lt;")
    return whole(f"<!doctype html><html><title>{query}</title><table>{rows}</table></html>\n".encode())


def form(environ):
    return whole(b"%d\n" % len(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))))


def download(environ):
    return [CHUNK * 16], len(CHUNK) * 16


def stream(environ):
    return (CHUNK for _ in range(16)), None


def slow(environ):
    time.sleep(int(environ["QUERY_STRING"].partition("ms=")[2] or 0) / 1000)
    return whole(b"slow\n")


def code(environ):
    return whole(CODE.encode())


def whole(body):
    return [body], len(body)


ROUTES = {
    "/page": page,
    "/form": form,
    "/upload": form,
    "/download": download,
    "/stream": stream,
    "/slow": slow,
    "/code": code,
}
