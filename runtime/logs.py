"""The log: an event name and ids on one line each, to standard output, times in UTC, never a secret.

log = structlog.get_logger()
log.info("customers derived", count=41, changed=3, duration_ms=18)
"""

import contextlib
import logging
import sys
from collections.abc import Iterable, MutableMapping
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog

from runtime.mask import Mask

# Libraries log from these levels up; below them, arq reports every job.
QUIET_LIBRARIES = {"arq": logging.WARNING, "asyncio": logging.WARNING, "stripe": logging.WARNING}


def configure_logs(
    log_format: str,
    *,
    level: str = "info",
    secrets: Iterable[str] = (),
    role: str = "",
    stream: TextIO | None = None,
) -> None:
    """Send structlog and the standard library's logging to `stream` (standard output) as `json` or for a `console`.

    What is less than `level` (debug, info, warning, error) is left out. Every line bears the `role` of the process: web
    or worker.

    In every value, tracebacks and messages of libraries included, `secrets` are masked, and so is everything that looks
    like a key or signing secret of Stripe or a password in a URL: a secret in an exception's text must not reach the
    log. Keys and our own event names are words of the source, and stay. An error that ends the process is a line too.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _Role(role),
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

    render: structlog.typing.Processor
    if log_format == "console":
        render = structlog.dev.ConsoleRenderer(
            colors=(stream or sys.stdout).isatty(),
            # Other formatters show the variables of each frame. The traceback is text, and masked, by then.
            exception_formatter=structlog.dev.plain_traceback,
        )
    else:
        render = structlog.processors.JSONRenderer(default=str)
    handler = _Handler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            # What is passed as `extra` comes first: it may not take the place of level, time or name.
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared, _drop_color],
            processors=[
                structlog.processors.format_exc_info,
                _Masking(Mask(secrets)),
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, quiet in QUIET_LIBRARIES.items():
        logging.getLogger(name).setLevel(max(quiet, root.level))
    sys.excepthook = _log_the_end


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An error that ends the process is a line of the log like any other: its text may have a secret in it."""
    if issubclass(kind, Exception):
        structlog.get_logger().critical("ended by an error", exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)


Server = Literal["postgres", "redis"]
"""What we need and do not have in our hands."""


class Complaints:
    """Faults around us that end only when somebody acts: each is one line, however many of us meet it how often."""

    def __init__(self) -> None:
        self._met: dict[str, set[str]] = {}
        self._away: dict[Server, set[str]] = {}

    def about(self, because: str, *, during: str) -> None:
        """Say so, unless it has been said and still holds for somebody."""
        if because not in self._met:
            structlog.get_logger().error("postgres cannot be worked with", because=because)
        self._met.setdefault(because, set()).add(during)

    def away(self, server: Server, error: Exception, *, during: str, **further: object) -> None:
        """A server does not answer: say so, unless it has been said and still holds for somebody."""
        if server not in self._away:
            structlog.get_logger().warning(f"{server} is away", during=during, error=repr(error), **further)
        self._away.setdefault(server, set()).add(during)

    def back(self, server: Server, *, during: str) -> None:
        """It answers again; say so if it was away, and is so for nobody any more."""
        met = self._away.get(server)
        if met is None:
            return
        met.discard(during)
        if not met:
            del self._away[server]
            structlog.get_logger().info(f"{server} is back")

    def end(self, *, during: str) -> None:
        """It holds no more for this one; say so if it holds for nobody."""
        for because, met in list(self._met.items()):
            met.discard(during)
            if not met:
                del self._met[because]
                structlog.get_logger().info("postgres can be worked with again", after=because)


class _Role:
    """Says which process a line is of: web, worker."""

    def __init__(self, role: str) -> None:
        self._role = role

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if self._role:
            event["role"] = self._role
        return event


def in_lane(lane: str) -> None:
    """Have each line of this task, and of those that it starts, bear the lane."""
    structlog.contextvars.bind_contextvars(lane=lane)


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


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines; of one that cannot be written, it says so without its content."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is the standard library's
        """Instead of the standard library's, which shows the arguments as they are."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(
                f"a line of {record.name} at {record.filename}:{record.lineno} could not be logged\n"
            )


class _Masking:
    """Masks every value of a line before it is rendered, so that a secret cannot take apart what holds the values."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        # Words of ours, set above. A library's message has its values in it.
        ours = {"level", "timestamp", "event" if event["_from_structlog"] else "logger"}
        internal = {"_record", "_from_structlog"}
        return {
            key: value if key in ours or key in internal else self._mask.value(value)
            for key, value in event.items()
        }
