"""Defences against the world as it is (test_planted_bugs.py for the rest): each is left out here, in the one place that
holds it, and has to be missed.

Each order of things is played with the defence first.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from billing.claims import claim_of
from billing.facts import CustomerFacts, UidClaim
from billing.kinds.found import ObjectRef
from billing.problems import Problem
from db.connection import Connection, Pool, PostgresAway
from db.mirror.facts import SELECT_CUSTOMERS
from db.sync import accounts, inbox
from db.sync.audits import Unread, dismiss, note_unread
from db.sync.inbox import CLAIM_EVENTS, claim_events
from db.sync.incarnation import Incarnation
from db.sync.objects import LATE_MAX
from db.sync.scans import Scan
from runtime.retry import ATTEMPTS_MAX
from runtime.stripe_api import StripeApi
from sandbox import Sandbox, create_api
from tests.databases import empty_tables
from tests.faults import Call, about, before, replaced, rewritten
from tests.harness import (
    API_KEY,
    NOON,
    Api,
    Harness,
    charge,
    customer,
    event,
    listing,
    open_harness,
    path_of,
    sweep_bulk,
)
from tests.worker.account import attached
from tests.worker.lists.test_endings import refuse
from tests.worker.live.test_custom_uids import claims, holders, link_session
from tests.worker.live.test_one_history import lose_nothing
from worker import leases
from worker.leases import CUT_OFF_SECONDS
from worker.lists import gaps
from worker.live.answers import Answered
from worker.live.fence import judge_absence
from worker.live.stretches import PageOf, Stretch, read_stretch

NEVER = timedelta(days=36_500)
YEAR = 366 * 86_400


@pytest.fixture
async def harness(pool: Pool, database_url: str) -> AsyncIterator[Harness]:
    """An engine that reads from an API whose answers the test says."""
    async with open_harness(pool, database_url) as harness:
        yield harness


@pytest.fixture
async def webhooks_only(pool: Pool, database_url: str) -> AsyncIterator[Harness]:
    """An engine without an API key: what payloads say is all there is."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        yield harness


async def forget(pool: Pool) -> None:
    """Empty the database for the second time that an order of things is played."""
    async with pool.acquire() as connection:
        await empty_tables(connection)


async def history_that_is_over_confirms_nothing(harness: Harness) -> bool:
    """A customer changes while it is being read. Postgres loses its last transactions meanwhile, and with them the
    event that told of the change: this database has never had it.
    """
    api = harness.api
    api.now = NOON + 60 + int(LATE_MAX.total_seconds())  # no replica can be so late: the answer is believed
    api.put(customer(name="one"))
    await harness.apply(event("customer.created", customer(name="one")))
    gate = api.hold(path_of(customer()))
    reading = asyncio.create_task(harness.confirm())
    await gate.reached_by(reading)
    api.put(customer(name="two"))
    await lose_nothing(harness)
    gate.open.set()
    await reading
    await harness.settle()
    record = await harness.record()
    return ("two", True) == (record["name"], record["exact"])


async def test_read_of_another_history_is_stored(harness: Harness) -> None:
    """Any tick counts as one of this history: a read that began before the loss makes a record exact and wrong."""
    assert await history_that_is_over_confirms_nothing(harness)
    await forget(harness.pool)
    with replaced(Incarnation.drew, lambda *_: True):
        assert not await history_that_is_over_confirms_nothing(harness)


async def buyer_takes_no_name(harness: Harness) -> bool:
    """An older customer buys through a payment link, behind which the browser writes another customer's name."""
    await harness.apply(
        event("customer.created", claims("cus_1", None, born=1)),
        event("checkout.session.completed", link_session("cus_1", "ada")),
    )
    await harness.apply(
        event("customer.created", claims("cus_2", None, born=2)),
        event("checkout.session.completed", link_session("cus_2", "ada", link=None)),
    )
    return {"cus_1": None, "cus_2": "ada"} == await holders(harness)


async def test_reference_of_a_payment_link_counts_as_ours(webhooks_only: Harness) -> None:
    """Every client_reference_id counts as written by the company: a buyer takes a name from the customer who has it."""

    def claim(facts: CustomerFacts) -> tuple[UidClaim | None, list[Problem]]:
        claimed, problems = claim_of(facts)
        if claimed is not None and claimed.source == "page":
            claimed = replace(claimed, source="checkout")
        return claimed, problems

    assert await buyer_takes_no_name(webhooks_only)
    await forget(webhooks_only.pool)
    with replaced(claim_of, claim):
        assert not await buyer_takes_no_name(webhooks_only)


