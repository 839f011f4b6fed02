"""What Django calls this app."""

from __future__ import annotations

from django.apps import AppConfig


class PreforkConfig(AppConfig):
    """The label is not the last part of the name, which would be "django"."""

    name = "prefork.django"
    label = "prefork"
    verbose_name = "prefork"
