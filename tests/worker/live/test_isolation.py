"""One bad event, object or customer never stops another: it is counted, taken alone, parked, and seen."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from billing.deadlines import LOOK_MAX
from billing.kinds.registry import KINDS
from billing.record import derive_record
from db.connection import Pool
from db.keys import CustomerKey
from db.mirror.facts import SELECT_CUSTOMERS
from db.mirror.tables import MIRROR
from db.sync import inbox
from db.sync.customers import StaleCustomer, park_customer
from db.sync.inbox import CLAIM_EVENTS, FINISH_EVENTS, claim_events
from db.sync.objects import CONFIRM_OBJECTS, MARK_OBJECTS
from db.sync.status import Backlog, select_backlog
from runtime.envelope import read_envelope
from runtime.retry import ATTEMPTS_MAX
from tests.faults import Call, about, after, before, broken, failing
from tests.harness import Harness, charge, customer, event, listing, subscription, sweep_bulk
from worker.lists import histories
from worker.live import apply
from worker.live.event import read_event
from worker.live.pages import list_query

BEYOND_BIGINT = 2**63


async def backlog(harness: Harness) -> Backlog:
    async with harness.pool.acquire() as connection:
        return await select_backlog(connection, live_mode=harness.settings.live_mode)


async def amounts(harness: Harness) -> dict[str, int]:
    rows = await harness.fetch("select stripe_customer_id, gross from billing.customer_revenue")
    return {row[0]: row[1] for row in rows}


async def test_event_that_breaks_our_code(webhooks_only: Harness) -> None:
    """I7: an event at which our own code fails is parked with its error and its payload; its batch goes on."""
    harness = webhooks_only
    poison = event("charge.succeeded", charge("ch_2", "cus_2"), event_id="evt_poison")
    error = ZeroDivisionError("poison")
    with broken(read_event, error, when=lambda claimed, **_: claimed.event_id == "evt_poison"):
        await harness.apply(
            event("charge.succeeded", charge("ch_1", "cus_1"), event_id="evt_1"),
            poison,
            event("charge.succeeded", charge("ch_3", "cus_3"), event_id="evt_3"),
        )
    assert {"evt_1": "applied", "evt_poison": "parked", "evt_3": "applied"} == await harness.event_states()
    assert {"cus_1": 2000, "cus_3": 2000} == await amounts(harness)
    (row,) = await harness.fetch("select * from sync.events where event_id = 'evt_poison'")
    assert "poison" in row["error"]
    assert poison == row["payload"]
    assert 1 == (await backlog(harness)).parked


@pytest.mark.parametrize("fails_at", ["payload", "mark"])
async def test_event_that_breaks_the_writing(webhooks_only: Harness, fails_at: str) -> None:
    """I7: where our own code fails while a batch is written, the batch is taken apart in the same turn: the culprit
    keeps its marks if it can, and is parked; its neighbours are applied.
    """
    harness = webhooks_only
    statement = MIRROR["charge"].write if fails_at == "payload" else MARK_OBJECTS
    with failing(statement, ZeroDivisionError("poison"), when=about("ch_2")):
        await harness.apply(
            *(
                event("charge.succeeded", charge(f"ch_{n}", f"cus_{n}"), event_id=f"evt_{n}")
                for n in (1, 2, 3)
            )
        )
    assert {"evt_1": "applied", "evt_2": "parked", "evt_3": "applied"} == await harness.event_states()
    assert {"cus_1": 2000, "cus_3": 2000} == await amounts(harness)
    assert "poison" in await harness.fetchval("select error from sync.events where event_id = 'evt_2'")
    marked = await harness.fetchval("select count(*) from sync.objects where id = 'ch_2'")
    assert (1 if fails_at == "payload" else 0) == marked


async def test_event_that_kills_its_worker(webhooks_only: Harness) -> None:
    """I7: an event whose worker died each time it took it is given up after some of them; attempts are counted
    before the work, and its neighbours are not held up.
    """
    harness = webhooks_only
    await harness.receive(event("charge.succeeded", charge("ch_1", "cus_1"), event_id="evt_killer"))
    for attempt in range(1, ATTEMPTS_MAX + 1):
        async with harness.pool.acquire() as connection:
            (claimed,) = await claim_events(connection, limit=10, lease=apply.LEASE)
        assert attempt == claimed.attempts
        await harness.make_due()
    await harness.apply(event("charge.succeeded", charge("ch_2", "cus_2"), event_id="evt_2"))
    assert {"evt_killer": "parked", "evt_2": "applied"} == await harness.event_states()
    assert {"cus_2": 2000} == await amounts(harness)
    assert f"{ATTEMPTS_MAX} times" in await harness.fetchval(
        "select error from sync.events where event_id = 'evt_killer'"
    )


async def test_i14_a_claim_is_bounded_by_bytes(
    webhooks_only: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I14: a worker holds no more payloads at a time than so many bytes, however many events it may claim; one that is
    larger is taken alone; and one turn applies them all.
    """
    harness = webhooks_only
    sizes = {1: 400, 2: 400, 3: 400, 4: 3000, 5: 400, 6: 400}
    await harness.receive(
        *(
            event(
                "charge.succeeded",
                charge(f"ch_{n}", f"cus_{n}") | {"description": "x" * 1000 * size},
                event_id=f"evt_{n}",
            )
            for n, size in sizes.items()
        )
    )
    monkeypatch.setattr(inbox, "CLAIM_BYTES_MAX", 1_000_000)
    monkeypatch.setattr(apply, "CLAIM_BYTES_MAX", 1_000_000)
    taken: list[list[str]] = []

    async def note(call: Call) -> None:
        taken.append(sorted(row["event_id"] for row in call.answer))

    with after(CLAIM_EVENTS, note):
        async with harness.pool.acquire() as connection:
            assert 6 == await apply.apply_batch(connection, served_mode=None, confirms=False)
    assert [["evt_1", "evt_2", "evt_3"], ["evt_4"], ["evt_5", "evt_6"]] == taken
    assert {"applied"} == set((await harness.event_states()).values())


