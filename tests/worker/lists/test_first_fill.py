"""What a customer.created proves: that nothing was before it; and all that was since, if no event is missing."""

import pytest

from tests.harness import Harness, charge, customer, event, listing, sweep_bulk

HOUR = 3600
DAY = 24 * HOUR
EMPTY = (
    "subscriptions",
    "invoices",
    "checkout/sessions",
    "subscription_schedules",
    "credit_notes",
    "payment_intents",
    "events",
)


@pytest.fixture
def account(harness: Harness) -> Harness:
    """An account that knows a charge that no event has announced."""
    harness.api.put(customer())
    harness.api.bodies |= {f"/v1/{name}": listing([]) for name in EMPTY}
    harness.api.bodies["/v1/charges"] = listing([charge()])
    return harness


async def what_is_told(harness: Harness) -> tuple[object, object, object]:
    """The revenue, whether it is exact, and whether the history is to be pulled."""
    await harness.settle()
    record = await harness.record()
    pending = await harness.fetchval("select history_at is not null from sync.customers")
    return record["lifetime_revenue"], record["exact"], pending


async def fill(harness: Harness) -> None:
    """Fill the gaps, as if that were due, and pull the histories that are."""
    await harness.execute("update sync.accounts set due_at = now()")
    await sweep_bulk(harness.engine)


async def test_old_creation_pulls_the_history(account: Harness) -> None:
    """Stripe posts again what was not answered, for days: what came between it and the first fill may have got lost.
    No later event will tell, so its history is due at once; the customer itself is read for its event already.
    """
    await fill(account)
    await account.apply(event("customer.updated", customer(), after=-HOUR))
    await account.apply(event("customer.created", customer(), after=-HOUR - 1))
    assert (0, False, True) == await what_is_told(account)
    await fill(account)
    assert (2000, True, False) == await what_is_told(account)
    assert 1 == account.api.asked.count("/v1/customers/cus_1")


async def test_customer_that_is_gone_is_read_with_its_history(account: Harness) -> None:
    """I8: Stripe has no lists of a deleted customer. Only its body says that it is deleted, so it is read then."""
    await fill(account)
    await account.apply(event("customer.created", customer(), after=-HOUR - 1))
    await account.settle()
    account.api.put(customer(deleted=True))
    del account.api.bodies["/v1/subscriptions"]
    await fill(account)
    assert (0, True, False) == await what_is_told(account)
    assert (await account.object("customer", "cus_1"))["tombstone"]


async def test_first_fill_tells_whose_creation_was_too_old(account: Harness) -> None:
    """Before the first fill its reach is unknown: it doubts the customers that were taken for complete."""
    await account.apply(event("customer.created", customer(), after=-HOUR - 1))
    assert (0, True, False) == await what_is_told(account)
    await fill(account)
    assert (0, False, True) == await what_is_told(account)
    await fill(account)
    assert (2000, True, False) == await what_is_told(account)


async def test_creation_since_the_first_fill_is_enough(account: Harness) -> None:
    """Every event since then comes, and nothing need be read of the past."""
    await account.apply(event("customer.created", customer(), after=-HOUR))
    await fill(account)
    await account.apply(event("customer.created", customer("cus_2"), after=1))
    assert (0, True, False) == await what_is_told(account)
    assert "/v1/charges" not in account.api.asked
    assert 2 == await account.fetchval("select count(*) from sync.customers where complete")


async def test_creation_before_a_hole_proves_nothing(account: Harness) -> None:
    """Events that expired before they were read are missing: what is known starts again after them."""
    await fill(account)
    account.api.now += 40 * DAY
    await fill(account)
    await account.apply(event("customer.created", customer(), after=9 * DAY))
    assert (0, False, True) == await what_is_told(account)
    await account.apply(event("customer.created", customer("cus_2"), after=11 * DAY))
    assert await account.fetchval("select complete from sync.customers where customer_id = 'cus_2'")
