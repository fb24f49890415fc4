"""Guests: a charge without a customer belongs to the one of its Checkout session, and counts for its exactness."""

from tests.harness import NOON, Harness, charge, checkout_session, customer, event
from tests.worker.live.test_thin import thin


async def test_guests_charge_makes_its_owner_inexact_while_it_waits(harness: Harness) -> None:
    """The owner of a guest's charge is exact only when that charge, too, has been read since its last event."""
    session = checkout_session(payment_intent="pi_1", payment_status="paid")
    guest = charge("ch_guest", None, payment_intent="pi_1")
    harness.api.put(customer(), guest)
    harness.api.bodies["/v1/checkout/sessions/cs_1"] = session
    await harness.apply(
        event("customer.created", customer()),
        event("checkout.session.completed", session),
        event("charge.succeeded", guest),
    )
    await harness.settle()
    settled = await harness.record()
    assert (True, 2000) == (settled["exact"], settled["lifetime_revenue"])
    await harness.apply(event("charge.updated", guest, after=5))
    assert (await harness.record())["exact"] is False
    await harness.settle()
    assert (await harness.record())["exact"] is True


async def test_guests_charge_that_gets_another_customer(harness: Harness) -> None:
    """A charge without a customer, whose money was that of its session's customer, is given to another one, as Stripe
    allows: the money is no longer the first one's, whether an event or only a read says so.
    """
    for number, says in enumerate(("event", "read"), start=1):
        first, second, charge_id = f"cus_{number}a", f"cus_{number}b", f"ch_{number}"
        session = checkout_session(
            f"cs_{number}", first, payment_intent=f"pi_{number}", payment_status="paid"
        )
        guest = charge(charge_id, None, payment_intent=f"pi_{number}")
        harness.api.now = NOON
        harness.api.put(customer(first), customer(second), guest)
        harness.api.bodies[f"/v1/checkout/sessions/cs_{number}"] = session
        await harness.apply(
            *(event("customer.created", customer(each)) for each in (first, second)),
            event("checkout.session.completed", session),
            event("charge.succeeded", guest),
        )
        await harness.settle()
        assert 2000 == (await harness.record(first))["lifetime_revenue"]
        given = guest | {"customer": second}
        harness.api.now = NOON + 100
        harness.api.put(given)
        await harness.apply(
            event("charge.updated", given, after=60)
            if says == "event"
            else thin("charge.updated", "charge", charge_id, at=60)
        )
        await harness.settle()
        records = [await harness.record(each) for each in (first, second)]
        assert [(True, 0), (True, 2000)] == [(each["exact"], each["lifetime_revenue"]) for each in records]


async def test_guests_charge_that_only_its_payment_intent_attributes(harness: Harness) -> None:
    """Case 104: neither the charge nor a session names the customer, only the PaymentIntent: the money is its, in the
    record and in the months, in whatever order the two events come.
    """
    for number, intent_first in enumerate([True, False], start=1):
        customer_id, intent_id = f"cus_{number}", f"pi_{number}"
        guest = charge(f"ch_{number}", None, payment_intent=intent_id)
        intent = {
            "object": "payment_intent",
            "id": intent_id,
            "customer": customer_id,
            "created": NOON,
            "livemode": False,
            "metadata": {},
            "amount": 2000,
            "currency": "usd",
            "status": "succeeded",
            "latest_charge": f"ch_{number}",
        }
        harness.api.put(customer(customer_id), guest)
        events = [event("payment_intent.succeeded", intent), event("charge.succeeded", guest)]
        await harness.apply(event("customer.created", customer(customer_id)))
        for each in events if intent_first else reversed(events):
            await harness.apply(each)
        await harness.settle()
        record = await harness.record(customer_id)
        assert (True, 2000) == (record["exact"], record["lifetime_revenue"])
    assert 4000 == await harness.fetchval("select net from billing.monthly_revenue")
