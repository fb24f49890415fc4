"""Every type of thin event that Stripe's library knows is read as it should be: none is parked, none is misread."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import stripe

from billing.kinds.found import ObjectRef
from db.sync.inbox import ClaimedEvent
from worker.live.event import EventReading, read_event

LIBRARY = Path(stripe.__file__).parent
MOMENT = datetime(2026, 10, 1, 12, 0, 3, 700_000, tzinfo=UTC)

MIRRORED = {
    *("customer", "subscription", "subscription_schedule", "checkout.session", "invoice", "invoice_payment"),
    *("payment_intent", "charge", "refund", "dispute", "credit_note", "product", "price", "plan", "coupon"),
    *("payment_method", "setup_intent", "tax_id", "review", "radar.early_fraud_warning", "payout"),
    "billing.meter",
}
"""Stripe's names of the objects that events are about and that docs/mirror.md lists."""
OUR_NAMES = {
    "billing.meter": "meter",
    "checkout.session": "checkout_session",
    "radar.early_fraud_warning": "early_fraud_warning",
}
"""Of the kinds that we call otherwise."""
DELETIONS = {
    *("customer.deleted", "customer.tax_id.deleted", "coupon.deleted", "invoice.deleted"),
    *("plan.deleted", "price.deleted", "product.deleted"),
}
"""The types that say of an object with an id that it is gone. A deleted subscription is still there, canceled."""


class ThinType(NamedTuple):
    type: str
    object: str | None  # Stripe's name of the related object; None: there is none
    has_id: bool


def thin_types() -> Iterator[ThinType]:
    """The types for which Stripe's library has a class, read from its text: importing them all takes a second."""
    for path in sorted((LIBRARY / "events").glob("_v*_event.py")):
        text = path.read_text()
        found = re.search(r'LOOKUP_TYPE = \(?\s*"(v[12]\.[^"]+)"', text)
        assert found, path.name
        related = re.search(r'def fetch_related_object\(self\) -> "(\w+)"', text)
        name = None
        if related:
            module = re.search(rf"from stripe\.([\w.]+) import \(?\s*{related[1]}\b", text)
            assert module, path.name
            source = (LIBRARY / (module[1].replace(".", "/") + ".py")).read_text()
            named = re.search(
                rf'^class {related[1]}\(.*?OBJECT_NAME: ClassVar\[\s*Literal\["([^"]+)"\]',
                source,
                re.DOTALL | re.MULTILINE,
            )
            assert named, path.name
            name = named[1]
        yield ThinType(found[1], name, "related_object: RelatedObject" in text)


def thin(each: ThinType, **fields: object) -> bytes:
    """Such an event, as Stripe posts it."""
    related = {"type": each.object, "url": "/v1/things/id_1"}
    if each.has_id:
        related["id"] = "id_1"
    if each.object == "discount":
        related["url"] = "/v1/customers/cus_1/discount"
    body = {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": each.type,
        "livemode": False,
        "created": MOMENT.isoformat(),
        "snapshot_event": "evt_twin",
    }
    if each.object is not None:
        body["related_object"] = related
    return json.dumps(body | fields).encode()


def read(event_type: str, body: bytes) -> EventReading:
    event = ClaimedEvent(
        account_id="",
        live_mode=False,
        event_id="evt_thin",
        seq=1,
        type=event_type,
        created=MOMENT,
        payload=body,
        attempts=1,
    )
    return read_event(event, served_mode=False, confirms=True)


def test_every_type_of_stripes_list() -> None:
    """A type about a mirrored object marks that object, a discount's its customer; `.deleted` says that it is gone;
    `v1.customer.created` that its history begins. All others are ignored.
    """
    types = list(thin_types())
    assert (269, 57) == (
        sum(each.type.startswith("v1.") for each in types),
        sum(each.type.startswith("v2.") for each in types),
    )
    wrong = []
    for each in types:
        own = ObjectRef(OUR_NAMES.get(each.object or "", each.object or ""), "id_1")
        concerns: tuple[ObjectRef, ...] = ()
        if each.type.startswith("v1.") and each.object == "discount":
            concerns = (ObjectRef("customer", "cus_1"),)
        elif each.type.startswith("v1.") and each.object in MIRRORED:
            concerns = (own,)
        wanted = (
            "applied" if concerns else "ignored",
            concerns,
            own if each.type.removeprefix("v1.") in DELETIONS else None,
            "id_1" if each.type == "v1.customer.created" else None,
        )
        reading = read(each.type, thin(each))
        got = (reading.outcome.state, reading.concerns, reading.deleted, reading.first_of_customer)
        if wanted != got:
            wrong.append((each.type, wanted, got))
        assert (reading.outcome.error is None) == bool(concerns), each
    assert [] == wrong


