"""Lists confirm: what is due and lies together in a list of Stripe's is read by pages, and believed as any read is."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from billing.kinds.registry import KINDS
from db.keys import Key, Scope
from db.sync.due_reads import DueRead
from db.sync.stretches import Second
from runtime.stripe_api import Answer
from tests.harness import (
    NOON,
    Body,
    Harness,
    charge,
    customer,
    error,
    event,
    listing,
    refund,
    subscription,
)
from worker.live.stretches import stretches_of

CHARGES = "/v1/charges"
SUBSCRIPTIONS = "/v1/subscriptions"


async def settled(harness: Harness, *bodies: Body) -> None:
    """A customer who is exact, with these charges at Stripe and in the mirror."""
    harness.api.now = NOON + 3600
    harness.api.put(customer(), *bodies)
    harness.api.bodies[CHARGES] = listing(list(bodies))
    await harness.apply(
        event("customer.created", customer()),
        *(event(f"{each['object']}.created", each) for each in bodies),
    )
    await harness.settle()
    assert await is_exact(harness)
    harness.api.asked.clear()


async def is_exact(harness: Harness) -> bool:
    return bool((await harness.record())["exact"])


async def refunded_amounts(harness: Harness) -> dict[str, int]:
    rows = await harness.fetch("select id, amount_refunded from stripe.charges")
    return {row["id"]: row["amount_refunded"] for row in rows}


def asked(harness: Harness, path: str) -> int:
    """Requests for this path, and below it."""
    return sum(each == path or each.startswith(f"{path}/") for each in harness.api.asked)


def changed(*bodies: Body, after: int = 3600) -> list[bytes]:
    """The events that tell of charges."""
    return [event("charge.updated", each, after=after) for each in bodies]


NEIGHBOURS = [charge(f"ch_{n}") for n in range(4)]
REFUNDED = [each | {"amount_refunded": 500} for each in NEIGHBOURS]


async def test_neighbours_are_read_by_one_page(harness: Harness) -> None:
    """Four charges of one second cost one request, and their customer is exact."""
    harness.api.put(customer(), *NEIGHBOURS)
    harness.api.bodies[CHARGES] = listing(NEIGHBOURS)
    await harness.apply(
        event("customer.created", customer()), *(event("charge.succeeded", each) for each in NEIGHBOURS)
    )
    await harness.settle()
    assert [CHARGES] == [path for path in harness.api.asked if path.startswith(CHARGES)]
    assert await is_exact(harness)
    assert {("usd", 8000)} == {
        (row["currency"], row["net"]) for row in await harness.fetch("select * from billing.customer_revenue")
    }


async def test_what_a_page_does_not_show_is_read_by_its_id(harness: Harness) -> None:
    """I8: absence from a page proves nothing. The charge is asked for by its id, and no tombstone is made."""
    await settled(harness, *NEIGHBOURS)
    harness.api.put(*REFUNDED)
    harness.api.bodies[CHARGES] = listing(REFUNDED[:3])
    await harness.apply(*changed(*REFUNDED))
    await harness.settle()
    assert [CHARGES, f"{CHARGES}/ch_3"] == harness.api.asked
    assert {500} == set((await refunded_amounts(harness)).values())
    assert await is_exact(harness)
    assert not (await harness.object("charge", "ch_3"))["tombstone"]


async def test_page_that_lags_is_not_believed(harness: Harness) -> None:
    """I3: a page that shows a charge as it was before its young event is not stored for it. The charge is asked for
    again by its id; the others of the page are believed.
    """
    await settled(harness, *NEIGHBOURS)
    harness.api.put(*REFUNDED)
    harness.api.bodies[CHARGES] = listing([*REFUNDED[:3], NEIGHBOURS[3]])
    await harness.apply(*changed(*REFUNDED))
    await harness.confirm()
    assert [CHARGES] == harness.api.asked
    assert 1 == (await harness.object("charge", "ch_3"))["doubts"]
    assert {500} == set((await refunded_amounts(harness)).values())
    assert not await is_exact(harness)
    # Another one joins it: even so it is read by its id.
    await harness.apply(*changed(REFUNDED[0] | {"metadata": {"a": "b"}}, after=3601))
    await harness.settle()
    assert asked(harness, f"{CHARGES}/ch_3") == 1
    assert await is_exact(harness)


async def test_change_after_a_page_was_asked_for_is_read_again(harness: Harness) -> None:
    """I3: the tick of a page is drawn before its request. An event that comes while the page is on its way marks the
    charge for another read.
    """
    await settled(harness, *NEIGHBOURS)
    harness.api.bodies[CHARGES] = listing(NEIGHBOURS)
    gate = harness.api.hold(CHARGES)
    await harness.apply(*changed(*NEIGHBOURS))
    reading = asyncio.create_task(harness.confirm())
    await gate.reached_by(reading)
    harness.api.put(*REFUNDED)
    await harness.apply(*changed(*REFUNDED, after=3602))
    gate.open.set()
    await reading
    assert not await is_exact(harness)
    harness.api.bodies[CHARGES] = listing(REFUNDED)
    await harness.settle()
    assert {500} == set((await refunded_amounts(harness)).values())
    assert await is_exact(harness)


async def test_other_rows_of_a_page_are_confirmed_as_well(harness: Harness) -> None:
    """A charge whose burst is not over yet is confirmed by the page that is read for its neighbours; one that no event
    has marked is left as it is.
    """
    await settled(harness, *NEIGHBOURS)
    harness.api.bodies[CHARGES] = listing(NEIGHBOURS)
    before = await harness.object("charge", "ch_3")
    await harness.apply(*changed(*NEIGHBOURS[:3]))
    await harness.execute("update sync.objects set read_at = now() where id in ('ch_0', 'ch_1')")
    await harness.engine.confirm(linger=False)
    assert [CHARGES] == harness.api.asked
    assert await is_exact(harness)
    assert before == await harness.object("charge", "ch_3")


async def test_cut_list_only_marks(harness: Harness) -> None:
    """A charge in whose refunds a page stops too early is read by its id, with all of them."""
    cut = NEIGHBOURS[0] | {
        "amount_refunded": 1000,
        "refunds": listing([refund("re_1", "ch_0")], has_more=True, url="/v1/charges/ch_0/refunds"),
    }
    whole = cut | {"refunds": listing([refund("re_1", "ch_0"), refund("re_2", "ch_0")])}
    await settled(harness, *NEIGHBOURS)
    harness.api.put(whole)
    harness.api.bodies[CHARGES] = listing([cut, *NEIGHBOURS[1:]])
    await harness.apply(*changed(cut, *NEIGHBOURS[1:]))
    await harness.settle()
    assert [CHARGES, f"{CHARGES}/ch_0"] == harness.api.asked
    assert 2 == await harness.fetchval("select count(*) from stripe.refunds")


async def test_list_that_is_refused_is_not_asked_for_again(harness: Harness) -> None:
    """An API that does not know the list, or its filter, is read by ids, as before."""
    await settled(harness, *NEIGHBOURS)
    del harness.api.bodies[CHARGES]
    for after in (3600, 3700):
        await harness.apply(*changed(*NEIGHBOURS, after=after))
        await harness.settle()
        assert await is_exact(harness)
    assert 1 == harness.api.asked.count(CHARGES)
    assert 8 == asked(harness, CHARGES) - 1


@pytest.mark.parametrize("status", [401, 403])
async def test_list_that_is_refused_for_a_while_is_asked_for_again(harness: Harness, status: int) -> None:
    """I7: a key, a right or an account that is refused once costs one page, and not all pages from then on."""
    await settled(harness, *NEIGHBOURS)
    harness.api.say(CHARGES, status, error("account_invalid", "no access"))
    for after, requests in ((3600, [CHARGES, *(f"{CHARGES}/ch_{n}" for n in range(4))]), (3700, [CHARGES])):
        harness.api.asked.clear()
        await harness.apply(*changed(*NEIGHBOURS, after=after))
        await harness.settle()
        assert await is_exact(harness)
        assert requests == sorted(path for path in harness.api.asked if path.startswith(CHARGES))


async def test_list_that_one_account_is_refused_is_asked_for_by_others(harness: Harness) -> None:
    """I7: a 400 for a connected account takes its pages only."""
    await settled(harness, *NEIGHBOURS)
    for account in ("acct_1", None):
        if account:
            harness.api.say(CHARGES, 400, error("", "no such list"))
        for after in (3600, 3700):
            harness.api.asked.clear()
            await harness.apply(
                *(event("charge.updated", each, account=account, after=after) for each in NEIGHBOURS)
            )
            await harness.settle()
        assert (0 if account else 1) == harness.api.asked.count(CHARGES)


async def test_pages_stop_when_everything_was_shown(harness: Harness) -> None:
    """No page more is read than the due objects need, and none beyond what the mirror expects that shows nothing."""
    await settled(harness, *NEIGHBOURS)
    harness.api.bodies[CHARGES] = listing(NEIGHBOURS, has_more=True)
    await harness.apply(*changed(*NEIGHBOURS))
    await harness.settle()
    assert [CHARGES] == harness.api.asked
    harness.api.asked.clear()
    harness.api.bodies[CHARGES] = listing([charge(f"ch_other{n}") for n in range(100)], has_more=True)
    await harness.apply(*changed(*NEIGHBOURS, after=3700))
    await harness.settle()
    assert [CHARGES] == harness.api.asked[:1]
    assert {f"{CHARGES}/ch_{n}" for n in range(4)} == set(harness.api.asked[1:])
    assert 0 == await harness.fetchval("select count(*) from stripe.charges where id like 'ch_other%'")


async def test_renewing_subscriptions_are_found_by_their_period(harness: Harness) -> None:
    """Subscriptions that were created years apart and renew together take one request."""
    renewed = [
        subscription(
            f"sub_{n}", created=NOON - n * 10**7, start_date=NOON - n * 10**7, current_period_start=NOON
        )
        for n in range(1, 5)
    ]
    harness.api.put(customer(), *renewed)
    harness.api.bodies[SUBSCRIPTIONS] = listing(renewed)
    await harness.apply(
        event("customer.created", customer()),
        *(event("customer.subscription.updated", each) for each in renewed),
    )
    await harness.settle()
    assert 1 == asked(harness, SUBSCRIPTIONS)
    assert await is_exact(harness)


async def test_refund_comes_with_its_charge(harness: Harness) -> None:
    """A refund and its charge, marked by one event, take one read; a refund that did not come is read by its id."""
    with_refund = charge(amount_refunded=500, refunds=listing([refund()]))
    await settled(harness, charge())
    harness.api.put(with_refund)
    await harness.apply(event("refund.created", refund(), after=3600))
    await harness.settle()
    assert [f"{CHARGES}/ch_1"] == harness.api.asked
    harness.api.asked.clear()
    harness.api.put(charge(amount_refunded=500), refund())
    await harness.apply(event("refund.updated", refund(), after=3700))
    await harness.settle()
    assert [f"{CHARGES}/ch_1", "/v1/refunds/re_1"] == harness.api.asked
    assert await is_exact(harness)


async def test_refund_waits_for_a_charge_that_is_due_soon(harness: Harness) -> None:
    """While more is told of the charge, the refund waits for its read."""
    with_refund = charge(amount_refunded=500, refunds=listing([refund()]))
    await settled(harness, charge())
    harness.api.put(with_refund)
    await harness.apply(event("refund.created", refund(), after=3600))
    await harness.execute("update sync.objects set read_at = now() where kind = 'refund'")
    await harness.engine.confirm(linger=False)
    assert [] == harness.api.asked
    held, charges = await harness.object("refund", "re_1"), await harness.object("charge", "ch_1")
    assert (0, charges["read_at"]) == (held["attempts"], held["read_at"])
    await harness.settle()
    assert [f"{CHARGES}/ch_1"] == harness.api.asked


async def test_refund_waits_for_a_charge_that_is_being_read(harness: Harness) -> None:
    """Another worker's read, as long as its lease holds; if that read fails, the refund is read by its id."""
    await settled(harness, charge())
    harness.api.put(charge(amount_refunded=500), refund())
    await harness.apply(event("refund.created", refund(), after=3600))
    for error_said, expected in ((None, []), ("no answer", ["/v1/refunds/re_1"])):
        await harness.execute(
            "update sync.objects set read_at = now() + interval '90 seconds', error = $1 where kind = 'charge'",
            error_said,
        )
        await harness.execute("update sync.objects set read_at = now() where kind = 'refund'")
        await harness.engine.confirm(linger=False)
        assert expected == harness.api.asked
    await harness.settle()
    assert await is_exact(harness)


