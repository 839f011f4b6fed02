"""The application that runprefork serves while settings.DEBUG is on: the project's, and its static files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def with_static_files() -> Callable[..., Any]:
    """Return the project's WSGI application behind what `runserver` answers for STATIC_URL.

    Called in the worker, like any factory; settings come from DJANGO_SETTINGS_MODULE."""
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.servers.basehttp import get_internal_wsgi_application

    handler: Callable[..., Any] = StaticFilesHandler(get_internal_wsgi_application())
    return handler
