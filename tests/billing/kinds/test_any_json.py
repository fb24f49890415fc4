"""Any JSON at all is read, or refused by name."""

import dataclasses
import types
import typing
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.kinds.fields import UnknownShape
from billing.kinds.parse import Parsed, nested_lists, parse_object
from billing.kinds.registry import KINDS
from tests.billing.kinds.bodies import Body
from tests.billing.kinds.shapes import NEWEST, OLD_VERSIONS, story, stripe_examples

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 10**300, 10**12])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "object", "data", "has_more", "type"]), inner, max_size=3)
    ),
    max_leaves=6,
)

BODIES = [body for version in (NEWEST, *OLD_VERSIONS) for body in story(version).values()] + list(
    stripe_examples().values()
)


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside a JSON value."""
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in entries:
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


@st.composite
def mutated_bodies(draw: st.DrawFn) -> Body:
    """A real object in which one to four places were overwritten or removed."""
    body = deepcopy(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 4))):
        every = list(places(body))
        if not every:
            break
        container, key = every[draw(st.integers(0, len(every) - 1))]
        if draw(st.booleans()):
            container[key] = draw(JSON)
        else:
            del container[key]
    return body


hints_of = cache(get_type_hints)


def conforms(value: object, wanted: Any) -> bool:
    """Whether a fact has exactly the type that its column needs."""
    if isinstance(wanted, types.UnionType):
        return any(conforms(value, choice) for choice in get_args(wanted))
    if wanted is int:
        return type(value) is int and -(2**63) <= value < 2**63
    if wanted is datetime:
        return isinstance(value, datetime) and value.tzinfo is UTC
    if typing.get_origin(wanted) is dict:
        return isinstance(value, dict) and all(isinstance(text, str) for text in [*value, *value.values()])
    if typing.get_origin(wanted) is tuple:
        return isinstance(value, tuple) and all(conforms(each, get_args(wanted)[0]) for each in value)
    if dataclasses.is_dataclass(wanted) and type(value) is wanted:
        return all(conforms(getattr(value, name), type_) for name, type_ in hints_of(wanted).items())
    return type(value) is wanted


def assert_storable(parsed: Parsed) -> None:
    for row in (*([] if parsed.facts is None else [parsed.facts]), *parsed.parts):
        row_type: Any = type(row)
        for name, wanted in hints_of(row_type).items():
            assert conforms(getattr(row, name), wanted), (name, getattr(row, name))
    assert len(parsed.parts) == len({part.id for part in parsed.parts})
    for ref in parsed.references:
        assert ref.kind in KINDS
        assert 0 < len(ref.id) <= 255


NEEDED: dict[str, set[str]] = {
    "customer": {"created", "discount", "discounts"},
    "product": {"created"},
    "price": {
        *(
            "created",
            "product",
            "currency",
            "unit_amount",
            "unit_amount_decimal",
            "billing_scheme",
            "recurring",
        ),
        *("tiers", "tiers_mode", "currency_options", "transform_quantity"),
    },
    "coupon": {
        *("created", "percent_off", "amount_off", "currency", "duration", "applies_to", "currency_options")
    },
    "subscription": {
        *(
            "created",
            "customer",
            "customer_account",
            "status",
            "start_date",
            "trial_start",
            "trial_end",
            "items",
        ),
        *("cancel_at", "cancel_at_period_end", "canceled_at", "ended_at", "currency", "pause_collection"),
        *("current_period_start", "current_period_end", "discount", "discounts"),
    },
    "subscription_schedule": {
        *(
            "created",
            "customer",
            "customer_account",
            "status",
            "phases",
            "subscription",
            "released_subscription",
        )
    },
    "invoice": {
        *("created", "customer", "customer_account", "subscription", "parent", "status", "billing_reason"),
        *("period_end", "currency", "subtotal", "total", "amount_due", "amount_paid", "paid_out_of_band"),
        *("amount_paid_off_stripe", "payments", "status_transitions"),
    },
    "invoice_payment": {"invoice", "payment"},
    "credit_note": {
        *("created", "customer", "customer_account", "invoice", "status", "currency", "out_of_band_amount"),
        *("refund", "refunds"),
    },
    "charge": {
        *(
            "created",
            "customer",
            "customer_account",
            "payment_intent",
            "invoice",
            "status",
            "captured",
            "currency",
        ),
        *("amount", "amount_captured", "amount_refunded"),
    },
    "refund": {"created", "charge", "status", "amount", "currency"},
    "dispute": {
        *("created", "charge", "status", "amount", "currency", "balance_transactions", "balance_transaction"),
    },
    "checkout.session": {
        *("created", "customer", "customer_account", "status", "client_reference_id", "payment_link"),
        "payment_intent",
        *("invoice", "subscription"),
    },
    "entitlements.feature": {"lookup_key"},
    "entitlements.active_entitlement_summary": {"customer", "entitlements"},
}
"""By Stripe's `object`: the fields on which a record depends. Of other kinds, no record needs any."""


def unneeded(body: Body) -> list[tuple[Any, Any]]:
    """The places in an object that no record needs: its other fields, and everything inside those."""
    kept = {"id", "object", "livemode", "deleted", *NEEDED.get(body["object"], ())}
    found: list[tuple[Any, Any]] = []
    for field in body.keys() - kept:
        found.append((body, field))
        if isinstance(body[field], dict | list):
            found.extend(places(body[field]))
    return found


@pytest.mark.parametrize("nothing", [{}, [], "", None, 0, False], ids=repr)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body["object"])
def test_what_no_record_needs_never_costs_the_object(body: Body, nothing: object) -> None:
    """I7: a field that no record needs may be empty in any shape: the object is read all the same, and nothing that a
    record needs becomes another.
    """
    whole = parse_object(body)
    assert whole.facts is not None
    needed = NEEDED.get(body["object"], set()) & {each.name for each in dataclasses.fields(whole.facts)}
    changed = deepcopy(body)
    for container, key in unneeded(changed):
        kept, container[key] = container[key], nothing
        parsed = parse_object(changed)
        container[key] = kept
        assert_storable(parsed)
        for field in needed:
            assert getattr(whole.facts, field) == getattr(parsed.facts, field), (key, field)


@pytest.mark.parametrize("nothing", [{}, [], ""], ids=repr)
@pytest.mark.parametrize(
    ("stripe_object", "field"),
    [
        ("charge", "amount_captured"), ("charge", "captured"), ("refund", "amount"), ("refund", "status"),
        ("dispute", "amount"), ("invoice", "amount_paid"), ("invoice", "period_end"), ("price", "unit_amount"),
        ("subscription", "items"), ("subscription", "cancel_at"), ("coupon", "percent_off"),
    ],
)  # fmt: skip
def test_what_a_record_needs_is_never_taken_for_nothing(
    stripe_object: str, field: str, nothing: object
) -> None:
    """An empty value of another shape in a field on which a record depends is refused, and not read as absent."""
    if nothing == "" and field == "status":
        return  # a text, and so a new word of Stripe's
    with pytest.raises(UnknownShape, match=field):
        parse_object(story()[stripe_object] | {field: nothing})


@given(body=mutated_bodies())
def test_any_shape_is_read_or_refused(body: Body) -> None:
    """Whatever Stripe's JSON turns into, it is refused by name or gives facts that fit their columns."""
    nested_lists(body)
    with suppress(UnknownShape):
        assert_storable(parse_object(body))


@given(body=JSON)
def test_any_json_is_read_or_refused(body: Any) -> None:
    if isinstance(body, dict):
        nested_lists(body)
    with suppress(UnknownShape):
        assert_storable(parse_object(body))
