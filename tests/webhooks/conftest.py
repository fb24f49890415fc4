"""The log of every test of the web process is read at its end: it may contain no secret, whatever was sent."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from runtime.logs import configure_logs
from tests.webhooks.web_harness import NEVER_SHOWN


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    """What was logged. The mask does not know the secrets, so the code itself must keep them out."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers, root.level, sys.excepthook
    stream = io.StringIO()
    configure_logs("json", stream=stream)
    yield stream
    root.handlers, sys.excepthook = handlers, hook
    root.setLevel(level)
    structlog.reset_defaults()
    shown = [secret for secret in NEVER_SHOWN if secret in stream.getvalue()]
    assert not shown, "the log shows a secret"
