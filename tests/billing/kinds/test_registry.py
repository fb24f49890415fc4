"""The registry: which objects we mirror, and which of them an event makes dirty."""

import dataclasses
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import kinds
from billing.kinds.fields import UnknownShape
from billing.kinds.found import CHOSEN_BY_PEOPLE, Facts, ObjectRef, Part
from billing.kinds.lists import PER_CUSTOMER, listed_kinds
from billing.kinds.parse import parse_object
from billing.kinds.registry import (
    KINDS,
    LIST_CONFIRMED,
    concerned,
    customer_named_by,
    kind_of,
    tells_of_mirrored,
)
from tests.billing.kinds.shapes import NEWEST, OLD_VERSIONS, story

Body = dict[str, Any]


def test_kinds_stand_in_lock_order() -> None:
    """The order of the registry is the order in which mirror tables are locked."""
    assert [
        "customer",
        "product",
        "price",
        "feature",
        "meter",
        "plan",
        "coupon",
        "subscription",
        "subscription_schedule",
        "invoice",
        "invoice_payment",
        "charge",
        "refund",
        "dispute",
        "credit_note",
        "checkout_session",
        "payment_intent",
        "payment_method",
        "setup_intent",
        "tax_id",
        "review",
        "early_fraud_warning",
        "payout",
        "balance_transaction",
        "active_entitlement_summary",
    ] == list(KINDS)


def names_of(base: type) -> set[str]:
    """The classes of this base that the family files define."""
    modules = [import_module(f"{kinds.__name__}.{info.name}") for info in iter_modules(kinds.__path__)]
    defined = [thing for module in modules for thing in vars(module).values() if isinstance(thing, type)]
    return {thing.__name__ for thing in defined if issubclass(thing, base) and thing is not base}


def test_every_fact_type_has_one_kind() -> None:
    """A kind without a fact type, or a fact type without a kind, would be mirrored half."""
    parts = [kind.part for kind in KINDS.values() if kind.part is not None]
    assert sorted(names_of(Facts)) == sorted(kind.facts.__name__ for kind in KINDS.values())
    assert sorted(names_of(Part)) == sorted(part.facts.__name__ for part in parts)
    assert len(KINDS) == len({kind.table for kind in KINDS.values()})
    for name, kind in KINDS.items():
        assert name == kind.name
        assert kind is kind_of(kind.stripe_object)
        if kind.list_field is None:
            assert f"{kind.list_path}/{{id}}" == kind.retrieve_path


def test_what_no_list_holds_is_read_per_customer() -> None:
    """Entitlements are kept once per customer, under the customer's id."""
    assert set(PER_CUSTOMER) == {kind.name for kind in KINDS.values() if kind.list_path is None}
    for name in PER_CUSTOMER:
        assert KINDS[name].names_customer
        assert KINDS[name].id_is_customers
    assert {"customer", *PER_CUSTOMER} == {kind.name for kind in KINDS.values() if kind.id_is_customers}
    assert "feature" in listed_kinds(["active_entitlement_summary"])
    assert not set(PER_CUSTOMER) & set(listed_kinds())


def test_kinds_that_name_a_customer_have_it_in_their_facts() -> None:
    """The customer that a row concerns is read from its facts; a customer names itself."""
    for kind in KINDS.values():
        has_customer = "customer_id" in {field.name for field in dataclasses.fields(kind.facts)}
        assert kind.names_customer == (has_customer or kind.name == "customer")


def test_every_column_with_an_id_says_what_it_names() -> None:
    """A backfill fetches what these columns name, so a new column cannot be left out silently."""
    for kind in KINDS.values():
        for holder in (kind, kind.part) if kind.part is not None else (kind,):
            ids = {field.name for field in dataclasses.fields(holder.facts) if field.name.endswith("_id")}
            referring = {column for column, _ in holder.references}
            assert ids == referring | set(holder.other_ids), holder.name
            assert not referring & set(holder.other_ids), holder.name
            assert {named for _, named in holder.references} <= set(KINDS), holder.name
        assert set(kind.belongs_to) <= set(kind.references), kind.name


