"""parse_object: what it refuses and how it says so, what it finds inside an object, and which lists are cut."""

import re
from typing import Any

import pytest

from billing.kinds.fields import UnknownShape
from billing.kinds.found import ObjectRef
from billing.kinds.parse import NestedList, nested_lists, parse_object
from billing.kinds.registry import KINDS
from tests.billing.kinds.bodies import (
    CHARGE_BODY,
    CUSTOMER_BODY,
    INVOICE_BODY,
    PRICE,
    Body,
    body_of,
    facts_of,
    items,
    parent,
    payments,
)
from tests.billing.kinds.shapes import NEWEST, OLD_VERSIONS, story

REFUSED: list[tuple[str, Body, str]] = [
    ("customer", {"name": 7}, "customer cus_ada: name is 7, wanted text"),
    ("customer", {"metadata": "x"}, "customer cus_ada: metadata is 'x', wanted an object"),
    ("subscription", {"items": []}, "subscription sub_ada: items is a list of 0, wanted a list object"),
    ("subscription", {"items": {"data": None}}, "subscription sub_ada: items.data is missing, wanted a list"),
    (
        "subscription",
        {"items": {"data": ["si_1"]}},
        "subscription sub_ada: items.data[0] is 'si_1', wanted an object",
    ),
    ("subscription", items({"quantity": 1.5}), "subscription sub_ada: items.data[0].quantity is 1.5, wanted"),
    (
        "subscription",
        items({}, has_more="no"),
        "subscription sub_ada: items.has_more is 'no', wanted true or false",
    ),
    (
        "subscription",
        {"pause_collection": "void"},
        "subscription sub_ada: pause_collection is 'void', wanted",
    ),
    (
        "invoice",
        parent({"object": "subscription"}),
        "invoice in_aug: parent.subscription_details.subscription is",
    ),
    (
        "invoice",
        {"lines": {"data": [{"period": {"end": "x"}}]}},
        "invoice in_aug: lines.data[0].period.end is 'x'",
    ),
    ("invoice", payments({"payment": 5}), "invoice in_aug: payments.data[0].payment is 5, wanted an object"),
    ("dispute", {"balance_transactions": [None]}, "dispute dp_1: balance_transactions[0] is missing"),
    ("dispute", {"balance_transactions": [{}]}, "dispute dp_1: balance_transactions[0].amount is missing"),
    (
        "dispute",
        {"balance_transactions": {}},
        "dispute dp_1: balance_transactions is an object, wanted a list",
    ),
    ("price", {"recurring": {"interval": 3}}, "price price_pro: recurring.interval is 3, wanted text"),
    ("customer", {"name": ["x" * 500]}, "customer cus_ada: name is a list of 1, wanted text"),
    ("customer", {"deleted": "yes"}, "customer cus_ada: deleted is 'yes', wanted true or false"),
]


@pytest.mark.parametrize(("stripe_object", "changes", "message"), REFUSED)
def test_refusal_names_object_field_value_and_remedy(stripe_object: str, changes: Body, message: str) -> None:
    with pytest.raises(UnknownShape) as refusal:
        parse_object(body_of(stripe_object, **changes))
    assert str(refusal.value).startswith(message)
    assert re.search(r": if Stripe means it, read this shape in billing/kinds/\w+\.py$", str(refusal.value))


def test_refusal_of_a_long_value_is_short() -> None:
    with pytest.raises(UnknownShape) as refusal:
        facts_of("refund", amount="9" * 10_000)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "body", [{}, {"object": "topup", "id": "tu_1"}, {"object": 7, "id": "x"}, {"object": None}]
)
def test_objects_that_are_not_mirrored(body: Body) -> None:
    with pytest.raises(UnknownShape, match=r"registry\.py"):
        parse_object(body)


@pytest.mark.parametrize("body", [None, [], "sub_1", 5])
def test_what_is_no_object(body: Any) -> None:
    with pytest.raises(UnknownShape, match="wanted a Stripe object"):
        parse_object(body)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_deleted_body(kind: Any) -> None:
    """A body that says deleted has no facts; a deleted customer still names itself."""
    parsed = parse_object({kind.id_field: "x_1", "object": kind.stripe_object, "deleted": True})
    assert (None, True, None) == (parsed.facts, parsed.deleted, parsed.live_mode)
    assert ("x_1" if kind.id_is_customers else None) == parsed.customer_id
    assert ((), ()) == (parsed.embedded, parsed.references)