def test_finer_types_are_among_them() -> None:
    """The types that have no snapshot twin mark what they name, too."""
    about = {each.type: each.object for each in thin_types()}
    for event_type, name in {
        "v1.customer.subscription.past_due": "subscription",
        "v1.customer.subscription.cancel_at_changed": "subscription",
        "v1.customer.subscription.item_price_changed": "subscription",
        "v1.invoice.discount_added": "invoice",
        "v1.customer.discount.created": "discount",
        "v1.price.deactivated": "price",
        "v1.payout.reconciliation_completed": "payout",
    }.items():
        assert name == about[event_type]


# The type, related_object, and the state and the objects that are right.
ODD: dict[str, tuple[str, object, str, tuple[tuple[str, str], ...]]] = {
    "a discount of a subscription": (
        "v1.customer.discount.deleted",
        {"type": "discount", "url": "/v1/subscriptions/sub_1/discount"},
        "applied",
        (("subscription", "sub_1"),),
    ),
    "a discount under its own id": (
        "v1.customer.discount.updated",
        {"type": "discount", "id": "di_1", "url": "/v1/customers/cus_1/subscriptions/sub_1/discounts/di_1"},
        "applied",
        (("customer", "cus_1"), ("subscription", "sub_1")),
    ),
    "a discount without an owner": (
        "v1.customer.discount.updated",
        {"type": "discount", "id": "di_1", "url": "/v1/discounts/di_1"},
        "ignored",
        (),
    ),
    "a summary whose address names the customer": (
        "v1.entitlements.active_entitlement_summary.updated",
        {
            "type": "entitlements.active_entitlement_summary",
            "url": "/v1/entitlements/active_entitlements?customer=cus_1",
        },
        "applied",
        (("active_entitlement_summary", "cus_1"),),
    ),
    "a tax id, of its customer": (
        "v1.customer.tax_id.created",
        {"type": "tax_id", "id": "txi_1", "url": "/v1/customers/cus_1/tax_ids/txi_1"},
        "applied",
        (("tax_id", "txi_1"),),
    ),
    "a preview": (
        "v1.invoice.upcoming",
        {"type": "invoice", "id": "upcoming_in_1", "url": "/v1/invoices/upcoming"},
        "ignored",
        (),
    ),
    "an id that chooses another path": (
        "v1.charge.succeeded",
        {"type": "charge", "id": "ch_1/../../account", "url": "/v1/charges/ch_1"},
        "parked",
        (),
    ),
    "an id that is none": ("v1.charge.succeeded", {"type": "charge", "id": 7}, "parked", ()),
    "no object where there should be one": ("v1.charge.succeeded", None, "parked", ()),
    "no object, of a type that nobody knows": ("v1.forwarding.request.created", None, "ignored", ()),
    "no address": ("v1.charge.succeeded", {"type": "charge", "id": "ch_1"}, "applied", (("charge", "ch_1"),)),
    "an object of the other namespace": (
        "v2.core.account.updated",
        {"type": "customer", "id": "cus_1"},
        "ignored",
        (),
    ),
    "a ping": (
        "v2.core.event_destination.ping",
        {"type": "v2.core.event_destination", "id": "ed_1", "url": "/v2/core/event_destinations/ed_1"},
        "ignored",
        (),
    ),
    "an odd related object": ("v1.climate.order.created", ["climate.order"], "ignored", ()),
}


def test_odd_thin_events() -> None:
    """What else a thin event names is read by the same rule; one that should name an object and does not is parked."""
    for name, (event_type, related, state, concerns) in ODD.items():
        reading = read(event_type, thin(ThinType(event_type, None, has_id=False), related_object=related))
        got = (reading.outcome.state, tuple(tuple(each) for each in reading.concerns))
        assert (state, concerns) == got, name
        assert (reading.outcome.error is None) == (state == "applied"), name


def test_a_thin_event_counts_as_its_twin() -> None:
    """Snapshot events say the second in which they happened, so a thin one is compared by that, too."""
    each = ThinType("v1.product.deleted", "product", has_id=True)
    reading = read(each.type, thin(each))
    assert (MOMENT.replace(microsecond=0), "product.deleted") == (reading.event.created, reading.event.type)
    assert "evt_twin" == reading.twin_id
    assert read(each.type, thin(each, snapshot_event=None)).twin_id is None
