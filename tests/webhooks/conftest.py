"""The log of every test of the door is read at its end: no secret may stand in it, whatever was sent."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from runtime.logs import configure_logs
from tests.webhooks.web_harness import NEVER_SHOWN


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    """What was logged. The mask is not told the secrets, so that it is the code that keeps them to itself."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logs("json", stream=stream)
    yield stream
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    shown = [secret for secret in NEVER_SHOWN if secret in stream.getvalue()]
    assert not shown, "the log shows a secret"
