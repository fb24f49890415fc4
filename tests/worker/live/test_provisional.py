"""What a payload may show until a read confirms it, and what it may never take back."""

import itertools

import pytest

from tests.harness import (
    NOON,
    Body,
    Harness,
    charge,
    customer,
    event,
    item,
    listing,
    refund,
    subscription,
)


async def status_of(harness: Harness) -> object:
    return await harness.fetchval("select status from stripe.subscriptions where id = 'sub_1'")


async def test_older_payload_after_a_newer_one_is_not_shown(webhooks_only: Harness) -> None:
    """Among payloads the later event.created wins, however late the earlier one comes."""
    harness = webhooks_only
    await harness.apply(event("customer.subscription.updated", subscription(status="past_due"), after=60))
    await harness.apply(event("customer.subscription.updated", subscription(status="active"), after=30))
    assert "past_due" == await status_of(harness)
    assert "past_due" == (await harness.record())["status"]


async def test_older_payload_in_the_same_batch_is_not_shown(webhooks_only: Harness) -> None:
    """The same, where one batch holds both."""
    harness = webhooks_only
    await harness.apply(
        event("customer.subscription.updated", subscription(status="past_due"), after=60),
        event("customer.subscription.updated", subscription(status="active"), after=30),
    )
    assert "past_due" == await status_of(harness)


async def test_equal_created_is_ordered_by_receipt(webhooks_only: Harness) -> None:
    """Of two payloads of one second the one received last is shown: in one batch as in two."""
    harness = webhooks_only
    await harness.apply(event("customer.subscription.updated", subscription(status="past_due"), after=60))
    await harness.apply(event("customer.subscription.updated", subscription(status="active"), after=60))
    assert "active" == await status_of(harness)
    # Received in two transactions, applied in one batch.
    await harness.receive(event("customer.subscription.updated", subscription(status="unpaid"), after=70))
    await harness.receive(event("customer.subscription.updated", subscription(status="past_due"), after=70))
    await harness.engine.apply()
    assert "past_due" == await status_of(harness)


async def test_cut_list_never_removes_items(webhooks_only: Harness) -> None:
    """A payload with an incomplete list of items changes and adds items; only a whole list removes one."""
    harness = webhooks_only
    three = [item("si_1"), item("si_2"), item("si_3")]
    await harness.apply(event("customer.subscription.created", subscription(items=listing(three))))
    cut = subscription(items=listing([item("si_2", quantity=5), item("si_4")], has_more=True))
    await harness.apply(event("customer.subscription.updated", cut, after=10))
    statement = "select id, quantity from stripe.subscription_items order by id"
    assert [("si_1", 1), ("si_2", 5), ("si_3", 1), ("si_4", 1)] == [
        tuple(r) for r in await harness.fetch(statement)
    ]
    whole = subscription(items=listing([item("si_4", quantity=2)]))
    await harness.apply(event("customer.subscription.updated", whole, after=20))
    assert [("si_4", 2)] == [tuple(row) for row in await harness.fetch(statement)]


async def test_money_outside_stripe_is_not_forgotten(harness: Harness) -> None:
    """C12: only a read says what was paid outside Stripe; a payload does not mention it, and so takes nothing back."""
    told: Body = {
        "object": "invoice", "id": "in_1", "customer": "cus_1", "created": NOON, "status": "paid", "livemode": False,
        "billing_reason": "manual", "currency": "usd", "total": 2000, "amount_due": 2000, "amount_paid": 2000,
        "metadata": {}, "lines": listing([]), "status_transitions": {"paid_at": NOON},
    }  # fmt: skip
    harness.api.put(customer(), told | {"amount_paid_off_stripe": 2000, "payments": listing([])})
    await harness.apply(event("customer.created", customer()), event("invoice.paid", told))
    await harness.settle()
    assert 2000 == (await harness.record())["lifetime_revenue"]
    await harness.apply(event("invoice.updated", told | {"metadata": {"note": "x"}}, after=60))
    record = await harness.record()
    assert (2000, "usd", False) == (record["lifetime_revenue"], record["revenue_currency"], record["exact"])
    harness.api.put(told | {"amount_paid_off_stripe": 500, "payments": listing([])})
    await harness.settle()
    assert 500 == (await harness.record())["lifetime_revenue"]


