"""The app's configuration: says to the test when a request begins and when it is finished."""

from django.apps import AppConfig
from django.core.signals import request_finished, request_started
from testevents import say


def started(**_: object) -> None:
    say("started")


def finished(**_: object) -> None:
    """Sent by HttpResponse.close(), so only when the server calls close()."""
    say("finished")


class FilesConfig(AppConfig):
    name = "files"

    def ready(self) -> None:
        request_started.connect(started, dispatch_uid="tests")
        request_finished.connect(finished, dispatch_uid="tests")