async def test_one_long_read_holds_up_no_other(harness: Harness) -> None:
    """While one customer's answer does not come, what falls due later is read."""
    harness.api.put(customer("cus_1"), customer("cus_2"))
    gate = harness.api.hold("/v1/customers/cus_1")
    await harness.apply(event("customer.created", customer("cus_1")))
    reading = asyncio.create_task(harness.confirm())
    await gate.reached_by(reading)
    later = harness.api.hold("/v1/customers/cus_2")
    await harness.apply(event("customer.created", customer("cus_2")))
    await harness.execute("update sync.objects set read_at = now() where id = 'cus_2'")
    await later.reached_by(reading)
    later.open.set()
    gate.open.set()
    await reading
    assert (await harness.record("cus_1"))["exact"]
    assert (await harness.record("cus_2"))["exact"]


async def test_read_says_when_it_began(harness: Harness) -> None:
    """An answer that took its time tells of the moment at which it was asked for: the Date is later."""
    date = datetime.fromtimestamp(NOON, UTC)
    assert date == Answer(body=b"", answered_at=date, seconds=0.9).asked_at
    assert date - timedelta(seconds=12) == Answer(body=b"", answered_at=date, seconds=12.4).asked_at


HOME = Scope("", False)


def due(name: str) -> DueRead:
    return DueRead(
        key=Key(*HOME, "charge", name), tick=1, attempts=1, never_read=False, deleted_event_at=None
    )


