"""Ordinary views, and a few that are unusual for a server."""

import hashlib
import io
import os
from collections.abc import Iterator

from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt

from files.models import Upload


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<h1>home</h1>")


def visits(request: HttpRequest) -> HttpResponse:
    """Counts in the session, which lies in the database that all workers share."""
    count = request.session.get("visits", 0) + 1
    request.session["visits"] = count
    return JsonResponse({"visits": count, "pid": os.getpid()})


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    made = Upload.objects.create(title=request.POST["title"], file=file, digest=digest.hexdigest())
    return JsonResponse(
        {"key": made.pk, "digest": made.digest, "size": file.size, "title": made.title}, status=201
    )


def download(request: HttpRequest, key: int) -> FileResponse:
    """A file on disk: Django hands it to wsgi.file_wrapper."""
    return FileResponse(get_object_or_404(Upload, pk=key).file.open("rb"), as_attachment=True)


def from_memory(request: HttpRequest, size: int) -> FileResponse:
    """The same with a file that has no descriptor."""
    return FileResponse(io.BytesIO(b"m" * size), content_type="application/octet-stream")


def stream(request: HttpRequest, chunks: int) -> StreamingHttpResponse:
    return StreamingHttpResponse((f"chunk {number}\n" for number in range(chunks)), content_type="text/plain")


def stream_broken(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[bytes]:
        yield b"begun"
        raise RuntimeError("deliberate, in a stream")

    return StreamingHttpResponse(parts())


@csrf_exempt
def body(request: HttpRequest) -> HttpResponse:
    """What the body was. Django reads none without CONTENT_LENGTH, so chunked ones need the server's help."""
    data = request.body
    return JsonResponse(
        {
            "size": len(data),
            "digest": hashlib.sha256(data).hexdigest(),
            "length": request.META.get("CONTENT_LENGTH"),
        }
    )


def meta(request: HttpRequest) -> HttpResponse:
    return JsonResponse(
        {
            "secure": request.is_secure(),
            "host": request.get_host(),
            "absolute": request.build_absolute_uri(),
            "address": request.META["REMOTE_ADDR"],
            "query": request.GET.dict(),
            "path": request.path,
            "script": request.META["SCRIPT_NAME"],
        }
    )


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("deliberate, in a view")


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204)


def redirect_home(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect("/")
