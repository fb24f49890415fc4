"""Schedules, credit notes and the lines of Checkout sessions, from their events to what readers see."""

from tests.harness import (
    NOON,
    Body,
    Harness,
    charge,
    checkout_session,
    customer,
    event,
    item,
    listing,
    subscription,
)

JUNE = NOON + 20 * 86_400
PRICE: Body = {
    "object": "price",
    "id": "price_1",
    "product": "prod_1",
    "created": NOON,
    "recurring": {"interval": "month", "interval_count": 1},
    "metadata": {},
}


def product(**metadata: str) -> Body:
    return {"object": "product", "id": "prod_1", "created": NOON, "name": "Pro", "metadata": metadata}


def schedule(**fields: object) -> Body:
    """A schedule that will begin with two of price_1 in June."""
    return {
        "object": "subscription_schedule",
        "id": "sub_sched_1",
        "customer": "cus_1",
        "created": NOON,
        "status": "not_started",
        "subscription": None,
        "phases": [
            {
                "start_date": JUNE,
                "end_date": JUNE + 30 * 86_400,
                "items": [{"price": "price_1", "quantity": 2}],
            }
        ],
        "livemode": False,
        "metadata": {},
    } | fields


async def rows(harness: Harness) -> list[tuple[object, ...]]:
    found = await harness.fetch(
        "select stripe_subscription_id, product_id, status, quantity, scheduled_ids "
        "from billing.customer_products order by 1"
    )
    return [tuple(row) for row in found]


async def test_a_schedule_from_its_making_to_its_end(webhooks_only: Harness) -> None:
    """C59 and F123, as events announce them: planned, begun, released."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", customer()),
        event("product.created", product(product_id="pro")),
        event("price.created", PRICE),
        event("subscription_schedule.created", schedule()),
    )
    assert (None, False) == ((await harness.record())["status"], (await harness.record())["has_access"])
    assert [("sub_sched_1", "pro", None, 2, ["sub_sched_1"])] == await rows(harness)

    running = subscription(schedule="sub_sched_1", items=listing([item("si_1", quantity=2)]))
    await harness.apply(
        event("customer.subscription.created", running, after=10),
        event("subscription_schedule.updated", schedule(status="active", subscription="sub_1"), after=10),
    )
    assert [("sub_1", "pro", "active", 2, ["sub_sched_1"])] == await rows(harness)

    await harness.apply(
        event(
            "subscription_schedule.released",
            schedule(status="released", subscription=None, released_subscription="sub_1"),
            after=20,
        )
    )
    assert [("sub_1", "pro", "active", 2, [])] == await rows(harness)
    # No late event takes that back.
    await harness.apply(
        event("subscription_schedule.updated", schedule(status="active", subscription="sub_1"), after=15)
    )
    assert [("sub_1", "pro", "active", 2, [])] == await rows(harness)


async def test_a_product_of_a_schedule_changes(webhooks_only: Harness) -> None:
    """Customers that have it only by a schedule are derived again, too, also if the price comes after the schedule."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", customer()), event("subscription_schedule.created", schedule())
    )
    assert [] == await rows(harness)
    await harness.apply(event("price.created", PRICE, after=1))
    assert [("sub_sched_1", "prod_1", None, 2, ["sub_sched_1"])] == await rows(harness)
    await harness.apply(event("product.created", product(product_id="pro"), after=2))
    assert [("sub_sched_1", "pro", None, 2, ["sub_sched_1"])] == await rows(harness)


async def test_a_canceled_schedule_leaves_nothing(harness: Harness) -> None:
    """What was read last counts: rows of phases that are not there any more go, and so does the planned product."""
    harness.api.put(customer())
    harness.api.bodies |= {
        "/v1/prices": listing([PRICE]),
        "/v1/prices/price_1": PRICE,
        "/v1/products/prod_1": product(),
        "/v1/subscription_schedules/sub_sched_1": schedule(),
    }
    await harness.apply(event("customer.created", customer()))
    await harness.apply(event("subscription_schedule.created", schedule()))
    await harness.settle()
    assert ["sub_sched_1"] == [row[0] for row in await rows(harness)]
    assert (await harness.record())["exact"]
    harness.api.bodies["/v1/subscription_schedules/sub_sched_1"] = schedule(status="canceled", phases=[])
    await harness.apply(event("subscription_schedule.canceled", schedule(status="canceled"), after=9))
    await harness.settle()
    assert [] == await rows(harness)
    assert [] == await harness.fetch("select * from stripe.subscription_schedule_items")


async def test_e96_a_credit_note_gives_back_outside_stripe(webhooks_only: Harness) -> None:
    """L18: also if the payment came by card; a void one gives nothing back."""
    harness = webhooks_only
    note: Body = {
        "object": "credit_note",
        "id": "cn_1",
        "customer": "cus_1",
        "invoice": "in_1",
        "created": NOON,
        "status": "issued",
        "currency": "usd",
        "amount": 400,
        "out_of_band_amount": 400,
        "livemode": False,
        "metadata": {},
    }
    await harness.apply(
        event("customer.created", customer()),
        event("charge.succeeded", charge()),
        event("credit_note.created", note, after=1),
    )
    money = "select gross, out_of_band, net from billing.customer_revenue"
    assert [(2000, -400, 1600)] == [tuple(row) for row in await harness.fetch(money)]
    await harness.apply(event("credit_note.voided", note | {"status": "void"}, after=2))
    assert [(2000, 0, 2000)] == [tuple(row) for row in await harness.fetch(money)]


def line(number: int) -> Body:
    return {"object": "item", "id": f"li_{number:02}", "description": "Pro", "amount_total": 100 * number}


async def test_lines_of_a_session_are_read_whole(harness: Harness) -> None:
    """An event leaves them out and takes none away; a read that is cut is read on; a read that lacks one removes it."""
    harness.api.put(customer())
    own = "/v1/checkout/sessions/cs_1/line_items"
    harness.api.bodies["/v1/checkout/sessions/cs_1"] = checkout_session(
        line_items=listing([line(number) for number in range(10)], has_more=True, url=own)
    )
    harness.api.bodies[own] = listing([line(10), line(11)])
    await harness.apply(event("customer.created", customer()))
    await harness.apply(event("checkout.session.completed", checkout_session()))
    ids = "select array_agg(id order by position) from stripe.checkout_line_items"
    assert await harness.fetchval(ids) is None
    await harness.settle()
    assert [f"li_{number:02}" for number in range(12)] == await harness.fetchval(ids)
    await harness.apply(
        event("checkout.session.async_payment_succeeded", checkout_session(payment_status="paid"), after=5)
    )
    assert 12 == len(await harness.fetchval(ids))
    harness.api.bodies["/v1/checkout/sessions/cs_1"] = checkout_session(line_items=listing([line(3)]))
    await harness.settle()
    assert ["li_03"] == await harness.fetchval(ids)
