"""Checkout sessions and what they sold."""

from dataclasses import dataclass
from datetime import datetime

from billing.kinds.fields import (
    Refused,
    customer_of,
    entries_of,
    id_of,
    integer_of,
    link,
    metadata_of,
    moment_of,
    text_of,
)
from billing.kinds.found import Facts, Found, Json, Part
from billing.kinds.kind import Kind, PartKind, WholeList


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutSession(Facts):
    created: datetime | None
    customer_id: str | None
    status: str | None  # open, complete, expired
    mode: str | None
    payment_status: str | None
    client_reference_id: str | None
    payment_link_id: str | None  # the payment link or buy button that made it; None: made by API, or not told
    subscription_id: str | None
    payment_intent_id: str | None
    invoice_id: str | None
    amount_total: int | None
    currency: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutLineItem(Part):
    session_id: str
    position: int  # Stripe's order, from 0
    description: str | None
    price_id: str | None
    product_id: str | None
    quantity: int | None
    currency: str | None
    amount_subtotal: int | None
    amount_discount: int | None
    amount_tax: int | None
    amount_total: int | None


def _checkout_session(object_id: str, body: Json, found: Found) -> CheckoutSession:
    lines, found.items_cut = entries_of(body, "line_items")
    for position, entry in enumerate(lines):
        line = _checkout_line(entry, position, object_id)
        found.parts.setdefault(line.id, line)
    return CheckoutSession(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        customer_id=customer_of(body, found),
        status=text_of(body, "status", needed=True),
        mode=text_of(body, "mode"),
        payment_status=text_of(body, "payment_status"),
        client_reference_id=text_of(body, "client_reference_id", needed=True),
        payment_link_id=id_of(body, "payment_link", needed=True),
        subscription_id=link(body, "subscription", "subscription", found),
        payment_intent_id=id_of(body, "payment_intent", needed=True),
        invoice_id=link(body, "invoice", "invoice", found),
        amount_total=integer_of(body, "amount_total"),
        currency=text_of(body, "currency"),
        metadata=metadata_of(body),
    )


def _checkout_line(entry: Json, position: int, session_id: str) -> CheckoutLineItem:
    path = f"line_items.data[{position}]."
    line_id = id_of(entry, "id", path)
    if line_id is None:
        raise Refused(path + "id", None, "an id")
    price = entry.get("price")
    return CheckoutLineItem(
        id=line_id,
        session_id=session_id,
        position=position,
        description=text_of(entry, "description", path),
        # Not remembered: prices are often made for one session, and no record needs those.
        price_id=id_of(entry, "price", path),
        product_id=id_of(price, "product", path + "price.") if isinstance(price, dict) else None,
        quantity=integer_of(entry, "quantity", path),
        currency=text_of(entry, "currency", path),
        amount_subtotal=integer_of(entry, "amount_subtotal", path),
        amount_discount=integer_of(entry, "amount_discount", path),
        amount_tax=integer_of(entry, "amount_tax", path),
        amount_total=integer_of(entry, "amount_total", path),
    )


CHECKOUT_SESSION = Kind(
    name="checkout_session",
    stripe_object="checkout.session",
    table="stripe.checkout_sessions",
    facts=CheckoutSession,
    list_path="/v1/checkout/sessions",
    retrieve_path="/v1/checkout/sessions/{id}",
    confirmed_along="created",
    names_customer=True,
    personal=("client_reference_id",),
    expands=("line_items",),
    parse=_checkout_session,
    references=(
        ("customer_id", "customer"),
        ("subscription_id", "subscription"),
        ("payment_intent_id", "payment_intent"),
        ("invoice_id", "invoice"),
    ),
    other_ids=("client_reference_id", "payment_link_id"),
    # The buyer is on the payment page: events come when the session is complete or expired.
    eventless_statuses=frozenset({"open"}),
    whole_lists=(WholeList(field="line_items", url="/v1/checkout/sessions/{id}/line_items"),),
    part=PartKind(
        name="checkout_line_item",
        table="stripe.checkout_line_items",
        facts=CheckoutLineItem,
        owner="session_id",
        references=(("price_id", "price"), ("product_id", "product"), ("session_id", "checkout_session")),
        # Prices are often made for one session, and no record needs those.
        fetches_references=False,
    ),
)