def test_an_ended_subscription_is_no_deletion() -> None:
    """customer.subscription.deleted leaves an object that can still be read: it must not become a tombstone."""
    assert KINDS["subscription"].deleted_event is None
    assert {"canceled", "incomplete_expired"} == KINDS["subscription"].absorbing
    assert {
        "customer.deleted",
        "product.deleted",
        "price.deleted",
        "plan.deleted",
        "coupon.deleted",
        "invoice.deleted",
        "customer.tax_id.deleted",
    } == {kind.deleted_event for kind in KINDS.values() if kind.deleted_event}


def test_what_is_sold_makes_no_customer_inexact() -> None:
    """A pending read of a product or price says nothing about a customer; one of another kind may."""
    assert {"product", "price", "feature", "meter", "plan", "coupon"} == {
        kind.name for kind in KINDS.values() if kind.catalogue
    }


def test_records_depend_on_what_events_have_read() -> None:
    """A kind that no record depends on is not worth a request for each event."""
    assert LIST_CONFIRMED == {
        "plan",
        "payment_intent",
        "payment_method",
        "setup_intent",
        "tax_id",
        "review",
        "early_fraud_warning",
        "payout",
        "balance_transaction",
    }


def test_reads_ask_for_what_facts_need_and_stripe_leaves_out() -> None:
    """Out-of-band money, refunds, tiers and what a discount takes off are found only in expanded answers."""
    assert {
        "customer": ("tax_ids", "discount.source.coupon"),
        "price": ("tiers", "currency_options"),
        "coupon": ("applies_to", "currency_options"),
        "subscription": ("discounts.source.coupon", "items.data.discounts"),
        "invoice": ("payments", "amount_paid_off_stripe"),
        "charge": ("refunds",),
        "checkout_session": ("line_items",),
    } == {kind.name: kind.expands for kind in KINDS.values() if kind.expands}


def test_kind_of_an_object_that_we_do_not_mirror() -> None:
    assert kind_of("topup") is None


CHARGE: Body = {"id": "ch_1", "object": "charge"}
REFUND: Body = {"id": "re_1", "object": "refund", "charge": "ch_1"}
INVOICE: Body = {"id": "in_1", "object": "invoice"}
SUBSCRIPTION: Body = {"id": "sub_1", "object": "subscription"}

