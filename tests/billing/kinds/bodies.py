"""Bodies of Stripe objects for the tests of parsing, and the facts that they give."""

from datetime import UTC, datetime
from typing import Any

from billing.kinds.parse import parse_object
from tests.billing.kinds.shapes import story

Body = dict[str, Any]

JULY = datetime(2025, 7, 1, tzinfo=UTC)

AUGUST = datetime(2025, 8, 1, tzinfo=UTC)

SEPTEMBER = datetime(2025, 9, 1, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def body_of(stripe_object: str, **changes: Any) -> Body:
    return story()[stripe_object] | changes


def facts_of(stripe_object: str, **changes: Any) -> Any:
    """The facts of one object of the story, newest shape, with some fields changed."""
    return parse_object(body_of(stripe_object, **changes)).facts


def without(body: Body, *fields: str) -> Body:
    return {field: value for field, value in body.items() if field not in fields}


BASE_SUBSCRIPTION = without(story()["subscription"], "current_period_start", "current_period_end")

BASE_INVOICE = without(story()["invoice"], "parent", "payments", "amount_paid_off_stripe")

BASE_CHARGE = without(story()["charge"], "refunds")

T1, T2, T3 = 1754006400, 1756684800, 1785542400


def items(*entries: Body, **changes: Any) -> Body:
    data = [
        {"id": f"si_{number}", "object": "subscription_item"} | entry for number, entry in enumerate(entries)
    ]
    return {"items": {"object": "list", "data": data, "has_more": False} | changes}


def payments(*entries: Body, **changes: Any) -> Body:
    data = [{"id": f"inpay_{number}", "status": "paid"} | entry for number, entry in enumerate(entries)]
    return {"payments": {"object": "list", "data": data, "has_more": False} | changes}


def month(start: int, end: int) -> Body:
    return {"current_period_start": start, "current_period_end": end}


def parent(subscription: object) -> Body:
    return {
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": subscription}}
    }


SUBSCRIPTION_BODY = {"id": "sub_ada", "object": "subscription", "status": "active"}

INVOICE_BODY = {"id": "in_aug", "object": "invoice", "status": "paid"}

CHARGE_BODY = {"id": "ch_1", "object": "charge", "captured": True}

CUSTOMER_BODY = {"id": "cus_ada", "object": "customer"}

BY_INTENT = {"amount_paid": 700, "payment": {"type": "payment_intent", "payment_intent": "pi_1"}}

BY_CHARGE = {"amount_paid": 30, "payment": {"type": "charge", "charge": "ch_1"}}

BY_RECORD = {"amount_paid": 5, "payment": {"type": "payment_record", "payment_record": "pr_1"}}

PRICE = {"id": "price_1", "object": "price", "product": "prod_1"}

PLAN = {"id": "gold", "object": "plan", "product": "prod_2"}