async def event_after_a_wrong_date_is_found(pool: Pool, database_url: str) -> bool:
    """Stripe's clock is a year ahead for one fill. Afterwards an event happens that no webhook brings."""
    sandbox = Sandbox(start=int(time.time()))
    api = Api(create_api(sandbox, [API_KEY]))
    async with open_harness(pool, database_url, api=api) as harness:
        api.now = sandbox.now + YEAR
        for _ in range(2):  # the first fill asks Stripe's clock where to begin
            api.say("/v1/events", 200, listing([]))
        await sweep_bulk(harness.engine)
        sandbox.advance(60)
        sandbox.home.clients.create("Ada", None)
        await harness.execute("update sync.accounts set due_at = now()")
        await sweep_bulk(harness.engine)
        return len(await harness.event_states()) == 1


async def test_date_moves_the_cursor(pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Date header is trusted however far it is ahead of Postgres's clock: nothing is found for a year."""
    assert await event_after_a_wrong_date_is_found(pool, database_url)
    await forget(pool)
    for module in (accounts, gaps):
        monkeypatch.setattr(module, "CLOCKS_APART", NEVER)
    assert not await event_after_a_wrong_date_is_found(pool, database_url)


async def audit_names_what_it_could_not_read(pool: Pool, database_url: str, sandbox: Sandbox) -> bool:
    """A customer's row is wrong, and Stripe refuses the read that would show it."""
    async with attached(pool, database_url, sandbox) as account:
        await account.scanned(await account.request(kinds=("customer",)))
        await account.settle()
        wrong = await account.fetchval("select min(id) from stripe.customers where deleted_at is null")
        await account.execute("update stripe.customers set email = 'odd@example.com' where id = $1", wrong)
        refuse(account, f"/v1/customers/{wrong}", 403)
        ended = await account.scanned(await account.request(kinds=("customer",), purpose="audit"))
        return "partial" == ended["status"] and wrong in ended["error"]


async def test_unread_counts_as_equal(pool: Pool, database_url: str) -> None:
    """What could not be read is dismissed like what agrees: an audit finds no drift where a row is wrong."""

    async def dismiss_unread(connection: Connection, scan: Scan, unread: Sequence[Unread]) -> None:
        await dismiss(connection, scan, [ObjectRef(each.kind, each.id) for each in unread])

    sandbox = Sandbox()
    sandbox.play("uid_in_metadata")
    sandbox.run()
    assert await audit_names_what_it_could_not_read(pool, database_url, sandbox)
    await forget(pool)
    with replaced(note_unread, dismiss_unread):
        assert not await audit_names_what_it_could_not_read(pool, database_url, sandbox)


async def endless_customer_is_given_up(harness: Harness) -> bool:
    """Deriving one customer takes so long that Postgres cuts it off, each time; that of its neighbour succeeds."""
    await harness.receive(event("customer.created", customer()))

    async def work_too_long(call: Call) -> None:
        await call.connection.execute("set local statement_timeout = '30ms'; select pg_sleep(10)")

    with before(SELECT_CUSTOMERS, work_too_long, when=about("cus_1")):
        for _ in range(ATTEMPTS_MAX + 1):
            await harness.make_due()
            with contextlib.suppress(*PostgresAway):
                await harness.engine.apply()
                await harness.engine.derive()
            await harness.engine.give_back()
            await harness.execute(
                "update sync.customers set leased_until = now() + interval '1 minute' where customer_id = 'cus_1'"
            )
            await harness.apply(event("customer.created", customer("cus_2")))
    return bool(
        await harness.fetchval("select parked_at is not null from sync.customers where customer_id = 'cus_1'")
    )


async def test_cut_off_work_counts_as_an_outage(
    webhooks_only: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that our own time limits cut off is given back as in an outage: no attempt counts, and it never ends."""
    monkeypatch.setattr(leases, "CUT_OFF_SECONDS", 0.02)
    assert await endless_customer_is_given_up(webhooks_only)
    await forget(webhooks_only.pool)
    monkeypatch.setattr(leases, "CUT_OFF_SECONDS", CUT_OFF_SECONDS)
    assert not await endless_customer_is_given_up(webhooks_only)


NEIGHBOURS = [charge(f"ch_{number}") for number in range(3)]


async def settled_neighbours(harness: Harness) -> None:
    """Three charges of one second, in the mirror and exact. Then money of each goes back, and Stripe's list of charges
    is asked for.
    """
    harness.api.now = NOON + 3600
    harness.api.put(customer(), *NEIGHBOURS)
    harness.api.bodies["/v1/charges"] = listing(NEIGHBOURS)
    await harness.apply(
        event("customer.created", customer()), *(event("charge.succeeded", each) for each in NEIGHBOURS)
    )
    await harness.settle()
    refunded = [each | {"amount_refunded": 500} for each in NEIGHBOURS]
    harness.api.put(*refunded)
    await harness.apply(*(event("charge.refunded", each, after=3600) for each in refunded))


async def page_that_lags_makes_nothing_exact(harness: Harness) -> bool:
    """The list shows the charges as they were before their young events."""
    await settled_neighbours(harness)
    harness.api.bodies["/v1/charges"] = listing(NEIGHBOURS)
    await harness.confirm()
    told = {row[0] for row in await harness.fetch("select amount_refunded from stripe.charges")}
    return ({500}, False) == (told, (await harness.record())["exact"])


async def test_page_is_believed_without_the_two_witnesses(harness: Harness) -> None:
    """Whatever a page says counts as asked for long after the event: a late list makes a record exact and wrong."""

    async def read_boldly(pool: Pool, stripe: StripeApi, stretch: Stretch) -> PageOf:
        page = await read_stretch(pool, stripe, stretch)
        return replace(page, answers=[replace(each, doubted_long=True) for each in page.answers])

    assert await page_that_lags_makes_nothing_exact(harness)
    await forget(harness.pool)
    with replaced(read_stretch, read_boldly):
        assert not await page_that_lags_makes_nothing_exact(harness)


async def absence_from_a_page_buries_nothing(harness: Harness) -> bool:
    """The list leaves out one of the charges, which can still be read by its id."""
    await settled_neighbours(harness)
    harness.api.bodies["/v1/charges"] = listing([each | {"amount_refunded": 500} for each in NEIGHBOURS[:2]])
    await harness.settle()
    return bool(await harness.fetchval("select not exists (select from sync.objects where tombstone)"))


async def test_absence_from_a_page_makes_a_tombstone(harness: Harness) -> None:
    """What a page does not show counts as deleted: money that came in is gone."""

    async def read_too_much(pool: Pool, stripe: StripeApi, stretch: Stretch) -> PageOf:
        page = await read_stretch(pool, stripe, stretch)
        gone = [
            judge_absence(replace(each, deleted_event_at=datetime.fromtimestamp(NOON, UTC)), "not shown")
            for each in page.unshown
        ]
        return replace(
            page,
            answers=[*page.answers, *(each for each in gone if isinstance(each, Answered))],
            unshown=(),
        )

    assert await absence_from_a_page_buries_nothing(harness)
    await forget(harness.pool)
    with replaced(read_stretch, read_too_much):
        assert not await absence_from_a_page_buries_nothing(harness)


async def claim_is_bounded(harness: Harness) -> bool:
    """Events of 300 kB each wait, and a worker may hold a megabyte of them."""
    long = "x" * 300_000
    await harness.receive(*(event("charge.succeeded", charge(f"ch_{n}", description=long)) for n in range(8)))
    async with harness.pool.acquire() as connection:
        held = await claim_events(connection, limit=500, lease=timedelta(seconds=60))
    return sum(len(each.payload) for each in held) < 1_500_000


async def test_claim_without_a_bound_of_bytes(
    webhooks_only: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim counts its events and not their bytes: a worker holds all that wait."""
    bound = "where bytes_before < $4"
    assert bound in CLAIM_EVENTS
    monkeypatch.setattr(inbox, "CLAIM_BYTES_MAX", 1_000_000)
    assert await claim_is_bounded(webhooks_only)
    await forget(webhooks_only.pool)
    with rewritten(CLAIM_EVENTS, CLAIM_EVENTS.replace(bound, "where $4::bigint is not null")):
        assert not await claim_is_bounded(webhooks_only)