EVENTS: list[tuple[str, Body, list[tuple[str, str]]]] = [
    ("customer.created", {"id": "cus_1", "object": "customer"}, [("customer", "cus_1")]),
    (
        "entitlements.active_entitlement_summary.updated",
        {"object": "entitlements.active_entitlement_summary", "customer": "cus_1"},
        [("active_entitlement_summary", "cus_1")],
    ),
    ("billing.meter.updated", {"id": "mtr_1", "object": "billing.meter"}, [("meter", "mtr_1")]),
    (
        "customer.deleted",
        {"id": "cus_1", "object": "customer", "subscriptions": {"data": [SUBSCRIPTION]}},
        [("customer", "cus_1")],
    ),
    ("customer.subscription.deleted", SUBSCRIPTION, [("subscription", "sub_1")]),
    ("product.updated", {"id": "prod_1", "object": "product"}, [("product", "prod_1")]),
    ("price.created", {"id": "price_1", "object": "price"}, [("price", "price_1")]),
    ("plan.created", {"id": "gold", "object": "plan"}, [("plan", "gold"), ("price", "gold")]),
    ("plan.deleted", {"id": "gold", "object": "plan"}, [("plan", "gold")]),
    ("invoice.paid", INVOICE, [("invoice", "in_1")]),
    (
        "invoice.paid",
        {**INVOICE, "payments": {"object": "list", "data": [{"id": "inpay_1", "object": "invoice_payment"}]}},
        [("invoice", "in_1"), ("invoice_payment", "inpay_1")],
    ),
    ("invoice.deleted", {**INVOICE, "payments": {"data": [{"id": "inpay_1"}]}}, [("invoice", "in_1")]),
    ("invoice.upcoming", {"object": "invoice", "customer": "cus_1"}, []),
    ("invoice.upcoming", {"object": "invoice", "id": None, "payments": {"data": [{"id": "inpay_1"}]}}, []),
    (
        "invoice_payment.paid",
        {"id": "inpay_1", "object": "invoice_payment", "invoice": "in_1"},
        [("invoice_payment", "inpay_1"), ("invoice", "in_1")],
    ),
    (
        "invoiceitem.created",
        {"id": "ii_1", "object": "invoiceitem", "invoice": "in_1"},
        [("invoice", "in_1")],
    ),
    ("invoiceitem.created", {"id": "ii_1", "object": "invoiceitem", "invoice": None}, []),
    ("charge.succeeded", CHARGE, [("charge", "ch_1")]),
    (
        "charge.refunded",
        {**CHARGE, "refunds": {"object": "list", "data": [REFUND, {**REFUND, "id": "re_2"}]}},
        [("charge", "ch_1"), ("refund", "re_1"), ("refund", "re_2")],
    ),
    ("charge.updated", {**CHARGE, "dispute": "dp_1"}, [("charge", "ch_1"), ("dispute", "dp_1")]),
    ("charge.refund.updated", REFUND, [("refund", "re_1"), ("charge", "ch_1")]),
    ("refund.failed", {**REFUND, "charge": CHARGE}, [("refund", "re_1"), ("charge", "ch_1")]),
    ("refund.created", {**REFUND, "charge": None}, [("refund", "re_1")]),
    (
        "charge.dispute.funds_withdrawn",
        {"id": "dp_1", "object": "dispute", "charge": "ch_1"},
        [("dispute", "dp_1"), ("charge", "ch_1")],
    ),
    (
        "customer.discount.created",
        {"id": "di_1", "object": "discount", "customer": "cus_1", "subscription": None},
        [("customer", "cus_1")],
    ),
    (
        "customer.discount.deleted",
        {"object": "discount", "customer": "cus_1", "subscription": "sub_1", "deleted": True},
        [("customer", "cus_1"), ("subscription", "sub_1")],
    ),
    (
        "payment_intent.succeeded",
        {"id": "pi_1", "object": "payment_intent", "latest_charge": "ch_1"},
        [("payment_intent", "pi_1"), ("charge", "ch_1")],
    ),
    (
        "payment_intent.succeeded",
        {"id": "pi_1", "object": "payment_intent", "latest_charge": CHARGE},
        [("payment_intent", "pi_1"), ("charge", "ch_1")],
    ),
    (
        "payment_intent.succeeded",
        {
            "id": "pi_1",
            "object": "payment_intent",
            "charges": {"object": "list", "data": [CHARGE, {"id": "ch_2"}]},
        },
        [("payment_intent", "pi_1"), ("charge", "ch_1"), ("charge", "ch_2")],
    ),
    (
        "payment_intent.created",
        {"id": "pi_1", "object": "payment_intent", "latest_charge": None},
        [("payment_intent", "pi_1")],
    ),
    (
        "credit_note.created",
        {"id": "cn_1", "object": "credit_note", "invoice": "in_1", "refund": "re_1"},
        [("credit_note", "cn_1"), ("invoice", "in_1"), ("refund", "re_1")],
    ),
    (
        "credit_note.created",
        {
            "id": "cn_1",
            "object": "credit_note",
            "invoice": "in_1",
            "refunds": [
                {"amount_refunded": 5, "refund": "re_1"},
                {"amount_refunded": 5, "refund": {**REFUND, "id": "re_2"}},
                {"amount_refunded": 5, "refund": None, "type": "payment_record_refund"},
            ],
        },
        [("credit_note", "cn_1"), ("invoice", "in_1"), ("refund", "re_1"), ("refund", "re_2")],
    ),
    (
        "subscription_schedule.updated",
        {"id": "sub_sched_1", "object": "subscription_schedule", "subscription": "sub_1"},
        [("subscription_schedule", "sub_sched_1"), ("subscription", "sub_1")],
    ),
    (
        "subscription_schedule.released",
        {
            "id": "sub_sched_1",
            "object": "subscription_schedule",
            "subscription": None,
            "released_subscription": "sub_1",
        },
        [("subscription_schedule", "sub_sched_1"), ("subscription", "sub_1")],
    ),
    (
        "checkout.session.completed",
        {"id": "cs_1", "object": "checkout.session", "subscription": "sub_1"},
        [("checkout_session", "cs_1")],
    ),
    ("payout.paid", {"id": "po_1", "object": "payout"}, [("payout", "po_1")]),
    ("topup.succeeded", {"id": "tu_1", "object": "topup"}, []),
    ("review.opened", {"id": "prv_1", "object": "review", "charge": "ch_1"}, [("review", "prv_1")]),
    ("balance.available", {"object": "balance", "available": []}, []),
    ("a.type.of.tomorrow", SUBSCRIPTION, [("subscription", "sub_1")]),
    ("a.type.of.tomorrow", {"id": "x_1", "object": "object_of_tomorrow", "customer": "cus_1"}, []),
]


