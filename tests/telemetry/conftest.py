"""Loggers of a test end with it."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    root = logging.root
    names = set(root.manager.loggerDict)
    handlers, level = root.handlers[:], root.level
    yield
    for name in set(root.manager.loggerDict) - names:
        logger = root.manager.loggerDict.pop(name)
        for handler in getattr(logger, "handlers", []):
            handler.close()
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:], root.level = handlers, level
