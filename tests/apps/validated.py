"""Applications inside wsgiref.validate, the standard library's judge of PEP 3333 for both sides."""

from __future__ import annotations

from typing import Any
from wsgiref.validate import validator


def __getattr__(name: str) -> Any:
    """demo, flask or cases; imported only when asked for."""
    if name == "demo":
        from prefork.demo import app

        return validator(app)
    if name == "flask":
        from flask_site.app import app as flask_app

        return validator(flask_app)
    if name == "cases":
        from wsgi_cases import application

        return validator(application)
    raise AttributeError(name)