@pytest.mark.parametrize(("event_type", "body", "expected"), EVENTS)
def test_concerned(event_type: str, body: Body, expected: list[tuple[str, str]]) -> None:
    """An event makes its own object dirty, and those whose facts it may have changed."""
    assert tuple(ObjectRef(*ref) for ref in expected) == concerned(event_type, body)


@pytest.mark.parametrize(("event_type", "body", "expected"), EVENTS)
def test_concerned_takes_the_whole_event_too(
    event_type: str, body: Body, expected: list[tuple[str, str]]
) -> None:
    event = {"id": "evt_1", "object": "event", "type": event_type, "data": {"object": body}}
    assert tuple(ObjectRef(*ref) for ref in expected) == concerned(event_type, event)


def test_an_object_is_marked_once() -> None:
    twice = {"id": "pi_1", "object": "payment_intent", "latest_charge": "ch_1", "charges": {"data": [CHARGE]}}
    assert (ObjectRef("payment_intent", "pi_1"), ObjectRef("charge", "ch_1")) == concerned(
        "payment_intent.succeeded", twice
    )


@pytest.mark.parametrize("unusable", ["", "x" * 256, 7, None, True, ["in_1"], {"id": "in_1"}])
def test_no_mark_without_a_usable_id(unusable: object) -> None:
    assert () == concerned("invoice.paid", {"id": unusable, "object": "invoice"})
    assert (ObjectRef("refund", "re_1"),) == concerned(
        "refund.created", {**REFUND, "charge": {"id": unusable}}
    )


@pytest.mark.parametrize(
    "odd",
    [
        "cus_1/../../v1/events",
        "../events",
        "cus_1?expand[]=x",
        "cus_1#x",
        "cus%2e%2e",
        "cus\\1",
        ".",
        "..",
        "cus\n1",
        "\x00",
    ],
)
def test_what_cannot_be_an_id_of_stripes(odd: str) -> None:
    """I9: no object, no customer and no record comes of an id that would lead to another path of the API."""
    assert () == concerned("customer.updated", {"id": odd, "object": "customer"})
    assert None is customer_named_by({"object": "charge", "customer": odd})
    assert (ObjectRef("refund", "re_1"),) == concerned("refund.updated", REFUND | {"charge": odd})
    with pytest.raises(UnknownShape):
        parse_object({"id": odd, "object": "customer"})
    for field in ("customer", "customer_account"):
        with pytest.raises(UnknownShape):
            parse_object(CHARGE | {"captured": True, field: odd})
    with pytest.raises(UnknownShape):
        parse_object({"id": "pi_1", "object": "payment_intent", "customer": odd})


