"""The log: an event name and ids on one line each, to standard output, times in UTC, never a secret.

log = structlog.get_logger()
log.info("customers derived", count=41, changed=3, duration_ms=18)
"""

import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any, TextIO

import structlog

# Libraries log from these levels up; below them, arq reports every job.
QUIET_LIBRARIES = {"arq": logging.WARNING, "asyncio": logging.WARNING, "stripe": logging.WARNING}

_SECRET_SHAPES = re.compile(
    r"\b((?:sk|rk)_(?:live|test)_|whsec_)[A-Za-z0-9+/=_-]+|(://[^\s:/@\"]*:)[^\s/@\"]+(?=@)"
)


def configure_logs(log_format: str, *, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's logging to `stream` (standard output) as `json` or for a `console`.

    In every line, tracebacks included, `secrets` are masked, and so is everything that looks like a key or signing
    secret of Stripe or a password in a URL: a secret in an exception's text must not reach the log.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )

    render: list[structlog.typing.Processor]
    if log_format == "console":
        render = [structlog.dev.ConsoleRenderer(colors=(stream or sys.stdout).isatty())]
    else:
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _drop_color],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render, _Mask(secrets)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name, level in QUIET_LIBRARIES.items():
        logging.getLogger(name).setLevel(level)


def _add_logger_name(
    _logger: logging.Logger | None, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Name the library for lines that are not ours."""
    record = event.get("_record")
    if record is not None:
        event["logger"] = record.name
    return event


def _drop_color(
    _logger: logging.Logger | None, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """uvicorn has each message twice, once in color."""
    event.pop("color_message", None)
    return event


class _Mask:
    """The last processor: masks secrets in the finished line."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first, so that one which contains another leaves nothing behind.
        known = sorted({re.escape(secret) for secret in secrets if secret}, key=len, reverse=True)
        self._known = re.compile("|".join(known)) if known else None

    def __call__(self, _logger: object, _method: str, line: Any) -> Any:
        if self._known is not None:
            line = self._known.sub("****", line)
        return _SECRET_SHAPES.sub(r"\1\2****", line)