DELETED_CUSTOMER = {"id": "cus_ada", "object": "customer", "deleted": True}

DELETED_PRODUCT = {"id": "prod_1", "object": "product", "deleted": True}

LINKS: list[tuple[str, Body, list[str], list[tuple[str, str]]]] = [
    ("customer", {}, [], []),
    ("product", {}, [], [("price", "price_pro")]),
    ("price", {}, [], [("product", "prod_pro")]),
    ("price", {"product": DELETED_PRODUCT}, ["prod_1"], []),
    (
        "subscription",
        {},
        ["price_pro", "price_calls"],
        [("product", "prod_pro"), ("product", "prod_calls"), ("customer", "cus_ada"), ("invoice", "in_aug")]
        + [("subscription_schedule", "sub_sched_1")],
    ),
    (
        "subscription",
        {"customer": CUSTOMER_BODY, "latest_invoice": INVOICE_BODY}
        | items({"price": PRICE}, {"price": PRICE}),
        ["price_1", "cus_ada", "in_aug"],
        [("product", "prod_1"), ("subscription_schedule", "sub_sched_1")],
    ),
    (
        "subscription",
        {"customer": None, "customer_account": "acct_1", "latest_invoice": None, "schedule": None} | items(),
        [],
        [],
    ),
    (
        "subscription",
        {"customer": {"id": "cus_ada"}, "latest_invoice": None, "schedule": None} | items(),
        [],
        [("customer", "cus_ada")],
    ),
    (
        "invoice",
        {},
        ["inpay_1"],
        [
            ("subscription", "sub_ada"),
            ("customer", "cus_ada"),
            ("product", "prod_pro"),
            ("price", "price_pro"),
            ("product", "prod_calls"),
            ("price", "price_calls"),
        ],
    ),
    (
        "invoice",
        {
            "lines": None,
            "payments": None,
            "parent": None,
            "customer": DELETED_CUSTOMER,
            "charge": CHARGE_BODY,
        },
        ["ch_1", "cus_ada"],
        [],
    ),
    ("invoice_payment", {}, [], [("invoice", "in_aug")]),
    (
        "invoice_payment",
        {"payment": {"type": "charge", "charge": "ch_1"}},
        [],
        [("invoice", "in_aug"), ("charge", "ch_1")],
    ),
    ("charge", {}, ["re_1"], [("customer", "cus_ada")]),
    (
        "charge",
        {"refunds": None, "invoice": "in_1", "dispute": "dp_1"},
        [],
        [("dispute", "dp_1"), ("customer", "cus_ada"), ("invoice", "in_1")],
    ),
    ("refund", {}, [], [("customer", "cus_ada"), ("charge", "ch_1")]),
    ("refund", {"customer": None, "charge": CHARGE_BODY}, ["ch_1"], []),
    ("dispute", {}, [], [("charge", "ch_1")]),
    (
        "checkout.session",
        {},
        [],
        [("customer", "cus_ada"), ("subscription", "sub_ada"), ("invoice", "in_jul")],
    ),
    (
        "price",
        {"recurring": {"interval": "month", "meter": "mtr_calls"}},
        [],
        [("product", "prod_pro"), ("meter", "mtr_calls")],
    ),
    (
        "subscription_schedule",
        {},
        [],
        [("customer", "cus_ada"), ("subscription", "sub_ada")]
        + [("price", "price_pro"), ("price", "price_calls"), ("price", "price_max")],
    ),
    ("credit_note", {}, [], [("customer", "cus_ada"), ("invoice", "in_aug"), ("refund", "re_1")]),
    # Kinds that only lists confirm: nothing is fetched because they name it.
    *(
        (name, {}, [], [])
        for name in ("payment_intent", "payment_method", "setup_intent", "tax_id", "coupon", "plan")
    ),
    *(
        (name, {}, [], [])
        for name in ("review", "radar.early_fraud_warning", "payout", "balance_transaction")
    ),
    ("entitlements.feature", {}, [], []),
    ("billing.meter", {}, [], []),
    (
        "entitlements.active_entitlement_summary",
        {},
        ["feat_seats"],
        [("customer", "cus_ada"), ("feature", "feat_export")],
    ),
]


