"""What holds for every test of the web process: what its log may not show, and that it is patient with Postgres."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from runtime.logs import configure_logs
from tests.webhooks.web_harness import NEVER_SHOWN
from webhooks import admin


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """/readyz waits for a Postgres that is there, however busy it is."""
    monkeypatch.setattr(admin, "READY_TIMEOUT_SECONDS", 60.0)


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    """What was logged: at the end of every test it may contain no secret, whatever was sent. The mask does not know the
    secrets, so the code itself must keep them out.
    """
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
