"""What the processes log: who, where and about what, and nothing that belongs to a person."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from db.connection import Pool
from runtime.logs import configure_logs, in_lane
from sandbox import Sandbox, create_api
from tests.harness import Api, customer, event, open_harness
from tests.webhooks.web_harness import SECRET, open_door, settings
from webhooks.request_log import _without_ids

KEY = "sk_test_log_lines"
STORIES_WITH_TROUBLE = ["deleted_after_paying", "metered_use", "several_currencies", "twelve_features"]


@contextmanager
def logged(*, level: str, role: str) -> Iterator[list[dict[str, Any]]]:
    """The lines that are logged meanwhile."""
    root = logging.getLogger()
    handlers, before, hook = root.handlers, root.level, sys.excepthook
    stream, found = io.StringIO(), list[dict[str, Any]]()
    configure_logs("json", level=level, secrets=[SECRET, KEY], role=role, stream=stream)
    try:
        yield found
    finally:
        root.handlers, sys.excepthook = handlers, hook
        root.setLevel(before)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        found += [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_each_request_is_one_line(pool: Pool, database_url: str, redis_url: str) -> None:
    """At the level debug, with role, answer, time and the event; no id or name of a customer is in a path. Otherwise
    requests are no lines at all.
    """
    given = settings(database_url=database_url, redis_url=redis_url)
    with logged(level="debug", role="web") as lines:
        async with open_door(given) as door:
            await door.post(
                b'{"id": "evt_1", "type": "customer.updated", "account": "acct_1", "livemode": false}'
            )
            await door.post(b"{}", header="")
            await door.ask("GET", "/backfills/1234567")
    said = [each for each in lines if each["event"] == "request" and each["path"] != "/healthz"]
    assert all(each["role"] == "web" and each["level"] == "debug" for each in said)
    assert [
        ("POST", "/webhooks/stripe", 200, "evt_1", "acct_1"),
        ("POST", "/webhooks/stripe", 400, None, None),
        ("GET", "/backfills/{number}", 401, None, None),
    ] == [
        (each["method"], each["path"], each["status"], each.get("event_id"), each.get("account"))
        for each in said
    ]
    with logged(level="info", role="web") as lines:
        async with open_door(given) as door:
            await door.post(b'{"id": "evt_2", "type": "customer.updated", "livemode": false}')
    assert [] == [each for each in lines if each["event"] == "request"]


def test_ids_in_paths() -> None:
    """None is in the path that is logged, also if the id of one is a part of another's."""
    named = {"customer_id": "e", "entity_id": "secret"}
    scope = {"endpoint": None, "path": "/customers/e/entities/secret", "path_params": named}
    assert "/customers/{customer_id}/entities/{entity_id}" == _without_ids(scope)


async def test_nothing_personal_is_logged(pool: Pool, database_url: str) -> None:
    """Names, emails and descriptions of customers, whatever happens to their events and reads; and no line for each
    customer of a batch.
    """
    sandbox = Sandbox(seed=9)
    sandbox.play(STORIES_WITH_TROUBLE)
    events = sandbox.run()
    odd = [
        customer("cus_odd", name="Odd Person", email="odd.person@example.com", created="soon"),
        customer("cus_twice", name="Odd Person", metadata={"custom_uid": "odd person"}),
    ]
    people = list(sandbox.home.customers())
    with logged(level="debug", role="worker") as lines:
        in_lane("live")
        api = Api(create_api(sandbox, [KEY]))
        async with open_harness(pool, database_url, api=api, api_key=KEY) as harness:
            await harness.apply(*events, *(event("customer.updated", each) for each in odd))
            await harness.execute("update sync.customers set complete = false, history_at = now()")
            await harness.settle()
            await harness.engine.sweep_bulk()
            await harness.settle()
    text = json.dumps(lines)
    assert lines
    for each in [*(person.name for person in people), *(person.email for person in people)]:
        assert each is not None
        assert each not in text
    assert "Odd Person" not in text
    assert "odd.person" not in text
    assert {("worker", "live")} == {(each["role"], each.get("lane")) for each in lines}
    known = [person.id for person in people]
    assert not [each for each in lines if each["level"] == "info" and each.get("customer") in known]
