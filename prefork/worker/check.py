"""Importing the application as a worker would, and no more: what `--check-config` does in a child process."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..config.settings import Settings


def import_app(settings: Settings) -> None:
    """Enter the application's folder and environment, patch where the class patches, and import it.

    The process is good for nothing else afterwards. Raises PreforkError, and SystemExit if the import does.
    """
    from ..wsgi.app import load
    from .base import _enter

    _enter(settings)
    if settings.worker_class == "gevent":
        from ..telemetry.log import Log
        from .patching import patch

        patch(Log())
    assert settings.wsgi_app is not None
    load(settings.wsgi_app, factory=settings.factory)
