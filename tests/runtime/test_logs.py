"""The log: one line each, readable by machines, and free of secrets, whatever is logged."""

import ast
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from runtime.logs import Complaints, configure_logs
from tests.places import ROOMS

# Assembled here, so that no scanner takes them for leaked keys.
API_KEY = "sk_" + "live_51Habcdefgh"
SIGNING_SECRET = "whsec_" + "c2VjcmV0LXNlY3JldA=="


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers, root.level, sys.excepthook
    yield io.StringIO()
    root.handlers, sys.excepthook = handlers, hook
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


@pytest.mark.parametrize(
    "secret", ["event", "level", "info", "timestamp", "worker", "worker started", "e", '"', ":"]
)
def test_a_secret_that_is_a_word_of_ours(stream: io.StringIO, secret: str) -> None:
    """Keys, levels and our event names stay whatever the secrets are, so that a line can still be read and searched."""
    configure_logs("json", secrets=[secret], stream=stream)
    structlog.get_logger().info("worker started", event_id="evt_1", worker={"event": f"the {secret} is"})
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert {
        "event": "worker started",
        "level": "info",
        "event_id": "evt_1",
        "worker": {"event": "the **** is"},
    } == line


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("secret", ["adm1n-token", "p@ss/w\"rd'\\", "event", "schlüssel"])
def test_secret_in_every_kind_of_value(stream: io.StringIO, log_format: str, secret: str) -> None:
    """In nested values, objects, messages and arguments of libraries, what they pass as extra, and tracebacks."""
    configure_logs(log_format, secrets=[secret], stream=stream)
    log = structlog.get_logger()
    log.info("started", given={"token": [secret, (secret, ValueError(secret))]}, level=secret)
    log.warning("failed", error=repr(ValueError(secret)), body=json.dumps({"a": secret}), logger=secret)
    library = logging.getLogger("asyncpg")
    library.warning("cannot log in with %s", secret, extra={"password": secret, "level": secret})
    try:
        try:
            raise ValueError(secret)
        except ValueError as error:
            error.add_note(f"given was {secret}")
            raise RuntimeError(f"with {secret}") from error
    except RuntimeError:
        log.exception("confirm failed", stack_info=True)
        library.exception("cannot log in")
    text = stream.getvalue()
    assert 2 == text.count("RuntimeError: with ****")
    assert 2 == text.count("given was ****")
    assert "cannot log in with ****" in text
    for form in (f" {secret}", f"'{secret}'", f"={secret}", json.dumps(secret)[1:-1] * (secret != "event")):
        assert not form or form not in text


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_line_that_cannot_be_written(
    stream: io.StringIO, log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The place is told, without the arguments that the standard library would show."""
    configure_logs(log_format, secrets=["adm1n-token"], stream=stream)
    logging.getLogger("arq").warning("%d jobs", "adm1n-token")
    structlog.get_logger().info("next")
    assert "adm1n-token" not in stream.getvalue() + capsys.readouterr().err
    assert "next" in stream.getvalue()


def test_error_that_ends_the_process(stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one line of the log, masked, and nothing besides."""
    configure_logs("json", secrets=["adm1n-token"], stream=stream)
    try:
        raise ValueError("token adm1n-token")
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    (line,) = lines(stream)
    assert ("ended by an error", "critical") == (line["event"], line["level"])
    assert line["exception"].endswith("ValueError: token ****")
    assert ("", "") == capsys.readouterr()


words = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="*"), max_size=12)
nested = st.recursive(
    words | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@given(
    secrets=st.lists(words.filter(bool), max_size=4),
    values=st.dictionaries(st.sampled_from(["count", "error", "event_id", "given"]), nested),
    at=st.integers(0, 3),
)
def test_no_long_secret_appears_and_keys_and_event_names_stay(
    secrets: list[str], values: dict[str, Any], at: int
) -> None:
    """Whatever the secrets are and wherever they stand among the values, the line keeps its shape without them."""
    given_values = {key: (value, [secrets[at : at + 1], "".join(secrets)]) for key, value in values.items()}
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level, hook = root.handlers, root.level, sys.excepthook
    try:
        configure_logs("json", secrets=secrets, stream=stream)
        structlog.get_logger().info("worker started", **given_values)
    finally:
        root.handlers, sys.excepthook = handlers, hook
        root.setLevel(level)
        structlog.reset_defaults()
    (line,) = lines(stream)
    assert ("worker started", "info") == (line["event"], line["level"])
    assert {"event", "level", "timestamp", *values} == line.keys()
    shown: list[str] = []

    def compare(value: Any, logged: Any) -> None:
        """The same lists and keys; the other values are collected."""
        match value:
            case dict():
                assert list(value) == list(logged)
                for key, each in value.items():
                    compare(each, logged[key])
            case list() | tuple():
                assert len(value) == len(logged)
                for each, other in zip(value, logged, strict=True):
                    compare(each, other)
            case _:
                shown.append(str(logged))

    for key, value in given_values.items():
        compare(value, line[key])
    for secret in secrets:
        assert len(secret) < 8 or not [text for text in shown if secret in text]


def test_event_names_are_words_of_the_source() -> None:
    """The mask leaves event names alone, so nothing that comes from outside may become a part of one."""
    others = [
        f"{path}: {ast.unparse(node)[:80]}"
        for path in sorted(path for room in ROOMS for path in room.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "log"
        and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical"}
        and not (node.args and isinstance(node.args[0], ast.Constant))
    ]
    assert [] == others


def test_level_leaves_out_what_is_less(stream: io.StringIO) -> None:
    """LOG_LEVEL is for our lines and for those of libraries, and makes none of these louder."""
    configure_logs("json", level="warning", stream=stream)
    structlog.get_logger().info("customers derived")
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
    structlog.get_logger().warning("redis is away")
    assert ["redis is away"] == [line["event"] for line in lines(stream)]
    configure_logs("json", level="debug", stream=stream)
    structlog.get_logger().debug("looked")
    logging.getLogger("arq.worker").info("0.29s → drain()")
    assert ["redis is away", "looked"] == [line["event"] for line in lines(stream)]


def test_away_and_back_are_one_line_each(stream: io.StringIO) -> None:
    """However many of us meet it how often; it is back once it answers everybody who met it."""
    configure_logs("json", stream=stream)
    complaints = Complaints()
    complaints.back("postgres", during="sweep")
    for _ in range(3):
        complaints.away("postgres", OSError("no route"), during="sweep")
        complaints.away("postgres", OSError("no route"), during="heartbeat")
    complaints.away("redis", OSError("refused"), during="live", then="the sweep does its work")
    complaints.back("postgres", during="sweep")
    complaints.back("postgres", during="scan")
    assert ["postgres is away", "redis is away"] == [line["event"] for line in lines(stream)]
    complaints.back("postgres", during="heartbeat")
    complaints.back("postgres", during="heartbeat")
    said = [(line["event"], line["level"]) for line in lines(stream)]
    assert [("postgres is back", "info")] == said[2:]
    complaints.away("postgres", OSError("again"), during="sweep")
    assert ("postgres is away", "warning") == (lines(stream)[-1]["event"], lines(stream)[-1]["level"])
