"""The log: one line each, readable by machines, and free of secrets, whatever is logged."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from runtime.logs import configure_logs

# Assembled here, so that no scanner takes them for leaked keys.
API_KEY = "sk_" + "live_51Habcdefgh"
SIGNING_SECRET = "whsec_" + "c2VjcmV0LXNlY3JldA=="


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield io.StringIO()
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_line_has_event_level_time_and_ids(stream: io.StringIO) -> None:
    """One event is one JSON object; its time is UTC."""
    configure_logs("json", stream=stream)
    structlog.get_logger().info("customers derived", count=41)
    (line,) = lines(stream)
    assert {"event": "customers derived", "level": "info", "count": 41} == {
        key: value for key, value in line.items() if key != "timestamp"
    }
    assert line["timestamp"].endswith("Z")


def test_library_lines_are_routed_in(stream: io.StringIO) -> None:
    """What a library logs comes out in the same shape, with its name; arq's line for every job does not."""
    configure_logs("json", stream=stream)
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    logging.getLogger("arq.worker").info("0.29s → drain()")
    (line,) = lines(stream)
    assert ("Started server process [7]", "uvicorn.error") == (line["event"], line["logger"])


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_never_reach_the_log(stream: io.StringIO, log_format: str) -> None:
    """Not as a value, not in a message of a library, not in a traceback."""
    configure_logs(log_format, secrets=["adm1n-token"], stream=stream)
    log = structlog.get_logger()
    log.info("started", key=API_KEY, secret=SIGNING_SECRET, token="adm1n-token")
    logging.getLogger("asyncpg").warning("cannot reach %s", "postgresql://app:pa55word@db.example.com/x")
    try:
        raise RuntimeError(f"bad key {API_KEY}")
    except RuntimeError:
        log.exception("confirm failed")
    text = stream.getvalue()
    assert "confirm failed" in text
    assert "app:****@db.example.com" in text
    for secret in ("51Habcdefgh", "c2VjcmV0", "adm1n-token", "pa55word"):
        assert secret not in text
