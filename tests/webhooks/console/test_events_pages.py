"""The console's pages of events: what they show, and that trying again does what it says."""

from collections.abc import AsyncIterator, Sequence

import pytest

from db.connection import Pool
from runtime import replays
from tests.harness import charge, event
from tests.webhooks.console.operator import Operator, console_settings, leads, operator_of
from webhooks.console import events

HOSTILE = '<script>alert("x")</script>\u202e'

PUT = """
insert into sync.events (account_id, live_mode, event_id, type, payload, state, error)
values ($1, $2, $3, $4, $5, $6, $7)
"""


@pytest.fixture
async def operator(database_url: str, redis_url: str) -> AsyncIterator[Operator]:
    """Somebody at the console of this database."""
    async with operator_of(console_settings(database_url, redis_url)) as operator:
        yield operator


async def put(
    pool: Pool,
    event_id: str,
    *,
    type_: str = "charge.updated",
    state: str = "applied",
    error: str | None = None,
    account: str = "",
    live: bool = False,
    payload: bytes = b"{}",
) -> None:
    await pool.execute(PUT, account, live, event_id, type_, payload, state, error)


async def states(pool: Pool) -> dict[str, str]:
    return {row[0]: row[1] for row in await pool.fetch("select event_id, state from sync.events")}


async def listed(operator: Operator, path: str) -> Sequence[str]:
    """The events that a page lists."""
    page = await operator.get(path)
    assert 200 == page.status, page.page.text
    return [link.removeprefix("/console/events/") for link in leads(page, "/console/events/")]


async def test_filtered_and_paged(operator: Operator, pool: Pool) -> None:
    """By state, type, account and text; a full page leads to the older ones, without gap or repetition."""
    assert [] == await listed(operator, "/console/events")
    for number in range(52):
        await put(pool, f"evt_{number}")
    await put(pool, "evt_of_b", type_="invoice.paid", account="acct_b", live=True)
    await put(pool, "evt_parked", type_="invoice.voided", state="parked", error="No data.object at Line 7")
    names = [f"evt_{number}" for number in range(52)]
    first = await operator.get("/console/events")
    (older,) = [link for link in leads(first, "/console/events?") if "before=" in link]
    shown = await listed(operator, "/console/events")
    assert ["evt_parked", "evt_of_b", "evt_51"] == shown[:3]
    assert [*names, "evt_of_b", "evt_parked"] == sorted(
        [*shown, *await listed(operator, older)], key=[*names, "evt_of_b", "evt_parked"].index
    )
    assert "Newest" in (await operator.get(older)).page.text
    for query, expected in (
        ("state=parked", ["evt_parked"]),
        ("type=invoice.*", ["evt_parked", "evt_of_b"]),
        ("type=invoice.%25", []),
        ("account=acct_b", ["evt_of_b"]),
        ("text=LINE+7", ["evt_parked"]),
        ("text=evt_33", ["evt_33"]),
        ("state=applied&text=voided", []),
    ):
        assert expected == await listed(operator, f"/console/events?{query}"), query
    assert "live acct_b" in (await operator.get("/console/events?account=acct_b")).page.text
    for wrong in ("state=lost", "before=x", "before=-1", "text=%00", f"text={'x' * 300}"):
        assert 422 == (await operator.get(f"/console/events?{wrong}")).status, wrong


