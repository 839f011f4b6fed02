"""A small Flask site: sessions, uploads, files, streams, errors. Data lies in FLASK_SITE_DATA."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from flask import Flask, Response, abort, jsonify, redirect, request, send_file, session, stream_with_context
from testevents import say

app = Flask(__name__)
app.secret_key = "only for tests"
DATA = Path(os.environ.get("FLASK_SITE_DATA", "."))


# A production limit. With one, werkzeug reads wsgi.input as wsgiref.validate wants it, never by read().
app.config["MAX_CONTENT_LENGTH"] = 1 << 30


@app.after_request
def watch(response: Response) -> Response:
    """Tell of the server's close(). A file goes out without the response around it, so it does not tell."""
    response.call_on_close(lambda: say("closed"))
    return response


@app.get("/")
def home() -> str:
    return "<h1>home</h1>"


@app.get("/visits")
def visits() -> Response:
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(visits=session["visits"], pid=os.getpid())


@app.post("/upload/<name>")
def upload(name: str) -> tuple[Response, int]:
    file = request.files["file"]
    file.save(DATA / Path(name).name)
    digest = hashlib.sha256((DATA / Path(name).name).read_bytes()).hexdigest()
    return jsonify(digest=digest, title=request.form["title"]), 201


@app.get("/download/<name>")
def download(name: str) -> Response:
    """werkzeug hands the file to wsgi.file_wrapper, and answers ranges and conditions itself."""
    return send_file(DATA / Path(name).name, mimetype="application/octet-stream", conditional=True)


@app.get("/stream/<int:chunks>")
def stream(chunks: int) -> Response:
    def parts() -> Iterator[str]:
        for number in range(chunks):
            yield f"{request.path} {number}\n"

    return Response(stream_with_context(parts()), mimetype="text/plain")


@app.route("/body", methods=["POST", "PUT"])
def body() -> Response:
    data = request.get_data()
    return jsonify(size=len(data), digest=hashlib.sha256(data).hexdigest())


@app.get("/meta")
def meta() -> Response:
    return jsonify(
        url=request.url, secure=request.is_secure, address=request.remote_addr, query=request.args.to_dict()
    )


@app.get("/broken")
def broken() -> str:
    raise RuntimeError("deliberate, in a view")


@app.get("/teapot")
def teapot() -> None:
    abort(418)


@app.get("/redirect")
def redirect_home() -> Response:
    return redirect("/")  # type: ignore[return-value]


@app.get("/nothing")
def nothing() -> Response:
    response = Response(status=204)
    del response.headers["Content-Type"]  # wsgiref.validate: none without content
    return response