@pytest.mark.parametrize("batches", [1, 2])
async def test_terminal_state_is_shown_however_late_it_comes(webhooks_only: Harness, batches: int) -> None:
    """I5: a cancellation that is stamped earlier than what is shown is still shown: it cannot be taken back."""
    harness = webhooks_only
    events = [
        event("customer.subscription.updated", subscription(status="active"), after=60),
        event("customer.subscription.deleted", subscription(status="canceled", ended_at=NOON + 30), after=30),
    ]
    for number in range(batches):
        await harness.apply(*events[number::batches])
    assert "canceled" == await status_of(harness)
    assert "ended" == (await harness.record())["status"]


@pytest.mark.parametrize(
    "order",
    list(itertools.permutations(("deleted", "late update", "read"))),
    ids=lambda order: " ".join(order),
)
async def test_terminal_state_stays_for_payloads(harness: Harness, order: tuple[str, ...]) -> None:
    """I5: whether it was shown or read, a state that Stripe never leaves stays for any payload, whatever its time."""
    harness.api.put(customer(), subscription(status="canceled", ended_at=NOON + 30))
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    seen: set[str] = set()
    for step in order:
        match step:
            case "deleted":
                ended = subscription(status="canceled", ended_at=NOON + 30)
                await harness.apply(event("customer.subscription.deleted", ended, after=31))
            case "late update":
                await harness.apply(
                    event("customer.subscription.updated", subscription(status="active"), after=900)
                )
            case _:
                await harness.confirm()
        if seen & {"deleted", "read"} or step in ("deleted", "read"):
            assert "canceled" == await status_of(harness), step
        seen.add(step)
    await harness.settle()
    assert ("ended", True) == ((await harness.record())["status"], (await harness.record())["exact"])


@pytest.mark.parametrize(
    ("after", "shown"), [(-1, "active"), (0, "past_due"), (1, "past_due"), (60, "past_due")]
)
async def test_payload_after_a_read(harness: Harness, after: int, shown: str) -> None:
    """A payload is shown over a read unless Stripe stamped it before the answer; then a read decides again."""
    harness.api.put(customer(), subscription(status="active"))
    await harness.apply(
        event("customer.created", customer(), after=-100),
        event("customer.subscription.created", subscription(), after=-100),
    )
    await harness.confirm()
    await harness.apply(event("customer.subscription.updated", subscription(status="past_due"), after=after))
    record = await harness.record()
    assert (shown, False) == (record["status"], record["exact"])
    await harness.settle()
    record = await harness.record()
    assert ("active", True) == (record["status"], record["exact"])


async def test_payload_beside_is_shown_only_of_the_unknown(webhooks_only: Harness) -> None:
    """An object that was only found inside another one never overwrites what is known about it."""
    harness = webhooks_only
    await harness.apply(event("charge.succeeded", charge(amount=2000), after=10))
    carried = refund(charge=charge(amount=1, amount_captured=1))
    await harness.apply(event("refund.created", refund("re_1") | carried, after=5))
    assert 2000 == await harness.fetchval("select amount from stripe.charges where id = 'ch_1'")
    other = refund("re_2", charge=charge("ch_2", "cus_2", amount=700, amount_captured=700))
    await harness.apply(event("refund.created", other, after=20))
    assert 700 == await harness.fetchval("select amount from stripe.charges where id = 'ch_2'")


async def test_late_customer_updated_does_not_revive(webhooks_only: Harness) -> None:
    """I5: a customer that an event announced as deleted stays deleted for a payload, even without a read."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", customer(name="Ada")),
        event("customer.subscription.created", subscription()),
        event("customer.deleted", customer(name="Ada"), after=50),
    )
    await harness.apply(event("customer.updated", customer(name="Ada"), after=500))
    record = await harness.record()
    assert ("ended", False) == (record["status"], record["has_access"])
    assert NOON + 50 == record["deleted_at"].timestamp()


async def test_without_a_key_everything_stays_provisional(webhooks_only: Harness) -> None:
    """Webhooks-only mode never calls a record exact, and marks nothing as read."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await harness.engine.confirm(linger=False)
    record = await harness.record()
    assert ("active", False) == (record["status"], record["exact"])
    assert [] == harness.api.asked
    assert 0 == await harness.fetchval("select max(confirmed) from sync.objects")