@pytest.mark.parametrize(("stripe_object", "changes", "embedded", "named"), LINKS)
def test_what_is_found_inside(
    stripe_object: str, changes: Body, embedded: list[str], named: list[tuple[str, str]]
) -> None:
    """Whole objects are returned to be stored, ids to be fetched if unknown; nothing is both, nothing twice."""
    parsed = parse_object(body_of(stripe_object, **changes))
    assert embedded == [body["id"] for body in parsed.embedded]
    assert {ObjectRef(*ref) for ref in named} == set(parsed.references)
    assert len(named) == len(parsed.references)


@pytest.mark.parametrize("version", [NEWEST, *OLD_VERSIONS])
def test_everything_embedded_can_be_parsed(version: str) -> None:
    """Every embedded object is a whole object."""
    for body in story(version).values():
        for inner in parse_object(body).embedded:
            assert parse_object(inner).facts is not None


def test_other_kinds_have_no_items() -> None:
    parsed = parse_object(story()["invoice"])
    assert ((), False) == (parsed.items, parsed.items_cut)


def cut_list(url: object, *ids: str) -> Body:
    return {"object": "list", "has_more": True, "url": url, "data": [{"id": entry_id} for entry_id in ids]}


NESTED: list[tuple[Body, tuple[str, str, str | None] | None]] = [
    (
        {
            "object": "subscription",
            "id": "sub_1",
            "items": cut_list("/v1/subscription_items?subscription=sub_1", "a", "b"),
        },
        ("items", "/v1/subscription_items?subscription=sub_1", "b"),
    ),
    (
        {"object": "charge", "id": "ch_1", "refunds": cut_list("/v1/charges/ch_1/refunds", "a")},
        ("refunds", "/v1/charges/ch_1/refunds", "a"),
    ),
    (
        {"object": "charge", "id": "ch_1", "refunds": cut_list(None)},
        ("refunds", "/v1/refunds?charge=ch_1", None),
    ),
    (
        {"object": "invoice", "id": "in&1", "payments": cut_list("https://elsewhere.example/v1/", "p")},
        ("payments", "/v1/invoice_payments?invoice=in%261", "p"),
    ),
    # The URL in a payload is not one of the API, and the one in the list does not name the customer.
    *(
        (
            {
                "object": "entitlements.active_entitlement_summary",
                "customer": "cus_1",
                "entitlements": cut_list(url, "ent_10"),
            },
            ("entitlements", "/v1/entitlements/active_entitlements?customer=cus_1", "ent_10"),
        )
        for url in ("/v1/customer/cus_1/entitlements", "/v1/entitlements/active_entitlements")
    ),
    ({"object": "subscription", "items": cut_list(None, "a")}, None),
    (
        {"object": "subscription", "id": "sub_1", "items": {"has_more": False, "data": [], "url": "/v1/x"}},
        None,
    ),
    ({"object": "subscription", "id": "sub_1", "items": {"has_more": "true", "data": []}}, None),
    ({"object": "invoice", "id": "in_1", "lines": cut_list("/v1/invoices/in_1/lines", "a")}, None),
    *(
        (
            {
                "object": "invoice",
                "id": "in_1",
                "billing_reason": reason,
                "parent": {"subscription_details": {"subscription": named}},
                "lines": cut_list(None, "a"),
            },
            ("lines", "/v1/invoices/in_1/lines", "a") if expected else None,
        )
        for reason, named, expected in (
            ("subscription_cycle", None, True),
            ("subscription_cycle", "sub_1", False),
            ("subscription_create", "sub_1", True),
            ("manual", None, False),
        )
    ),
    ({"object": "dispute", "id": "dp_1", "balance_transactions": []}, None),
    ({}, None),
]


@pytest.mark.parametrize(("body", "expected"), NESTED)
def test_nested_lists(body: Body, expected: tuple[str, str, str | None] | None) -> None:
    """Only lists that facts need whole are read on, and only from Stripe's API."""
    wanted = (
        ()
        if expected is None
        else (
            NestedList(
                path=(expected[0],),
                url=expected[1],
                last_id=expected[2],
                expands=("items.data.discounts",) if expected[0] == "items" else (),
            ),
        )
    )
    assert wanted == nested_lists(body)