@pytest.mark.parametrize("chosen", ["50% off", "a/b", "SAVE#1", "what?", "Plan A", "..."])
def test_ids_that_people_choose(chosen: str) -> None:
    """Coupons, products, prices and plans have whatever ids people gave them."""
    for name in ("coupon", "product", "price", "plan"):
        assert chosen == parse_object({"id": chosen, "object": name}).id
        assert ObjectRef(name, chosen) == concerned(f"{name}.updated", {"id": chosen, "object": name})[0]
    assert CHOSEN_BY_PEOPLE == {kind.name for kind in KINDS.values() if kind.id_is_chosen}


def test_a_preview_is_no_invoice() -> None:
    """A preview may bear an id, but no such invoice exists, whatever names it."""
    preview = {"id": "upcoming_in_1", "object": "invoice", "status": "draft", "payments": [{"id": "inpay_1"}]}
    assert () == concerned("invoice.upcoming", preview)
    assert () == concerned("invoice.created", preview)
    assert (ObjectRef("invoice_payment", "inpay_1"),) == concerned(
        "invoice_payment.paid", {"id": "inpay_1", "object": "invoice_payment", "invoice": "upcoming_in_1"}
    )
    with pytest.raises(UnknownShape):
        parse_object(preview)


def test_an_old_dispute_without_an_id_marks_its_charge() -> None:
    """What an object names has changed even if the object itself cannot be stored."""
    dispute = {"object": "dispute", "charge": "ch_1", "status": "won"}
    assert (ObjectRef("charge", "ch_1"),) == concerned("charge.dispute.closed", dispute)


@pytest.mark.parametrize(
    ("event_type", "expected"),
    [
        ("ping", False),
        ("", False),
        ("account.updated", False),
        ("customers.x", False),
        ("customer.updated", True),
        ("customer.subscription.deleted", True),
        ("charge.dispute.closed", True),
        ("radar.early_fraud_warning.created", True),
        ("invoiceitem.created", True),
    ],
)
def test_types_that_tell_of_what_is_mirrored(event_type: str, expected: bool) -> None:
    """By the type alone: an event of such a type that carries no object has lost it."""
    assert expected == tells_of_mirrored(event_type)


def test_an_id_may_have_255_characters() -> None:
    assert (ObjectRef("invoice", "x" * 255),) == concerned(
        "invoice.paid", {"id": "x" * 255, "object": "invoice"}
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "charge",
    "refunds",
    "dispute",
    "payments",
    "invoice",
    "latest_charge",
    "charges",
    "refund",
    "customer",
]
OBJECTS = [kind.stripe_object for kind in KINDS.values()] + ["event", "plan", "credit_note", "payment_intent"]


@given(
    event_type=st.text(max_size=20) | st.sampled_from([event_type for event_type, _, _ in EVENTS]),
    body=st.one_of(
        JSON,
        st.fixed_dictionaries(
            {},
            optional={
                "object": st.sampled_from(OBJECTS) | JSON,
                "id": st.just("x_1") | JSON,
                "data": JSON | st.fixed_dictionaries({"object": JSON}),
                **{field: JSON | st.fixed_dictionaries({"data": JSON}) for field in FIELDS},
            },
        ),
    ),
)
def test_concerned_is_total(event_type: str, body: Any) -> None:
    """Whatever a signed body holds, marking does not fail, and marks only objects that can be read again."""
    for ref in concerned(event_type, body):
        assert ref.kind in KINDS
        assert 0 < len(ref.id) <= 255


@pytest.mark.parametrize("version", [NEWEST, *OLD_VERSIONS])
def test_every_object_of_the_story_marks_itself_first(version: str) -> None:
    for stripe_object, body in story(version).items():
        kind = kind_of(stripe_object)
        assert kind is not None
        assert ObjectRef(kind.name, body[kind.id_field]) == concerned(f"{stripe_object}.updated", body)[0]