async def test_a_page_looks_at_so_many(
    operator: Operator, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I14: a search without an index looks at a bounded number of events; the next page goes on behind them."""
    monkeypatch.setattr(events, "LOOKED_AT_MAX", 3)
    for number in range(8):
        await put(pool, f"evt_{number}", type_="charge.updated" if number else "price.created")
    found: list[list[str]] = []
    older: list[str] = []
    path = "/console/events?type=price.created"
    for _ in range(3):
        page = await operator.get(path)
        found.append(leads(page, "/console/events/"))
        older = [link for link in leads(page, "/console/events?") if "before=" in link]
        if older:
            (path,) = older
    assert [[], [], ["/console/events/evt_0"]] == found
    assert not older


async def test_so_many_are_counted(operator: Operator, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """I14: of those that wait for a replay a bounded number is counted, and the page says that there may be more; they
    are replayed all the same, also of a type of which none was counted.
    """
    monkeypatch.setattr(events, "LOOKED_AT_MAX", 3)
    for number in range(5):
        await put(pool, f"evt_{number}", type_="invoice.paid", state="parked", error="once")
    page = await operator.get("/console/events")
    assert "3+ events are parked" in page.page.text
    assert "Replay all 3+" in page.page.text
    page = await operator.get("/console/replays?state=parked&type=invoice.paid")
    assert "Replay all 3+ parked events of type invoice.paid ?" in page.page.text
    page = await operator.get("/console/replays?state=parked&type=price.created")
    assert "Replay all parked events of type price.created ?" in page.page.text
    page = await operator.done("/console/replays", {"state": "parked", "type": "invoice.paid"})
    assert "5 events pending again." in page.page.text


async def test_one_event(operator: Operator, pool: Pool) -> None:
    """State, error, attempts, what it marks, and the payload; nothing that a stranger wrote is markup."""
    body = event("charge.updated", charge(description=HOSTILE, customer="cus_1"), event_id="evt_1")
    await put(pool, "evt_1", payload=body, state="parked", error=HOSTILE)
    await pool.execute(
        "insert into sync.objects (account_id, live_mode, kind, id, customer_id, dirty, parked_at, error)"
        " values ('', false, 'charge', 'ch_1', 'cus_1', 1, now(), $1)",
        HOSTILE,
    )
    page = await operator.get("/console/events/evt_1")
    assert (200, False, False) == (page.status, "<script>alert" in page.html, "\u202e" in page.html)
    assert 'Error <script>alert("x")</script>\\u202e Attempts 0' in page.page.text
    assert '"description": "<script>alert(\\"x\\")</script>\\u202e"' in page.page.text
    assert "ch_1 charge parked cus_1" in page.page.text
    assert ["/console/customers?q=cus_1"] == leads(page, "/console/customers?")
    await put(pool, "evt_2", type_=HOSTILE, payload=b"\x1b[31mno event\xff" + b"x" * events.PARSED_BYTES_MAX)
    page = await operator.get("/console/events/evt_2")
    assert "not JSON" not in page.page.text  # it is larger than what is read
    assert "\\x1b[31mno event\\xff" in page.page.text
    assert "This is the beginning" in page.page.text
    assert len(page.html) < 2 * events.SHOWN_CHARACTERS_MAX
    await put(pool, "evt_2", account="acct_b", payload=b"\x1b[31mno event\xff")
    assert "not JSON" in (await operator.get("/console/events/evt_2")).page.text
    for unknown in ("evt_3", "sha256:0", "%3Cb%3E"):
        page = await operator.get(f"/console/events/{unknown}")
        assert (404, "text/html; charset=utf-8") == (page.status, page.headers["Content-Type"])
    assert 422 == (await operator.get("/console/events/a%2Fb")).status


async def test_one_is_replayed(operator: Operator, pool: Pool) -> None:
    """A parked event is pending again, and its parked object is to be read again; then there is nothing to try."""
    await put(pool, "evt_1", payload=event("charge.updated", charge()), state="parked", error="once")
    await put(pool, "evt_2", state="parked", error="once")
    await pool.execute(
        "insert into sync.objects (account_id, live_mode, kind, id, dirty, parked_at, error)"
        " values ('', false, 'charge', 'ch_1', 1, now(), 'once')"
    )
    page = await operator.done("/console/replay", {"id": "evt_1", "event": "evt_1"})
    assert "evt_1: 1 event pending again, 1 object to be read again." in page.page.text
    assert "It waits for a worker." in page.page.text
    assert {"evt_1": "pending", "evt_2": "parked"} == await states(pool)
    assert await pool.fetchval("select parked_at is null and read_at <= now() from sync.objects")
    page = await operator.done("/console/replay", {"id": "evt_1", "list": "state=parked&x=<b>"})
    assert "evt_1 is pending already." in page.page.text
    assert "Parked events" in page.page.text
    page = await operator.done("/console/replay", {"id": HOSTILE})
    assert "is the id of no known event, object or customer" in page.page.text
    assert "<script>alert" not in page.html


async def test_what_else_is_parked(operator: Operator, pool: Pool) -> None:
    """Parked objects and customers stand beside parked events, and are tried again by their ids."""
    await pool.execute(
        "insert into sync.objects (account_id, live_mode, kind, id, dirty, parked_at, error)"
        " values ('', false, 'charge', 'ch_1', 1, now(), 'a martian')"
    )
    await pool.execute(
        "insert into sync.customers (account_id, live_mode, customer_id, parked_at, error, attempts)"
        " values ('', false, 'cus_1', now(), 'a bad record', 5)"
    )
    page = await operator.get("/console/events?state=parked")
    assert "ch_1 charge" in page.page.text
    assert "a martian" in page.page.text
    assert "a bad record" in page.page.text
    page = await operator.done("/console/replay", {"id": "ch_1", "list": "state=parked"})
    assert "ch_1: 1 object to be read again." in page.page.text
    page = await operator.done("/console/replay", {"id": "cus_1", "list": "state=parked"})
    assert "cus_1: 1 customer to be derived again." in page.page.text
    assert "a bad record" not in page.page.text


async def test_what_else_is_parked_is_replayed_in_batches(
    operator: Operator, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many objects and customers are parked: some in a transaction, and as many as one request has time for."""
    await pool.execute(
        "insert into sync.objects (account_id, live_mode, kind, id, dirty, parked_at, error)"
        " select '', false, 'charge', 'ch_' || n, 1, now(), 'a martian' from generate_series(1, 5) n"
    )
    await pool.execute(
        "insert into sync.customers (account_id, live_mode, customer_id, parked_at, error, attempts)"
        " values ('', false, 'cus_1', now(), 'a bad record', 5)"
    )
    monkeypatch.setattr(replays, "PARKED_BATCH", 2)
    with monkeypatch.context() as patch:
        patch.setattr(events, "REPLAY_SECONDS_MAX", -1.0)
        page = await operator.done("/console/replays", {"state": "parked"})
    said = "2 objects to be read again, 1 customer to be derived again. More are left: replay again."
    assert said in page.page.text
    page = await operator.done("/console/replays", {"state": "parked"})
    assert "3 objects to be read again." in page.page.text
    assert "More are left" not in page.page.text
    assert 0 == await pool.fetchval("select count(*) from sync.objects where parked_at is not null")


async def test_all_of_a_type_are_replayed(
    operator: Operator, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked first, with their number; others of that state stay. What takes too long for one request is said."""
    for number in range(3):
        await put(pool, f"evt_a{number}", type_="invoice.paid", state="parked", error="once")
    await put(pool, "evt_b", type_="price.created", state="parked", error="once")
    await put(pool, "evt_c", type_="invoice.paid", state="quarantined")
    page = await operator.get("/console/events")
    assert "4 events are parked" in page.page.text
    assert "1 event is quarantined" in page.page.text
    question = "/console/replays?state=parked&type=invoice.paid"
    assert question in leads(page, "/console/replays")
    page = await operator.get(question)
    assert "Replay all 3 parked events of type invoice.paid ?" in page.page.text
    assert 4 == list((await states(pool)).values()).count("parked")
    with monkeypatch.context() as patch:
        patch.setattr(replays, "BATCH", 2)
        patch.setattr(events, "REPLAY_SECONDS_MAX", -1.0)
        page = await operator.done("/console/replays", {"state": "parked", "type": "invoice.paid"})
        assert "2 events pending again. More are left: replay again." in page.page.text
    page = await operator.done("/console/replays", {"state": "parked", "type": "invoice.*"})
    assert "1 event pending again." in page.page.text
    expected = dict.fromkeys(("evt_a0", "evt_a1", "evt_a2"), "pending")
    assert {**expected, "evt_b": "parked", "evt_c": "quarantined"} == await states(pool)
    assert "No event is parked and of type invoice.paid" in (await operator.get(question)).page.text
    for state in ("applied", "pending", "ignored", ""):
        assert 422 == (await operator.send("/console/replays", {"state": state})).status
