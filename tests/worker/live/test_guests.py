"""Guests: a charge without a customer belongs to the one of its Checkout session, and counts for its exactness."""

from tests.harness import NOON, Harness, charge, customer, event


async def test_guests_charge_makes_its_owner_inexact_while_it_waits(harness: Harness) -> None:
    """The owner of a guest's charge is exact only when that charge, too, has been read since its last event."""
    session = {
        "object": "checkout.session",
        "id": "cs_1",
        "customer": "cus_1",
        "created": NOON,
        "livemode": False,
        "metadata": {},
        "mode": "payment",
        "status": "complete",
        "payment_intent": "pi_1",
        "payment_status": "paid",
    }
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