async def test_lost_workers_batch_is_taken_one_by_one(
    webhooks_only: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7: whatever a lost worker had claimed is taken alone the next time, so that the one that killed it is found."""
    harness = webhooks_only
    await harness.receive(
        *(event("charge.succeeded", charge(f"ch_{n}", f"cus_{n}"), event_id=f"evt_{n}") for n in range(3))
    )
    async with harness.pool.acquire() as connection:
        assert 3 == len(await claim_events(connection, limit=10, lease=apply.LEASE))
    await harness.make_due()
    sizes: list[int] = []

    async def count(call: Call) -> None:
        sizes.append(len(call.args[0]))

    with before(FINISH_EVENTS, count):
        await harness.engine.apply()
    assert [1, 1, 1] == sizes
    assert {"cus_0": 2000, "cus_1": 2000, "cus_2": 2000} == await amounts(harness)


# Beyond what an index takes, and what Stripe allows (500 characters). Digests, so that it cannot be compressed.
ENDLESS_UID = "".join(sha256(b"%d" % number).hexdigest() for number in range(600))


async def test_payload_with_an_amount_beyond_bigint(harness: Harness) -> None:
    """I7: an amount that no column takes costs its own payload alone: the object is still marked, and read."""
    big = charge("ch_2", "cus_2", amount=BEYOND_BIGINT, amount_captured=BEYOND_BIGINT)
    small = charge("ch_2", "cus_2", amount=700, amount_captured=700)
    harness.api.put(customer("cus_1"), customer("cus_2"), customer("cus_3"))
    harness.api.put(charge("ch_1", "cus_1"), small, charge("ch_3", "cus_3"))
    await harness.apply(
        event("charge.succeeded", charge("ch_1", "cus_1"), event_id="evt_1"),
        event("charge.succeeded", big, event_id="evt_big"),
        event("charge.succeeded", charge("ch_3", "cus_3"), event_id="evt_3"),
    )
    assert {"applied"} == set((await harness.event_states()).values())
    assert "bigint" in await harness.fetchval("select error from sync.events where event_id = 'evt_big'")
    assert {"cus_1": 2000, "cus_3": 2000} == await amounts(harness)
    await harness.settle()
    assert {"cus_1": 2000, "cus_2": 700, "cus_3": 2000} == await amounts(harness)


async def test_payload_beyond_bigint_without_a_key(webhooks_only: Harness) -> None:
    """I7: without an API key the payload was all there was, so the event is parked, with its reason."""
    harness = webhooks_only
    big = charge("ch_2", "cus_2", amount=BEYOND_BIGINT, amount_captured=BEYOND_BIGINT)
    await harness.apply(
        event("charge.succeeded", big, event_id="evt_big"),
        event("charge.succeeded", charge("ch_1", "cus_1"), event_id="evt_1"),
    )
    assert {"evt_big": "parked", "evt_1": "applied"} == await harness.event_states()
    assert {"cus_1": 2000} == await amounts(harness)


async def test_payload_that_postgres_refuses(harness: Harness) -> None:
    """I7: a payload that Postgres refuses for whatever reason costs itself alone: its event is parked, its object is
    marked and read, and its neighbours are applied in the same turn.
    """
    harness.api.put(customer("cus_2"), charge("ch_1", "cus_1"), charge("ch_3", "cus_3"), customer("cus_1"))
    harness.api.put(customer("cus_3"))
    await harness.apply(
        event("charge.succeeded", charge("ch_1", "cus_1"), event_id="evt_1"),
        event("customer.updated", customer("cus_2", metadata={"custom_uid": ENDLESS_UID}), event_id="evt_2"),
        event("charge.succeeded", charge("ch_3", "cus_3"), event_id="evt_3"),
    )
    assert {"evt_1": "applied", "evt_2": "parked", "evt_3": "applied"} == await harness.event_states()
    assert {"cus_1": 2000, "cus_3": 2000} == await amounts(harness)
    await harness.settle()
    assert "cus_2" == (await harness.record("cus_2"))["stripe_customer_id"]


async def test_answer_with_an_amount_beyond_bigint(harness: Harness) -> None:
    """I7: an object whose answer has an amount that no column takes is parked, inexact and seen."""
    harness.api.put(customer("cus_1"), customer("cus_2"))
    harness.api.put(charge("ch_1", "cus_1"))
    harness.api.put(charge("ch_2", "cus_2", amount=BEYOND_BIGINT, amount_captured=BEYOND_BIGINT))
    await harness.apply(
        event("customer.created", customer("cus_1")),
        event("customer.created", customer("cus_2")),
        event("charge.succeeded", charge("ch_1", "cus_1")),
        event("charge.succeeded", charge("ch_2", "cus_2")),
    )
    await harness.settle()
    known = await harness.object("charge", "ch_2")
    assert (True, None) == (known["parked_at"] is not None, known["read_at"])
    assert "bigint" in known["error"]
    assert (True, False) == (
        (await harness.record("cus_1"))["exact"],
        (await harness.record("cus_2"))["exact"],
    )
    assert {"cus_1": 2000, "cus_2": 2000} == await amounts(harness)
    assert 1 == (await backlog(harness)).parked


async def test_answer_that_postgres_refuses(harness: Harness) -> None:
    """I7: an answer that Postgres refuses for whatever reason parks its object; those that came with it are stored."""
    harness.api.put(
        customer("cus_1"), customer("cus_2", metadata={"custom_uid": ENDLESS_UID}), customer("cus_3")
    )
    await harness.apply(*(event("customer.created", customer(f"cus_{n}")) for n in (1, 2, 3)))
    await harness.settle()
    known = await harness.object("customer", "cus_2")
    assert (True, None) == (known["parked_at"] is not None, known["read_at"])
    assert known["error"]
    exact = await harness.fetch("select exact from billing.customers order by stripe_customer_id")
    assert [True, False, True] == [row["exact"] for row in exact]


async def test_answer_of_the_end_of_time(harness: Harness) -> None:
    """I7: a deadline in the last hours of year 9999 is treated like any that is far, and stops no other object."""
    far = int(datetime(9999, 12, 31, 23, 30, tzinfo=UTC).timestamp())
    bodies = [
        subscription("sub_1", "cus_1", cancel_at=far),
        subscription("sub_2", "cus_2", status="incomplete", created=far),
        subscription("sub_3", "cus_3"),
    ]
    harness.api.put(customer("cus_1"), customer("cus_2"), customer("cus_3"), *bodies)
    await harness.apply(*(event("customer.created", customer(f"cus_{n}")) for n in (1, 2, 3)))
    await harness.apply(*(event("customer.subscription.created", body) for body in bodies))
    await harness.settle()
    rows = await harness.fetch("select exact from billing.customers order by stripe_customer_id")
    assert [True] * 3 == [row["exact"] for row in rows]
    year = await harness.fetchval("select max(read_at) <= now() + $1 from sync.objects", LOOK_MAX)
    assert year, "nothing is left alone for longer than a year"


async def test_answer_that_breaks_our_storing(harness: Harness) -> None:
    """I7: where our own code fails at an answer, its neighbours are stored in the same turn; it is asked for some
    times more, then parked.
    """
    harness.api.put(customer(), charge("ch_1"), charge("ch_2"), charge("ch_3"))
    await harness.receive(event("customer.created", customer()))
    await harness.receive(*(event("charge.succeeded", charge(f"ch_{n}")) for n in (1, 2, 3)))
    await harness.apply()
    with failing(CONFIRM_OBJECTS, OverflowError("poison"), when=about("ch_2")):
        await harness.confirm()
        for charge_id in ("ch_1", "ch_3"):
            assert (await harness.object("charge", charge_id))["confirmed"]
        await harness.confirm(times=ATTEMPTS_MAX + 1)
    known = await harness.object("charge", "ch_2")
    assert "poison" in known["error"]
    assert (ATTEMPTS_MAX, True) == (known["attempts"], known["parked_at"] is not None)
    assert not (await harness.record())["exact"]


async def test_history_and_gap_that_we_fail_at(harness: Harness) -> None:
    """I7: our own code fails at one customer's history, and at one account's events: both are noted, the other
    customer is complete in the same turn, and the other account's gap is filled.
    """
    harness.api.put(customer("cus_1"), customer("cus_2"))
    for kind in histories.LISTS:
        harness.api.bodies[KINDS[kind].list_path or ""] = listing([])
    poison = json.loads(event("customer.updated", customer("cus_1"), event_id="evt_poison"))
    harness.api.say("/v1/events", 200, listing([]))
    harness.api.say("/v1/events", 200, listing([poison]))
    harness.api.bodies["/v1/events"] = listing([])
    await harness.apply(*(event("customer.updated", customer(f"cus_{n}")) for n in (1, 2)))
    await harness.apply(event("customer.updated", customer("cus_3"), account="acct_2"))
    await harness.execute("update sync.customers set history_at = now() where account_id = ''")
    with (
        broken(list_query, OverflowError("poison"), times=1),
        broken(read_envelope, OverflowError("poison"), when=lambda body, **_: b"evt_poison" in body),
    ):
        await sweep_bulk(harness.engine)
    rows = await harness.fetch(
        "select history_error from sync.customers where not complete and account_id = ''"
    )
    assert 1 == len(rows)
    assert "poison" in rows[0]["history_error"]
    assert 1 == await harness.fetchval(
        "select count(*) from sync.customers where complete and account_id = ''"
    )
    errors = await harness.fetch("select error from sync.accounts order by error nulls last")
    assert "poison" in errors[0]["error"]
    assert errors[1]["error"] is None


async def test_outages_use_up_no_chances(harness: Harness) -> None:
    """Only answers that came and are not understood park an object: neither outages nor reads that were cut off do,
    however many, and a wait is never too long to be stored.
    """
    harness.api.put(customer())
    for _ in range(ATTEMPTS_MAX):
        harness.api.say("/v1/charges/ch_1", 503, {})
    harness.api.say("/v1/charges/ch_1", 200, {"object": "martian"})
    await harness.apply(event("customer.created", customer()), event("charge.succeeded", charge()))
    await harness.confirm(times=ATTEMPTS_MAX)
    await harness.execute(
        "update sync.objects set attempts = 5000 where id = 'ch_1'"
    )  # a week, or many lost workers
    await harness.confirm()
    known = await harness.object("charge", "ch_1")
    assert (1, None) == (known["unreadable"], known["parked_at"])
    harness.api.say("/v1/charges/ch_1", 503, {})
    await harness.confirm()
    assert "503" in (await harness.object("charge", "ch_1"))["error"]
    harness.api.put(charge())
    await harness.confirm()
    assert (await harness.record())["exact"]
    assert 0 == (await harness.object("charge", "ch_1"))["unreadable"]


PAGES: list[tuple[int, object]] = [
    (200, b"<html>maintenance</html>"),
    (200, {"error": {"code": "api_error", "message": "try later"}}),
    (404, {"error": "not found"}),
    (400, b"<html>bad request</html>"),
    (402, {"error": {"code": "quota", "message": "your plan with this proxy has ended"}}),
]


async def test_i12_page_of_what_stands_between_us_and_stripe(harness: Harness) -> None:
    """I12: what is not Stripe's answer, whatever its status, is blamed on no object: none is parked or missing, none
    has an alarm, and each is asked for again as after an outage.
    """
    harness.api.put(customer())
    await harness.apply(event("customer.created", customer()))
    await harness.confirm()
    for moment, (status, body) in enumerate(PAGES):
        await harness.apply(event("customer.updated", customer(), after=50 + moment))
        for _ in range(ATTEMPTS_MAX):
            harness.api.say("/v1/customers/cus_1", status, body)
        await harness.confirm(times=ATTEMPTS_MAX)
        known = await harness.object("customer", "cus_1")
        assert (0, None, None) == (known["unreadable"], known["parked_at"], known["missing_since"]), body
        assert str(status) in known["error"]
        assert not await harness.fetch("select name from sync.alarms")
        assert await harness.fetchval("select max(read_at) < now() + interval '10 minutes' from sync.objects")
        await harness.confirm()
        assert (await harness.record())["exact"]


async def test_parked_object_still_shows_payloads(harness: Harness) -> None:
    """I7: an object that was given up keeps its record inexact, but not old: its events are shown."""
    harness.api.put(customer(), charge(amount=BEYOND_BIGINT))
    await harness.apply(event("customer.created", customer()), event("charge.succeeded", charge()))
    await harness.settle()
    assert (await harness.object("charge", "ch_1"))["parked_at"] is not None
    await harness.apply(event("charge.updated", charge(amount=900, amount_captured=900), after=9))
    assert {"cus_1": 900} == await amounts(harness)
    assert not (await harness.record())["exact"]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"object": "charge"}',
        charge("ch_other"),
        {"object": "martian", "id": "ch_2"},
    ]
    + [charge("ch_2", "cus_2", amount="many")],
    ids=["no id", "another object", "unknown object", "unreadable amount"],
)
async def test_answer_that_cannot_be_read(harness: Harness, answer: object) -> None:
    """I7: an object whose answers make no sense is asked for some times, then parked; its neighbours are exact. Its
    next event gives it another chance.
    """
    harness.api.put(customer("cus_1"), customer("cus_2"), charge("ch_1", "cus_1"))
    for _ in range(ATTEMPTS_MAX):
        harness.api.say("/v1/charges/ch_2", 200, answer)
    await harness.apply(
        event("customer.created", customer("cus_1")),
        event("customer.created", customer("cus_2")),
        event("charge.succeeded", charge("ch_1", "cus_1")),
        event("charge.succeeded", charge("ch_2", "cus_2")),
    )
    await harness.confirm()
    known = await harness.object("charge", "ch_2")
    assert (1, None) == (known["attempts"], known["parked_at"])
    assert known["error"]
    await harness.confirm(times=ATTEMPTS_MAX + 1)
    known = await harness.object("charge", "ch_2")
    assert (ATTEMPTS_MAX, True) == (known["attempts"], known["parked_at"] is not None)
    assert ATTEMPTS_MAX == harness.api.asked.count("/v1/charges/ch_2")
    assert (True, False) == (
        (await harness.record("cus_1"))["exact"],
        (await harness.record("cus_2"))["exact"],
    )
    assert {"cus_1": 2000, "cus_2": 2000} == await amounts(harness)
    assert 1 == (await backlog(harness)).parked
    harness.api.now += 120
    harness.api.put(charge("ch_2", "cus_2", amount=2500, amount_captured=2500))
    await harness.apply(event("charge.updated", charge("ch_2", "cus_2"), after=60))
    assert 0 == (await backlog(harness)).parked
    await harness.confirm()
    assert (await harness.record("cus_2"))["exact"]
    assert {"cus_1": 2000, "cus_2": 2500} == await amounts(harness)


async def test_customer_at_whom_a_rule_fails(webhooks_only: Harness) -> None:
    """I7: a customer whose facts break a rule of ours is tried some times, then parked with the error; the others of
    its batch are derived, and its next event gives it another chance.
    """
    harness = webhooks_only
    error = ZeroDivisionError("poison")
    with broken(derive_record, error, when=lambda facts, **_: facts.customer_id == "cus_2"):
        await harness.apply(*(event("charge.succeeded", charge(f"ch_{n}", f"cus_{n}")) for n in (1, 2, 3)))
        assert {"cus_1": 2000, "cus_3": 2000} == await amounts(harness)
        for attempt in range(1, ATTEMPTS_MAX + 1):
            (row,) = await harness.fetch("select * from sync.customers where customer_id = 'cus_2'")
            assert attempt == row["attempts"]
            assert "poison" in row["error"]
            await harness.make_due()
            await harness.engine.derive()
    (row,) = await harness.fetch("select * from sync.customers where customer_id = 'cus_2'")
    assert row["parked_at"] is not None
    assert (0, 1) == ((await backlog(harness)).stale_customers, (await backlog(harness)).parked)
    await harness.apply(event("charge.succeeded", charge("ch_2b", "cus_2"), after=60))
    assert {"cus_1": 2000, "cus_2": 4000, "cus_3": 2000} == await amounts(harness)
    assert 0 == (await backlog(harness)).parked


async def test_marks_of_an_event_that_breaks_our_code_without_a_key(webhooks_only: Harness) -> None:
    """I7: nor is the mark lost where no mode is settled yet; and what could not be read is no payload to be shown."""
    with broken(read_event, OverflowError("poison")):
        await webhooks_only.apply(event("customer.updated", customer()))
    known = await webhooks_only.object("customer", "cus_1")
    assert (0, 0) == (known["payload_seq"], known["shown_seq"])


async def test_customer_that_failed_waits_a_little_longer_each_time(pool: Pool) -> None:
    """I7: after its first failures a customer is tried again within seconds."""
    key = CustomerKey("", False, "cus_1")
    async with pool.acquire() as connection, connection.transaction():
        for attempts in (1, 3):
            await connection.execute(
                "insert into sync.customers (account_id, live_mode, customer_id, stale, stale_since, attempts) "
                "values ('', false, 'cus_1', 1, now(), $1) "
                "on conflict (account_id, live_mode, customer_id) do update set attempts = excluded.attempts",
                attempts,
            )
            failed = StaleCustomer(
                key=key, stale=1, complete=True, attempts=attempts, as_of=datetime.now(UTC)
            )
            assert not await park_customer(connection, failed, error="poison", attempts_max=5)
            waits = await connection.fetchval("select leased_until - now() from sync.customers")
            assert timedelta(seconds=attempts) == waits


async def test_characters_that_postgres_refuses(harness: Harness) -> None:
    """I7: NUL characters and lone surrogates are cleaned in the parsed copy only; the bytes of the event are kept."""
    name = "A\\u0000d\\ud83da"
    text = json.dumps(customer(name="NAME")).replace("NAME", name)
    body = event("customer.created", customer(name="NAME"), event_id="evt_nul").replace(
        b"NAME", name.encode()
    )
    await harness.apply(body, event("customer.created", customer("cus_2", name="Emo \N{GRINNING FACE}")))
    assert {"applied"} == set((await harness.event_states()).values())
    assert "A\N{REPLACEMENT CHARACTER}d\N{REPLACEMENT CHARACTER}a" == (await harness.record())["name"]
    assert "Emo \N{GRINNING FACE}" == (await harness.record("cus_2"))["name"]
    assert body == await harness.fetchval("select payload from sync.events where event_id = 'evt_nul'")
    harness.api.say("/v1/customers/cus_1", 200, text.encode())
    harness.api.put(customer("cus_2"))
    await harness.confirm()
    assert "A\N{REPLACEMENT CHARACTER}d\N{REPLACEMENT CHARACTER}a" == (await harness.record())["name"]
    assert (await harness.record())["exact"]


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (b"not json at all", "parked"),
        (b'"a string"', "parked"),
        (b'{"id": "evt_x", "object": "event", "type": "customer.updated"}', "parked"),
        (
            b'{"id": "evt_x", "object": "event", "type": "customer.updated", "data": {"object": null}}',
            "parked",
        ),
        (
            b'{"id": "evt_x", "object": "event", "type": "customer.updated", "data": {"object": {}}}',
            "ignored",
        ),
        (event("balance.available", {"object": "balance"}), "ignored"),
        (event("invoice.upcoming", {"object": "invoice", "customer": "cus_1"}), "ignored"),
        (event("customer.updated", customer("c" * 300)), "ignored"),
        (
            event("customer.updated", customer(metadata={f"key_{n}": "v" * 500 for n in range(4000)})),
            "applied",
        ),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "parked"),
    ],
    ids=[
        *("no json", "string", "no data", "no object", "empty object"),
        *("not mirrored", "no id", "long id", "large", "deep"),
    ],
)
async def test_odd_events_have_an_outcome(webhooks_only: Harness, body: bytes, state: str) -> None:
    """I7: whatever was signed leaves the pending state, with a reason if it was not applied, and stops no other."""
    harness = webhooks_only
    await harness.apply(body, event("charge.succeeded", charge("ch_9", "cus_9"), event_id="evt_good"))
    states = dict(await harness.event_states())
    assert "applied" == states.pop("evt_good")
    assert [state] == list(states.values())
    assert {"cus_9": 2000} == await amounts(harness)
    if state != "applied":
        assert await harness.fetchval("select error from sync.events where event_id <> 'evt_good'")


async def test_unknown_status_is_shown_with_an_alarm(webhooks_only: Harness) -> None:
    """A16: an event of an unknown type is ignored, unknown fields are passed over, and a status that we do not know is
    past_due without access, with a problem that says so.
    """
    harness = webhooks_only
    await harness.apply(
        event("subscription.teleported", {"object": "teleport", "id": "tp_1"}, event_id="evt_type"),
        event(
            "customer.subscription.updated", subscription(status="hibernating", mood="good", deep={"a": [1]})
        ),
    )
    assert "ignored" == (await harness.event_states())["evt_type"]
    record = await harness.record()
    assert ("past_due", False) == (record["status"], record["has_access"])
    (problem,) = await harness.fetch("select kind, object_id, detail from sync.problems")
    assert ("status_unknown", "sub_1") == (problem["kind"], problem["object_id"])
    assert "hibernating" in problem["detail"]
    await harness.apply(event("customer.subscription.updated", subscription(status="active"), after=60))
    assert [] == await harness.fetch("select * from sync.problems")


async def test_parked_customer_is_not_exact(harness: Harness) -> None:
    """A record that could not be derived from the latest facts says so, also to readers that poll by `change`."""
    harness.api.put(customer(), charge())
    await harness.apply(event("customer.created", customer()), event("charge.succeeded", charge()))
    await harness.confirm(times=2)
    before = await harness.record()
    assert before["exact"]

    with broken(derive_record, ValueError("rule")):
        refunded = charge(amount_refunded=2000)
        harness.api.put(refunded)
        await harness.apply(event("charge.refunded", refunded, after=10))
        for _ in range(ATTEMPTS_MAX + 1):
            await harness.confirm()
            await harness.make_due()
            await harness.engine.derive()
        assert await harness.fetchval("select parked_at is not null from sync.customers")
        parked = await harness.record()
        assert not parked["exact"]
        assert parked["change"] > before["change"]
    await harness.apply(event("customer.updated", customer(), after=20))
    await harness.settle()
    assert (await harness.record())["exact"]


async def test_mark_during_the_last_try_parks_nobody(harness: Harness) -> None:
    """What comes while a customer is derived for the last time is a new chance, as it is after that."""
    harness.api.put(customer(), charge())
    await harness.apply(event("customer.created", customer()))
    await harness.confirm(times=2)
    await harness.execute("update sync.customers set stale = stale + 1, attempts = $1", ATTEMPTS_MAX - 1)

    async def mark_and_fail(_: Call) -> None:
        await harness.receive(event("charge.succeeded", charge(), after=10))
        await harness.execute("update sync.customers set stale = stale + 1")
        raise ValueError("rule")

    with before(SELECT_CUSTOMERS, mark_and_fail, times=1):
        await harness.engine.derive()
    assert not await harness.fetchval("select parked_at is not null from sync.customers")
    await harness.make_due()
    await harness.settle()
    assert (await harness.record())["lifetime_revenue"] == 2000