def second(at: int, ids: str, rows: int, rows_after: int = 0) -> Second:
    return Second(
        begins=datetime.fromtimestamp(NOON + at, UTC), ids=tuple(ids), rows=rows, rows_after=rows_after
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param([second(0, "abc", 3)], ["abc"], id="one second"),
        pytest.param([second(0, "a", 1, 30), second(9, "b", 1)], ["ab"], id="a few rows between are bridged"),
        pytest.param([second(0, "a", 1, 100), second(9, "b", 1)], [], id="many rows between are not"),
        pytest.param([second(0, "a", 1)], [], id="one object is read by its id"),
        pytest.param([second(0, "ab", 150)], [], id="two pages for two objects are no gain"),
        pytest.param([second(0, "abc", 150)], ["abc"], id="two pages for three objects are"),
        pytest.param(
            [second(0, "a", 100, 3), second(1, "bc", 2, 3), second(2, "d", 1)],
            ["bcd"],
            id="a dense second apart",
        ),
        pytest.param(
            [second(0, "ab", 2, 100), second(9, "cd", 4)], ["ab", "cd"], id="two stretches far apart"
        ),
    ],
)
def test_stretches_take_fewer_requests(seconds: list[Second], expected: list[str]) -> None:
    """Pages are read only if they are fewer than the objects for which they are read."""
    reads = {name: due(name) for each in seconds for name in each.ids}
    found = stretches_of(HOME, KINDS["charge"], seconds, reads)
    assert expected == ["".join(read.key.id for read in stretch.reads) for stretch in found]
    assert all(stretch.pages < len(stretch.reads) for stretch in found)


def test_where_a_new_object_lies_is_guessed() -> None:
    """The second of its thin event may be some seconds after the one in which it was made."""
    reads = {name: due(name) for name in "ab"}
    at = second(0, "ab", 2)
    for guessed, low in ((False, 0), (True, -5)):
        (found,) = stretches_of(HOME, KINDS["charge"], [replace(at, guessed=guessed)], reads)
        assert at.begins + timedelta(seconds=low) == found.low


def test_doubtful_objects_are_read_by_their_ids() -> None:
    """Pages lag, and leave out what is gone: after a doubt, a 404 or a deletion only the object itself says more."""
    at = datetime.fromtimestamp(NOON, UTC)
    plain = due("a")
    assert not plain.by_id_only
    odd = [
        replace(plain, doubted=True),
        replace(plain, missing=True),
        replace(plain, audited=True),
        replace(plain, deleted_event_at=at),
        replace(plain, attempts=4),
    ]
    assert all(each.by_id_only for each in odd)
